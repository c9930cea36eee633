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
# # What makes a good teacher?
#
# **In one line:** a good teacher is right, knows how sure it is, and was measured fairly; its accuracy alone does not tell how well its *students* will do.
#
# *{minutes} minutes to read, exercises apart · about 55 CPU seconds to run · needs: [00](lesson00), no GPU, no network*
#
# **First, wake the sliders: Run ▸ Run All Cells.** On Binder's shared processor this may take three times as long.
#
# After this page you can
#
# - write the training loop of the whole course by hand, and stop and resume it with exactly the same result;
# - measure a network: accuracy, macro F1, confusion, calibration, and tell a finding from luck;
# - say whether a difference between two networks is real, and how many images it takes to see it.

# %% tags=["parameters"]
dataset: str = "mnist5k"  # mnist5k | mnist | fashion
T: float = 4.0  # 0.5..50
alpha: float = 0.9  # 0..1
seed: int = 0  # 0..1000
device: str = "cpu"  # cpu | cuda | mps
budget: str = "full"  # full | small

# %% [markdown]
# **Recap.** A network turns an image into *logits* $z$, one number per class; *softmax* turns them into probabilities $p$; *cross-entropy* is $-\log p(\text{label})$. The **teacher** is the network that others will learn from.

# %%
import copy
import math
import tempfile
from pathlib import Path

import pandas as pd
import torch
from IPython.display import Markdown, display
from scipy import stats

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.lessons.lesson01 import exercises
from kdcourse.lessons.lesson01.abstention import Abstention
from kdcourse.parameters import check_parameters
from kdlib import data, metrics
from kdlib.bank import train_bank
from kdlib.models import cnn, initialise, mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, tabulate
from kdlib.training import fit

check_parameters()

small = budget == "small"

# %% [markdown]
# ## A prediction first
#
# Further down, ten teachers (small and large, trained briefly and long) each teach the *same* student.

# %%
guess = checks.Prediction(
    "Do the more accurate teachers have the more accurate students?",
    ["always, rank by rank", "on the whole, with exceptions", "no relation can be seen"],
)
guess

# %% [markdown]
# ## The data: three parts, three purposes
#
# - **train** is what the networks learn from;
# - **validation** is what *we* choose settings with;
# - **test** is opened to report, and never to choose.

# %%
train, validation, test = data.load(dataset)
train = train[:500] if small else train[:3500]
pixels = train.x[0].numel()  # (1, 28, 28) -> 784
train, validation, test

# %%
strip = figures.digits(train.x[:10], titles=[str(int(y)) for y in train.y[:10]])
figures.show(
    strip,
    "Ten training images and their labels",
    "Each image is a grid of 28 × 28 grey values, with one label.",
)

# %% [markdown]
# ## The naive version: no training at all
#
# Average the training images of each class. A new image gets the class of the nearest average. Anything that we train has to beat this.

# %% tags=["nbval-ignore-output"]
images = test.batch().x.flatten(1)  # (N, 1, 28, 28) -> (N, 784)
means = torch.stack([train.batch(train.y == c).x.mean(0).flatten() for c in range(10)])
naive = -torch.cdist(images, means)  # (N, 10): the nearer, the higher
naive_error = float(metrics.error_percent(naive, test.y))
display(Markdown(f"The nearest average errs on **{naive_error:.1f} %** of {len(test):,} images."))

# %% [markdown]
# ## The training loop by hand
#
# **In words:** take a few images, ask the network, see how wrong it is, move every weight a little downhill; do so until all images were seen; begin again.
#
# $$\theta \leftarrow \theta - \eta_k \cdot \mathrm{AdamW}\!\left(\nabla_\theta\; \frac{1}{B}\sum_{i=1}^{B} -\log p_\theta(y_i \mid x_i)\right)$$
#
# The step size $\eta_k$ rises over the first 30 % of the steps, then falls to nearly nothing (*one-cycle*). The seed draws the first weights; the epoch's number draws the order of the images.

# %%
epochs, lr, size = (1 if small else 4), 1e-2, 128
network = initialise(mlp(pixels, 32, 10), seed)
steps = epochs * math.ceil(len(train) / size)

# %%
optimizer = torch.optim.AdamW(network.parameters(), lr, weight_decay=0.0, fused=True)
up_and_down = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, lr, total_steps=steps + 1, cycle_momentum=False
)

# %% [markdown]
# And the loop itself. These few lines train every network of the course.

# %%
for epoch in range(epochs):
    order = torch.Generator().manual_seed(epoch)  # each epoch an order of its own
    for batch in train.batches(size, order):
        log_p = network(batch.x).log_softmax(-1)  # (B, 10)
        loss = -log_p.gather(-1, batch.y[:, None]).mean()
        optimizer.zero_grad()  # else gradients add up from step to step
        loss.backward()
        optimizer.step()
        up_and_down.step()

# %% [markdown]
# `kdlib`'s `fit` is that loop with a progress bar, a history, validation and checkpoints. Same seeds, same weights:

# %%
run = fit(mlp(pixels, 32, 10), train, HardLabels(), epochs=epochs, lr=lr, batch=size, seed=seed)
torch.testing.assert_close(network.state_dict(), run.network.state_dict())

# %%
both = zip(network.parameters(), run.network.parameters(), strict=True)
gaps = [float((ours - theirs).detach().abs().max()) for ours, theirs in both]
claim(
    "01.1",
    "The loop by hand and `fit` end with equal weights",
    max(gaps) < 1e-5,
    measured={"largest difference of any weight": max(gaps)},
)

# %% [markdown]
# ## Our teacher
#
# A small convolutional network. Each time an image is seen, it is shifted by up to two pixels: more variety, no more labels. `device` is one of this page's parameters: with `"cuda"` the same line trains on a GPU.

# %%
teachers = {}


def train_teacher(name, network, *, epochs, smoothing=0.0, **how):
    """Trains one teacher and keeps its run under a name; it ends on the CPU for the students."""
    epochs = 1 if small else epochs
    objective = HardLabels(smoothing=smoothing)
    run = fit(network, train, objective, epochs=epochs, seed=seed, device=device, **how)
    run.network.cpu()
    teachers[name] = run
    return run


# %%
shifted = {"augment": data.jitter(2), "batch": 32}
teacher = train_teacher("cnn 16", cnn(16), epochs=6, **shifted)
z_t = teacher.logits(test)  # (N, 10)

# %% [markdown]
# ### Accuracy, and how sure we are of it
#
# The test images are a sample. Had we drawn others, the count would differ a little: by a *standard error* of $\sqrt{p\,(1 - p) / n}$, for a share $p$ of wrong answers among $n$ images. The interval reaches about two of them to each side.

# %% tags=["nbval-ignore-output"]
wrong = metrics.wrong(z_t, test.y)  # (N,) bool
error = metrics.interval(100 * wrong[None].double())
count = f"{int(wrong.sum())} of {len(test):,} images"
display(Markdown(f"The teacher errs on **{error:.1f} %** (95 % interval in brackets): {count}."))

# %%
lead = metrics.difference(metrics.wrong(naive, test.y)[None], wrong[None])
claim(
    "01.2",
    "The teacher makes fewer than half the errors of the nearest average",
    lead.low > naive_error / 2,
    measured={"nearest average %": naive_error, "teacher %": error},
    published="Hinton et al. 2015: 67 errors of 10,000 by a teacher trained on all of MNIST",
)

# %% [markdown]
# ### Which digits does it confuse?
#
# The confusion matrix counts: row = label, column = answer. Everything off the diagonal is an error.

# %%
counts = metrics.confusion(z_t, test.y)  # (10, 10)
by_label = counts.sum(1) - counts.diagonal()  # (10,) errors of each digit
worst, total = int(by_label.argmax()), int(by_label.sum())

# %% [markdown]
# One digit has the most errors: always, even if errors fell by lot. So we spread the errors at random, ten thousand times, and see how often one digit gets as many.

# %%
lots = torch.distributions.Multinomial(total, counts.sum(1).double())
torch.manual_seed(seed)
chance = (lots.sample((10_000,)).amax(-1) >= by_label[worst]).double().mean()

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=3.3, width=5)
figures.matrix(axis, counts, across="the teacher's answer", down="label", blank_diagonal=True)
figures.show(
    picture,
    "The teacher's few errors are " + ("not spread evenly" if chance < 0.05 else "too few to tell"),
    f"Each number is a count of images; {int(by_label[worst])} of {total} errors are images of a "
    f"{worst}. By lot one digit gets as many in {100 * chance:.1f} % of the draws.",
)

# %% [markdown]
# **Precision** asks of an answer "how often was it right?" (a column); **recall** asks of a label "how often was it found?" (a row). $F_1$ is their harmonic mean, and **macro** $F_1$ gives every class the same weight, however rare it is.

# %%
hits, answered, labelled = counts.diagonal().double(), counts.sum(0), counts.sum(1)
f1 = (2 * hits / (answered + labelled)).mean()  # = 2 · precision · recall / (precision + recall)
torch.testing.assert_close(float(f1), metrics.macro_f1(z_t, test.y))

# %% tags=["nbval-ignore-output"]
share, rarest = float(metrics.accuracy(z_t, test.y)), int(counts.sum(1).min())
said = f"Accuracy {share:.3f}, macro F1 {float(f1):.3f}: nearly the same, for no class is rare "
display(Markdown(said + f"(the rarest has {rarest} test images)."))

# %% [markdown]
# ## Train, validation, test: which number do you believe?
#
# A plain network is trained long, and asked after every epoch about the validation images.

# %%
long = train_teacher("mlp 100, long", mlp(pixels, 100, 10), epochs=30, validate=validation)

# %% tags=["nbval-ignore-output"]
history = long.to_frame()
picture, (left, right) = figures.figure(height=2.6, panels=2)
left.plot(history["epoch"], history["loss"], color=figures.COLOURS["teacher"])
left.set(yscale="log", xlabel="epoch", ylabel="cross-entropy on train, nats")
right.plot(history["epoch"], history["validation error %"], color=figures.COLOURS["extra"])
right.set(ylim=(0, None), xlabel="epoch", ylabel="error % on validation")
figures.show(
    picture,
    "The loss falls on and on; the error on unseen images does not follow",
    f"After {len(history)} epochs the loss on train is {history['loss'].iloc[-1]:.4f} nats, "
    f"the validation error {history['validation error %'].iloc[-1]:.1f} %.",
)

# %% [markdown]
# The same network, three numbers. Two of them tell what a new image will meet:

# %% tags=["nbval-ignore-output"]
parts = {"train": train, "validation": validation, "test": test}
for name, part in parts.items():
    one = metrics.interval(100 * metrics.wrong(long.logits(part), part.y)[None].double())
    print(f"{name:10s} {len(part):>6,} images  error {one:.1f} %")

# %% [markdown]
# The training error says what was learnt by heart. Validation and test agree within their intervals here, because nothing was chosen on either. Whoever chooses among many settings by a number makes that number too optimistic (the end of this page measures by how much). So choices are made on validation, and test only reports.

# %% [markdown]
# ## Does it know how sure it is?
#
# A student learns from the teacher's *probabilities*, so they should mean something. **Calibrated** means: of all answers given with confidence 0.8, eight in ten are right.
#
# Sort the images by confidence, cut them into 15 bins of equal size, and compare in each bin the mean confidence with the share of right answers. The mean gap is the **expected calibration error**:
#
# $$\mathrm{ECE} = \frac{1}{15}\sum_{b=1}^{15} \left|\,\overline{\text{confidence}}_b - \overline{\text{accuracy}}_b\,\right|$$

# %%
confidence, order = z_t.double().softmax(-1).amax(-1).sort(stable=True)
right = (z_t.argmax(-1) == test.y).double()[order]
bins = zip(confidence.tensor_split(15), right.tensor_split(15), strict=True)
ece = torch.stack([(sure.mean() - hit.mean()).abs() for sure, hit in bins]).mean()
torch.testing.assert_close(float(ece), metrics.calibration_error(z_t, test.y))

# %% [markdown]
# **Is that much?** Even a perfectly calibrated network has an ECE above 0 on a finite test set: a bin of a few dozen images does not hit its share exactly. So we need a *null band*: draw every answer again at random, right with exactly the probability that the network claimed. What ECE do those worlds have?

# %%
coin = torch.Generator().manual_seed(0)
worlds = torch.bernoulli(confidence.expand(500, -1), generator=coin)  # (worlds, N)
claimed = torch.stack([one.mean() for one in confidence.tensor_split(15)])
shares = torch.stack([one.mean(1) for one in worlds.tensor_split(15, dim=1)], 1)  # (worlds, 15)
null = (claimed - shares).abs().mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
torch.testing.assert_close(tuple(null.tolist()), metrics.calibration_null(z_t))

# %% [markdown]
# Three networks side by side: our teacher, the one that was trained long, and a third whose labels were *smoothed* (a tenth of each label spread over all classes), so that it never hears a certain word.

# %%
smooth = train_teacher("mlp 100, smoothed", mlp(pixels, 100, 10), epochs=10, smoothing=0.1)
asked = {name: run.logits(test) for name, run in teachers.items()}

# %% [markdown]
# The null band again, now for each bin's accuracy:


# %%
def null_band(logits, bins=10, worlds=300):
    """Where the accuracy of each bin falls for a network that is exactly as right as it is sure."""
    sure = logits.double().softmax(-1).amax(-1).sort().values
    coin = torch.Generator().manual_seed(0)
    drawn = torch.bernoulli(sure.expand(worlds, -1), generator=coin)  # (worlds, N)
    shares = torch.stack([one.mean(1) for one in drawn.tensor_split(bins, dim=1)], 1)
    return shares.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)


# %% tags=["nbval-ignore-output"]
picture, axes = figures.figure(height=2.7, panels=3)
for axis, (name, z) in zip(axes, asked.items(), strict=True):
    figures.reliability_diagram(axis, *metrics.reliability(z, test.y, bins=10), *null_band(z))
    axis.set(title=name, xlim=(0.35, 1.02), ylim=(0.35, 1.02))
figures.show(
    picture,
    "Under the line: surer than right; above it: more often right than it says",
    "Ten bins of equal size; grey is where 95 % of perfectly calibrated networks fall. The long-trained "
    "network lies under the band where it is unsure; the smoothed one lies above.",
)

# %% [markdown]
# One diagram, one number: the ECE beside its null band. (NLL, the negative log-likelihood, is the mean cross-entropy.)

# %% tags=["nbval-ignore-output"]
rows = {}
for name, z in asked.items():
    low, high = metrics.calibration_null(z)
    rows[name] = {
        "error %": float(metrics.error_percent(z, test.y)),
        "ECE": metrics.calibration_error(z, test.y),
        "null band": f"{low:.3f} to {high:.3f}",
        "NLL, nats": float(metrics.nll(z, test.y)),
    }
pd.DataFrame(rows).T

# %% [markdown]
# How to read it: an ECE inside its band is *not* evidence of miscalibration, however large it looks; an ECE outside is.

# %%
over, under = asked["mlp 100, long"], asked["mlp 100, smoothed"]
bias = [float(z.softmax(-1).amax(-1).mean() - metrics.accuracy(z, test.y)) for z in (over, under)]

# %%
claim(
    "01.3",
    "A network that knows its images by heart is overconfident, smoothed labels leave it underconfident",
    all(metrics.calibration_error(z, test.y) > metrics.calibration_null(z)[1] for z in (over, under))
    and bias[0] > 0 > bias[1],
    measured={"ECE long": metrics.calibration_error(over, test.y),
              "ECE smoothed": metrics.calibration_error(under, test.y)},
    published="Guo et al. 2017; Müller et al. 2019: the same directions, other data",
)  # fmt: skip

# %% [markdown]
# <details><summary><b>Going deeper:</b> why bins of equal size, and what a temperature could mend</summary>
#
# With bins of equal *width* nearly all images of a good network fall into the last bin, and the others hold a handful each: the ECE is then mostly noise (Nixon et al. 2019). Equal size gives each bin the same noise.
#
# Dividing all logits by one number chosen on validation (*temperature scaling*, Guo et al. 2017) often mends miscalibration and changes no answer. It is something other than the temperature of distillation, which softens teacher **and** student while training: [04](lesson04) contrasts the two.
#
# </details>

# %% [markdown]
# ## Explore: answer, or abstain
#
# A network that knows how sure it is may stay silent. Choose a network and the least confidence for an answer. Left: the share of images that get an answer against the error among these. Right: is a confidence of 0.9 worth 0.9? Grey is the state before.

# %%
explorer = Abstention(asked, test.y, start={"network": "cnn 16", "threshold": 0.9})
explorer

# %% [markdown]
# Try: the same threshold of 0.9 with all three networks. How many images does each answer? A threshold is a promise only for a network whose confidence means something; so it is chosen on validation, for that network (exercise 01.2).

# %%
_, covered, errors = metrics.coverage_error(z_t, test.y)
nine_tenths = float(errors[math.ceil(0.9 * len(test)) - 1])

# %%
claim(
    "01.4",
    "Silent on the tenth of images it is least sure of, the teacher makes less than half its errors",
    nine_tenths < float(errors[-1]) / 2,
    measured={"error % at 90 % coverage": nine_tenths, "error % at 100 %": float(errors[-1])},
)

# %% [markdown]
# ## Is a difference real?
#
# You change one thing, and the error falls by half a point. Before you believe it, look at twenty networks between which *nothing* was changed but the seed of their first weights.

# %%
inputs = {"examples": train, "evaluate": {"validation": validation, "test": test}}
patience = 2 if small else 20
twins = train_bank(student=mlp(pixels, 32, 10), seeds=4 if small else 20, epochs=patience, **inputs)

# %% tags=["nbval-ignore-output"]
errors = twins.errors()  # (seeds,)
picture, axis = figures.figure(height=1.7, width=6)
jitter = torch.linspace(-0.3, 0.3, 5).repeat(4)[: len(errors)]
axis.plot(errors, jitter, "s", color=figures.COLOURS["alone"], alpha=0.6)
axis.set(ylim=(-0.6, 0.6), yticks=[])
axis.spines["left"].set_visible(False)
figures.error_axis(axis, len(test), which="x")
figures.show(
    picture,
    "The same recipe: the seed alone moves the error",
    f"Each square is one network; the best errs on {errors.min():.1f} %, the worst on "
    f"{errors.max():.1f} %, and nothing but luck is between them.",
)

# %% [markdown]
# So one run each proves little. There are two kinds of luck, and both have to be drawn again:
#
# 1. **which seed** we happened to use: several seeds for both sides;
# 2. **which images** happen to be in the test set.
#
# And one kindness: both networks answer the *same* images, and stumble over the same hard ones. Subtract image by image (**paired**) and that common part is gone.

# %%
seeds = list(range(2 if small else 5))
baseline = twins.wrong()[seeds]  # (seeds, N) bool

# %% [markdown]
# Against this plain student we hold two changes, each with the same five seeds:

# %%
student = mlp(pixels, 32, 10)
options = {
    "three times as wide": {"student": mlp(pixels, 100, 10)},
    "smoothed labels": {"student": student, "objective": HardLabels(smoothing=0.1)},
}

# %%
others = {
    name: train_bank(seeds=seeds, epochs=patience, **option, **inputs).wrong()
    for name, option in options.items()
}

# %% [markdown]
# The interval by hand. Take the difference of every seed on every image; $S$ seeds, $N$ images. The mean's luck from seeds is the variance of the seeds' means over $S$; from images, that of the images' means over $N$. Add both. What is neither seed nor image alone (the residual) stands in both, so take it away once:

# %%
table = 100 * (others["three times as wide"].double() - baseline.double())  # (seeds, N) points
S, N = table.shape
of_seeds, of_images = table.mean(1), table.mean(0)
a, b = of_seeds.var() / S, of_images.var() / N
residual = table - of_seeds[:, None] - of_images + table.mean()
c = residual.square().sum() / ((S - 1) * (N - 1)) / (S * N)
variance = max(a + b - c, a, b)

# %% [markdown]
# Five seeds know their own spread badly, so the interval reaches not 1.96 standard errors but what Student's $t$ says, with Satterthwaite's degrees of freedom: few where the seeds rule, many where the images do.

# %%
degrees = variance**2 / (a**2 / (S - 1) + b**2 / (N - 1) + c**2 / ((S - 1) * (N - 1)))
half = stats.t.ppf(0.975, max(1, degrees)) * variance**0.5
paired = metrics.difference(others["three times as wide"], baseline)
torch.testing.assert_close(float(half), (paired.high - paired.low) / 2)

# %% [markdown]
# Equal to `metrics.difference`, which the course uses from here on. (How often does such an interval hold the truth? In simulations 93 to 98 times in 100, whichever luck rules; a test of this course repeats them.) Its verdicts:

# %% tags=["nbval-ignore-output"]
for name, other in others.items():
    gap = metrics.difference(other, baseline)
    verdict = "resolved" if gap.excludes(0) else "not resolved"
    print(f"{name:20s} {gap:+.1f} points against the plain student: {verdict}")

# %% [markdown]
# An interval that contains 0 does **not** say "no difference". It says that this test set and these seeds cannot tell.
#
# ### What can 1,000 images resolve?
#
# Take two networks, one seed each. Let $d$ be the share of images on which exactly *one* of them is wrong. Only these carry information, and the interval reaches about
#
# $$\pm\, 1.96 \sqrt{d / n} \cdot 100 \ \text{points,}$$
#
# so a smaller difference is not resolved. Unpaired, $d$ would be $e_a(1 - e_a) + e_b(1 - e_b)$, with errors $e_a$, $e_b$.

# %%
mistakes = twins.wrong().double()  # (seeds, N)
discordant = float((mistakes[1:] - mistakes[:-1]).abs().mean())  # one seed against the next
share = float(mistakes.mean())
unpaired = 2 * share * (1 - share)


# %%
def smallest(d, n):
    """The smallest difference, in points, that n test images resolve between two networks."""
    return 196 * (d / n) ** 0.5


# %% [markdown]
# Drawn for test sets of a hundred to a hundred thousand images:


# %% tags=["nbval-ignore-output"]
n = torch.logspace(2, 5, 31)
picture, axis = figures.figure(height=2.8, width=6)
for d, dashes, word in [(unpaired, "--", "unpaired"), (discordant, "-", "paired")]:
    axis.plot(n, smallest(d, n), dashes, color="#444444")
    axis.text(1.1e5, smallest(d, 1e5), word, color="#444444", va="center")
axis.axvline(len(test), color=figures.GHOST, linewidth=1)
axis.text(len(test), 5, " our test set", color="#666666")
axis.set(xscale="log", yscale="log", xlabel="test images", ylabel="smallest difference, points")
axis.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
axis.set_xlim(90, 3e5)
figures.show(
    picture,
    "To see half the difference takes four times the images",
    f"Two networks like ours, one seed each: {len(test):,} images resolve {smallest(discordant, len(test)):.1f} "
    f"points; 0.3 points would take {discordant * (196 / 0.3) ** 2:,.0f} images.",
)

# %% [markdown]
# Twice the images do not buy twice the sharpness. In one sentence:

# %%
reach = smallest(discordant, len(test))
claim(
    "01.5",
    "Between two single runs this test set does not resolve half a point; pairing helps",
    reach > 0.5 and discordant < 0.9 * unpaired,
    measured={"smallest paired difference, points": reach,
              "unpaired, points": smallest(unpaired, len(test))},
    published="RepDistiller's logs: last and best epoch differ by 0.32 points on average",
)  # fmt: skip

# %% [markdown]
# Several seeds shrink the first luck, never the second: with a hundred seeds the thousand images are still the same thousand. The course calls a difference *resolved* only if the interval over seeds **and** images excludes 0.

# %% [markdown]
# ## Does the best teacher have the best students?
#
# Now the question of this page. We vary **size**, **epochs**, **label smoothing** and kind. Three teachers we have, seven more are trained here. (The convolutional ones also see shifted images, in smaller batches: what sets them apart from the MLPs is more than their kind.)

# %%
train_teacher("cnn 8", cnn(8), epochs=6, **shifted)
train_teacher("cnn 8, brief", cnn(8), epochs=2, **shifted)
train_teacher("cnn 4", cnn(4), epochs=4, **shifted)

# %%
for width in (400, 100, 32):
    train_teacher(f"mlp {width}", mlp(pixels, width, 10), epochs=10)
train_teacher("mlp 100, brief", mlp(pixels, 100, 10), epochs=2)
list(teachers)

# %% [markdown]
# Each of them teaches the same student, `mlp(784, 32, 10)`, with five seeds, by soft targets (the next page explains the formula; here it is only a way to ask the question):
#
# $$\text{loss} = (1 - \alpha)\,\text{CE} + \alpha\,T^2\,\mathrm{KL}(p_T \,\|\, q_T)$$

# %%
tables = {name: tabulate(run.network, train) for name, run in teachers.items()}


# %%
def school(names, seeds):
    """The students of these teachers: a bank with one cell per teacher."""
    return train_bank(
        lambda teacher: (1 - alpha) * HardLabels() + alpha * SoftTargets(tables[teacher], T),
        student=mlp(pixels, 32, 10), grid={"teacher": names}, seeds=seeds, epochs=patience, **inputs,
    )  # fmt: skip


# %% [markdown]
# Ten teachers, five students each:

# %%
students = school(list(teachers), seeds)

# %% tags=["nbval-ignore-output"]
teacher_error = [run.error(test) for run in teachers.values()]
student_error = students.errors()  # (teachers, seeds)
frame = students.frame().rename(columns={"error %": "students' error %"})
frame.insert(1, "teacher's error %", teacher_error)
frame.sort_values("teacher's error %").round(1)

# %% [markdown]
# `low` and `high` are the students' 95 % interval over seeds and images. The same as a picture follows; where a name would cover its neighbour, we move it:

# %%
spots = {
    "cnn 8, brief": {"ha": "right", "xytext": (-5, 5)},
    "mlp 100, smoothed": {"xytext": (5, -11)},
    "mlp 400": {"ha": "right", "xytext": (-5, -5)},
}

# %% [markdown]
# The students' dots are means over the seeds; the bars are their 95 % intervals over seeds.

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=3.9)
for name, x, ys in zip(teachers, teacher_error, student_error, strict=True):
    role = "teacher" if name.startswith("cnn") else "extra"
    mean, low, high = metrics.mean_intervals(ys)
    axis.plot([x, x], [low, high], color=figures.COLOURS[role], linewidth=1)
    axis.plot(x, mean, figures.MARKERS[role], color=figures.COLOURS[role])
    spot = spots.get(name, {"xytext": (5, 5)})
    axis.annotate(name, (x, mean), textcoords="offset points", fontsize=8, **spot)
alone = float(twins.errors().mean())
axis.axhline(alone, color=figures.COLOURS["alone"], linestyle=figures.DASHES["alone"])
style = {"color": figures.INKS["alone"], "va": "top", "ha": "right"}
axis.text(max(teacher_error), alone - 0.05, "the student alone", **style)
axis.set(xlabel="the teacher's error %", ylabel="the students' error %")
rho = metrics.rank_correlation(teacher_error, student_error.mean(-1).tolist())
figures.show(
    picture,
    "Accuracy alone does not tell which teacher has the best students",
    f"Blue: convolutional teachers, yellow: MLPs. Spearman's correlation (of ranks) over {len(teachers)} "
    f"teachers is {rho:.2f} (95 % interval).",
)

# %% [markdown]
# Is any of them better than no teacher at all? Paired with the student alone, seed by seed and image by image:

# %%
learnt = dict(zip(teachers, students.wrong(), strict=True))  # name: (seeds, N) bool
against = {name: metrics.difference(wrong, baseline) for name, wrong in learnt.items()}
smoothing = metrics.difference(learnt["mlp 100, smoothed"], learnt["mlp 100"])

# %% tags=["nbval-ignore-output"]
better = ", ".join(name for name, one in against.items() if one.high < 0) or "no teacher"
worse = ", ".join(name for name, one in against.items() if one.low > 0) or "no teacher"
said = f"Resolved against the student alone: better for **{better}**; worse for **{worse}**. "
display(Markdown(said + f"Students of `mlp 100`, smoothed minus plain: {smoothing:.1f} points."))

# %% [markdown]
# With a label on every image a teacher has little to add. Some teachers harm, and not only those that err more than the student itself: accuracy alone does not decide. [02](lesson02) shows where teaching pays. What did you predict?

# %% tags=["nbval-ignore-output"]
ranked = "always, rank by rank" if rho.low > 0.9 else "on the whole, with exceptions"
guess.recall(ranked if rho.low > 0 else "no relation can be seen")

# %% [markdown]
# Two pairs deserve a closer look, and both were picked *because* they looked striking on seeds 0 to 4: the most accurate teacher and `mlp 400`, whose students did best among those of the MLPs; and `cnn 8, brief` with `mlp 32`. Whoever picks by looking must look again with fresh seeds, here 5 to 14. (The students are fresh then; the teachers and the test images are still those we looked at.)

# %%
said = {name: metrics.wrong(run.logits(test), test.y)[None] for name, run in teachers.items()}
looked_at = ["cnn 16", "mlp 400", "cnn 8, brief", "mlp 32"]
fresh = school(looked_at, [5, 6] if small else list(range(5, 15))).wrong()
taught = dict(zip(looked_at, fresh, strict=True))  # name: (seeds, N) bool

# %% [markdown]
# First pair: how much of the lead of the one teacher arrives at its students?

# %% tags=["nbval-ignore-output"]
lead = metrics.difference(said["cnn 16"], said["mlp 400"])
arrived = metrics.difference(taught["cnn 16"], taught["mlp 400"])
print(f"as teachers,    cnn 16 against mlp 400: {lead:+.1f} points")
print(f"their students, cnn 16 against mlp 400: {arrived:+.1f} points")

# %% [markdown]
# The difference of the two differences, image by image, as a claim that the build checks:


# %%
def lost_between(one, other):
    """Points of `one`'s lead over `other` that do not arrive at its students."""
    students, teachers = (gone[one].double() - gone[other].double() for gone in (taught, said))
    return metrics.interval(100 * (students - teachers))


lost = lost_between("cnn 16", "mlp 400")
claim(
    "01.6",
    "The lead of the most accurate teacher over an MLP does not arrive whole at its students",
    lost.low > 0,
    measured={"teachers, points": lead, "students, points": arrived, "lost on the way": lost},
    published="Cho & Hariharan 2019: larger and more accurate teachers often do not teach better",
)

# %% [markdown]
# The second pair:

# %%
between_teachers = metrics.difference(said["cnn 8, brief"], said["mlp 32"])
between_students = metrics.difference(taught["cnn 8, brief"], taught["mlp 32"])

# %% [markdown]
# Their own errors, and their students':

# %% tags=["nbval-ignore-output"]
print(f"as teachers,          cnn 8, brief against mlp 32: {between_teachers:+.1f} points")
print(f"students, fresh seeds, cnn 8, brief against mlp 32: {between_students:+.1f} points")

# %%
turned = lost_between("cnn 8, brief", "mlp 32")
claim(
    "01.7",
    "A teacher not resolved to be worse than another has students that lose ground to the other's",
    between_teachers.low < 0 and turned.low > 0,
    measured={
        "teachers, points": between_teachers,
        "students, points": between_students,
        "turned on the way": turned,
    },
)

# %% [markdown]
# So accuracy is not all that a student gets from a teacher. What differs? One candidate is how *soft* its answers are at this $T$: the entropy of $p_T$, between 0 (one class is certain) and $\log 10 \approx 2.3$ nats (nothing is said).

# %%
soft = {}
for name, table in tables.items():
    p_T = (table.logits.double() / T).softmax(-1)
    soft[name] = float(-(p_T * p_T.clamp(min=1e-12).log()).sum(-1).mean())

# %% tags=["nbval-ignore-output"]
by_entropy = metrics.rank_correlation(list(soft.values()), student_error.mean(-1).tolist())
for name in sorted(soft, key=soft.get):
    print(f"{name:18s} entropy of p_T: {soft[name]:.2f} nats")
print(f"rank correlation of entropy and students' error: {by_entropy:.2f}")
print(f"rank correlation of teacher's and students' error: {rho:.2f}")

# %% [markdown]
# Read this with care: ten teachers, one training run each, which differ in several things at once, and two candidate explanations give intervals, not laws. The one $T$ that all shared may be part of it, but `mlp 100, smoothed`, the softest of all, speaks against softness alone. [04](lesson04) varies T, width and patience; [02](lesson02) asks what in the soft answers it is that helps.

# %% [markdown]
# <details><summary><b>Going deeper:</b> what is known about good teachers</summary>
#
# - *Early stopping.* Cho & Hariharan (2019) found that teachers stopped early can teach better than the same teachers trained to the end.
# - *Label smoothing.* Müller, Kornblith & Hinton (2019): smoothed labels make a teacher more accurate and its students worse, because images of a class are drawn together and their differences, what the soft targets carry, are erased. The students of our `mlp 100`, plain and smoothed, are compared above.
# - *Capacity gap.* If a student is far smaller than its teacher, a helper of middle size can bridge (Mirzadeh et al. 2020).
# - *A fairer correlation.* Each teacher here was trained once. Its own seed is luck too; a careful study trains several teachers per recipe and resamples recipes, not runs.
#
# </details>

# %% [markdown]
# ## Stop and resume
#
# Training will be interrupted some day. A *checkpoint* holds all that the next step depends on: weights, the optimiser's averages, the place on the schedule, and the history. The order of the images needs no place in it, as each epoch draws it from its own number. We pull the plug in the middle of the third epoch:


# %%
def unplugged(after):
    """Shifts images as before, and fails at batch number `after`."""
    batches = iter(range(after))

    def shift(x, generator):
        if next(batches, None) is None:
            raise KeyboardInterrupt  # as the stop button does
        return data.jitter(2)(x, generator)

    return shift


# %% [markdown]
# `broken` stops at the plug, `resumed` finds the file and goes on, `whole` was never stopped.

# %%
some = train[:480]  # 15 batches of 32
how = {"epochs": 4, "batch": 32, "seed": seed}
whole = fit(cnn(4), some, augment=data.jitter(2), **how)

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "teacher.pt"
    broken = fit(cnn(4), some, augment=unplugged(after=40), checkpoint=path, **how)
    resumed = fit(cnn(4), some, augment=data.jitter(2), checkpoint=path, **how)

# %% [markdown]
# Is there any trace of the accident?

# %%
pairs = zip(resumed.network.state_dict().values(), whole.network.state_dict().values(), strict=True)
equal = all(torch.equal(a, b) for a, b in pairs)

# %%
claim(
    "01.8",
    "Stopped in the third epoch and resumed, training ends bit-equal to training in one go",
    equal and broken.interrupted and len(broken.history) == 2 and resumed.history == whole.history,
    measured={"weights, buffers and history equal": equal},
)

# %% [markdown]
# **Processor or graphics card** is one parameter: `python3 course.py run 01 -p device=cuda` (or `mps` on a Mac). `fit` moves network and images; a device that is not there is an error in one sentence. On another device sums are added in another order: tiny rounding differences grow during training; treat the runs as two seeds. That is one more reason for intervals.

# %% tags=["nbval-ignore-output"]
print(f"trained on {device}, {teacher.precision}, in {teacher.seconds:.1f} s")

# %% [markdown]
# ## What can go wrong
#
# ### 1 · The teacher was left in train mode
#
# BatchNorm subtracts a mean and divides by a spread: those of the *current batch* in train mode, long-run averages in eval mode. A teacher that was left in train mode gives an image another answer in other company. And it changes while it is only being asked, even without gradients:


# %%
def asked_in_train_mode(network, examples):
    """Error % of a copy that is left in train mode, and of that copy in eval mode afterwards."""
    network = copy.deepcopy(network).train()
    with torch.no_grad():
        z = torch.cat([network(batch.x) for batch in examples.batches(100)])
    after = predict(network, examples)  # eval mode: the averages, which have moved
    return [float(metrics.error_percent(answer, examples.y)) for answer in (z, after)]


# %%
mixed, sorted_by_class = test, test[test.y.argsort()]
spoiled = {
    "batches of all classes": asked_in_train_mode(teacher.network, mixed),
    "batches of one class": asked_in_train_mode(teacher.network, sorted_by_class),
}

# %% [markdown]
# Three ways to ask the very same network about the very same images:

# %% tags=["nbval-ignore-output"]
print(f"in eval mode: {teacher.error(test):.1f} % error")
for name, (during, after) in spoiled.items():
    print(f"in train mode, {name}: {during:.1f} %; back in eval mode afterwards: {after:.1f} %")

# %% [markdown]
# Nobody would notice with mixed batches; with sorted ones the answers are ruined, and no error is raised.

# %%
during, after = spoiled["batches of one class"]
claim(
    "01.9",
    "In train mode, on batches of one class, the teacher makes over five times its errors",
    during > 5 * teacher.error(test),
    measured={"eval mode %": teacher.error(test), "train mode %": during, "afterwards %": after},
)

# %% [markdown]
# `kdlib` asks teachers in eval mode without gradient and puts every module's mode back (`evaluating`, `predict`). A test holds that a teacher is the same network after training as before.
#
# ### 2 · The best seed was chosen on test
#
# Train twenty networks, report the best one's test error: everybody has seen it done. How kind is that number? Choose the best on one half of the test images, then look at it on the other half. Repeat with other halves.


# %%
def chosen(wrong, repeats=1000):
    """Error % of the best of several networks: on the half that chose it, on the other half."""
    coin = torch.Generator().manual_seed(0)
    found = []
    for _ in range(repeats):
        here, there = torch.randperm(wrong.shape[1], generator=coin).chunk(2)
        best = wrong[:, here].mean(1).argmin()
        found.append(torch.stack([wrong[best, here].mean(), wrong[best, there].mean()]))
    return 100 * torch.stack(found)  # (repeats, 2)


# %%
kind, honest = chosen(twins.wrong().double()).unbind(1)

# %% [markdown]
# Three numbers for the same choice:

# %% tags=["nbval-ignore-output"]
print(f"the best of {len(twins.seeds)} seeds, on the half that chose it: {kind.mean():.1f} %")
print(f"the same network, on the other half:     {honest.mean():.1f} %")
print(f"the mean of all seeds:                   {twins.errors().mean():.1f} %")

# %% [markdown]
# Choosing the luckiest won next to nothing but a nicer number. The difference of the two is what choosing on test adds to a paper's headline:

# %%
claim(
    "01.10",
    "The best of twenty seeds is over half a point better on the images that chose it than on fresh ones",
    float((honest - kind).mean()) > 0.5,
    measured={"on the half that chose, %": float(kind.mean()), "on the other half, %": float(honest.mean())},
    published="RepDistiller's logs: choosing the epoch on test flatters by 0.32 points on average",
)  # fmt: skip

# %% [markdown]
# Choosing is allowed; reporting on the same images is not. Chosen on validation, the test error is fair again, whatever it is:

# %% tags=["nbval-ignore-output"]
pick = int(twins.errors("validation").argmin())
print(f"best on validation: seed {twins.seeds[pick]}, test error {twins.errors()[pick]:.1f} %")
print(f"all seeds: mean {twins.errors().mean():.1f} %, best on test {twins.errors().min():.1f} %")

# %% [markdown]
# ## Exercises
#
# ### 01.1 · Which digit is found least? (5 minutes)
#
# Write `recall(counts)`: for each class the share of its images that were found, from a confusion matrix with rows = labels.
#
# <details><summary>Hint 1</summary>The right answers stand on the diagonal: <code>counts.diagonal()</code>.</details>
# <details><summary>Hint 2</summary>All images with label 3 are in row 3. What is the sum of a row?</details>


# %% tags=["exercise"]
def recall(counts):
    """counts: (classes, classes) -> (classes,), each between 0 and 1."""
    # SOLUTION
    return counts.diagonal() / counts.sum(1)
    # END


exercises.recall(recall)

# %% [markdown]
# ### 01.2 · The threshold that keeps a promise (15 minutes)
#
# Write `threshold_for(logits, y, most)`: the **lowest** confidence threshold at which at most `most` percent of the answers are wrong. An image is answered if its confidence is at least the threshold. If no threshold keeps the promise, return `float("inf")`.
#
# <details><summary>Hint 1</summary><code>metrics.coverage_error(logits, y)</code> returns, surest image first, the thresholds, the share answered, and the error % among the answered.</details>
# <details><summary>Hint 2</summary>The error goes up and down along the list. Keep <em>all</em> thresholds that satisfy <code>errors &lt;= most</code>, and return the smallest.</details>


# %% tags=["exercise"]
def threshold_for(logits, y, most):
    """logits: (N, classes), y: (N,), most: percent -> a float."""
    # SOLUTION
    thresholds, _, errors = metrics.coverage_error(logits, y)
    kept = thresholds[errors <= most]
    return float(kept.min()) if len(kept) else float("inf")
    # END


exercises.threshold_for(threshold_for)

# %% [markdown]
# When it is solved: choose the threshold on `validation` for at most 1 % of errors, then see on `test` whether each network kept the promise. Where few errors are left, one or two images decide: such a promise holds on average, not every time.
#
# ### 01.3 · Find the bugs (debugging)
#
# This function ran in a real project, after every epoch, on the network being trained. The numbers looked plausible. It has **three** bugs.


# %%
def hasty_error(network, batches):
    network.eval()
    errors = []
    for batch in batches:
        answers = network(batch.x).argmax(-1)
        errors.append(100 * (answers != batch.y).float().mean())
    return float(torch.stack(errors).mean())


exercises.evaluate(hasty_error)

# %% [markdown]
# Write it anew, honest. The checker names one failed property at a time.
#
# <details><summary>Hint 1</summary>Batches of 128, 128 and 3 images: how much does one image of the last batch weigh?</details>
# <details><summary>Hint 2</summary>What does the next training epoch find in <code>network.training</code>? And what does every forward pass record that nobody needs here?</details>


# %% tags=["exercise"]
def honest_error(network, batches):
    """Error in percent over all images of the batches; the network is left as it was."""
    # SOLUTION
    was = network.training
    network.eval()
    wrong = images = 0
    with torch.no_grad():
        for batch in batches:
            wrong += int((network(batch.x).argmax(-1) != batch.y).sum())
            images += len(batch.y)
    network.train(was)
    return 100 * wrong / images
    # END


exercises.evaluate(honest_error)

# %% [markdown]
# ## In three lines
#
# - One loop trains every network; a checkpoint resumes it bit-equal, and eval mode is for asking.
# - A number needs an interval, and a comparison with pure chance: draw seeds *and* images again, compare in pairs, choose on validation.
# - A teacher is judged by its students: among our teachers, accuracy alone did not decide.
#
# ## Recall
#
# <details><summary>Why is a paired comparison sharper than an unpaired one?</summary>Both networks stumble over the same hard images. Subtracting image by image removes what they share; only images on which exactly one is wrong still count.</details>
# <details><summary>An ECE is 0.01. Is the network miscalibrated?</summary>That depends on the null band: a perfectly calibrated network with these confidences has an ECE above 0 on a finite test set too.</details>
# <details><summary>Would a hundred seeds on the same 1,000 images resolve any difference?</summary>No. Seeds shrink the luck of initialisation; the luck of the images remains, and only more images shrink it.</details>
# <details><summary>What must a checkpoint hold besides the weights?</summary>The optimiser's averages, the place on the schedule, what the objective owns, and the history (and BatchNorm's buffers, which are part of the network's state).</details>
# <details><summary>Which teacher would you take for a new task?</summary>The one whose <em>students</em> do best on validation, with several seeds each.</details>
#
# ## Reading
#
# - Hinton, Vinyals, Dean (2015), *Distilling the knowledge in a neural network*: section 3 is what this course rebuilds.
# - Guo, Pleiss, Sun, Weinberger (2017), *On calibration of modern neural networks*: why the long-trained network is too sure.
# - Cho & Hariharan (2019), *On the efficacy of knowledge distillation*: the question of this page, on ImageNet.
# - Müller, Kornblith, Hinton (2019), *When does label smoothing help?*: for teachers, it may not.
# - Bouthillier et al. (2021), *Accounting for variance in machine learning benchmarks*: which kinds of luck matter most.
# - Geifman & El-Yaniv (2017), *Selective classification for deep neural networks*: thresholds with guarantees.
#
# Next: [](lesson02)
