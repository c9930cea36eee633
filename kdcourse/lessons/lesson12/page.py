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
# # Prune, quantise, factorise or distil?
#
# **In one line:** they save different things, so ask first what is scarce: zeros shrink only a zipped file; int8 makes a file a quarter and costs hardly any error; fewer channels make every cost smaller, and need training afterwards.
#
# *{minutes} minutes to read, exercises apart · about 20 CPU seconds to run · needs: [](lesson02)*
#
# After this page you can
#
# - make a network smaller in five ways, and say what each saves and what not;
# - train a compressed network on (fine-tuning) without undoing its compression, and compare ways to do so fairly;
# - choose for a budget from a Pareto front, and say when its intervals do not decide.
#
# ## Why anyone wants this
#
# A trained network has to move: to a watch with little memory, a server that pays for each millisecond, an app whose download must stay small: three budgets.

# %% tags=["parameters"]
amount: float = 0.9  # 0.5..0.95
bits: int = 4  # 2..8
rank: int = 16  # 1..60
seed: int = 0  # 0..4
budget: str = "full"  # full | small

# %%
import copy

import torch

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.lessons.lesson12 import exercises, front, stored, table
from kdcourse.lessons.lesson12.budget_line import Front
from kdcourse.parameters import check_parameters
from kdlib import metrics
from kdlib.compression import cost, factorise, nonzero, prune, quantise, rounded, smaller
from kdlib.data import load
from kdlib.models import predict
from kdlib.objectives import HardLabels, tabulate
from kdlib.training import fit

check_parameters()

# %% [markdown]
# The course's teacher, `cnn(16)`, is small already. So here the teacher is an MLP, 784 → 300 → 100 → 10 (LeNet-300-100). It learned 3,500 images for 40 epochs, moved at random by up to two pixels (**jitter**).

# %%
digits = load("mnist5k")
train, test = digits.train, digits.test
teacher = table.teacher_of(train, seed, epochs=2 if budget == "small" else table.BEFORE)
W = teacher.get_submodule("stage1.0").weight.detach()  # (300, 784)


def error_of(network):
    """Test error in %, 1,000 images."""
    return float(metrics.error_percent(predict(network, test), test.y))


# %% [markdown]
# ## A prediction first

# %%
question = (
    "Zipped, a file may have at most 100 kB. Each of these is smaller. Which has the lowest error?"
)
options = {
    "pruned 95 %": "the teacher with 95 % zeros, fine-tuned",
    "channels 80 %, int8": "the teacher without 80 % of its hidden units, fine-tuned, int8",
    "mlp(32), distilled": "an MLP with 32 hidden units, distilled",
    "cnn(16)": "a CNN that nobody compressed",
}
guess = checks.Prediction(question, list(options.values()))
guess

# %% [markdown]
# ## The idea
#
# Replace each weight matrix $W$ by the nearest $\hat W$ that is cheaper to keep:
#
# $$\min_{\hat W} \lVert W - \hat W\rVert^2 \quad\text{where } \hat W \text{ has } \begin{cases} \text{at most } k \text{ weights that are not 0} & \text{prune} \\ \text{each row on a given grid of at most } 2^b \text{ levels} & \text{quantise} \\ \text{rank at most } r & \text{factorise}\end{cases}$$
#
# Who is nearest? For pruning, with a mask $m_{ij}$ of zeros and ones:
#
# $$\begin{aligned} \lVert W - m \odot W\rVert^2 &= \textstyle\sum_{ij} (1 - m_{ij})^2\, W_{ij}^2 \\ &= \textstyle\sum_{m_{ij} = 0} W_{ij}^2, \\ &\text{least when the zeros stand at the smallest } |W_{ij}|. \end{aligned}$$
#
# On a given grid, rounding is nearest (with free levels it would be k-means). For the rank, write $W = U \Sigma V^\top$ (SVD). The best $\hat W$ has the same $U$ and $V$ (theorem of Eckart & Young 1936); so the same sum runs over singular values: keep the $r$ largest. Two layers $in \to r \to out$ are smaller than one when $r < \frac{in \cdot out}{in + out}$.
#
# By hand, equal to kdlib's:

# %%
zeros = round(amount * W.numel())
threshold = W.abs().flatten().kthvalue(zeros).values
by_prune = torch.where(W.abs() > threshold, W, 0)

step = W.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)  # one for each row
by_round = (W / step).round() * step

U, S, V = torch.linalg.svd(W, full_matrices=False)
by_svd = (U[:, :rank] * S[:rank]) @ V[:rank]

# %%
pruned, coarse = prune(teacher, amount), rounded(teacher, bits)
low = factorise(teacher, rank=rank, layers="stage1.0")
for network, by_hand in ((pruned, by_prune), (coarse, by_round), (low, by_svd)):
    layer = network.get_submodule("stage1.0")
    torch.testing.assert_close(layer.weight.detach(), by_hand, rtol=1e-4, atol=1e-5)
moved = [f"{100 * (W - near).norm() / W.norm():.0f} %" for near in (by_prune, by_round, by_svd)]
figures.show_table(["first layer", "prune", "quantise", "factorise"], [["‖W − Ŵ‖ / ‖W‖", *moved]])

# %% [markdown]
# The fourth way (*structured* pruning) takes whole **channels** out, here hidden units: a row of one layer with its column of the next. `smaller` drops the units whose weights, in and out, have the smallest norm. The fifth is **distilling**. It drops the distance of *weights* and asks a small network, of any shape, for near *answers*: $\mathrm{KL}(p_T \,\|\, q_T)$.
#
# ## What each makes smaller
#
# `cost` measures one network: its weights, its file as PyTorch saves it, the same file zipped, multiply-adds for an image, and the time on one thread (median, quartiles). Nothing is trained afterwards; `prune` spares the last layer (the head), so more than a tenth stays. "–": PyTorch's counter does not see int8 products.

# %% tags=["nbval-ignore-output"]
x = test.batch().x[:256]
int8 = quantise(teacher, train[:500])  # 500 images tell the ranges of activations
shots = {"teacher": teacher, f"pruned {100 * amount:g} %": pruned, f"{bits} bits": coarse}
shots |= {"int8": int8, f"rank {rank}": low, "channels 80 %": smaller(teacher, 0.8, x)}
costs = {name: cost(network, x) for name, network in shots.items()}
errors = {name: error_of(network) for name, network in shots.items()}
figures.show_table(
    ["", "weights", "not 0", "kB", "zipped kB", "multiply-adds", "µs: 1 image", "µs: 256", "error %, 1,000 images"],
    [[name, f"{c.weights:,}", f"{c.nonzero:,}", f"{c.bytes / 1e3:.0f}", f"{c.zipped / 1e3:.0f}",
      f"{c.multiply_adds:,}" if c.multiply_adds else "–", f"{c.one}".removesuffix(" µs"),
      f"{c.many}".removesuffix(" µs"), f"{errors[name]:.1f}"] for name, c in costs.items()])  # fmt: skip

# %% [markdown]
# **Zeros** are stored as four bytes each and multiplied like all others; only zip sees them. **Rounded** weights are still floats: `rounded` shows what few levels do to the *error*; `quantise` makes real int8 kernels, which pay off for many images at once. **Time is noisy**: zeros and rounding leave the work as it is, so their difference from the teacher's time is noise; believe no smaller one. For one image part of the time is Python's: it falls by less than the work.

# %%
text = "Zeros save no multiply-add and no byte of the file; zipped it is at least three times smaller. int8 makes the file itself about a quarter"
names = ("teacher", f"pruned {100 * amount:g} %", "int8")
whole, holes, bytes_ = (costs[name] for name in names)
measured = {"pruned / teacher: file": holes.bytes / whole.bytes}
measured |= {"multiply-adds": holes.multiply_adds / whole.multiply_adds}
measured |= {
    "zipped": holes.zipped / whole.zipped,
    "int8 / teacher: file": bytes_.bytes / whole.bytes,
}
shares = list(measured.values())
holds = abs(shares[0] - 1) < 0.01 and shares[1] == 1 and shares[2] < 1 / 3 and shares[3] < 0.3
claim("12.1", text, holds, measured=measured)

# %% [markdown]
# ## Train it on: labels or soft targets?
#
# Most errors came back too high: the nearest $\hat W$ is still far. So train on (*fine-tune*). The mask must stay: kdlib computes mask · weight in each step, so that a zero gets no gradient.
#
# Who should teach now, the labels or the whole teacher? `seed=None` trains on from the weights as they are:

# %% tags=["nbval-ignore-output"]
soft_targets = table.soft(tabulate(teacher, train))  # T = 4, α = 0.9, as in 02
trained_on = {}
for name, objective in {"labels": HardLabels(), "soft targets": soft_targets}.items():
    start = copy.deepcopy(pruned)
    how = dict(epochs=1 if budget == "small" else 5, precision="fp32", order_seed=seed)
    trained_on[name] = fit(start, train, objective, seed=None, **how).network
rows = [[name, f"{error_of(net):.1f}", f"{nonzero(net):,}"] for name, net in trained_on.items()]
head = [f"pruned {100 * amount:g} %, trained on by", "error %, 1,000 images", "not 0"]
figures.show_table(head, rows)

# %% [markdown]
# One network and 1,000 test images decide little. Stored (`table.py`): five teachers, compressed in each way, trained on with the **same** 3,500 images, without jitter. 5 and 20 epochs are two runs, each with its whole schedule. Intervals are 95 %, over seeds and images; *not resolved*: 0 lies inside. Of twelve comparisons chance alone may resolve one.

# %%
figures.show_table(stored.RECOVERY_HEAD, stored.recovery_rows())

# %% [markdown]
# (*Pruned*: share of zeros below the head. *Channels*: share of hidden units that are gone.)

# %%
picture = stored.draw_recovery()
title = "Soft targets or labels? Only the factorised network clearly prefers its teacher"
sentence = "Points that soft targets save against labels, with 95 % intervals; below 0 they cost. Open marks: 5 epochs. Full marks: 20 epochs. Dashed: no difference."
figures.show(picture, title, sentence)

# %% [markdown]
# Training on repairs most; the smallest networks stay clearly above the teacher. *Who teaches* changes little. Rank 16 prefers its teacher at both lengths; at 98 % zeros the mean changes its sign between 5 epochs and 20. **A comparison of recoveries holds for its own number of epochs only.**

# %%
text = "Training on for 20 epochs repairs more than five points in every way; labels or soft targets then differ by less than 1.5"
gains = stored.recovery(table.LONG)
repaired = min(
    stored.ways()[f"{shot}: one shot"].error.mean
    - stored.ways()[f"{shot}: labels, 20 epochs"].error.mean
    for shot in stored.SHOTS
)
measured = {"least repaired by labels, points": repaired}
measured |= {f"{shot}, points saved by soft targets": gain for shot, gain in gains.items()}
holds = repaired > 5 and all(max(-gain.low, gain.high) < 1.5 for gain in gains.values())
claim("12.2", text, holds, measured=measured)

# %%
text = "With 90 % zeros below the head and 20 epochs with labels, the test error is as before: a loss of half a point is excluded"
loss = stored.saved("teacher", "pruned 90 %: labels, 20 epochs")
published = "LeNet-300-100 on all 60,000 images, so another level: error 1.64 %, with a twelfth of its weights 1.59 % (Han et al. 2015, table 1)"
claim("12.3", text, loss.low > -0.5, measured={"points saved": loss}, published=published)

# %% [markdown]
# In which **order**, prune or distil first (equally many weights stay)? Is a network with 95 % zeros still a good **teacher**? And what is **inheritance** worth: does the small shape learn as well from random weights, in 60 epochs (teacher and recovery together)?

# %%
pairs = table.PAIRS[12:16]
figures.show_table(stored.COMPARED_HEAD, stored.compared(pairs))

# %% [markdown]
# Pruning the big network is better here than pruning the student; as a teacher the pruned network is hardly different. The last two rows are a warning: the channels beat a fresh network by far, *until that one gets labels and jitter, as the teacher had* (the two were not separated). The first row's winner has the same advantage.
#
# ## The front
#
# Now all of them, and two convolutional networks (jitter, labels). A point is **on the front** when no other has at most its cost *and* at most its error. Costs are measured here on one network; errors are stored, five seeds. All fine-tuned or distilled networks had 20 epochs with soft targets, without jitter; so the fresh network of the last row joins as `mlp(60, 20), jitter`.

# %%
points = front.measured(teacher, train, x)
picture = front.draw(points)
title = "By bytes CNNs are ahead; with few multiply-adds small MLPs, compressed or fresh"
sentence = "Error on 10,000 test images with its interval, logarithmic axes. Dashed: the front of the MLPs; broad grey line: of all. Blue: teacher. Purple: made from it. Green: small MLPs, distilled. Red square: a fresh MLP, labels and jitter. Yellow: CNNs. Open marks: int8, left out on the right, where it has no count."
figures.show(picture, title, sentence)

# %% tags=["nbval-ignore-output"]
asked = {name: place for name, place in front.on(points, "zipped kB").items() if name in options}
kilobytes_asked = [[name, f"{place[0]:.0f}", f"{place[1]:.1f}"] for name, place in asked.items()]
figures.show_table(["asked", "zipped kB", "error %, 10,000 images"], kilobytes_asked)
guess.recall(options[front.winner(asked, 100)])

# %%
text = "In int8 the cnn(16) takes less than a tenth of the bytes of the teacher, and saves more than a point against it; int8 itself costs less than 0.3"
kilobytes = {f"{n}, kB": round(points[n].cost.bytes / 1e3) for n in ("teacher", "cnn(16), int8")}
better = stored.saved("teacher", "cnn(16), int8")
price = {
    f"{net} to int8, points saved": stored.saved(net, f"{net}, int8")
    for net in ("teacher", "cnn(16)")
}
large, little = kilobytes.values()
holds = little < large / 10 and better.low > 1 and all(gain.low > -0.3 for gain in price.values())
measured = kilobytes | {"points saved": better} | price
claim("12.4", text, holds, measured=measured)

# %% [markdown]
# The winner for each budget, a share of what the teacher costs; in brackets without CNNs. **≈**: another interval within the budget overlaps, so the winner is no proof. –: no network is that cheap.

# %% tags=["nbval-ignore-output"]
shares_of = (2, 5, 10, 20, 50, 100, 1000)  # % of what the teacher costs
lines_won = [[f"{share} %", *front.winners(points, share)] for share in shares_of]
figures.show_table(["budget", *front.AXES], lines_won)

# %% [markdown]
# **By bytes**, change the architecture: a convolution uses each weight at hundreds of places. **By multiply-adds**, for the same reason, the cnn(16) costs several times the teacher; small budgets belong to MLPs: distilled, with fewer channels, or fresh. **Times** are as noisy as before. So there is a best method only *for a budget*.
#
# Move the budget line. Then let the CNNs in.

# %% tags=["nbval-ignore-output"]
Front(points)

# %% [markdown]
# ## What can go wrong
#
# **Layer collapse.** A layer loses all its weights, and every image gets the same answer. `how="global"` takes one threshold for all layers. Is it fair? Divide the first layer by 100 and multiply the second by 100: after a ReLU that is the **same function**.

# %%
twin = copy.deepcopy(teacher)
with torch.no_grad():
    for weight in twin.get_submodule("stage1.0").parameters():
        weight /= 100
    twin.get_submodule("stage2.0").weight *= 100
lines = []
for share in (0.5, 0.8, 0.885):
    cuts = [prune(net, share, how=how) for how in ("layer", "global") for net in (teacher, twin)]
    stays = stored.left(cuts[-1])["stage1.0"]  # the twin's, one threshold for all layers
    lines.append([f"{100 * share:g} %", *(f"{error_of(net):.1f}" for net in cuts), f"{stays:.1f}"])
kinds = [f"{how}, {net}" for how in ("layer by layer", "global") for net in ("teacher", "its twin")]
last = "global, its twin: first layer left, %"
figures.show_table(["pruned", *(f"{kind}: error %" for kind in kinds), last], lines)

# %% [markdown]
# One threshold suits the teacher, in the last row even better; from the twin it takes nearly the whole first layer, 235,200 of the 265,200 weights that may go. At 90 % nothing of it is left, and kdlib refuses:

# %%
try:
    prune(twin, 0.9, how="global")
except ValueError as refusal:
    print(refusal)

# %%
text = "A network of the same function, with other scales: pruned layer by layer its error is the same, pruned by one threshold over twenty points higher"
measured, lost = {}, {}
for how in ("layer", "global"):
    for name, network in {"teacher": teacher, "twin": twin}.items():
        lost[how, name] = error_of(prune(network, 0.885, how=how))
        measured[f"{name}, 88.5 % pruned, {how}: error %"] = lost[how, name]
apart = lost["layer", "twin"] - lost["layer", "teacher"]
more = lost["global", "twin"] - lost["global", "teacher"]
holds = abs(apart) < 0.5 and more > 20
claim("12.5", text, holds, measured=measured)

# %% [markdown]
# **A mask that is applied once.** The next step moves the zeros away: exercise 3.
#
# **Time from somewhere else.** Microseconds are this machine's. Measure where it will run, alone.
#
# **"Compressed 20 times".** Compared with what? Every method makes a network small that was too big. Compare with a small network, trained as well (jitter!).
#
# More (bits, kernels, weights as targets, attacks, export): [lab notes](lesson12/notes).
#
# ## Exercises
#
# **1 (5 minutes).** One threshold for all. `weights` maps a layer's name to its weights; return a dictionary of masks, True where a weight **stays**, so that `amount` (a share from 0 to 1, above 0) of *all weights together* becomes 0.
#
# <details><summary>Hint 1</summary>The threshold of the page was one layer's. Which list of magnitudes do you need now?</details>
# <details><summary>Hint 2</summary><code>torch.cat</code> makes one row of them. The threshold is the largest magnitude that still has to go.</details>


# %% tags=["exercise"]
def global_masks(weights, amount):
    # SOLUTION
    every = torch.cat([w.abs().flatten() for w in weights.values()])
    limit = every.kthvalue(round(amount * len(every))).values
    return {name: w.abs() > limit for name, w in weights.items()}
    # END


exercises.global_masks(global_masks)

# %% [markdown]
# **2 (15 minutes).** `points` maps a name to (cost, error). Return the names that are on the front: no other point has at most its cost *and* at most its error, unless both are equal.
#
# <details><summary>Hint 1</summary>Write first: when does a point beat another? Then keep those whom none beats.</details>
# <details><summary>Hint 2</summary><code>any(…)</code> over all points; tuples that are equal beat nobody.</details>


# %% tags=["exercise"]
def not_beaten(points):
    # SOLUTION
    def beats(a, b):
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    return [name for name, p in points.items() if not any(beats(q, p) for q in points.values())]
    # END


exercises.not_beaten(not_beaten)

# %% [markdown]
# **3 (debugging).** This prunes a layer and trains it on; `gradient(W)` gives the slope of the loss. It has three mistakes, and only the caller sees the third. Correct them.
#
# ```python
# def mended_training(W, gradient, amount, lr, steps):
#     limit = W.flatten().kthvalue(round(amount * W.numel())).values
#     W *= W > limit
#     for _ in range(steps):
#         W = W - lr * gradient(W)
#     return W
# ```
#
# <details><summary>Hint 1</summary>Call it with 0 steps and with 1, on a W with large negative weights. Compare the zeros, and your W before and after.</details>
# <details><summary>Hint 2</summary>Keep the mask under a name; use it on a new tensor, and on every step.</details>


# %% tags=["exercise"]
def mended_training(W, gradient, amount, lr, steps):
    # SOLUTION
    mask = W.abs() > W.abs().flatten().kthvalue(round(amount * W.numel())).values
    kept = W * mask
    for _ in range(steps):
        kept = kept - lr * mask * gradient(kept)
    return kept
    # END


exercises.mended_training(mended_training)

# %% [markdown]
# ## In three lines
#
# Zeros shrink a zipped file, int8 a file, missing channels every cost: ask first which budget you have. Compressing raises the error, so train on, and compare at one schedule and with the same jitter. The front decides, with intervals: here another architecture is best by bytes, small MLPs by multiply-adds.
#
# ## Recall
#
# <details><summary>90 % of the weights are 0. What is saved?</summary>Bytes of a zipped file. No multiply-add; and no time, unless kernels skip zeros (differences in our table are noise).</details>
# <details><summary>When is a product of two layers smaller?</summary>When r(in + out) is below in · out.</details>
# <details><summary>Soft targets lost against labels after pruning. What do you ask?</summary>For how many epochs: the sign may turn with the schedule.</details>
# <details><summary>What is a Pareto front?</summary>All networks for which no other has at most their cost and at most their error, unless equal in both.</details>
# <details><summary>What is layer collapse?</summary>A layer is left without weights; every image gets the same answer. A single threshold can bring it about when layers have different scales.</details>
#
# ## Reading
#
# - Han et al. (2015), *Learning both Weights and Connections*: prune and train on; with shared levels and Huffman coding (2016), *Deep Compression*.
# - Jacob et al. (2018), *Quantization and Training of Neural Networks*: int8, and training for it.
# - Fang et al. (2023), *DepGraph*: which channels belong together; the library behind `smaller`.
# - Zhang et al. (2015), *Accelerating Very Deep Convolutional Networks*: low rank.
# - Blalock et al. (2020), *What is the State of Neural Network Pruning?*: how comparisons go wrong.
#
# Next: [](lesson13)
