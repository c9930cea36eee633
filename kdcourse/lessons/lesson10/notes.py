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
# # Which helper, and who learns from whom?
#
# *Lab notes, optional: controls, relatives and second settings of [](lesson10). Read that page first. {minutes} minutes · about 45 CPU seconds*
#
# - Controls of the gap: the temperature of helper and student, labels in the loss, an early-stopped teacher; a helper wider than its teacher.
# - Specialists: is it the subtraction, or the further images?
# - Controls of the hospitals: a pooled teacher, the same labels five times, more steps, votes; images at five angles.
# - Helper and student in one step, with three rates. Mutual learning. Born-again networks.
# - A helper cut from the teacher itself.
#
# Tables marked *stored* are of MNIST's 10,000 test images (`table.py`).

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import warnings

import torch
from torch.nn import functional as F

from kdcourse import figures
from kdcourse.checks import claim
from kdcourse.ground import mnist
from kdcourse.lessons.lesson10 import stored, table
from kdcourse.parameters import check_parameters
from kdlib import models
from kdlib.bank import ladder, train_bank
from kdlib.data import load
from kdlib.models import Together, cnn, mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, TeacherTable, member, merge
from kdlib.objectives import progress, tabulate
from kdlib.training import fit

check_parameters()

# %% [markdown]
# Data, teacher and the 200 images, as on the page:

# %%
small = budget == "small"
train, _, test = load("mnist5k")
train = train[:1000] if small else train
teacher = mnist.teacher(train, epochs=1 if small else 8)
few = train.per_class(20, seed=seed)
epochs = 5 if small else mnist.epochs(few)

# %% [markdown]
# ## The gap: controls
#
# The page's student has 200 images without labels. Is it the temperature? Is it the *linear* helper alone? Would all images have done?

# %%
gap = stored.rows("gap")
fair = "direct, 1,120 steps"
head = ["stored", *stored.GAP_HEAD]
figures.show_table([*head, f"against {fair}"], stored.gap_cells(gap, gap, fair))

# %% [markdown]
# Read it by the bound, guide's error plus disagreement. At T = 1 the student of the linear label helper copies it less well, but is still better than the teacher's own. `label-only`, with the labels of the same 200 images, is level with direct distillation: the teacher's answers bring nothing on so few. With all images direct distillation beats every helper that teaches on 200: **if you may move images, move images.**

# %%
text = "The student's temperature explains only a part of what the linear label helper saves: at T = 1 it saves over two points, too; all images save more than any helper"
cold = stored.saved(gap["linear: labels only, 3,500, T = 1"], fair)
every = stored.saved(gap["direct, all images"], fair)
best = max(
    stored.saved(gap[f"{name}: {kind}"], fair).high
    for name in table.HELPERS
    for kind in stored.KINDS
)
measured = {
    "T = 1: saves, points": cold,
    "all images save": every,
    "highest end of any helper": best,
}
claim("10.11", text, cold.low > 2 and every.low > best, measured=measured)

# %% [markdown]
# **The temperature at which the helper itself is taught** is another matter. Live, three seeds, MNIST's 10,000 test images; students at T = 4, and a second column at T = 1:

# %% tags=["nbval-ignore-output"]
big, seeds = load("mnist").test, range(2 if small else 3)
ask = dict(evaluate={"test": big}, seeds=seeds, batch=mnist.BATCH)
all_epochs = 2 if small else mnist.epochs(train)


def guided(helpers, t):
    """Students that ask the helper of their seed about this seed's 200 images."""
    return train_bank(
        lambda seed: SoftTargets(helpers.network(seed=seed), t), student=mlp(784, 100, 10),
        examples=lambda seed: train.per_class(20, seed=seed).unlabelled(), epochs=epochs, **ask
    ).errors()  # fmt: skip


# %% tags=["nbval-ignore-output"]
aims = {"labels": HardLabels()}
aims |= {f"taught at T = {t:g}": SoftTargets(teacher, t) for t in (1.0, T)}
helpers = {name: train_bank(aim, student=mlp(784, 10), examples=train, epochs=all_epochs, **ask)
           for name, aim in aims.items()}  # fmt: skip
guided_errors = {name: [guided(bank, t) for t in (T, 1.0)] for name, bank in helpers.items()}
figures.show_table(
    ["linear helper", "its error %", f"student's error %, T = {T:g}", "student's error %, T = 1"],
    [[name, *(f"{errors.mean():.1f}" for errors in (bank.errors(), *guided_errors[name]))]
     for name, bank in helpers.items()])  # fmt: skip

# %% [markdown]
# Taught at T = 1 the helper guides as well as the one of labels. So the page's taught helper is worse because of *its* temperature, not because it met the teacher; and what the chain has over labels is still nothing.

# %%
text = "Taught at T = 1 a linear helper is within a point of the one of labels, and its student saves over a point against the helper taught at T = 4, in every seed"
of_labels, cold_helper, warm_helper = (errors[0] for errors in guided_errors.values())
measured = {
    "against the helper of labels, mean points saved": float((of_labels - cold_helper).mean()),
    "against the helper taught at T = 4, least of three seeds": float(
        (warm_helper - cold_helper).min()
    ),
}
level, least = measured.values()
claim("10.12", text, level > -1 and least > 1, measured=measured)

# %% [markdown]
# **A teacher that is stopped early** is the remedy of Cho & Hariharan (2019). Here, after one and two of eight epochs, as the guide of the page's student:

# %% tags=["nbval-ignore-output"]
early = {f"{n} epochs": mnist.teacher(train, epochs=n) for n in (1, 2)} | {"8 epochs": teacher}
early_lines = []
for name, network in early.items():
    bank = train_bank(
        SoftTargets(network, T), student=mlp(784, 100, 10), epochs=epochs, **ask,
        examples=lambda seed: train.per_class(20, seed=seed).unlabelled())  # fmt: skip
    own_error = 100 * float((predict(network, big).argmax(-1) != big.y).double().mean())
    early_lines.append([name, f"{own_error:.1f}", f"{bank.errors().mean():.1f}"])
figures.show_table(["teacher, live", "its error %", "student's error %"], early_lines)

# %% [markdown]
# Stopping early does not help here: the student gets worse with its teacher.
#
# The narrow student of the page's second panel, all 3,500 images, with the same helpers:

# %%
narrow = {way: row for way, row in stored.rows("small").items() if way.startswith("3:")}
figures.show_table(
    ["stored, hidden units: way", "error %", f"against {fair}"],
    stored.cells(narrow, narrow, f"3: {fair}"),
)

# %% [markdown]
# All of these are soft targets alone at T = 4, except for `label-only`. Now other temperatures, and the labels in the loss; 560 steps each:

# %% tags=["nbval-ignore-output"]
rivals = {"label-only": HardLabels()}
rivals |= {f"direct, T = {t:g}": SoftTargets(teacher, t) for t in (1.0, 2.0, T)}
rivals[f"half labels, half T = {T:g}"] = 0.5 * HardLabels() + 0.5 * SoftTargets(teacher, T)
of_helper = helpers["labels"]
rivals["via linear, labels only, T = 1"] = lambda seed: SoftTargets(
    of_helper.network(seed=seed), 1.0
)
tiny = {name: train_bank(aim, student=mlp(784, 3, 10), examples=train, epochs=all_epochs,
                         **ask).errors() for name, aim in rivals.items()}  # fmt: skip
figures.show_table(
    ["mlp(3), live, three seeds", "error %", "each seed"],
    [[name, f"{errors.mean():.1f}", ", ".join(f"{error:.1f}" for error in errors)]
     for name, errors in tiny.items()])  # fmt: skip

# %% [markdown]
# The harm falls with the temperature. Labels in the loss take a part of it away. At T = 1 there is no harm, and a helper has nothing left to bridge.

# %%
text = "At T = 1 distillation from the good teacher is within two points of plain labels, for a student of three hidden units, and saves over five against T = 4"
measured = {
    "against label-only, mean points saved": float(
        (tiny["label-only"] - tiny["direct, T = 1"]).mean()
    ),
    "against T = 4": float((tiny[f"direct, T = {T:g}"] - tiny["direct, T = 1"]).mean()),
}
level, gain = measured.values()
claim("10.13", text, level > -2 and gain > 5, measured=measured)

# %% [markdown]
# **A helper wider than its teacher** is no help of the usual kind. It is trained, and `ladder` says so:

# %%
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    wider = ladder(
        mlp(784, 10),
        [mlp(784, 32, 10)],
        objective=lambda guide: SoftTargets(guide, T),
        examples=few,
        evaluate={"test": test},
        seeds=[seed],
        epochs=1,
    )
print(*(warning.message for warning in heard), sep="\n")

# %% [markdown]
# ## The hospitals: controls
#
# Is it the averaging, or is it the labels? Five networks of *the same* 200 labels, merged; and the pooled labels with all the steps that five teachers and the student took.

# %%
hospitals = stored.rows("hospitals")
controls = ["logits, T = 1, 1", "same 200 labels, 5", "logits, T = 1, 5", "logits, T = 4, 5"]
controls += ["probabilities, T = 1, 5", "confidence, T = 1, 5", "probabilities, T = 4, 5"]
controls += ["confidence, T = 4, 5", "sum of losses, T = 4, 5", "votes, T = 4, 5"]
controls += ["pooled, 5", "pooled, 3,360 steps, 5"]
against = ["logits, T = 1, 1", "logits, T = 1, 5"]
head_of = ["stored: merged, T, teachers", "error %", *(f"against {way}" for way in against)]
figures.show_table(head_of, stored.cells(hospitals, controls, *against))

# %%
text = "It is the other labels, not the averaging: five networks of the same 200 labels, merged, save over three points less than five hospitals"
lead = stored.saved(hospitals["same 200 labels, 5"], "logits, T = 1, 5")
claim(
    "10.14",
    text,
    lead.high < -3,
    measured={"points saved by the same labels against five hospitals": lead},
)

# %% [markdown]
# **A stronger rival** than a student of the pooled labels is a *teacher* of the pooled labels: its student has the 3,500 images, too. And the student's images contain the hospitals' 1,000, which the teachers know by heart: what if these are left out? Live, T = 1, mean of logits:

# %% tags=["nbval-ignore-output"]
mine = dict(student=mlp(784, 100, 10), evaluate={"test": big}, batch=mnist.BATCH)


def of(examples, start):
    """A teacher of these labels."""
    bank = train_bank(
        examples=examples, seeds=[start], epochs=5 if small else mnist.epochs(examples), **mine
    )
    return bank.network(seed=start)


def three_ways(draw):
    """Student's error % of five teachers, of five asked about other images, of a pooled one."""
    parts = train.split(*[100 if small else 200] * 5, seed=draw)
    pool = sum(parts[1:], parts[0])
    teachers = [of(part, draw + number) for number, part in enumerate(parts)]
    others = train[~torch.isin(train.ids, pool.ids)].unlabelled()
    asked = [(teachers, train.unlabelled()), (teachers, others)]
    asked.append(([of(pool, draw)], train.unlabelled()))
    for guides, images in asked:
        aim = SoftTargets(merge([tabulate(guide, images) for guide in guides]), 1.0)
        much = 2 if small else mnist.epochs(images)
        yield float(train_bank(aim, examples=images, seeds=[draw], epochs=much, **mine).errors())


# %% tags=["nbval-ignore-output"]
names = ["five hospitals", "without the hospitals' images", "a teacher of the pooled labels"]
draws = [[f"{error:.1f}" for error in three_ways(draw)] for draw in [seed]]
figures.show_table(["student's error %, live", *names],
                   [[f"draw {k}", *errors] for k, errors in enumerate(draws)])  # fmt: skip

# %% [markdown]
# Without the hospitals' images the student loses little. The student of a pooled teacher is better than that of five hospitals: what the hospitals lose is the pooling of labels.
#
# ### Votes are label smoothing
#
# A vote is 0 or 1, and log 0 has to be something: here the logarithm of one in a million. What is a unanimous vote at temperature T?

# %%
unanimous = [TeacherTable(few.ids, 20.0 * F.one_hot(few.y, 10).float()) for _ in range(5)]
votes = (merge(unanimous, "votes").logits / T).softmax(-1)
other = 1e-6 ** (1 / T)  # each other class, against 1 for the winner
smoothing = 10 * other / (1 + 9 * other)
smoothed = (1 - smoothing) * F.one_hot(few.y, 10) + smoothing / 10
torch.testing.assert_close(votes, smoothed)

# %% [markdown]
# Label smoothing of a strength that nobody chose: the smallest number in a clamp decides it. So a gain by votes at $T > 1$ needs label smoothing as its rival.

# %%
text = "Five unanimous votes at T = 4 are labels smoothed by about a quarter"
claim("10.15", text, 0.2 < smoothing < 0.3 or T != 4, measured={"smoothing": smoothing})

# %% [markdown]
# ### Teachers from different domains
#
# Five hospitals whose scanners stand at −60, −30, 0, 30 and 60 degrees; the student has unlabelled images of all five, and is tested on all. `weights` of `merge` may be (teachers, images): with 1 where a teacher is **at home** and 0 elsewhere each image is asked of its own hospital.

# %%
tilted = stored.rows("tilted")
figures.show_table(
    ["stored", "error %", "against logits", "against labels pooled"],
    stored.cells(tilted, tilted, "logits", "labels pooled"),
)

# %%
text = "Where each teacher knows its own domain, asking each at home saves over ten points against the mean of logits; confidence does not save five"
measured = {"at home, points saved": stored.saved(tilted["each at home"], "logits")}
measured["confidence, points saved"] = stored.saved(tilted["confidence"], "logits")
at_home, confident = measured.values()
claim("10.16", text, at_home.low > 10 and confident.high < 5, measured=measured)

# %% [markdown]
# Asking at home uses something that no other row has: which hospital an image is from. The pooled student is not told, either; so that it is worse does not show that pooling is.
#
# ## Specialists: is it the subtraction?
#
# The page's score subtracts "none of mine". Two rivals with the *same* networks: log p(c) with the extra output dropped, and the plain logits with it dropped. Live, one pair:

# %% tags=["nbval-ignore-output"]
unlabelled = train.unlabelled()
pair_tables = [
    tabulate(table.specialist(train, known, 1000 + seed, rest=True), unlabelled)
    for known in table.KNOWN
]
without = [pair_table.logits.log_softmax(-1)[:, :-1] for pair_table in pair_tables]
plain = [pair_table.logits[:, :-1] for pair_table in pair_tables]
scores = {
    "log p(c) − log p(none of mine)": merge(pair_tables, classes=table.KNOWN, rest=True),
    "log p(c), the extra output dropped": TeacherTable(unlabelled.ids, torch.cat(without, 1)),
    "logits, the extra output dropped": TeacherTable(unlabelled.ids, torch.cat(plain, 1)),
}

# %% tags=["nbval-ignore-output"]
of_scores = {
    name: float(train_bank(SoftTargets(score, T), examples=unlabelled, seeds=[seed],
                           epochs=all_epochs, **mine).errors())
    for name, score in scores.items()}  # fmt: skip
figures.show_table(["score", "student's error %, live"],
                   [[name, f"{error:.1f}"] for name, error in of_scores.items()])  # fmt: skip

# %% [markdown]
# The subtraction is not what helps: dropping the output does as well, and is the exact rule where the two share out all classes. What helps is the training on the other's images, to which one may object: who has them, may train a generalist.

# %%
text = (
    "With the extra output dropped log p(c) teaches within two points of the difference of the two"
)
subtracted, dropped, _ = of_scores.values()
measured = {"points saved by dropping": subtracted - dropped}
claim("10.17", text, abs(subtracted - dropped) < 2, measured=measured)

# %% [markdown]
# ## Helper and student in one step
#
# Why wait for the helper? `Together` holds several networks; `member` says what each learns. The helper's answers pass no gradient back. Teacher `cnn(16)`, helper `mlp(100)`, student `mlp(16)`, the same 200 images. The student's rate is
#
# - fixed, 0.01;
# - exponentially decaying, $0.01 \cdot 0.1^{t}$, with $t$ from 0 to 1;
# - sigmoid, $0.01 / (1 + e^{-a})$, with $a = 10t - 5$: the student waits until the helper knows something.

# %% tags=["nbval-ignore-output"]
bare = few.unlabelled()
soft = SoftTargets(tabulate(teacher, bare), T)
aim = member("helper", soft) + member("student", SoftTargets("helper", T))
how = dict(epochs=epochs, batch=mnist.BATCH, order_seed=seed, precision="fp32", schedule="constant")


def joint_error(rate):
    pair = models.initialise(Together(helper=mlp(784, 100, 10), student=mlp(784, 16, 10)), seed)
    rates = {"helper": 1e-2, "student": rate, "": 1e-2}
    return fit(pair, bare, aim, lr=rates, **how).error(test)


rates_in_time = {"fixed": 1e-2, "exponential": 1e-2 * 0.1**progress}
rates_in_time["sigmoid"] = 1e-2 / (1 + 2.718 ** (5 - 10 * progress))
joint_lines = [[name, f"{joint_error(rate):.1f}"] for name, rate in rates_in_time.items()]
figures.show_table(["student's rate", "live, one seed: error %"], joint_lines)

# %% [markdown]
# Stored, with the rivals: direct, and one after the other, each with the usual one-cycle rate.

# %%
joint = stored.rows("joint")
figures.show_table(
    ["stored", "error %", "against direct", f"against {fair}", "against direct, constant rate"],
    stored.cells(joint, joint, "direct", fair, "direct, constant rate"),
)

# %% [markdown]
# With a fixed or decaying rate the joint student is ruined in the mean, with a wide interval: not every seed is. The same fixed rate under a teacher that stands still does no harm (the decaying rate was not tried so). A reason that fits: in its first, large steps it follows a helper that says nothing yet. With the sigmoid it waits, and comes out level with direct distillation: not resolved. (Twice the steps make the direct student *worse* here: the fair rival is the better of the two.)

# %%
text = "With a fixed rate the joint student costs over five points against the same rate under a standing teacher; with the sigmoid it does not cost three"
against_rate = "direct, constant rate"
measured = {
    f"{name}, points saved": stored.saved(joint[f"joint, {name}"], against_rate)
    for name in table.RATES
}
fixed, _, sigmoid = measured.values()
claim("10.18", text, fixed.high < -5 and sigmoid.low > -3, measured=measured)

# %% [markdown]
# ## Mutual learning
#
# Two students of the same 200 labels, each the other's teacher (Zhang et al. 2018):
#
# $$\text{loss}_a = \mathrm{CE} + T^2\,\mathrm{KL}(p_b \Vert p_a), \qquad \text{loss}_b = \mathrm{CE} + T^2\,\mathrm{KL}(p_a \Vert p_b)$$
#
# Each KL moves only the student that it is written for: a teacher that is named is detached. By hand, the gradient of the first loss has no part in `b`:

# %%
pair = models.initialise(Together(b=mlp(784, 100, 10), a=mlp(784, 100, 10)), seed)
batch = few[:64].batch()
first = member("a", HardLabels() + SoftTargets("b", T))
second = member("b", HardLabels() + SoftTargets("a", T))
first(pair, batch)[0].backward()
moved = {name for name, weight in pair.named_parameters() if weight.grad is not None}
assert moved == {name for name, _ in pair.named_parameters() if name.startswith("a.")}

# %% [markdown]
# Now the training, as in a bank; `a` is the last member, so its answers are the pair's:

# %% tags=["nbval-ignore-output"]
settings = dict(
    examples=few, evaluate={"test": test}, seeds=[seed], batch=mnist.BATCH, epochs=epochs
)
mutual = train_bank(
    first + second, student=Together(b=mlp(784, 100, 10), a=mlp(784, 100, 10)), **settings
)
single = train_bank(student=mlp(784, 100, 10), **settings)
print(
    f"live, one seed: mutual {float(mutual.errors()):.1f} %, label-only {float(single.errors()):.1f} %"
)

# %% [markdown]
# Its controls: two label-only students, merged (is it two networks?); label smoothing (is it soft labels?). And **born again** (Furlanello et al. 2018): the peer is already trained, with the same labels, and stands still; loss = ½ CE + ½ T² KL.

# %%
peers = stored.rows("peers")
figures.show_table(
    ["stored", "error %", "against label-only", "against label smoothing 0.2"],
    stored.cells(peers, peers, "label-only", "label smoothing 0.2"),
)

# %%
text = "With 200 labels mutual learning at T = 4 saves something, also against label smoothing; born-again networks do not save one point"
measured = {
    "mutual, T = 4, saves, points": stored.saved(peers["mutual, T = 4"], "label-only"),
    "against label smoothing": stored.saved(peers["mutual, T = 4"], "label smoothing 0.2"),
    "born again, T = 1": stored.saved(peers["born again, T = 1"], "label-only"),
    "born again, T = 4": stored.saved(peers["born again, T = 4"], "label-only"),
}
published = "born-again DenseNets: 3.5 % error on CIFAR-10, 15.5 % on CIFAR-100, better than their teachers (Furlanello et al. 2017, workshop version, abstract)"
*mutuals, again, again_soft = measured.values()
holds = min(gain.low for gain in mutuals) > 0.1 and max(again.high, again_soft.high) < 1
claim("10.19", text, holds, measured=measured, published=published)

# %% [markdown]
# But it is not separated from a larger weight: mutual learning has CE + T² KL, born again the half of each. Nor is it that there are two: two label-only students, merged, are no better than one of them. At T = 1 mutual learning does nothing here.

# %% [markdown]
# ## A helper cut from the teacher
#
# A helper may be a part of the teacher: `inherit(helper, teacher, shrink=True)` maps its weights into a narrower network by singular values. Here `cnn(4)` from `cnn(16)`. Rivals: the same `cnn(4)` drawn anew, and another kind of network. All are taught on 3,500 images for 280 steps, and then teach the page's student from its 200.

# %%
part = models.initialise(cnn(4), seed)
copied = models.inherit(part, teacher, shrink=True)
print(f"{len(copied)} weights and buffers came from the teacher, such as {copied[-2]}")

# %%
cuts = stored.rows("cut")
figures.show_table([*head, "against direct"], stored.gap_cells(cuts, cuts, "direct"))

# %% [markdown]
# The convolutional helpers are small, but as hard to copy as the teacher: it is not size. Nor is it kind alone: on the page a taught `mlp(100)`, the student's own kind, is harder to copy than one of labels.

# %%
text = "As a helper mlp(32) saves over two points, cnn(4) of either origin saves nothing, though it has a fifteenth of its weights"
measured = {
    f"{name}, points saved": stored.saved(row, "direct")
    for name, row in cuts.items()
    if name != "direct"
}
inherited, drawn, another = measured.values()
measured["weights of mlp(32) / cnn(4)"] = models.parameter_count(
    mlp(784, 32, 10)
) / models.parameter_count(cnn(4))
holds = another.low > 2 and max(inherited.high, drawn.high) < 0.5
claim("10.20", text, holds, measured=measured)

# %% [markdown]
# ## What we take along
#
# Before a chain, a pair or a family of networks is praised: count its steps, its images and its labels, its temperature, and give them to one network. What then remains of the gain belongs to the chain. Back to [](lesson10).
