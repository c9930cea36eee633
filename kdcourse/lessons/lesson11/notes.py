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
# # What else decides how few examples are enough?
#
# *Lab notes, optional: controls and relatives of [](lesson11). Read that page first. {minutes} minutes · about 20 CPU seconds*
#
# - **Mixtures:** a few unlabelled images, and the rest of the transfer set made or noise.
# - **Data-free:** noise through the class logits, and images made to be answered.
# - **Capacity 1/N:** how small may the student be? Does a tiny one only need longer?
# - **Draws:** as many labels, but not as many of each class.
# - **A second task** for the same body.

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
seeds: int = 3  # 2..10
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import torch
from torch.nn import functional as F

from kdcourse import figures
from kdcourse.checks import claim
from kdcourse.ground import mnist
from kdcourse.lessons.lesson11 import stored, table, transfer
from kdcourse.measured import saves
from kdcourse.parameters import check_parameters
from kdlib import data, metrics, models
from kdlib.bank import train_bank
from kdlib.metrics import Interval
from kdlib.objectives import SoftTargets, tabulate

check_parameters()

# %% [markdown]
# ## Mixtures of transfer sets, by share
#
# 20 labelled images per class, the honest teacher. Of the transfer set's 3,500 images so many are real unlabelled digits; the rest is nothing (a smaller set, as many steps), noise, or moved copies of the labelled images. Student's error %, three draws, stored:

# %%
fills = ["nothing", "noise", "moved"]
owned = sorted({row["own"] for row in stored.rows("share")})
cells = {(row["share"], row["own"]): stored.cell(row["errors"]) for row in stored.rows("share")}
head = ["the rest is …", *(f"{own:,} real" for own in owned)]
figures.show_table(head, [[fill, *(cells.get((fill, own), "") for own in owned)] for fill in fills])

# %%
text = "With 350 real unlabelled images, noise in the other nine tenths changes less than two points; moved copies of the labelled images save over three"
part = {fill: torch.tensor(stored.row("share", fill, own=350)["errors"]) for fill in fills}
gains = {
    f"{fill}, points saved": metrics.interval(part["nothing"] - part[fill]) for fill in fills[1:]
}
noise_gain, moved_gain = gains.values()
claim("11.11", text, abs(noise_gain.mean) < 2 and moved_gain.mean > 3, measured=gains)

# %% [markdown]
# Noise in a transfer set wastes steps and, here, does no harm: the student learns its one answer at once. The number of *different digits* is what counts; copies of digits that you have are the next best thing.
#
# ## Data-free: noise through the class logits
#
# Can a student learn from its teacher with no image at all? With auxiliary outputs and the teacher's own initial weights it can learn much from noise (Cloud et al. 2025). Here is the plain case: another network, the *class* logits, and two sets without data. **Noise**, and **made images**: noise whose pixels Adam moves until the course's teacher calls each a given class (in the manner of Nayak et al. 2019, without their choice of targets).

# %%
small = budget == "small"
train, _, test = data.load("mnist5k")
train = train[:1000] if small else train
teacher = mnist.teacher(train, epochs=1 if small else 8)
noise = data.transfer_set(train, "noise", count=transfer.COUNT, seed=seed)
generator = torch.Generator().manual_seed(seed)
pixels = (0.5 * torch.rand(300, 1, 28, 28, generator=generator)).requires_grad_()
wanted = torch.arange(300) % 10
optimiser = torch.optim.Adam([pixels], lr=0.05)
for _ in range(5 if small else 40):
    loss = F.cross_entropy(teacher(pixels.clamp(0, 1)), wanted)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

# %% [markdown]
# Train on each, and compare three numbers: agreement with the teacher on the set itself, agreement on test digits, error.

# %% tags=["nbval-ignore-output"]
ink = (255 * pixels.detach().clamp(0, 1)).round().to(torch.uint8)
free = {"noise": noise, "made images": data.Examples(ink, torch.full((300,), -1), name="made")}
free["real digits"] = train.unlabelled()
z_test = models.predict(teacher, test)
signs = {}
for name, images in free.items():
    soft = SoftTargets(tabulate(teacher, images), T)
    bank = train_bank(
        soft, student=models.mlp(784, mnist.WIDTH, 10), examples=images, seeds=range(seed, seed + seeds),
        evaluate={"set": images, "test": test}, epochs=2 if small else mnist.epochs(images),
    )  # fmt: skip
    z_set = models.predict(teacher, images)
    same = {"set": (bank.logits["set"].argmax(-1) == z_set.argmax(-1)).double().mean()}
    same["test"] = (bank.logits["test"].argmax(-1) == z_test.argmax(-1)).double().mean()
    signs[name] = transfer.signs(z_set) | {key: float(share) for key, share in same.items()}
    signs[name]["error"] = float(bank.errors("test").mean())

# %% [markdown]
# What came out:

# %% tags=["nbval-ignore-output"]
free_rows = [
    [name, f"{s['classes']:.1f}", f"{s['confidence']:.2f}",
     f"{s['set']:.0%}", f"{s['test']:.0%}", f"{s['error']:.1f}"]
    for name, s in signs.items()
]  # fmt: skip
head = ["transfer set", "classes used", "confidence", "agree on it", "on test digits", "error %"]
figures.show_table(head, free_rows)

# %%
text = "Without data the class logits teach next to nothing: on noise and on made images students agree with the teacher on the set, and stay above 60 % error on digits"
measured = {f"{name}, error %": s["error"] for name, s in signs.items()}
measured |= {f"{name}, agreement on the set": s["set"] for name, s in signs.items()}
holds = all(
    signs[name]["error"] > 60 and signs[name]["set"] > 0.9 for name in ("noise", "made images")
)
published = "from noise, with auxiliary logits and a shared initialisation: over 50 % of MNIST right (Cloud et al. 2025)"
claim("11.12", text, holds, measured=measured, published=published)

# %% [markdown]
# **The reason is in the table.** The students do learn what they are shown; but on noise that is one constant, and on made images it is patterns that occur in no digit. Look at them:

# %%
picture = figures.digits(ink[:20].numpy(), [f"“{k}”" for k in wanted[:20].tolist()], columns=10)
title = "The teacher is certain of each, and no digit is in them"
sentence = "Made images, and the class that the teacher gives to each. They use all ten classes with high confidence, so the page's sign would let them pass."
figures.show(picture, title, sentence)

# %% [markdown]
# So *classes used* is a necessary sign, no sufficient one: **images that were made for a sign no longer prove anything by it** ([09](lesson09) had the same with its score).
#
# ## Capacity: a student of 1/N the size
#
# The course's teacher, all labels, `mlp(784, h, 10)` by hidden units h; 560 steps, three seeds, 10,000 test images, stored. What do soft targets save, compared with the label-only student of the same size?

# %%
rows = [row for row in stored.rows("capacity") if row["steps"] == 560]
head = ["hidden units", "weights", "label-only, error %", "T = 1 saves", "T = 4 saves"]
figures.show_table(head, [
    [f"{row['capacity']}", f"{row['weights']:,}", stored.cell(row["errors"]["label-only"]),
     *(saves(Interval(*row[f"T = {t} saves"])) for t in (1, 4))]
    for row in rows])  # fmt: skip

# %%
text = "At T = 4 the gain grows with capacity and turns into harm: on average 100 hidden units save over half a point, 3 and 6 cost over half a point"
gains = {
    f"{h} hidden units, points saved": Interval(
        *stored.row("capacity", h, steps=560)["T = 4 saves"]
    )
    for h in (3, 6, 100)
}
holds = all(g.mean > 0.5 if "100" in name else g.mean < -0.5 for name, g in gains.items())
published = "with 30 units per layer, T from 2.5 to 4 is best (Hinton et al. 2015)"
claim("11.13", text, holds, measured=gains, published=published)

# %% [markdown]
# At T = 1 the harm is gone: there a soft target is nearly a label. At T = 4 the student has to fit ten logits, and a few hidden units spend themselves on the small ones ([04](lesson04)).
#
# **Does a tiny student only need longer?** The same with 2,240 steps for both:

# %%
longer = [row for row in stored.rows("capacity") if row["steps"] == 2240]
by_width = {row["capacity"]: row for row in rows}
head = [
    "hidden units",
    "label-only: 560 steps",
    "2,240 steps",
    "T = 4: 560 steps",
    "2,240 steps",
    "at 2,240 steps",
]
figures.show_table(head, [
    [str(row["capacity"]), *(stored.cell(r["errors"][name]) for name in ("label-only", "T = 4") for r in (by_width[row["capacity"]], row)),
     saves(Interval(*row["T = 4 saves"]))]
    for row in longer])  # fmt: skip

# %%
text = "With 6 and 8 hidden units T = 4 saves nothing on average, after four times the steps either: patience does not turn the harm into a gain"
gains = {
    f"{row['capacity']} hidden units, {row['steps']} steps, points saved": Interval(
        *row["T = 4 saves"]
    )
    for row in stored.rows("capacity")
    if row["capacity"] in (6, 8)
}
holds = all(gain.mean < 0.3 for gain in gains.values())
claim("11.14", text, holds, measured=gains)

# %% [markdown]
# ## Draws: as many labels, not as many of each class
#
# The page draws n labels *of each class*. Who draws 10 n images at random gets no such balance, and perhaps no image of some class. Label-only students, five draws:

# %%
head = ["labels", "balanced, error %", "at random, error %", "balanced", "classes missing, by draw"]
figures.show_table(head, [
    [str(10 * row["draw"]), stored.cell(row["balanced"]), stored.cell(row["at random"]),
     saves(Interval(*row["balanced saves"])), ", ".join(map(str, row["classes missing"]))]
    for row in stored.rows("draw")])  # fmt: skip

# %%
text = "Ten labels at random leave out classes, in every draw, and balanced ones save over three points on average; with 200 labels balance saves less than three"
gains = {
    f"{10 * row['draw']} labels, points saved": Interval(*row["balanced saves"])
    for row in stored.rows("draw")
}
ten, two_hundred = gains.values()
missing = min(stored.row("draw", 1)["classes missing"])
holds = missing > 0 and ten.mean > 3 and two_hundred.mean < 3
claim("11.15", text, holds, measured=gains | {"classes missing, at least": missing})

# %% [markdown]
# Balanced draws already know the classes before anyone labelled: a small leak in most papers on few labels, and in ours.
#
# ## A second task
#
# Would *another* task on the same body help, if its answers cost nothing? Turn each digit by up to 60 degrees: the angle is known for every image, since we turned it. A network with two heads, `head` for the class and `angle` for (cosine, sine):
#
# $$\mathrm{CE}(\texttt{head}) + \mathrm{MSE}(\texttt{angle})$$
#
# `member` gives each head its terms. Shown on two images with an untrained network:

# %%
turned, angles = transfer.turned(train[:2], table.TURN, seed=seed)
network = models.initialise(transfer.TwoHeads(), seed)
objective = transfer.two_tasks(turned, angles, 1.0)
loss, terms = objective(network, turned.batch())
seen = models.observe(network, turned.batch().x, ["angle"])
by_hand = F.cross_entropy(seen.logits, turned.y) + (seen.features["angle"] - angles).pow(2).mean()
torch.testing.assert_close(loss, by_hand)
print(objective)

# %% [markdown]
# Stored: class labels for n images per class; the angle for these, or for all 3,500; a control with *shuffled* angles. Tested on turned digits, three draws:

# %%
names = list(dict.fromkeys(row["task"] for row in stored.rows("task")))
numbers = sorted({row["n"] for row in stored.rows("task")})
head = ["", *(f"{n} per class, error %" for n in numbers), *(f"{n} per class" for n in numbers)]
lines = []
for name in names:
    here = [stored.row("task", name, n=n) for n in numbers]
    against = [
        saves(Interval(*row["saves against class alone"])) if name != names[0] else ""
        for row in here
    ]
    lines.append([name, *(stored.cell(row["errors"]) for row in here), *against])
figures.show_table(head, lines)

# %%
text = "The angle as a second task saves no more than four points of the class error, whether of the labelled images or of all"
gains = {
    f"{name}, {n} per class, points saved": Interval(
        *stored.row("task", name, n=n)["saves against class alone"]
    )
    for name in names[1:3]
    for n in numbers
}
claim("11.16", text, all(g.mean < 4 for g in gains.values()), measured=gains)

# %% [markdown]
# A clear lesson for transfer sets: free answers help if they say something about the task. The teacher's answers do, angles hardly.
#
# Back to the page: [](lesson11)
