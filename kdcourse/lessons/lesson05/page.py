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
# # What else can be taught than answers?
#
# **In one line:** what a layer holds, and which images lie near one another in it; beside good answers our features added nothing, but a teacher that never saw your classes still helps, by its answers on outputs of their own, and more by its features in a contrastive term.
#
# *{minutes} minutes to read, exercises apart · about 30 CPU seconds to run · needs: [](lesson02)*
#
# After this page you can
#
# - write a feature loss, through a projector or by relations between images, and say what it compares;
# - compare two layers with CKA, and not mistake "sees alike" for "answers better";
# - use a teacher whose classes are not yours: its answers on outputs of their own, or its features.
#
# ## Why anyone wants this
#
# Answers are ten numbers per image, and they exist only for the teacher's classes. Often you find a good network for *other* classes, or an encoder with no classes at all. Its layers still speak.

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
alpha: float = 0.9  # 0..1
seeds: int = 3  # 2..10
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.ground import mnist
from kdcourse.lessons.lesson05 import exercises, table
from kdcourse.lessons.lesson05.neighbours import Neighbours
from kdcourse.lessons.lesson05.stored_features import common_ground, features, new_student
from kdcourse.lessons.lesson05.stored_features import saved, significant, stored, table_rows
from kdcourse.parameters import check_parameters
from kdlib import losses, metrics, models, objectives
from kdlib.bank import train_bank
from kdlib.objectives import Contrastive, HardLabels, Hint, SoftTargets

check_parameters()

# %% [markdown]
# ## A prediction first
#
# Later a student has to learn the digits **5 to 9** from 25 labelled images and many without labels. Its teacher has only ever seen **0 to 4**.

# %%
options = ["its answers", "its features", "both, contrastive features more", "neither"]
guess = checks.Prediction("What of that teacher helps the student?", options)
guess

# %% [markdown]
# ## Features
#
# The course's teacher, and its student with 100 hidden units. A layer has a name, a **tap**; its output is the image's **feature** $f$: here a vector, 100 numbers in the student and 64 in the teacher.

# %%
small = budget == "small"
train, test, teacher = common_ground(small)
student, labelled = new_student(), train.per_class(20 if small else 100, seed=seed)
f_s = features(models.initialise(new_student(), seed), "stage1", labelled[:128])
f_t = features(teacher, "embedding", labelled[:128])

# %% [markdown]
# ### Through a projector: hint and cosine
#
# 100 numbers cannot equal 64, and unit 7 of one network need not mean what unit 7 of the other does. So put a linear layer $P$, the **projector**, between them. It learns with the student and is thrown away afterwards. *Linear*, so that the student's layer itself must hold what is asked for.
#
# $$\text{hint} = \operatorname{mean}\,\big(P f_s(x) - f_t(x)\big)^2, \qquad \text{cosine} = 1 - \cos\!\big(P f_s(x), f_t(x)\big)$$
#
# (FitNets, Romero et al. 2015, trains the hint first.) By hand:

# %%
torch.manual_seed(seed)
P = nn.Linear(f_s.shape[1], f_t.shape[1])
hint_by_hand = (P(f_s) - f_t).pow(2).mean()  # (images, width_t) -> ()
torch.testing.assert_close(hint_by_hand, losses.hint(P(f_s), f_t))

# %% [markdown]
# ### By relations: similarity and relational
#
# Ask only *which images look alike*. With a batch's features as the rows of $X$, the table $XX^\top$ is batch × batch, whatever the widths: no projector is needed. **Similarity** (Tung & Mori 2019) compares these tables, each row at length 1. **Relational** (Park et al. 2019) compares distances $d_{ij}$ between images $i$ and $j$, in units of their mean, and angles; $\ell$ is smooth L1:
#
# $$\text{relational} = \operatorname{mean}_{i,j}\ \ell\big(d_{ij}^{\,\text{student}} - d_{ij}^{\,\text{teacher}}\big)$$


# %%
def similarity_by_hand(f_s, f_t):
    G_s, G_t = (F.normalize(f @ f.T, dim=1) for f in (f_s, f_t))  # (batch, batch)
    return (G_s - G_t).pow(2).sum() / len(f_s) ** 2


torch.testing.assert_close(similarity_by_hand(f_s, f_t), losses.similarity(f_s, f_t))

# %% [markdown]
# What does such a loss leave free? Turn the student's space by any rotation $Q$, so that $QQ^\top = 1$:
#
# $$\begin{aligned} X &\to XQ \\ XX^\top &\to (XQ)(XQ)^\top \\ &= X\,QQ^\top X^\top \\ &= XX^\top \end{aligned}$$
#
# The table, and so the loss, stays. A hint through a *fixed* projector changes (a learned one can undo the rotation):

# %%
turn = torch.linalg.qr(torch.randn(100, 100, generator=torch.Generator().manual_seed(seed))).Q
compare = (lambda f: losses.similarity(f, f_t), lambda f: losses.hint(P(f), f_t))
ratios = [(loss(f_s @ turn) / loss(f_s) - 1).abs().item() for loss in compare]
text = "A rotation of the student's space changes a hint through a fixed projector, not similarity"
measured = dict(zip(("relative change, similarity", "hint"), ratios, strict=True))
claim("05.1", text, ratios[0] < 0.0003 and ratios[1] > 0.001, measured=measured)

# %% [markdown]
# ### By finding oneself: contrastive
#
# Each image's projected feature has to find **its own** image among the teacher's features of the batch: a classification whose classes are the images of the batch (the InfoNCE form of CRD, Tian et al. 2020). The temperature τ, 0.1 here, is not the T of soft targets.
#
# $$\text{contrastive}_i = -\log \frac{\exp\big(\cos(P f_s(x_i), f_t(x_i)) / \tau\big)}{\sum_j \exp\big(\cos(P f_s(x_i), f_t(x_j)) / \tau\big)}$$
#
# You write it in exercise 2.
#
# ## One student, five features
#
# 100 labelled images of each digit and 560 steps for everybody, as in [02](lesson02). loss = CE + w · (feature term), w chosen on validation images. `table.py` trained these students on five random choices of labels each, and scored them on MNIST's 10,000 test images. (Relational without angles: they take batch³ steps.)
#
# **Holm's correction** for luck among many: the smallest of six p-values must lie below 0.05/6, the next below 0.05/5, and so on until one does not. Bold: significant after Holm, which covers the six single terms; the three combinations were not tested.

# %%
WAYS = ["answers", "hint", "cosine", "similarity", "relational", "contrastive"]
one_student = stored("one student", without="contrastive, random teacher")
gains = {way: saved(one_student[way]) for way in WAYS}
head = ["taught by", "w", "choices", "error %", "against label-only", "against answers"]
figures.show_table(head, table_rows(one_student, "label-only", "answers", bold=significant(gains)))

# %% [markdown]
# The six, one dot for each choice of labels:

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=2.7)
label_errors = torch.tensor(one_student["label-only"]["errors"])
for place, way in enumerate(WAYS):
    role = "teacher" if way == "answers" else "taught" if way in significant(gains) else "extra"
    figures.seed_dots(axis, place, label_errors - torch.tensor(one_student[way]["errors"]), role)
axis.axhline(0, color=figures.COLOURS["alone"], linestyle=figures.DASHES["alone"])
axis.set_xticks(
    range(len(WAYS)), [way.replace("relational", "relational\n(distances)") for way in WAYS]
)
axis.set_ylabel("points saved")
title = "Where the teacher knows the classes, its answers save most here"
sentence = "100 labels per class. Each bar is a mean with its interval over choices of labels; the table's interval adds the luck of images. Dashed: the label-only student. Blue: answers. Green: a feature term that differs after Holm, for better or worse. Yellow: one that does not."
figures.show(picture, title, sentence)

# %%
text = "Where the teacher knows the classes, its answers save more than any of five feature terms"
measured = {f"points saved by {way}": gains[way] for way in WAYS}
holds = all(saved(one_student[way], "answers").high < -0.3 for way in WAYS[1:])
published = "CIFAR-100, accuracy of wrn-16-2: KD 74.9; FitNet, AT, SP, RKD 73.4 to 74.1; CRD 75.5, whose negatives come from a memory of thousands (RepDistiller's README)"
claim("05.2", text, holds, measured=measured, published=published)

# %% [markdown]
# Three rows of the table put a feature term *beside* the answers. None of the three weights tried helps, and a heavy one costs.
#
# ## Looking at layers: CKA
#
# Do two layers see the same images alike? Centre the features $A, B$ of the same images (each column at mean 0), take their tables $K = AA^\top$ and $L = BB^\top$, and compare these as directions (Kornblith et al. 2019). 1 means: alike up to rotation and scale.
#
# $$\begin{aligned} \mathrm{CKA} &= \langle K, L\rangle \,/\, (\lVert K\rVert\, \lVert L\rVert), & \langle K, L\rangle &= \operatorname{tr}(AA^\top BB^\top) \\ & & &= \operatorname{tr}(A^\top B\, B^\top A) \\ & & &= \lVert A^\top B\rVert^2 \end{aligned}$$
#
# With $B = A$: $\lVert K\rVert = \lVert A^\top A\rVert$. So no table of images × images is needed: exercise 3.


# %%
def cka_by_hand(a, b):
    a, b = (f.double() - f.double().mean(0) for f in (a, b))
    K, L = a @ a.T, b @ b.T  # (images, images)
    return (K * L).sum() / (K.norm() * L.norm())


torch.testing.assert_close(cka_by_hand(f_s, f_t).float(), metrics.cka(f_s, f_t).float())

# %% [markdown]
# Now live: answers with a hint of weight `w` beside them. `w` is the bank's axis; 0 is the distilled student.

# %%
answers = objectives.tabulate(teacher, train, taps=["embedding"])
layers, hint_weights = {"stage1": "embedding"}, [0.0, 1.0, 10.0, 100.0]
soft = (1 - alpha) * HardLabels() + alpha * SoftTargets(answers, T)
settings = dict(student=student, examples=labelled, seeds=range(seed, seed + seeds))
settings |= dict(evaluate={"test": test}, epochs=2 if small else mnist.epochs(labelled))
grid = {"w": hint_weights}
hint_bank = train_bank(lambda w: soft + w * Hint(answers, layers), grid=grid, **settings)
label_bank = train_bank(HardLabels(), **settings)

# %% [markdown]
# CKA with the teacher's layer, and the error, on the 1,000 test images:

# %% tags=["nbval-ignore-output"]
teacher_view = features(teacher, "embedding", test)


def likeness(network):
    return float(metrics.cka(features(network, "stage1", test), teacher_view))


students = range(seed, seed + seeds)
cka = torch.tensor(
    [[likeness(hint_bank.network(w=w, seed=s)) for s in students] for w in hint_weights]
)
label_cka = sum(likeness(label_bank.network(seed=s)) for s in students) / seeds
picture, axes = figures.figure(height=2.6, panels=2)
panels = {"CKA with the teacher's layer": cka, "error %": 100 * hint_bank.wrong().double()}
for axis, (name, values) in zip(axes, panels.items(), strict=True):
    figures.lines_with_dots(axis, range(4), values, "taught")
    axis.set(title=name, xlabel="w, weight of the hint")
    axis.set_xticks(range(4), [f"{w:g}" for w in hint_weights])
axes[1].set_ylim(0, None)
axes[0].axhline(label_cka, color=figures.COLOURS["alone"], linestyle=figures.DASHES["alone"])
title = "A hint makes the student see more like the teacher, and not answer better"
sentence = "Left: CKA (the axis does not begin at 0); dashed, the label-only student; the band is over seeds. Right: error on 1,000 test images; the band is over seeds and images. Dots are seeds."
figures.show(picture, title, sentence)

# %%
text = "A hint beside the answers makes the student's layer more like the teacher's, and its error higher"
rise = metrics.interval(cka[3] - cka[0])  # w = 100, as in the stored row
cost = saved(one_student["answers + hint, w = 100"], "answers")
measured = {"w = 100: CKA rises by": rise, "points saved (stored)": cost}
holds = rise.mean > 0.015 and bool((cka[3] > cka[0]).all()) and cost.high < -0.3
claim("05.3", text, holds, measured=measured, decimals=3)

# %% [markdown]
# The answers alone already brought the layer nearer than the labels did (dashed).
#
# ## A teacher of other classes
#
# The teacher learned 0 to 4; it calls every other digit one of these:

# %%
old, new, new_test = train.only(range(5)), train.only(range(5, 10)), test.only(range(5, 10))
stranger = mnist.teacher(old, epochs=1 if small else 8)
called = models.predict(stranger, new_test)[:, :5].argmax(1)
counts = [[d, *torch.bincount(called[new_test.y == d], minlength=5).tolist()] for d in range(5, 10)]
figures.show_table(["digit", *(f"called {d}" for d in range(5))], counts)

# %% [markdown]
# The rows differ. So its answers say something about 5 to 9, if the student can repeat them on separate outputs. In **one shared softmax** it cannot: all probability on "4" leaves none for "9". Give the old classes **outputs of their own**: outputs 0–4 repeat the teacher, outputs 5–9 answer; two softmaxes on one body.
#
# $$\text{loss} = \mathrm{CE}\big(y, \operatorname{softmax}(z_{5..9})\big) + w\, T^2\, \mathrm{KL}\big(p_T \,\Vert\, \operatorname{softmax}(z_{0..4}/T)\big)$$
#
# Your own loss term is a short Python class (`table.NewLabels()` is the first term, the CE of outputs 5–9):


# %%
@dataclass(frozen=True, repr=False)
class OwnOutputs(objectives.Term):
    teacher: objectives.TeacherTable
    T: float

    def loss(self, step, owned):  # owned: a projector, for terms that have one
        z_s = step.observation.logits  # the student's answers to this batch
        z_t = step.teacher(self.teacher).logits  # the teacher's, from its table
        return losses.soft_targets(z_s[..., :5], z_t[..., :5], self.T)


# %% [markdown]
# Its rivals: features, by the contrastive term; and the same term with a teacher of **random** weights: what that brings comes from the term, not from anything learned. Five labelled images of each new digit are chosen at random; all other images are there without labels.

# %%
other_rows, CE = stored("other classes"), table.NewLabels()
stranger_answers = objectives.tabulate(stranger, new, taps=["embedding"])


def new_bank(objective, choice):
    """A bank of one student that learns 5 to 9 with this choice of labels."""
    examples = table.mostly_unlabelled(new, 5, choice)
    common = dict(student=student, seeds=[choice], evaluate={"test": new_test}, batch=mnist.BATCH)
    epochs = 2 if small else mnist.epochs(examples)
    # "sequential": one student at a time, with any term; the fast engine knows kdlib's only
    return train_bank(objective, examples=examples, epochs=epochs, engine="sequential", **common)


def new_error(bank):
    """Error % when 5 to 9 may be answered."""
    chosen = bank.logits["test"][..., 5:].argmax(-1) + 5
    return 100 * float((chosen != new_test.y).double().mean())


# %% [markdown]
# First live, on the digits 5 to 9 of the 1,000 test images; then stored, on those of MNIST's 10,000. *Choices*: how many random choices of labels; a difference uses only those that both rows have. The combination takes both weights. Bold: Holm again, over the three single terms of this teacher. The last row may answer all ten digits, the others 5 to 9:

# %% tags=["nbval-ignore-output"]
w_answers, w_contrast = (other_rows[way]["w"] for way in ("answers, own outputs", "contrastive"))
recipes = {
    "label-only": CE,
    "answers, own outputs": CE + w_answers * OwnOutputs(stranger_answers, T),
}
recipes["contrastive"] = CE + w_contrast * Contrastive(stranger_answers, layers)
choices = range(seed, seed + seeds)
live = {way: [new_error(new_bank(r, choice)) for choice in choices] for way, r in recipes.items()}
live_lines = [[way, *(f"{error:.1f}" for error in errors)] for way, errors in live.items()]
figures.show_table(["live: error %", *(f"choice {choice}" for choice in choices)], live_lines)
tested = significant({way: saved(other_rows[way]) for way in (*list(recipes)[1:], "hint")})
head_of_others = ["stored", *head[1:5], "against answers, own outputs"]
against = ("label-only", "answers, own outputs")
figures.show_table(head_of_others, table_rows(other_rows, *against, bold=tested))

# %% [markdown]
# (The hint helps as well.) One dot for each choice of labels:

# %% tags=["nbval-ignore-output"]
ROLES = {"label-only": "alone", "answers, own outputs": "teacher", "contrastive": "taught"}
ROLES |= {"contrastive + answers, own outputs": "taught", "contrastive, random teacher": "extra"}
picture, axis = figures.figure(height=2.7)
for place, (way, role) in enumerate(ROLES.items()):
    figures.seed_dots(axis, place, other_rows[way]["errors"], role)
labels = [way.replace(" + ", " +\n").replace(", ", ",\n") for way in ROLES]
axis.set_xticks(range(len(ROLES)), labels)
axis.set(ylim=(0, None), ylabel="error %")
title = "A teacher of other classes helps: by answers, more by contrastive features"
sentence = "Digits 5 to 9 from 25 labels; each bar is a mean with its interval over choices of labels. Red: no teacher. Blue: its answers. Green: its features, without and with its answers. Yellow: features of a random network."
figures.show(picture, title, sentence)
own, contrast, blank = (saved(other_rows[way]) for way in (*list(recipes)[1:], list(ROLES)[-1]))
lead = saved(other_rows["contrastive"], "answers, own outputs")
more = "both, contrastive features more" if lead.low > 0 else "its answers"
guess.recall(more if own.low > 0 else "its features" if contrast.low > 0 else "neither")

# %%
text = "A teacher of other classes helps by answers on outputs of their own, and more by its features in a contrastive term; from random features a gain of one point is excluded"
by = {"points saved, answers": own, "features": contrast, "random": blank, "lead": lead}
claim("05.4", text, min(own.low, lead.low) > 0.3 and blank.high < 1, measured=by)

# %% [markdown]
# ## The weight under a slider
#
# What does `w` do to the student's space? Each row: a query image, then its five nearest in that space. A frame marks another class. The queries are those whose neighbours change most from w = 0 to 300. Move `w`: how many neighbours become the teacher's, and are they of the right class? (The teacher's own are not always; and this is one seed.)

# %% tags=["nbval-ignore-output"]
contrastive = Contrastive(stranger_answers, layers)
banks_by_w = {w: new_bank(CE + w * contrastive, seed) for w in (0.0, 10.0, 100.0, 300.0)}
shown = new_test[:400]
spaces = {w: features(bank.network(seed=seed), "stage1", shown) for w, bank in banks_by_w.items()}
stranger_space = features(stranger, "embedding", shown)
explorer = Neighbours(
    shown.x[:, 0],
    shown.y,
    teacher=stranger_space,
    alone=spaces[0.0],
    taught=spaces,
    errors={w: [new_error(bank)] for w, bank in banks_by_w.items()},
    n=len(new_test),
    term="contrastive",
    queries=Neighbours.telling(spaces[0.0], spaces[300.0], stranger_space),
)
explorer.set(w=0.0)  # leaves its grey mark
explorer.set(w=300.0)
explorer

# %% [markdown]
# ## What can go wrong
#
# **One softmax for both.** See the row "answers, one shared softmax": not one image in a thousand is then answered correctly.
#
# **`normalize(G, 1)`.** In PyTorch the second argument is *p*, not *dim*: rows of *absolute sum* 1, where the paper has *length* 1. torchdistill's `SPKDLoss` writes it so. It runs: another, much fainter loss.
#
# **The scale is the teacher's.** A hint's size depends on the size of the teacher's features: another layer, another `w`. The cosine does not change.

# %%
G_s, G_t = f_s @ f_s.T, f_t @ f_t.T
meant = (F.normalize(G_s, dim=1) - F.normalize(G_t, dim=1)).pow(2).sum()
typed = (F.normalize(G_s, 1) - F.normalize(G_t, 1)).pow(2).sum()
scaled = {
    loss.__name__: (loss(10 * P(f_s), 10 * f_t) / loss(P(f_s), f_t)).item()
    for loss in (losses.hint, losses.cosine)
}
text = "normalize(G, 1) makes the similarity loss over ten times fainter; features ten times as large make a hint a hundred times as large and leave the cosine"
holds = (
    meant / typed > 10 and abs(scaled["hint"] / 100 - 1) < 1e-3 and abs(scaled["cosine"] - 1) < 1e-3
)
measured = {"times fainter": float(meant / typed), **{f"{k}, times": v for k, v in scaled.items()}}
claim("05.5", text, holds, measured=measured)

# %% [markdown]
# **A method for maps on vectors.** Attention and selectivity compare *where* a map is active: they need a convolutional student ([lab notes](lesson05/notes), with more methods).
#
# ## Exercises
#
# **1 (5 minutes).** Outputs of their own: turn logits (batch, classes) into probabilities of the same shape, where the first `old` outputs of an image sum to 1, and the others too.
#
# <details><summary>Hint 1</summary>Cut the table into two blocks of columns.</details>
# <details><summary>Hint 2</summary>A softmax over dimension 1 of each, then <code>torch.cat(…, 1)</code>.</details>


# %% tags=["exercise"]
def own_softmaxes(z, old):
    # SOLUTION
    return torch.cat([z[:, :old].softmax(1), z[:, old:].softmax(1)], 1)
    # END


exercises.own_softmaxes(own_softmaxes)

# %% [markdown]
# **2 (15 minutes).** The contrastive term of one batch, as the formula above has it: one number, the average over the images. `projected` is $Pf_s$.
#
# <details><summary>Hint 1</summary>The cosine is a product of rows of length 1: a (batch, batch) table.</details>
# <details><summary>Hint 2</summary>Row i's right class is i: <code>torch.arange(batch)</code>.</details>


# %% tags=["exercise"]
def find_yourself(projected, f_t, temperature):
    # SOLUTION
    scores = F.normalize(projected, dim=1) @ F.normalize(f_t, dim=1).T / temperature
    return F.cross_entropy(scores, torch.arange(len(projected)))
    # END


exercises.find_yourself(find_yourself)

# %% [markdown]
# **3 (debugging).** This CKA needs no table of images. It has three mistakes. Mend them.
#
# ```python
# def mended_cka(a, b):
#     a, b = (f - f.mean() for f in (a, b))
#     shared = (a.T @ b).sum() ** 2
#     return shared / ((a.T @ a).norm() + (b.T @ b).norm())
# ```
#
# <details><summary>Hint 1</summary>Try a layer with itself: the result should be 1. Then add 3 to one unit: nothing should change.</details>
# <details><summary>Hint 2</summary>A norm squared is a sum of squares, not a squared sum; and "centred" is meant for each column. Is the denominator a sum?</details>


# %% tags=["exercise"]
def mended_cka(a, b):
    # SOLUTION
    a, b = (f - f.mean(0) for f in (a, b))
    shared = (a.T @ b).norm() ** 2
    return shared / ((a.T @ a).norm() * (b.T @ b).norm())
    # END


exercises.mended_cka(mended_cka)

# %% [markdown]
# ## In three lines
#
# A layer can be taught through a linear projector, or by relations between images that need none. Where the teacher knows your classes take its answers: features beside them added nothing, and a heavy hint costs. Where it does not, give its answers outputs of their own, or take its features, which help more here in a contrastive term.
#
# ## Recall
#
# <details><summary>Why a projector, and why linear?</summary>Widths and units differ between networks; a linear one can only read off what the student's layer holds, not compute it.</details>
# <details><summary>Which losses need no projector?</summary>Similarity and relational: they compare images with images.</details>
# <details><summary>CKA went up. Is the student better?</summary>Not necessarily. It sees more like the teacher; its error may stay or rise.</details>
# <details><summary>Six methods, one beats label-only at p = 0.03. What do you say?</summary>Not resolved, until Holm's correction or fresh labels say otherwise.</details>
# <details><summary>The teacher's classes are not yours. What do you do?</summary>Give its answers outputs of their own, never one softmax for both; and try its features: the contrastive term came out better here.</details>
#
# ## Reading
#
# - Romero et al. (2015), *FitNets*; Tung & Mori (2019), *Similarity-Preserving Knowledge Distillation*; Park et al. (2019), *Relational Knowledge Distillation*.
# - Tian, Krishnan & Isola (2020), *Contrastive Representation Distillation*: the contrastive form, and a table of a dozen methods under one recipe.
# - Kornblith et al. (2019), *Similarity of Neural Network Representations Revisited*: CKA.
# - Li & Hoiem (2016), *Learning without Forgetting*: old classes keep outputs of their own.
#
# Next: [](lesson06)
