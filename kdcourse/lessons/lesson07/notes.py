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
# # Where should a network move, and what holds it?
#
# *Optional lab notes to [](lesson07): controls, relatives and second settings, with the same rules. {minutes} minutes to read, about 30 CPU seconds to run.*
#
# Here: a shift that we make ourselves (mirrored or renamed digits), so that we know which part *ought* to move; other ways to keep the old domain; a pull towards the start; the L2 form.

# %% tags=["parameters"]
labels: int = 10  # 1..30
lam: float = 0.1  # 0.001..10
seeds: int = 3  # 2..10
seed: int = 10  # 0..1000
budget: str = "full"  # full | small

# %%
import copy
from dataclasses import dataclass

import torch

from kdcourse import figures
from kdcourse.checks import claim
from kdcourse.ground import domains
from kdcourse.lessons.lesson07 import stored_tuning as stored
from kdcourse.lessons.lesson07 import table
from kdcourse.lessons.lesson07.stored_tuning import in_words, wrong_answers
from kdcourse.measured import saves
from kdcourse.parameters import check_parameters
from kdlib import data, losses, metrics, models, objectives
from kdlib.bank import train_bank
from kdlib.data import shifts
from kdlib.objectives import HardLabels, Regularizer, SoftTargets

check_parameters()

# %% [markdown]
# ## Mirrored and renamed digits
#
# The old domain is the page's: MNIST's inner part, upright. Two new ones, made from the 500 validation images, which no source network has seen: the digits **in a mirror** (other pixels, same names), and upright digits **renamed** (same pixels; every 0 is called 1, …, every 9 is called 0).

# %%
here = domains.domains("A")
draws = range(seed, seed + (2 if budget == "small" else seeds))
base = {draw: domains.source_network(here.source, seed=draw) for draw in draws}
pool = data.load("mnist5k").validation.transformed(shifts.crop(20, domains.PIXELS)).as_domain(1)

# %% [markdown]
# Images to train on and to test on, of each shift:

# %%
mirror, sides = shifts.mirror(), (pool, here.source_test)
NEW = {
    "mirrored": [part.transformed(mirror) for part in sides],
    "renamed": [part.labelled_as((part.y + 1) % 10) for part in sides],
}


# %%
def after(still, images, rate):
    """A network of each draw, trained on its labelled images with the parts `still` held still."""
    few_of = {d: images.per_class(labels, seed=d) for d in draws}
    return [table.tuned(base[d], x, seed=d, lr=rate, still=still) for d, x in few_of.items()]


# %% [markdown]
# One part moves, all others are held still, BatchNorm included (the head at ten times the rate, see the page's table of rates):

# %%
MOVES = {
    "head": (table.STAGES, 0.1),
    "all but the head": (("head",), 0.01),
    "stage1": (("stage2", "stage3", "head"), 0.01),
    "stage2": (("stage1", "stage3", "head"), 0.01),
    "stage3": (("stage1", "stage2", "head"), 0.01),
}

# %% [markdown]
# Trained and tested:

# %% tags=["nbval-ignore-output"]
missed = {
    part: [wrong_answers(after(still, few, rate), unseen) for few, unseen in NEW.values()]
    for part, (still, rate) in MOVES.items()
}
figures.show_table(["what moves", *(f"{shift}: error %" for shift in NEW)], in_words(missed))

# %% [markdown]
# The first two rows as a picture:

# %% tags=["nbval-ignore-output"]
picture, axes = figures.figure(height=2.6, panels=2, sharey=True)
for k, (axis, shift) in enumerate(zip(axes, NEW, strict=True)):
    for place, (part, role) in enumerate({"head": "teacher", "all but the head": "extra"}.items()):
        figures.seed_dots(axis, place, 100 * missed[part][k].double().mean(1), role)
    axis.set(title=f"{shift} digits", xlim=(-0.6, 1.6), ylabel="error %")
    axis.set_xticks([0, 1], ["only the head\nmoves", "all but the head\nmoves"])
axes[0].set_ylim(0, None)  # both share it, so only when all is drawn
title = "Other names want the head; for other pixels no clear winner"
sentence = "Ten labels per class. Dots are draws, bars means, lines intervals over draws."
figures.show(picture, title, sentence)

# %%
text = "For renamed digits it is better to move the head than all but the head; for mirrored ones, of the single stages, the last"
names = metrics.difference(missed["all but the head"][1], missed["head"][1])
last = {p: metrics.difference(missed[p][0], missed["stage3"][0]) for p in ("stage1", "stage2")}
measured = {"points saved by the head, renamed": names} | {
    f"by stage3 against {p}": v for p, v in last.items()
}
said = "Lee et al. 2023: shifts of the input want the first layers tuned (here: the last stage), shifts of the output the last"
claim(
    "07.11",
    text,
    min(names.low, *(v.low for v in last.values())) > 1,
    measured=measured,
    published=said,
)

# %% [markdown]
# With a learning rate of its own the head is not clearly worse on mirrored digits. The shifts of the input in the paper were corruptions, which a first layer can undo. A mirror changes the kernels of *every* stage; the last can put what comes before it to new use.
#
# ### A reader of mirror writing without a single label
#
# Why can the head stay as it is? A reader of mirrored digits *exists* with the same head: flip every 3 × 3 kernel left to right. Each map is then the mirror image of what it was, and the pooling at the end does not care.


# %%
def flipped(network):
    reader = copy.deepcopy(network)
    for weight in reader.parameters():
        if weight.dim() == 4:  # kernels: (out, in, 3, 3)
            weight.data = weight.data.flip(-1)
    return reader


mirrored_test = NEW["mirrored"][1]
upright_wrong = wrong_answers(base.values(), here.source_test)
flipped_wrong = wrong_answers([flipped(network) for network in base.values()], mirrored_test)

# %%
text = "With its kernels flipped the network reads mirrored digits as well as upright ones; no label was used"
upright, mirrored = (100 * float(w.double().mean()) for w in (upright_wrong, flipped_wrong))
measured = {"error %, upright": upright, "mirrored, kernels flipped": mirrored}
claim("07.12", text, abs(upright - mirrored) <= 0.2, measured=measured)

# %% [markdown]
# Here, knowing *what* changed beats ten labels per class (compare the table above).
#
# ## Keeping the old domain, when both cannot be had for free
#
# On the page the old teacher costs nothing on the new domain. Mirrored digits are a harder case: other pixels altogether. Beside the page's three cures stands **half and half**: new images that are mirrored with p = 0.5.


# %%
@dataclass(frozen=True, repr=False)
class Keep(objectives.Term):
    """The old network's answers on old images (domain 0), by soft targets or squared distance."""

    teacher: objectives.TeacherTable
    form: str = "soft targets"

    def loss(self, step, owned):
        z_s, z_t = step.observation.logits, step.teacher(self.teacher).logits
        form, T = (losses.probability_mse, 1.0) if self.form == "L2" else (losses.soft_targets, 2.0)
        return form(z_s, z_t, T, where=step.batch.domain == 0)


# %%
old = here.source[: table.OLD]
few = {d: NEW["mirrored"][0].per_class(labels, seed=d) for d in draws}
half_way = shifts.mirror(0.5)
half = {d: pool.per_class(labels, seed=d).transformed(half_way, seed=d) for d in draws}

# %% [markdown]
# What each cure trains on, and by which objective:

# %%
CE = HardLabels()
CURES = {
    "always mirrored": lambda d: (few[d], CE),
    "half and half, p = 0.5": lambda d: (half[d], CE),
    "rehearsal": lambda d: (few[d] + old, CE),
    "old teacher": lambda d: (
        few[d] + old.unlabelled(),
        CE + Keep(objectives.tabulate(base[d], old)),
    ),
    "LwF": lambda d: (few[d], CE + SoftTargets(objectives.tabulate(base[d], few[d]), 2.0)),
}

# %% [markdown]
# The same rate and the same 60 steps for all:


# %%
def cured(make, d):
    examples, objective = make(d)
    return table.tuned(base[d], examples, seed=d, lr=0.01, objective=objective)


networks = {name: [cured(make, d) for d in draws] for name, make in CURES.items()}

# %% tags=["nbval-ignore-output"]
places = (here.source_test, mirrored_test)
kept = {name: [wrong_answers(nets, part) for part in places] for name, nets in networks.items()}
figures.show_table(
    ["mirrored digits, 10 per class", "old: error %", "new: error %"], in_words(kept)
)

# %% [markdown]
# In claims:

# %%
text = "On mirrored digits the old teacher keeps more than five points of the old domain"
by_teacher = [
    metrics.difference(a, b)
    for a, b in zip(kept["always mirrored"], kept["old teacher"], strict=True)
]
by_rehearsal = metrics.difference(kept["half and half, p = 0.5"][0], kept["rehearsal"][0])
measured = {
    "points saved, old": by_teacher[0],
    "new": by_teacher[1],
    "rehearsal against half and half, old": by_rehearsal,
}
claim("07.13", text, by_teacher[0].low > 5, measured=measured)

# %% [markdown]
# Here keeping has a price on the new domain. Between rehearsal and half and half three draws resolve no difference on the old one; but half and half spends *labels* on it, where 500 images lay ready.
#
# ## Between frozen and free
#
# Freezing is a switch. Softer ways, on the page's own task with **one** label per class:
#
# - **Learning rates for each part**: the switch $m_k$ becomes any number.
# - **The head first**, everything after (LP-FT, Kumar et al. 2022).
# - **A pull towards the start**, L2-SP (Li, Grandvalet & Davoine 2018), λ = `lam`: 0 is free, ∞ is frozen, but for BatchNorm's statistics.
#
# $$\mathrm{loss} = \mathrm{CE} + \lambda \cdot \tfrac12 \sum_j (\theta_j - \theta_{0,j})^2$$


# %%
def pull_by_hand(network, start):
    pairs = zip(network.parameters(), start.parameters(), strict=True)
    return sum((w - b).square().sum() for w, b in pairs) / 2


far, start = networks["always mirrored"][0], base[seed]
weights = [dict(network.named_parameters()) for network in (far, start)]
torch.testing.assert_close(pull_by_hand(far, start), losses.regularizer(*weights))

# %% [markdown]
# Each way from the same start, on the same ten images:


# %%
def softly(way, d):
    """One network, by one of the ways between frozen and free."""
    one_each = here.target.per_class(1, seed=d)
    kind, rate = way.split(", lr = ") if ", lr" in way else (way, "0.01")
    how = dict(seed=d, lr=float(rate))
    if kind == "L2-SP":
        how["objective"] = HardLabels() + lam * Regularizer(towards=base[d])
    if kind == "all but the head slower":
        how["lr"] = {"": 0.001, "head": 0.01}
    if kind == "head first, then all":
        headed = table.tuned(base[d], one_each, seed=d, lr=0.01, still=table.STAGES)
        return table.tuned(headed, one_each, seed=d, lr=0.001)
    return table.tuned(base[d], one_each, **how)


# %% [markdown]
# Eight ways, three draws each:

# %%
SOFT = [f"free, lr = {rate}" for rate in ("0.001", "0.003", "0.01", "0.03")]
SOFT += ["L2-SP, lr = 0.001", "L2-SP, lr = 0.03", "all but the head slower", "head first, then all"]
softened = {way: [softly(way, d) for d in draws] for way in SOFT}

# %% [markdown]
# New domain and old:

# %% tags=["nbval-ignore-output"]
parts = (here.target_test, here.source_test)
held = {way: [wrong_answers(nets, part) for part in parts] for way, nets in softened.items()}
figures.show_table(["one label per class", "new: error %", "old: error %"], in_words(held))

# %%
text = "With one label per class, large free steps forget more than twenty points of the old domain"
lost = metrics.difference(held["free, lr = 0.03"][1], upright_wrong)
eased = metrics.difference(held["free, lr = 0.03"][1], held["L2-SP, lr = 0.03"][1])
measured = {"points lost on the old, free, lr = 0.03": lost, "saved by L2-SP": eased}
claim("07.14", text, lost.low > 20, measured=measured)

# %% [markdown]
# Compare the last rows with "free" at its small rate: small steps do what a pull does. None of these ways holds BatchNorm's statistics: that is why even the gentlest forgets (see the page).
#
# ## The L2 form
#
# The same loss with the teacher's term as squared distance of probabilities, as one finds it in print (loosely written):
#
# $$\text{loss} = L_\text{target} + \lambda\,\lVert f_\text{teacher}(x_\text{source}) - f_\text{student}(x_\text{source}) \rVert^2$$
#
# Here the student is small and begins from nothing; it learns 20 mirrored images per class, and 1,000 old ones from the old network's answers. A bank over λ and form:

# %%
mixed = here.source[:1000].unlabelled() + NEW["mirrored"][0].per_class(20, seed=seed)
told = objectives.tabulate(base[seed], mixed)
PULLS = [0.0, 0.3, 1.0, 3.0]
keeping = train_bank(
    lambda lam, form: HardLabels() + lam * Keep(told, form),
    student=models.mlp(256, 12, 10),
    examples=mixed,
    grid={"form": ["L2", "soft targets"], "lam": PULLS},
    seeds=5,
    batch=128,
    evaluate={"old": here.source_test, "mirrored": mirrored_test},
    epochs=2 if budget == "small" else 10,
)

# %% tags=["nbval-ignore-output"]
picture, axes = figures.figure(height=2.6, panels=2, sharey=True)
for axis, split in zip(axes, ("old", "mirrored"), strict=True):
    for form, role in {"L2": "extra", "soft targets": "taught"}.items():
        figures.lines_with_dots(axis, range(4), keeping.select(form=form).errors(split), role, form)
    axis.set(
        xticks=range(4), xticklabels=PULLS, xlabel="λ", title=f"{split} digits", ylim=(0, None)
    )
axes[0].set_ylabel("error %")
figures.show(
    picture,
    "Both forms win the old domain back; the mirrored digits pay for it",
    "A student with 12 hidden units, trained from scratch; λ = 0 knows 200 labelled mirrored digits and nothing of the old domain. Dots are seeds.",
)


# %% [markdown]
# What each saves against λ = 0 at about the same trade-off (λ = 3 of L2, λ = 1 of soft targets):


# %%
def against_zero(form, pull, split):
    """What this λ saves against λ = 0."""
    nothing, pulled_bank = (keeping.select(form=form, lam=p) for p in (0.0, pull))
    return metrics.difference(nothing.wrong(split), pulled_bank.wrong(split))


PAIR = {"L2": 3.0, "soft targets": 1.0}
won, paid = ({f: against_zero(f, w, part) for f, w in PAIR.items()} for part in ("old", "mirrored"))
balance = [[form, saves(won[form]), saves(paid[form])] for form in PAIR]
figures.show_table(["form", "old domain", "mirrored"], balance)

# %%
text = "Both forms win back more than twenty points on the old domain"
measured = {"points saved, L2 at λ = 3": won["L2"], "soft targets at λ = 1": won["soft targets"]}
claim("07.15", text, all(gain.low > 20 for gain in won.values()), measured=measured)

# %% [markdown]
# λ = 1 of one form is not λ = 1 of the other. And squared probabilities have a weak spot: where the student is confidently wrong its softmax is flat, and the gradient of the square vanishes (a factor q(1 − q) that KL does not have). On these curves no harm of it shows.
#
# ## More stored rows of the page
#
# Single parts with one and ten labels per class (the page's task, ten seeds of fold A), and all rates that were tried:

# %%
PARTS = ["front only", "stage 3 and head", "head only"]
settings = [(part, n) for n in (10, 100) for part in PARTS]
means = {(p, n): f"{float(stored.new_error(f'{n} labels: {p}').mean()):.1f}" for p, n in settings}
part_lines = [[n, p, means[p, n], saves(stored.all_saves(p, n))] for p, n in settings]
figures.show_table(["labels", "what moves", "new: error %", "all, against it"], part_lines)

# %%
rates = [(way, amount) for amount in ("few", "many") for way in table.WAYS]
rate_lines = [[way, amount, *stored.rates_in_words(way, amount)] for way, amount in rates]
figures.show_table(["way", "labels", "spare error % by learning rate", "taken"], rate_lines)

# %% [markdown]
# Back to the page: [](lesson07).
