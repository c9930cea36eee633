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
# - put a null band around zero, so that "far" means "farther than two clouds of one domain";
# - say why a distance alone cannot choose a source.
#
# **Why anyone wants this.** You trained on one hospital's scanner; new images come from another, without labels. Does the difference matter? Is another of your labelled sets a better source?
#
# Parameters: `count` images in a cloud; `permutations` for a null band; `seeds` networks from `seed` on.

# %% tags=["parameters"]
count: int = 200  # 50..250
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
# A **domain** is a place that images come from. The **source** has labels: MNIST's digits. The **target** has none: scikit-learn's digits, by its description from 13 writers, normalised by NIST's programs and counted in blocks of 4 × 4 pixels. Both are brought to 16 × 16. `seal()` puts the target's labels into an envelope that counts its openings.

# %%
small = budget == "small"
draws, levels = (20, [0.0, 1.0]) if small else (permutations, [0.0, 0.25, 0.5, 0.75, 1.0])
framed, here = domains.domains("A", inner=28), domains.domains("A")
target, labels = here.target_test.seal()

strip = torch.cat([part.x[:10] for part in (framed.source_test, here.source_test, target)])
figures.show(
    figures.digits(
        strip,
        [text for name in ("MNIST", "cropped", "target") for text in (name, *[""] * 9)],
        size=0.6,
    ),
    "MNIST has a margin, the target has none",
    "Ten images a row. Cropped to its inner 20 × 20 of 28 pixels, MNIST fills the frame as the target does.",
)

# %% [markdown]
# The margin shows how somebody cut the images; cropping removes it. What is that worth? Stored rows: `cnn(16)`, four epochs on the source, ten seeds in fold A; 500 target images. **Fold B** takes them from the other end of the target's file. (We infer that the file follows its writers: [lab notes of 08](lesson08/notes).)

# %%
ways = domains.ways("06")
show_table(*domains.table(ways, new="06"))
wrong = {name: way.wrong["A"] for name, way in ways.items()}
scissors = metrics.difference(wrong["source only, uncropped"], wrong["source only"])

# %%
text = "Cutting the source to its inner 20 × 20 pixels saves more than ten points on the target"
claim("06.1", text, scissors.low > 10, measured={"points saved": scissors})

# %% [markdown]
# Pages 07 to 09 add rows to this table. Its rows were scored with target labels; the margin itself is seen without. From here on the source is cropped.
#
# ## A prediction first
#
# Mirror every MNIST digit. Is that source farther from the target? (MMD² is one of the distances below.)

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
# | MMD² (Gretton et al. 2012) | below | nothing, given enough images |
# | proxy A (Ben-David et al. 2007) | $2\,(1 - 2\,\mathrm{err})$ of a linear probe on held-out rows | what no straight line tells apart |
#
# None of them sees a label. Here are the first two and *cosine* distance, 1 − cos of the angle between the means, in a plane. Blue is cloud a, orange cloud b; their means stay two apart. `angle` turns that line against the clouds' long axis, `stretch` makes the clouds longer, `origin` is how far they lie from 0. Turn `angle` from 90 to 0, then set `origin` to 8:

# %%
MeanDistances(title="The same two means, three answers")

# %% [markdown]
# Mahalanobis is large where the line between the means runs *across* the spread. Cosine fades far from the origin: the same line is seen under a smaller angle. Euclidean never moves.
#
# **MMD in words:** rows should look as much alike *across* the clouds as *within* them. **In four lines:** describe each row by features $\varphi$ and compare the means,
#
# $$\begin{aligned} \mathrm{MMD}^2 &= \lVert \mathrm{E}\,\varphi(a) - \mathrm{E}\,\varphi(b) \rVert^2 \\ &= \mathrm{E}\,\varphi(a)\cdot\varphi(a') + \mathrm{E}\,\varphi(b)\cdot\varphi(b') - 2\,\mathrm{E}\,\varphi(a)\cdot\varphi(b) \\ &= \overline{k(a, a')} + \overline{k(b, b')} - 2\,\overline{k(a, b)}, \qquad k(x, y) = \varphi(x)\cdot\varphi(y), \\ k(x, y) &= \exp(-\lVert x - y\rVert^2 / (c\,m)). \end{aligned}$$
#
# $m$: median squared distance; $k$ is averaged over five $c$. Only $k$ is ever computed, so $\varphi$ may be endless: with this $k$, two clouds agree in all means of $\varphi$ only if they are drawn from the same distribution (Gretton et al. 2012). We leave out $k(a, a)$. If nothing differs, MMD² lies *around* 0, sometimes below.


# %%
def mmd_by_hand(f_a, f_b):
    n_a, n_b, pooled = len(f_a), len(f_b), torch.cat([f_a, f_b])
    squared = torch.cdist(pooled, pooled) ** 2  # (n_a + n_b, n_a + n_b)
    itself = torch.eye(n_a + n_b, dtype=torch.bool)
    m = squared[~itself].median()
    k = sum(torch.exp(-squared / (c * m)) for c in (0.25, 0.5, 1, 2, 4)) / 5
    k = k.masked_fill(itself, 0)
    within = k[:n_a, :n_a].sum() / (n_a * (n_a - 1)) + k[n_a:, n_a:].sum() / (n_b * (n_b - 1))
    return within - 2 * k[:n_a, n_a:].mean()


# %% [markdown]
# Four clouds of the source (two for the bands, two fresh), one of the target:


# %%
def features(network, images):
    with models.evaluating(network):
        layers = models.observe(network, images[:count].batch().x, ["embedding"]).features
    return layers["embedding"]  # (count, 64)


networks = [domains.source_network(here.source, seed=seed + k) for k in range(seeds)]
parts = [*(here.source_test[k * count :] for k in range(4)), target]
cloud_a, cloud_b, fresh_a, fresh_b, cloud_t = (features(networks[0], part) for part in parts)
torch.testing.assert_close(mmd_by_hand(cloud_a, cloud_t), distances.mmd(cloud_a, cloud_t))

# %% [markdown]
# ## The null band
#
# Is a Euclidean distance of 3 far? Nobody can say: it has the unit of the features, and two clouds of *one* domain are not at 0 either. So ask what the number would be **if there were no difference**: pool two clouds of the source, shuffle the rows, cut them in two again, measure; many times. The middle 95 % of these values is the **null band** (a permutation test, Fisher 1935).

# %% tags=["nbval-ignore-output"]
names = ["euclidean", "mahalanobis", "coral", "mmd", "proxy_a_distance"]
rulers = {name: distances.DISTANCES[name] for name in names}
shuffles = dict(permutations=draws, seed=seed)
bands = {name: null_band(ruler, cloud_a, cloud_b, **shuffles) for name, ruler in rulers.items()}
edges = {name: high for name, (low, high) in bands.items()}


def measured_by_all(f_a, f_b):
    return {name: float(ruler(f_a, f_b)) for name, ruler in rulers.items()}


fresh, apart = measured_by_all(fresh_a, fresh_b), measured_by_all(cloud_a, cloud_t)
rows = [
    [name, *(f"{value:.3g}" for value in (*bands[name], fresh[name], apart[name]))]
    for name in rulers
]
show_table(["distance", "band, from", "to", "fresh clouds of the source", "to the target"], rows)

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=2.4)
axis.axvspan(0.05, 1, color=figures.GHOST, alpha=0.25, linewidth=0)
for role, label, value in (("teacher", "source, fresh", fresh), ("alone", "target", apart)):
    times = [max(0.06, value[name] / edges[name]) for name in rulers]
    axis.semilogx(times, names, figures.MARKERS[role], color=figures.COLOURS[role], label=label)
axis.set(xlabel="times the upper edge of its null band", xlim=(0.05, 900), ylim=(4.5, -0.5))
axis.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
axis.legend(frameon=False, loc="upper right")
figures.show(
    picture,
    "Fresh clouds of the source do not leave the bands upwards, the target does",
    "Grey: below the band's upper edge. Ratios share an axis, not a scale: some distances are squared, the proxy ends at 2. What lies below the left end is drawn there.",
)

# %%
inside = sum(fresh[name] <= edges[name] for name in rulers)
least = min(apart[name] / edges[name] for name in rulers)
text = "The target lies above the null bands of all five distances, fresh clouds of the source above at most two"
holds = least > 2 and inside >= 3
claim(
    "06.2",
    text,
    holds,
    measured={"least times its edge": least, "of five, not above their edge, fresh": inside},
)

# %% [markdown]
# ## More and more of a shift
#
# `data.severity(name, level)` changes images, from not at all (level 0) to strongly (level 1). One cloud is the source, the other *different* images of the source, changed. Each network is measured in its own bands.

# %%
shifts = ["rotate", "mirror", "blur", "contrast"]
reserve = here.source_test[count:]
ladder = [reserve.transformed(data.severity(name, k), seed=seed) for name in shifts for k in levels]


def along_the_ladder(network):
    own, other = (features(network, part) for part in parts[:2])
    own_edges = [null_band(ruler, own, other, **shuffles)[1] for ruler in rulers.values()]
    found = [list(measured_by_all(own, features(network, part)).values()) for part in ladder]
    return (torch.tensor(found) / torch.tensor(own_edges)).tolist()


def error(network, images):
    return float(metrics.error_percent(models.predict(network, images), images.y))


shape = (len(shifts), len(levels))
along = torch.tensor([along_the_ladder(net) for net in networks]).mean(0)  # (20, 5)
errors = torch.tensor([[error(net, part) for part in ladder] for net in networks]).mean(0)

# %% [markdown]
# Slide `level` of `rotate`; then compare `rotate` at 0.75 with `mirror` at 1:

# %%
Severity(
    shifts,
    levels,
    torch.stack([part.x[:5, 0] for part in ladder]).unflatten(0, shape),
    {name: along[:, k].view(shape) for k, name in enumerate(rulers)},
    dict.fromkeys(rulers, 1.0),
    errors.view(shape),
    n=len(reserve),
    start={"shift": "rotate", "level": levels[-2]},
)

# %% [markdown]
# More of one shift gives larger distances and more errors. Across shifts the order breaks (times the edge, mean of the networks):

# %% tags=["nbval-ignore-output"]
times_edge, errors_at = along.view(*shape, -1), errors.view(shape)
compared = {f"rotate, {levels[-2]:g}": (0, -2), f"mirror, {levels[-1]:g}": (1, -1)}
ladder_rows = [
    [name, *(f"{times:.3g}" for times in times_edge[at].tolist()), f"{errors_at[at]:.1f}"]
    for name, at in compared.items()
]
show_table(["shift, level", *rulers, "error %"], ladder_rows)

# %% [markdown]
# The mirrored images are nearer by every distance, yet cost more errors. And `proxy_a_distance` comes near its ceiling of 2: a probe without errors cannot improve.

# %%
none, most = times_edge[:, 0], times_edge[:, -1]
text = "At level 1 of four shifts all five distances lie above their bands; unchanged images do not leave most of them"
least_of_most, quiet = float(most.min()), int((none <= 1).all(0).sum())
measured = {"least times its edge, level 1": least_of_most, "of five, inside at level 0": quiet}
claim("06.3", text, least_of_most > 1.2 and quiet >= 3, measured=measured)

# %% [markdown]
# ## Which source? Distances do not see classes
#
# Three labelled sources, made from the same MNIST: take the nearest? MMD on bare pixels, so that nothing is trained before choosing:


# %%
def pixels(images):
    return images[:500].batch().x.flatten(1)  # (500, 256)


plain, goal = here.source_test, pixels(target)
candidates = {"plain": plain}
candidates |= {name: table.made(plain, name) for name in ("mirrored", "blurred")}
mmd_to_target = {name: float(distances.mmd(pixels(x), goal)) for name, x in candidates.items()}
pixel_bands = {
    name: null_band(distances.mmd, pixels(x), goal, permutations=20)
    for name, x in candidates.items()
}

# %% [markdown]
# Only now the envelope. `between[name]`: distances of the class means, each cloud centred first:

# %%
y = labels.open("to see where the classes lie")
between = {
    name: classes.between_classes(pixels(part), part.y[:500], goal, y)
    for name, part in candidates.items()
}
nearest = {name: gap.argmin(1) for name, gap in between.items()}
own_class = {name: int((near == torch.arange(10)).sum()) for name, near in nearest.items()}

# %% [markdown]
# And the errors of five networks trained on each source (stored; the first five of the ten seeds). What did you predict?

# %% tags=["nbval-ignore-output"]
stored = tables.read(table.__file__)
failed = {"plain": wrong["source only"][:5]}
failed |= {name: classes.answers(stored, name) for name in list(candidates)[1:]}
head = [
    "source",
    "MMD² to the target",
    "null band, to",
    "classes whose nearest is their own",
    "target error %",
]
error_text = {name: f"{metrics.interval(100 * failed[name].double()):.1f}" for name in candidates}
source_rows = [
    [name, f"{value:.3f}", f"{pixel_bands[name][1]:.3f}", own_class[name], error_text[name]]
    for name, value in mmd_to_target.items()
]
show_table(head, source_rows)
ratio = mmd_to_target["mirrored"] / mmd_to_target["plain"]
guess.recall(guess.options[1 if 0.8 < ratio < 1.2 else 0 if ratio > 1 else 2])

# %% [markdown]
# The farthest of the three is the best source by far, and of two that are equally near one is much worse. (The bands say that all three differ from the target, not which differs more. Why is blur farther? It also pales the strokes, which moves the mean image away. The next pages keep the plain source.) Where do the classes lie?

# %% tags=["nbval-ignore-output"]
picture, panels = figures.figure(height=3.2, panels=2)
both = torch.stack([between[name] for name in ("plain", "mirrored")])
limits = {"vmin": float(both.min()), "vmax": float(both.max())}
for axis, name in zip(panels, ("plain", "mirrored"), strict=True):
    shades = axis.imshow(between[name].numpy(), cmap="Greys_r", **limits)
    for k, near in enumerate(nearest[name].tolist()):
        role = "taught" if near == k else "alone"
        axis.plot(near, k, figures.MARKERS[role], color=figures.COLOURS[role], markersize=5)
    axis.set(title=name, xlabel="class of the source", xticks=range(10), yticks=range(10))
    axis.grid(False)
panels[0].set_ylabel("class of the target")
picture.colorbar(shades, ax=list(panels), shrink=0.8, label="distance of class means")
figures.show(
    picture,
    "In mirrored MNIST most target classes lie next to another class",
    "Dark: near. Each row marks the nearest source class: a green circle where it is the same class, an orange square where it is another.",
)

# %%
harm = metrics.difference(failed["mirrored"], failed["plain"])
gain = metrics.difference(failed["plain"], failed["blurred"])
ratios = {
    f"MMD², {name} over plain": mmd_to_target[name] / mmd_to_target["plain"]
    for name in ("mirrored", "blurred")
}
gaps = {name: float((pixels(x).mean(0) - goal.mean(0)).norm()) for name, x in candidates.items()}
ratios["distance of mean images, blurred over plain"] = gaps["blurred"] / gaps["plain"]
text = "Mirrored MNIST is as near to the target as plain MNIST, and costs more than fifteen points; blurred MNIST is farther, and saves more than fifteen"
holds = (
    harm.low > 15 and 0.8 < ratio < 1.2 and gain.low > 15 and ratios["MMD², blurred over plain"] > 1
)
holds &= own_class["mirrored"] + 2 < own_class["plain"]
measured = {"points that the mirror costs": harm, "points that the blur saves": gain}
claim("06.4", text, holds, measured=measured | ratios)

# %% [markdown]
# A distance between clouds is *marginal*: it compares all images with all images. A mirrored 5 lies where the target's 2s are; the cloud has moved, but is no farther from the target. Ben-David et al. (2007) bound the target error by three terms: the source's error, a distance, and the error of the best network for *both* domains. Only the third needs target labels.
#
# A large distance is a reason to look. A small one promises nothing. If you can buy a few target labels, score the candidates on them; if not, see the validators of [08](lesson08).
#
# ## What can go wrong
#
# **Few images.** Means of $n$ images wander: $\lVert\delta\rVert^2$ gains $\mathrm{tr}\,C_a/n_a + \mathrm{tr}\,C_b/n_b$ on average. Use a band made with the same numbers of images.
#
# **Other units.** Multiply a network's features by ten, divide its head by ten: the same answers, ten times the Euclidean distance. Across networks compare times the band's edge.
#
# **Other class shares (label shift).** The same writers, but the "target" happens to hold zeros and ones only:

# %%
skewed = reserve.only([0, 1])
cloud_s = features(networks[0], skewed)
unlike = measured_by_all(cloud_a, cloud_s)
as_few = cloud_a, cloud_b[: len(cloud_s)]  # the band of as many images
edges_s = {name: null_band(ruler, *as_few, **shuffles)[1] for name, ruler in rulers.items()}
noticed = sum(unlike[name] > 1.5 * edges_s[name] for name in rulers)
points = max(error(net, skewed) - error(net, reserve) for net in networks)

# %%
text = "Missing classes alone put most distances above their bands, though no network makes more errors"
measured = {"distances above 1.5 edges, of five": noticed, "points more, at most": points}
claim("06.5", text, noticed >= 4 and points < 1.5, measured=measured)

# %% [markdown]
# That is no gap that adapting should close. [08](lesson08) shows the harm.
#
# ## Exercises
#
# **1 (5 minutes; why a distance cannot choose).** Write `class_gaps(f_a, y_a, f_b, y_b)`: for each of the ten classes, the Euclidean distance between its mean in cloud a and its mean in cloud b, as ten numbers. Unlike the page, do not centre the clouds.
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
# **2 (15 minutes; measure).** Write `coral_by_hand(f_a, f_b)`: the squared Frobenius distance of the two covariances, over $4 d^2$, $d$ the number of features. Covariances divide by $n - 1$. Clouds may differ in size. Which two different clouds does it call equal?
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
# **3 (debugging; the null band).** This null band has no width at all. Mend that, and a second fault shows: its "two clouds" are not those that were measured. Mend both.
#
# ```python
# def mended_band(distance, f_a, f_b, permutations, seed):
#     pooled, values = torch.cat([f_a, f_b]), []
#     for _ in range(permutations):
#         generator = torch.Generator().manual_seed(seed)
#         shuffled = pooled[torch.randperm(len(pooled), generator=generator)]
#         values.append(float(distance(*shuffled.chunk(2))))
#     return tuple(torch.tensor(values).quantile(torch.tensor([0.025, 0.975])).tolist())
# ```
#
# <details><summary>Hint 1</summary>Print the first rows of each shuffled cloud. Do they differ from draw to draw?</details>
# <details><summary>Hint 2</summary>Give it clouds of 40 and of 25 rows. How many rows has each side of a draw?</details>


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
# Look at the images first: a margin may be most of a "domain gap". A distance needs a null band, made with the same numbers of images. It says that two clouds differ, not which class lies where; so it cannot choose a source.
#
# ## Recall
#
# <details><summary>Why are two clouds of one domain not at distance 0?</summary>They are different samples; the null band says how much that makes.</details>
# <details><summary>Name two clouds that CORAL cannot tell apart.</summary>Any two with the same covariance: a cloud and a moved copy of it.</details>
# <details><summary>What does MMD compare?</summary>The means of endlessly many features, through a kernel: likeness within the clouds against likeness across them.</details>
# <details><summary>Why can a near source teach badly?</summary>A distance compares all images with all images. The classes may be crossed: a mirrored 5 where the target's 2s are.</details>
#
# ## Reading
#
# - Ben-David, Blitzer, Crammer & Pereira (2007), *Analysis of Representations for Domain Adaptation*: proxy and bound.
# - Gretton et al. (2012), *A Kernel Two-Sample Test*: MMD.
# - Mahalanobis (1936), *On the Generalised Distance in Statistics*. Fisher (1935), *The Design of Experiments*: permutation tests.
# - Sun & Saenko (2016), *Deep CORAL*.
# - The [lab notes](lesson06/notes): nine distances, 16 networks, eight sources.
#
# Next: [](lesson07)
