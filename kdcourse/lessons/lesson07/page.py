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
# # How much of a trained network should move?
#
# **In one line:** with few labels keep the trained start; much of what "moves" is BatchNorm's statistics, and with those of the new images the head alone does as well as everything; and let the old network teach on old images, or the old domain is forgotten.
#
# *{minutes} minutes to read, exercises apart · about 20 CPU seconds to run · needs: [](lesson01)*
#
# After this page you can
#
# - freeze any part of a network, BatchNorm included;
# - compare ways of fine-tuning fairly: by labels per class, each with its own learning rate, all with the same statistics;
# - keep the old domain while learning the new one, with the old network as teacher, and say why it must not be asked about the new images.
#
# ## Why anyone wants this
#
# A network works; then the images change: another scanner, another clinic, other writers. A few new images get labels. You want a network for the new images, from those few, that still works on the old ones.
#
# Below, `labels` is the number of labelled new images per class in what is trained live. The stored rows (`table.py`, beside this page) have 1 and 10 per class; everything takes 60 steps.

# %% tags=["parameters"]
labels: int = 1  # 1..30
T: float = 2.0  # 0.5..20
seeds: int = 3  # 2..10
seed: int = 10  # 0..1000
budget: str = "full"  # full | small

# %%
import copy
from dataclasses import dataclass

import torch

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.ground import domains
from kdcourse.lessons.lesson07 import exercises, table
from kdcourse.lessons.lesson07 import stored_tuning as stored
from kdcourse.lessons.lesson07.frozen_parts import FrozenParts
from kdcourse.lessons.lesson07.stored_tuning import ADABN, ALL, HEAD, SCRATCH, TAUGHT
from kdcourse.lessons.lesson07.stored_tuning import both_errors, wrong_answers
from kdcourse.measured import saves
from kdcourse.parameters import check_parameters
from kdlib import adaptation, losses, metrics, models, objectives
from kdlib.objectives import HardLabels, SoftTargets

check_parameters()

# %% [markdown]
# ## The task
#
# As on all pages [06](lesson06) to [09](lesson09): the **old** domain is MNIST, cut to its inner part; the **new** one is scikit-learn's digits in the order of their file, so that the test images come from other writers (fold A; fold B adapts on the end of the file). A seed changes the source network, the order of batches and the labelled images.

# %%
here = domains.domains("A")
draws = range(seed, seed + (2 if budget == "small" else seeds))
base = {draw: domains.source_network(here.source, seed=draw) for draw in draws}

# %% [markdown]
# ## A prediction first

# %%
options = ["only the head", "only the first stage", "everything", "everything, from scratch"]
question = "One labelled image of each digit. What should move, for the lowest error on new images?"
guess = checks.Prediction(question, options)
guess

# %% [markdown]
# ## Freezing, exactly
#
# A part that is held still gets no step. What comes after it still learns from its output; what comes *before* it still gets its gradient through it. Give each part $k$ of the weights a switch $m_k \in \{0, 1\}$:
#
# $$\theta_k \leftarrow \theta_k - m_k \cdot \mathrm{lr} \cdot \nabla_{\theta_k}\,\mathrm{CE}$$
#
# By hand, and kdlib's `freeze`:


# %%
def hold(network, *parts):
    for part in parts:
        for weight in network.get_submodule(part).parameters():
            weight.requires_grad = False
    return network


still = [still(models.cnn(16), *table.STAGES) for still in (hold, adaptation.freeze)]
switches = [[weight.requires_grad for weight in network.parameters()] for network in still]
assert switches[0] == switches[1]
print(f"{sum(switches[0])} of {len(switches[0])} weight tensors may move: the head's two")

# %% [markdown]
# That is half of it. BatchNorm also keeps *running statistics*: means and variances of what has passed. They are no weights; no gradient moves them, **every forward pass in train mode does**. Below *all* weights are frozen, and there is not even an optimiser. The network only looks at new images, without labels:


# %%
def looks(network, images):
    onlooker = adaptation.freeze(copy.deepcopy(network), "").train()
    for batch in images.batches(32):
        onlooker(batch.x)
    return onlooker.eval()


onlookers = [looks(network, here.target.unlabelled()) for network in base.values()]
looked_at = [
    ["source network", *both_errors(base.values(), here)],
    ["it has looked", *both_errors(onlookers, here)],
]
figures.show_table(["error %", "new images", "old images"], looked_at)

# %%
text = "In train mode a network whose weights are all frozen changes by mere looking: for the better on the new domain, for the worse on the old one"
parts = {"new": here.target_test, "old": here.source_test}
pairs = {
    k: [wrong_answers(nets, part) for nets in (base.values(), onlookers)]
    for k, part in parts.items()
}
gains = {f"points saved, {k}": metrics.difference(*pair) for k, pair in pairs.items()}
holds = gains["points saved, new"].low > 10 and gains["points saved, old"].high < -1
claim("07.1", text, holds, measured=gains)

# %% [markdown]
# Done on purpose it is a method, AdaBN ([08](lesson08)). Done unknowingly it spoils comparisons. `fit` keeps a BatchNorm layer whose weights are frozen in eval mode; your own loop must do it itself (exercise 3).
#
# ## A fair learning rate for each
#
# A head has few weights and far to go; a whole network needs small steps. One rate for all would decide the race beforehand. So each way gets its own, for few labels (below 10 per class) and for many, on 200 spare images, with seeds used for nothing else:

# %% tags=["nbval-ignore-output"]
KINDS = ["from scratch", *table.STILL]
rate_rows = [[kind, *stored.rates_in_words(kind, "few")] for kind in KINDS]
figures.show_table(["what moves", "few labels: error % by learning rate", "taken"], rate_rows)

# %% [markdown]
# At a small rate the head has not failed: it has not *arrived*. (200 labelled images to choose by are more than the training has. What was learned *here* may serve *there*.)
#
# ## How much, by how many labels?
#
# `table.WAYS` copies the source network, freezes, and trains. Live, for each seed:

# %% tags=["nbval-ignore-output"]
amount = table.amount(labels)
few = {draw: here.target.per_class(labels, seed=draw) for draw in draws}
moved = {}
for kind in KINDS:
    how = table.WAYS[kind]
    lr = stored.rate(kind, amount)
    moved[kind] = [how(base[draw], here, few[draw], draw, lr) for draw in draws]
head = [f"{labels} per class: error %", "new images", "old images"]
figures.show_table(head, [[kind, *both_errors(networks, here)] for kind, networks in moved.items()])

# %% [markdown]
# Stored, for 1 to 30 labels per class, ten seeds:

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=2.9)
roles = {"from scratch": "alone", "head only": "teacher", "front only": "extra", "all": "taught"}
for kind, role in roles.items():
    figures.lines_with_dots(axis, table.COUNTS, stored.study(kind), role, kind, log=True)
axis.set(xlabel="labelled images per class", ylabel="error % on new images", ylim=(0, None))
title = "With one label per class the trained start counts most; all stays ahead"
sentence = "500 images of other writers, 60 steps each. Dots are seeds, bands intervals over seeds. Front: the first stage. The head on old statistics falls behind as labels grow."
figures.show(picture, title, sentence)

# %%
text = "With one label per class, everything moving saves more than ten points against training from scratch, in both folds"
by_start = {f"points saved, fold {fold}": stored.saved(ALL, SCRATCH, fold) for fold in "AB"}
claim("07.2", text, all(gain.low > 10 for gain in by_start.values()), measured=by_start)

# %% [markdown]
# The domain table grows by this page's rows, in bold (100 labels are 10 per class):

# %% tags=["nbval-ignore-output"]
figures.show_table(*domains.table(domains.ways("07"), new="07"))
guess.recall("everything")

# %% [markdown]
# ### Was that race fair to the head?
#
# No. Everything-moves *looked* at new images, in train mode; the frozen stages kept the old statistics. So give the head the new domain's statistics first (AdaBN on the new images, no labels), and see what looking at the ten labelled images brings without any step:

# %% tags=["nbval-ignore-output"]
CONTROLS = ["looked at", "head only", "AdaBN, then head only"]
places = [(way, n) for n in (10, 100) for way in CONTROLS]
error = {(way, n): float(stored.new_error(f"{n} labels: {way}").mean()) for way, n in places}
control_rows = [
    [n, way, f"{error[way, n]:.1f}", saves(stored.all_saves(way, n))] for way, n in places
]
figures.show_table(
    ["labels", "fold A", "new: error %", "everything moving, against it"], control_rows
)

# %%
text = "With the new domain's statistics the head alone gains over a point, and comes within two points of everything moving (ten labels, fold A)"
new_statistics = {f"points saved by them, fold {f}": stored.saved(ADABN, HEAD, f) for f in "AB"}
rest = stored.saved(ALL, ADABN)
holds = stored.saved(ADABN, HEAD).low > 1 and -2 < rest.low < rest.high < 2
claim("07.3", text, holds, measured=new_statistics | {"by moving the rest too, fold A": rest})

# %% [markdown]
# So the lead of everything-moves over the head was mostly the statistics, not the weights. Looking alone, without a step, does as well as ten labels for a head on old statistics.
#
# ### Labels and parts under sliders
#
# Predict before you slide: where does the green line cross the dashed one, for the head?

# %% tags=["nbval-ignore-output"]
FrozenParts(
    table.COUNTS,
    list(table.STILL),
    torch.stack([stored.study(kind) for kind in table.STILL], 1),
    anew=stored.study("from scratch"),
    as_is=100 * float(wrong_answers(base.values(), here.target_test).double().mean()),
    n=len(here.target_test),
    parts=list(table.PARTS),
    moved=torch.stack([stored.moved(kind) for kind in table.STILL], 1),
    start={"labels per class": 1, "what moves": "all"},
    situations={
        "1 label, only the head": {"labels per class": 1, "what moves": "head only"},
        "30 labels, only the head": {"labels per class": 30, "what moves": "head only"},
    },
)

# %% [markdown]
# On the right: how far each part went, on a logarithmic scale. (It depends on the learning rate: the head's is the largest.)
#
# ## Forgetting, and the old network as teacher
#
# See the table's source column: whoever moves everything gets worse on the old domain. Three cures, with 500 *old* images or with none:
#
# - **Rehearsal**: old images with their labels in every batch.
# - **The old network as teacher**: old images *without* labels; the network before training answers them, the student keeps these answers.
# - **LwF** (Learning without Forgetting, Li & Hoiem 2016): no old images; the old network answers the *new* ones.
#
# $$\text{loss} = \mathrm{CE}_{\text{new}} + T^2\,\mathrm{KL}\big(p_{\text{before}}(x) \,\Vert\, q_\theta(x)\big)_{\text{old } x}$$
#
# Why does the second term hold the network? Let $\theta_0$ be the weights before:
#
# $$\begin{aligned} \theta = \theta_0 &\;\Rightarrow\; q = p, \text{ so } \mathrm{KL} = 0 \\ &\;\Rightarrow\; \nabla\,\mathrm{KL} = 0 \text{, since KL is never below 0} \\ \theta \text{ near } \theta_0 &\;\Rightarrow\; \mathrm{KL} \approx \tfrac12 (\theta - \theta_0)^\top F\, (\theta - \theta_0) \end{aligned}$$
#
# A spring, weak in all directions that leave the old answers alone (there $F$, the Fisher matrix, is near 0). Freezing forbids directions; this forbids only changed answers. By hand, on the old images (domain 0) of a batch:


# %%
def old_teacher_by_hand(z_s, z_t, domain, T):
    p, log_q = (z_t / T).softmax(1), (z_s / T).log_softmax(1)
    kl = (p * (p.log() - log_q)).sum(1)  # (batch,)
    return T**2 * kl[domain == 0].mean()


z_s, z_t = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
domain = torch.tensor([0, 0, 1, 1, 0, 1])
kept = losses.soft_targets(z_s, z_t, T, where=domain == 0)
torch.testing.assert_close(old_teacher_by_hand(z_s, z_t, domain, T), kept)

# %% [markdown]
# As a term; then the cures beside "all". A batch holds 32 images of each domain and passes *jointly*, so that BatchNorm sees both:


# %%
@dataclass(frozen=True, repr=False)
class OldTeacher(objectives.Term):
    teacher: objectives.TeacherTable
    T: float

    def loss(self, step, owned):
        logits, told = step.observation.logits, step.teacher(self.teacher).logits
        return losses.soft_targets(logits, told, self.T, where=step.batch.domain == 0)


# %% [markdown]
# Live, both domains:

# %% tags=["nbval-ignore-output"]
old, CE = here.source[: table.OLD], HardLabels()
CURES = {
    "all": lambda d: (few[d], CE),
    "all + rehearsal": lambda d: (few[d] + old, CE),
    "all + old teacher": lambda d: (
        few[d] + old.unlabelled(),
        CE + OldTeacher(objectives.tabulate(base[d], old), T),
    ),
    "LwF": lambda d: (few[d], CE + SoftTargets(objectives.tabulate(base[d], few[d]), T)),
}
cured = {}
for cure, make in CURES.items():
    how = dict(lr=stored.rate(cure, amount))
    made = [(d, *make(d)) for d in draws]
    cured[cure] = [table.tuned(base[d], x, seed=d, objective=loss, **how) for d, x, loss in made]
figures.show_table(head, [[cure, *both_errors(networks, here)] for cure, networks in cured.items()])

# %% [markdown]
# Stored, one label per class, ten seeds of fold A:

# %% tags=["nbval-ignore-output"]
picture, axes = figures.figure(height=2.9, panels=2)
COLOURS = dict(zip(CURES, ("alone", "extra", "taught", "label"), strict=True))
for axis, errors in zip(axes, (stored.new_error, stored.old_error), strict=True):
    for place, (cure, role) in enumerate(COLOURS.items()):
        figures.seed_dots(axis, place, errors(f"10 labels: {cure}"), role)
    axis.set(ylim=(0, None), ylabel="error %")
    axis.set_xticks(range(4), ["all", "rehearsal", "old teacher", "LwF"])
axes[0].set_title("new domain: other writers")
axes[1].set_title("old domain: MNIST")
title = "The old network as teacher keeps the old domain and costs the new one nothing"
sentence = "Ten labels, one per class. Dots are seeds, bars means, lines intervals over seeds."
figures.show(picture, title, sentence)

# %%
text = "Everything moving forgets; with the old network as teacher on 500 unlabelled old images the old error stays below 4 % and the new one rises by less than a point (fold A)"
before, after = stored.old_interval(ALL), stored.old_interval(TAUGHT)
spared = stored.saved(TAUGHT, ALL)
measured = {"old error %, all": before, "old teacher": after, "points saved, new": spared}
claim("07.4", text, before.low > 7 and after.high < 4 and spared.low > -1, measured=measured)

# %% [markdown]
# (In fold B, five seeds, the cost on the new domain is not resolved either way: see the domain table.)
#
# **What was forgotten?** A rival explanation: not the weights, only the statistics. Put the source's statistics back into the finished network (AdaBN on old images):

# %% tags=["nbval-ignore-output"]
BACK = [f"{n} labels: all{back}" for n in (10, 100) for back in ("", ", source statistics")]
back = {name: (stored.new_error(name).mean(), stored.old_error(name).mean()) for name in BACK}
back_rows = [[name, *(f"{float(error):.1f}" for error in errors)] for name, errors in back.items()]
figures.show_table(["fold A", "new: error %", "old: error %"], back_rows)

# %%
text = "Most of the forgetting is BatchNorm's statistics: with the source's put back, more than five points of the old error are gone"
put_back = [stored.saved_on_old(BACK[k + 1], BACK[k]) for k in (0, 2)]
measured = dict(zip(("points saved on the old, 10 labels", "100 labels"), put_back, strict=True))
claim("07.5", text, all(gain.low > 5 for gain in put_back), measured=measured)

# %% [markdown]
# But then the *new* domain is lost again: that cure must know, for each image, which domain it comes from. The old teacher needs to know it in training alone: one network, one set of statistics, for both.
#
# **Why LwF fails here.** It asks the old network about images that it gets wrong, and the student keeps its mistakes: so much that the smallest learning rate tried was best, the one that learns least. In the paper the new task has outputs of its own, so that old answers and new labels never contradict ([05](lesson05)); here both speak of the same ten digits.

# %%
text = "Old answers on the new images (LwF) cost points on the new domain"
settings = [(10, "A"), (100, "A"), (100, "B")]
without = {f"points saved without, {n}, {f}": stored.all_saves("LwF", n, f) for n, f in settings}
claim("07.6", text, all(gain.low > 0.5 for gain in without.values()), measured=without)

# %% [markdown]
# ## What can go wrong
#
# **Frozen weights, moving statistics**, or the reverse: say which statistics each network has.
#
# **One learning rate for all**, fewer steps for one side, or a setting chosen on the test set.
#
# **"It has forgotten."** First put the old statistics back and test again.
#
# Mirrored and renamed digits (*where* it should move), flipped kernels, a pull towards the start (L2-SP), half-and-half training and the L2 form are in the [lab notes](lesson07/notes).
#
# ## Exercises
#
# **1 (5 minutes).** A fair rate for each. `errors[way][lr]` is a list of validation errors, one for each draw. Return a dictionary: way → the learning rate with the lowest **mean** error; of equals, the smaller rate.
#
# <details><summary>Hint 1</summary>A mean for each rate first; then compare rates within one way, never across ways.</details>
# <details><summary>Hint 2</summary><code>min(sorted(rates), key=…)</code> takes the first of equals.</details>


# %% tags=["exercise"]
def fair_rates(errors):
    # SOLUTION
    def mean(values):
        return sum(values) / len(values)

    return {
        way: min(sorted(rates), key=lambda lr: mean(rates[lr])) for way, rates in errors.items()
    }
    # END


exercises.fair_rates(fair_rates)

# %% [markdown]
# **2 (15 minutes).** The L2 form of keeping. For one batch: cross-entropy of the labelled images (label −1 means none), plus λ times the mean over the **old** images (domain 0) of $\lVert p_{\text{before}} - q \rVert^2$, the squared distance of the two probability vectors. One number.
#
# <details><summary>Hint 1</summary>Two masks of the batch: <code>y &gt;= 0</code> and <code>domain == 0</code>. They need not be opposites.</details>
# <details><summary>Hint 2</summary>Softmax both (no temperature), subtract, square, sum over the classes, then average over the old images.</details>


# %% tags=["exercise"]
def keeping_loss(z_s, z_t, y, domain, lam):
    # SOLUTION
    new = torch.nn.functional.cross_entropy(z_s[y >= 0], y[y >= 0])
    square = (z_t.softmax(1) - z_s.softmax(1)).pow(2).sum(1)  # (batch,)
    return new + lam * square[domain == 0].mean()
    # END


exercises.keeping_loss(keeping_loss)

# %% [markdown]
# **3 (debugging).** This should hold one stage still for training. It has three mistakes. Mend them all; leave the rest of the network in train mode, and return it.
#
# ```python
# def mended_hold(network, name):
#     for own, module in network.named_modules():
#         if name in own:
#             module.requires_grad = False
#     return network.train()
# ```
#
# <details><summary>Hint 1</summary>Print <code>network.stage1[0].weight.requires_grad</code> after the call. What did <code>module.requires_grad = False</code> do? And what else does <code>"stage1" in own</code> match?</details>
# <details><summary>Hint 2</summary><code>requires_grad_(False)</code>, with an underscore, reaches a module's weights. The last line wakes BatchNorm up again.</details>


# %% tags=["exercise"]
def mended_hold(network, name):
    # SOLUTION
    network.train()
    network.get_submodule(name).requires_grad_(False).eval()
    return network
    # END


exercises.mended_hold(mended_hold)

# %% [markdown]
# ## In three lines
#
# With few labels the trained start is worth most. Say which BatchNorm statistics each way has, and give each a learning rate of its own, before you say what should move. To keep the old domain, let the old network answer *old* images; asked about the new ones it passes on its mistakes.
#
# ## Recall
#
# <details><summary>What besides requires_grad belongs to freezing?</summary>BatchNorm's running statistics: the layer in eval mode.</details>
# <details><summary>Why may one learning rate for all ways be unfair?</summary>A head has few weights and far to go: at a rate that suits a whole network it may not have arrived when training ends.</details>
# <details><summary>Why does the old teacher cost the new domain so little?</summary>It only holds answers to old images; all directions that leave these alone are free.</details>
# <details><summary>Why does LwF fail here?</summary>The old network is wrong on the new images, and the student learns its mistakes, on the same outputs as the labels.</details>
# <details><summary>A fine-tuned network got worse on the old domain. What do you check first?</summary>Its BatchNorm statistics: put the old ones back and test again.</details>
#
# ## Reading
#
# - Yosinski et al. (2014), *How transferable are features in deep neural networks?*: freezing against moving, layer by layer.
# - Li & Hoiem (2016), *Learning without Forgetting*: the old network's answers, on outputs of their own.
# - Lee et al. (2023), *Surgical Fine-Tuning Improves Adaptation to Distribution Shifts*: which part to move, by the kind of shift.
# - Kumar et al. (2022), *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution*: the head first, then everything.
#
# Next: [](lesson08)
