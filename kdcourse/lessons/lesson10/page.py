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
# # Can the gap be too wide?
#
# **In one line:** yes; but what bridges it is a helper whose answers the student can copy from *its* images, not the chain as such: here a linear helper that never met the teacher does even better. And several teachers are best merged with a look at where the temperature acts.
#
# *{minutes} minutes to read, exercises apart · about 20 CPU seconds to run · needs: [](lesson02)*
#
# After this page you can
#
# - merge several teachers' answers, and say which average your loss computes;
# - merge specialists that know different classes;
# - compare a chain of helpers with direct distillation at equal budgets, and say what in it helped.
#
# ## Why anyone wants this
#
# A good teacher may be too far away from a small student, so people put a **helper** of middle size between them (a *teacher assistant*, Mirzadeh et al. 2020). Or there is no single teacher: five hospitals may not share their images, and each has a network of its own; or each network knows other classes.

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
seeds: int = 2  # 2..10
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import warnings

import torch

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.ground import mnist
from kdcourse.lessons.lesson10 import exercises, stored, table
from kdcourse.parameters import check_parameters
from kdlib import models
from kdlib.bank import ladder, train_bank
from kdlib.data import load
from kdlib.objectives import SoftTargets, TeacherTable, merge, tabulate

check_parameters()

# %% [markdown]
# The course's common ground: the teacher `cnn(16)`, 560 steps of 128 images for every network, and a student with 100 hidden units. New is a shortage: **the student has only 200 images, without labels.** The helper may have all 3,500; they may not leave the place where it is trained.

# %%
small = budget == "small"
train, _, test = load("mnist5k")
train = train[:1000] if small else train
teacher, student = mnist.teacher(train, epochs=1 if small else 8), models.mlp(784, mnist.WIDTH, 10)
images, steps = train.unlabelled(), 20 if small else mnist.STEPS


def few(seed):
    """This seed's own 200 images."""
    return train.per_class(20, seed=seed).unlabelled()


# %% [markdown]
# ## A prediction first

# %%
helpers = {"cnn(16), the teacher itself": "direct, 1,120 steps"}
helpers |= {f"{name}, taught by it": f"{name}: taught, 3,500 images" for name in table.HELPERS}
guess = checks.Prediction("Whose soft targets on 200 images make the best student?", [*helpers])
guess

# %% [markdown]
# ## One helper
#
# `ladder` trains a chain, seed by seed: each rung is taught by the one above. Three fair rivals:
#
# - **Direct, for all the steps of the chain.** The helper's training was not free.
# - **A helper that saw only the student's 200 images.** Then the chain brings no image with it.
# - **A helper that learned from labels alone.** It never met the teacher.


# %%
def soft(guide):
    return SoftTargets(guide, T)


warnings.filterwarnings("ignore", message="rung ")  # of a student with more weights than its guide
linear, chosen = models.mlp(784, 10), range(seed, seed + seeds)
common = dict(objective=soft, evaluate={"test": test}, seeds=chosen, batch=mnist.BATCH)
wide, narrow = mnist.epochs(images, steps), mnist.epochs(few(0), steps)
chains = {
    "direct": ladder(teacher, [student], examples=few, epochs=narrow, **common),
    "direct, 1,120 steps": ladder(teacher, [student], examples=few, epochs=2 * narrow, **common),
    "linear: taught, the same 200": ladder(
        teacher, [linear, student], examples=few, epochs=narrow, **common
    ),
    "linear: taught, 3,500 images": ladder(
        teacher, [linear, student], examples=[images, few], epochs=[wide, narrow], **common
    ),
}

# %% [markdown]
# The last helper has no teacher above it, so its bank comes first; then each seed's student asks its own:

# %%
settings = dict(evaluate={"test": test}, seeds=chosen, batch=mnist.BATCH)
label_helpers = train_bank(student=linear, examples=train, epochs=wide, **settings)
chains["linear: labels only, 3,500"] = [label_helpers, train_bank(
    lambda seed: soft(label_helpers.network(seed=seed)),
    student=student, examples=few, epochs=narrow, **settings)]  # fmt: skip
lines = [[way, f"{banks[0].errors().mean():.1f}" if banks[1:] else "",
          f"{banks[-1].errors().mean():.1f}"] for way, banks in chains.items()]  # fmt: skip
figures.show_table(["live", "helper's error %", "student's error %"], lines)

# %% [markdown]
# Stored, from MNIST's 10,000 test images: each seed has its own draw of 200 images and its own helper. *Disagreement*: how many test images the student answers otherwise than its guide.

# %%
kinds = [f"{name}: {kind}" for name in ("linear", "mlp(100)") for kind in stored.KINDS]
fair = "direct, 1,120 steps"
head = ["stored", "guide's error %", "disagreement %", "student's error %", f"against {fair}"]
figures.show_table(head, stored.gap_cells(["direct", fair, *kinds, "direct, all images"], fair))

# %% [markdown]
# Where the student is wrong, either its guide is wrong too, or the two disagree. So
#
# $$\text{student's error} \;\le\; \text{guide's error} + \text{disagreement}.$$
#
# A teacher can be so good that the second part is all that counts. From 200 images an `mlp(100)` cannot tell what a convolutional network says elsewhere; what a *linear* one says, it can. (By weights the student is the largest of the three, and `ladder` warns of that: the gap is one of kind.)

# %%
picture = stored.gap_picture()
title = "A gap, twice: helpers that never met the teacher bridge it best"
sentence = "Stored, 10,000 test images. Dots: seeds; bar: mean; line: 95 % interval over seeds. Blue: taught by the teacher itself, 1,120 steps. Green: by a helper that the teacher taught on 3,500 images. Red: by a helper of labels alone. Yellow: by a helper taught on the student's own 200 images. Purple: the label-only student."
figures.show(picture, title, sentence)

# %%
gap, narrow_rows = stored.rows("gap"), stored.rows("small")
guess.recall(min(helpers, key=lambda name: stored.mean(gap[helpers[name]])))

# %%
text = "Where a helper has seen more images, it helps: a linear one saves over two points against direct distillation for as many steps, though its error is five times the teacher's"
helped = stored.saved(gap["linear: taught, 3,500 images"], fair)
ratio = stored.mean(gap["linear: taught, 3,500 images"], "helper errors") / stored.mean(
    gap["direct"], "helper errors"
)
measured = {"linear helper saves, points": helped, "its error / the teacher's": ratio}
claim("10.1", text, helped.low > 2 and ratio > 5, measured=measured)

# %%
text = "Where it has seen the same 200 images, no helper of three saves one point"
same = {
    f"{name} helper saves, points": stored.saved(gap[f"{name}: taught, the same 200"], fair)
    for name in table.HELPERS
}
claim("10.2", text, all(gain.high < 1 for gain in same.values()), measured=same)

# %%
text = "It is not the chain: a helper that learned from the 3,500 labels alone teaches better than the same network taught by the teacher"
alone = {
    f"{name}: labels save against taught, points": stored.saved(
        gap[f"{name}: labels only, 3,500"], f"{name}: taught, 3,500 images"
    )
    for name in ("linear", "mlp(100)")
}
claim("10.3", text, all(gain.low > 1 for gain in alone.values()), measured=alone)

# %% [markdown]
# **And the classical gap?** On the right: a student with three hidden units and *all* images. There the good teacher does harm: the label-only student (purple) is better. This is what assistants were made for. Taught ones do not bridge it here; helpers of labels alone do, and come back to where no teacher at all would have been. So before you build a chain, ask a modest network that somebody has trained anyway.

# %%
text = "A student of three hidden units is harmed by the teacher; a taught mlp(100) as helper brings nothing back, a linear helper of labels alone over two points"
harm = stored.saved(narrow_rows["3: label-only"], f"3: {fair}")
back = stored.saved(narrow_rows["3: via linear, labels only"], f"3: {fair}")
via = stored.saved(narrow_rows["3: via mlp(100), taught"], f"3: {fair}")
measured = {
    "label-only saves, points": harm,
    "label helper saves": back,
    "taught mlp(100) saves": via,
}
claim("10.4", text, min(harm.low, back.low) > 2 and via.high < 1, measured=measured)

# %% [markdown]
# ## Several teachers
#
# The usual loss is a sum, one soft term for each teacher $m$ with weight $w_m$, $\sum_m w_m = 1$. What does it ask for? Per image, with $\bar p = \sum_m w_m p_m$, all softened at $T$:
#
# 1. $\sum_m w_m \mathrm{KL}(p_m \Vert q) = \sum_m w_m \sum_k p_{mk} \log p_{mk} - \sum_m w_m \sum_k p_{mk} \log q_k$
# 2. The last sum is $\sum_k \bar p_k \log q_k$: only the mean meets the student.
# 3. Add and subtract $\sum_k \bar p_k \log \bar p_k$:
# 4. $= \mathrm{KL}(\bar p \Vert q) + \sum_m w_m \mathrm{KL}(p_m \Vert \bar p)$, and the second part has no $q$ in it.
#
# **A sum of losses is one loss: against the mean of the softened probabilities.** The teachers' disagreement is a constant. By hand, against the algebra:


# %%
def mean_loss(z_s, z_teachers, w, T):
    log_q = (z_s / T).log_softmax(-1)
    p = (z_teachers / T).softmax(-1)  # (teachers, batch, classes)
    mean = (w[:, None, None] * p).sum(0)
    to_mean = (mean * (mean.log() - log_q)).sum(-1).mean()
    constant = (w[:, None, None] * p * (p / mean).log()).sum(-1).sum(0).mean()
    return T**2 * to_mean, T**2 * constant


# %%
w, noise = torch.tensor([0.5, 0.3, 0.2]), torch.Generator().manual_seed(seed)
probe, batch = models.initialise(models.mlp(784, 10), seed), images[:64].batch()
z_s, z_teachers = probe(batch.x), 3 * torch.randn(3, 64, 10, generator=noise)
first, second, third = (SoftTargets(TeacherTable(batch.ids, z), T) for z in z_teachers)
objective = 0.5 * first + 0.3 * second + 0.2 * third
to_mean, constant = mean_loss(z_s, z_teachers, w, T)
torch.testing.assert_close(objective(probe, batch)[0], to_mean + constant)
whole, part = (torch.autograd.grad(loss, z_s, retain_graph=True)[0]
               for loss in (to_mean + constant, to_mean))  # fmt: skip
torch.testing.assert_close(whole, part)

# %% [markdown]
# The rival average is that of the **logits**. $\operatorname{softmax}(\sum_m w_m z_m)_k \propto \prod_m p_{mk}^{w_m}$: the normalised geometric mean. A teacher that is confident of "not $k$" can veto $k$; in the mean of probabilities nobody can. A third weights each teacher's answer by its confidence, its largest probability.
#
# ## Five hospitals
#
# Each has 200 labelled images of its own and trains a network. The student has 3,500 images without labels.

# %%
count = 100 if small else 200
houses = train.split(*[count] * 5, seed=seed)
how = dict(student=student, evaluate={"test": test}, batch=mnist.BATCH)
doctors = [
    train_bank(examples=house, seeds=[seed + number], epochs=mnist.epochs(house, steps), **how)
    for number, house in enumerate(houses)
]
told = [tabulate(bank.network(seed=seed + m), images) for m, bank in enumerate(doctors)]
aims = {"logits, T = 1, 1": SoftTargets(told[0], 1.0)}  # how, T, how many hospitals
aims |= {f"{way}, T = {t:g}, 5": SoftTargets(merge(told, way), t)
         for way in ("logits", "probabilities") for t in (1.0, T)}  # fmt: skip
aims[f"sum of losses, T = {T:g}, 5"] = sum((soft(m) / 5 for m in told[1:]), soft(told[0]) / 5)

# %% [markdown]
# The strongest rival is a label-only student with all 1,000 labels, **pooled**, if that were allowed.

# %% tags=["nbval-ignore-output"]
pool, hospitals = sum(houses[1:], houses[0]), stored.rows("hospitals")
taught_by = {way: train_bank(aim, examples=images, seeds=[seed], epochs=wide, **how)
             for way, aim in aims.items()}  # fmt: skip
pooled = train_bank(examples=pool, seeds=[seed], epochs=mnist.epochs(pool, steps), **how)
figures.show_table(["how, T, hospitals", "live, one seed: error %", "stored, five seeds"], [
    [way, f"{float(bank.errors()):.1f}", stored.error(hospitals[way]) if way in hospitals else ""]
    for way, bank in {**taught_by, "pooled, 5": pooled}.items()])  # fmt: skip

# %% [markdown]
# At $T = 1$ the mean of logits beats the mean of probabilities. At $T = 4$ it depends on **where the temperature acts**. The sum of losses softens each teacher, then averages, and comes near to logits. Averaging first and softening the mean later is another distribution, and much worse: the mean is soft already.

# %%
text = "Five teachers of 200 labels each make a student that saves over three points against the student of one of them, and costs over half a point against all labels pooled"
five = hospitals["logits, T = 1, 5"]
against = {
    "against a student of one hospital": stored.saved(five, "logits, T = 1, 1"),
    "against labels pooled": stored.saved(five, "pooled, 5"),
}
gain, loss = against.values()
claim(
    "10.5",
    text,
    gain.low > 3 and loss.high < -0.5,
    measured={f"{k}, points saved": v for k, v in against.items()},
)

# %%
text = "At T = 1 averaging logits beats averaging probabilities; at T = 4 softening before averaging beats softening after it by over a point"
first = stored.saved(hospitals["sum of losses, T = 4, 5"], "probabilities, T = 4, 5")
cold = stored.saved(five, "probabilities, T = 1, 5")
measured = {"T = 1: logits save, points": cold, "T = 4: softened first saves": first}
claim("10.6", text, cold.low > 0.4 and first.low > 1, measured=measured)

# %% [markdown]
# ## The explorer
#
# Move the number of teachers, how they are merged, and T. Left: the student; red and dashed: a label-only student with the pooled labels of as many hospitals. Right: the merged teachers themselves. Press *softened last*, then *softened first*.

# %% tags=["nbval-ignore-output"]
explorer = stored.hospitals()
explorer

# %% [markdown]
# ## Specialists
#
# One network learned 0 to 6, another 7 to 9; each is confident of one of its own classes, whatever you show it. Their logits side by side compare numbers that were never compared in training. With **one output more, "none of mine"**, trained on other digits, a specialist can say how much a class is better than "not mine":
#
# $$s_c = \log p(c) - \log p(\text{none of mine})$$
#
# Now all scores are measured from the same zero.

# %%
known = [list(range(7)), [7, 8, 9]]


def specialist(classes, rest):
    """A network of these classes, and of one output more for all others where rest is True."""
    places = torch.tensor([classes.index(c) if c in classes else len(classes) for c in range(10)])
    mine = train.labelled_as(places[train.y])
    mine = mine if rest else mine[mine.y < len(classes)]
    build = dict(student=models.mlp(784, mnist.WIDTH, len(classes) + rest), evaluate={})
    epochs = mnist.epochs(mine, steps)
    bank = train_bank(examples=mine, seeds=[seed], epochs=epochs, batch=mnist.BATCH, **build)
    return tabulate(bank.network(seed=seed), images)


# %% [markdown]
# Two pairs of specialists, and a student of each pair on images without labels:

# %% tags=["nbval-ignore-output"]
pairs = {
    "logits side by side": merge([specialist(c, False) for c in known], classes=known),
    "with none of mine": merge([specialist(c, True) for c in known], classes=known, rest=True),
}
special = stored.rows("specialists")
live_pairs = {way: train_bank(soft(pair), examples=images, seeds=[seed], epochs=wide, **how)
              for way, pair in pairs.items()}  # fmt: skip
figures.show_table(["specialists merged", "live, one seed", "stored, five seeds"], [
    [way, f"{float(live_pairs[way].errors()):.1f}" if way in live_pairs else "", stored.error(row)]
    for way, row in special.items()])  # fmt: skip

# %%
text = "Specialists with an output for none of mine, merged, teach within a point of a generalist; logits side by side cost over eight points more"
rest_row = special["with none of mine"]
measured = {
    "points saved against a generalist": stored.saved(rest_row, "generalist"),
    "against logits side by side": stored.saved(rest_row, "logits side by side"),
}
near, far = measured.values()
claim("10.7", text, near.low > -1 and far.low > 8, measured=measured)

# %% [markdown]
# ## What can go wrong
#
# - **An unpaid helper.** Compare at equal steps and equal images. Our direct student gains nothing by twice the steps; that had to be seen.
# - **Softened twice, or last.** `merge(tables, "probabilities")` is a mean at $T = 1$. For the mean of softened probabilities add up the losses.
# - **Votes.** A table of 0s and 1s as logits is label smoothing in disguise ([lab notes](lesson10/notes)).
# - **Teachers of other classes or images.** `merge` refuses them; a loop with `zip` does not.
#
# Helpers trained in the same step, mutual learning, born-again networks, helpers cut from the teacher, hospitals with tilted images: [lab notes](lesson10/notes).
#
# ## Exercises
#
# **1 (5 minutes).** One table for many: write the logits whose soft targets *at T* are what a weighted sum of losses at $T$ asks for. `z` is (teachers, images, classes), `w` (teachers,) sums to 1; return (images, classes).
#
# <details><summary>Hint 1</summary>Derivation, line 4: the student meets one distribution only, the mean of the softened ones.</details>
# <details><summary>Hint 2</summary>The loss will divide your logits by T and take a softmax. Which numbers, divided by T, are the logarithms of that mean?</details>


# %% tags=["exercise"]
def as_one(z, w, T):
    # SOLUTION
    mean = (w[:, None, None] * (z / T).softmax(-1)).sum(0)
    return T * mean.log()
    # END


exercises.as_one(as_one)

# %% [markdown]
# **2 (15 minutes).** Specialists may overlap. `z` is a list of logits (images, classes known + 1), the last output "none of mine"; `known` a list of lists of classes, in the order of the outputs. Return the scores (images, classes); where several specialists know a class, the mean of their scores.
#
# <details><summary>Hint 1</summary>log p(c) − log p(none of mine) of one specialist: the softmax's denominator cancels.</details>
# <details><summary>Hint 2</summary>Two running sums: scores, and how many specialists know each class. <code>total[:, classes] += …</code> adds to chosen columns.</details>


# %% tags=["exercise"]
def merged_scores(z, known):
    # SOLUTION
    count = 1 + max(max(classes) for classes in known)
    total, knowing = torch.zeros(len(z[0]), count), torch.zeros(count)
    for logits, classes in zip(z, known, strict=True):
        total[:, classes] += logits[:, :-1] - logits[:, -1:]
        knowing[classes] += 1
    return total / knowing
    # END


exercises.specialists(merged_scores)

# %% [markdown]
# **3 (debugging).** "The chain wins", says this program. `train(network, guide, images, steps)` trains a network *in place* and returns it. Find three faults; return the direct student and the chain's.
#
# ```python
# def compared(train, teacher, helper, student, images, steps):
#     direct = train(student, teacher, images, steps)
#     helper = train(helper, teacher, images, steps)
#     chain = train(student, helper, images, steps)
#     return direct, chain
# ```
#
# <details><summary>Hint 1</summary>Is <code>direct is chain</code>? Count the steps behind each, the helper's too.</details>
# <details><summary>Hint 2</summary><code>copy.deepcopy(student)</code> is an untrained student of its own. The caller's networks should be as before.</details>


# %% tags=["exercise"]
def compared(train, teacher, helper, student, images, steps):
    # SOLUTION
    import copy

    direct = train(copy.deepcopy(student), teacher, images, 2 * steps)
    middle = train(copy.deepcopy(helper), teacher, images, steps)
    chain = train(copy.deepcopy(student), middle, images, steps)
    return direct, chain
    # END


exercises.compared(compared)

# %% [markdown]
# ## In three lines
#
# A student's error is at most its guide's error plus their disagreement; a helper pays by lowering the second. The chain itself brought nothing here: other images did, or a simpler function. Several teachers are one mean; ask which, and where T acts.
#
# ## Recall
#
# <details><summary>What does a weighted sum of soft terms ask the student for?</summary>For the weighted mean of the softened probabilities. The rest of the sum is a constant: the teachers' disagreement.</details>
# <details><summary>What is the mean of logits, as a distribution?</summary>The geometric mean of the probabilities, normalised: one teacher can veto a class.</details>
# <details><summary>Which two controls does a chain need?</summary>Direct distillation for the chain's steps on the chain's images; and a helper that never met the teacher.</details>
# <details><summary>Why do specialists need an output for “none of mine”?</summary>Without it their logits have no common zero: each was only compared with its own classes.</details>
# <details><summary>When can a worse teacher make a better student?</summary>When the student's images are too few to copy the better one: what disagreement costs exceeds what its lower error brings.</details>
#
# ## Reading
#
# - Mirzadeh, Farajtabar, Li, Levine, Matsukawa & Ghasemzadeh (2020), *Improved Knowledge Distillation via Teacher Assistant*.
# - Cho & Hariharan (2019), *On the Efficacy of Knowledge Distillation*: better teachers, worse students; a sequence of them does not help there.
# - Hinton, Vinyals & Dean (2015), *Distilling the Knowledge in a Neural Network*: ensembles into one student; specialists with a dustbin class.
# - You, Xu, Xu & Tao (2017), *Learning from Multiple Teacher Networks*.
#
# Next: [](lesson11)
