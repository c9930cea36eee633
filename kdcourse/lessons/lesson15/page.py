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
# **In one line:** the test error alone will not tell you; look at the loss, at confidence and NLL, at the teacher, and write each mistake down as a test.
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
# This page has 24 mistakes, each of them a switch on an otherwise right program. We call a mistake **silent** if it costs less than 2 points of test error (its whole 95 % interval does). On a thousand test images that is easily overlooked; whether it is harmless is another question.

# %%
amounts = ["at most 6", "7 to 12", "13 to 20", "more than 20"]
guess = checks.Prediction("How many of the 24 mistakes are silent?", amounts)
guess

# %% [markdown]
# ## The right program
#
# The course's teacher and student, but a short training on few labelled images, as one tries things out ([02](lesson02) takes 560 steps). The teacher answers the same images.
#
# $$\text{loss} = (1-\alpha)\,\mathrm{CE} + \alpha\,T^2\,\mathrm{KL}(p_T \,\|\, q_T)$$
#
# $T = 4$, $\alpha = 0.9$; 200 images in batches of 100, so 120 steps. AdamW without weight decay is Adam.

# %%
train, _, test = data.load("mnist5k")
teacher = mnist.teacher(train)
labelled = train.per_class(labels, seed=seed)
T, alpha, n_epochs = mnist.T, mnist.ALPHA, 6 if budget == "small" else epochs


# %%
def distil(student, x, y, epochs_taken):
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2, weight_decay=0.0)
    batches = [batch for k in range(epochs_taken) for batch in mistakes.order(len(x), k, seed)]
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
# Is *this* program right? Every line can hide a mistake, so it is compared with two others: kdlib's `fit`, and the program with switches, all off. A comparison that cannot fail is worth nothing, so two mistakes are compared as well.

# %%
few = 5  # epochs
by_hand = distil(mistakes.new_student(None, seed), labelled.batch().x, labelled.y, few)
names = {"no switch": None, "KL turned round": "KL turned round"}
names["teacher in train mode"] = "teacher in train mode"
how = dict(seed=seed, epochs=few)
trained = {name: mistakes.train(m, teacher, labelled, **how).student for name, m in names.items()}
objective = (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T)
of_fit = dict(epochs=few, order_seed=seed, precision="fp32")
trained["kdlib"] = fit(mistakes.new_student(None, seed), labelled, objective, **of_fit).network
z = {name: models.predict(net, test) for name, net in trained.items()}
expected = models.predict(by_hand, test)
same = {name: torch.allclose(z[name], expected, rtol=0.02, atol=0.05) for name in z}
assert [name for name in same if same[name]] == ["no switch", "kdlib"]
gaps = [[name, f"{(z[name] - expected).abs().max():.3f}", same[name]] for name in z]
figures.show_table(["compared with the program above", "largest gap of logits", "same"], gaps)

# %% [markdown]
# ## A ward of 24 patients
#
# `mistakes.train("no T²", …)` is the same program with one switch turned. We train a student with each, and watch six numbers. The **first loss** is the mean of epoch 1, by the program's own formula. **Agreement**: how often the student's answer is the teacher's; here it says little more than the test error. **Confidence**: the mean of the highest probability. **NLL**: cross-entropy on the test images; it punishes confident wrong answers.
#
# <details><summary>What the mistakes look like in code</summary><ul><li>student compared with itself: <code>p = (z_s.detach() / T).softmax(-1)</code></li><li>alpha on the wrong term: <code>alpha * ce + (1 - alpha) * soft</code></li><li>no T²: <code>soft = F.kl_div(log_q, p, …)</code></li><li>KL turned round: <code>F.kl_div(log_p, log_q.exp(), …)</code></li><li>no logarithm: <code>F.kl_div(q, p, …)</code></li><li>logarithm of the target: <code>F.kl_div(log_q, log_p, …)</code></li><li>softmax twice, teacher: <code>z_t = teacher(x).softmax(-1)</code></li><li>T on one side: <code>p = z_t.softmax(-1)</code> or <code>log_q = z_s.log_softmax(-1)</code></li><li>MSE of probabilities: <code>soft = F.mse_loss(q, p)</code></li><li>teacher in train mode: <code>teacher.train()</code>, under <code>no_grad</code></li><li>teacher in the optimiser: <code>AdamW([*student.parameters(), *teacher.parameters()])</code>, without <code>no_grad</code></li><li>the teacher's head is fresh: <code>teacher.head.reset_parameters()</code></li><li>other pixels for the teacher: <code>teacher(255 * x)</code></li><li>answers shuffled, or of images before they were moved: <code>z_t = answers[k]</code> with the wrong k, or after <code>x = moved(x)</code></li><li>student left in eval: <code>student.eval()</code> to score it, and no <code>student.train()</code></li><li>a rate that never falls: milestones at 150, 180, 210 in a training of 60 epochs</li></ul></details>

# %%
answers, watched = models.predict(teacher, labelled), models.predict(teacher, test)
settings = dict(seed=seed, epochs=n_epochs, answers=answers, watch=test, watched=watched)


def curves(mistake, beside=""):
    return mistakes.train(mistake, teacher, labelled, beside=beside, **settings).curves


right_curves = {beside: curves(None, beside) for beside in ("", "dropout", "jitter")}
patients = {mistake: curves(mistake) for mistake in mistakes.MISTAKES}

# %% [markdown]
# Two mistakes need a right program of their own: one with dropout, one whose images are moved by up to two pixels (jitter). Curves first, the name later: commit to a diagnosis below the picture, in a running notebook it answers.

# %% tags=["nbval-ignore-output"]
ward = clinic.Ward(patients, right_curves)
ward

# %%
clinic.Diagnosis(ward)

# %% [markdown]
# That was one student for each mistake. The table has five, each with its own draw of labels, scored on MNIST's 10,000 test images (`table.py` trained them; your parameters do not change them). Only *first loss* is of your own students. ∗, ∗∗: compared with the right program with dropout, with jitter.

# %% tags=["nbval-ignore-output"]
first = {beside: numbers["loss"][0] for beside, numbers in right_curves.items()}
first_losses = {mistake: numbers["loss"][0] for mistake, numbers in patients.items()}
figures.show_table(stored.HEAD, stored.ward_rows(first, first_losses))

# %% tags=["nbval-ignore-output"]
n_silent = len(stored.silent())
guess.recall(amounts[sum(n_silent > most for most in (6, 12, 20))])

# %%
text = "More than half of these 24 mistakes are silent in this ward, where a teacher that is never used costs less than 2 points, too"
measured = {"silent mistakes": n_silent, "of": len(mistakes.MISTAKES)}
claim("15.1", text, n_silent > 12, measured=measured)

# %% [markdown]
# ## Silent, as there is little to lose?
#
# In this ward the whole teacher is worth about a point: see *the teacher is never used*. So a mistake that spoils the teacher is silent here, which is no proof that it is harmless. Two things help: other numbers (now), and settings with more at stake (below).

# %%
picture = stored.harm_and_nll()
title = "Six of the sixteen silent mistakes show in the NLL, ten in neither"
sentence = "Left: what a mistake costs, five draws of labels, 10,000 test images; bar: 95 % interval; dotted: 2 points; the axis is linear from −2 to 2, logarithmic beyond. Right: mean NLL, triangle: the mistake, dot: its right program, ►: above 10. ∗, ∗∗: as in the table."
figures.show(picture, title, sentence)

# %%
text = "Error is not enough: six silent mistakes raise the NLL by more than a third, the others by less than a tenth"
sound = stored.mean(stored.row("mistake", "right"), "NLL")
raised = stored.high_nll(stored.silent())
holds = len(raised) == 6 and raised == stored.high_nll(stored.silent(), 1.1)
nll = {f"{name}, NLL": value for name, value in raised.items()}
claim("15.2", text, holds, measured={"right program, NLL": sound} | nll)

# %% [markdown]
# The same error with other probabilities matters as soon as somebody uses the probabilities: to abstain, to set a threshold, to teach the next student. Three families hide best:
#
# <details><summary>Wrong probabilities; a teacher without effect; no sign in any curve</summary>
#
# - **Wrong probabilities.** A second softmax on the teacher's side, T on one side, a missing logarithm: in this ward the error stays. Confidence or NLL gives them away.
# - **A teacher without effect.** Never used, or the student compared with itself: you have trained a label-only student. The *first* loss tells.
# - **No sign in any curve.** A teacher in train mode, or answers stored before the images were moved: here only a test finds them. That is what the exercises are for.
#
# </details>
#
# ## Why a wrong scale is silent
#
# No T², or KL averaged over classes too, or summed over the batch: the soft term is multiplied by some $c$. **Where its gradient is all there is**, Adam's step hardly changes:
#
# <details><summary>In four lines</summary>
#
# With its gradient $g$ alone, and one rate for both:
#
# 1. SGD steps by $\eta\, g$. With $c$: $\eta\, c\, g$. The step is $c$ times as long.
# 2. Adam keeps running means $m$ of $g$ and $v$ of $g^2$. With $c$: $c\,m$ and $c^2 v$.
# 3. It steps by $\eta\, m / (\sqrt{v} + \varepsilon)$. With $c$: $\eta\, c\,m / (c \sqrt{v} + \varepsilon)$.
# 4. $= \eta\, m / (\sqrt{v} + \varepsilon / c)$: but for the tiny $\varepsilon$, the same step.
#
# </details>
#
# Ten steps of each with $c = 1/16$, as by a missing T², and without. How far apart are the two students, in parts of the way they went? Where CE is in the loss, $c$ changes the *mix*, and Adam does not cancel it:


# %%
def after_ten_steps(kind, scale, weight):
    student = mistakes.new_student(None, seed)
    before = torch.nn.utils.parameters_to_vector(student.parameters()).detach()
    optimizer = kind(student.parameters(), lr=1e-2)
    for _ in range(10):
        z_s = student(labelled.batch().x)
        log_q, p = (z_s / T).log_softmax(-1), (answers / T).softmax(-1)
        soft = scale * T**2 * F.kl_div(log_q, p, reduction="batchmean")
        loss = (1 - weight) * F.cross_entropy(z_s, labelled.y) + weight * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(student.parameters()).detach() - before


# %%
adam, sgd = torch.optim.Adam, torch.optim.SGD
kinds = {
    "Adam, KL alone": (adam, 1.0),
    "Adam, CE and KL": (adam, alpha),
    "SGD, KL alone": (sgd, 1.0),
}
ways = {
    name: [after_ten_steps(kind, c, weight) for c in (1, 1 / 16)]
    for name, (kind, weight) in kinds.items()
}
apart = [[name, f"{(a - b).norm() / a.norm():.3f}"] for name, (a, b) in ways.items()]
figures.show_table(["", "distance of the two students / way of the one with c = 1"], apart)

# %% [markdown]
# Now a ward in which the soft term is *all* there is: 3,500 images, $\alpha = 1$, 8 epochs. No label is used, so all that the student learns comes from the teacher, and much is at stake. The same mistakes under AdamW (rate 0.01) and under SGD with momentum (rate 0.05):

# %%
optimisers = stored.two_optimisers()
title = "Six of the nine cost more under SGD; under AdamW most stay silent"
sentence = "What a mistake costs under AdamW and SGD; five seeds, 10,000 test images; bar: 95 % interval; dotted: 2 points; the axis is linear from −2 to 2, logarithmic beyond."
figures.show(optimisers, title, sentence)

# %%
text = 'AdamW hides a wrong scale (no T², reduction="mean" or "sum"): less than half a point. SGD at the same rate does not: over two points'
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

# %%
text = "Where the teacher is all there is to learn from, most mistakes of the loss are silent under AdamW, too: eight of nine; under SGD fewer than half"
quiet = {kind: len(stored.silent_alone(kind)) for kind in ("AdamW", "SGD")}
holds = quiet["AdamW"] >= 7 and quiet["SGD"] <= 4
claim("15.4", text, holds, measured={f"silent of nine, {kind}": n for kind, n in quiet.items()})

# %% [markdown]
# Under SGD a factor *is* a rate: with a rate 16 times as high, no T² is hidden again (shown in the [lab notes](lesson15/notes)). A missing logarithm is loud here, though silent in the first ward. **Whether a mistake is silent depends on where it happens.**
#
# So does a teacher that is never used. All programs take 560 steps. Rows 1 and 2 see 200 labelled images; row 4 also sees the others, without labels. The point that the teacher brought in the first ward (120 steps) is gone after 560.

# %%
figures.show_table(stored.USED, stored.used_rows())

# %%
text = "A teacher that is never used costs over ten points where the right program would have shown it unlabelled images"
used = stored.row("used", "and all others unlabelled", how="right")
gain = stored.interval(used, "saves")
claim("15.5", text, gain.low > 10, measured={"the teacher saves, points": gain})

# %% [markdown]
# ## Two programs, shaped after articles
#
# Several mistakes at once, as we met them in articles; data, widths and steps are ours. They are trained as printed, then repaired one mistake at a time.
#
# **Room A.** Teacher and student end in a softmax and are then trained with `CrossEntropyLoss`, which takes a softmax itself. The "compressed" network consists of fresh layers, and nothing in its training mentions the teacher. What is reported is the accuracy on the training images. (All 3,500 labels, 560 steps.)

# %%
figures.show_table(stored.REPAIR, stored.repairs("A"))

# %% [markdown]
# The first column is what would have been reported. "Compression" is a label-only student here: all of its layers are new, and smaller layers are no distillation. **With several mistakes at once, one repair may show nothing.**

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
    "15.6",
    text,
    shares_of_truth and final.low > 1.5 and middle.mean < final.mean / 2,
    measured=reported | gains,
)

# %% [markdown]
# **Room B.** A teacher, a helper that learns from it, and a student that learns from the helper; their three losses are summed, and the optimiser holds the weights of *one* model, the student. (Helper and student: 100 labels per class, 560 steps. “+ with all labels”: the *teacher* is the course's, of all 3,500 labels. Interval of controls: over seeds only.)

# %%
figures.show_table(stored.REPAIR, stored.repairs("B"))

# %% [markdown]
# As printed, the student has to copy, with weight 0.9, a helper of random weights: it ends up worse than the labels alone would have made it (last row). One line repairs most of that: give the optimiser all three networks. **Not every repair is a gain:** detaching the teachers, so that a student's loss does not move its teacher, *costs* points here; why, we have not measured. Training the teacher before, and on all labels, brings them back. In kdlib: `Together` and `member`, see the [lab notes](lesson15/notes).

# %%
text = "Room B: as printed the student is worse than a label-only one; most of the repair is to step all three networks"
all_three = stored.repaired("B", "+ all three are stepped")
label_only = stored.repaired("B", "control: labels only")
rest = stored.repaired("B", "+ with all labels")
costs_of_b = {"labels only save, points": label_only, "stepping all three saves": all_three}
holds = label_only.low > 0.5 and all_three.low > 1 and all_three.mean > rest.mean / 2
claim("15.7", text, holds, measured=costs_of_b | {"all repairs save": rest})

# %% [markdown]
# ## What can go wrong with a diagnosis
#
# One seed: a mistake that costs one point is no finding on one student ([01](lesson01)). Tests that cannot fail: see each fail on the mistake first.
#
# The protocol's mistakes (is the gain real?), slips in formulas, and faults of published losses: [lab notes](lesson15/notes). A beta that shrinks a published loss to nothing: [13](lesson13).
#
# ## Exercises
#
# In each, write a test: a function that raises an `AssertionError` (or returns `False`) on code with a mistake, and does neither on right code. The checker runs it on both.
#
# **1 (5 minutes).** `loss(z_s, z_t, T)` should be the soft term of this page, $T^2\,\mathrm{KL}(p_T \,\|\, q_T)$, the mean over the images. Write a test of it. Do not copy the loss: use what must be *true* of it.
#
# <details><summary>Hint 1</summary>Its slope in the student's logits is known: T (q − p), divided by the number of images; p and q at temperature T.</details>
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
# **2 (15 minutes).** `program(student, teacher, x, y)` distils in place, for a few steps. A right one leaves the teacher's weights, buffers and mode as they were, and uses its answers. It may evaluate the student in between; afterwards the student is in training mode. Write a test of it. `exercises.networks(seed)` gives a student with dropout and a teacher with BatchNorm, `exercises.images()` gives `x, y`.
#
# <details><summary>Hint 1</summary>A network has parameters, buffers and a mode: <code>state_dict()</code> and <code>.training</code>. Keep a deep copy, as the entries change in place.</details>
# <details><summary>Hint 2</summary>Does the teacher matter? Train equal students by different teachers, with <code>torch.manual_seed</code> before each, and compare <code>models.predict(student, x)</code>.</details>


# %% tags=["exercise"]
def program_test(program):
    # SOLUTION
    (x, y), students = exercises.images(), []
    for number in (0, 1):
        student, other_teacher = exercises.networks(0)[0], exercises.networks(number)[1]
        before, mode = copy.deepcopy(other_teacher.state_dict()), other_teacher.training
        torch.manual_seed(0)
        program(student, other_teacher, x, y)
        after = other_teacher.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert student.training and other_teacher.training == mode
        students.append(models.predict(student, x))
    assert not torch.equal(*students)
    # END


exercises.program_test(program_test)

# %% [markdown]
# **3 (debugging).** `batches(x, y, teacher)` gives one epoch: images, labels, the teacher's logits. Some right ones shuffle, some move the images by up to two pixels and ask the teacher about the moved ones. This test passes on all of them, and on eight mistakes as well: answers or labels of other images, images that come twice or never. Repair it; you may give `batches` images of your own.
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
# <details><summary>Hint 2</summary>Ask the teacher again about <code>seen</code>. For the labels, give images that you can recognise even when they are moved (image k has brightness k), each with a label of its own. After the loop: did every image come, once?</details>


# %% tags=["exercise"]
def data_test(batches):
    # SOLUTION
    other_teacher, places, came = exercises.networks()[1], torch.arange(60), []
    x = ((places + 1) / 60).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)  # told by their brightness
    for seen, its_labels, z_t in batches(x, places, other_teacher):
        torch.testing.assert_close(z_t, models.predict(other_teacher, seen))
        brightness = 60 * seen.amax((1, 2, 3))
        torch.testing.assert_close(brightness, its_labels + 1.0)
        came.append(its_labels)
    assert torch.equal(torch.cat(came).sort().values, places)
    # END


exercises.data_test(data_test)

# %% [markdown]
# ## In three lines
#
# Most of these 24 mistakes leave the test error nearly as it was, partly because little was at stake; the first loss, confidence, NLL and the teacher itself give many of them away. Adam hides a wrong scale where the soft term is all there is. What you have found once, keep as a test that you have seen fail.
#
# ## Recall
#
# <details><summary>What is the first loss of a label-only student, and why look at it?</summary>About ln 10 = 2.3 with ten classes. The right program's is several times as high, as T² KL is in it.</details>
# <details><summary>When does Adam hide a missing T²?</summary>When the soft term is the whole loss: Adam divides the mean gradient by the root of the mean squared gradient; a factor cancels. Next to CE it changes the mix.</details>
# <details><summary>Which numbers give a second softmax on the teacher's side away?</summary>Confidence and NLL; in the first ward the error stays. On the student's side the error rises, too.</details>
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
