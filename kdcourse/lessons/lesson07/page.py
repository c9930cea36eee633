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
# **In one line:** with few labels keep the trained start; much of what "moves" is BatchNorm's statistics: with those of the new images no difference between the head alone and all is resolved. Old images in every batch, answered by the old network, keep the old domain.
#
# *{minutes} minutes to read, exercises apart · about 20 CPU seconds to run · needs: [](lesson01)*
#
# After this page you can
#
# - compare ways of fine-tuning fairly: each with its own learning rate (exercise 1), and say which statistics each has;
# - keep the old domain with the old network as teacher, and say why it must not be asked about the new images (exercise 2);
# - freeze any part of a network, BatchNorm included (exercise 3).
#
# ## Why anyone wants this
#
# The images change: another scanner, another clinic. A few new images get labels. You want a network for the new images that still works on the old ones.
#
# Below, `labels` is the number of labelled new images per class in what is trained live. The stored rows (`table.py`, beside this page) have 1 and 10 per class: "10 labels" and "100 labels". Every run takes 60 steps.

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
# As on all pages [06](lesson06) to [09](lesson09): the **old** domain (in tables: *source*) is MNIST, cut to its inner part; the **new** one (*target*) is scikit-learn's digits in the order of their file: we adapt on its beginning and test on its end (fold A; fold B the other way round). A seed changes the source network, the order of batches and the labelled images.

# %%
here = domains.domains("A")
draws = range(seed, seed + (2 if budget == "small" else seeds))
base = {draw: domains.source_network(here.source, seed=draw) for draw in draws}
tests = {"old": here.source_test[:5], "new": here.target_test[:5]}
titles = [f"{domain}: {int(y)}" for domain, part in tests.items() for y in part.y]
strip = figures.digits(torch.cat([part.x for part in tests.values()]), titles=titles)
sizes = f"Old: {len(here.source):,} images, {len(here.source_test):,} to test on. New: {len(here.target):,}, of which few get labels, {len(here.target_test)} to test on."
figures.show(strip, "Five test images of each domain", sizes)

# %% [markdown]
# ## A prediction first

# %%
options = ["only the head", "only the first stage", "all", "all, from scratch"]
question = "One labelled image of each digit. What should move, for the lowest error on new images?"
guess = checks.Prediction(question, options)
guess

# %% [markdown]
# ## Freezing, exactly
#
# A part that is held still gets no step; what comes before it still gets its gradient through it. Give each part $k$ of the weights a switch $m_k \in \{0, 1\}$:
#
# $$\theta_k \leftarrow \theta_k - m_k \cdot \mathrm{lr} \cdot \nabla_{\theta_k}\,\mathrm{CE}$$
#
# This is plain SGD; `fit` takes AdamW, which passes over frozen weights too. By hand, and kdlib's `freeze`:


# %%
def hold(network, *parts):
    for part in parts:
        for weight in network.get_submodule(part).parameters():
            weight.requires_grad = False
    return network


held = [holding(models.cnn(16), *table.STAGES) for holding in (hold, adaptation.freeze)]
switches = [[weight.requires_grad for weight in network.parameters()] for network in held]
assert switches[0] == switches[1]
print(f"{sum(switches[0])} of {len(switches[0])} weight tensors may move: the head's two")

# %% [markdown]
# BatchNorm also keeps *running statistics*: means and variances of what has passed. They are no weights; no gradient moves them, **every forward pass in train mode does**. Below *all* weights are frozen (`""` means the whole network); the network only looks at new images, without labels:


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
lower, higher = metrics.difference(*pairs["new"]), metrics.difference(*reversed(pairs["old"]))
measured = {"points saved, new": lower, "points by which the old error rises": higher}
claim("07.1", text, lower.low > 10 and higher.low > 1, measured=measured)

# %% [markdown]
# On purpose it is a method, AdaBN ([08](lesson08)). `fit` keeps a BatchNorm layer whose weights are frozen in eval mode; your own loop must do so itself, after every `network.train()` (exercise 3).
#
# ## A fair learning rate for each
#
# Each way gets a rate of its own, for few labels (below 10 per class) and for many, on 200 spare labelled images (more than we train on), with seeds used for nothing else:

# %% tags=["nbval-ignore-output"]
KINDS = ["from scratch", *table.STILL]
rate_rows = [[kind, *stored.rates_in_words(kind, "few")] for kind in [*KINDS, "LwF"]]
figures.show_table(["what moves", "few labels: error % by learning rate", "taken"], rate_rows)

# %% [markdown]
# The rates of the front and of LwF (below) lie at an edge of what was tried.
#
# ## How much, by how many labels?
#
# `table.WAYS` copies the source network, freezes, and trains. As `fit` keeps frozen BatchNorm in eval mode, the ways do not have the same statistics. Live, with intervals over seeds and images:

# %% tags=["nbval-ignore-output"]
amount = table.amount(labels)
few = {draw: here.target.per_class(labels, seed=draw) for draw in draws}
STATISTICS = dict(zip(KINDS, ["new", "old", "new: stage 1", "new: stage 3", "new"], strict=True))
tuned = {}
for kind in KINDS:
    way, lr = table.WAYS[kind], stored.rate(kind, amount)
    tuned[kind] = [way(base[draw], here, few[draw], draw, lr) for draw in draws]
columns = [f"{labels} per class: error %", "statistics", "new images", "old images"]
live = [[kind, STATISTICS[kind], *both_errors(tuned[kind], here)] for kind in KINDS]
figures.show_table(columns, live)

# %% [markdown]
# Stored, for 1 to 30 labels per class, ten seeds:

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=3.6)
roles = dict(zip(KINDS, ("alone", "teacher", "extra", "label", "taught"), strict=True))
for k, (kind, role) in enumerate(roles.items()):
    beside = [count * 1.03 ** (k - 2) for count in table.COUNTS]
    figures.lines_with_dots(axis, beside, stored.study(kind), role, kind, log=True)
axis.set(xlabel="labelled images per class", ylabel="error % on new images", yscale="log")
axis.set_xticks(table.COUNTS, table.COUNTS)
axis.set_yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
axis.set_yticks([], minor=True)
title = "With one label per class the trained start counts most"
sentence = "500 new test images; both axes are logarithmic; each way stands a little aside. Dots are seeds, bands intervals over seeds. Front: stage 1. From 10 per class, from scratch has a lower mean than the head on old statistics."
figures.show(picture, title, sentence)

# %%
text = "With one label per class, all saves more than ten points against training from scratch, in both folds"
by_start = {f"points saved, fold {fold}": stored.saved(ALL, SCRATCH, fold) for fold in "AB"}
claim("07.2", text, all(gain.low > 10 for gain in by_start.values()), measured=by_start)

# %% [markdown]
# The domain table grows by this page's rows, in bold. Your prediction meets the lowest mean at one label per class, before statistics are made equal:

# %% tags=["nbval-ignore-output"]
figures.show_table(*domains.table(domains.ways("07"), new="07"))
at_one = {kind: float(stored.study(kind)[0].mean()) for kind in KINDS}
words = dict(zip(["head only", "front only", "all", "from scratch"], options, strict=True))
guess.recall(words[min(words, key=at_one.__getitem__)])

# %% [markdown]
# ### Was that race fair to the head?
#
# No. "All" *looked* at new images, in train mode; the frozen stages kept the old statistics. So give the head the new domain's statistics first (AdaBN on the new images, no labels), and see what looking at the ten labelled images brings without any step:

# %% tags=["nbval-ignore-output"]
CONTROLS = ["looked at", "head only", "AdaBN, then head only"]
places = [(way, n) for n in (10, 100) for way in CONTROLS]
error = {(way, n): float(stored.new_error(f"{n} labels: {way}").mean()) for way, n in places}
control_rows = [
    [n, way, f"{error[way, n]:.1f}", saves(stored.all_saves(way, n))] for way, n in places
]
figures.show_table(["labels", "fold A", "new: error %", "all, against it"], control_rows)

# %%
text = "With the new domain's statistics the head alone gains over a point, and comes within two points of all (ten labels, fold A)"
new_statistics = {f"points saved by them, fold {f}": stored.saved(ADABN, HEAD, f) for f in "AB"}
rest = stored.saved(ALL, ADABN)
holds = stored.saved(ADABN, HEAD).low > 1 and -2 < rest.low < rest.high < 2
measured = new_statistics | {"by moving the rest too, fold A": rest}
measured["by training the head on old statistics, against looking alone, fold A"] = stored.saved(
    HEAD, "10 labels: looked at"
)
claim("07.3", text, holds, measured=measured)

# %% [markdown]
# So with ten labels the lead of "all" over the head was mostly the statistics. Between looking alone, without a step, and training a head on old statistics no difference is resolved.
#
# ### Labels and parts under sliders
#
# Left: green is the way that you choose, red from scratch, blue the source network; the upright line marks the labels per class, the large dot its mean. Predict before you slide: where does the green line cross the red one, for the head?

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
# Right, in yellow: the length of the change of a part's weights, in % of their length before; the scale is logarithmic above 10. (It depends on the learning rate: with few labels the front's is the largest.)
#
# ## Forgetting, and the old network as teacher
#
# See the table's source column: without old images every way gets worse on the old domain, even head only. Three cures, with 500 *old* images or with none:
#
# - **Rehearsal**: old images with their labels in every batch.
# - **The old network as teacher**: old images *without* labels; the network before training answers them, and these are the student's soft targets.
# - **LwF** (Learning without Forgetting, Li & Hoiem 2016): no old images; the old network answers the *new* ones.
#
# $$\text{loss} = \mathrm{CE}_{\text{new}} + T^2\,\mathrm{KL}\big(p_{\text{before}}(x) \,\Vert\, q_\theta(x)\big)_{\text{old } x}$$
#
# Why does the second term hold the network? Let $\theta_0$ be the weights before:
#
# $$\begin{aligned} \theta = \theta_0 &\;\Rightarrow\; q = p \text{ (with the same statistics), so } \mathrm{KL} = 0 \\ &\;\Rightarrow\; \nabla\,\mathrm{KL} = 0 \text{, since KL is never below 0} \end{aligned}$$
#
# Freezing forbids moved weights; this forbids only changed answers. By hand, on the old images (domain 0) of a batch; `z_s`, `z_t` are the logits of the student and of the old network:


# %%
def old_teacher_by_hand(z_s, z_t, domain, T):
    p, log_q = (z_t / T).softmax(1), (z_s / T).log_softmax(1)
    kl = (p * (p.log() - log_q)).sum(1)  # (batch,)
    return T**2 * kl[domain == 0].mean()


z_s, z_t = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
domain = torch.tensor([0, 0, 1, 1, 0, 1])
by_kdlib = losses.soft_targets(z_s, z_t, T, where=domain == 0)
torch.testing.assert_close(old_teacher_by_hand(z_s, z_t, domain, T), by_kdlib)

# %% [markdown]
# As a term of an objective, and what each cure trains on, by which loss:


# %%
@dataclass(frozen=True, repr=False)
class OldTeacher(objectives.Term):
    teacher: objectives.TeacherTable
    T: float

    def loss(self, step, owned):
        logits, told = step.observation.logits, step.teacher(self.teacher).logits
        return losses.soft_targets(logits, told, self.T, where=step.batch.domain == 0)


old, CE = here.source[: table.OLD], HardLabels()
CURES = {
    "all": lambda d: (few[d], CE),
    "all, old images without loss": lambda d: (few[d] + old.unlabelled(), CE),
    "all + rehearsal": lambda d: (few[d] + old, CE),
    "all + old teacher": lambda d: (
        few[d] + old.unlabelled(),
        CE + OldTeacher(objectives.tabulate(base[d], old), T),
    ),
    "LwF": lambda d: (few[d], CE + SoftTargets(objectives.tabulate(base[d], few[d]), T)),
}

# %% [markdown]
# A batch holds 32 images of each domain and passes *jointly*, so BatchNorm sees both. Is it the answers, or these statistics? A control has the old images in the batch, no loss on them, and the rate of "all". Live:

# %% tags=["nbval-ignore-output"]
cured = {}
for cure, recipe in CURES.items():
    cure_rate = stored.rate(cure.split(",")[0], amount)
    recipes = [(d, *recipe(d)) for d in draws]
    cured[cure] = [
        table.tuned(base[d], x, seed=d, lr=cure_rate, objective=loss) for d, x, loss in recipes
    ]
old_wrong = {cure: wrong_answers(networks, here.source_test) for cure, networks in cured.items()}
on_old = {cure: metrics.difference(old_wrong["all"], old_wrong[cure]) for cure in cured}
cure_rows = [[cure, *both_errors(cured[cure], here), saves(on_old[cure])] for cure in cured]
cure_rows[0][-1] = ""
figures.show_table([columns[0], *columns[2:], 'old images, against "all"'], cure_rows)

# %% [markdown]
# See the second row: in the mean, and at this learning rate, most of the cure comes without any loss on old images. Three seeds do not resolve how much of it is statistics. Stored, ten seeds, without that control:

# %% tags=["nbval-ignore-output"]
picture, axes = figures.figure(height=2.9, panels=2, sharey=True)
COLOURS = {
    "all": "taught",
    "all + rehearsal": "extra",
    "all + old teacher": "teacher",
    "LwF": "label",
}
for place, (cure, role) in enumerate(COLOURS.items()):
    figures.seed_dots(axes[0], place, 100 * stored.wrong(f"10 labels: {cure}").double(), role)
    figures.seed_dots(axes[1], place, stored.old_error(f"10 labels: {cure}"), role)
untouched = domains.ways("06")["source only"]
axes[1].axhline(untouched.source_error, color=figures.GHOST, linestyle=":")
axes[0].set(title="new domain: digits", ylim=(0, None), ylabel="error %")
axes[1].set_title("old domain: MNIST")
for axis in axes:
    axis.set_xticks(range(4), ["all", "rehearsal", "old teacher", "LwF"])
title = "The old teacher keeps the old domain; no cost on the new one in fold A"
sentence = f"Ten labels, one per class. Dots are seeds, bars means, lines intervals (new: over seeds and images; old: over seeds). Grey, dotted: the source network; on the new domain it stands above the picture, at {untouched.error().mean:.0f} %."
figures.show(picture, title, sentence)

# %%
text = "'All' forgets; with the old network as teacher on 500 unlabelled old images the old error stays below 4 %, and a cost of a point on the new domain is ruled out (fold A)"
before, after = stored.old_interval(ALL), stored.old_interval(TAUGHT)
spared = stored.saved(TAUGHT, ALL)
measured = {"old error %, all": before, "old teacher": after, "points saved, new, fold A": spared}
measured["fold B"] = stored.saved(TAUGHT, ALL, "B")
claim("07.4", text, before.low > 7 and after.high < 4 and spared.low > -1, measured=measured)

# %% [markdown]
# **What was forgotten?** Perhaps only the statistics. Put the source's statistics back into the finished network (AdaBN on old images):

# %% tags=["nbval-ignore-output"]
BACK = [f"{n} labels: all{back}" for n in (10, 100) for back in ("", ", source statistics")]
back_rows = [
    [name, f"{metrics.interval(100 * stored.wrong(name).double()):.1f}", stored.old_interval(name)]
    for name in BACK
]
figures.show_table(["fold A", "new: error %", "old: error %"], back_rows)

# %%
text = "Most of the forgetting is BatchNorm's statistics: with the source's put back, more than five points of the old error are gone"
put_back = [stored.saved_on_old(BACK[k + 1], BACK[k]) for k in (0, 2)]
measured = dict(zip(("points saved on the old, 10 labels", "100 labels"), put_back, strict=True))
claim("07.5", text, all(gain.low > 5 for gain in put_back), measured=measured)

# %% [markdown]
# But then the *new* domain is lost again: that cure must know the domain of each test image. The old teacher must know it in training alone: one set of statistics for both.
#
# **Why LwF fails here.** It asks the old network about images that it often gets wrong (exercise 2 asks what its mistake may weigh). Of the rates above its smallest was best. In the paper the new task has outputs of its own; here old answers and new labels share the same ten.

# %%
text = "Old answers on the new images (LwF) cost points on the new domain, with ten labels in fold A and with a hundred in both folds"
settings = [(10, "A"), (100, "A"), (100, "B")]
without = {f"points saved without, {n}, {f}": stored.all_saves("LwF", n, f) for n, f in settings}
holds = all(gain.low > 0.5 for gain in without.values())
without["not claimed: 10, B"] = stored.all_saves("LwF", 10, "B")
claim("07.6", text, holds, measured=without)

# %% [markdown]
# ## What can go wrong
#
# **Frozen weights, moving statistics**, or the reverse: say which statistics each network has.
#
# **One learning rate for all**, or a setting chosen on the test set.
#
# **"It has forgotten."** First put the old statistics back and test again.
#
# *Where* it should move (mirrored and renamed digits), a pull towards the start (L2-SP) and the L2 form are in the [lab notes](lesson07/notes).
#
# ## Exercises
#
# **1 (5 minutes).** A fair rate for each. `errors[way][lr]` is a list of validation errors, one for each draw. Return a dictionary: way → the learning rate with the lowest **mean** error; of equals, the smaller rate.
#
# <details><summary>Hint 1</summary>A mean for each rate first; then compare rates within one way, never across ways.</details>
# <details><summary>Hint 2</summary>Which of two equals does <code>min</code> take? So in which order should it meet the rates?</details>


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
# **2 (15 minutes).** Why not the new images? For one labelled new image LwF minimises (here with T = 1) $\mathrm{CE}(y, q) + \lambda\,\mathrm{KL}(p \,\Vert\, q)$, where $q$ are the student's probabilities and $p$ the old network's. Find the best $q$ on paper. Then write `largest_weight(p, y)` for a batch, `p` of shape (batch, classes) and `y` of shape (batch,): for each image the λ up to which the label is the first choice of that $q$; `inf` where it is the old network's first choice, too.
#
# <details><summary>Hint 1</summary>Both terms together are −Σ w_k log q_k, plus a number without q. Which w? The best q, among those that sum to 1, is proportional to it.</details>
# <details><summary>Hint 2</summary>w is 1 for the label, 0 elsewhere, plus λ p. Write down w of the label and w of the old network's first choice: at which λ are they equal?</details>


# %% tags=["exercise"]
def largest_weight(p, y):
    # SOLUTION
    label = p.gather(1, y[:, None])[:, 0]
    return 1 / (p.amax(1) - label)  # 1 + λ p_y = λ max p; and 1 / 0 is inf
    # END


exercises.largest_weight(largest_weight)

# %% [markdown]
# **3 (debugging).** This should hold one stage still for training. It has three mistakes. Repair them all; leave the rest of the network in train mode, and return it. (The checker's network has `stage1`, `stage10` and `head`.)
#
# ```python
# def hold_still(network, name):
#     for own, module in network.named_modules():
#         if name in own:
#             module.requires_grad = False
#     return network.train()
# ```
#
# <details><summary>Hint 1</summary>Print <code>network.stage1[0].weight.requires_grad</code> after the call. What did <code>module.requires_grad = False</code> do? And for which of the three modules is <code>"stage1" in own</code> true?</details>
# <details><summary>Hint 2</summary><code>requires_grad_(False)</code>, with an underscore, reaches a module's weights. The last line wakes BatchNorm up again.</details>


# %% tags=["exercise"]
def hold_still(network, name):
    # SOLUTION
    network.train()
    network.get_submodule(name).requires_grad_(False).eval()
    return network
    # END


exercises.hold_still(hold_still)

# %% [markdown]
# ## In three lines
#
# With few labels the trained start is worth most. Before you say what should move, say which statistics each way has, and give each its own learning rate. To keep the old domain, put old images in every batch and let the old network answer *them*, not the new ones.
#
# ## Recall
#
# <details><summary>What besides requires_grad belongs to freezing?</summary>BatchNorm's running statistics: the layer in eval mode.</details>
# <details><summary>Why may one learning rate for all ways be unfair?</summary>The best rate of one way is a bad one for another: see the table of rates.</details>
# <details><summary>Old images are in every batch, and the old domain is kept. Is it the old answers?</summary>Perhaps only in part: without any loss they already change BatchNorm's statistics. A control with old images and no loss tells.</details>
# <details><summary>Why does LwF fail here?</summary>The old network is often wrong on the new images, and its answers go to the same outputs as the labels.</details>
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
