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
# # How much of a trained network should move?
#
# **In one line:** with few labels keep the trained start and take small steps; with many, moving only the head falls behind; and *where* the new images differ decides what must move: mirrored digits need new features (the last stage, with the head, is enough), renamed digits a new head.
#
# *{minutes} minutes to read, exercises apart · about 50 CPU seconds to run · needs: [](lesson01)*
#
# **First, wake the sliders: Run ▸ Run All Cells.** On Binder's shared processor this may take three times as long.
#
# After this page you can
#
# - freeze any part of a network, BatchNorm included, and say which part should be frozen;
# - compare fine-tuning with training anew fairly, for 1 to 30 labels per class;
# - use what lies between frozen and free: a pull towards the start (L2-SP) and learning rates for each part.

# %% tags=["parameters"]
dataset: str = "mnist5k"  # mnist5k | mnist | fashion
labels: int = 10  # 1..30
lam: float = 0.1  # 0.001..10
steps: int = 60  # 10..600
seeds: int = 5  # 2..10
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %% [markdown]
# `labels` is the number of labelled images per class wherever the page shows only one number of them, `lam` the strength of the pull, `steps` the length of every training but the first.

# %%
import copy
import textwrap

import pandas as pd
import torch
from IPython.display import Markdown, display

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.lessons.lesson07 import exercises
from kdcourse.lessons.lesson07.frozen_parts import FrozenParts
from kdcourse.parameters import check_parameters
from kdlib import data, losses, metrics, models, training
from kdlib.adaptation import freeze
from kdlib.data import shifts
from kdlib.objectives import HardLabels, Regularizer

check_parameters()

# %% [markdown]
# ## Recap
#
# From [01](lesson01): train, validation and test are three things; a difference counts when its interval, over draws *and* test images, leaves out 0; 1,000 images resolve little below 1.2 points.
#
# Today's network has four parts: `stage1`, `stage2`, `stage3` (convolution, pooling, BatchNorm, ReLU each) and the `head`, one linear layer. It learns upright digits of 16 × 16 pixels. Some training images are put aside first: they will play the new domain, and the network must not have seen them.

# %%
small = budget == "small"
train, validation, test = data.load(dataset, size=16)
source, pool = train.split(1000 if small else 2500, 1000)
length = min(steps, 15) if small else steps
parts = ["stage1", "stage2", "stage3", "head"]

# %%
recipe = dict(epochs=2 if small else 5, batch=64, augment=data.jitter(1), precision="fp32")
run = training.fit(models.cnn(8), source, seed=seed, **recipe)
base = run.network

# %% [markdown]
# The new domain: the same kind of digits, **seen in a mirror**. In real life it would be another scanner, another hospital, another street.

# %%
mirror = shifts.mirror()
mirrored = [examples.transformed(mirror) for examples in (pool, validation, test)]

# %% tags=["nbval-ignore-output"]
chosen = [int((test.y == digit).nonzero()[0]) for digit in range(10)]
answers = models.predict(base, mirrored[2][chosen]).argmax(-1)
roles = ["label" if int(a) == digit else "alone" for digit, a in enumerate(answers)]
titles = [f"“{int(answer)}”" for answer in answers]
figures.show(
    figures.digits(mirrored[2].x[chosen], titles, roles=roles),
    "Mirrored digits, and what the network takes them for",
    f"The network errs on {run.error(test):.1f} % of upright and {run.error(mirrored[2]):.1f} % of mirrored test digits. Above each picture: its answer.",
)

# %% [markdown]
# ## A prediction first
#
# You get ten labelled images of each mirrored digit, and you may move only one of the two: the head, or everything *but* the head.

# %%
guess = checks.Prediction(
    "Which errs less on mirrored digits?",
    ["only the head moves", "all but the head moves", "no difference"],
)
guess

# %% [markdown]
# ## The naive version
#
# "Freeze everything, train a new head." That is what most tutorials begin with. One draw of ten labels per class, the usual learning rate, one run each:


# %%
def tuned(examples, still=(), *, lr, draw=seed, start=base, objective=None, times=1):
    """Trains a copy of `start` with the parts `still` held still."""
    network = freeze(copy.deepcopy(start), *still)
    epochs = max(1, round(times * length / len(examples.order(32))))
    how = dict(epochs=epochs, batch=32, lr=lr, order_seed=draw, precision="fp32")
    return training.fit(network, examples, objective, **how)


few = mirrored[0].per_class(3 if small else labels, seed=seed)
naive = {
    "only the head moves": tuned(few, parts[:3], lr=0.01),
    "everything moves": tuned(few, lr=0.01),
    "trained anew": tuned(few, lr=0.01, start=models.initialise(models.cnn(8), seed)),
}

# %% tags=["nbval-ignore-output"]
pd.DataFrame({"error % on mirrored": {k: v.error(mirrored[2]) for k, v in naive.items()}}).round(1)

# %% [markdown]
# "Training a head is bad, training anew in between, fine-tuning good." Before believing it, ask three things. What exactly is *frozen*? Was the learning rate fair to all three? And is one draw of so few images enough?
#
# ## Freezing, exactly
#
# **In words.** A part that is held still gets no step. Everything behind it still learns from what it says; everything *before* it still gets its gradient through it.
#
# **In a formula.** Give each part $k$ of the weights a switch $m_k \in \{0, 1\}$:
#
# $$\theta_k \leftarrow \theta_k - m_k \cdot \mathrm{lr} \cdot \nabla_{\theta_k}\,\mathrm{CE}$$
#
# **In code**, by hand:


# %%
def hold(network, *names):
    for name in names:
        for weight in network.get_submodule(name).parameters():
            weight.requires_grad = False
    return network


# %% [markdown]
# kdlib's `freeze` sets the same switches:

# %%
ours, theirs = hold(copy.deepcopy(base), *parts[:3]), freeze(copy.deepcopy(base), *parts[:3])
switches = [[w.requires_grad for w in net.parameters()] for net in (ours, theirs)]
assert switches[0] == switches[1]
print(f"{sum(switches[0])} of {len(switches[0])} weight tensors may move: the head's two")

# %% [markdown]
# That is half of it. BatchNorm also keeps *running statistics*, which are no weights: no gradient moves them, every forward pass in train mode does. `fit` leaves a BatchNorm layer in eval mode when its weights are frozen. What happens otherwise is shown under [What can go wrong](#What-can-go-wrong).
#
# ## A fair learning rate for each
#
# A head has few weights and must go far in a few steps; a whole network together needs small ones. And a rate that suits 30 labels may be too large for one. One learning rate for all would decide the race beforehand. So each way gets its own, once for few labels and once for many, chosen on *validation* images with draws that are used for nothing else.

# %%
kinds = {"nothing": [], "stages 1–2": parts[:2]}
kinds |= {"stages 1–3": parts[:3], "the head": parts[3:]}


# %%
def begin(kind, draw):
    """What is held still, and where the training starts, for one kind."""
    start = models.initialise(models.cnn(8), draw) if kind == "anew" else base
    return dict(still=kinds.get(kind, []), start=start, draw=draw)


# %% [markdown]
# `"nothing"` held still is full fine-tuning; `"stages 1–3"` leaves only the head; `"the head"` held still means that only the front moves.

# %%
counts = [1, 3] if small else sorted({1, 3, 10, 30, labels})
whole, linear = [0.003, 0.01, 0.03, 0.1], [0.01, 0.03, 0.1, 0.3, 1.0]
rates = {
    "few": {"nothing": whole[:3], "stages 1–3": linear[:3], "anew": whole[:3]},
    "many": {"nothing": whole[1:], "stages 1–3": linear[2:], "anew": whole[1:]},
}


def amount(n):
    return "few" if n < 10 else "many"


def tried(some, kind, lr):
    """Mean error % on validation images, one spare draw for each count."""
    ends = [(seed + 100 + k, n) for k, n in enumerate(counts) if amount(n) == some]
    spare = [(mirrored[0].per_class(n, seed=draw), begin(kind, draw)) for draw, n in ends]
    return sum(tuned(few, lr=lr, **how).error(mirrored[1]) for few, how in spare) / len(spare)


# %% [markdown]
# "Few" is fewer than 10 labels per class. (Which three rates are tried for few and for many was narrowed down before, on validation images too.)

# %%
amounts = sorted({amount(n) for n in counts})
scores = {
    (some, kind): {lr: tried(some, kind, lr) for lr in three}
    for some in amounts
    for kind, three in rates[some].items()
}
best = {key: min(errors, key=errors.get) for key, errors in scores.items()}

# %% tags=["nbval-ignore-output"]
cells = {kind: {} for kind in rates["few"]}
for (some, kind), table in scores.items():
    for step, (lr, error) in zip(("small", "middle", "large"), table.items(), strict=True):
        cells[kind][f"{some} labels, {step}"] = f"{error:.1f} (lr = {lr:g})"
pd.DataFrame(cells).rename_axis(columns="held still:")

# %% [markdown]
# Errors in percent on validation images; for few and for many labels the rate with the lowest in each column is taken from here on (the kinds in between take that of "nothing"). Look at the top of the middle column: at the small rate the head had not failed, it had not *arrived*.
#
# ## How much, by how many labels?
#
# Now the whole table: four kinds of holding still, and training anew, for 1, 3, 10 and 30 labels per class, each with several draws of the labelled images. All get the same number of steps.

# %%
draws = range(seed, seed + (2 if small else seeds))


def study(pool, kinds, counts, draws):
    """(kind, labels per class) -> the trained networks, one for each draw."""
    made = {}
    for kind, n in training.progress_bar([(k, n) for k in kinds for n in counts]):
        lr = best.get((amount(n), kind), best[amount(n), "nothing"])
        made[kind, n] = [
            tuned(pool.per_class(n, seed=d), lr=lr, **begin(kind, d)).network for d in draws
        ]
    return made


grid = study(mirrored[0], [*kinds, "anew"], counts, draws)


# %% [markdown]
# Two readings of a cell: which test images it gets wrong, and how far each part of the network has moved from where it began, in percent of its own length.


# %%
def wrong(networks, examples):
    """(draws, images) bool."""
    return torch.stack([models.predict(n, examples).argmax(-1) != examples.y for n in networks])


missed = {cell: wrong(networks, mirrored[2]) for cell, networks in grid.items()}


# %%
def way(network, part, start=base):
    """How far a part is from where it was in `start`, in % of its length there."""
    pairs = zip(*(n.get_submodule(part).parameters() for n in (network, start)), strict=True)
    squares = [
        (float((w - b).detach().square().sum()), float(b.detach().square().sum())) for w, b in pairs
    ]
    gone, whole = map(sum, zip(*squares, strict=True))
    return 100 * (gone / whole) ** 0.5


# %% [markdown]
# As tables for the explorer:

# %%
errors = {cell: 100 * table.double().mean(1) for cell, table in missed.items()}  # (draws,) each
by_kind = [[errors[kind, n].tolist() for kind in kinds] for n in counts]


# %%
def journey(networks, start=base):
    return [sum(way(one, part, start) for one in networks) / len(networks) for part in parts]


moved = [[journey(grid[kind, n]) for kind in kinds] for n in counts]

# %% [markdown]
# Predict before you slide: where does the green line cross the dashed one?

# %%
FrozenParts(
    counts,
    list(kinds),
    by_kind,
    anew=[errors["anew", n].tolist() for n in counts],
    as_is=run.error(mirrored[2]),
    n=len(test),
    parts=parts,
    moved=moved,
    start={"labels per class": counts[-1], "held still": "stages 1–3"},
    situations={
        "1 label, only the head": {"labels per class": 1, "held still": "stages 1–3"},
        "most labels, only the head": {"labels per class": counts[-1], "held still": "stages 1–3"},
        "most labels, all but the head": {"labels per class": counts[-1], "held still": "the head"},
    },
)

# %% [markdown]
# With all three stages held still the line falls more slowly and stays behind: the features were made for upright digits. With anything less held still it falls further. On the right: given the choice, which parts move most? Now the same in one picture, with intervals over draws.

# %% tags=["nbval-ignore-output"]
picture, axes = figures.figure(height=2.9, panels=2, sharey=True)
panels = [
    {"stages 1–3": "teacher", "anew": "alone"},
    {"nothing": "taught", "stages 1–2": "label", "the head": "extra"},
]
said = {"stages 1–3": "only the head", "anew": "anew", "nothing": "all"}
said |= {"stages 1–2": "stage 3, head", "the head": "all but head"}
for axis, shown in zip(axes, panels, strict=True):
    for kind, role in shown.items():
        table = torch.stack([errors[kind, n] for n in counts])
        figures.lines_with_dots(axis, counts, table, role, said[kind], log=True)
    axis.set(xlabel="labels per class", ylim=(0, None))
figures.error_axis(axes[0], len(test))
figures.show(
    picture,
    "With many labels, moving only the head falls behind",
    f"Mirrored digits, {length} steps each; what moves stands at the line's end. Dots are draws of the labelled images, bands 95 % intervals over draws.",
)


# %% [markdown]
# Does the head fall behind only because it has not arrived? The first draw once more, with the most labels and four times as many steps:

# %% tags=["nbval-ignore-output"]
plenty = mirrored[0].per_class(counts[-1], seed=seed)
longer = {}
for kind in ("stages 1–3", "nothing"):
    how = dict(lr=best[amount(counts[-1]), kind], times=4)
    longer[kind] = wrong([tuned(plenty, **how, **begin(kind, seed)).network], mirrored[2])
gap = metrics.difference(*longer.values())
went = {
    k: f"from {errors[k, counts[-1]][0]:.1f} to {100 * v.double().mean():.1f} %"
    for k, v in longer.items()
}
verdict = "still behind" if gap.low > 0 else "no longer resolved as behind"
display(
    Markdown(
        f"Only the head: {went['stages 1–3']}; everything: {went['nothing']}. The head alone is **{verdict}**, by {gap:.1f} points (interval over images)."
    )
)

# %% [markdown]
# In claims. The difference is paired: same labelled images, same test images.


# %%
def points(a, b, n, table=missed):
    """Error of kind a minus error of kind b, in points."""
    return metrics.difference(table[a, n], table[b, n])


held = [kind for kind in kinds if kind != "nothing"]
against = {kind: {n: points(kind, "nothing", n) for n in counts} for kind in held}
first, last = counts[0], counts[-1]
gains = {n: points("nothing", "anew", n) for n in counts}
text = "With 1 label per class, fine-tuning errs less than training anew"
measured = {f"fine-tuned minus anew, {n} per class": one for n, one in gains.items()}
claim("07.1", text, gains[first].high < -2, measured=measured)

# %% [markdown]
# And against everything moving, in points (an interval that holds 0 is not resolved):

# %% tags=["nbval-ignore-output"]
cells = {k: {f"{n} per class": f"{v:.1f}" for n, v in row.items()} for k, row in against.items()}
said = {}
for kind, row in against.items():
    hurts = [str(n) for n, v in row.items() if v.low > 0]
    helps = [str(n) for n, v in row.items() if v.high < 0]
    said[kind] = (
        f"{kind}: worse {' and '.join(hurts) or 'nowhere'}, better {' and '.join(helps) or 'nowhere'}"
    )
display(Markdown(f"Resolved, at these numbers of labels per class: {'; '.join(said.values())}."))
pd.DataFrame(cells).rename_axis(columns="held still:")

# %% [markdown]
# With 1 and 3 labels, what is held still matters less than whether the start is trained: compare these rows with the distance to training anew in the picture. (There are many intervals in this table; one that only just leaves out 0 is weak evidence.) Nor would a rate chosen for many labels have been fair here: see what each way takes for few and for many in the table of rates. With many labels, three stages are too many to hold, two are not: the last stage, with the head, is enough. And the head alone then falls behind even those who start from nothing:

# %%
heads = {n: points("stages 1–3", "anew", n) for n in (first, last)}
text = "Moving only the head beats training anew with 1 label per class, and loses to it with 30"
measured = {f"only the head minus anew, {n} per class": one for n, one in heads.items()}
claim("07.2", text, heads[first].high < -2 and heads[last].low > 0, measured=measured)

# %% [markdown]
# So the answer to "how much?" depends on what you can pay in labels. And your prediction?

# %%
count = min(labels, last)
front = points("stages 1–3", "the head", count)  # only the head moves, minus all but the head

# %% tags=["nbval-ignore-output"]
options = guess.options
guess.recall(options[2] if not front.excludes(0) else options[1 if front.low > 0 else 0])

# %% [markdown]
# ## Where should it move?
#
# That the head may stay is no accident. Ask what *differs* between the domains. Here the pixels differ; what a 7 is called does not. So let us make the opposite case: upright digits, **renamed**. Every 0 is now called 1, every 1 called 2, …, every 9 called 0.

# %%
renamed = [examples.labelled_as((examples.y + 1) % 10) for examples in (pool, test)]
pair = ["stages 1–3", "the head"]
other = study(renamed[0], pair, [count], draws)
missed_names = {cell: wrong(networks, renamed[1]) for cell, networks in other.items()}

# %% tags=["nbval-ignore-output"]
picture, axes = figures.figure(height=2.8, panels=2, sharey=True)
for axis, table, title in zip(axes, (missed, missed_names), ("mirrored", "renamed"), strict=True):
    for x, (kind, role) in enumerate(zip(pair, ("teacher", "extra"), strict=True)):
        figures.seed_dots(axis, x, 100 * table[kind, count].double().mean(1), role)
    axis.set(title=f"{title} digits", xlim=(-0.6, 1.6))
    axis.set_xticks([0, 1], ["only the head\nmoves", "all but the head\nmoves"])
axes[0].set_ylim(0, None)  # both share it, so only when all is drawn
figures.error_axis(axes[0], len(test))
figures.show(
    picture,
    "Move what is wrong: features for other pixels, the head for other names",
    f"{count} labels per class; dots are draws, bars means, lines 95 % intervals over draws.",
)

# %% [markdown]
# And *which* features? Lee et al. (2023) found that when the input shifts, it is best to tune the **first** layers; when the output shifts, the last. So let only one stage move, and hold all the rest (at the learning rate of "nothing"):

# %%
one_moves = {part: f"all but {part}" for part in parts[:3]}
kinds |= {kind: [p for p in parts if p != part] for part, kind in one_moves.items()}
single = study(mirrored[0], one_moves.values(), [count], draws)
missed |= {cell: wrong(networks, mirrored[2]) for cell, networks in single.items()}

# %% tags=["nbval-ignore-output"]
rows = {f"only {part}": kind for part, kind in one_moves.items()}
rows |= {"stage3 and the head": "stages 1–2", "everything": "nothing"}
rows = {k: metrics.interval(100 * missed[v, count].double()) for k, v in rows.items()}
pd.DataFrame({"error % on mirrored": rows}).rename_axis(columns="what moves:")

# %% [markdown]
# Here it is the last stage, not the first. A mirror changes every stage's kernels (shown below): mend those of the first, and the others still look for upright arrangements of what it finds. The last stage can put what comes before it to new use. Their shifts of the input were corruptions such as noise and blur, which a first layer may undo. As a claim:

# %%
back = points(*pair, count, missed_names)
by_stage = {p: points(one_moves["stage3"], one_moves[p], count) for p in parts[:2]}
measured = {"mirrored, only the head minus all but it": front, "renamed": back}
measured |= {f"mirrored, only stage3 minus only {p}": v for p, v in by_stage.items()}
text = "For mirrored digits it is better to move all but the head (of the single stages, the last), for renamed ones only the head"
said = "Lee et al. 2023: input-level shifts want the first layers tuned (here: the last stage), output-level shifts the last"
holds = front.low > 0 and back.high < 0 and all(one.high < 0 for one in by_stage.values())
claim("07.3", text, holds, measured=measured, published=said)

# %% [markdown]
# ### A network that reads mirror writing, without a single label
#
# Why can the head stay as it is? Because a perfect reader of mirrored digits *exists* with the very same head: flip every 3 × 3 kernel left to right. Each feature map is then the mirror image of what it was, and the pooling at the end does not care.


# %%
def flipped(network):
    other = copy.deepcopy(network)
    for weight in other.parameters():
        if weight.dim() == 4:  # kernels: (out, in, 3, 3)
            weight.data = weight.data.flip(-1)
    return other


# %% [markdown]
# The same answers, image by image:

# %%
reader = flipped(base)
torch.testing.assert_close(
    models.predict(reader, mirrored[2]), models.predict(base, test), rtol=1e-4, atol=1e-3
)

# %%
a, b = (
    100 * float(wrong([one], x).double().mean()) for one, x in ((base, test), (reader, mirrored[2]))
)
measured = {"upright, as trained": a, "mirrored, kernels flipped": b}
text = "With its kernels flipped the network reads mirrored digits as well as upright ones; no label was used"
claim("07.4", text, abs(a - b) <= 0.2, measured=measured)

# %% [markdown]
# Fine-tuning finds nothing as good as this from a few labels. Is the flipped network too far away? How far each stage is, in percent of its own length:

# %% tags=["nbval-ignore-output"]
found = grid["nothing", count]
rows = {"from the start to the flipped network": journey([reader])}
rows["from the start to the fine-tuned"] = journey(found)
rows["from the flipped to the fine-tuned"] = journey(found, reader)
pd.DataFrame(rows, parts).T[parts[:3]].round(0)

# %% [markdown]
# Gradient descent travels a good way, too, but elsewhere. Knowing *what* changed is worth more than labels.
#
# ## One feature space for both?
#
# Fine-tuned on mirrored digits, does the network still read upright ones? It was never asked to. And if it learns from images that are mirrored **with p = 0.5**, half of them each way, can it do both?

# %%
mixed = pool.transformed(shifts.mirror(0.5))
networks = {"as it was": [base] * len(draws), "tuned, always mirrored": grid["nothing", count]}
networks["tuned, p = 0.5"] = study(mixed, ["nothing"], [count], draws)["nothing", count]
sides = {"upright": test, "mirrored": mirrored[2]}
seen = {(name, side): wrong(nets, sides[side]) for name, nets in networks.items() for side in sides}

# %% tags=["nbval-ignore-output"]
rows = {
    name: {
        f"{side}, error %": f"{metrics.interval(100 * seen[name, side].double()):.1f}"
        for side in sides
    }
    for name in networks
}
pd.DataFrame(rows).T

# %% [markdown]
# (Means with their 95 % intervals, over draws and test images.) Fine-tuning on one domain *forgets* the other. With p = 0.5 it keeps more of the old and learns less of the new: both have to be paid for with the same weights and half the labels each.

# %%
always, mix = "tuned, always mirrored", "tuned, p = 0.5"
forgot = metrics.difference(seen[always, "upright"], seen["as it was", "upright"])
kept = metrics.difference(seen[mix, "upright"], seen[always, "upright"])
price = metrics.difference(seen[mix, "mirrored"], seen[always, "mirrored"])
measured = {"upright, always minus as it was": forgot, "upright, p = 0.5 minus always": kept}
measured["mirrored, p = 0.5 minus always"] = price
text = "Tuned on mirrored digits the network forgets upright ones; with p = 0.5 it forgets less and learns less"
claim("07.5", text, forgot.low > 5 and kept.high < 0 < price.low, measured=measured)

# %% [markdown]
# Look inside. Each digit has a *twin* in the mirror; in a feature space shared by both domains, twins lie close together. How close? The **twin distance** compares each image $x_i$ and its twin $x_i'$ with all pairs of an upright and a mirrored image:
#
# $$\text{twin distance} = \frac{\text{mean over } i \text{ of } \lVert f(x_i) - f(x_i') \rVert}{\text{mean over } i, j \text{ of } \lVert f(x_i) - f(x_j') \rVert}$$
#
# 0: twins lie in the same place; 1: no nearer than any other two. Beside it stands a more usual number, **CKA** (Kornblith et al. 2019), which is 1 when two sets of features agree up to rotation, shift and scale.


# %%
def twins(network):
    """Embeddings (images, width) of the test images, upright and mirrored."""
    with models.evaluating(network):
        return [
            models.observe(network, side.batch(slice(0, 500)).x, ["embedding"]).features[
                "embedding"
            ]
            for side in sides.values()
        ]


def twin_distance(f, f_twin):
    """From each image to its twin, as a share of the mean over all pairs: (images,)."""
    distances = torch.cdist(f, f_twin)  # (images, images)
    return distances.diagonal() / distances.mean()


# %% [markdown]
# The two are not the same. Put the embeddings' columns in another order and move them all far away:

# %%
f = twins(base)[0]
away = f.flip(1) + 100
print(f"CKA {metrics.cka(f, away):.2f}, twin distance {twin_distance(f, away).mean():.2f}")

# %% [markdown]
# CKA sees likeness of *structure*, not nearness. Now all networks:

# %%
embedded = {name: [twins(net) for net in nets] for name, nets in networks.items()}
near = {k: torch.stack([twin_distance(*both) for both in v]) for k, v in embedded.items()}
alike = {k: torch.stack([metrics.cka(*both) for both in v]) for k, v in embedded.items()}

# %% [markdown]
# And where the ten means of each domain lie in the plane where a network's embeddings vary most (PCA). Digits that would overprint are pushed apart for the picture:


# %%
def means(features):
    """Places (20, 2) of the ten means, upright and then mirrored, each axis from 0 to 1."""
    plane = torch.linalg.eigh(torch.cat(features).T.cov())[1][:, -2:]  # (width, 2)
    places = [f[test.y[:500] == digit].mean(0) @ plane for f in features for digit in range(10)]
    table = torch.stack(places) - torch.stack(places).amin(0)
    return table / table.amax(0)


def apart(places, least=0.09):
    for _ in range(50):
        gaps = places[:, None] - places  # (20, 20, 2)
        far = gaps.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        places = places + (gaps / far * (least - far).clamp(min=0) / 2).sum(1)
    return places


# %% tags=["nbval-ignore-output"]
picture, axes = figures.figure(height=2.9, panels=3)
look = dict(ha="center", va="center", fontweight="bold")
for axis, (name, both) in zip(axes, embedded.items(), strict=True):
    places = means(both[0])
    axis.plot(*places.view(2, 10, 2).permute(2, 0, 1), color=figures.GHOST, linewidth=1)
    for k, where in enumerate(apart(places).tolist()):
        axis.text(*where, str(k % 10), color=figures.INKS["teacher" if k < 10 else "extra"], **look)
    said = f"twin distance {near[name][0].mean():.2f}, CKA {alike[name][0]:.2f}"
    axis.set(title=f"{name}\n{said}", xticks=[], yticks=[])
    axis.margins(0.1)
figures.show(
    picture,
    "Tuned on mirrored digits, twins come closer",
    "Where the mean of each digit lies, upright in blue and mirrored in orange; a line joins twins. One draw. Each panel has its own plane and scale: compare the numbers above, not lengths across panels.",
)

# %% [markdown]
# Over all draws (twin distances with their 95 % intervals over draws and images):

# %% tags=["nbval-ignore-output"]
rows = {
    name: {
        "twin distance": f"{metrics.interval(near[name]):.2f}",
        "CKA, lowest to highest draw": f"{alike[name].min():.2f} to {alike[name].max():.2f}",
    }
    for name in networks
}
pd.DataFrame(rows).T

# %% [markdown]
# As a claim:

# %%
was = "as it was"
closer = {name: metrics.interval(near[name] - near[was]) for name in (always, mix)}
change = {name: metrics.interval(alike[name] - alike[was]) for name in (always, mix)}
measured = {f"twin distance, {name} minus {was}": v for name, v in closer.items()}
measured[f"CKA, {mix} minus {was}"] = change[mix]
text = "Tuned always mirrored or with p = 0.5, the network brings twins closer; with p = 0.5 their CKA rises too"
holds = all(one.high < -0.02 for one in closer.values()) and change[mix].low > 0.05
claim("07.6", text, holds, measured=measured, decimals=2)

# %% tags=["nbval-ignore-output"]
way_it_goes = "rises" if change[always].mean > 0 else "falls"
said = way_it_goes if change[always].excludes(0) else "does not change in a way that is resolved"
text = f"Always mirrored, CKA {said}: {change[always]:.2f}. Who looks at CKA alone does not see how much nearer the twins have come."
display(Markdown(text))

# %% [markdown]
# ## Another target: other writers
#
# Mirrored MNIST is a shift that we made. scikit-learn's digits come from other people, through another machine, framed differently (see [06](lesson06)), and only a few hundred test images. Nobody tells us where they differ.

# %%
writers = data.load("digits", size=16)
ends = [1, 3] if small else [1, 10]
strangers = study(writers.train, ["nothing", "stages 1–3", "anew"], ends, draws)
missed_there = {cell: wrong(networks, writers.test) for cell, networks in strangers.items()}

# %% tags=["nbval-ignore-output"]
words = {"stages 1–3": "only the head", "nothing": "everything"}
rows = {
    moves: {
        f"{n} per class": f"{metrics.interval(100 * missed_there[kind, n].double()):.1f}"
        for n in ends
    }
    for kind, moves in (words | {"anew": "trained anew"}).items()
}
display(
    Markdown(
        f"As it was: **{run.error(writers.test):.1f} %** wrong of {len(writers.test):,} test images. By what moves:"
    )
)
pd.DataFrame(rows).T.rename_axis(columns="error %")

# %% [markdown]
# <details><summary><b>Going deeper: is the head alone really that poor?</b></summary>
#
# Its features are fixed, so all it can do is draw straight borders between them. With the right features that is plenty: renamed digits above. With the wrong ones it stays behind. The same measurement, a straight border on frozen features, is used to *judge* features: a "linear probe". Fine-tuning then does something a probe cannot: it changes what is being bordered. It can also spoil good features while the head is still random, which is why some train the head first and everything after (Kumar et al. 2022).
#
# </details>
#
# ## Between frozen and free
#
# Freezing is a switch, 0 or 1. Two softer ways:
#
# - **Learning rates for each part.** The switch $m_k$ becomes any number: `lr={"": 0.01, "stage1": 0.001}`. Freezing is $m_k = 0$.
# - **A pull towards the start**, L2-SP (Li, Grandvalet & Davoine 2018; SP for starting point):
#
# $$\mathrm{loss} = \mathrm{CE} + \lambda \cdot \tfrac12 \sum_j (\theta_j - \theta_{0,j})^2$$
#
# Here λ is `lam`: 0 is free, ∞ is frozen (the weights; BatchNorm's statistics still move). By hand, and kdlib's:


# %%
def pull(network, start):
    pairs = zip(network.parameters(), start.parameters(), strict=True)
    return sum((w - b).square().sum() for w, b in pairs) / 2


far = grid["nothing", count][0]
weights = [dict(network.named_parameters()) for network in (far, base)]
torch.testing.assert_close(pull(far, base), losses.regularizer(*weights))

# %% [markdown]
# Where do they matter most? Where labels are fewest: **one image per class** of the other writers. And a hold has a second use: what is held is not forgotten. So each way is judged twice, on the new domain (validation images) and on the old one.

# %%
slow, middle, large = rates["few"]["nothing"]
rate = best["few", "nothing"]
pulled = HardLabels() + lam * Regularizer(towards=base)
ways = {f"free, lr = {lr:g}": dict(lr=lr) for lr in (slow, middle, large)}
ways["all but the head slower"] = dict(lr={"": rate / 10, "head": rate})
ways |= {f"L2-SP, lr = {lr:g}": dict(lr=lr, objective=pulled) for lr in (slow, large)}


# %%
def walk(way, draws):
    """The networks that this way makes of one image per class, one for each draw."""
    return [tuned(writers.train.per_class(1, seed=d), draw=d, **ways[way]).network for d in draws]


# %% [markdown]
# All from the same start:

# %%
there = {f"free, lr = {rate:g}": strangers["nothing", 1]}
walked = {w: there.get(w) or walk(w, draws) for w in training.progress_bar(ways)}

# %% [markdown]
# Which images they get wrong, in the new and in the old domain:

# %%
new, old = (
    {way: wrong(nets, side) for way, nets in walked.items()} for side in (writers.validation, test)
)

# %% tags=["nbval-ignore-output"]
picture, axes = figures.figure(height=3.0, panels=2)
short = [textwrap.fill(name.replace("L2-SP, ", "L2-SP\n"), 9) for name in ways]
for axis, table, title in zip(
    axes, (new, old), ("new: other writers", "old: upright"), strict=True
):
    for x, (name, values) in enumerate(table.items()):
        role = {"f": "alone", "a": "extra", "L": "taught"}[name[0]]
        figures.seed_dots(axis, x, 100 * values.double().mean(1), role)
    axis.set(title=title, xlim=(-0.5, len(ways) - 0.5), ylim=(0, None), ylabel="error %")
    axis.set_xticks(range(len(ways)), short, fontsize=7.5)
figures.show(
    picture,
    "Large steps forget the old domain",
    f"One labelled image per class of other writers; L2-SP with lam = {lam:g}. Left: {len(writers.validation)} validation images of theirs, right: {len(test):,} images of the old domain. Dots are draws, bars means, lines 95 % intervals over draws.",
)

# %% [markdown]
# As a claim:

# %%
free, bound = f"free, lr = {large:g}", f"L2-SP, lr = {large:g}"
lost = metrics.difference(old[free], seen[was, "upright"])
text = "With one label per class, large free steps forget most of the old domain"
claim("07.7", text, lost.low > 40, measured={f"{free} minus {was}, old domain, points": lost})

# %% [markdown]
# Two cures, one at a time, against the large free steps:

# %% tags=["nbval-ignore-output"]
saved = {way: metrics.difference(old[way], old[free]) for way in (f"free, lr = {slow:g}", bound)}
said = [
    f"**{way}** {one:.1f} ({'forgets less' if one.high < 0 else 'not resolved'})"
    for way, one in saved.items()
]
so = "So a pull forgives steps that are too large." if saved[bound].high < 0 else ""
display(Markdown(f"Errors on the old domain, in points: {', '.join(said)}. {so}"))

# %% [markdown]
# How well they work depends on the network one starts from: with some seeds little is saved. Does a pull also beat steps of the right size? The lowest on the left among the free ways, and the lowest among the others. Both are lucky as well as good, so they meet again on **fresh draws** that had no part in the choice, and on test images. (An honest remark: the choice used hundreds of labelled validation images, while the training used ten. Who has only ten cannot choose this way; what was learned *here* may serve *there*.)

# %%
later = range(seed + len(draws), seed + 2 * len(draws))
lowest = sorted(ways, key=lambda way: float(new[way].double().mean()))
best_free, soft = (
    next(w for w in lowest if w.startswith("free") is is_free) for is_free in (True, False)
)
fresh = {way: walk(way, later) for way in (best_free, soft)}
learned, kept = (
    metrics.difference(*(wrong(fresh[way], side) for way in (soft, best_free)))
    for side in (writers.test, test)
)

# %% tags=["nbval-ignore-output"]
said = [
    f"on the {where} **{gain:.1f}** ({'resolved' if gain.excludes(0) else 'not resolved'})"
    for where, gain in (("new writers", learned), ("old digits", kept))
]
display(
    Markdown(
        f"**{soft}** minus **{best_free}**, {len(later)} fresh draws, in points: {', '.join(said)}."
    )
)

# %% [markdown]
# Smaller steps and a pull do much the same, by different means: steps that are too small to get far, or a spring that draws back. The spring asks less for the right step, and it goes on holding however long you train. What none of these ways holds are BatchNorm's statistics; what that costs comes next.
#
# ## What can go wrong
#
# **Frozen weights, moving statistics.** Here *all* weights are frozen and there is not even an optimiser. The network only *looks* at images of the other writers, in train mode, as a training loop would have it:

# %% tags=["nbval-ignore-output"]
looked = freeze(copy.deepcopy(base), "").train()
for batch in writers.train[:320].batches(32):
    looked(batch.x)
drift = metrics.difference(wrong([looked], test), wrong([base], test))
display(Markdown(f"Upright test images: {drift:.1f} points more errors than before it looked."))

# %%
text = "In train mode, a network whose weights are all frozen changes its answers by mere looking"
claim("07.8", text, drift.low > 1, measured={"upright test images, points": drift})

# %% [markdown]
# Nothing in the weights tells. (Done on purpose it is a method, AdaBN, in [08](lesson08).) `fit` keeps frozen BatchNorm layers in eval mode; your own loop must do it itself, which is the third exercise.
#
# **A start thrown away.** With a large learning rate the first steps destroy what the network knew: the free ways in the last figure, from left to right.
#
# **A comparison decided beforehand.** One learning rate for all, fewer steps for one side, or a setting chosen on the test set: see the naive version.
#
# ## Exercises
#
# **1 (5 minutes).** How much may move? Write the share of a network's weights that take a gradient, in percent.
#
# <details><summary>Hint 1</summary><code>network.parameters()</code> gives the weight tensors; each has <code>requires_grad</code> and <code>numel()</code>.</details>
# <details><summary>Hint 2</summary>Sum numel() over those that move, divide by the sum over all, times 100.</details>


# %% tags=["exercise"]
def moving_share(network):
    # SOLUTION
    weights = list(network.parameters())
    moving = sum(w.numel() for w in weights if w.requires_grad)
    return 100 * moving / sum(w.numel() for w in weights)
    # END


exercises.moving_share(moving_share)

# %% [markdown]
# **2 (15 minutes).** Flipping kernels made a convolutional network read mirror writing. Do it for `mlp(height * width, …)`: return a copy that answers to mirrored images what `network` answers to upright ones. Its first layer is `network.stage1[0]`, its weight has shape (units, height · width).
#
# <details><summary>Hint 1</summary>A row of the weight is a picture: one number for each pixel. Which picture finds in a mirrored image what the old one found in the upright image?</details>
# <details><summary>Hint 2</summary><code>weight.view(-1, height, width)</code>, <code>.flip(-1)</code>, <code>.flatten(1)</code>. No other layer sees pixels.</details>


# %% tags=["exercise"]
def mirror_reader(network, height, width):
    # SOLUTION
    other = copy.deepcopy(network)
    weight = other.stage1[0].weight
    weight.data = weight.data.view(-1, height, width).flip(-1).flatten(1)  # back to (units, pixels)
    return other
    # END


exercises.mirror_reader(mirror_reader)

# %% [markdown]
# **3 (debugging).** This should hold one stage still for training. It has three mistakes. Mend them all; leave the rest of the network in train mode, and return it.
#
# ```python
# def mended_hold(network, name):
#     for own, module in network.named_modules():
#         if name in own:
#             module.requires_grad = False
#     return network.train()
# ```
#
# <details><summary>Hint 1</summary>Print <code>network.stage1[0].weight.requires_grad</code> after the call. What did <code>module.requires_grad = False</code> do? And what else does <code>"stage1" in own</code> match?</details>
# <details><summary>Hint 2</summary><code>requires_grad_(False)</code>, with an underscore, reaches a module's weights. The last line wakes BatchNorm up again.</details>


# %% tags=["exercise"]
def mended_hold(network, name):
    # SOLUTION
    network.train()
    network.get_submodule(name).requires_grad_(False).eval()
    return network
    # END


exercises.mended_hold(mended_hold)

# %% [markdown]
# ## In three lines
#
# With few labels the trained start is worth most, and small steps protect it; with many, moving only the head falls behind. Move what differs between the domains: features for other pixels (here the last stage, with the head, is enough), the head for other names; small steps or a pull mostly keep more of the old domain. Freeze statistics with the weights, give each way its own learning rate for the labels it has, and repeat over draws.
#
# ## Recall
#
# <details><summary>When is moving only the head worse than training anew?</summary>With enough labels, when the frozen features do not fit the new images.</details>
# <details><summary>Mirrored or renamed: which part must move, and why?</summary>Mirrored: features, since pixels differ and a perfect network with the same head exists; moving the last stage and the head can be enough. Renamed: the head, the features are right as they are.</details>
# <details><summary>What besides requires_grad belongs to freezing?</summary>BatchNorm's running statistics: the layer in eval mode.</details>
# <details><summary>What does L2-SP become for lam = 0, and for lam → ∞?</summary>Free fine-tuning; and weights that stay at the start, while BatchNorm's statistics still move.</details>
# <details><summary>Why may one learning rate for all kinds be unfair?</summary>A head has few weights and far to go: at a rate that suits a whole network it may not have arrived when training ends. And a rate that suits many labels can be too large for few.</details>
#
# ## Reading
#
# - Yosinski et al. (2014), *How transferable are features in deep neural networks?*: the first layers are general, the last ones special; freezing against moving, layer by layer.
# - Lee et al. (2023), *Surgical Fine-Tuning Improves Adaptation to Distribution Shifts*: which part to move, by the kind of shift: the first layers for corrupted images (our mirror wants the last stage), the last for renamed classes.
# - Li, Grandvalet & Davoine (2018), *Explicit Inductive Bias for Transfer Learning with Convolutional Networks*: L2-SP and its relatives.
# - Kumar et al. (2022), *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution*: the head first, then everything.
# - Kornblith et al. (2019), *Similarity of Neural Network Representations Revisited*: CKA.
