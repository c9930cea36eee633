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
# # Why is my student not learning?
#
# **In one line:** often it *is* learning, and the mistake hides: most of the mistakes on this page hardly move the test error, so look at the loss, at confidence and NLL, at the teacher, and write each mistake down as a test.
#
# *{minutes} minutes to read, exercises apart · about 30 CPU seconds to run · needs: [](lesson02)*
#
# After this page you can
#
# - write a test that stops a wrong distillation loss before any training;
# - write a test that notices what a training program does to its teacher and its student;
# - check that images, labels and stored answers belong together.
#
# ## Why anyone wants this
#
# A program that distils has a dozen lines and as many places for a mistake. Hardly one of them ends in an error message. A student trains, a number comes out, it looks plausible, it is published.

# %% tags=["parameters"]
labels: int = 20  # 15..100, labelled images per class
epochs: int = 60  # 10..100
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import copy

import torch
from torch.nn import functional as F

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.ground import mnist
from kdcourse.lessons.lesson15 import clinic, exercises, mistakes, stored
from kdcourse.parameters import check_parameters
from kdlib import data, models
from kdlib.objectives import HardLabels, SoftTargets
from kdlib.training import fit

check_parameters()

# %% [markdown]
# ## A prediction first
#
# This page has 24 mistakes, each of them a switch on an otherwise right program. We call a mistake **silent** if it costs less than 2 points of test error (its whole 95 % interval does). On a thousand test images that is easily overlooked.

# %%
amounts = ["at most 6", "7 to 12", "13 to 20", "more than 20"]
guess = checks.Prediction("How many of the 24 mistakes are silent?", amounts)
guess

# %% [markdown]
# ## The right program
#
# The course's teacher and student, but a short training on few labelled images, as one tries things out: 60 epochs of two batches, where [02](lesson02) takes 560 steps. The teacher answers the same images.
#
# $$\text{loss} = (1-\alpha)\,\mathrm{CE} + \alpha\,T^2\,\mathrm{KL}(p_T \,\|\, q_T)$$

# %%
train, _, test = data.load("mnist5k")
teacher = mnist.teacher(train)
labelled = train.per_class(labels, seed=seed)
T, alpha, passes = mnist.T, mnist.ALPHA, 6 if budget == "small" else epochs


# %%
def distil(student, x, y, count):
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2, weight_decay=0.0)
    batches = [batch for k in range(count) for batch in mistakes.order(len(x), k, seed)]
    cycle = torch.optim.lr_scheduler.OneCycleLR
    schedule = cycle(optimizer, 1e-2, total_steps=len(batches) + 1, cycle_momentum=False)
    teacher.eval()
    student.train()
    for index in batches:  # in each epoch every image once, in a new order
        with torch.no_grad():
            z_t = teacher(x[index])  # of the very images that the student sees
        z_s = student(x[index])  # logits, (batch, classes)
        log_q, p = (z_s / T).log_softmax(-1), (z_t / T).softmax(-1)
        soft = T**2 * F.kl_div(log_q, p, reduction="batchmean")
        loss = (1 - alpha) * F.cross_entropy(z_s, y[index]) + alpha * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return student


# %% [markdown]
# Is *this* program right? Every line can hide a mistake, so it is compared with two others: kdlib's `fit`, and the program with switches, with none switched on.

# %%
few = 5  # epochs
by_hand = distil(mistakes.new_student(None, seed), labelled.batch().x, labelled.y, few)
switched = mistakes.train(None, teacher, labelled, seed=seed, epochs=few)
objective = (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T)
how = dict(epochs=few, order_seed=seed, precision="fp32")
run = fit(mistakes.new_student(None, seed), labelled, objective, **how)
for network in (switched.student, run.network):
    z_s, expected = (models.predict(net, test) for net in (network, by_hand))
    torch.testing.assert_close(z_s, expected, rtol=0.02, atol=0.05)

# %% [markdown]
# ## A ward of 24 patients
#
# `mistakes.train("no T²", …)` is the same program with one switch turned. We train a student with each, and watch six numbers. **Agreement**: how often the student's answer is the teacher's. **Confidence**: the mean of the highest probability. **NLL**: cross-entropy on the test images; it punishes confident wrong answers.

# %%
answers, watched = models.predict(teacher, labelled), models.predict(teacher, test)
settings = dict(seed=seed, epochs=passes, answers=answers, watch=test, watched=watched)


def curves(mistake, beside=""):
    return mistakes.train(mistake, teacher, labelled, beside=beside, **settings).curves


right = {beside: curves(None, beside) for beside in ("", "dropout", "jitter")}
patients = {mistake: curves(mistake) for mistake in mistakes.MISTAKES}

# %% [markdown]
# Two mistakes need a right program of their own: one with dropout, one whose images are moved by up to two pixels (jitter). Curves first, the name later. Commit to a diagnosis below the picture; then it answers.

# %% tags=["nbval-ignore-output"]
ward = clinic.Ward(patients, right)
ward

# %%
clinic.Diagnosis(ward)

# %% [markdown]
# That was one student for each mistake. The table has five, each with its own draw of labels, scored on MNIST's 10,000 test images (`table.py` trained them; your parameters do not change them). An asterisk: compared with the right program with dropout or jitter.

# %% tags=["nbval-ignore-output"]
figures.show_table(stored.HEAD, stored.ward_rows())

# %% tags=["nbval-ignore-output"]
count = len(stored.silent())
guess.recall(amounts[sum(count > most for most in (6, 12, 20))])

# %%
text = "More than half of the 24 mistakes are silent: the interval of what they cost ends below 2 points"
measured = {"silent mistakes": count, "of": len(mistakes.MISTAKES)}
claim("15.1", text, count > 12, measured=measured)

# %% [markdown]
# ## Silent is not harmless
#
# The same students, error on the left, NLL on the right.

# %%
picture = stored.harm_and_nll()
title = "Where the error is silent, the NLL often is not"
sentence = "Left: what a mistake costs, five draws of labels, 10,000 test images; bar: 95 % interval; the axis is linear up to 2. Right: mean NLL of the mistake (yellow) and of its right program (green)."
figures.show(picture, title, sentence)

# %%
text = "Error is not enough: five silent mistakes raise the NLL by more than a third"
sound = stored.mean(stored.row("mistake", "right"), "NLL")
raised = ["the teacher is never used", "student compared with itself", "no logarithm"]
raised += ["softmax twice, teacher", "T on the teacher only"]
nll = {f"{name}, NLL": stored.mean(stored.row("mistake", name), "NLL") for name in raised}
holds = all(value > 4 / 3 * sound for value in nll.values()) and set(raised) <= set(stored.silent())
claim("15.2", text, holds, measured={"right program, NLL": sound} | nll)

# %% [markdown]
# The same error with other probabilities matters as soon as somebody uses the probabilities: to abstain, to set a threshold, to teach the next student. Three families hide best:
#
# - **Wrong logits, right order.** A second softmax, T on one side, a missing logarithm: the largest class stays the largest, so the error stays. Confidence or NLL gives them away.
# - **A teacher without effect.** Never used, or the student compared with itself: you have trained a label-only student. The *first* loss tells, before any training.
# - **No sign in any curve.** A teacher in train mode, `drop_last`, answers stored before the images were moved, KL turned round: here only a test finds them. That is what the exercises are for.
#
# ## Why a wrong scale is silent
#
# No T², or KL averaged over classes too, or summed over the batch: the soft term is multiplied by some $c$. Let its gradient be all there is, $g$:
#
# 1. SGD steps by $\eta\, g$. With $c$: $\eta\, c\, g$. The step is $c$ times as long.
# 2. Adam keeps running means $m$ of $g$ and $v$ of $g^2$. With $c$: $c\,m$ and $c^2 v$.
# 3. It steps by $\eta\, m / (\sqrt{v} + \varepsilon)$. With $c$: $\eta\, c\,m / (c \sqrt{v} + \varepsilon)$.
# 4. $= \eta\, m / (\sqrt{v} + \varepsilon / c)$: but for the tiny $\varepsilon$, the same step.
#
# One step of each, with the loss divided by 16 as by a missing T²:


# %%
def length_of_a_step(kind, scale):
    student = mistakes.new_student(None, seed)
    before = torch.nn.utils.parameters_to_vector(student.parameters()).detach()
    z_s = student(labelled.batch().x)
    log_q, p = (z_s / T).log_softmax(-1), (answers / T).softmax(-1)
    loss = scale * T**2 * F.kl_div(log_q, p, reduction="batchmean")
    optimizer = kind(student.parameters(), lr=1e-2)
    loss.backward()
    optimizer.step()
    after = torch.nn.utils.parameters_to_vector(student.parameters()).detach()
    return float((after - before).norm())


# %%
kinds = {"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}
lengths = {name: [length_of_a_step(kind, c) for c in (1, 1 / 16)] for name, kind in kinds.items()}
rows_of_steps = [[name, f"{small / whole:.3f}"] for name, (whole, small) in lengths.items()]
figures.show_table(["", "length of its step, c = 1/16 against c = 1"], rows_of_steps)

# %% [markdown]
# Now a ward in which the loss is *all* there is: 3,500 images, soft targets alone ($\alpha = 1$), 8 epochs. The same mistakes, under AdamW and under SGD with momentum:

# %%
optimisers = stored.two_optimisers()
title = "Change the optimiser, and silent mistakes become loud"
sentence = "What a mistake costs under AdamW (green) and SGD (red); five seeds, 10,000 test images; bar: 95 % interval; the axis is linear up to 2."
figures.show(optimisers, title, sentence)

# %%
text = 'AdamW hides a wrong scale (no T², reduction="mean" or "sum"): less than half a point. SGD does not: over two points'
scales = ["no T²", 'reduction="mean"', 'reduction="sum"']
costs = {
    f"{name}, {kind}, points": stored.interval(stored.row("loss", name, how=kind))
    for kind in ("AdamW", "SGD")
    for name in scales
}
holds = all(
    cost.low > 2 if "SGD" in name else cost.low > -0.5 and cost.high < 0.5
    for name, cost in costs.items()
)
claim("15.3", text, holds, measured=costs)

# %% [markdown]
# **Whether a mistake is silent depends on where it happens.** So does the most embarrassing one, a teacher that is never used. First with the 200 labelled images only, now for 560 steps; then with all other images, unlabelled, for the right program:

# %%
figures.show_table(stored.USED, stored.used_rows())

# %%
text = "A teacher that is never used costs over ten points where the right program would have shown it unlabelled images"
used = stored.row("used", "and all others unlabelled", how="right")
gain = stored.interval(used, "saves")
claim("15.4", text, gain.low > 10, measured={"the teacher saves, points": gain})

# %% [markdown]
# ## Two programs from articles
#
# Two programs as articles print them, with several mistakes at once. They are trained as printed, then repaired one mistake at a time.
#
# **Room A.** Teacher and student end in a softmax and are then trained with `CrossEntropyLoss`, which takes a softmax itself. The "compressed" network consists of fresh layers, and nothing in its training mentions the teacher. What is reported is the accuracy on the training images. (All 3,500 labels, 560 steps.)

# %%
figures.show_table(stored.REPAIR, stored.repairs("A"))

# %% [markdown]
# The first column is what would have been reported. "Compression" is a label-only student here: all of its layers are new, and smaller layers are no distillation. Look at the order: most of the gain comes with the *last* softmax. **With several mistakes at once, one repair may show nothing, and still be needed.**

# %%
text = "Room A: the reported error is less than half of the test error; all repairs together save over 1.5 points, most of it after the last softmax has gone"
printed, final = (
    stored.row("room", "as printed", how="A"),
    stored.repaired("A", "+ so does the student"),
)
reported = {
    name: stored.mean(printed, key)
    for name, key in (
        ("as printed, training error %", "training error %"),
        ("as printed, test error %", "errors"),
    )
}
middle = stored.repaired("A", "+ the teacher answers with logits")
gains = {"all repairs save, points": final, "all but the last, points": middle}
shares_of_truth = (
    2 * reported["as printed, training error %"] < reported["as printed, test error %"]
)
claim(
    "15.5",
    text,
    shares_of_truth and final.low > 1.5 and middle.mean < final.mean / 2,
    measured=reported | gains,
)

# %% [markdown]
# **Room B.** A teacher, a helper that learns from it, and a student that learns from the helper; their three losses are summed, and the optimiser holds the weights of *one* model, the student. (100 labels per class, 560 steps.)

# %%
figures.show_table(stored.REPAIR, stored.repairs("B"))

# %% [markdown]
# As printed, the student has to copy, with weight 0.9, a helper of random weights that copies nobody: it ends up worse than the labels alone would have made it (last row). One line repairs most of that: give the optimiser all three networks. **Not every repair is a gain:** detaching the teachers, so that a student's loss does not move its teacher, *costs* points here; why, we have not measured. Training the teacher before, and on all labels, brings them back. In kdlib: `Together` and `member`, see the [lab notes](lesson15/notes).

# %%
text = "Room B: as printed the student is worse than a label-only one; most of the repair is to step all three networks"
all_three = stored.repaired("B", "+ all three are stepped")
label_only = stored.repaired("B", "control: labels only")
rest = stored.repaired("B", "+ with all labels")
costs_of_b = {"labels only save, points": label_only, "stepping all three saves": all_three}
holds = label_only.low > 0.5 and all_three.low > 1 and all_three.mean > rest.mean / 2
claim("15.6", text, holds, measured=costs_of_b | {"all repairs save": rest})

# %% [markdown]
# ## What can go wrong with a diagnosis
#
# - **One seed.** A mistake that costs one point is no finding on one student; see [01](lesson01).
# - **Two mistakes.** They can cancel, or hide each other, as in room A. Repair one, then measure everything again.
# - **Tests that cannot fail.** A test is worth something once you have seen it fail on the mistake. That is how the exercises are judged.
#
# The protocol's mistakes (is the gain real?), slips in formulas, and faults of published losses: [lab notes](lesson15/notes).
#
# ## Exercises
#
# In each, write a test: a function that raises an `AssertionError` (or returns `False`) on code with a mistake, and does neither on right code. The checker runs it on both.
#
# **1 (5 minutes).** `loss(z_s, z_t, T)` should be the soft term of this page, $T^2\,\mathrm{KL}(p_T \,\|\, q_T)$. Write a test of it. Do not copy the loss: use what must be *true* of it.
#
# <details><summary>Hint 1</summary>Its slope in the student's logits is known, and simple: see <i>the idea</i> in lesson 09, or lesson 02.</details>
# <details><summary>Hint 2</summary>Draw z_s and z_t, several images, far apart; take <code>torch.autograd.grad(loss(z_s, z_t, T), z_s)</code> at a T that is not 1.</details>


# %% tags=["exercise"]
def loss_test(loss):
    # SOLUTION
    z_s, z_t = 5 * torch.randn(2, 20, 7, dtype=torch.float64)
    z_s.requires_grad_()
    hot = 3.0
    (slope,) = torch.autograd.grad(loss(z_s, z_t, hot), z_s)
    q, p = (z_s / hot).softmax(-1), (z_t / hot).softmax(-1)
    torch.testing.assert_close(slope, hot * (q - p) / len(z_s))
    # END


exercises.loss_test(loss_test)

# %% [markdown]
# **2 (15 minutes).** `program(student, teacher, x, y)` distils in place, for a few steps. A right one leaves the teacher exactly as it was, lets the student hear it, and gives the student back in training mode, though it evaluates it in between. Write a test of it. `exercises.networks(seed)` gives a student with dropout and a teacher with BatchNorm, `exercises.images()` gives `x, y`.
#
# <details><summary>Hint 1</summary>What a network is, is more than its parameters: <code>state_dict()</code>. Keep a deep copy, as the entries change in place.</details>
# <details><summary>Hint 2</summary>Has the student heard its teacher? Train equal students by different teachers, with <code>torch.manual_seed</code> before each, and compare <code>models.predict(student, x)</code>.</details>


# %% tags=["exercise"]
def program_test(program):
    # SOLUTION
    (x, y), heard = exercises.images(), []
    for number in (0, 1):
        student, other_teacher = exercises.networks(0)[0], exercises.networks(number)[1]
        before = copy.deepcopy(other_teacher.state_dict())
        torch.manual_seed(0)
        program(student, other_teacher, x, y)
        after = other_teacher.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert student.training
        heard.append(models.predict(student, x))
    assert not torch.equal(*heard)
    # END


exercises.program_test(program_test)

# %% [markdown]
# **3 (debugging).** `batches(x, y, teacher)` gives one epoch: images, labels, the teacher's logits. Some right ones shuffle, some move the images and ask the teacher about the moved ones. This test passes on all of them, and on six mistakes as well. Repair it.
#
# ```python
# def data_test(batches):
#     (x, y), (_, other_teacher) = exercises.images(), exercises.networks()
#     for seen, its_labels, z_t in batches(x, y, other_teacher):
#         assert (z_t.shape == (len(seen), 10), "one row for each image")
#         break
# ```
#
# <details><summary>Hint 1</summary><code>assert (…, "…")</code> asserts a tuple, and a tuple that is not empty is true. And where does the loop end?</details>
# <details><summary>Hint 2</summary>Shapes say nothing about rows. Who else could say what belongs to <code>seen</code>? And after the loop: did every image come, once?</details>


# %% tags=["exercise"]
def data_test(batches):
    # SOLUTION
    (x, y), (_, other_teacher) = exercises.images(), exercises.networks()
    came = []
    for seen, its_labels, z_t in batches(x, y, other_teacher):
        torch.testing.assert_close(z_t, models.predict(other_teacher, seen))
        came.append(its_labels)
    assert torch.equal(torch.cat(came).sort().values, y.sort().values)
    # END


exercises.data_test(data_test)

# %% [markdown]
# ## In three lines
#
# Most mistakes leave the test error nearly as it was; the first loss, confidence, NLL, agreement and the teacher itself give many of them away. Adam hides a wrong scale, few labels hide a teacher that nobody asked. What you have found once, keep as a test that you have seen fail.
#
# ## Recall
#
# <details><summary>What is the first loss of a label-only student, and why look at it?</summary>About ln 10 = 2.3 with ten classes. The right program's is several times as high, as T² KL is in it.</details>
# <details><summary>Why does Adam hide a missing T²?</summary>It divides the mean gradient by the root of the mean squared gradient; a factor cancels.</details>
# <details><summary>Which numbers give a second softmax away?</summary>Confidence and NLL: the largest class stays the largest, so the error hardly moves.</details>
# <details><summary>The teacher is in train mode, under no_grad. What changes?</summary>Its BatchNorm statistics move, its answers depend on the batch, dropout is on. No weight changes.</details>
#
# ## Reading
#
# - Hinton, Vinyals & Dean (2015), *Distilling the Knowledge in a Neural Network*: why T².
# - Kingma & Ba (2015), *Adam*: section 2.1, steps do not depend on the gradient's scale.
# - Beyer et al. (2022), *Knowledge distillation: A good teacher is patient and consistent*: teacher and student see the same view.
# - Guo, Pleiss, Sun & Weinberger (2017), *On Calibration of Modern Neural Networks*.
#
# Next: [](lesson16)
