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
# # How soft, and how much?
#
# **In one line:** T decides how much of the teacher's doubt the student must copy; whether that helps depends on the student; so choose T and alpha on held-out training images.
#
# *{minutes} minutes to read, exercises apart · about 40 CPU seconds to run · needs: [](lesson02)*
#
# **First, wake the sliders: Run ▸ Run All Cells.** Binder may take three times as long.
#
# After this page you can
#
# 1. say what soft targets become when T is very large, very small, and between, and check it in code;
# 2. choose T and alpha without looking at the test set;
# 3. read another library's α, λ and T, and translate them into yours.
#
# **Why anyone wants this.** Soft-target recipes have these two numbers. With a wrong T a student can make more errors than without a teacher, and another library's alpha can mean our 1 − alpha.

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
alpha: float = 0.9  # 0..1
seeds: int = 5  # 2..10
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
from functools import partial

import torch
from torch.nn import functional as F

from kdcourse.checks import Prediction, claim
from kdcourse.explorers import BankExplorer, LiveBank
from kdcourse.figures import show_table
from kdcourse.ground import mnist
from kdcourse.lessons.lesson04 import exercises, humps, stored_rows
from kdcourse.lessons.lesson04.stored_rows import saved as points_saved
from kdcourse.measured import saves
from kdcourse.parameters import check_parameters
from kdlib.bank import train_bank
from kdlib.data import load
from kdlib.losses import soft_targets
from kdlib.metrics import one_standard_error
from kdlib.models import initialise, mlp, predict
from kdlib.objectives import HardLabels, LearnedTemperature, SoftTargets, tabulate
from kdlib.training import fit

check_parameters()

# %% [markdown]
# ## The common ground
#
# The teacher and the data are those of [](lesson02). Every student takes 560 steps, unless said otherwise. With the softened answers $p_T = \mathrm{softmax}(z_t / T)$ and $q_T = \mathrm{softmax}(z_s / T)$, the distilled student minimises
#
# $$\text{loss} = (1 - \alpha)\,\mathrm{CE} + \alpha\,T^2\,\mathrm{KL}(p_T \,\|\, q_T)$$
#
# The *label-only student* is the same network with `alpha = 0`. You choose T and alpha.

# %%
small = budget == "small"
whole, _, test = load("mnist5k")
train = whole[:500] if small else whole
epochs, teacher_epochs = (2, 1) if small else (mnist.epochs(train), 8)
answers = tabulate(mnist.teacher(train, epochs=teacher_epochs, seed=seed), train)

# %% [markdown]
# ## Your prediction
#
# Hinton, Vinyals and Dean (2015) used T = 20 for a student of 800 units per layer. Take a student with only **8** hidden units, and alpha = 0.9.

# %%
prediction = Prediction(
    "What does T = 20 do to a student of 8 hidden units, compared with no teacher at all?",
    ["it saves errors", "it changes nothing", "it costs errors"],
)
prediction

# %% [markdown]
# ## Two limits
#
# **In words.** Divide the logits by a huge T and every softmax is almost flat: the student must match the teacher's *logits*, up to a constant per image. Divide by a tiny T and only the teacher's first choice counts.
#
# **Hot.** For large T, $e^{z/T} \approx 1 + z/T$. With $C$ classes and $\bar z$ the mean of an image's logits,
#
# $$q_T \approx \frac{1 + z_s/T}{C + C\,\bar z_s/T} \approx \frac1C + \frac{z_s - \bar z_s}{C\,T}$$
#
# $$\frac{\partial}{\partial z_s} T^2\,\mathrm{KL} = T\,(q_T - p_T) \;\to\; \frac{d}{C}, \qquad d = (z_s - \bar z_s) - (z_t - \bar z_t)$$
#
# That is the gradient of $\sum_c d_c^2 / 2C$: *logit matching* (Hinton et al. 2015, equations 3 and 4).
#
# **Cold.** $p_T$ becomes one-hot at the teacher's first choice $k$:
#
# $$T\,\mathrm{KL} = \underbrace{T \sum_c p_c \log p_c}_{\to\, 0} \; - \; \sum_c p_c \, \underbrace{T \log q_c}_{\to\; z_{s,c} - \max_j z_{s,j}} \;\to\; \max_c z_{s,c} - z_{s,k}$$
#
# This margin is finite, so $T^2\,\mathrm{KL}$ goes to 0, whatever the student knows.
#
# **In code**, by hand, for the real teacher and an untrained student:

# %%
z_teacher = answers.logits[:500].double()
z_student = predict(initialise(mlp(784, mnist.WIDTH, 10), seed), train[:500]).double()


def soft_by_hand(z_s, z_t, T):
    log_p, log_q = ((z / T).log_softmax(-1) for z in (z_t, z_s))  # (batch, classes)
    return T**2 * (log_p.exp() * (log_p - log_q)).sum(-1).mean()


# %% [markdown]
# It is kdlib's function, and it tends to logit matching:

# %%
by_hand, library = (loss(z_student, z_teacher, T) for loss in (soft_by_hand, soft_targets))
torch.testing.assert_close(by_hand, library)
d = (z_student - z_teacher) - (z_student - z_teacher).mean(-1, keepdim=True)
matching = float((d**2).sum(-1).mean() / (2 * d.shape[-1]))

# %% [markdown]
# ## And the hump between them
#
# Here the loss overshoots its hot limit:

# %%
temperatures = torch.logspace(-1, 4, 101, dtype=torch.float64).tolist()
heights = [float(soft_targets(z_student, z_teacher, hot)) for hot in temperatures]

# %%
cold = float(soft_targets(z_student, z_teacher, 1e-3))
overshoot = max(heights) / matching
claim(
    "04.1",
    "T² · KL goes to 0 as T falls and to logit matching as T grows; for an untrained student it has a hump between",
    cold < 0.01 and abs(heights[-1] / matching - 1) < 0.02 and overshoot > 1.15,
    measured={
        "T² · KL at T = 0.001": cold,
        "ratio to logit matching at T = 10,000": heights[-1] / matching,
        "ratio to logit matching at the hump": overshoot,
    },
)

# %% [markdown]
# So the loss changes with T *while the student stays the same*. Descent now moves T together with the student's weights, once from T = 4, left of the hump, once from T = 20, right of it. (T may move in 0.25 to 7.75, and in 1 to 39.)


# %%
def descend(low, high, seed):
    """T after each epoch, when descent moves T and the student together."""
    moving = LearnedTemperature(low, high, adversarial=False)
    objective = 0.1 * HardLabels() + 0.9 * SoftTargets(answers, moving)
    moving_settings = {"epochs": epochs, "batch": mnist.BATCH, "precision": "fp32", "seed": seed}
    run = fit(mlp(784, mnist.WIDTH, 10), train, objective, **moving_settings)
    return [row[str(moving)] for row in run.history]


paths = {4.0: [descend(0.25, 7.75, number) for number in (seed, seed + 1)]}
paths |= {20.0: [descend(1.0, 39.0, number) for number in (seed, seed + 1)]}

# %% tags=["nbval-ignore-output"]
humps.hump_and_paths(temperatures, heights, matching, paths)

# %% [markdown]
# For a fixed student, T alone lowers the loss (left panel). CTKD (Li et al. 2023) turns T's gradient round: [lab notes](lesson04/notes).

# %%
low, high = max(path[-1] for path in paths[4.0]), min(path[-1] for path in paths[20.0])
claim(
    "04.2",
    "Descent on T from 4 goes down, descent from 20 goes up",
    low < 3 and high > 20.5,
    measured={"from 4, the higher of two ends": low, "from 20, the lower": high},
)

# %% [markdown]
# ## The bank: T × alpha × width × seed
#
# Which T is best?


# %%
def distilled(source, T, alpha):
    return (1 - alpha) * HardLabels() + alpha * SoftTargets(source, T)


def student_of(width):
    return mlp(784, width, 10)


grid = {"T": sorted({1.0, 2.0, 4.0, 8.0, 20.0, T}), "alpha": sorted({0.5, 0.9, alpha})}
grid |= {"width": [8, 32]}
settings = {"examples": train, "epochs": epochs, "evaluate": {"test": test}, "student": student_of}
settings |= {"seeds": range(seed, seed + seeds)}
bank = train_bank(partial(distilled, answers), grid=grid, **settings)
label_only = train_bank(grid={"width": [8, 32]}, **settings)

# %%
situations = {f"{units} units, T = 20": {"width": units, "T": 20.0} for units in (8, 32)}
start = {"T": 20.0, "alpha": alpha, "width": 8}
look = {"start": start, "situations": situations, "title": "How soft, and how much?"}
look["notes"] = {"alpha": "λ in many texts"}
BankExplorer(bank, alone=label_only.errors("test"), **look)

# %% [markdown]
# At 8 units the line climbs from T = 2 on, away from the label-only student (dashed). At 32 units it climbs less. Now move alpha.
#
# Press *Train* below to train 64 more students (start: 8 units, 5 epochs).


# %% tags=["nbval-ignore-output"]
def train_again(watch, images, width, epochs):
    chosen = {"examples": train[:images], "epochs": epochs, "student": student_of(width)}
    fixed = {"evaluate": {"test": test}, "seeds": 4, "grid": live_axes, "cache": False}
    return train_bank(partial(distilled, answers), watch=watch, **chosen, **fixed)


live_axes = {"T": [1.0, 4.0, 8.0, 20.0], "alpha": [0.25, 0.5, 0.75, 0.9]}
live = LiveBank(
    train_again,
    choices={"images": [350, len(train)], "width": [4, 8, 32, 100], "epochs": [2, 5, 10, 20]},
    axes=live_axes,
    n=len(test),
    objective=partial(distilled, answers),
    start={"images": len(train), "width": 8, "epochs": 5},
    title="Train this bank again: starts at 8 units, 5 epochs",
    highest=20.0,
)
live.start()
live.wait()
live

# %% [markdown]
# ## T against width, on 10,000 images
#
# On 1,000 test images the intervals are wide, and in the explorer we *noticed* what T = 20 does. So we ask again, with ten *fresh* seeds, three widths, and MNIST's own 10,000 test images. (Stored rows: `table.py`.)

# %% tags=["nbval-ignore-output"]
humps.width_panels([8, 32, 100], [1.0, 2.0, 4.0, 8.0, 20.0])
effect = points_saved(8, 20.0)
direction = "it costs errors" if effect.high < 0 else "it saves errors"
prediction.recall("it changes nothing" if effect.low <= 0 <= effect.high else direction)

# %% [markdown]
# Our guess: at T = 20 the student is asked for *all ten logits* of every image; eight numbers between input and answer cannot carry that, a hundred can (not measured here). (Training five times as long does not rescue the 8 units: lab notes.)

# %%
claim(
    "04.3",
    "With 8 hidden units, T = 20 makes more errors than label-only; with 100 it still saves",
    points_saved(8, 20.0).high < -1.5 and points_saved(100, 20.0).low > 0.2,
    measured={"8 units, points saved": points_saved(8, 20.0), "100 units": points_saved(100, 20.0)},
    published="Hinton et al. 2015: with 30 units per layer T of 2.5 to 4 worked best; with 300 or more all T above 8 were alike",
)

# %% [markdown]
# ## Choose T and alpha by cross-validation
#
# The pictures above used test images, so they may not choose. **Cross-validation** uses the training set alone: each fold is held out once, and the error is averaged over the folds. Then the **one-standard-error rule** (Breiman et al. 1984): among all settings within one standard error of the best, take the *simplest*, here the least alpha, then the least T.
#
# One trap. Our teacher was trained on *all* folds, and its answers could tell a student about the images held out. So each fold gets a teacher of its own.

# %%
choices = {"alpha": [0.0, 0.5, 0.9], "T": [1.0, 4.0, 20.0]}
held_out = {(a, hot): [] for a in choices["alpha"] for hot in choices["T"] if a or hot == 1}
for rest, fold in train.folds(3, seed=seed):
    own = tabulate(mnist.teacher(rest, epochs=teacher_epochs, seed=seed), rest)
    cv = {"examples": rest, "evaluate": {"fold": fold}, "seeds": 3, "student": student_of(8)}
    cv |= {"epochs": epochs if small else mnist.epochs(rest), "grid": choices}
    fold_bank = train_bank(partial(distilled, own), **cv)
    for (a, hot), errors in held_out.items():
        errors.append(float(fold_bank.select(alpha=a, T=hot).errors("fold").mean()))

# %% [markdown]
# For 100 units the same is stored, with more temperatures, from simple to complex.


# %% tags=["nbval-ignore-output"]
def written(setting):
    return f"alpha = {setting[0]:g}, T = {setting[1]:g}" if setting[0] else "label-only"


def held_out_column(scores):
    """Mean held-out error of each setting, the best one's standard error, what each rule chooses."""
    means = {setting: sum(errors) / len(errors) for setting, errors in scores.items()}
    best = min(means, key=means.get)
    standard_error = float(torch.tensor(scores[best]).std()) / len(scores[best]) ** 0.5
    shown = [f"{means[setting]:.2f}" if setting in means else "" for setting in held_out_100]
    return [*shown, written(best), f"{standard_error:.2f}", written(one_standard_error(scores))]


held_out_100 = stored_rows.folds()
names = [*map(written, held_out_100), "**best mean**", "its standard error"]
names += ["**one-standard-error rule**"]
columns = zip(names, held_out_column(held_out), held_out_column(held_out_100), strict=True)
show_table(["held-out error %", "8 units, here", "100 units, stored"], list(columns))

# %% [markdown]
# Now the stored 10,000 for the chosen setting and for the habit (alpha = 0.9, T = 4). The figure above showed these test images to us; the rule did not use them.

# %% tags=["nbval-ignore-output"]
verdicts = []
for units, scores in ((8, held_out), (100, held_out_100)):
    a, hot = one_standard_error(scores)
    by_rule = saves(points_saved(units, hot, a)) if a else "0 (label-only chosen)"
    verdicts.append([f"{units} units", by_rule, saves(points_saved(units, 4.0))])
show_table(["", "chosen, against label-only", "habit, against label-only"], verdicts)

# %% [markdown]
# At 100 units the choice gains nothing we can resolve over the habit; at 8, label-only lies just within one standard error: do not distil.

# %%
cost = (sum(held_out[0.9, 20.0]) - sum(held_out[0.0, 1.0])) / 3
gain = (sum(held_out_100[0.0, 1.0]) - sum(held_out_100[0.9, 4.0])) / 3
claim(
    "04.4",
    "Held-out images already say that T = 20 costs errors at 8 units and that T = 4 saves errors at 100",
    cost > 0.5 and gain > 0.3 and points_saved(100, 4.0).low > 0.3,
    measured={
        "8 units, T = 20: held-out points lost": cost,
        "100 units, T = 4: held-out points saved": gain,
        "100 units, T = 4: points saved on the 10,000": points_saved(100, 4.0),
    },
)

# %% [markdown]
# ## Who calls what α, λ, T?
#
# From the projects' code (files named):
#
# | source | labels' weight | soft weight | T²? | KL averaged over |
# |---|---|---|---|---|
# | **this course** | 1 − `alpha` | `alpha` ("λ" in many texts) | yes | images |
# | Hinton et al. 2015 | "considerably lower" | no letter | yes | not said |
# | RepDistiller, `distiller_zoo/KD.py` | `gamma` | `alpha` | yes | images |
# | torchdistill, `losses/mid_level.py` | **`alpha`** | 1 − alpha | yes | images |
# | TextBrewer, `losses.py` | `hard_label_weight` | `kd_loss_weight` | **no** | images |
# | Keras example of 2020, `knowledge_distillation.py` | **`alpha`** | 1 − alpha | **no** | images |
# | DistilBERT, `distiller.py` | `alpha_mlm` | `alpha_ce` (**soft**) | yes | tokens |
# | our loss, with `nn.KLDivLoss()` inside | 1 − `alpha` | `alpha` | yes | images **and classes** |
#
# `alpha = 0.1` is *meant* as mostly teacher in Keras' example; without T² it is mostly labels in both. Each of these losses is `hard · CE + soft · (T² or 1) · KL / (1 or classes)`. What matters: the *ratio* of both weights, and their common *scale*: with SGD it acts like a learning rate, with Adam (Keras' example) or AdamW (here) it nearly drops out.


# %%
def translate(hard, soft, T, *, squared=True, over_classes=None):
    """Another library's weights -> (our alpha, the factor for SGD's learning rate)."""
    inside = soft if squared else soft / T**2  # our soft term has T² inside
    our_soft = inside / over_classes if over_classes else inside
    return our_soft / (hard + our_soft), hard + our_soft


# %% [markdown]
# An example: λ · CE + (1 − λ) · KL with λ = 0.5, T = 2, no T². Then hard = 0.5, soft = 0.5 / 2² = 0.125, and our alpha is 0.125 / 0.625 = 0.2. Settings as published; last row: ours with KL's default average:

# %%
published = {
    "RepDistiller": dict(hard=0.1, soft=0.9, T=4.0),
    "PyTorch tutorial": dict(hard=0.75, soft=0.25, T=2.0),
    "TextBrewer, defaults": dict(hard=0.0, soft=1.0, T=4.0, squared=False),
    "Keras example 2020": dict(hard=0.1, soft=0.9, T=10.0, squared=False),
    "DistilBERT, its cosine term apart": dict(hard=2.0, soft=5.0, T=2.0),
    "our loss, nn.KLDivLoss() inside": dict(hard=0.1, soft=0.9, T=4.0, over_classes=10),
}
translated = {name: translate(**weights) for name, weights in published.items()}
lines = [[name, f"{a:.3f}", f"{scale:.3g}"] for name, (a, scale) in translated.items()]
show_table(["source", "our alpha", "SGD learning rate ×"], lines)

# %% [markdown]
# `nn.KLDivLoss` left at its default (PyTorch warns of it today) turns nine tenths for the teacher into less than half.
#
# ## What can go wrong
#
# - **T raised, T² forgotten.** At T = 20 the soft weight falls four-hundredfold, without a warning.
# - **T chosen on the test set.** Among many settings one always looks good.
# - **A very high T in float32.** Rounding takes over (lab notes). Use logit matching instead.
#
# More of each, and the relatives of soft targets (DKD, DIST, reverse KL, Jensen–Shannon): [lab notes](lesson04/notes).
#
# ## Exercises
#
# **1 (5 minutes).** Write `hump(z_s, z_t, temperatures)`: the temperature, among those given, at which T² · KL is greatest. Then: where does the hump go if all logits are ten times as large?
#
# <details><summary>Hint 1</summary>One loss for each temperature: soft_by_hand, or soft_targets.</details>
# <details><summary>Hint 2</summary>Python's max takes a key: the function by which it compares.</details>
# <details><summary>Ten times as large</summary>Ten times hotter: (10T)² · KL(10z, 10T) = 100 · T² · KL(z, T), because both sides soften to the same probabilities.</details>


# %% tags=["exercise"]
def hump(z_s, z_t, temperatures):
    # SOLUTION
    return max(temperatures, key=lambda hot: float(soft_targets(z_s, z_t, float(hot))))
    # END


exercises.hump(hump)

# %% [markdown]
# **2 (15 minutes).** Write the one-standard-error rule, `simplest(scores)`. `scores` is a dict, setting → list of errors over folds; the settings stand in order from simple to complex. Return the chosen setting. (The standard error is that of the *best* setting's mean.)
#
# <details><summary>Hint 1</summary>First find the setting with the lowest mean. Its limit is that mean plus its standard error.</details>
# <details><summary>Hint 2</summary>Does your standard deviation divide by n − 1? And in which order stand the keys of a dict?</details>


# %% tags=["exercise"]
def simplest(scores):
    # SOLUTION
    means = {setting: sum(errors) / len(errors) for setting, errors in scores.items()}
    best = min(means, key=means.get)
    errors = torch.as_tensor(scores[best], dtype=torch.float64)
    limit = means[best] + float(errors.std()) / len(errors) ** 0.5
    return next(setting for setting, mean in means.items() if mean <= limit)
    # END


exercises.simplest(simplest)

# %% [markdown]
# **3 (debugging).** This loss was copied from three places, and has a mistake from each. Correct all three, so that its alpha means what ours means. Then translate with `translate`: λ = 0.3 on the teacher, T = 5, no T².
#
# ```python
# def mended_loss(z_s, z_t, y, T, alpha):
#     kl = F.kl_div((z_s / T).log_softmax(-1), (z_t / T).softmax(-1), reduction="mean")
#     return alpha * F.cross_entropy(z_s, y) + (1 - alpha) * T * kl
# ```
#
# <details><summary>Hint 1</summary>Put alpha = 0 in: what should be left, in this course's convention?</details>
# <details><summary>Hint 2</summary>Over what does <code>reduction="mean"</code> average? And which power of T keeps the gradient's size?</details>
# <details><summary>The translation</summary>hard = 0.7, soft = 0.3, squared=False: 0.3 / 25 = 0.012, and 0.012 / 0.712 = 0.017. Less than two hundredths for the teacher.</details>


# %% tags=["exercise"]
def mended_loss(z_s, z_t, y, T, alpha):
    # SOLUTION
    kl = F.kl_div((z_s / T).log_softmax(-1), (z_t / T).softmax(-1), reduction="batchmean")
    return (1 - alpha) * F.cross_entropy(z_s, y) + alpha * T**2 * kl
    # END


exercises.mended_loss(mended_loss)

# %% [markdown]
# ## In three lines
#
# - T² · KL is 0 on the cold side and logit matching on the hot side; here, for an untrained student, it was highest between. For a fixed student, T alone lowers the loss.
# - T = 20 costs 8 units errors; 100 units still gain from the teacher, no more than at T = 4.
# - Choose T and alpha on held-out training images, and translate before you compare with anybody.
#
# ## Recall
#
# <details><summary>What does T² · KL become for T → ∞, and for T → 0?</summary>Logit matching, Σ d² / (2C); and 0, while T · KL becomes the margin to the teacher's class.</details>
# <details><summary>How can descent on T lower the loss while the student stays the same?</summary>For a fixed student T² · KL still changes with T. Left of the hump it falls towards 0 as T falls, right of it towards logit matching as T grows.</details>
# <details><summary>What does the one-standard-error rule choose?</summary>The simplest setting whose error is within one standard error of the best.</details>
# <details><summary>A recipe says alpha = 0.1. What do you ask?</summary>Does alpha weigh the labels or the teacher? Is T² inside? Is KL divided by the classes?</details>
# <details><summary>Why does each fold need a teacher of its own?</summary>A teacher trained on all folds knows the images held out, and tells the student about them.</details>
#
# ## Reading
#
# - Hinton, Vinyals & Dean (2015), *Distilling the Knowledge in a Neural Network*, sections 2 and 3.
# - Ba & Caruana (2014), *Do Deep Nets Really Need to be Deep?*: logit matching.
# - Li et al. (2023), *Curriculum Temperature for Knowledge Distillation* (CTKD): the adversarial temperature.
#
# Next: [](lesson05)
