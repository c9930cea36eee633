# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How far apart are two domains?
#
# **In one line:** a distance means nothing without its null band; with the band it says *that* images differ, but never which class lies where.
#
# *{minutes} minutes to read, exercises apart · about 20 CPU seconds to run · needs: [](lesson01) · more in the [lab notes](lesson06/notes)*
#
# **First, wake the sliders: Run ▸ Run All Cells.** On Binder's shared processor this may take three times as long.
#
# After this page you can
#
# - measure how far apart two clouds of features are, and say what each distance cannot see;
# - put a null band around zero, so that "far" means "farther than two halves of one domain";
# - say why a distance alone cannot choose a source.
#
# **Why anyone wants this.** You trained on one hospital's scanner; new images come from another, without labels. Are they different, does it matter, and is another of your labelled sets a better source?
#
# Parameters: `count` images in a cloud; `permutations` for a null band; `seeds` networks from `seed` on.

# %% tags=["parameters"]
count: int = 200  # 50..400
permutations: int = 80  # 20..1000
seeds: int = 3  # 2..10
seed: int = 10  # 0..1000
budget: str = "full"  # full | small

# %%
import torch

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.figures import show_table
from kdcourse.ground import domains
from kdcourse.lessons.lesson06 import classes, exercises, table
from kdcourse.lessons.lesson06.mean_distances import MeanDistances
from kdcourse.lessons.lesson06.severity import Severity
from kdcourse.pages import tables
from kdcourse.parameters import check_parameters
from kdlib import data, distances, metrics, models
from kdlib.distances import null_band

check_parameters()

# %% [markdown]
# ## Look at the images first
#
# A **domain** is a place that images come from. The **source** has labels: MNIST's digits. The **target** has none: scikit-learn's digits, from 13 other writers, normalised by another program and counted in blocks of 4 × 4 pixels. Both are brought to 16 × 16. `seal()` puts the target's labels into an envelope that counts its openings: nobody has them when a source must be chosen.

# %%
small = budget == "small"
draws, levels = (20, [0.0, 1.0]) if small else (permutations, [0.0, 0.25, 0.5, 0.75, 1.0])
framed, here = domains.domains("A", inner=28), domains.domains("A")
target, labels = here.target_test.seal()

strip = torch.cat([part.x[:10] for part in (framed.source_test, here.source_test, target)])
figures.show(
    figures.digits(strip, size=0.6),
    "MNIST, its inner 20 × 20 pixels, the target",
    "MNIST leaves four empty pixels of 28 on every side; cut to its inner part, it fills the frame as the target does.",
)

# %% [markdown]
# The margin is no difference between writers. It is how somebody cut the images, and a pair of scissors removes it. What is that worth? Stored rows: `cnn(16)`, four epochs on the source, ten seeds in fold A; 500 target images. **Fold B** takes them from the other end of the target's file, which follows its writers.

# %%
ways = domains.ways("06")
show_table(*domains.table(ways, new="06"))
wrong = {name: way.wrong["A"] for name, way in ways.items()}
scissors = metrics.difference(wrong["source only, uncropped"], wrong["source only"])

# %%
text = "Cutting the source to its inner 20 × 20 pixels saves more than ten points on the target"
claim("06.1", text, scissors.low > 10, measured={"points saved": scissors})

# %% [markdown]
# These are the first rows of a table to which each page up to [](lesson09) adds its own. From here on the source is cropped. Many answers are still wrong; now it is worth measuring.
#
# ## A prediction first
#
# Mirror every MNIST digit, as in a looking glass. Is that source farther from the target?

# %%
guess = checks.Prediction(
    "The distance (MMD², on pixels) from mirrored MNIST to the target, compared with plain MNIST's, is …",
    ["larger by a fifth or more", "the same within a fifth", "smaller by a fifth or more"],
)
guess

# %% [markdown]
# ## Five distances
#
# A *cloud* is what a network makes of `count` images: its last features, `(count, 64)` numbers. With means $\mu$, covariances $C$, $\delta = \mu_a - \mu_b$ and $S$ the mean of both covariances:
#
# | distance | formula | what it cannot see |
# |---|---|---|
# | Euclidean | $\lVert\delta\rVert$ | everything but the means; it depends on the unit |
# | Mahalanobis (1936) | $\sqrt{\delta^\top S^{-1}\delta}$ | everything but the means, measured in the cloud's own spreads |
# | CORAL (Sun & Saenko 2016) | from $C_a - C_b$ (exercise 2) | everything but the covariances |
# | MMD² (Gretton et al. 2012) | below | little, given many images |
# | proxy A (Ben-David et al. 2007) | $2\,(1 - 2\,\mathrm{err})$ of a linear probe on held-out rows | what no straight line tells apart |
#
# None of them sees a label. The first two and *cosine*, the angle between the means seen from the origin, in a plane. The means stay two apart in every state; turn `angle` from 90 to 0, then move `origin`:

# %%
MeanDistances(title="The same two means, three answers")

# %% [markdown]
# Mahalanobis is large where the line between the means runs *across* the spread. Cosine fades as the origin moves away. Euclidean never moves.
#
# **MMD in words:** rows should look as much alike *across* the clouds as *within* them. **In four lines:** describe each row by features $\varphi$ of any kind and compare the means,
#
# $$\begin{aligned} \mathrm{MMD}^2 &= \lVert \mathrm{E}\,\varphi(a) - \mathrm{E}\,\varphi(b) \rVert^2 \\ &= \mathrm{E}\,\varphi(a)\cdot\varphi(a') + \mathrm{E}\,\varphi(b)\cdot\varphi(b') - 2\,\mathrm{E}\,\varphi(a)\cdot\varphi(b) \\ &= \overline{k(a, a')} + \overline{k(b, b')} - 2\,\overline{k(a, b)}, \qquad k(x, y) = \varphi(x)\cdot\varphi(y), \\ k(x, y) &= \exp(-\lVert x - y\rVert^2 / (c\,m)), \quad m \text{ the median squared distance, averaged over a few } c. \end{aligned}$$
#
# Only $k$ is ever computed, so $\varphi$ may be endless: with this $k$ two clouds agree in all means of $\varphi$ only if they are drawn from the same distribution. A row's likeness to itself is left out, so that MMD² lies *around* 0, often below, where nothing differs.


# %%
def mmd_by_hand(f_a, f_b):
    n, m, pooled = len(f_a), len(f_b), torch.cat([f_a, f_b])
    squared = torch.cdist(pooled, pooled) ** 2  # (n + m, n + m)
    itself = torch.eye(n + m, dtype=torch.bool)
    unit = squared[~itself].median()
    k = sum(torch.exp(-squared / (c * unit)) for c in (0.25, 0.5, 1, 2, 4)) / 5
    k = k.masked_fill(itself, 0)
    within = k[:n, :n].sum() / (n * (n - 1)) + k[n:, n:].sum() / (m * (m - 1))
    return within - 2 * k[:n, n:].mean()


# %% [markdown]
# Two halves of the source and the target, as the first source network sees them. Is our MMD kdlib's?


# %%
def features(network, images):
    with models.evaluating(network):
        seen = models.observe(network, images[:count].batch().x, ["embedding"])
    return seen.features["embedding"]  # (count, 64)


networks = [domains.source_network(here.source, seed=seed + k) for k in range(seeds)]
half, rest = here.source_test, here.source_test[count:]
clouds = [features(networks[0], part) for part in (half, rest, target)]
torch.testing.assert_close(mmd_by_hand(*clouds[::2]), distances.mmd(*clouds[::2]))

# %% [markdown]
# ## The null band
#
# Is a Euclidean distance of 3 far? Nobody can say: it has the unit of the features, and two halves of *one* domain are not at 0 either. So ask what the number would be **if there were no difference**: pool two clouds of the source, shuffle the rows, cut them in two again, measure; many times. The middle 95 % of these values is the **null band** (a permutation test, Fisher 1935). Exercise 3 mends one.

# %% tags=["nbval-ignore-output"]
names = ["euclidean", "mahalanobis", "coral", "mmd", "proxy_a_distance"]
rulers = {name: distances.DISTANCES[name] for name in names}
shuffles = dict(permutations=draws, seed=seed)
bands = {name: null_band(ruler, *clouds[:2], **shuffles) for name, ruler in rulers.items()}
edges = {name: high for name, (low, high) in bands.items()}


def measured_by_all(f_a, f_b):
    return {name: float(ruler(f_a, f_b)) for name, ruler in rulers.items()}


halves, apart = measured_by_all(*clouds[:2]), measured_by_all(*clouds[::2])
rows = [
    [name, *(f"{value:.3g}" for value in (*bands[name], halves[name], apart[name]))]
    for name in rulers
]
show_table(["distance", "band, from", "to", "two halves of the source", "to the target"], rows)

# %% [markdown]
# Only the ratio to its own band can be compared between distances:

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=2.4)
axis.axvspan(0.05, 1, color=figures.GHOST, alpha=0.25, linewidth=0)
for role, label, value in (("teacher", "two halves", halves), ("alone", "target", apart)):
    times = [max(0.06, value[name] / edges[name]) for name in rulers]
    axis.semilogx(times, names, figures.MARKERS[role], color=figures.COLOURS[role], label=label)
axis.set(xlabel="times the upper edge of its null band", xlim=(0.05, 300))
axis.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
axis.legend(frameon=False, loc="upper right")
axis.invert_yaxis()
figures.show(
    picture,
    "Two halves of the source lie in the null bands, the target far above them",
    "Grey: inside the null band. Logarithmic axis; what lies below its left end is drawn there.",
)

# %%
inside = sum(halves[name] <= edges[name] for name in rulers)
least = min(apart[name] / edges[name] for name in rulers)
text = "The target lies above the null bands of all five distances, two halves of the source within most of them"
holds = least > 2 and inside >= 3
claim("06.2", text, holds, measured={"least times its edge": least, "halves inside": inside})

# %% [markdown]
# ## More and more of a shift
#
# Now shifts of our own making, so that we know the truth: `data.severity(name, level)` changes images from not at all (level 0) to strongly (level 1). One cloud is the source, the other *different* images of the source, changed.

# %%
shifts = ["rotate", "mirror", "blur", "contrast"]
ladder = [rest.transformed(data.severity(name, k), seed=seed) for name in shifts for k in levels]


def along_the_ladder(network):
    own = features(network, half)
    return [list(measured_by_all(own, features(network, part)).values()) for part in ladder]


def error(network, images):
    return float(metrics.error_percent(models.predict(network, images), images.y))


shape = (len(shifts), len(levels))
along = torch.tensor([along_the_ladder(net) for net in networks]).mean(0)  # (20, 5)
errors = torch.tensor([[error(net, part) for part in ladder] for net in networks]).mean(0)

# %% [markdown]
# Slide `level` of `rotate`; then compare `mirror` at 1 with `contrast` at 0.5:

# %%
Severity(
    shifts,
    levels,
    torch.stack([part.x[:5, 0] for part in ladder]).unflatten(0, shape),
    {name: along[:, k].view(shape) for k, name in enumerate(rulers)},
    edges,
    errors.view(shape),
    n=len(rest),
    start={"shift": "rotate", "level": levels[-2]},
)

# %% [markdown]
# More of one shift gives a larger distance and more errors. Across shifts the order breaks: bars alike, errors unlike. And `proxy_a_distance` soon stands at its ceiling of 2: a probe without errors cannot improve.

# %%
none, most = along.view(*shape, -1)[:, 0], along.view(*shape, -1)[:, -1]
edge = torch.tensor(list(edges.values()))
text = "At level 1 of four shifts all five distances lie above their bands; unchanged images do not leave most of them"
least, quiet = float((most / edge).min()), int((none <= edge).all(0).sum())
claim("06.3", text, least > 1.2 and quiet >= 3, measured={"least times its edge, level 1": least})

# %% [markdown]
# ## Which source? Distances do not see classes
#
# Several labelled sources, one target without labels: take the nearest? Four sources made from the same MNIST. MMD on bare pixels, so that nothing is trained before choosing:


# %%
def pixels(images):
    return images[:500].batch().x.flatten(1)  # (500, 256)


candidates = {"plain": half}
candidates |= {name: table.made(half, name) for name in ("turned", "mirrored", "blurred")}
far = {name: float(distances.mmd(pixels(x), pixels(target))) for name, x in candidates.items()}

# %% [markdown]
# Only now the envelope. `between[name]` holds the distances from each class of the target to each class of the source, each cloud centred first:

# %%
y = labels.open("to see where the classes lie")
between = {
    name: classes.between_classes(pixels(part), part.y[:500], pixels(target), y)
    for name, part in candidates.items()
}
nearest = {name: gap.argmin(1) for name, gap in between.items()}
right = {name: int((near == torch.arange(10)).sum()) for name, near in nearest.items()}

# %% [markdown]
# And the errors of five networks trained on each source (stored). What did you predict?

# %% tags=["nbval-ignore-output"]
stored = tables.read(table.__file__)
failed = {"plain": wrong["source only"][:5]}
failed |= {name: classes.answers(stored, name) for name in list(candidates)[1:]}
head = ["source", "MMD² to the target", "classes whose nearest is their own", "target error %"]
columns = {name: f"{metrics.interval(100 * failed[name].double()):.1f}" for name in candidates}
rows = [[name, f"{far[name]:.3f}", right[name], columns[name]] for name in candidates]
show_table(head, rows)
ratio = far["mirrored"] / far["plain"]
guess.recall(guess.options[1 if 0.8 < ratio < 1.2 else 0 if ratio > 1 else 2])

# %% [markdown]
# The farthest of the four is the best source by far, and of two that are equally near one is much worse. (Blur helps as scissors do: the target *is* blurred. The next pages keep the plain source, so that something is left to adapt to.) Where do the classes lie?

# %% tags=["nbval-ignore-output"]
picture, panels = figures.figure(height=3.2, panels=2)
for axis, name in zip(panels, ("plain", "mirrored"), strict=True):
    axis.imshow(between[name].numpy(), cmap="Greys_r")
    for k, near in enumerate(nearest[name].tolist()):
        role = "taught" if near == k else "alone"
        axis.plot(near, k, figures.MARKERS[role], color=figures.COLOURS[role], markersize=9)
    axis.set(title=name, xlabel="class of the source", xticks=range(10), yticks=range(10))
    axis.grid(False)
panels[0].set_ylabel("class of the target")
figures.show(
    picture,
    "In mirrored MNIST most target classes lie next to another class",
    "Dark: near. Each row marks the source class that is nearest: a green circle where it is the same class, an orange square where it is another.",
)

# %%
harm = metrics.difference(failed["mirrored"], failed["plain"])
gain = metrics.difference(failed["plain"], failed["blurred"])
ratios = {f"MMD², {name} over plain": far[name] / far["plain"] for name in ("mirrored", "blurred")}
text = "Mirrored MNIST is as near to the target as plain MNIST, and costs more than fifteen points; blurred MNIST is farther, and saves more than fifteen"
holds = harm.low > 15 and 0.8 < ratio < 1.2 and gain.low > 15 and far["blurred"] > far["plain"]
holds &= right["mirrored"] + 2 < right["plain"]
measured = {"points that the mirror costs": harm, "points that the blur saves": gain}
claim("06.4", text, holds, measured=measured | ratios)

# %% [markdown]
# A distance between clouds is *marginal*: it compares all images with all images. A mirrored 5 lies where the target's 2s are; the cloud as a whole has hardly moved. Ben-David et al. (2007) bound the target error by three terms: the source's error, a distance, and the error of the best network for *both* domains. Only the third knows the classes, and it needs labels of both.
#
# So: a large distance is a reason to look. A small one promises nothing. If you can buy a few target labels, score the candidates on them; without any, [](lesson08) has validators made for it.
#
# ## What can go wrong
#
# **Few images.** All distances but MMD² and the proxy grow as clouds shrink: use bands of the same number of images.
#
# **Other units.** Multiply a network's features by ten, divide its head by ten: the same answers, ten times the Euclidean distance. Across networks the unit decides.
#
# **Other class shares (label shift).** The same writers, but the "target" happens to hold zeros and ones only:

# %%
skewed = rest.only([0, 1])
unlike = measured_by_all(clouds[0], features(networks[0], skewed))
noticed = sum(unlike[name] > 1.5 * edges[name] for name in rulers)
points = max(error(net, skewed) - error(net, rest) for net in networks)

# %%
text = "Missing classes alone put most distances above their bands, though no network errs more"
measured = {"distances above 1.5 edges, of five": noticed, "points more, at most": points}
claim("06.5", text, noticed >= 4 and points < 1.5, measured=measured)

# %% [markdown]
# That is no gap that adapting should close: it would press zeros onto sevens. Page 08 shows it.
#
# ## Exercises
#
# **1 (5 minutes; why a distance cannot choose).** Write `class_gaps(f_a, y_a, f_b, y_b)`: for each of the ten classes, the Euclidean distance between its mean in cloud a and its mean in cloud b, as ten numbers. Do not centre the clouds.
#
# <details><summary>Hint 1</summary><code>f_a[y_a == k]</code> are the rows of class k.</details>
# <details><summary>Hint 2</summary><code>.mean(0)</code> averages over images; then the length of the difference of two means.</details>


# %% tags=["exercise"]
def class_gaps(f_a, y_a, f_b, y_b):
    # SOLUTION
    gaps = [(f_a[y_a == k].mean(0) - f_b[y_b == k].mean(0)).norm() for k in range(10)]
    return torch.stack(gaps)
    # END


exercises.class_gaps(class_gaps)

# %% [markdown]
# **2 (15 minutes; measure).** Write `coral_by_hand(f_a, f_b)`: the squared Frobenius distance of the two covariances, over $4 d^2$, $d$ the number of features. Covariances divide by $n - 1$. Clouds may differ in size.
#
# <details><summary>Hint 1</summary>Centre each cloud by its own mean first; the covariance is then the cloud, transposed, times itself, over n − 1.</details>
# <details><summary>Hint 2</summary><code>torch.cov</code> wants features in rows: give it <code>f.T</code>. Squared Frobenius: square all entries and sum.</details>


# %% tags=["exercise"]
def coral_by_hand(f_a, f_b):
    # SOLUTION
    gap = torch.cov(f_a.T) - torch.cov(f_b.T)
    return gap.square().sum() / (4 * f_a.shape[1] ** 2)
    # END


exercises.coral(coral_by_hand)

# %% [markdown]
# **3 (debugging; the null band).** This null band has no width at all. Mend that, and a second mistake shows: the band keeps growing with `permutations`. Mend both.
#
# ```python
# def mended_band(distance, f_a, f_b, permutations, seed):
#     generator, values = torch.Generator().manual_seed(seed), []
#     for _ in range(permutations):
#         a = f_a[torch.randperm(len(f_a), generator=generator)]
#         b = f_b[torch.randperm(len(f_b), generator=generator)]
#         values.append(float(distance(a, b)))
#     return min(values), max(values)
# ```
#
# <details><summary>Hint 1</summary>Shuffling the rows of a cloud does not change the cloud. What must be shuffled so that "source" and "target" lose their meaning?</details>
# <details><summary>Hint 2</summary>The smallest and largest of many values are not the middle 95 % of them: take quantiles.</details>


# %% tags=["exercise"]
def mended_band(distance, f_a, f_b, permutations, seed):
    # SOLUTION
    generator, values = torch.Generator().manual_seed(seed), []
    pooled = torch.cat([f_a, f_b])
    for _ in range(permutations):
        shuffled = pooled[torch.randperm(len(pooled), generator=generator)]
        values.append(float(distance(shuffled[: len(f_a)], shuffled[len(f_a) :])))
    low, high = torch.tensor(values).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high
    # END


exercises.mended_band(mended_band)

# %% [markdown]
# ## In three lines
#
# Look at the images first: a margin may be most of a "domain gap". A distance needs a null band, and the same number of images on both sides. It says that two clouds differ, not which class lies where; so it cannot choose a source.
#
# ## Recall
#
# <details><summary>Why are two halves of one domain not at distance 0?</summary>They are different samples; the null band says how much that makes.</details>
# <details><summary>Name two clouds that CORAL cannot tell apart.</summary>Any two with one covariance: a cloud and a moved copy of it.</details>
# <details><summary>What does MMD compare?</summary>The means of endlessly many features, through a kernel: likeness within the clouds against likeness across them.</details>
# <details><summary>Why can a near source teach badly?</summary>A distance compares all images with all images. The classes may be crossed: a mirrored 5 where the target's 2s are.</details>
#
# ## Reading
#
# - Ben-David, Blitzer, Crammer & Pereira (2007), *Analysis of Representations for Domain Adaptation*: the proxy A-distance and the bound.
# - Gretton et al. (2012), *A Kernel Two-Sample Test*: MMD with its null distribution.
# - Sun & Saenko (2016), *Deep CORAL*: two covariances as a training loss.
# - The [lab notes](lesson06/notes): nine distances, 16 networks, eight sources.
#
# Next: [](lesson07)
