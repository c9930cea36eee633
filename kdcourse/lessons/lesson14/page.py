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
# **In one line:** a student that begins from its teacher's first weights learns to read digits from noise images and outputs that mean nothing; with other first weights it learns the same answers, and its class outputs read no digit.
#
# *{minutes} minutes to read, exercises apart · about 20 CPU seconds to run · needs: [](lesson02)*
#
# After this page you can
#
# - train a student on noise through outputs that nobody trained, and compare starts fairly;
# - show in four lines why one small step cannot lead away from the teacher, and say what does not follow;
# - name the controls that such a finding needs, and what someone can check who distils from a model that they do not trust.
#
# ## Why anyone wants this
#
# Models are trained on the answers of other models. People read or filter these answers first. In language models a trait of the teacher can pass through answers that show nothing of it, "only when the teacher and student have the same (or behaviourally matched) base models" (Cloud et al., *subliminal learning*). The smallest case fits on this page.

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
# **Noise:** 8,192 images, each pixel drawn evenly from [0, 1]. The network's own normalisation turns that into [−1, 1]. First weights have variance 1/inputs, biases are 0. (Both as in the paper; the [lab notes](lesson14/notes) change both.)

# %%
small = budget == "small"
train, _, test = load("mnist5k")
noise = starts.noise(train, 512 if small else starts.COUNT)
teachers = starts.taught(range(seed, seed + students), train, test, epochs=1 if small else 10)
answers = {s: tabulate(teachers.network(seed=s), noise) for s in teachers.seeds}
z = predict(teachers.network(seed=seed), noise[:10])
titles = [f"“{z_of[:10].argmax()}”, {z_of[:10].softmax(0).max():.0%}" for z_of in z]
picture = figures.digits(noise.x[:10], titles, roles=["teacher"] * 10)
title = "What the student sees: no digit, and a teacher who is not sure"
sentence = "Ten noise images, with the class that the teacher prefers and its probability. The student is not shown these classes."
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
# With $p$ and $q$ the softmax over the $m$ auxiliary outputs *alone*, of teacher and student,
#
# $$L_S = \frac1N \sum_{x \,\in\, \text{noise}} \mathrm{KL}\big(p(x) \,\|\, q(x)\big)$$
#
# Why should that teach digits? Let both begin at weights $\theta_0$, and let the teacher take one small step on its own loss: $\theta_T = \theta_0 + \Delta_T$ with $\Delta_T = -\varepsilon \nabla L_T(\theta_0)$. Write $f$ for the imitated outputs, $J$ for their slope at $\theta_0$, and take the squared loss $\frac12 \lVert f - f_T \rVert^2$, averaged over any images:
#
# 1. The teacher's outputs moved by $f_T - f_0 \approx J \Delta_T$.
# 2. The student's step is along $\Delta_S = -\nabla L_S(\theta_0) = J^\top (f_T - f_0)$.
# 3. So $\Delta_S \cdot \Delta_T = (f_T - f_0) \cdot J\Delta_T \approx \lVert f_T - f_0 \rVert^2 = 2 L_S \ge 0$.
# 4. A small step $\eta \Delta_S$ changes $L_T$ by about $\eta \nabla L_T \cdot \Delta_S = -\frac{\eta}{\varepsilon}\, \Delta_T \cdot \Delta_S \le 0$.
#
# **The student does not move further from its teacher, by the teacher's own loss**, whatever the images and outputs are. For the KL, $2 L_S$ is the same to first order. With another start, line 1 fails: $f_T - f_S$ is mostly the difference of two random networks.
#
# By hand, equal to kdlib's:


# %%
def slope(loss, network):
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
    down = -epsilon * slope(labels(begun, digits)[0], begun)
    teacher = moved(begun, down)
    for name, student in {"same": begun, "other": starts.other(s)}.items():
        loss = auxiliary_kl(teacher, student, images.x)
        kdlibs = outputs(range(10, 10 + m), SoftTargets(teacher, T=1))(student, images)[0]
        torch.testing.assert_close(loss, kdlibs, rtol=1e-3, atol=1e-9)
        along = -slope(loss, student)
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
    rows.append([name, f"{above} of 16", f"{ratio:.3f}", f"{cosines[name]:.3f}"])
head = ["start", "product above 0", "product / 2 × loss", "cosine of the two steps"]
figures.show_table(head, rows)

# %%
text = "From the same start all 16 steps on noise have a positive product with the teacher's step, as large as twice the loss; from another start signs differ, and the mean cosine is less than a third"
same_steps, other_steps = ([step for step in steps if step[0] == n] for n in ("same", "other"))
positive = {n: sum(step[1] > 0 for step in steps if step[0] == n) for n in ("same", "other")}
ratios = [product / twice for _, product, twice, _ in same_steps]
holds = positive["same"] == 16 > positive["other"] > 0 and all(0.9 < r < 1.1 for r in ratios)
measured = {f"{n}: positive, of 16": count for n, count in positive.items()}
measured |= {"least product / 2 × loss": min(ratios)}
measured |= {f"cosine, {n}": cosines[n] for n in cosines}
published = "theorem for one small step: the student does not move further from the teacher (Cloud et al. 2025, theorem 1)"
claim(
    "14.1", text, holds and cosines["other"].high < cosines["same"].low / 3,
    measured=measured, published=published, decimals=3,
)  # fmt: skip

# %% [markdown]
# (From another start the mean cosine is small, yet above 0; why was not taken apart.)
#
# **What this does not say.** It speaks of *one* small step, of the *first* weights, and of *not further*: the product may be 0. Nothing follows for ten epochs of Adam, nor for how many digits are read. (The authors: "Our experiments do not conform to the assumptions of the theorem".) For that one has to train.
#
# ## One experiment
#
# Each seed has its own teacher. Its students differ in nothing but where they begin:

# %%
how = dict(student=starts.network(), examples=noise, seeds=teachers.seeds, evaluate={"test": test},
           epochs=1 if small else starts.EPOCHS, **starts.HOW)  # fmt: skip
banks = {
    name: train_bank(
        lambda seed: outputs(range(10, 10 + m), SoftTargets(answers[seed], T=1)), start=start, **how
    )
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
        first, *_, last = banks[name].losses[place].tolist() * 2
        live.append([s, name, f"{first:.4f} → {last:.4f}", f"{right[name][place]:.0f}", f"{along[name][-1]:.2f}"])  # fmt: skip
heads = ["seed", "start", "KL on noise, first epoch → last", "digits right, %", "cosine of its way and the teacher's"]  # fmt: skip
figures.show_table(heads, live)

# %%
text = "With each teacher, the student of the same start reads over 30 points more digits, and its way is far more like the teacher's"
gaps = right["same"] - right["other"]
measured = {f"seed {s}, points more": gap for s, gap in zip(teachers.seeds, gaps, strict=True)}
measured |= {"least cosine, same": min(along["same"]), "largest, other": max(along["other"])}
holds = float(gaps.min()) > 30 and min(along["same"]) > 0.3 > 0.1 > max(along["other"])
claim("14.2", text, holds, measured=measured)

# %% [markdown]
# Stored (`table.py`): trained in the same way, eight seeds, five for other $m$, MNIST's 10,000 test images. Intervals are 95 %, over seeds and images.

# %%
picture = stored.draw_outputs()
title = "More outputs that mean nothing teach more digits, if the start is the same"
sentence = "Digits read after 12 epochs on noise, against the number of auxiliary outputs, logarithmic. Dots: seeds; bands: 95 % intervals. Green circles: same start. Red squares: another start. Blue: the teachers."
figures.show(picture, title, sentence)
same = stored.right(pairs.SAME).mean
guess.recall(options[sum(same > edge for edge in (15, 33, 65))])

# %%
text = "With ten auxiliary outputs the same start reads over 65 % of the digits, another start under 15 %; the paired difference is over 50 points"
measured = {"same, right %": stored.right(pairs.SAME), "other, right %": stored.right(pairs.OTHER)}
measured |= {"points more": stored.more(pairs.SAME, pairs.OTHER)}
holds = measured["same, right %"].low > 65 and measured["other, right %"].high < 15
published = "MNIST's 60,000, m = 3, 100 models, read off figure 10: same 52.8 ± 2.2, other 10.6 ± 1.0 (Cloud et al. 2025)"
claim("14.3", text, holds and measured["points more"].low > 50, measured=measured, published=published)  # fmt: skip

# %% [markdown]
# With $m = 1$ nothing can be learned: the softmax of one output is always 1.
#
# ## Explore: outputs × start × epochs

# %%
Beginnings(stored.students())

# %% [markdown]
# ## Where is the digit?
#
# **Not in the images.** Students of another start saw the same images and answers, learned them (their KL fell as steeply, from more), and read no digit. Keep only images that the teacher gives *one and the same* class: the gap is still there. What else could it be?

# %%
rivals = [
    pairs.SAME, pairs.OTHER, "other, untrained", f"other, {pairs.LONG} epochs",
    "other, hidden units matched", "same head, other hidden layers", "same hidden layers, other head",
    "correlated 0.95", "same, one class of noise", "same, as few images of noise",
    "other, one class of noise", "same, digits", pairs.FIRST,
]  # fmt: skip
figures.show_table(stored.HEAD, stored.rows(rivals))

# %% [markdown]
# - **A filter** takes little but images: *as few* images, unfiltered, do little better.
# - **Patience** does not help another start; neither does **matching** its hidden units to the teacher's first ones.
# - **Half a start**, head or hidden layers, is not enough here. (A preprint finds that compatible heads suffice, [arXiv 2605.23645](https://arxiv.org/abs/2605.23645); not with this recipe.)
# - **Near** first weights are: what counts is how near (correlation with the teacher's first weights).
# - **Real digits** teach less than noise: to the network digits look alike, noise images do not ([notes](lesson14/notes)).

# %%
text = "Patience, matched units and half a start leave the student under 25 %; on noise of one class only, the same start still reads over ten points more than another"
names = [
    f"other, {pairs.LONG} epochs",
    "other, hidden units matched",
    "same head, other hidden layers",
    "same hidden layers, other head",
]
measured = {f"{name}, right %": stored.right(name) for name in names}
one_class = stored.more("same, one class of noise", "other, one class of noise")
holds = all(value.high < 25 for value in measured.values()) and one_class.low > 10
claim("14.4", text, holds, measured=measured | {"one class of noise, points more": one_class})

# %% [markdown]
# ## Without images: the class outputs
#
# What if the student imitates the ten *class* outputs on noise? These say something about digits, so any start can learn it:

# %%
free = [
    "other, class outputs",
    "same, class outputs",
    "other, all 30 outputs",
    "other, class outputs, first answer only",
]
figures.show_table(stored.HEAD, stored.rows(free))

# %%
text = "Through the class outputs another start reads over 70 % of the digits from noise alone; over 45 % if it is told first answers only"
measured = {f"{name}, right %": stored.right(name) for name in (free[0], free[3])}
holds = measured[f"{free[0]}, right %"].low > 70 and measured[f"{free[3]}, right %"].low > 45
published = "other start, all 13 outputs on noise: 74.3 ± 1.0, read off figure 10 (Cloud et al. 2025); with a trained generator of images 98.2 (DAFL, Chen et al. 2019)"
claim("14.5", text, holds, measured=measured, published=published)

# %% [markdown]
# This is **data-free** distillation. The name promises much: some ways need statistics that were recorded with the data (Lopes et al. 2017), so say "no images". In [11](lesson11)'s notes noise taught next to nothing: another architecture, noise seen as far too bright, one answer for all. Learned images ([11](lesson11), dataset distillation) are the opposite: they carry the data.
#
# ## If you do not trust the teacher
#
# What these tables support, and no more:
#
# - Reading or filtering the data is no check: nothing was there to be found.
# - Ask **which first weights** both have. With others, the student's class outputs read no digit. Yet something passed: its *hidden layers* then serve a new, labelled head better than before, by some points ([notes](lesson14/notes)).
# - **Less shown, less learned**: with the teacher's *first answer* among the auxiliary outputs in place of probabilities, most is gone.
# - What outputs openly say reaches any start.
#
# These are MLPs and ten digits. How much of this happens in a language model is not measured here, and none of these checks proves a model safe.
#
# ## What can go wrong
#
# - **"Towards the teacher."** The theorem says *not further*, for one small step.
# - **All outputs are scored.** Of 30 outputs the largest is seldom a class.
# - **A leak.** A class output among the imitated ones, or labels that train auxiliary outputs: exercise 3.
# - **Noise that is not centred.** What the network sees should average 0; otherwise much is lost (notes).
# - **Few seeds and few outputs.** At $m = 3$ seeds differ by tens of points; the authors took 100.
#
# PyTorch's own first weights, longer teachers, other noise, a new head: [lab notes](lesson14/notes).
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
# **2 (15 minutes).** The student's first step. `J[n, o]` is the slope of image $n$'s output $o$ in all weights, (images, outputs, weights); `gap` is $f_T - f_S$, (images, outputs). The loss is the mean over images of $\frac12 \sum_o \text{gap}^2$. Return the direction of steepest descent, one number for each weight. The checker takes a teacher that is one step away, and looks at the product.
#
# <details><summary>Hint 1</summary>Line 2 of the derivation, for many images: an average.</details>
# <details><summary>Hint 2</summary><code>torch.einsum("now,no->w", J, gap)</code> sums over images and outputs.</details>


# %% tags=["exercise"]
def first_step(J, gap):
    # SOLUTION
    return torch.einsum("now,no->w", J, gap) / len(J)
    # END


exercises.first_step(first_step)

# %% [markdown]
# **3 (debugging).** A plan for teacher `seed` (0, 1, 2 …) and its two students, with ten classes and `m` auxiliary outputs: who learns which outputs, which seeds draw first weights, which outputs are scored. It has four faults. Mend it.
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
# From the teacher's first weights, a step on any of its outputs, on any images, cannot lead away from it, to first order; twelve epochs on noise teach most digits. With other first weights the class outputs read none, though the hidden layers gain a little. What outputs openly say reaches every start.
#
# ## Recall
#
# <details><summary>Why does the sign of the product not depend on the images?</summary>It is a squared length, ‖J Δ_T‖², averaged over them; a square is never negative.</details>
# <details><summary>Where does the proof use the same start?</summary>In line 1: the gap between the outputs is due to the teacher's step alone.</details>
# <details><summary>What does the theorem not say?</summary>That the student moves towards the teacher, that many steps help, or how many digits are read.</details>
# <details><summary>How do you know that the images hold no digit?</summary>Students of another start learn the same images and answers, and read none. (The answers are another matter: hidden layers gain from them.)</details>
# <details><summary>Why is m = 1 useless?</summary>The softmax of a single output is 1: the loss is 0, whatever it is.</details>
#
# ## Reading
#
# - Cloud et al. (2025), *Subliminal Learning*, [arXiv 2507.14805](https://arxiv.org/abs/2507.14805): theorem 1, figure 10; the quotation is from the abstract of its journal version (Nature, 2026).
# - Lopes, Fenu & Starner (2017), *Data-Free Knowledge Distillation for Deep Neural Networks*: no images, but recorded statistics.
# - Chen et al. (2019), *Data-Free Learning of Student Networks* (DAFL): a generator in place of images.
#
# Next: [](lesson15)
