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
# # What passes from teacher to student without being in the data?
#
# **In one line:** skill can pass through noise images and outputs that mean nothing, if the student begins from its teacher's first weights; from other first weights it can fit the same answers as well, and its class outputs do no more than guess.
#
# *{minutes} minutes to read, exercises apart · about 20 CPU seconds to run · needs: [](lesson02)*
#
# After this page you can
#
# - train a student on noise through outputs that nobody trained, and compare starts fairly: all else equal, and guessing measured too;
# - show in four lines why one small step cannot raise the teacher's own loss, and say what does not follow;
# - name the controls that such a finding needs, and what someone can check who distils from a model that they do not trust.
#
# ## Why anyone wants this
#
# Before training on another model's answers one would like to check them, by reading or filtering. In language models a trait of the teacher can pass through answers that show nothing of it, "only when the teacher and student have the same (or behaviourally matched) base models" (matched: they behave alike; Cloud et al., *subliminal learning*). The smallest case fits on this page.

# %% tags=["parameters"]
m: int = 10  # 2..20, auxiliary outputs that the student imitates
students: int = 3  # 2..5
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import copy

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.lessons.lesson14 import exercises, pairs, starts, stored
from kdcourse.lessons.lesson14.beginnings import Beginnings
from kdcourse.parameters import check_parameters
from kdlib.bank import train_bank
from kdlib.data import load
from kdlib.metrics import interval
from kdlib.models import predict
from kdlib.objectives import HardLabels, SoftTargets, outputs, tabulate

check_parameters()

# %% [markdown]
# The network has more outputs than classes: `mlp(784, 128, 128, 30)`. The teacher learns 3,500 labelled digits with outputs 0 to 9. No loss reads outputs 10 to 29, the **auxiliary outputs**; they change only because the hidden layers change.
#
# **Noise:** 8,192 images, each pixel drawn evenly from [0, 1]. The network's own normalisation turns that into [−1, 1]. First weights have variance 1/inputs, biases are 0. (The [lab notes](lesson14/notes) change both.) Teachers train for 10 epochs, students for 12: Adam, rate 0.001, batches of 128.

# %%
small = budget == "small"
train, _, test = load("mnist5k")
noise = starts.noise(train, 512 if small else starts.COUNT)
teachers = starts.taught(range(seed, seed + students), train, test, epochs=1 if small else 10)
answers = {s: tabulate(teachers.network(seed=s), noise) for s in teachers.seeds}
z = predict(teachers.network(seed=seed), noise[:10])
titles = [f"“{z_of[:10].argmax()}”, {z_of[:10].softmax(0).max():.0%}" for z_of in z]
picture = figures.digits(noise.x[:10], titles, roles=["teacher"] * 10)
title = "What the student sees: no digit in any image"
sentence = "Ten noise images, with the class that the teacher's ten class outputs prefer and its probability. The student is shown neither: it gets the auxiliary outputs alone."
figures.show(picture, title, sentence)

# %% [markdown]
# ## A prediction first

# %%
options = ["about 10 %: it guesses", "about 20 %", "about 45 %", "over 65 %"]
question = "A student has its teacher's first weights. It imitates ten auxiliary outputs on noise. How many test digits does it read?"
guess = checks.Prediction(question, options)
guess

# %% [markdown]
# ## The idea
#
# With $p$ and $q$ the softmax over the $m$ auxiliary outputs *alone*, of teacher and student:
#
# $$L_\mathrm{KL} = \frac1N \sum_{x \,\in\, \text{noise}} \mathrm{KL}\big(p(x) \,\|\, q(x)\big)$$
#
# Why should that teach digits? Let both begin at weights $\theta_0$, and let the teacher take one small step on its own loss $L_T$: $\theta_T = \theta_0 + \Delta_T$ with $\Delta_T = -\varepsilon \nabla L_T(\theta_0)$. Write $f$ for the imitated outputs and $J$ for their derivatives in all weights at $\theta_0$. Take first the squared loss $L_S = \frac12 \lVert f - f_T \rVert^2$, averaged over any images:
#
# 1. The teacher's outputs moved by $f_T - f_0 \approx J \Delta_T$.
# 2. The student's step is along $\Delta_S = -\nabla L_S(\theta_0) = J^\top (f_T - f_0)$.
# 3. So $\Delta_S \cdot \Delta_T = (f_T - f_0) \cdot J\Delta_T \approx \lVert f_T - f_0 \rVert^2 = 2 L_S \ge 0$.
# 4. A small step $\eta \Delta_S$ changes $L_T$ by about $\eta \nabla L_T \cdot \Delta_S = -\frac{\eta}{\varepsilon}\, \Delta_T \cdot \Delta_S \le 0$.
#
# **To leading order, a small step of the student cannot raise the teacher's own loss $L_T$**, whatever the images and outputs are. With $L_\mathrm{KL}$ in place of $L_S$, line 3 reads $2 L_\mathrm{KL}$, again to leading order. From another start, line 1 fails: $f_T - f_S$ is mostly the difference of two random networks.
#
# By hand, equal to kdlib's:


# %%
def gradient(loss, network):
    return parameters_to_vector(torch.autograd.grad(loss, list(network.parameters())))


def moved(network, step):
    again = copy.deepcopy(network)
    vector_to_parameters(parameters_to_vector(network.parameters()).detach() + step, again.parameters())  # fmt: skip
    return again


def auxiliary_kl(teacher, student, x):
    log_p, log_q = (net(x)[:, 10 : 10 + m].log_softmax(1) for net in (teacher.eval(), student))
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


# %%
labels, epsilon = outputs(range(10), HardLabels()), 0.01
digits, images = train.batch(slice(0, 256)), noise.batch(slice(0, 256))
steps = []
for s in range(seed, seed + 16):
    begun = starts.drawn(s)
    down = -epsilon * gradient(labels(begun, digits)[0], begun)
    teacher = moved(begun, down)
    for name, student in {"same": begun, "other": starts.other(s)}.items():
        loss = auxiliary_kl(teacher, student, images.x)
        kdlibs = outputs(range(10, 10 + m), SoftTargets(teacher, T=1))(student, images)[0]
        torch.testing.assert_close(loss, kdlibs, rtol=1e-3, atol=1e-9)
        along = -gradient(loss, student)
        steps.append([name, float(along @ down), 2 * loss.item(), float(torch.cosine_similarity(along, down, dim=0))])  # fmt: skip

# %% [markdown]
# Sixteen starts, one step each, on noise:

# %%
rows, cosines = [], {}
for name in ("same", "other"):
    _, products, twice, cosine = zip(*(step for step in steps if step[0] == name), strict=True)
    cosines[name] = interval(cosine)
    ratio = sum(products) / sum(twice)
    above = sum(product > 0 for product in products)
    rows.append([name, f"{above} of 16", f"{ratio:.5f}", f"{cosines[name]:.3f}"])
head = ["start", "product above 0", "product / 2 × loss", "cosine of the two steps"]
figures.show_table(head, rows)

# %%
text = "From the same start all 16 steps on noise have a positive product with the teacher's step, within a tenth of twice the loss; from another start some are negative, and the mean cosine is less than a third"
same_steps, other_steps = ([step for step in steps if step[0] == n] for n in ("same", "other"))
positive = {n: sum(step[1] > 0 for step in steps if step[0] == n) for n in ("same", "other")}
ratios = [product / twice for _, product, twice, _ in same_steps]
holds = positive["same"] == 16 > positive["other"] > 0 and all(0.9 < r < 1.1 for r in ratios)
measured = {f"{n}: positive, of 16": count for n, count in positive.items()}
measured |= {"least product / 2 × loss": min(ratios)}
measured |= {f"cosine, {n}": cosines[n] for n in cosines}
published = "theorem for one small step: the student does not move further from the teacher, by the teacher's loss (Cloud et al. 2025, theorem 1)"
claim(
    "14.1", text, holds and cosines["other"].high < cosines["same"].low / 3,
    measured=measured, published=published, decimals=3,
)  # fmt: skip

# %% [markdown]
# **What this does not say.** It speaks of *one* small step from the *first* weights, and the product may be 0. Nothing follows for ten epochs of Adam, nor for how many digits are read. (The authors: "Our experiments do not conform to the assumptions of the theorem".) For that one has to train.
#
# ## One experiment
#
# Each seed has its own teacher. Its students differ in nothing but where they begin:


# %%
def imitating(seed):
    return outputs(range(10, 10 + m), SoftTargets(answers[seed], T=1))


how = dict(student=starts.network(), examples=noise, seeds=teachers.seeds, evaluate={"test": test},
           epochs=1 if small else starts.EPOCHS, **starts.HOW)  # fmt: skip
banks = {
    name: train_bank(imitating, start=start, **how)
    for name, start in {"same": starts.drawn, "other": starts.other}.items()
}

# %% [markdown]
# The class outputs are read on 1,000 test digits; no student ever trained them. A **way** is the vector of all weights' changes from start to end:

# %%
right = {name: 100 - 100 * starts.wrong(bank).double().mean(1) for name, bank in banks.items()}
live, along = [], {name: [] for name in banks}
for s in teachers.seeds:
    there = starts.way(starts.drawn(s), teachers.network(seed=s))
    for name, begin in {"same": starts.drawn, "other": starts.other}.items():
        way = starts.way(begin(s), banks[name].network(seed=s))
        along[name].append(float(torch.cosine_similarity(way, there, dim=0)))
        place = teachers.seeds.index(s)
        kl = banks[name].losses[place]
        live.append([s, name, f"{kl[0]:.4f} → {kl[-1]:.4f}", f"{right[name][place]:.0f}", f"{along[name][-1]:z.2f}"])  # fmt: skip
heads = ["seed", "start", "KL on noise, mean during first epoch → last", "digits right, %", "cosine of its way and the teacher's"]  # fmt: skip
same = stored.right(pairs.SAME).mean
guess.recall(options[sum(same > edge for edge in (15, 33, 65))])
figures.show_table(heads, live)

# %%
text = "With each teacher, the student of the same start reads over 30 points more digits, and its way is far more like the teacher's"
gaps = right["same"] - right["other"]
measured = {f"seed {s}, points more": gap for s, gap in zip(teachers.seeds, gaps, strict=True)}
measured |= {"least cosine, same": min(along["same"]), "largest, other": max(along["other"])}
holds = float(gaps.min()) > 30 and min(along["same"]) > 0.3 > 0.1 > max(along["other"])
claim("14.2", text, holds, measured=measured)

# %% [markdown]
# Stored (`table.py`): trained in the same way, eight seeds, MNIST's 10,000 test images. Intervals are 95 %, over seeds and images.

# %%
picture = stored.draw_outputs()
title = "More outputs that mean nothing teach more digits, if the start is the same"
sentence = "Digits read after 12 epochs on noise, against the number of auxiliary outputs (logarithmic axis). Large marks: means of eight seeds; small ones: seeds; bands: 95 % intervals. Green circles: same start. Orange squares: another start. Blue: the teachers' mean."
figures.show(picture, title, sentence)

# %%
text = "With ten auxiliary outputs the same start reads over 65 % of the digits, another start under 15 %; the paired difference is over 50 points"
measured = {"same, right %": stored.right(pairs.SAME), "other, right %": stored.right(pairs.OTHER)}
measured |= {"points more": stored.more(pairs.SAME, pairs.OTHER)}
measured |= {"m = 3, same, right %": stored.right(pairs.grid("same", 3, 12))}
holds = measured["same, right %"].low > 65 and measured["other, right %"].high < 15
published = "m = 3, 60,000 images, wider layers, 100 models, read off figure 10: same 52.8 ± 2.2, other 10.6 ± 1.0 (Cloud et al. 2025)"
claim("14.3", text, holds and measured["points more"].low > 50, measured=measured, published=published)  # fmt: skip

# %% [markdown]
# With $m = 1$ nothing can be learned: the softmax of one output is always 1.
#
# ## Explore: outputs × start × epochs
#
# The ring marks the state that you chose, short lines its seeds. From how many outputs on do four epochs teach over half of the digits?

# %%
Beginnings(stored.students())

# %% [markdown]
# ## Where is the digit?
#
# What else could it be than the start? Each rival changes one thing. (The **head** is the last layer. **KL left**: on all noise after training, in % of what the best single answer for all images gets, where stored.)

# %%
rivals = {
    pairs.SAME: "the page's student",
    pairs.OTHER: "first weights",
    f"other, {pairs.LONG} epochs": "first weights; four times as long",
    "same, answers shuffled": "each image gets another image's answer",
    "same, teacher of shuffled labels": "the teacher learned no digits",
    "same head, other hidden layers": "first weights of the hidden layers",
    "same hidden layers, other head": "first weights of the head",
    "correlated 0.95": "first weights, as near as that",
    "correlated 0.8": "first weights, as near as that",
    "same, one class of noise": "only images of the teacher's most frequent class",
    "same, as few images of noise": "as many images as in the row above, of any class",
}
figures.show_table(stored.RIVALS_HEAD, stored.rivals(rivals))

# %% [markdown]
# - **Any task on noise** will not do: with shuffled answers, or a teacher of shuffled labels, the same start guesses.
# - **Not learned enough?** In four times the epochs another start fits the answers as well as the page's student; its class outputs still guess.
# - **Half a start** is not enough here. (A preprint finds that compatible heads suffice, [arXiv 2605.23645](https://arxiv.org/abs/2605.23645); ours need not be what it calls compatible.)
# - **Nearly the same start** is: the nearer, the more digits.
# - **A filter** that keeps one class costs as much as losing that many images at random; a further loss was not resolved.
#
# **So the digit is in no image: these are drawn without teacher or digits. It is in the fit of answers and start.** The answers tell how the teacher's weights moved, in terms of its first weights. From other weights, following them leads another way (the cosines above).

# %%
text = "Patience, half a start, shuffled answers or labels leave the student under 25 %, though the patient one fits as the same start does, to under 3 % of the KL; on one class of noise the same start reads over ten points more than another"
names = list(rivals)[2:7]
measured = {f"{name}, right %": stored.right(name) for name in names}
one_class = stored.more("same, one class of noise", "other, one class of noise")
left = {name: stored.kl_left(name) for name in (pairs.SAME, names[0])}
holds = all(value.high < 25 for value in measured.values()) and one_class.low > 10
holds = holds and all(value.high < 3 for value in left.values())
measured |= {f"{name}, KL left %": value for name, value in left.items()}
claim("14.4", text, holds, measured=measured | {"one class of noise, points more": one_class})

# %% [markdown]
# ## Without images: the class outputs
#
# What if the student imitates the ten *class* outputs on noise? These say something about digits, so another start, too, can learn it. **Label only**: in place of probabilities the student is told which of these outputs is largest.

# %%
free = {
    "other, class outputs": "other, class outputs",
    "same, class outputs": "same, class outputs",
    "other, all 30 outputs": "other, all 30 outputs",
    "other, class outputs, first answer only": "other, class outputs, label only",
    pairs.FIRST: "same, auxiliary outputs, label only",
}
figures.show_table(stored.HEAD, stored.rows(free))

# %%
text = "Through the class outputs another start reads over 70 % of the digits from noise alone, the same start over two points more; over 45 % with labels only"
first, *_, fourth, _ = free
open_, label_only = stored.right(first), stored.right(fourth)
ahead = stored.more("same, class outputs", "other, class outputs")
measured = {
    "other, right %": open_,
    "labels only, right %": label_only,
    "same start, points more": ahead,
}
holds = open_.low > 70 and label_only.low > 45 and ahead.low > 2
published = (
    "other start, all 13 outputs on noise: 74.3 ± 1.0, read off figure 10 (Cloud et al. 2025)"
)
claim("14.5", text, holds, measured=measured, published=published)

# %% [markdown]
# This is **data-free** distillation. Some such ways need statistics that were recorded with the data (Lopes et al. 2017): say "no images". In [11](lesson11)'s notes noise taught next to nothing: there the architecture differs, noise is not centred, and nearly all of it gets one answer; which of these matters was not tested.
#
# ## If you do not trust the teacher
#
# What these tables support:
#
# - **Reading or filtering** the images finds nothing, and one filter did not close the gap.
# - **First weights** are yours to choose: draw your own. From these, auxiliary outputs brought the class outputs no further than guessing. Yet something passed: the *hidden layers* serve a new, labelled head better than before ([notes](lesson14/notes)).
# - **Show less**: labels only took most of what auxiliary outputs teach; of what class outputs teach they took less.
#
# These are MLPs and ten digits; language models are not measured here, and none of these checks proves a model safe.
#
# ## What can go wrong
#
# - **All outputs are scored.** Of 30 outputs the largest need not be a class, least of all with another start (notes).
# - **A leak.** A class output among the imitated ones, or labels that train auxiliary outputs: exercise 3.
# - **Noise that is not centred.** What the network sees should average 0; otherwise much is lost (notes).
#
# ## Exercises
#
# **1 (5 minutes).** Return the KL on the auxiliary outputs alone. `z_t`, `z_s`: logits of teacher and student, (images, outputs); the first `classes` outputs are classes; sum over outputs, mean over images.
#
# <details><summary>Hint 1</summary>Which is right: softmax first and cut then, or cut first?</details>
# <details><summary>Hint 2</summary>Cut first: <code>z[:, classes:].log_softmax(1)</code>, for both. Then Σ p (log p − log q).</details>


# %% tags=["exercise"]
def auxiliary_loss(z_t, z_s, classes):
    # SOLUTION
    log_p, log_q = (z[:, classes:].log_softmax(1) for z in (z_t, z_s))
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()
    # END


exercises.auxiliary_kl(auxiliary_loss)

# %% [markdown]
# **2 (15 minutes).** The student's first step. `J[n, o]` holds the derivatives of image $n$'s output $o$ in all weights, (images, outputs, weights); `gap` is $f_T - f_S$, (images, outputs). The loss is the mean over images of $\frac12 \sum_o \text{gap}^2$. Return the negative gradient of this mean, one number for each weight.
#
# <details><summary>Hint 1</summary>Line 2 of the derivation, for each image.</details>
# <details><summary>Hint 2</summary><code>torch.einsum</code> can sum over images and outputs; the loss is a mean over images.</details>


# %% tags=["exercise"]
def first_step(J, gap):
    # SOLUTION
    return torch.einsum("now,no->w", J, gap) / len(J)
    # END


exercises.first_step(first_step)

# %% [markdown]
# **3 (debugging, 10 minutes).** A plan for teacher `seed` (0 to 999; all are trained, and their pairs of students are compared as independent) with ten classes and `m` auxiliary outputs. Ranges are output numbers; `same` and `other` are the seeds that draw the two students' first weights. It has four faults. Mend it.
#
# ```python
# def mended_plan(seed, m):
#     return {
#         "teacher learns": range(10 + m),
#         "student imitates": range(m),
#         "same": seed,
#         "other": seed + 1,
#         "scored by": range(10 + m),
#     }
# ```
#
# <details><summary>Hint 1</summary>Write it out for seeds 0 and 1 and m = 3. Whose start is seed 1?</details>
# <details><summary>Hint 2</summary>Classes are outputs 0 to 9, auxiliary ones 10 to 9 + m; no loss of the teacher may read these.</details>
# <details><summary>Why each is a fault</summary>Labels that train auxiliary outputs give them a meaning. Outputs 0 to m − 1 are classes: the student is told digits. <code>seed + 1</code> is the start of the next teacher and of its “same” student: two pairs share a start and are not independent, so intervals over seeds are too narrow. An answer such as 12 is no digit.</details>


# %% tags=["exercise"]
def mended_plan(seed, m):
    # SOLUTION
    return {
        "teacher learns": range(10),
        "student imitates": range(10, 10 + m),
        "same": seed,
        "other": seed + 1000,
        "scored by": range(10),
    }
    # END


exercises.mended_plan(mended_plan)

# %% [markdown]
# ## In three lines
#
# From the teacher's first weights, a small step on any of its outputs, on any images, cannot raise the teacher's loss, to leading order; twelve epochs on noise teach most digits. From other first weights class outputs do no more than guess, though the hidden layers gain a little. What outputs openly say reaches another start, too.
#
# ## Recall
#
# <details><summary>Why does the sign of the product not depend on the images?</summary>It is a squared length, ‖J Δ_T‖², averaged over them; a square is never negative.</details>
# <details><summary>Where does the proof use the same start?</summary>In line 1: the gap between the outputs is due to the teacher's step alone.</details>
# <details><summary>What does the theorem not say?</summary>That the teacher's loss falls, that many steps help, or how many digits are read.</details>
# <details><summary>How do you know that images and answers alone do not teach class outputs to read?</summary>Students of another start, trained for longer, fit the same answers on the same images as well, and do no more than guess. (Their hidden layers gain a little.)</details>
# <details><summary>Why is m = 1 useless?</summary>The softmax of a single output is 1: the loss is 0, whatever it is.</details>
#
# ## Reading
#
# - Cloud et al. (2025), *Subliminal Learning*, [arXiv 2507.14805](https://arxiv.org/abs/2507.14805): theorem 1, figure 10; the quotation is from the abstract of its journal version (Nature, 2026).
# - Lopes, Fenu & Starner (2017), *Data-Free Knowledge Distillation for Deep Neural Networks*: no images, but recorded statistics.
# - Chen et al. (2019), *Data-Free Learning of Student Networks* (DAFL): a generator in place of images, 98.2 % on MNIST with another network.
#
# Next: [](lesson15)
