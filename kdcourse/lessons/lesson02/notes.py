# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab notes: what else was measured about soft targets?
#
# These notes are optional. They hold what stands behind [](lesson02): the luck in dark knowledge, all controls, other numbers of labels, inherited errors, targets that are numbers, and three mistakes with their fingerprints.
#
# *{minutes} minutes to read, without the exercises · about 40 s of processor time*

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
alpha: float = 0.9  # 0..1
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import torch
from torch.nn import functional as F

from kdcourse import figures
from kdcourse.checks import claim
from kdcourse.figures import digits, figure, lines_with_dots, show, show_table
from kdcourse.ground import mnist
from kdcourse.lessons.lesson02 import notes_exercises
from kdcourse.lessons.lesson02 import table as table02
from kdcourse.measured import saves
from kdcourse.pages import tables
from kdcourse.parameters import check_parameters
from kdlib import losses, metrics
from kdlib.data import load
from kdlib.models import cnn, initialise, mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, tabulate

# %% [markdown]
# The teacher is the one of the page.

# %%
check_parameters()
train, validation, test = load("mnist5k")
full = budget == "full"
teacher = mnist.teacher(train, epochs=8 if full else 1, seed=seed)
table = tabulate(teacher, train)
one_hot = F.one_hot(train.y, 10).double()

# %% [markdown]
# ## Is dark knowledge chance?
#
# A few images hold much of a row's doubt. So some classes come out ahead even if no two are alike. To see how far, we shuffle: each image keeps its nine doubts, but hands them to the wrong classes at random. Then we compare the share of the two most likely wrong classes, averaged over the ten labels.


# %%
def two_largest(doubts):
    """Doubts (N, 9) about the nine wrong classes -> share of the two largest, by label: (10,)."""
    by_label = one_hot.T @ doubts.double()  # (10, N) @ (N, 9) -> (10, 9)
    return (by_label / by_label.sum(1, keepdim=True)).topk(2).values.sum(1)


doubts = table.logits.softmax(1)[one_hot == 0].view(-1, 9)
generator = torch.Generator().manual_seed(seed)
shuffled = torch.stack(
    [
        two_largest(doubts.gather(1, torch.rand(doubts.shape, generator=generator).argsort(1)))
        for _ in range(100)
    ]
).mean(1)
true_share = two_largest(doubts).mean()

# %%
claim(
    "02.1",
    "Averaged over the labels, two of the nine wrong answers take more of the teacher's doubt than "
    "in any of a hundred teachers whose doubts are shuffled within each image",
    true_share > shuffled.max() + 0.03,
    measured={
        "mean of ten labels": float(true_share),
        "shuffled, mean": float(shuffled.mean()),
        "shuffled, highest of 100": float(shuffled.max()),
    },
)

# %% [markdown]
# ## The gradient once more: by finite differences, and over T
#
# A third way to the gradient: move each logit a little, and see how the loss changes.

# %%
student = mlp(train.x[0].numel(), mnist.WIDTH, 10)
z_s = predict(initialise(student, seed), train[:64]).double()
z_t = table.logits[:64].double()


def finite_difference(image, logit, step=1e-5):
    move = torch.zeros_like(z_s)
    move[image, logit] = step
    up, down = (losses.soft_targets(z_s + way * move, z_t, T) for way in (1, -1))
    return (up - down) / (2 * step)


numbers = torch.stack([finite_difference(0, logit) for logit in range(10)])
formula = T * ((z_s[0] / T).softmax(0) - (z_t[0] / T).softmax(0)) / 64
torch.testing.assert_close(numbers, formula, rtol=1e-5, atol=1e-8)

# %% [markdown]
# And its length over more temperatures than the page shows. The dotted line is how hard labels pull.

# %%
temperatures = torch.tensor([0.5, 1, 2, 4, 8, 20, 50], dtype=torch.float64)
with_square = torch.stack(
    [
        heat * ((z_s / heat).softmax(1) - (z_t / heat).softmax(1)).norm(dim=1).mean()
        for heat in temperatures
    ]
)
label_pull = (z_s.softmax(1) - one_hot[:64]).norm(dim=1).mean().item()

# %%
picture, axis = figure(2.9, width=6.2)
lines_with_dots(axis, temperatures, with_square[:, None], "taught", "with T²", log=True)
without = with_square / temperatures**2
lines_with_dots(axis, temperatures, without[:, None], "extra", "without T²", log=True)
axis.axhline(label_pull, color=figures.COLOURS["label"], linestyle=":")
axis.text(50, 0.9 * label_pull, "hard labels", color=figures.INKS["label"], ha="right", va="top")
axis.set(yscale="log", xlabel="T", ylabel="mean length of the gradient")
show(
    picture,
    "Without T² the gradient falls as 1 / T²",
    "With T² its length hardly depends on T from T = 2 on; without it, it all but vanishes.",
)

# %% [markdown]
# ## All controls, on 10,000 images
#
# Three more students. *Label smoothing* (0.1) has doubt without a teacher. *Class means* are told the mean soft target of their image's class: similarity of classes, nothing about the single image. *False class means* are told these with the wrong classes shuffled, once for each class: false similarity without noise.
#
# Stored, from ten draws: what each saves against the label-only student, on MNIST's 10,000 test images. "Stopped early" means 120 steps in place of 560.

# %%
stored = {}
for row in tables.read(table02.__file__):
    stored.setdefault(row["setting"], {})[row["student"]] = row
settings = [
    "100 labels per class",
    "20 labels per class",
    "20 labels per class, stopped early",
    "20 labels per class, transfer set",
    "all labels",
]


def saved(setting, name, other="label-only"):
    return metrics.Interval(*stored[setting][name]["saves against"][other])


# %% [markdown]
# In points; negative means that it costs.

# %%
names = list(stored["100 labels per class"])
head = ["", *settings]
show_table(
    head,
    [
        [name, *(f"{saved(setting, name):.1f}" if name in stored[setting] else ""
            for setting in settings)]
        for name in names if name != "label-only"
    ],
)  # fmt: skip

# %% [markdown]
# And the errors of the label-only and the distilled students:

# %%
show_table(
    head,
    [
        [name, *(f"{metrics.Interval(*stored[setting][name]['error']):.1f}"
            for setting in settings)]
        for name in ("label-only", "distilled")
    ],
)  # fmt: skip

# %% [markdown]
# Three things to see.
#
# - **All labels.** The distilled student gains about one point. Hinton and his colleagues halved the errors of a larger student (800-800 units, all 60,000 images: 1.46 % to 0.74 %, at T = 20). We cannot tell which of the differences matters.
# - **20 labels per class on the same images.** Stopped early, the distilled student is ahead. Trained to the end, it is not: what looked like the teacher's gain was a label-only student that had not finished. Compare students only at a length that suits both.
# - **The permuted student** is worse than the label-only student with 100 labels per class. With a transfer set it is far better, with all labels about as good. A sentence about a control needs its setting.

# %%
claim(
    "02.7",
    "With all labels a teacher saves this student about one point, on 10,000 images",
    saved("all labels", "distilled").low > 0.3 and saved("all labels", "distilled").high < 2,
    measured={
        "distilled saves, points": saved("all labels", "distilled"),
        "label smoothing saves": saved("all labels", "label smoothing"),
        "the same images moved by two pixels, labels only, error %": metrics.Interval(
            *stored["all labels, images moved"]["label-only"]["error"]
        ),
        "label-only, error %": metrics.Interval(*stored["all labels"]["label-only"]["error"]),
    },
    published="Hinton et al. 2015, 60,000 images, 800-800 units: 1.46 % alone, 0.74 % distilled",
)

# %%
claim(
    "02.8",
    "With 20 labels per class the distilled student's lead is there after 120 steps and gone "
    "after 560",
    saved("20 labels per class, stopped early", "distilled").low > 0
    and not saved("20 labels per class", "distilled").low > 0,
    measured={
        f"{setting}, points": saved(setting, "distilled")
        for setting in ("20 labels per class, stopped early", "20 labels per class")
    },
)

# %% [markdown]
# **The strongest rival needs no teacher.** In the claim above stands the error of a label-only student whose images are moved at random by up to two pixels, as the teacher's were. It gains more than the teacher gives.
#
# ## Which comparisons stand together?
#
# Of many intervals one may exclude 0 by chance. *Holm's correction* asks more of each: the smallest p-value must lie below 0.05 divided by the number of comparisons, the next below 0.05 divided by one less, and so on; it stops at the first that fails. We train three students of the page again, on this machine.

# %%
draws = [100 * seed + k for k in range(5 if full else 2)]
lessons = table02.recipes(table)
wrong = {name: [] for name in ("label-only", "label smoothing", "even doubt", "distilled")}
for draw in draws:
    images = train.per_class(100, seed=draw)
    epochs = mnist.epochs(images) if full else 2
    chosen = {name: lessons[name] for name in wrong}
    for name, missed in table02.students(chosen, images, draw, test, epochs).items():
        wrong[name].append(missed)
missed_images = {name: torch.stack(per_draw) for name, per_draw in wrong.items()}

# %% [markdown]
# Three comparisons with the distilled student, and Holm's verdict on them:

# %%
compared = {
    name: metrics.difference(missed_images[name], missed_images["distilled"])
    for name in ("label-only", "label smoothing", "even doubt")
}
stands = metrics.holm({name: interval.p_value for name, interval in compared.items()})

# %% tags=["nbval-ignore-output"]
show_table(
    ["the distilled student, compared with", "on 1,000 images", "p", "after Holm"],
    [
        [name, saves(interval), f"{interval.p_value:.3f}",
            "stands" if stands[name] else "does not stand"]
        for name, interval in compared.items()
    ],
)  # fmt: skip

# %% [markdown]
# ## Does the student learn the teacher's errors?
#
# A teacher's wrong answer is a lesson like any other. But a label-only student makes some of these very errors as well. So count both: of the test images that the teacher gets wrong, how often does the student give *the same wrong answer*? With so few errors the interval is wide; look at it, not at the mean.

# %%
answers = predict(teacher, test)
teacher_wrong = metrics.wrong(answers, test.y)
recipe = (1 - alpha) * HardLabels() + alpha * SoftTargets(table, T)


def repeats(objective):
    """Of the teacher's errors, which does each student repeat: (draws, errors), in percent."""
    per_seed = []
    for draw in draws[:3]:
        network = initialise(mlp(784, mnist.WIDTH, 10), draw)
        table02.fit(network, train, objective, epochs=mnist.epochs(train), precision="fp32")
        same = predict(network, test).argmax(-1) == answers.argmax(-1)
        per_seed.append(100 * same[teacher_wrong].double())
    return torch.stack(per_seed)


# %% [markdown]
# With all labels, three students of each kind:

# %%
repeated = {"label-only": repeats(HardLabels()), "distilled": repeats(recipe)}

# %% tags=["nbval-ignore-output"]
inherited = metrics.interval(repeated["distilled"] - repeated["label-only"])
print(f"of the teacher's {int(teacher_wrong.sum())} errors the label-only student repeats "
      f"{metrics.interval(repeated['label-only']):.0f} %, the distilled student "
      f"{metrics.interval(repeated['distilled']):.0f} %; more: {inherited:.0f} points")  # fmt: skip

# %% [markdown]
# ## Targets can be numbers
#
# Turn each digit by an angle between −45° and 45°, and ask for the digit *and* the angle. The network has 12 outputs: ten logits, and $(\cos, \sin)$ of the angle. The teacher's two numbers are targets as they are. They have no softmax, so they need no T.
#
# $$\mathcal L = T^2 \cdot \mathrm{KL}(p_T \,\|\, q_T) + \texttt{lam} \cdot \tfrac12 \lVert (\cos, \sin)_s - (\cos, \sin)_t \rVert^2$$


# %%
def turned(examples, generator_seed):
    """Images (N, 1, 14, 14), turned; directions (N, 2) = (cos, sin)."""
    generator = torch.Generator().manual_seed(generator_seed)
    angle = (torch.rand(len(examples), generator=generator) - 0.5) * torch.pi / 2
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(examples))
    turn = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)  # (N, 6) -> (N, 2, 3)
    grid = F.affine_grid(turn, [len(examples), 1, 14, 14], align_corners=False)
    return F.grid_sample(examples.batch().x, grid, align_corners=False), torch.stack([cos, sin], 1)


x, direction = turned(train, seed)
x_test, direction_test = turned(test, seed + 1)
show(
    digits(x[:10]),
    "Ten turned digits",
    "Training images of 14 × 14 pixels (to be quick), each turned by its own angle.",
)

# %% [markdown]
# The loop by hand, once more:


# %%
def fit_mixed(network, loss, images, steps, start):
    """loss(outputs (128, 12), indices (128,)) on random batches of x."""
    initialise(network, start).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps + 1)
    generator = torch.Generator().manual_seed(start)
    for _ in range(steps):
        i = images[torch.randint(len(images), (128,), generator=generator)]
        optimizer.zero_grad()
        loss(network(x[i]), i).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


# %% [markdown]
# The truth teaches the teacher (all images) and the label-only student (20 labelled images of each class). The teacher teaches the distilled student on all images, without a label.

# %%
lam = 10.0  # at the start the two terms are of about the same size


def from_truth(out, i):
    hard = F.cross_entropy(out[:, :10], train.y[i])
    return hard + lam * F.mse_loss(out[:, 10:], direction[i])


def from_teacher(out, i):
    soft = losses.soft_targets(out[:, :10], mixed_answers[i, :10], 2.0)
    return soft + lam * F.mse_loss(out[:, 10:], mixed_answers[i, 10:])


# %%
every_image, steps = torch.arange(len(train)), 200 if full else 10
mixed_teacher = fit_mixed(cnn(16, 12), from_truth, every_image, steps, seed)
mixed_answers = predict(mixed_teacher, x)  # (N, 12)
labelled = torch.isin(train.ids, train.per_class(20, seed=seed).ids).nonzero()[:, 0]


# %% [markdown]
# Two scores: wrong classes, and how far the angle is off.


# %%
def scores(loss, images):
    """Wrong classes and degrees, (students, test images) each."""
    out = torch.stack(
        [predict(fit_mixed(mlp(196, mnist.WIDTH, 12), loss, images, steps, draw), x_test)
            for draw in draws]
    )  # fmt: skip
    angle = torch.atan2(out[..., 11], out[..., 10])
    off = (angle - torch.atan2(direction_test[:, 1], direction_test[:, 0])).rad2deg().abs()
    return 100 * metrics.wrong(out[..., :10], test.y).double(), off.double()


of_label_only, of_distilled = scores(from_truth, labelled), scores(from_teacher, every_image)

# %%
claim(
    "02.9",
    "Class and angle are learned together from a teacher, without a label: both errors fall",
    metrics.interval(of_label_only[0] - of_distilled[0]).low > 0
    and metrics.interval(of_label_only[1] - of_distilled[1]).low > 0,
    measured={
        "wrong classes saved, points": metrics.interval(of_label_only[0] - of_distilled[0]),
        "degrees saved": metrics.interval(of_label_only[1] - of_distilled[1]),
    },
)

# %% [markdown]
# ## Three mistakes and their fingerprints
#
# A *fingerprint*: what the loss and its gradient are where student and teacher agree (both must be 0), and how long the gradient is elsewhere, in multiples of the right one.


# %%
def no_square(z_s, z_t, T):
    return losses.soft_targets(z_s, z_t, T) / T**2


def mean_over_all(z_s, z_t, T):  # what F.kl_div(..., reduction="mean") does
    kl = F.kl_div((z_s / T).log_softmax(1), (z_t / T).softmax(1), reduction="none")
    return T**2 * kl.mean()


def no_logarithm(z_s, z_t, T):
    return T**2 * F.kl_div((z_s / T).softmax(1), (z_t / T).softmax(1), reduction="batchmean")


# %% [markdown]
# Each mistake is now a function; so is the right loss:


# %%
def fingerprint(loss):
    lengths = [torch.func.grad(loss)(z, z_t, T).norm() for z in (z_s, z_t)]
    right = torch.func.grad(losses.soft_targets)(z_s, z_t, T).norm()
    elsewhere, agreeing = (float(length / right) for length in lengths)
    return float(loss(z_t, z_t, T)) + 0.0, agreeing, elsewhere


suspects = {
    "right": losses.soft_targets,
    "T² missing": no_square,
    'reduction="mean"': mean_over_all,
    "probabilities for log-probabilities": no_logarithm,
}
prints = {name: fingerprint(loss) for name, loss in suspects.items()}

# %% tags=["nbval-ignore-output"]
show_table(
    ["the loss", "value where both agree", "gradient there", "gradient elsewhere"],
    [
        [name, f"{value:.2f}", f"{agreeing:.4f} ×", f"{elsewhere:.4f} ×"]
        for name, (value, agreeing, elsewhere) in prints.items()
    ],
)

# %%
claim(
    "02.10",
    "Without T² the gradient is T² times too short; with probabilities for log-probabilities the "
    "loss is not zero where student and teacher agree",
    abs(prints["T² missing"][2] * T**2 - 1) < 1e-6
    and abs(prints["probabilities for log-probabilities"][0]) > 0.1,
    measured={
        **{f"{name}, length of the gradient": length for name, (_, _, length) in prints.items()},
        **{f"{name}, loss where both agree": loss for name, (loss, _, _) in prints.items()},
    },
)

# %% [markdown]
# The first two have the right direction and the wrong size. The third is negative where both agree, and its gradient does not vanish there.
#
# ### Exercise: all three in one line
#
# ```python
# def loss(z_s, z_t, T):
#     return F.kl_div((z_s / T).softmax(1), (z_t / T).softmax(1), reduction="none").mean()
# ```
#
# It trains without an error message. Correct it.
#
# <details><summary>Hint 1</summary>Read what <code>F.kl_div</code> wants as its first argument. <code>log_softmax</code> is not the same as <code>softmax</code>.</details>
# <details><summary>Hint 2</summary>The mean over <em>all</em> entries divides by the number of classes too. And where is the factor that makes up for $1/T^2$?</details>


# %% tags=["exercise"]
def mended(z_s, z_t, T):
    """Logits (batch, classes) -> T² · KL(p_T || q_T), one number."""
    # SOLUTION
    log_q, p = (z_s / T).log_softmax(1), (z_t / T).softmax(1)
    return T**2 * F.kl_div(log_q, p, reduction="batchmean")
    # END


notes_exercises.mended_loss(mended)

# %% [markdown]
# ## Label smoothing, and what is known
#
# ### Exercise: a teacher who knows nothing
#
# Label smoothing can be seen as distillation from a teacher who knows nothing: it gives `1 - smoothing` to the label and shares `smoothing` evenly among *all* classes. Write this teacher, for T = 1 and 0 < smoothing < 1: logits whose softmax is the smoothed label.
#
# <details><summary>Hint 1</summary>Write down the probabilities first. Which function does softmax undo?</details>
# <details><summary>Hint 2</summary><code>F.one_hot(y, classes)</code> gives 1 to the label; multiply, add, take the logarithm.</details>


# %% tags=["exercise"]
def ignorant_teacher(y, classes, smoothing):
    """Labels (batch,) -> logits (batch, classes)."""
    # SOLUTION
    of_label = F.one_hot(y, classes).float()
    return ((1 - smoothing) * of_label + smoothing / classes).log()
    # END


notes_exercises.ignorant_teacher(ignorant_teacher)

# %% [markdown]
# What is known about smoothed teachers:
#
# - Müller, Kornblith & Hinton (2019) report that a teacher trained with smoothed labels makes worse students, because smoothing wipes out similarity.
# - Shen et al. (2021) find no such conflict in general. Chandrasegaran et al. (2022) find the harm at *raised* T, not at low T. [](lesson01) has a smoothed teacher of our own among its teachers.
# - Stanton et al. (2021), *Does Knowledge Distillation Really Work?*: how rarely a student says what its teacher says.
#
# Back to the page: [](lesson02)
