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
# # How few examples?
#
# **In one line:** with 5 to 100 labelled images per class, a better learner that knows no more labels than its student saves it many errors, if it answers images beyond the labelled ones; on the labelled images alone no saving shows up to 20 per class, nor does any at one.
#
# *{minutes} minutes to read, exercises apart · about 30 CPU seconds to run · needs: [](lesson02)*
#
# **First, wake the sliders: Run ▸ Run All Cells.**
#
# After this page you can
#
# - tell from three numbers whether a student must gain from its teacher, and measure one of them without a label;
# - sort out the worst transfer sets before training, without a label;
# - draw a learning curve in which nobody sees a label too many.
#
# ## Why anyone wants this
#
# Labels cost somebody's time, images often cost nothing. In [02](lesson02), 200 labels and a teacher went far. But that teacher had seen *all* labels. **Here it is honest: it learns from the very labels that its student is said to have.** How few may they be, and which images may it answer?

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
alpha: float = 0.9  # 0..1
labels: int = 20  # 2..100, labelled images per class of the live experiment
draws: int = 3  # 2..10
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import torch
from torch.nn import functional as F

from kdcourse import checks, explorers, figures
from kdcourse.checks import claim
from kdcourse.ground import mnist
from kdcourse.lessons.lesson11 import exercises, stored, table, transfer
from kdcourse.measured import saves
from kdcourse.parameters import check_parameters
from kdlib import data, metrics, models
from kdlib.bank import train_bank
from kdlib.objectives import HardLabels, SoftTargets, tabulate
from kdlib.training import fit

check_parameters()

# %% [markdown]
# A **draw** is a choice of `labels` images per class from 3,500. Each draw has its own teacher: `cnn(16)`, trained on this draw alone, its images moved by up to two pixels (**jitter**), in as many steps as the course's teacher. Students are `mlp(784, 100, 10)` with 560 steps.

# %%
small = budget == "small"
train, _, test = data.load("mnist5k")
choices = range(seed, seed + draws)
known = {draw: train.per_class(labels, seed=draw) for draw in choices}
teacher_steps = 40 if small else transfer.STEPS
teachers = {draw: transfer.teacher(known[draw], seed=draw, steps=teacher_steps) for draw in choices}
student = models.mlp(784, mnist.WIDTH, 10)

# %% [markdown]
# ## A prediction first
#
# A label-only student has 20 labelled images per class.

# %%
options = {
    "its teacher's answers to these 200 images": "same images",
    "its teacher's answers to all 3,500 images, without their labels": "transfer set",
    "jitter of its own": "label-only, jitter",
    "four times as many steps": "label-only, 4 × steps",
}
guess = checks.Prediction("What saves most of its errors?", list(options))
guess

# %% [markdown]
# ## The idea
#
# A **transfer set** is any set of images that the teacher answers. The student learns these answers, and its loss reads no label:
#
# $$\text{loss} = \frac{T^2}{N} \sum_{x \,\in\, \text{transfer set}} \mathrm{KL}\big(p_T(x) \,\|\, q_T(x)\big)$$
#
# So labels reach the student through its teacher alone. How far can that go? Let $y$ be an image's label, $t$ the teacher's answer, $s$ the student's; $e_t$ and $e_s$ their errors, and $d$ the **disagreement**, the share of images with $s \ne t$.
#
# 1. Where $s$ is wrong, $t$ is wrong as well, or $s$ differs from $t$.
# 2. With 1 for "yes" and 0 for "no": $[s \ne y] \le [t \ne y] + [s \ne t]$.
# 3. Averaged over images: $e_s \le e_t + d$.
# 4. The same with $s$ and $t$ exchanged: $e_t \le e_s + d$, so $e_s \ge e_t - d$.
#
# $$e_t - d \;\le\; e_s \;\le\; e_t + d$$
#
# **Labels lower $e_t$, images lower $d$.** And $d$ needs no label; but count it on images like those of the test, not on those the student learned. By hand, for a student that has learned nothing yet:


# %%
def disagreement(z_s, z_t):
    """Logits (images, classes) of student and teacher -> a share of the images."""
    return (z_s.argmax(1) != z_t.argmax(1)).double().mean()


z_t = models.predict(teachers[seed], test)
z_s = models.predict(models.initialise(student, seed), test)
d = disagreement(z_s, z_t)
torch.testing.assert_close(d, 1 - metrics.agreement(z_s, z_t).double())
e_t, e_s = (1 - metrics.accuracy(z, test.y).double() for z in (z_t, z_s))
assert e_t - d <= e_s <= e_t + d

# %% [markdown]
# ## Two hundred labels, three students
#
# | student | sees |
# |---|---|
# | label-only | the labelled images |
# | same images | the same, with labels and its teacher's answers (weight `alpha`) |
# | transfer set | all 3,500 training images with its teacher's answers, **no label** |
#
# `train_bank` takes functions of `seed`: each seed has a draw of labels and a teacher of its own.

# %%
steps = 28 if small else mnist.STEPS
few_epochs, all_epochs = (mnist.epochs(part, steps) for part in (known[seed], train))
on_known = {draw: tabulate(net, known[draw]) for draw, net in teachers.items()}
on_all = {draw: tabulate(net, train) for draw, net in teachers.items()}
common = dict(student=student, seeds=choices, evaluate={"test": test})
of_draw = dict(examples=lambda seed: known[seed], epochs=few_epochs) | common
banks = {
    "label-only": train_bank(HardLabels(), **of_draw),
    "same images": train_bank(
        lambda seed: (1 - alpha) * HardLabels() + alpha * SoftTargets(on_known[seed], T), **of_draw
    ),
    "transfer set": train_bank(
        lambda seed: SoftTargets(on_all[seed], T),
        examples=train.unlabelled(), epochs=all_epochs, **common,
    ),
}  # fmt: skip

# %% [markdown]
# Errors on the 1,000 test images, averaged over draws. The interval is over draws and images:

# %% tags=["nbval-ignore-output"]
z_teachers = torch.stack([models.predict(net, test) for net in teachers.values()])
teacher_error = 100 * metrics.wrong(z_teachers, test.y).double().mean()
live = []
for name, bank in banks.items():
    apart = 100 * (bank.logits["test"].argmax(-1) != z_teachers.argmax(-1)).double().mean()
    gain = "" if name == "label-only" else saves(
        metrics.difference(banks["label-only"].wrong(), bank.wrong()))  # fmt: skip
    live.append([name, f"{bank.errors('test').mean():.1f}", f"{apart:.1f}", gain])
figures.show_table(["student", "its error %", "disagreement %", "against label-only"], live)
print(f"the teachers' error: {teacher_error:.1f} %")

# %% [markdown]
# On the same images the student does not come near its teacher: elsewhere the two disagree often.
#
# ## From one image per class to all
#
# Stored (`table.py`): five draws each, MNIST's 10,000 test images. The strongest rival: a label-only student **with jitter of its own**.

# %% tags=["nbval-ignore-output"]
picture = stored.curves()
title = "A transfer set is worth most between 5 and 20 labelled images per class"
sentence = "Both axes logarithmic. Dots: draws; bands: 95 % intervals over draws. Below the red line a teacher helps. Green has 3,500 unlabelled images, the other students have the labelled ones only. At 350, all images are labelled."
figures.show(picture, title, sentence)
worth = {option: stored.saving(name, "label-only", 20).mean for option, name in options.items()}
guess.recall(max(worth, key=worth.get))

# %% [markdown]
# The two parts of the bound, and what a teacher saves:

# %%
head = ["labelled per class", "student", "teacher's error %", "disagreement %"]
figures.show_table(
    [*head, "student's error %", "against label-only"], stored.parts((1, 5, 20, 350))
)

# %%
text = "With one image per class the honest teacher has more errors than the label-only student, and saves nothing, transfer set or not; from 5 to 100 the transfer set saves over three points"
gains = {
    f"{name}, {n} per class, points saved": stored.saving(name, "label-only", n)
    for name, n in [
        ("same images", 1),
        *(("transfer set", n) for n in (1, 5, 10, 20, 100)),
    ]
}
behind = stored.mean("teacher", 1) - stored.mean("label-only", 1)
measured = {"1 per class, teacher's error minus label-only, points": behind} | gains
helps = all(g.mean < 0 if ", 1 per" in name else g.low > 3 for name, g in gains.items())
claim("11.1", text, behind > 1 and helps, measured=measured)

# %%
text = "On the same 5 to 20 images per class, the teacher's answers save less than a point; the transfer set cuts the disagreement to less than two thirds"
measured = {
    f"same images, {n} per class, points saved": stored.saving("same images", "label-only", n)
    for n in (5, 10, 20)
}
cuts = {
    f"disagreement, {n} per class, transfer set over same images": stored.mean(
        "transfer set", n, "disagreement"
    )
    / stored.mean("same images", n, "disagreement")
    for n in (5, 10, 20)
}
holds = all(g.high < 1 for g in measured.values()) and all(cut < 0.67 for cut in cuts.values())
claim("11.2", text, holds, measured=measured | cuts)

# %% [markdown]
# **The bound at work.** At 20 per class both together are below the label-only student's error: the gain is certain before anyone scores the student. The other rows stay open. At 1 per class the teacher has more errors than the label-only student, and its student ends near it; five draws do not resolve the cost.
#
# ### The rivals
#
# What each saves against the plain label-only student (empty: asked at 20 only). Last two rows: a teacher that is an `mlp` like its student, and a **leak**: a teacher of all labels, while the student is said to have few.

# %%
names = ["label-only, 4 × steps", "label-only, jitter", "label-only, jitter, 4 × steps"]
names += ["transfer set", "transfer set, moved", "transfer set, teacher without jitter"]
names += ["transfer set, an mlp as teacher", "transfer set, leak"]
figures.show_table(stored.RIVAL_HEAD, stored.rivals(names, "label-only"))

# %% [markdown]
# **Jitter alone saves about half as much at 20, and more than the transfer set at 350.** So give the transfer set jitter, too: *moved* has four moved copies of each image, all answered by the teacher. At 20 the student then comes close to its teacher; at 350 it is level with jitter, which gains more by four times the steps. A part of the gain is the teacher's jitter, a part its convolutions: with an `mlp` as teacher the student saves what jitter of its own saves.

# %%
text = "At 20 per class the transfer set saves over two points against the label-only student with jitter; at 350 it costs, and the moved transfer set is within half a point"
rivals = {
    f"{name}, {n} per class, points saved": stored.saving(name, "label-only, jitter", n)
    for name, n in (("transfer set", 20), ("transfer set", 350), ("transfer set, moved", 350))
}
at_20, at_350, moved_350 = rivals.values()
claim("11.3", text, at_20.low > 2 and at_350.high < -0.1 and moved_350.low > -0.5, measured=rivals)

# %% [markdown]
# ## What may stand in a transfer set?
#
# No unlabelled images? Make some *of the labelled ones* (`data.transfer_set`): moved copies, a mean of two (**mixup**), halves of two, patches of many, pixels shuffled. Or take scikit-learn's digits, by other writers, or noise.

# %% tags=["nbval-ignore-output"]
made = {name: transfer.images(name, train, known[seed], seed=seed) for name in table.SETS}
z_made = {name: models.predict(teachers[seed], part[:500]) for name, part in made.items()}
titles = []
for name, z in z_made.items():
    confidence, digit = z[0].softmax(0).max(0)
    titles.append(f"{name}\n{digit}: {confidence:.0%}".replace(", ", "\n"))
shown = torch.cat([part.x[:1] for part in made.values()])
picture = figures.digits(shown, titles, columns=5, roles=["teacher"] * len(titles))
title = "The teacher answers everything, also what is no digit"
sentence = (
    "An image of each transfer set, with the answer of the first draw's teacher and its confidence."
)
figures.show(picture, title, sentence)

# %% [markdown]
# Which of them will teach? Ask the teacher before you train, and count **how many classes its first answers use**: 10 if all are used alike, 1 if it is always the same. Stored, 20 labelled images per class, five draws:

# %%
figures.show_table(stored.SET_HEAD, stored.set_rows(20))

# %%
text = "At 20 per class: sets whose answers use under 8 classes leave over 30 % errors, those that use over 9 less than 30 %; noise has one class, and high confidence"
classes = {name: float(stored.of_set(name, 20, "classes").mean()) for name in table.SETS}
set_errors = {name: float(stored.of_set(name, 20).mean()) for name in table.SETS}
split = all(
    set_errors[name] > 30 if used < 8 else used > 9 and set_errors[name] < 30
    for name, used in classes.items()
)
confidence = float(stored.of_set("noise", 20, "confidence").mean())
measured = {f"{name}, classes used": used for name, used in classes.items()}
measured |= {"noise, mean confidence": confidence}
claim("11.4", text, split and classes["noise"] < 1.5 and confidence > 0.9, measured=measured)

# %% [markdown]
# **It sorts out the useless; it does not rank the rest.** Moved copies use all ten classes with high confidence, and teach less than real unlabelled images. Confidence is high on noise.
#
# ## Explore: images per class × transfer set
#
# Left: the student's error; red: the label-only student *with jitter* at the slider's images per class; compare at the large dot. Right: classes used. Do halves of digits ever beat it?

# %%
grid = stored.grid()
explorers.ErrorTable(
    grid["axes"],
    grid["errors"],
    n=10_000,
    alone=[grid["alone"]],
    along="images per class",
    second={"classes used": grid["classes"]},
    second_name="classes used (of 10)",
    start={"transfer set": "own", "images per class": 20},
    situations={
        "nothing but the labels": {"transfer set": "moved, of the labels", "images per class": 20},
        "one per class": {"transfer set": "own", "images per class": 1},
        "noise": {"transfer set": "noise", "images per class": 350},
    },
    title="Which images may the teacher answer?",
)

# %% [markdown]
# ## Ten images, learned
#
# Must the ten images be real? **Dataset distillation** *learns* images so that a learner trained on them answers well. Kernel ridge regression makes it short, since its training is a formula (Nguyen et al. 2021). With ten images $S$, one per class, centred labels $Y$, and a kernel $K$, it answers $K(x, S)\,(K(S, S) + \rho)^{-1}\, Y$. Adam moves the pixels of $S$:


# %%
def kernel(a, b, gamma=0.01):  # (A, pixels), (B, pixels) -> (A, B)
    return (-gamma * (a.pow(2).sum(1)[:, None] + b.pow(2).sum(1) - 2 * a @ b.T)).exp()


def ridge(ten, x):  # ten images, one per class; the answers to images x
    K = kernel(ten, ten) + 1e-3 * torch.eye(10)
    return kernel(x, ten) @ torch.linalg.solve(K, torch.eye(10) - 0.1)


# %%
x, y = train.batch().x.flatten(1), train.y
first = torch.stack([x[y == digit][seed % 300] for digit in range(10)])
learned = first.clone().requires_grad_()
optimiser = torch.optim.Adam([learned], lr=0.02)
generator = torch.Generator().manual_seed(seed)
for _ in range(20 if small else 300):
    part = torch.randint(len(x), (500,), generator=generator)
    loss = (ridge(learned, x[part]) - F.one_hot(y[part], 10) + 0.1).pow(2).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

# %% [markdown]
# Two rivals: a real image of each class, and the mean of each class.

# %%
means = torch.stack([x[y == digit].mean(0) for digit in range(10)])
tens = {"first of each class": first, "class means": means}
tens["learned"] = learned.detach().clamp(0, 1)
picture = figures.digits(torch.cat(list(tens.values())).view(-1, 28, 28), size=0.6)
title = "Ten real images, ten means, ten learned images"
sentence = "Top: a real image of each class. Middle: the mean of each class. Bottom: learned; they look like their class, and like what tells it from others."
figures.show(picture, title, sentence)

# %% [markdown]
# Does it help *another* learner? Each is trained on the ten images alone:

# %% tags=["nbval-ignore-output"]
ten_errors = {}
for name, ten in tens.items():
    examples = data.Examples(ten.view(-1, 1, 28, 28), torch.arange(10))
    dense = models.mlp(784, mnist.WIDTH, 10)
    fit(dense, examples, seed=seed, epochs=steps, precision="fp32")
    conv = transfer.teacher(examples, seed=seed, moved=False, steps=teacher_steps)
    answered = [ridge(ten, test.batch().x.flatten(1))]
    answered += [models.predict(net, test) for net in (dense, conv)]
    ten_errors[name] = [100 * float(metrics.wrong(z, y=test.y).double().mean()) for z in answered]
head = ["ten images", "kernel ridge, error %", "mlp", "cnn"]
figures.show_table(head, [[name, *(f"{e:.1f}" for e in es)] for name, es in ten_errors.items()])

# %%
text = "Ten learned images more than halve the errors of ten real ones, for the kernel and for an mlp; not for a cnn, which they leave above 50 %"
measured = {
    f"{name}, {learner}, error %": ten_errors[name][k]
    for name in ("first of each class", "learned")
    for k, learner in enumerate(("kernel", "mlp", "cnn"))
}
real, made_ten = ten_errors["first of each class"], ten_errors["learned"]
holds = all(2 * made_ten[k] < real[k] for k in (0, 1)) and made_ten[2] > 50
published = "the method: KIP, on MNIST's 60,000 images (Nguyen et al. 2021)"
claim("11.5", text, holds, measured=measured, published=published)

# %% [markdown]
# **Ten images, but 3,500 labels went into them.** This saves storage, not labels. Class means, which cost no training, are a strong rival; for the `cnn` both are worse than ten real images.
#
# ## What can go wrong
#
# - **A leak.** A teacher that has seen all labels makes "20 labels per class" look better than it is (table of rivals).
# - **One draw.** At one image per class, draws differ by tens of points. Compare ways on the same draws.
# - **Equal epochs.** 20 epochs are 40 steps for 200 images and 560 for 3,500. Compare equal steps.
# - **Collapse.** A confident teacher on a foreign set says one class for all. Look at its answers first.
#
# Mixtures of transfer sets, capacity 1/N, data-free distillation, unbalanced draws, a second task: [lab notes](lesson11/notes).
#
# ## Exercises
#
# **1 (5 minutes).** Before the student is scored you know its teacher's error, their disagreement, and the label-only student's error (all as shares of the same images). Return `"helps"` if the distilled student must have fewer errors than the label-only student, `"harms"` if it must have more, else `"open"`.
#
# <details><summary>Hint 1</summary>The bound gives the highest and the lowest error that the student can have.</details>
# <details><summary>Hint 2</summary>It must help if even the highest is below the label-only student's error; harm, if even the lowest is above it.</details>


# %% tags=["exercise"]
def verdict(teacher_error, disagreement, label_only_error):
    # SOLUTION
    if teacher_error + disagreement < label_only_error:
        return "helps"
    if teacher_error - disagreement > label_only_error:
        return "harms"
    return "open"
    # END


exercises.verdict(verdict)

# %% [markdown]
# **2 (15 minutes).** `answers` maps names of transfer sets to the teacher's logits (images, classes). Return the names of those whose *first answers* use more than `least` classes. The number of classes used is $e^H$, where $H = -\sum_k r_k \log r_k$ is the entropy of the shares $r_k$ of first answers that are $k$. Return a list, most classes first.
#
# <details><summary>Hint 1</summary>Count the first answers of each class (<code>bincount</code>), divide by their number, then the entropy. Probabilities are not asked for.</details>
# <details><summary>Hint 2</summary>A class that is never answered has share 0, and 0 · log 0 must count as 0: <code>torch.special.entr(r)</code> is −r log r, and 0 at 0.</details>


# %% tags=["exercise"]
def usable(answers, least):
    # SOLUTION
    def used(z):
        counts = torch.as_tensor(z).argmax(1).bincount()
        return float(torch.special.entr(counts / counts.sum()).sum().exp())

    numbers = {name: used(z) for name, z in answers.items()}
    return sorted((name for name in numbers if numbers[name] > least), key=lambda s: -numbers[s])
    # END


exercises.usable(usable)

# %% [markdown]
# **3 (debugging).** A point of a learning curve: who sees which images, and for how many epochs? `train` and `test` are `Examples` with labels; batches hold 128. This plan has four faults. Mend it: nobody may see a label too many or a test image, each draw has its own labels, and both students take as many steps as `epochs` make on the transfer set.
#
# ```python
# def mended_plan(train, test, n, draw, epochs=20):
#     labelled = train.per_class(n)
#     return {
#         "teacher": train,
#         "label-only": labelled,
#         "transfer set": (train + test).unlabelled(),
#         "label-only epochs": epochs,
#     }
# ```
#
# <details><summary>Hint 1</summary>Print what each entry holds for n = 1 and two draws. Which entries should differ between draws? Which images belong in none?</details>
# <details><summary>Hint 2</summary>A pass over N images in batches of 128 is <code>math.ceil(N / 128)</code> steps. Steps of the transfer set, divided by steps of a pass over the labelled images.</details>


# %% tags=["exercise"]
def mended_plan(train, test, n, draw, epochs=20):
    # SOLUTION
    labelled = train.per_class(n, seed=draw)
    passes = [-(-len(part) // 128) for part in (train, labelled)]
    return {
        "teacher": labelled,
        "label-only": labelled,
        "transfer set": train.unlabelled(),
        "label-only epochs": round(epochs * passes[0] / passes[1]),
    }
    # END


exercises.mended_plan(mended_plan)

# %% [markdown]
# ## In three lines
#
# Labels lower the teacher's error, images lower the disagreement. An honest teacher helps from 5 to 100 images per class, if it answers more images than the labelled ones; at 350, jitter is better. If its answers use few classes, the images are useless; if many, they may still be.
#
# ## Recall
#
# <details><summary>Why does a good teacher save nothing on the same 200 images?</summary>The student copies it there, and disagrees with it elsewhere; its error may be as high as the teacher's error plus the disagreement.</details>
# <details><summary>Which part of the bound needs a label?</summary>The teacher's error. Disagreement needs images only: like those of the test, not those the student learned.</details>
# <details><summary>Why does the teacher not help with one image per class?</summary>With one image per class it has more errors than the label-only student, and its student ends near it.</details>
# <details><summary>The teacher is confident on noise. Is that a good sign?</summary>No. It says one class for all of it; there is nothing to learn.</details>
# <details><summary>Ten learned images: how many labels did they need?</summary>All 3,500. They save storage, not labels.</details>
#
# ## Reading
#
# - Hinton, Vinyals & Dean (2015), *Distilling the Knowledge in a Neural Network*: section 3, the transfer set.
# - Buciluă, Caruana & Niculescu-Mizil (2006), *Model Compression*: transfer sets made from few examples.
# - Beyer, Zhai, Royer, Markeeva, Anil & Kolesnikov (2022), *Knowledge distillation: A good teacher is patient and consistent*: moved and mixed images for both.
# - Nguyen, Chen & Lee (2021), *Dataset Meta-Learning from Kernel Ridge-Regression*: learned images.
#
# Next: [](lesson12)
