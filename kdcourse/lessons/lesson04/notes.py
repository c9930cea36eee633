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
# # Lab notes: what else may be softened, learned and compared?
#
# *Optional, {minutes} minutes, after the page [](lesson04). About 50 CPU seconds.* Controls, a learned T in detail, relatives of soft targets, and the checks that the page leaves out. Nothing here is needed for later pages.

# %% tags=["parameters"]
seeds: int = 5  # 2..10
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%

import torch
from torch.nn import functional as F

from kdcourse.checks import claim
from kdcourse.figures import figure, lines_with_dots, show, show_table
from kdcourse.ground import mnist
from kdcourse.lessons.lesson04 import stored_rows
from kdcourse.measured import saves
from kdcourse.parameters import check_parameters
from kdlib import losses, metrics, objectives
from kdlib.bank import train_bank
from kdlib.data import load
from kdlib.metrics import Interval
from kdlib.models import initialise, mlp, predict
from kdlib.objectives import HardLabels, LearnedTemperature, SoftTargets, tabulate
from kdlib.training import fit

check_parameters()

# %% [markdown]
# The common ground, as on the page: the kept teacher, a student of 100 units, T = 4, alpha = 0.9, 560 steps.

# %%
small = budget == "small"
whole, validation, test = load("mnist5k")
train = whole[:500] if small else whole
epochs, teacher_epochs = (2, 1) if small else (mnist.epochs(train), 8)
teacher = mnist.teacher(train, epochs=teacher_epochs, seed=seed)

# %%
answers = tabulate(teacher, train)
z_teacher = answers.logits[:500].double()
fresh = initialise(mlp(784, mnist.WIDTH, 10), seed)
z_student = predict(fresh, train[:500]).double()

# %% [markdown]
# ## The cold limit is a margin
#
# As T → 0, T · KL tends to how far the student's first choice lies above its logit of the teacher's class.

# %%
top = z_teacher.argmax(-1, keepdim=True)
margin = float((z_student.amax(-1) - z_student.gather(-1, top)[:, 0]).mean())
cold = float(losses.soft_targets(z_student, z_teacher, 1e-3)) / 1e-3

# %%
text = "As T goes to 0, T · KL tends to the margin to the teacher's class"
measured = {"T · KL at T = 0.001": cold, "margin": margin}
claim("04.5", text, abs(cold / margin - 1) < 0.02, measured=measured)

# %% [markdown]
# (Cross-entropy on the teacher's first choice, `TeacherLabels`, is yet another method.)
#
# ## The same in gradients, and why T²
#
# The gradient of $T^2\,\mathrm{KL}$ in the logits is $T\,(q_T - p_T)$ per image. At high T, $q_T - p_T$ shrinks like $1/T$: the factor T keeps the pull steady. Leave T² out and the pull is $(q_T - p_T)/T$, which dies like $1/T^2$, while the labels' pull stays.


# %%
def pull(heat):  # mean length of q_T - p_T over images
    q, p = ((z / heat).softmax(-1) for z in (z_student, z_teacher))
    return float((q - p).norm(dim=-1).mean())


ratio = pull(20.0) / pull(1.0)

# %%
claim(
    "04.6",
    "From T = 1 to T = 20 the pull stays within a factor of ten; without T² it falls more than fortyfold",
    0.1 < 20 * ratio < 10 and ratio / 20 < 1 / 40,
    measured={"with T², of the pull at T = 1": 20 * ratio, "without T²": ratio / 20},
)

# %% [markdown]
# ## Why a small student pays
#
# Eight units at T = 20 *do* what they are told: they come nearer to the teacher's logits than without a teacher. They met their target, and it was the wrong one for their size. (Stored rows, ten seeds, MNIST's 10,000 test images; *distance* is `losses.logit_mse` to the teacher.)

# %%
narrow = [row for row in stored_rows.rows("width") if row["width"] == 8 and row["alpha"] != 0.5]
lines = [
    [
        f"T = {row['T']:g}" if row["alpha"] else "label-only",
        f"{row['distance']:.1f}",
        f"{sum(row['errors']) / len(row['errors']):.2f}",
    ]
    for row in narrow
]
show_table(["8 units, alpha = 0.9", "logit distance", "error %"], lines)

# %%
apart = {row["T"]: row["distance"] for row in narrow}
claim(
    "04.7",
    "At T = 20, 8 units come nearer to the teacher's logits than without a teacher, and make more errors",
    apart[20.0] < apart[None] / 2 and stored_rows.saved(8, 20.0).high < 0,
    measured={
        "logit distance, T = 20": apart[20.0],
        "label-only": apart[None],
        "points saved at T = 20": stored_rows.saved(8, 20.0),
    },
)

# %% [markdown]
# All widths and both alphas, points saved against the label-only student of the same width (stored). A smaller alpha softens the harm. At 100 units the best T lies between 2 and 4, and T = 20 is a little worse than T = 4 but still saves.

# %%
cells = [row for row in stored_rows.rows("width") if row["alpha"]]
grid_rows = [
    [
        f"{row['width']} units, alpha = {row['alpha']:g}, T = {row['T']:g}",
        saves(Interval(*row["saves"]), 2),
    ]
    for row in cells
    if row["T"] in (1.0, 4.0, 20.0)
]
show_table(["", "against label-only"], grid_rows)

# %%
steps = {tuple(row["widths"]): Interval(*row["more"]) for row in stored_rows.rows("cost of T = 20")}
claim(
    "04.8",
    "T = 20 costs more, the smaller the student: each step from 8 to 32 to 100 units is resolved",
    steps[8, 32].low > 0.5 and steps[32, 100].low > 0.3,
    measured={"8 minus 32 units, points": steps[8, 32], "32 minus 100": steps[32, 100]},
    published="Hinton et al. 2015: with 30 units per layer T of 2.5 to 4 worked best",
)

# %% [markdown]
# ## Do 8 units only need longer?
#
# A fair objection: copying ten logits is a harder task. So train for 10, 20 and 100 epochs; the label-only student trains as long. (Stored rows.)

# %%
waits = stored_rows.rows("patience")
waited = {row["epochs"]: Interval(*row["saves"]) for row in waits}
lengths = list(waited)

# %% tags=["nbval-ignore-output"]
drawn, axis = figure(height=2.7, width=5.5)
for name, role in (("label-only", "alone"), ("distilled", "taught")):
    shown_name = name if role == "alone" else "distilled, T = 20"
    lines_with_dots(axis, lengths, [row[name] for row in waits], role, shown_name, log=True)
axis.set(xlabel="epochs", ylabel="error %, MNIST's 10,000")
axis.set_xlim(8, 260)
show(
    drawn,
    "Ten times the epochs narrow the gap and do not close it",
    "8 hidden units, ten seeds as dots, bands are 95 % intervals over seeds.",
)

# %% [markdown]
# The small student is not only slow: the target does not fit into it.

# %%
claim(
    "04.9",
    "After 100 epochs 8 units at T = 20 still make more errors than without a teacher",
    waited[100].high < -0.5,
    measured={f"{length} epochs, points saved": waited[length] for length in lengths},
    decimals=2,
)

# %% [markdown]
# ## Why each fold needs a teacher of its own
#
# A teacher of all folds knows the images held out: it makes fewer errors on them than teachers that never saw them. (A part of that is no leak: it also learned from 1.5 times as many images.)

# %%
clean, leaky = [], []
for rest, fold in train.folds(3, seed=seed):
    own_teacher = mnist.teacher(rest, epochs=teacher_epochs, seed=seed)
    clean.append(predict(own_teacher, fold).argmax(1) != fold.y)
    leaky.append(predict(teacher, fold).argmax(1) != fold.y)

# %%
ahead = metrics.difference(torch.cat(clean)[None], torch.cat(leaky)[None])
text = "On held-out images the teacher of all folds makes fewer errors than teachers that never saw them"
claim("04.10", text, ahead.low > 0.5, measured={"fewer, points": ahead})

# %% [markdown]
# What cross-validation says of a setting, on 3,500 held-out images, beside what MNIST's 10,000 say (100 units, stored). Held-out images resolve less, and rank alike.

# %%
folds = [row for row in stored_rows.rows("fold") if row["alpha"]]
compared = [
    [
        f"alpha = {row['alpha']:g}, T = {row['T']:g}",
        saves(Interval(*row["saves"])),
        saves(stored_rows.saved(100, row["T"], row["alpha"])),
    ]
    for row in folds
]
show_table(["100 units", "held out", "MNIST's 10,000"], compared)

# %% [markdown]
# ## A learned T in detail
#
# The page lets plain descent move T from two starts. The range decides where it starts, in its middle, and so where it goes. CTKD (Li et al. 2023) turns the gradient round: T seeks the *top* of the hump, while the student lowers the loss. And a T may simply be annealed: `8 - 7 * progress`.

# %%
ranges = [(0.25, 7.75), (0.25, 15.75), (1.0, 20.0), (1.0, 39.0)]


def learned(low, high, adversarial):
    """T at the end of training."""
    moving = LearnedTemperature(low, high, adversarial=adversarial)
    objective = 0.1 * HardLabels() + 0.9 * SoftTargets(answers, moving)
    how = {"epochs": epochs, "batch": mnist.BATCH, "precision": "fp32", "seed": seed}
    return fit(mlp(784, mnist.WIDTH, 10), train, objective, **how).history[-1][str(moving)]


went = {
    (low, high): [learned(low, high, against) for against in (False, True)] for low, high in ranges
}

# %% tags=["nbval-ignore-output"]
moved = [
    [f"{low:g} to {high:g}", f"{(low + high) / 2:g}", *(f"{end:.1f}" for end in ends)]
    for (low, high), ends in went.items()
]
show_table(["range", "start", "descent ends at", "adversarial ends at"], moved)

# %% [markdown]
# The last column seeks the hump from both sides, the column before it flees from it.

# %%
down, up = went[0.25, 7.75], went[1.0, 39.0]
claim(
    "04.11",
    "From the left of the hump descent falls and the adversarial T rises; from the right both turn round",
    down[0] < 3 and down[1] > 4.3 and up[0] > 20.5 and up[1] < 19.5,
    measured={
        "from 4, descent": down[0],
        "from 4, adversarial": down[1],
        "from 20, descent": up[0],
        "from 20, adversarial": up[1],
    },
)

# %% [markdown]
# ## Relatives of soft targets, on one student
#
# Other ways to compare two answers, each with the loss and T of its paper (or a usual T), but with *our* weights, 0.1 for the labels and 0.9 for the teacher, and no warm-up. Nothing is tuned here, so this is no contest.
#
# - **DKD** (Zhao et al. 2022) splits KL into "the label or not" (TCKD) and "which of the others" (NCKD), $\mathrm{KL} = \mathrm{TCKD} + (1 - p_T(y))\,\mathrm{NCKD}$, and weights the second freely (8 by default). With a confident teacher plain KL nearly hides the other classes; DKD weights them eight times as much.
# - **DIST** (Huang et al. 2022) asks only for *correlation* with the teacher, within each image and within each class.
# - **Standardized logits** (Sun et al. 2024): each image's logits, minus their mean, over their deviation; the student need not match their size.
# - **Reverse KL**, $T^2\,\mathrm{KL}(q_T \| p_T)$, puts the student first ("mode seeking"). It is the usual loss for language models: MiniLLM (Gu et al. 2024), GKD (Agarwal et al. 2024).

# %%
relatives = {
    "soft targets, T = 4": SoftTargets(answers, 4.0),
    "annealed T, 8 to 1": SoftTargets(answers, 8 - 7 * objectives.progress),
    "reverse KL, T = 2": objectives.ReverseKL(answers, 2.0),
    "DKD, T = 4": objectives.Decoupled(answers, 4.0),
    "DIST, T = 4": objectives.Dist(answers, 4.0),
    "standardized, T = 2": objectives.Standardized(answers, 2.0),
}
settings = {"student": mlp(784, mnist.WIDTH, 10), "examples": train, "epochs": epochs}
settings |= {"evaluate": {"test": test, "validation": validation}}
settings |= {"seeds": range(seed, seed + seeds)}
family = {
    name: train_bank(0.1 * HardLabels() + 0.9 * relative, **settings)
    for name, relative in relatives.items()
}
label_only = train_bank(**settings)

# %% [markdown]
# **Holm's** correction says which differences from plain soft targets survive looking at several.

# %%
plain, *others = family.values()
against = [metrics.difference(plain.wrong("test"), bank.wrong("test")) for bank in others]
names = list(family)[1:]
survives = metrics.holm(dict(zip(names, (gap.p_value for gap in against), strict=True)))

# %% tags=["nbval-ignore-output"]
first_two = {"label-only": label_only, "soft targets, T = 4": plain}
table_rows = [[n, f"{float(b.errors('test').mean()):.1f}", "", ""] for n, b in first_two.items()]
for name, bank, gap in zip(names, others, against, strict=True):
    kept = "yes" if survives[name] else "no"
    table_rows.append([name, f"{float(bank.errors('test').mean()):.1f}", saves(gap), kept])
show_table(["", "error %", "against plain soft targets", "survives Holm"], table_rows)

# %% [markdown]
# With these weights only DKD stands out, and its own recipe differs most from ours: it weights CE by 1 and lets DKD in slowly, by a warm-up. So this row does not judge it. The others cannot be told apart by 1,000 images.
#
# ### The gradient of the reverse KL
#
# With $r = \log q_T - \log p_T$ it is $T\, q_T\,(r - \mathrm{KL})$: every class is weighted by the *student's* $q_T$, so a class that the student has given up feels nothing. The forward KL's $T\,(q_T - p_T)$ still pulls there.

# %%
by_autograd = torch.func.grad(losses.reverse_kl)(z_student, z_teacher, 4.0)
log_q, log_p = ((z / 4.0).log_softmax(-1) for z in (z_student, z_teacher))
kl = (log_q.exp() * (log_q - log_p)).sum(-1, keepdim=True)
by_hand = 4.0 * log_q.exp() * (log_q - log_p - kl) / len(z_student)
torch.testing.assert_close(by_autograd, by_hand)

# %% [markdown]
# ### The ends of Jensen–Shannon
#
# $\mathrm{JS}_\beta = \beta\,\mathrm{KL}(p \| m) + (1 - \beta)\,\mathrm{KL}(q \| m)$ with $m = \beta p + (1 - \beta) q$ is 0 at both ends; divided by β it tends to the forward KL, divided by 1 − β to the reverse. Code that switches to plain KL *exactly at* β = 0 or 1 (as trl's GKD trainer does) is another loss there: it jumps (last row).

# %%
forward = float(losses.soft_targets(z_student, z_teacher, 2.0))
betas = (0.5, 0.1, 0.01, 1e-4)
js = {b: float(losses.jensen_shannon(z_student, z_teacher, 2.0, beta=b)) for b in betas}
assert abs(js[1e-4] / 1e-4 / forward - 1) < 0.02

# %% tags=["nbval-ignore-output"]
ends_of_js = [[f"{b:g}", f"{v:.4f}", f"{v / b:.3f}"] for b, v in js.items()]
ends_of_js.append(["0, switched to KL", f"{forward:.4f}", ""])
show_table(["beta", "T² · JS", "T² · JS / beta"], ends_of_js)

# %% [markdown]
# ## Post-hoc temperature scaling is another thing
#
# Guo et al. (2017) also divide logits by a T, but *after* training: one number fitted on validation, to make the confidence honest. It cannot change which class is first, so it cannot change the error. NLL is the mean cross-entropy, ECE the calibration error.

# %%
z_validation, z_test = (label_only.logits[part][0] for part in ("validation", "test"))
heats = torch.linspace(0.5, 5, 91).tolist()
nlls = [float(metrics.nll(z_validation / heat, validation.y)) for heat in heats]
fitted = heats[nlls.index(min(nlls))]
versions = {"as trained": z_test, "divided by the fitted T": z_test / fitted}

# %% tags=["nbval-ignore-output"]
scores = (metrics.error_percent, metrics.nll, metrics.calibration_error)
scored = [
    [name, *(f"{float(score(z, test.y)):.3f}" for score in scores)] for name, z in versions.items()
]
show_table(["label-only student", "error %", "NLL", "ECE"], scored)

# %% [markdown]
# Same answers, more honest confidence:

# %%
nll_before, nll_after = (float(metrics.nll(z, test.y)) for z in versions.values())
claim(
    "04.12",
    "Temperature scaling after training lowers the NLL and leaves every answer as it was",
    torch.equal(z_test.argmax(-1), (z_test / fitted).argmax(-1)) and nll_after < nll_before,
    measured={"T": fitted, "NLL before": nll_before, "NLL after": nll_after},
    published="Guo et al. 2017: accuracy unchanged",
)

# %% [markdown]
# ## A huge T in float32
#
# KL at T = 10,000 is about one part in ten million; float32 keeps seven digits. Multiplied by T², the rounding is all you see.

# %%
hots = (1e2, 1e3, 1e4, 1e5, 1e6)
exact = [float(losses.soft_targets(z_student, z_teacher, heat)) for heat in hots]
rough = [float(losses.soft_targets(z_student.float(), z_teacher.float(), heat)) for heat in hots]

# %% tags=["nbval-ignore-output"]
rounding = [f"{one:.2f}" for one in rough]
show_table(
    ["T", *(f"{heat:,.0f}" for heat in hots)],
    [["float64", *(f"{one:.2f}" for one in exact)], ["float32", *rounding]],
)

# %% [markdown]
# float64 stays at its limit, logit matching:

# %%
text = "At T = 1,000,000 the loss in float32 is wrong by more than a tenth"
measured = {"float64": exact[-1], "float32": rough[-1]}
claim("04.13", text, abs(rough[-1] / exact[-1] - 1) > 0.1, measured=measured)

# %% [markdown]
# ## Is the translator right?
#
# Then the gradients of another library's loss and of ours must be *proportional*, with that very factor. Their side uses PyTorch's own `kl_div`, averaged as each library does.


# %%
def theirs(z_s, z_t, y, hard, soft, T, squared, over_classes):
    kl = F.kl_div((z_s / T).log_softmax(-1), (z_t / T).softmax(-1), reduction="none")
    averaged = kl.mean() if over_classes else kl.sum(-1).mean()  # (batch, classes) -> ()
    return hard * F.cross_entropy(z_s, y) + soft * (T**2 if squared else 1) * averaged


def ours(z_s, z_t, y, alpha, T):
    soft = losses.soft_targets(z_s, z_t, T)
    return (1 - alpha) * F.cross_entropy(z_s, y) + alpha * soft


def proportional(hard, soft, T, squared, over_classes):
    generator = torch.Generator().manual_seed(seed)
    z_s, z_t = torch.randn(2, 16, 10, dtype=torch.float64, generator=generator)
    z_s, y = z_s.requires_grad_(), z_t.argmax(-1)
    weight = soft / (1 if squared else T**2) / (10 if over_classes else 1)
    their_loss = theirs(z_s, z_t, y, hard, soft, T, squared, over_classes)
    our_loss = (hard + weight) * ours(z_s, z_t, y, weight / (hard + weight), T)
    torch.testing.assert_close(
        *(torch.autograd.grad(loss, z_s)[0] for loss in (their_loss, our_loss))
    )


# %% [markdown]
# Four kinds: RepDistiller's and TextBrewer's defaults, the Keras example of 2020, and `nn.KLDivLoss()` left at its default.

# %%
kinds = [
    (0.1, 0.9, 4.0, True, False),
    (0.0, 1.0, 4.0, False, False),
    (0.1, 0.9, 10.0, False, False),
    (0.1, 0.9, 4.0, True, True),
]
for kind in kinds:
    proportional(*kind)
print(f"{len(kinds)} conventions: gradients proportional, factor as translated")

# %% [markdown]
# DeiT is left out of every table: its student answers twice, by a class token and by a distillation token. CE sees the logits of the one and KL those of the other, so no alpha of ours says what it does.
#
# ## Reading
#
# - Li et al. (2023), *Curriculum Temperature for Knowledge Distillation* (CTKD).
# - Zhao et al. (2022), *Decoupled Knowledge Distillation*; Huang et al. (2022), *Knowledge Distillation from a Stronger Teacher* (DIST); Sun et al. (2024), *Logit Standardization in Knowledge Distillation*.
# - Gu et al. (2024), *MiniLLM*; Agarwal et al. (2024), *On-Policy Distillation of Language Models* (GKD).
# - Guo et al. (2017), *On Calibration of Modern Neural Networks*: the other T.
#
# Back to the page: [](lesson04)
