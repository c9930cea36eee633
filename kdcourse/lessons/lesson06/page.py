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
# **In one line:** a distance means nothing without its null band; with it, it tells you *that* images differ and often how much one network will suffer, but not which way they differ, nor which of many networks is the better one.
#
# *{minutes} minutes to read, exercises apart · about 30 CPU seconds to run · needs: [](lesson01)*
#
# **First, wake the sliders: Run ▸ Run All Cells.** On Binder's shared processor this may take three times as long.
#
# After this page you can
#
# - measure how far apart two clouds of features are, in nine ways, and say what each way cannot see;
# - put a null band around zero, so that "far" means "farther than two halves of one domain";
# - choose among several sources without a single target label, and say how far to trust the choice.

# %% tags=["parameters"]
dataset: str = "mnist5k"  # mnist5k | mnist | fashion
shift: str = "rotate"  # mirror | rotate | shift | crop | blur | texture | contrast | noise
count: int = 100  # 50..400
permutations: int = 80  # 20..1000
seeds: int = 5  # 2..20
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %% [markdown]
# `shift` is the change that the severity axis puts on the images, `count` the images in each cloud, `permutations` the lots drawn for a null band.

# %%
import pandas as pd
import torch
from IPython.display import Markdown, display

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.lessons.lesson06 import exercises
from kdcourse.lessons.lesson06.mean_distances import MeanDistances
from kdcourse.lessons.lesson06.severity import Severity
from kdcourse.parameters import check_parameters
from kdlib import data, distances, metrics, models
from kdlib.bank import train_bank
from kdlib.data import shifts
from kdlib.distances import DISTANCES, null_band

check_parameters()

# %% [markdown]
# ## Recap
#
# A **domain** is a place that images come from: a camera, a scanner, a group of writers. A network learns on a *source* and is used on a *target*. Our source is MNIST; our target is scikit-learn's digits, by other writers, through another scanner. Both at 16 × 16 pixels.

# %%
small = budget == "small"
count, permutations, seeds = (50, 20, 2) if small else (count, permutations, seeds)
raw, source = data.load(dataset), data.load(dataset, size=16)
rows = slice(0, 500 if small else 2500)
test, raw_test = source.test[:1000], raw.test[:1000]
digits = data.load("digits", size=16)
target, labels = (digits.train + digits.validation + digits.test).as_domain(1).seal()
del digits  # whoever wants a label must open the envelope

# %% [markdown]
# `seal()` gives the images without labels, and the labels in an envelope that counts its openings. In practice a target has no labels; we open the envelope only to find out, afterwards, whether a distance told the truth, and if not, why.

# %%
strip = torch.cat([test.x[:10], target.x[:10]])
figures.show(
    figures.digits(strip),
    "Ten images of the source above, ten of the target below",
    "The digits below are rougher, and they fill the frame; remember the frame.",
)

# %% [markdown]
# ## A prediction first
#
# At the end we train 16 different networks on the source. For each we ask a classifier to tell source from target, looking at that network's features: the better it can, the larger the *proxy A-distance*.

# %%
guess = checks.Prediction(
    "Where the two domains look further apart, the network errs on the target …",
    ["more", "as much, as far as 16 networks can tell", "less"],
)
guess

# %% [markdown]
# ## The naive version
#
# Take a network trained on the source, look at its last features $f(x)$, and measure the line between the two means, $\|\mu_a - \mu_b\|$. (Five networks, and five more trained on MNIST cut to its inner 20 × 20 pixels: we shall need them.)


# %%
def student(width):
    return models.mlp(256, width, 10)


inner = shifts.crop(20, 16) if raw.train.x.shape[-1] >= 20 else shifts.crop(16, 16)
framings = {"as framed": source.train[rows], "cropped": raw.train[rows].transformed(inner)}
# %% [markdown]
# Trained live:

# %%
settings = dict(seeds=range(seed, seed + seeds), precision="auto", evaluate={"target": target})
settings |= dict(epochs=2 if small else 15)
bank = train_bank(
    student=student(32),
    grid={"framing": list(framings)},
    examples=lambda framing: framings[framing],
    **settings,
)


# %% [markdown]
# A *cloud* is what a network makes of `count` images: `(count, 32)` numbers.


# %%
def features(network, examples):
    with models.evaluating(network):
        seen = models.observe(network, examples[:count].batch().x, ["embedding"])
    return seen.features["embedding"]  # (count, width)


networks = [bank.network(framing="as framed", seed=one) for one in bank.seeds]
ours, theirs = (features(networks[0], one) for one in (test, target))

# %% tags=["nbval-ignore-output"]
far = distances.euclidean(ours, theirs)
print(f"Euclidean distance between the means: {far:.2f}")

# %% [markdown]
# Is that far? Nobody can say: it has the unit of the features, and two *halves of the source* would not give zero either. So ask what the same number would be **if there were no difference**. Take two clouds of the *source*, pool them, shuffle the pooled rows and cut them into two groups, measure, and again. (To test one given pair, pool that very pair: the severity axis below does so.)


# %%
def dealt_by_lot(distance, f_a, f_b):
    pooled, generator = torch.cat([f_a, f_b]), torch.Generator().manual_seed(seed)
    values = []
    for _ in range(permutations):
        order = torch.randperm(len(pooled), generator=generator)
        one, other = pooled[order].split([len(f_a), len(f_b)])
        values.append(float(distance(one, other)))
    return torch.tensor(values, dtype=torch.float64)


# %% [markdown]
# The middle 95 % of these values is the **null band**: the range in which a distance means nothing. Is that kdlib's function?

# %%
half = features(networks[0], test[count:])  # other images of the same source
chance = dealt_by_lot(distances.euclidean, ours, half)
band = chance.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
found = null_band(distances.euclidean, ours, half, permutations=permutations, seed=seed)
torch.testing.assert_close(band.float(), torch.tensor(found))

# %% [markdown]
# It is. Now the same number can be read:

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=2.4)
axis.hist(chance, bins=20, color=figures.GHOST)
lines = {"source, other half": (distances.euclidean(ours, half), "teacher", (4, 0), "left")}
lines["target"] = (far, "alone", (-4, 0), "right")
for name, (value, role, gap, side) in lines.items():
    axis.axvline(value, color=figures.COLOURS[role], linestyle=figures.DASHES[role])
    place = dict(xytext=gap, textcoords="offset points", va="top", ha=side, fontsize=8.5)
    over = axis.get_xaxis_transform()
    axis.annotate(name, (float(value), 0.98), xycoords=over, color=figures.INKS[role], **place)
axis.set(xlabel="Euclidean distance between the means", ylabel="lots", xlim=(0, None))
axis.set_ylim(0, 1.3 * axis.get_ylim()[1])
figures.show(
    picture,
    "Two halves of one domain are some way apart; the target is farther",
    f"Grey: {permutations} ways of dealing rows of the source into two piles by lot.",
)

# %% [markdown]
# Nine distances live in `DISTANCES`; each takes two clouds. All nine on the two pairs, with the band of each:

# %%
own = {name: float(gap(ours, half)) for name, gap in DISTANCES.items()}
other = {name: float(gap(ours, theirs)) for name, gap in DISTANCES.items()}
deal = dict(permutations=permutations, seed=seed)
bands = {name: null_band(gap, ours, half, **deal) for name, gap in DISTANCES.items()}
edges = {name: high for name, (low, high) in bands.items()}

# %% tags=["nbval-ignore-output"]
table = pd.DataFrame({"other half": own, "target": other}).map("{:.2g}".format)
table["band"] = [f"{low:.2g} to {high:.2g}" for low, high in bands.values()]
table

# %% [markdown]
# The build of this page checks what the table shows:

# %%
quiet = sum(own[name] <= edges[name] for name in DISTANCES)
least = min(other[name] / edges[name] for name in DISTANCES)
measured = {"distances in their band": quiet, "least target over edge": least}
text = "Two halves of the source stay in the null bands; the target lies above all nine"
claim("06.1", text, quiet >= 7 and least > 1.5, measured=measured)

# %% [markdown]
# ## Three distances between means
#
# **In words.** *Euclidean*: how long is the line between the means? *Cosine*: seen from the origin, how far must I turn my head? *Mahalanobis* (1936): how many of the clouds' own spreads lie on that line?
#
# **In formulas.** With $\delta = \mu_a - \mu_b$ and $S$ the covariance within the clouds, pooled:
#
# $$\|\delta\| \qquad\qquad 1 - \frac{\mu_a \cdot \mu_b}{\|\mu_a\|\,\|\mu_b\|} \qquad\qquad \sqrt{\delta^\top S^{-1}\,\delta}$$
#
# A few hundred images do not fix a covariance of many features well, and its inverse might not exist; so $S$ is **shrunk**: one tenth of it is replaced by a round ball of the same mean variance.


# %%
def mahalanobis_by_hand(f_a, f_b, shrinkage=0.1):
    delta, n, m = f_a.mean(0) - f_b.mean(0), len(f_a) - 1, len(f_b) - 1
    S = (n * torch.cov(f_a.T) + m * torch.cov(f_b.T)) / (n + m)
    ball = S.diagonal().mean() * torch.eye(len(S), dtype=S.dtype)
    S = (1 - shrinkage) * S + shrinkage * ball
    return (delta @ torch.linalg.solve(S, delta)).sqrt()


torch.testing.assert_close(
    mahalanobis_by_hand(ours.double(), theirs.double()), distances.mahalanobis(ours, theirs)
)

# %% [markdown]
# A playground. The means stay two apart in every state. Predict each of the three before you slide.

# %%
MeanDistances(title="The same two means, three answers")

# %% [markdown]
# Turn the line of the means (`angle`) in stretched clouds: Mahalanobis grows when the line runs *across* the spread, where two units are many spreads. Move away (`origin`): cosine fades, nothing else changes. At an angle of 45 the second mean lies straight behind the first: cosine says 0. Euclidean never moves. Cosine ignores the clouds' spread, Mahalanobis ignores where zero is; Euclidean alone ignores both.
#
# Features have no natural unit, so it matters that a distance survives a change of units:

# %%
stretch = torch.ones(2).double()
stretch[0] = 10
a, b = torch.randn(2, 80, 2, generator=torch.Generator().manual_seed(seed)).double()
b = b + 1
# %%
units = {"euclidean": distances.euclidean(a * stretch, b * stretch) / distances.euclidean(a, b)}
bare = [distances.mahalanobis(*pair, shrinkage=0) for pair in [(a * stretch, b * stretch), (a, b)]]
units["mahalanobis"] = bare[0] / bare[1]

# %% [markdown]
# `units` holds each distance after the change, over the one before:

# %%
holds = units["euclidean"] > 3 and abs(units["mahalanobis"] - 1) < 1e-6
measured = {name: float(ratio) for name, ratio in units.items()}
text = "One feature in other units changes the Euclidean distance, but not the unshrunk Mahalanobis"
claim("06.2", text, holds, measured=measured)

# %% [markdown]
# ## Beyond means
#
# Two clouds can share a mean and still differ. Six more rulers, in order of what they look at:
#
# | distance | what it compares | formula |
# |---|---|---|
# | `coral` (Sun & Saenko 2016) | covariances | $\lVert C_a - C_b\rVert_F^2 / (4 d^2)$ |
# | `frechet` (Dowson & Landau 1982) | means and covariances, as of two Gaussians | $\lVert\delta\rVert^2 + \mathrm{tr}(C_a + C_b - 2 (C_a C_b)^{1/2})$ |
# | `mmd` (Gretton et al. 2012) | all smooth functions, through a kernel | below |
# | `sliced_wasserstein` (Bonneel et al. 2015) | the work of carrying one cloud into the other, along random lines | $\sqrt{\;}$ of the mean over lines of *squared* sorted differences |
# | `sinkhorn` (Genevay et al. 2018) | the same work in all dimensions, blurred a little | $W(a,b) - W(a,a)/2 - W(b,b)/2$ (costs in units of the pooled median, as in MMD) |
# | `proxy_a_distance` (Ben-David et al. 2007) | what a linear classifier can tell apart, on held-out rows | $2 (1 - 2\,\mathrm{err})$ |
#
# MMD in words: rows should look as much alike *across* the clouds as *within* them. With a kernel $k(x, y) = \exp(-\|x - y\|^2 / (c\,m))$, $m$ the median of the pooled squared distances, averaged over a few $c$:
#
# $$\mathrm{MMD}^2 = \overline{k(a, a')} + \overline{k(b, b')} - 2\,\overline{k(a, b)}$$
#
# The first two means leave out each row's likeness to itself. That makes it *unbiased*: around 0, often below, where nothing differs. The other rulers (all but `proxy_a_distance`) are *plug-in*: never below 0, and above it for any two samples.


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


torch.testing.assert_close(mmd_by_hand(ours, theirs), distances.mmd(ours, theirs))

# %% [markdown]
# What does each see? Four made-up clouds in the plane: one plain, one *moved*, one *wider* about the same mean, and a *ring* whose mean and covariance are those of the plain one.


# %%
def drawn(seed, size=300):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 2, generator=generator, dtype=torch.float64)


plain, away = drawn(seed), 3.0
made = {"moved": drawn(seed + 1) + 1, "wider": 2 * drawn(seed + 2)}
ring = drawn(seed + 3)
made["ring"] = 2**0.5 * ring / ring.norm(dim=1, keepdim=True)

# %% [markdown]
# Each distance over the upper edge of its null band; above 1 is seen.

# %%
lots = dict(permutations=20 if small else 30, seed=seed)
sight = {
    kind: {
        name: float(gap(plain + away, cloud + away))
        / null_band(gap, plain + away, cloud + away, **lots)[1]
        for name, gap in DISTANCES.items()
    }
    for kind, cloud in made.items()
}

# %% tags=["nbval-ignore-output"]
pd.DataFrame(sight).map(lambda ratio: f"{ratio:.1f}" + (" ✓" if ratio > 1 else " ·"))

# %% [markdown]
# The ring is the hard one:

# %%
blind, sharp = ["euclidean", "mahalanobis", "coral"], ["mmd", "sinkhorn"]
measured = {f"{name}, ring": sight["ring"][name] for name in [*blind, *sharp]}
holds = max(sight["ring"][name] for name in blind) < 1.25
holds &= min(sight["ring"][name] for name in sharp) > 1.15
text = "A ring with a blob's mean and covariance: rulers of means and covariances miss it, MMD and transport see it"
claim("06.3", text, holds, measured=measured)

# %% [markdown]
# Read it by rows: each ruler answers its own question. No ruler is "the" distance.
#
# ## A severity axis
#
# Now real images, and a shift of our own making, so that we know the truth: `data.severity(name, level)` changes images from not at all (level 0, exactly) to strongly (level 1). The clouds are *different* images of the source: `count` as they are, `count` others changed.


# %%
levels = [0.0, 0.5, 1.0] if small else [0.0, 0.25, 0.5, 0.75, 1.0]


def changed(name, level):
    return test[count:].transformed(data.severity(name, level), seed=seed)


along = [features(networks[0], changed(shift, level)) for level in levels]

# %% [markdown]
# At each level, the distance and its null band. Here one pair is given, so the band pools that very pair:

# %%
values = {name: [gap(ours, cloud) for cloud in along] for name, gap in DISTANCES.items()}
tops = {
    name: [null_band(gap, ours, cloud, **deal)[1] for cloud in along]
    for name, gap in DISTANCES.items()
}

# %%
pairs = {name: zip(values[name], tops[name], strict=True) for name in DISTANCES}
times = {name: [float(one) / top for one, top in both] for name, both in pairs.items()}

# %% [markdown]
# `times` says how many band edges the distance is; 1 is the edge of the band.

# %% tags=["nbval-ignore-output"]
groups = [["euclidean", "cosine", "mahalanobis"], ["coral", "frechet", "mmd"]]
groups.append(["sliced_wasserstein", "sinkhorn", "proxy_a_distance"])
picture, axes = figures.figure(height=3.0, panels=3, sharey=True)
for axis, names in zip(axes, groups, strict=True):
    axis.axhspan(0.05, 1, color=figures.GHOST, alpha=0.25, linewidth=0)
    for name, role in zip(names, ("teacher", "alone", "taught"), strict=True):
        look = dict(color=figures.COLOURS[role], linestyle=figures.DASHES[role])
        seen = [max(one, 0.06) for one in times[name]]
        axis.semilogy(levels, seen, marker=figures.MARKERS[role], label=name, **look)
    axis.set(xlabel=f"{shift}, level", ylim=(0.05, 60))
    axis.legend(fontsize=7.5, frameon=False, loc="lower right")
axes[0].set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
axes[0].set_ylabel("times its null band's edge")
quiet, loud = (sum(one[k] > 1 for one in times.values()) for k in (0, -1))
figures.show(
    picture,
    f"Above their null bands: {quiet} of nine distances at level 0, {loud} of nine at level 1",
    "Grey: inside the null band of that level. The axis is logarithmic; a value below its floor is drawn there.",
)

# %% [markdown]
# The two ends of the axis:

# %%
start, end = ([one[place] for one in times.values()] for place in (0, -1))
measured = {"inside at level 0": sum(one <= 1 for one in start), "least at level 1": min(end)}
text = "At level 0 the distances stay in their null bands; at level 1 all nine are above"
claim("06.4", text, sum(one <= 1 for one in start) >= 7 and min(end) > 1.5, measured=measured)

# %% [markdown]
# All shifts, all levels, all distances, with the errors of the network beside them. (Each number is the mean over the networks of all seeds, each with its own features. Here the band is again that of two halves of the source, in the first network's features.)


# %%
def nine(network, one, other):
    clouds = features(network, one), features(network, other)
    return torch.tensor([float(gap(*clouds)) for gap in DISTANCES.values()])


def error(network, examples):
    return float(metrics.error_percent(models.predict(network, examples), examples.y))


# %% [markdown]
# The first is (9,), the second a percentage. Over shifts and levels:

# %%
places = [(name, level) for name in data.SHIFTS for level in levels]
targets = [changed(*place) for place in places]
# %%
alone = torch.stack([torch.stack([nine(net, test, one) for one in targets]) for net in networks])
erring = torch.tensor([[error(net, one) for one in targets] for net in networks])
shape = (len(data.SHIFTS), len(levels))
alone = alone.view(-1, *shape, len(DISTANCES))  # (seeds, shifts, levels, 9)
apart, errs = alone.mean(0), erring.view(-1, *shape).mean(0)

# %% [markdown]
# And the explorer over all of it:

# %%
Severity(
    list(data.SHIFTS),
    levels,
    torch.stack([one.x[:5, 0] for one in targets]).unflatten(0, shape),
    {name: apart[..., k] for k, name in enumerate(DISTANCES)},
    edges,
    errs,
    n=len(targets[0]),
    start={"shift": shift, "level": levels[-2]},
    title="More and more of a shift",
)

# %% [markdown]
# Slide the level of `rotate`, then of `mirror`, then of `contrast`. Three things to notice. Different shifts move different rulers. On `contrast` (and on `texture` and `shift`) `proxy_a_distance` is soon at its ceiling of 2 and tells no more: a classifier that errs never cannot err less; on `rotate` and `mirror` it does not get there. And equal distances do not mean equal harm: look for two states with like bars and unlike errors.
#
# ## The frame as a hidden shift
#
# Back to the real target. Look again at the strip at the top: MNIST's digits sit in the middle of their frame, with four pixels of 28 black on every side; scikit-learn's digits fill theirs. That is no difference between writers or scanners. It is how somebody cut the images.

# %%
whole, cut = test, raw_test.transformed(inner)
strip = torch.cat([whole.x[:10], cut.x[:10], target.x[:10]])
figures.show(
    figures.digits(strip),
    "MNIST as framed, MNIST cut to its inner 20 × 20 pixels, and the target",
    "All at 16 × 16 pixels; after the cut, the digits fill the frame as the target's do.",
)

# %% [markdown]
# Measured on bare pixels (no network has seen them yet), with two halves of MNIST beside:


# %%
def pixels(examples):
    return examples[:count].batch().x.flatten(1)  # (count, 1, 16, 16) -> (count, 256)


pairs = {"two halves of MNIST": (whole, whole[count:])}
pairs |= {"as framed": (whole, target), "cropped": (cut, target)}
framed = {
    pair: {name: float(gap(pixels(one), pixels(other))) for name, gap in DISTANCES.items()}
    for pair, (one, other) in pairs.items()
}

# %% tags=["nbval-ignore-output"]
pd.DataFrame(framed).map("{:.2g}".format)

# %% [markdown]
# And the errors on the target, of networks trained on the one and on the other. Here the envelope is opened, for the first time:

# %%
y = labels.open("to score networks that are trained")
wrong = bank.logits["target"].argmax(-1) != y  # (framing, seeds, N)
gain = metrics.difference(wrong[0], wrong[1])

# %% tags=["nbval-ignore-output"]
before, after = (metrics.interval(100 * one.double()) for one in wrong)
display(
    Markdown(
        f"Error on the target: **{before:.1f} %** trained as framed, **{after:.1f} %** trained on the inner 20 × 20 pixels. "
        f"A cut with scissors saves {gain:.1f} points."
    )
)

# %% [markdown]
# And how many of the nine distances fell with the cut?

# %%
nearer = sum(framed["cropped"][name] < framed["as framed"][name] for name in DISTANCES)
measured = {"points": gain, "distances that fall": nearer}
text = "Cutting MNIST to its inner 20 × 20 saves more than 20 points on the target, and most distances fall"
claim("06.5", text, gain.low > 20 and nearer >= 7, measured=measured)

# %% [markdown]
# Before you adapt a network, look at the images. Much of a "domain gap" may be framing, contrast, or a forgotten division by 255; no clever loss is needed for those. (One ruler may well say the opposite: after the cut the *covariances* of pixels are larger, and `coral` looks at nothing else.)
#
# ## Which source?
#
# A common choice: several labelled sources, one target without labels. Take the nearest? Eight sources, all made from the same MNIST; distances on bare pixels, so that nothing is trained before choosing.


# %%
def then(*steps):
    def transform(x, generator):
        for step in steps:
            x = step(x, generator)
        return x

    return transform


# %% [markdown]
# Each way is a function of images, from one step or several:

# %%
full = raw_test.x.shape[-1]
ways = {"as framed": shifts.crop(full, 16), "inner 24": shifts.crop(24, 16), "inner 20": inner}
ways["20, blurred"] = then(inner, shifts.blur(1))
ways["20, noisy"] = then(inner, shifts.noise(0.3))
ways["20, turned"] = then(inner, shifts.rotate(30))
ways["20, mirrored"] = then(inner, shifts.mirror())
ways["20, moved"] = then(inner, shifts.shift(3))

# %% [markdown]
# Distances first, from the sources' test images and the unlabelled target:

# %%
looks = {name: raw_test[:count].transformed(way, seed=seed) for name, way in ways.items()}
near = {
    name: [float(gap(pixels(one), pixels(target))) for one in looks.values()]
    for name, gap in DISTANCES.items()
}
choices = {name: list(ways)[values.index(min(values))] for name, values in near.items()}

# %% [markdown]
# Only now students, five of each source, to see which choice was good:

# %%
sets = {name: raw.train[rows].transformed(way, seed=seed) for name, way in ways.items()}
trained = train_bank(
    student=student(32),
    grid={"source": list(sets)},
    examples=lambda source: sets[source],
    **settings,
)
# %%
missed = trained.logits["target"].argmax(-1) != y  # (source, seeds, N)
names = list(sets)
cost = dict(zip(names, 100 * missed.double().mean((1, 2)), strict=True))

# %% [markdown]
# What each ruler would have chosen, and what that costs:

# %% tags=["nbval-ignore-output"]
best = min(cost, key=cost.get)
verdicts = [
    (name, pick, float(cost[pick]), float(cost[pick] - cost[best]))
    for name, pick in choices.items()
]
columns = ["distance", "nearest source", "its error %", "points above the best"]
pd.DataFrame(verdicts, columns=columns).round(1)

# %% [markdown]
# Some rulers chose well, some badly; before opening the envelope nobody knows which. One of them against the errors, source by source:

# %% tags=["nbval-ignore-output"]
order = sorted(range(len(sets)), key=near["mmd"].__getitem__)
picture, (left, right) = figures.figure(height=3.0, panels=2, sharey=True)
for place, k in enumerate(order):
    odd = names[k] in ("20, turned", "20, mirrored")
    color, marker = (figures.COLOURS["extra"], "v") if odd else (figures.GHOST, "o")
    left.barh(place, near["mmd"][k], 0.6, color=color)
    errors = 100 * missed[k].double().mean(-1)
    look = dict(color=color, markersize=5, alpha=0.7, markeredgewidth=0)
    right.plot(errors, [place] * len(errors), marker, **look)
left.set_yticks(range(len(order)), [names[k] for k in order])
left.set(xlabel="MMD² from the target, on pixels")
left.invert_yaxis()
figures.error_axis(right, len(target), which="x")
figures.show(
    picture,
    "Near is not always good: turned and mirrored digits look near and teach badly",
    "Sources from the nearest to the farthest; each mark on the right is a student trained on that source. Errors on the target. Orange triangles: turned and mirrored digits; grey: the other sources.",
)

# %% [markdown]
# Why? Perhaps mirrored digits are no other than plain ones for the rulers? Plain digits against other digits, mirrored, with the null band of this pair, beside the way of each to the target:

# %%
flipped = raw_test[count : 2 * count].transformed(ways["20, mirrored"], seed=seed)
pair = pixels(looks["inner 20"]), pixels(flipped)
between = {name: float(gap(*pair)) for name, gap in DISTANCES.items()}
tops = {name: null_band(gap, *pair, **lots)[1] for name, gap in DISTANCES.items()}
at = names.index("20, mirrored"), names.index("inner 20")

# %% tags=["nbval-ignore-output"]
triangle = pd.DataFrame({"plain to mirrored": between, "its band, up to": tops})
triangle["plain to target"] = [near[name][at[1]] for name in DISTANCES]
triangle["mirrored to target"] = [near[name][at[0]] for name in DISTANCES]
triangle.map("{:.2g}".format)

# %% [markdown]
# Most rulers tell the two kinds apart. They lie about *as far* from the target as each other, but not in the same place: in different directions. A distance says how far, not which way, and only some ways cost answers. The claim says it for the mirror:

# %%
harm = metrics.difference(missed[at[0]], missed[at[1]])
ratio, clear = near["mmd"][at[0]] / near["mmd"][at[1]], between["mmd"] / tops["mmd"]
told = sum(between[name] > tops[name] for name in DISTANCES)
measured = {"points": harm, "MMD², mirrored over plain": ratio}
measured |= {"MMD², plain to mirrored, over its edge": clear, "rulers that tell them apart": told}
text = "Mirrored digits lie as near to the target as plain ones, yet apart from these, and teach more than 15 points worse"
claim(
    "06.6", text, harm.low > 15 and 0.8 < ratio < 1.2 and clear > 2 and told > 5, measured=measured
)

# %% [markdown]
# Could one picture need two labels (a mirrored 2 that looks like another digit)? Then no network could learn both kinds. Let one try: the mirrored source, and with it a thousand target images *with* their labels (which nobody has who must choose a source); the rest of the target is its exam. So the envelope is opened once more:

# %%
exams = {"mirrored": raw_test.transformed(ways["20, mirrored"], seed=seed)}
known = target.labelled_as(labels.open("to see whether labels collide")).as_domain(0)
exams["target"] = known[1000:]
both = sets["20, mirrored"] + known[:1000]
joint = train_bank(student=student(32), examples=both, **{**settings, "evaluate": exams})

# %% tags=["nbval-ignore-output"]
slips = {name: joint.logits[name].argmax(-1) != one.y for name, one in exams.items()}
reach = {name: metrics.interval(100 * one.double()) for name, one in slips.items()}
display(
    Markdown(
        f"Trained on both, a network errs on {reach['mirrored']:.1f} % of mirrored digits and on {reach['target']:.1f} % of the target's. "
        f"(Trained on mirrored digits alone: {cost['20, mirrored']:.1f} % of the target's.)"
    )
)

# %% [markdown]
# So: a distance can tell you to *leave out* a far source; it cannot promise that a near one fits. Look at images, and if you can buy a few target labels, score the candidates on them.
#
# ## Does distance predict accuracy?
#
# Three questions hide in this one. **Across targets:** one network, many targets: does it err more where the distance is larger? **Across sources:** one target, many sources. **Across networks:** source and target fixed, many networks: is the one that sees them closer together the better one? The first two we have. For the third, 16 networks trained on the cropped source, that differ in width, number of epochs and augmentation (with or without shifted copies), five seeds each.

# %%
diets = {"plain": framings["cropped"]}
diets["moved"] = diets["plain"] + diets["plain"].transformed(data.jitter(1), seed=seed)
# %%
plan = {
    "width": [8, 16] if small else [8, 16, 32, 64],
    "epochs": [1, 2] if small else [3, 10],
    "diet": list(diets),
}
recipes = {**settings, "examples": lambda diet: diets[diet]}
del recipes["epochs"]
many = train_bank(student=student, grid=plan, **recipes)

# %% [markdown]
# **Units first.** Take a network, multiply its features by ten and divide its last weights by ten. It gives the very same answers. Its distances:

# %%
scaled = {name: float(gap(10 * ours, 10 * theirs)) / other[name] for name, gap in DISTANCES.items()}
free = [name for name, ratio in scaled.items() if abs(ratio - 1) < 0.01]

# %% tags=["nbval-ignore-output"]
print(", ".join(f"{name} × {ratio:.3g}" for name, ratio in scaled.items()))

# %% [markdown]
# Four of nine depend on the unit, one of them with the fourth power. One network keeps its unit, another has another: *across* networks those four are no evidence, whichever way they point. `free` holds the five others.
#
# Each network's error on the target, and its nine distances between the (cropped) source and the target in its own features; both are means over the seeds.

# %%
cells = [(w, e, d) for w in plan["width"] for e in plan["epochs"] for d in plan["diet"]]


def trained_as(cell):
    setting = dict(zip(plan, cell, strict=True))
    return [many.network(**setting, seed=one) for one in many.seeds]


# %% [markdown]
# The 16 settings of the plan, five networks each:

# %%
spread = [sum(nine(net, cut, target) for net in trained_as(cell)) for cell in cells]
spread = torch.stack(spread) / len(many.seeds)  # (16, 9)
fails = 100 * (many.logits["target"].argmax(-1) != y).double().mean((-2, -1)).flatten()

# %% [markdown]
# And the same 16 networks on three targets more, made of MNIST's own test images:

# %%
more = {"moved": ("shift", 0.4), "noisy": ("noise", 0.5), "blurred": ("blur", 0.8)}
more = {name: cut[count:].transformed(data.severity(*how)) for name, how in more.items()}


# %%
def of(cell, other):
    nets = trained_as(cell)
    far = sum(nine(net, cut, other) for net in nets) / len(nets)
    return far, sum(error(net, other) for net in nets) / len(nets)


others = {name: [of(cell, other) for cell in cells] for name, other in more.items()}

# %% [markdown]
# Spearman's rank correlation of distance and error, with its bootstrap interval over the pairs: 1 means that distance orders the errors perfectly, 0 that it says nothing, −1 that it orders them backwards.

# %%
questions = {f"{errs[:, 1:].numel()} targets": (apart[:, 1:].flatten(0, 1), errs[:, 1:].flatten())}
questions["8 sources"] = (torch.tensor(list(near.values())).T, list(cost.values()))
questions[f"{len(cells)} networks, digits"] = (spread, fails)
for name, pairs in others.items():
    far, err = zip(*pairs, strict=True)
    questions[f"{len(cells)} networks, {name}"] = (torch.stack(far), err)


# %%
def correlations(far, err):
    columns = zip(DISTANCES, far.T, strict=True)
    return {name: metrics.rank_correlation(column, err, draws=300) for name, column in columns}


rho = {question: correlations(*pairs) for question, pairs in questions.items()}

# %% [markdown]
# An interval from so few pairs may well be too narrow. So a second test: how large does a correlation get between networks put in order *by lot* and their errors?


# %%
def by_lot(pairs):
    generator = torch.Generator().manual_seed(seed)
    lots = torch.stack([torch.randperm(pairs, generator=generator) for _ in range(4000)]).double()
    line = torch.arange(pairs).double() - (pairs - 1) / 2
    chance = (lots @ line) / line.square().sum()
    return float(chance.abs().quantile(0.95))


needed = {question: by_lot(len(err)) for question, (_, err) in questions.items()}

# %% [markdown]
# We call a correlation **resolved** if its interval excludes 0 *and* it is farther from 0 than 95 of 100 lots:


# %%
def verdict(question, name):
    one = rho[question][name]
    beyond = abs(one.mean) > needed[question]
    return beyond * ((one.low > 0) - (one.high < 0))  # 1 the right way, −1 backwards, 0 neither


first, sources, *across = rho
role_of = {1: "taught", 0: "teacher", -1: "alone"}

# %% [markdown]
# Drawn, one row for each distance:

# %% tags=["nbval-ignore-output"]
picture, axes = figures.figure(height=3.3, panels=3, sharey=True)
for axis, question in zip(axes, [first, *across[:2]], strict=True):
    axis.axvspan(-needed[question], needed[question], color=figures.GHOST, alpha=0.25, linewidth=0)
    for k, (name, one) in enumerate(rho[question].items()):
        role = role_of[verdict(question, name)]
        look = dict(color=figures.COLOURS[role], marker=figures.MARKERS[role])
        if question in across and name not in free:
            look = dict(color=figures.GHOST, marker="x")
        axis.plot([one.low, one.high], [k, k], color=look["color"], linewidth=1.4)
        axis.plot(one.mean, k, **look)
    axis.set(xlim=(-1.05, 1.05), xlabel="rank correlation", title=question)
axes[0].set_yticks(range(9), [name.replace("_", " ") for name in DISTANCES])
axes[0].invert_yaxis()
figures.show(
    picture,
    "Distances order targets; which network is better they do not know",
    "Rank correlation of distance and target error, 95 % intervals. Green circle: above 0; red square: below 0; blue diamond: not resolved. Grey band: 95 of 100 lots. Grey crosses: rulers that depend on the unit, so across networks they are no evidence. (Targets that are levels of one shift are not independent: on the left, intervals and band are a little too narrow.)",
)

# %% [markdown]
# Left, the mean of five networks: a larger distance goes with more errors, whichever ruler. Middle: across networks the rulers contradict *each other*. Right: on another target the rulers that pointed the right way no longer do. (Eight sources are too few for an interval worth drawing; it is in `rho` all the same.)
#
# The claim asks each of the five by itself, too:


# %%
def kept(question, chosen):
    return {f"rho, {name}": rho[question][name] for name in chosen}


# %%
single = [
    correlations(far[:, 1:].flatten(0, 1), err.view(shape)[:, 1:].flatten())
    for far, err in zip(alone, erring, strict=True)
]
ordered = [sum(one.low > 0 and one.mean > needed[first] for one in net.values()) for net in single]
ordered.append(sum(verdict(first, name) > 0 for name in DISTANCES))
measured = kept(first, DISTANCES) | {"fewest for a network by itself": min(ordered)}
text = "For each of five networks, and for their mean, at least seven of nine distances order the targets by error better than chance"
claim("06.7", text, min(ordered) >= 7, measured=measured, decimals=2)

# %% [markdown]
# Across networks, on the digits:

# %%
found = {verdict(across[0], name) for name in free}
text = "Across 16 networks the rulers contradict each other: one orders the errors, another orders them backwards"
claim("06.8", text, {1, -1} <= found, measured=kept(across[0], free), decimals=2)

# %% [markdown]
# Whoever looked at the digits only would have found a ruler that "predicts accuracy". On all four targets, ▲ for a correlation resolved above 0, ▼ for one below, · for not resolved:

# %% tags=["nbval-ignore-output"]
signs = {
    question: [{1: "▲", 0: "·", -1: "▼"}[verdict(question, name)] for name in free]
    for question in across
}
table = pd.DataFrame(signs, free)
display(table)
clear, readings = int((table != "·").sum().sum()), table.size
print(
    f"{clear} of {readings} readings are resolved; by lot alone it would be about {readings / 20:.0f}"
)

# %%
everywhere = [all(verdict(one, name) > 0 for one in across) for name in DISTANCES]
text = "No distance is found to order the same 16 networks by error on all four targets"
claim("06.9", text, not any(everywhere), measured=kept(across[1], free), decimals=2)

# %% [markdown]
# What did you predict?

# %% tags=["nbval-ignore-output"]
proxy = rho[across[0]]["proxy_a_distance"]
print(
    f"proxy A-distance and error, across networks: {proxy:.2f}; lots reach {needed[across[0]]:.2f}"
)
guess.recall(guess.options[1 - verdict(across[0], "proxy_a_distance")])

# %% [markdown]
# Where a ruler points the wrong way, there is no paradox. A network that learned a lot may have features that separate *everything* well: classes, and writers too. A poor network confuses all of it. Do not pick networks by a distance; [08](lesson08) has validators that were made for it.
#
# Keep the edge in mind for other people's tables:

# %%
few, eight = by_lot(16), by_lot(8)
measured = {"95 % of |rho| by chance below": few, "with eight": eight}
text = "With 16 networks a rank correlation between about −0.5 and 0.5 is compatible with none at all; with eight, so is 0.6"
claim("06.10", text, 0.45 < few < 0.55 and eight > 0.65, measured=measured)

# %% [markdown]
# A paper that ranks eight methods and reports a correlation of 0.6 has reported very little.
#
# ## What can go wrong
#
# **1. Few images.** Plug-in distances are larger for small samples, by themselves. Two halves of one source, so the truth is 0:

# %%
rulers = ["euclidean", "frechet", "sliced_wasserstein", "mmd"]
parts = features(networks[0], test[:count]), half
sizes = [size for size in (20, 50, 100) if size <= count]
shrink = {
    name: [float(DISTANCES[name](*(part[:size] for part in parts))) for size in sizes]
    for name in rulers
}

# %% tags=["nbval-ignore-output"]
pd.DataFrame(shrink, [f"{size} images" for size in sizes]).T.map("{:.2g}".format)

# %% [markdown]
# Two domains measured with different numbers of images are not comparable, except against their own bands.
#
# **2. Other units.** Four of nine distances depend on the unit of the features (above), and no network says which unit it uses. Within one network they are of use; across networks they compare units.
#
# **3. Other class shares (label shift).** The same writers, the same scanner, but the "target" happens to hold only its two first classes (zeros and ones):

# %%
rest = test[count:]
two_classes = rest.only([0, 1])
skewed = features(networks[0], two_classes)
unlike = {name: float(gap(ours, skewed)) / edges[name] for name, gap in DISTANCES.items()}
points = [error(net, two_classes) - error(net, rest) for net in networks]

# %%
noticed = sum(ratio > 1.5 for ratio in unlike.values())
measured = {"distances 1.5 times above their edge": noticed, "points": max(points)}
text = "Missing classes alone put most distances above their bands, though the networks err no more than before"
claim("06.11", text, noticed >= 7 and max(points) < 1.5, measured=measured)

# %% [markdown]
# That is not a domain gap that adapting could close; closing it would be harmful, for it would press zeros onto sevens. Before you align two clouds, ask whether they hold the same classes in the same shares.
#
# <details><summary>Going deeper: what theory promises</summary>
#
# Ben-David et al. (2007, 2010) bound the target error by three terms: the source error, a distance between the domains (that of the best classifier telling them apart, hence the proxy A-distance), and the error of the best network for *both* domains together. Distances measure the second term only; the third needs labels of both. For the mirrored digits we had them: it is at most the sum of the two errors of the network that learned both kinds. Such a network exists; the students of one kind are not it. And a bound from above says nothing about order: of two networks, the one with the larger bound may well be better.
#
# **Which permutations?** Dealing rows by lot assumes that rows are independent. Several images of one writer are not: then deal out whole writers, or the band is too narrow.
#
# **Sinkhorn's blur.** The optimal plan between two finite samples in many dimensions pairs noise with noise; blur the plan a little (entropic regularisation) and subtract what each cloud pays to reach itself, and the sample bias nearly goes away.
#
# </details>
#
# ## Exercises
#
# **1 (5 minutes).** A probe told two domains apart with error `err` on held-out images. Give the proxy A-distance. Do not clip.
#
# <details><summary>Hint 1</summary>A coin (err = ½) should give 0, a perfect probe 2. It is linear in between.</details>
# <details><summary>Hint 2</summary>Worse than a coin is below 0: err = 1 gives −2.</details>


# %% tags=["exercise"]
def proxy_a(err):
    # SOLUTION
    return 2 * (1 - 2 * err)
    # END


exercises.proxy_a(proxy_a)

# %% [markdown]
# **2 (15 minutes).** Write `coral_by_hand(f_a, f_b)`: the squared Frobenius distance of the two covariances, over $4 d^2$, $d$ the number of features. Covariances divide by $n - 1$. Clouds may differ in size.
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
# **3 (debugging).** This null band has no width at all. Mend that, and a second mistake shows: the band keeps growing with `permutations`. Mend both.
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
        dealt = pooled[torch.randperm(len(pooled), generator=generator)]
        values.append(float(distance(dealt[: len(f_a)], dealt[len(f_a) :])))
    low, high = torch.tensor(values).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high
    # END


exercises.mended_band(mended_band)

# %% [markdown]
# ## In three lines
#
# A distance needs a null band, and the same number of images on both sides. Each ruler sees its own part (means, covariances, everything smooth), and says how far, not which way. Distance orders targets for one network; it does not choose networks, and a near source may lie off in a direction that costs answers.
#
# ## Recall
#
# <details><summary>Why are two halves of one domain not at distance 0?</summary>They are different samples; plug-in distances count that, and the null band says how much.</details>
# <details><summary>What does Mahalanobis divide by, and why shrink it?</summary>By the spread along the line of the means; few rows fix a covariance badly, and its inverse might not exist.</details>
# <details><summary>Name two clouds that CORAL cannot tell apart.</summary>Any two with one covariance: a moved copy, or a ring and a blob.</details>
# <details><summary>Why can a near source teach badly?</summary>A distance says how far, not which way; two sources equally far from the target can cost very different numbers of answers.</details>
# <details><summary>Sixteen networks, a rank correlation of 0.4 with accuracy. What do you say?</summary>Not resolved: chance alone reaches about 0.5.</details>
#
# ## Reading
#
# - Ben-David, Blitzer, Crammer & Pereira (2007), *Analysis of Representations for Domain Adaptation*: the proxy A-distance and the bound.
# - Gretton et al. (2012), *A Kernel Two-Sample Test*: MMD, unbiased, with its null distribution.
# - Sun & Saenko (2016), *Deep CORAL*: two covariances as a training loss, as [08](lesson08) uses it.
# - Peyré & Cuturi (2019), *Computational Optimal Transport*: Wasserstein and Sinkhorn, with pictures; the POT library (Flamary et al. 2021) computes ours.
# - Heusel et al. (2017), *GANs Trained by a Two Time-Scale Update Rule*: the Fréchet distance as FID, and why its sample size matters.
