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
# **In one line:** a teacher is judged by its *students*; its own accuracy is a good first guess, no more.
#
# *{minutes} minutes to read, exercises apart · about 40 CPU seconds to run · needs: [00](lesson00), no GPU, no network*
#
# **First, wake the sliders: Run ▸ Run All Cells.**
#
# After this page you can
#
# - write the training loop of this course's teacher by hand;
# - say whether a difference between two networks is real;
# - say how many test images a difference takes.
#
# ## Why it matters
#
# A student learns what its teacher says, errors and doubts included. A teacher is trained once, and then teaches many: what should one look for? And every page from here on asks "is this network better than that one?" This page answers how one can know.

# %% tags=["parameters"]
dataset: str = "mnist5k"  # mnist5k | mnist | fashion
T: float = 4.0  # 0.5..50
alpha: float = 0.9  # 0..1
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import math

import torch

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.ground import mnist
from kdcourse.lessons.lesson01 import exercises, table
from kdcourse.lessons.lesson01.abstention import Abstention
from kdcourse.measured import saves
from kdcourse.pages import tables
from kdcourse.parameters import check_parameters
from kdlib import data, metrics
from kdlib.bank import train_bank
from kdlib.models import cnn, initialise, mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, tabulate
from kdlib.training import fit

check_parameters()

# %% [markdown]
# ## A prediction first
#
# Further down, nine kinds of teachers (small and large, trained briefly and long) each teach the *same* student.

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
small = budget == "small"
everything, validation, test = data.load(dataset)
train = everything[:500] if small else everything[:3500]
epochs = 1 if small else 8
pixels = train.x[0].numel()  # (1, 28, 28) -> 784

# %% [markdown]
# ## The training loop by hand
#
# **In words:** take a few images, ask the network, see how wrong it is, move every weight a little downhill. Do so until all images were seen; begin again.
#
# $$\theta \leftarrow \theta - \eta_k \cdot \mathrm{AdamW}\!\left(\nabla_\theta\; \frac{1}{B}\sum_{i=1}^{B} -\log p_\theta(y_i \mid x_i)\right)$$
#
# The step size $\eta_k$ rises over the first 30 % of the steps, then falls to nearly nothing (*one-cycle*). An epoch's number draws the order of its images, and by how many pixels each is shifted: more variety, no more labels.


# %%
def trained_by_hand(network, images, epochs, size=64, lr=1e-2):
    """The loop that trains this teacher; students differ in loss and shifts."""
    shift, steps = data.jitter(2), epochs * math.ceil(len(images) / size)
    optimizer = torch.optim.AdamW(network.parameters(), lr, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps + 1, cycle_momentum=False
    )
    network.train()  # BatchNorm takes the statistics of the batch
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(epoch)
        for batch in images.batches(size, generator):
            z = network(shift(batch.x, generator))  # (B, 10)
            loss = torch.nn.functional.cross_entropy(z, batch.y)
            optimizer.zero_grad()  # else gradients add up from step to step
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


# %% [markdown]
# Our teacher is a small convolutional network, `cnn(16)`. The seed draws its first weights. (`channels_last` is how `fit` lays out images in memory: sums are then added in the same order.)

# %%
drawn = initialise(cnn(16), seed).to(memory_format=torch.channels_last)
by_hand = trained_by_hand(drawn, train, epochs)

# %% [markdown]
# `kdlib`'s `fit` is that loop with a progress bar, a history, validation and checkpoints. Pages 00 to 05 share a teacher that `fit` trained once, and that `mnist.teacher` keeps. Is it ours?

# %%
settings = {"epochs": epochs, "batch": 64, "augment": data.jitter(2), "precision": "fp32"}
run = fit(cnn(16), train, HardLabels(), seed=seed, **settings)
teacher = mnist.teacher(train, epochs=epochs, seed=seed)
torch.testing.assert_close(by_hand.state_dict(), run.network.state_dict())
torch.testing.assert_close(by_hand.state_dict(), teacher.state_dict())

# %%
gaps = [
    float((ours.detach() - theirs.detach()).abs().max())
    for network in (run.network, teacher)
    for ours, theirs in zip(by_hand.parameters(), network.parameters(), strict=True)
]
claim(
    "01.1",
    "The loop by hand, `fit`, and the teacher that the course keeps end with equal weights",
    max(gaps) < 1e-5,
    measured={"largest difference of any weight": max(gaps)},
)

# %% [markdown]
# ## How right is it?
#
# The test images are a sample. With others the count would differ a little: by a *standard error* of $\sqrt{p\,(1 - p) / n}$, for a share $p$ of wrong answers among $n$ images. The interval reaches about two of them to each side.

# %% tags=["nbval-ignore-output"]
parts = {"train": train, "validation": validation, "test": test}
wrong_in = {name: metrics.wrong(predict(teacher, part), part.y) for name, part in parts.items()}
counts = {name: f"{int(wrong.sum())} of {len(wrong):,}" for name, wrong in wrong_in.items()}
shares = {name: metrics.interval(100 * wrong[None].double()) for name, wrong in wrong_in.items()}
figures.show_table(["", "wrong", "error %"], [[name, counts[name], shares[name]] for name in parts])

# %% [markdown]
# The training error says what was learnt by heart, the other two what a new image will meet.
#
# ## Does it know how sure it is?
#
# A student learns from the teacher's *probabilities*, so they should mean something. **Calibrated** means: of all answers given with confidence 0.8, eight in ten are right. Sort the images by confidence, cut them into 15 bins of equal size, and take the mean gap, the **expected calibration error**:
#
# $$\mathrm{ECE} = \frac{1}{15}\sum_{b=1}^{15} \left|\,\overline{\text{confidence}}_b - \overline{\text{accuracy}}_b\,\right|$$

# %% tags=["nbval-ignore-output"]
z_test = predict(teacher, test)  # (images, 10)
confidence, order = z_test.double().softmax(-1).amax(-1).sort(stable=True)
correct = (z_test.argmax(-1) == test.y).double()[order]
bins = zip(confidence.tensor_split(15), correct.tensor_split(15), strict=True)
ece = torch.stack([(claimed.mean() - hit.mean()).abs() for claimed, hit in bins]).mean()
torch.testing.assert_close(float(ece), metrics.calibration_error(z_test, test.y))
print(f"ECE of the teacher: {float(ece):.3f}")

# %% [markdown]
# Is an ECE of this size much? On a finite test set even a perfectly calibrated network has an ECE above 0. So draw every answer again at random, right with exactly the probability that the network claimed, 500 times: 95 % of these ECEs lie in the **null band**. A network inside it shows no miscalibration. For comparison two MLPs, 30 epochs each and without shifts: one with plain labels, one with *smoothed* labels (a tenth of each label spread over all classes).

# %%
plain = mlp(pixels, mnist.WIDTH, 10)
smoothed = HardLabels(smoothing=0.1)
mlp_settings = {"epochs": 2 if small else 30, "precision": "fp32", "seed": seed}
trained = {
    "the teacher": teacher,
    "mlp, plain labels": fit(mlp(*plain.sizes), train, **mlp_settings).network,
    "mlp, smoothed": fit(plain, train, smoothed, **mlp_settings).network,
}
answered = {name: predict(network, test) for name, network in trained.items()}

# %% tags=["nbval-ignore-output"]
calibrations = {name: metrics.calibration_error(z, test.y) for name, z in answered.items()}
bands = {name: metrics.calibration_null(z) for name, z in answered.items()}
sure = {name: float(z.softmax(-1).amax(-1).mean()) for name, z in answered.items()}
hits = {name: float(metrics.accuracy(z, test.y)) for name, z in answered.items()}
learnt = {
    name: 1 - float(metrics.accuracy(predict(net, train), train.y)) for name, net in trained.items()
}
cells = []
for name, (low, high) in bands.items():
    percents = [f"{100 * share[name]:.1f}" for share in (learnt, sure, hits)]
    verdict = "overconfident" if sure[name] > hits[name] else "underconfident"
    verdict = "no miscalibration seen" if calibrations[name] <= high else verdict
    cells.append(
        [name, *percents, f"{calibrations[name]:.3f}", f"{low:.3f} to {high:.3f}", verdict]
    )
head = ["", "training error %", "mean confidence %", "correct %", "ECE", "null band", ""]
figures.show_table(head, cells)

# %%
claim(
    "01.2",
    "Of two networks that know their images by heart, the one with plain labels is overconfident, "
    "the one with smoothed labels underconfident: both lie outside the band",
    all(calibrations[name] > bands[name][1] for name in ("mlp, plain labels", "mlp, smoothed"))
    and sure["mlp, plain labels"] > hits["mlp, plain labels"]
    and sure["mlp, smoothed"] < hits["mlp, smoothed"],
    measured={f"ECE, {name}": value for name, value in calibrations.items()},
    published="Guo et al. 2017; Müller et al. 2019: the same directions, other data",
)

# %% [markdown]
# ## Explore: answer, or abstain
#
# A network that knows how sure it is may stay silent. Choose a network and the least confidence for an answer. Left: the share of images that get an answer, against the error among these. Right: is a confidence of 0.9 worth 0.9? Diamond: your threshold. Diagonal: perfect calibration. Each dot: one bin. Try the same threshold with all three.

# %%
explorer = Abstention(answered, test.y, start={"network": "the teacher", "threshold": 0.9})
explorer

# %%
_, _, silent_error = metrics.coverage_error(z_test, test.y)  # most confident images first
nine_tenths = float(silent_error[math.ceil(0.9 * len(test)) - 1])
claim(
    "01.3",
    "Silent on the tenth of images of which it is least confident, the teacher makes less than "
    "half its errors",
    nine_tenths < float(silent_error[-1]) / 2,
    measured={"error % at 90 % coverage": nine_tenths, "at 100 %": float(silent_error[-1])},
)

# %% [markdown]
# ## Is a difference real?
#
# Twenty students with all labels, between which *nothing* is changed but the seed of their first weights; and twenty distilled ones:

# %%
student, n_seeds = mlp(pixels, mnist.WIDTH, 10), 4 if small else 20
inputs = {"student": student, "examples": train, "evaluate": {"test": test}, "seeds": n_seeds}
soft = (1 - alpha) * HardLabels() + alpha * SoftTargets(tabulate(teacher, train), T)
label_only = train_bank(HardLabels(), epochs=2 if small else mnist.epochs(train), **inputs)
distilled = train_bank(soft, epochs=2 if small else mnist.epochs(train), **inputs)

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=2.6, width=6)
for place, (bank, role) in enumerate([(label_only, "alone"), (distilled, "taught")]):
    name = "label-only" if role == "alone" else "distilled"
    figures.seed_dots(axis, place, 100 * bank.wrong().double(), role, label=name)
axis.set(xticks=[], xlim=(-0.5, 1.7))
figures.error_axis(axis, len(test))
figures.show(
    picture,
    f"Seeds move the error: two recipes, {n_seeds} seeds each",
    "Each dot is one student. Single runs of both recipes overlap. The thin line is the interval "
    "of the mean, over seeds and images (mostly images); the axis does not begin at 0.",
)

# %% [markdown]
# So one run each proves little. Two kinds of luck have to be drawn again: **which seed** we used, and **which images** are in the test set. And one thing helps: both networks answer the *same* images, and fail on the same hard ones. Subtract image by image (**paired**), and that common part is gone.
#
# For one run each, let $D$ be 1 on an image where only the first is wrong, −1 where only the second is, else 0; $\Delta$ its mean; $d$ the share of images on which *exactly one* is wrong. Then
#
# $$\begin{aligned}\mathrm{Var}(D) &= \overline{D^2} - \Delta^2 \\ &= d - \Delta^2 && D^2 = 1 \text{ where exactly one is wrong} \\ &\approx d && \Delta^2 \text{ is tiny} \\ \text{interval of } \Delta &\approx \Delta \pm 1.96 \sqrt{d / n}\end{aligned}$$
#
# Four times as many images halve the interval. This holds for these two networks; for two *recipes* the luck of seeds is added, as `metrics.difference` does ([lab notes](lesson01/notes): by hand, and what more seeds cannot do). A difference is **resolved** if its interval leaves out 0.
#
# How well can be seen what the teacher saves? The last row is stored: five teachers with three students each, on MNIST's 10,000 test images, none of them in training.

# %% tags=["nbval-ignore-output"]
rows = tables.read(table.__file__)
stored = {row["name"]: row for row in rows if row["kind"] == "teacher"}
mistakes = label_only.wrong().double()  # (seeds, images)
d = float((mistakes[1:] - mistakes[:-1]).abs().mean())  # one seed against the next
reach = 196 * (d / len(test)) ** 0.5
live_saving = metrics.difference(label_only.wrong(), distilled.wrong())
stored_saving = metrics.Interval(*stored["cnn 16"]["saves"])
two_runs = f"two label-only runs, {len(test):,} images: "
figures.show_table(["", "measured"], [
    [two_runs + "share d where exactly one is wrong", f"{100 * d:.1f} %"],
    [two_runs + "the interval reaches", f"± {reach:.1f} points"],
    ["images it takes to reach ± 0.5 points", f"{len(test) * (reach / 0.5) ** 2:,.0f}"],
    [f"distilled, against label-only: {n_seeds} runs, {len(test):,} images", saves(live_saving)],
    ["the same, stored: 15 runs, 10,000 images", saves(stored_saving, 2)],
])  # fmt: skip

# %%
claim(
    "01.4",
    "With all labels the teacher saves about one point of error, resolved on 10,000 images",
    stored_saving.low > 0.5 and stored_saving.high < 1.6,
    measured={"two label-only runs: ± points": reach, "saved on 10,000 images": stored_saving},
    published="Hinton et al. 2015: 146 errors of 10,000 label-only, 74 distilled (60,000 images)",
)

# %% [markdown]
# An interval that contains 0 does **not** say "no difference". With 1,000 images we could not tell; with 10,000 we can.
#
# ## Does the best teacher have the best students?
#
# We vary **size**, **epochs**, **shifts**, **label smoothing** and kind. Each recipe trained five teachers; each teacher taught three students, `mlp(784, 100, 10)`, by the loss of [00](lesson00) with $T = 4$ and $\alpha = 0.9$. All errors are those on the 10,000 images; label-only students have a higher error there than on our 1,000, so compare within one test set only.

# %%
names = sorted(
    (name for name in stored if not name.startswith("five")),
    key=lambda name: sum(stored[name]["teachers"]),
)
of_teachers = {name: sum(stored[name]["teachers"]) / 5 for name in names}
of_students = {name: sum(stored[name]["students"]) / 5 for name in names}
saved = {name: metrics.Interval(*stored[name]["saves"]) for name in names}
label_places = {name: ((6, -9), "left") for name in names}  # points from the mark
aside, above = ((-6, 0), "right"), ((0, 16), "center")
label_places |= {"cnn 16, long": aside, "mlp 100, brief": aside, "cnn 16": above}
lines = [
    [name, f"{of_teachers[name]:.2f}", f"{of_students[name]:.2f}", saves(saved[name], 2)]
    for name in names
]
figures.show_table(["teacher", "its error %", "its students' error %", "a student"], lines)

# %% tags=["nbval-ignore-output"]
base = next(sum(row["students"]) / 5 for row in rows if row["kind"] == "label-only")
picture, axis = figures.figure(height=3.6)
for name in names:
    role = "teacher" if name.startswith("cnn") else "extra"
    spot = (of_teachers[name], of_students[name])
    axis.loglog(*spot, figures.MARKERS[role], color=figures.COLOURS[role])
    axis.vlines(spot[0], base - saved[name].high, base - saved[name].low, figures.INKS[role])
    axis.annotate(name, spot, label_places[name][0], textcoords="offset points", fontsize=8,
        ha=label_places[name][1])  # fmt: skip
axis.axhline(base, color=figures.COLOURS["alone"], linestyle=figures.DASHES["alone"])
axis.text(11, base, "label-only", va="bottom", ha="right", color=figures.INKS["alone"])
axis.set(xlabel="the teachers' error %", ylabel="their students' error %", xlim=(1, 11.5),
    ylim=(4.2, 11), xticks=[1, 2, 4, 8], xticklabels=[1, 2, 4, 8],
    yticks=[5, 6, 8, 10], yticklabels=[5, 6, 8, 10])  # fmt: skip
axis.minorticks_off()
figures.show(
    picture,
    "Better teachers mostly have better students, not rank by rank",
    "Blue: convolutional, yellow: MLPs. A mark is a recipe's mean; its line the table's interval.",
)

# %%
pairs = {(row["one"], row["other"]): row for row in rows if row["kind"] == "pair"}
lead, arrived = (
    metrics.Interval(*pairs["cnn 16, brief", "mlp 300"][part]) for part in ("lead", "arrived")
)
higher = metrics.Interval(-arrived.mean, -arrived.high, -arrived.low)
claim(
    "01.5",
    "A convolutional teacher trained for 2 epochs is more accurate than an MLP trained for 40, and "
    "has worse students",
    lead.low > 0 and higher.low > 0,
    measured={
        "the teacher's error is lower by, points": lead,
        "its students' error is higher by, points": higher,
    },
    published="Cho & Hariharan 2019: larger and more accurate teachers often do not teach better",
    decimals=2,
)

# %% [markdown]
# What did you predict? ρ is the *rank correlation* of the two errors; at 1 they agree rank by rank.

# %%
rho = metrics.rank_correlation(list(of_teachers.values()), list(of_students.values()))
figures.show_table(["recipes", "ρ"], [[len(names), format(rho, ".2f")]])
guess.recall(
    "always, rank by rank" if rho.mean > 0.99 else
    "on the whole, with exceptions" if rho.low > 0 else "no relation can be seen"
)  # fmt: skip

# %% [markdown]
# So look at accuracy first, and then at the students. The two large exceptions, `cnn 16, brief` and `cnn 4`, stopped early or are small; nine recipes do not tell whether that is why. The first three rows cannot be told apart by these intervals. The [lab notes](lesson01/notes) have more: ensembles as teachers, smoothed labels, and the limit of all this. Our students see unchanged images, and the teacher answers each once; Beyer et al. (2022) find that good teaching is long, and shows both networks the *same* changed image.
#
# ## What can go wrong
#
# **The best seed was chosen on test.** Train twenty networks, report the best one's test error: how optimistic is that? Choose the best on one half of the test images, then look at it on the other half. Repeat with other halves.


# %%
def chosen(wrong, repeats=1000):
    """Error % of the best of several networks: on the half that chose it, on the other half."""
    generator, both_errors = torch.Generator().manual_seed(0), []
    for _ in range(repeats):
        one_half, other_half = torch.randperm(wrong.shape[1], generator=generator).chunk(2)
        best = wrong[:, one_half].mean(1).argmin()
        halves = [wrong[best, half].mean() for half in (one_half, other_half)]
        both_errors.append(torch.stack(halves))
    return 100 * torch.stack(both_errors).mean(0)


flattered, honest = chosen(mistakes)

# %%
claim(
    "01.6",
    "The best of twenty seeds has a lower error on the images that chose it than on fresh ones",
    float(honest - flattered) > 0.25,
    measured={
        "on the half that chose, %": float(flattered),
        "on the other half, %": float(honest),
        "apart, points": float(honest - flattered),
    },
)

# %% [markdown]
# Choose on validation, and report on test.
#
# ## Exercises
#
# **1 (5 minutes).** Write `images_needed(d, points)`: how many test images resolve a difference of so many points, such as 0.5, between two single runs with a share `d` of images on which exactly one is wrong? (Then about one try in two resolves it; for four in five take twice as many.)
#
# <details><summary>Hint 1</summary>In points the interval reaches 196 · √(d / n). When is that as small as the difference?</details>
# <details><summary>Hint 2</summary>Solve for n: square both sides.</details>


# %% tags=["exercise"]
def images_needed(d, points):
    # SOLUTION
    return d * (196 / points) ** 2
    # END


exercises.images_needed(images_needed)

# %% [markdown]
# **2 (15 minutes).** Write `paired(wrong_a, wrong_b)`: what network b saves against a, in points, as `(mean, low, high)`. Both are (images,), True where that network is wrong. Use the spread of the images' differences, not the approximation.
#
# <details><summary>Hint 1</summary>Subtract first, image by image: each difference is −1, 0 or 1. Booleans want <code>.double()</code> before.</details>
# <details><summary>Hint 2</summary>The standard error of a mean is the standard deviation over √n; the interval reaches 1.96 of them to each side. Then percent.</details>


# %% tags=["exercise"]
def paired(wrong_a, wrong_b):
    # SOLUTION
    differences = 100 * (wrong_a.double() - wrong_b.double())
    half = 1.96 * differences.std() / len(differences) ** 0.5
    mean = differences.mean()
    return float(mean), float(mean - half), float(mean + half)
    # END


exercises.paired(paired)

# %% [markdown]
# **3 (debugging).** One epoch of a training loop, as found in a real project. It runs, and trains badly. It has **five** faults. Write it anew: train one epoch in place, and return the mean loss of all its images as a plain number.
#
# ```python
# def one_epoch(network, batches, optimizer):
#     network.eval()
#     losses = []
#     for batch in batches:
#         p = network(batch.x).softmax(-1)
#         loss = torch.nn.functional.cross_entropy(p, batch.y)
#         loss.backward()
#         optimizer.step()
#         losses.append(loss)
#     return sum(losses) / len(losses)
# ```
#
# <details><summary>Hint 1</summary>What does cross_entropy expect, probabilities or logits? And what is in the gradients when the second batch comes?</details>
# <details><summary>Hint 2</summary>Which mode is for training? If the last batch has 3 images, how much should its loss weigh? And what does a loss hold on to when it stays a tensor?</details>


# %% tags=["exercise"]
def one_epoch(network, batches, optimizer):
    # SOLUTION
    network.train()
    total = images = 0
    for batch in batches:
        loss = torch.nn.functional.cross_entropy(network(batch.x), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += len(batch.y) * float(loss.detach())
        images += len(batch.y)
    return total / images
    # END


exercises.one_epoch(one_epoch)

# %% [markdown]
# ## In three lines
#
# - Teachers and students are trained by one kind of loop, and you can write it.
# - A difference needs pairs, seeds *and* images; to see half the difference, take four times the images.
# - A teacher is judged by its students; its accuracy is a good first guess, no more.
#
# ## Recall
#
# <details><summary>Why is a paired comparison sharper than an unpaired one?</summary>Both networks fail on the same hard images. Subtracting image by image removes what they share; only images on which exactly one is wrong still count.</details>
# <details><summary>An ECE is 0.01. Is the network miscalibrated?</summary>That depends on the null band: on a finite test set a perfectly calibrated network has an ECE above 0 too.</details>
# <details><summary>Would a hundred seeds on the same 1,000 images resolve any difference?</summary>No. More seeds shrink the luck of first weights; the luck of the images remains.</details>
#
# ## Reading
#
# - Guo, Pleiss, Sun & Weinberger (2017), *On calibration of modern neural networks*.
# - Cho & Hariharan (2019), *On the efficacy of knowledge distillation*: the question of this page, on ImageNet.
# - Beyer et al. (2022), *Knowledge distillation: a good teacher is patient and consistent*.
# - Bouthillier et al. (2021), *Accounting for variance in machine learning benchmarks*: which kinds of luck matter most.
#
# Next: [](lesson02)
