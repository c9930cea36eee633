# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab notes: what else does a missing class teach?
#
# *Optional, {minutes} minutes, after the page [](lesson03). About 30 CPU seconds.* Only 7s and 8s; why the mean explains only a part of the bias; labels, T and leaks; validation in a blind world. Nothing here is needed for later pages.

# %% tags=["parameters"]
missing: int = 3  # 0..9
T: float = 4.0  # 2..50
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import torch

from kdcourse.checks import claim
from kdcourse.figures import COLOURS, DASHES, INKS, figure, seed_dots, show, show_table
from kdcourse.ground import mnist
from kdcourse.lessons.lesson03 import ten_thousand
from kdcourse.measured import saves
from kdcourse.parameters import check_parameters
from kdlib.bank import train_bank
from kdlib.data import load
from kdlib.metrics import Interval, difference, interval, wrong
from kdlib.models import mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, tabulate

check_parameters()

# %% [markdown]
# The common ground, as on the page: the kept teacher, a student of 100 units, 560 steps, a transfer set without threes.

# %%
whole, validation, test = load("mnist5k")
train = whole if budget == "full" else whole[:1000]
transfer = train.without([missing])
teacher = mnist.teacher(train, epochs=8 if budget == "full" else 1, seed=seed)
answers = tabulate(teacher, train)


# %%
def students(alpha, examples):
    settings = {"student": mlp(784, mnist.WIDTH, 10), "seeds": range(seed, seed + 5)}
    settings["evaluate"] = {"validation": validation, "test": test, "transfer": transfer}
    settings["epochs"] = mnist.epochs(examples) if budget == "full" else 3
    objective = (1 - alpha) * HardLabels() + alpha * SoftTargets(answers, T)
    return train_bank(objective, examples=examples, **settings).logits


plain = students(mnist.ALPHA, transfer)

# %% [markdown]
# Two things are asked of every student: which bias makes its share of threes right on validation, and how many of the test set's threes it then finds.


# %%
def shifted(z, bias, classes):
    """Logits (seeds, N, C), with a bias (seeds,) added for these classes."""
    column = torch.eye(10)[classes].sum(0)
    return z + torch.as_tensor(bias)[:, None, None] * column


def by_share(z, classes):
    """The bias of each student (seeds,) at which these classes have their tenths of the answers."""
    column = torch.eye(10)[classes].sum(0).bool()
    margins = z[..., ~column].amax(-1) - z[..., column].amax(-1)
    return margins.quantile(len(classes) / 10, dim=-1)


def right(z):
    """100 where a test image of the missing class is answered right, (seeds, n)."""
    return 100.0 * ~wrong(z, test.y)[..., test.y == missing]


# %% [markdown]
# ## Does the mean explain the bias?
#
# The page's slope says: training makes the student's *mean* $q_T(3)$ on the transfer set equal to the teacher's there. Then the bias that mends the mean should do: the one at which the student's mean $q_T(3)$ on the validation images equals the teacher's. It needs no guess of the share.

# %%
grid = torch.arange(-20, 301) / 10
spoken = (predict(teacher, validation) / T).softmax(-1)[:, missing].mean()
means = torch.stack(
    [
        (shifted(plain["validation"], b.repeat(5), [missing]) / T)
        .softmax(-1)[..., missing]
        .mean(-1)
        for b in grid
    ]
)
by_mean = grid[(means - spoken).abs().argmin(0)]
share_bias = by_share(plain["validation"], [missing])

# %% tags=["nbval-ignore-output"]
compared = []
for name, bias in (("none", torch.zeros(5)), ("by mean", by_mean), ("by share", share_bias)):
    found = interval(right(shifted(plain["test"], bias, [missing])))
    compared.append([name, f"{float(bias.mean()):.1f}", f"{found:.0f}"])
show_table(["bias", "chosen, mean", "threes right, %"], compared)

# %% [markdown]
# It finds fewer threes, because it falls short of the share:

# %%
short = interval((share_bias - by_mean).tolist())
text = "The bias that mends the mean is smaller than the one that mends the share"
claim("03.5", text, short.low > 0.7, measured={"smaller by": short})

# %% [markdown]
# So the mean is a part of it. The rest: no image of the transfer set had "3" on top. The student learned that some images are *more* like a 3 than others, and never to put 3 *first*. Correcting a classifier for another class frequency is an old subject, *label shift* (Saerens et al. 2002). And whoever has unlabelled images of the real world *and* the teacher should simply add them to the transfer set.
#
# ## Labels, and T
#
# Each label of the transfer set says "never 3". How much label does it take to silence the teacher? Stored rows, MNIST's 10,000 (ten students each), beside a student with much label, trained here:

# %%
labels_heavy = students(0.1, transfer)


# %%
def stored_line(way):
    shares = [f"{ten_thousand.right(way, rule):.0f}" for rule in ("as trained", "by share")]
    bias = ten_thousand.row("3,500 images", way, "by share")["bias"]
    return [way, shares[0], f"{bias:.1f}", shares[1], f"{ten_thousand.errors(way):.1f}"]


heavy_bias = by_share(labels_heavy["validation"], [missing])
heavy_after = shifted(labels_heavy["test"], heavy_bias, [missing])

# %% [markdown]
# The last row is the student with much label, on our 1,000 test images.

# %% tags=["nbval-ignore-output"]
ways = ("label-only", "T = 1", "T = 4", "T = 4, no labels", "T = 20")
shares = [f"{interval(right(z)):.0f}" for z in (labels_heavy["test"], heavy_after)]
total = f"{interval(100.0 * wrong(heavy_after, test.y)):.1f}"
last = ["T = 4, alpha = 0.1", shares[0], f"{float(heavy_bias.mean()):.1f}", shares[1], total]
show_table(
    ["", "right as trained, %", "bias by share", "right by share, %", "all errors, %"],
    [*map(stored_line, ways), last],
)

# %% [markdown]
# Labels ask for a larger bias; they do not erase what the teacher taught. Nor do soft targets need the labels' tenth.

# %%
over, before = (ten_thousand.ahead("T = 1", rule) for rule in ("by share", "as trained"))
text = "With the bias by share, T = 4 finds more threes than T = 1; as trained it does not"
measured = {"by share, points more": over, "as trained": before}
claim("03.6", text, over.low > 2 and before.low < 1, measured=measured)

# %% [markdown]
# Why is T = 1 behind? There the teacher gives class 3 next to nothing on most images, so the loss has almost nothing to pull at.
#
# ## The leak: pictures without labels
#
# `labelled_as(-1)` hides the label and leaves the picture: the teacher still answers it. Such a student gets its threes right as trained, and has learned nothing about unseen classes.

# %%
hidden = train.labelled_as(torch.where(train.y == missing, -1, train.y))
leaky = interval(right(students(mnist.ALPHA, hidden)["test"]))

# %%
text = "A transfer set with the pictures of threes, without their labels, teaches threes as trained"
measured = {"threes right %": leaky, "without the pictures": interval(right(plain["test"]))}
claim("03.7", text, leaky.low > 75, measured=measured)

# %% [markdown]
# ## Validating in a blind world
#
# If nobody could collect threes, validation has none either. There no "3" can ever be right, and no bias makes fewer errors than a very low one. We count the errors of every bias on such a validation set.

# %%
seen = validation.y != missing
y_seen, z_seen = validation.y[seen], plain["validation"][:, seen]
blind = torch.stack([wrong(shifted(z_seen, b.repeat(5), [missing]), y_seen).sum(-1) for b in grid])
found_at = torch.stack(
    [right(shifted(plain["test"], b.repeat(5), [missing])).mean(-1) for b in grid]
)

# %% tags=["nbval-ignore-output"]
shown = [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
places = [int((grid - bias).abs().argmin()) for bias in shown]
show_table(
    ["bias", *(f"{bias:g}" for bias in shown)],
    [
        ["errors there, of 450", *(f"{float(blind[k].double().mean()):.1f}" for k in places)],
        ["threes right, test, %", *(f"{float(found_at[k].mean()):.0f}" for k in places)],
    ],
)

# %% [markdown]
# On such a set every bias below about 0 looks alike, though on the test set the share of threes found changes from none to most.

# %%
more = float((blind[int(grid.abs().argmin())] - blind.amin(0)).double().mean())
text = "A validation set without threes never asks for the bias: 0 is as good there as any"
claim("03.8", text, more < 1.5, measured={"errors of 450 more at 0 than at the best": more})

# %% [markdown]
# ## Only 7s and 8s
#
# The paper goes further. The transfer set now holds *two* digits only, and the student must answer all ten. It says 7 or 8 too often, so **their** biases are lowered, both by the same amount: a fifth of the answers should be 7 or 8.

# %%
pair = students(1.0, train.only([7, 8]))
pair_bias = by_share(pair["validation"], [7, 8])
pair_after = shifted(pair["test"], pair_bias, [7, 8])
pair_gain = difference(wrong(pair["test"], test.y), wrong(pair_after, test.y))

# %% tags=["nbval-ignore-output"]
drawn, axis = figure(2.6, width=4.6)
for k, z in enumerate((pair["test"], pair_after)):
    seed_dots(axis, k, 100 * wrong(z, test.y).double().mean(-1), "taught")
axis.axhline(80, color=COLOURS["alone"], linestyle=DASHES["alone"], linewidth=1.2)
axis.text(1.4, 82, "only 7 and 8 right", color=INKS["alone"], fontsize=8.5, ha="right")
axis.set(xticks=range(2), xticklabels=["as trained", "bias by share"], ylim=(0, 92))
axis.set(xlim=(-0.5, 1.5), ylabel="error %, all ten digits")
show(
    drawn,
    "Distilled on 7s and 8s only: lowering their biases helps",
    "Errors on all ten digits, before and after; dots are seeds. Dashed: a student that knows 7 and 8 only.",
)

# %% [markdown]
# Which digits are these? Right answers in percent, digit by digit:

# %% tags=["nbval-ignore-output"]
by_digit = []
for name, z in (("as trained", pair["test"]), ("bias by share", pair_after)):
    hit = 100 * (~wrong(z, test.y)).double().mean(0)
    by_digit.append([name, *(f"{float(hit[test.y == c].mean()):.0f}" for c in range(10))])
show_table(["right, %", *map(str, range(10))], by_digit)

# %% [markdown]
# And beside the paper, with stored rows on the 10,000 (students that give the labels a tenth of the loss; biases chosen by share, the paper's on test):

# %%
pair_rows = []
for way in ("label-only", "T = 4"):
    before, later = (
        ten_thousand.row("only 7s and 8s", way, rule) for rule in ("as trained", "by share")
    )
    errors = [f"{Interval(*row['errors']):.1f}" for row in (before, later)]
    pair_rows.append([way, *errors, saves(Interval(*later["saves"]))])
pair_rows.append(["Hinton et al. 2015, all of MNIST", "47.3", "13.2", "saves 34.1 points"])
show_table(["7s and 8s only", "errors as trained, %", "with the bias, %", "the bias"], pair_rows)

# %%
text = "Lowering the biases of 7 and 8 helps the distilled student"
paper = "Hinton et al. 2015: 47.3 % errors become 13.2 % with the biases lowered by 7.6"
claim("03.9", text, pair_gain.low > 4, measured={"points saved": pair_gain}, published=paper)

# %% [markdown]
# By share, a label-only student's gain is not resolved: it has little to bring out.
#
# ## Reading
#
# - Hinton, Vinyals, Dean (2015), *Distilling the Knowledge in a Neural Network*, section 3.
# - Saerens, Latinne, Decaestecker (2002), *Adjusting the Outputs of a Classifier to New a Priori Probabilities*.
# - Lampert, Nickisch, Harmeling (2009), *Learning to Detect Unseen Object Classes by Between-Class Attribute Transfer*: another way to learn the unseen, by describing it.
#
# Back to the page: [](lesson03)
