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
# # What will I be able to do?
#
# **In one line:** you will train a cheap network on the *answers* of a better one, and measure how many errors that avoids.
#
# *{minutes} minutes to read, exercises apart · about 25 CPU seconds to run · needs: Python (no GPU; no network once the packages are installed)*
#
# **First, start the sliders: Run ▸ Run All Cells.** On Binder's shared processor this may take longer.
#
# After this page you can
#
# - count what a network costs, and say in which sense a student is smaller (exercise 1);
# - move a temperature and predict what it does to an answer (exercise 2);
# - ask a teacher for its answers without changing them, or it (exercise 3).

# %% [markdown]
# ## Why distil?
#
# The most accurate network is often not the one that you can use: it needs too much **memory**, answers too late (**latency**), drains the battery (**energy**), or is not one network but an **ensemble** of ten whose answers are averaged. *Knowledge distillation* trains one cheap network, the **student**, to answer as the large one does, the **teacher**. Then only the student is shipped.
#
# > images → **teacher** → soft answers, such as "a 4: 90 %, a 9: 9 %" → **student**
#
# ## The signs on these pages
#
# The next cell holds this page's *parameters*. Change one and run all again; or, before class, `python3 course.py run 00 -p T=8`. (`budget = "small"`: a quick test run.)

# %% tags=["parameters"]
dataset: str = "mnist5k"  # mnist5k | mnist | fashion
T: float = 4.0  # 0.5..50
alpha: float = 0.9  # 0..1
labels_per_class: int = 20  # 1..100
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %% [markdown]
# - **✓ 00.1 …** is a sentence that is tested whenever the page runs; the measured numbers stand below. **○** means "does not hold with your settings" and, at an exercise, "not attempted". The code is folded.
# - **2.3 (1.4 to 3.2)** is a mean with its 95 % interval. A difference whose interval leaves out 0 is *resolved* (papers say: significant at 5 %).
# - Colours and marks on this page: <span style="color:#0069A3">**◆ blue: the teacher**</span> · <span style="color:#00754F">**● green: the distilled student**</span> · <span style="color:#B34F00">**■ red: the label-only student**</span> · <span style="color:#A04A7B">**▲ purple: a label**</span> · <span style="color:#8A5F00">**▼ yellow: anything else**</span>.

# %%
import copy
import timeit

import torch

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.explorers import SoftenedLogits
from kdcourse.ground import mnist
from kdcourse.lessons.lesson00 import exercises
from kdcourse.measured import saves
from kdcourse.parameters import check_parameters
from kdlib import data, metrics, models
from kdlib.bank import train_bank
from kdlib.models import initialise, mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, TeacherLabels, tabulate

check_parameters()

# %% [markdown]
# ## The data: real digits, three parts
#
# We *train* on one part and report errors on the *test* part. Settings are chosen on *validation*, elsewhere; what you change here is play, not a result. (If something fails here: `python3 course.py doctor` says what, and how to repair it.)

# %%
small = budget == "small"
everything, validation, test = data.load(dataset)
train = everything[:1000] if small else everything[:3500]
train, validation, test

# %%
strip = figures.digits(train.x[:10], titles=[str(int(y)) for y in train.y[:10]])
figures.show(
    strip,
    "Ten training images and their labels",
    "Each image is a grid of 28 × 28 grey values; the label is one digit, and nothing else.",
)

# %% [markdown]
# ## A prediction first
#
# A *label-only student* sees `labels_per_class` labelled images of each digit. A *distilled student*, the same network, sees them too, and the teacher's answers to all training images (the **transfer set**); all other labels stay hidden.

# %%
guess = checks.Prediction(
    "How many of the label-only student's errors does the distilled student still make?",
    ["all of them", "about three quarters", "less than half"],
)
guess

# %% [markdown]
# ## A teacher
#
# Pages 00 to 05 share this one: a small convolutional network, trained on *all* labels, with images shifted by up to two pixels. [01](lesson01) trains it step by step.

# %%
teacher = mnist.teacher(train, epochs=1 if small else 8)
z_test = predict(teacher, test)  # (images, classes)
teacher_error = metrics.interval(100 * metrics.wrong(z_test, test.y)[None].double())

# %% [markdown]
# ## The idea: answers, softened
#
# A network answers with **logits** $z$, one number for each class. **Softmax** makes probabilities of them. A **temperature** $T$ divides the logits first: $p_T = \mathrm{softmax}(z / T)$. What does that do? Compare two classes $a$ and $b$:
#
# $$\begin{aligned}\frac{p_T(a)}{p_T(b)} &= \frac{e^{z_a / T}}{e^{z_b / T}} && \text{the sums of softmax cancel} \\ &= e^{(z_a - z_b) / T} \\ &= \left(e^{z_a - z_b}\right)^{1 / T} \\ &= \left(\frac{p_1(a)}{p_1(b)}\right)^{1 / T}\end{aligned}$$
#
# So $T = 4$ takes the fourth root of all odds: 10,000 to 1 becomes 10 to 1. And the 90 % for the 4 against 9 % for the 9, 10 to 1, becomes 1.8 to 1, since $1.78^4 = 10$. The order of the classes stays.
#
# The distilled student minimises
#
# $$\text{loss} = (1 - \alpha)\,\text{CE} + \alpha\,T^2\,\mathrm{KL}(p_T \,\|\, q_T)$$
#
# CE, the cross-entropy, is the loss on the labels. KL is how far the student's softened answers $q_T$ are from the teacher's, $p_T$. $\alpha$ is the weight of the teacher. Each word has its line of code in the [lab notes](lesson00/notes); $T^2$ is explained in [02](lesson02). By hand, for sixteen images:

# %%
batch = train.batch(slice(0, 16))
student = initialise(mlp(train.x[0].numel(), mnist.WIDTH, 10), seed)
z_t, z_s = predict(teacher, train[:16]), student(batch.x)
log_p, log_q = (z_t / T).log_softmax(-1), (z_s / T).log_softmax(-1)
kl = (log_p.exp() * (log_p - log_q)).sum(-1).mean()  # over classes, then the mean of images
cross_entropy = -z_s.log_softmax(-1).gather(-1, batch.y[:, None]).mean()
by_hand = (1 - alpha) * cross_entropy + alpha * T**2 * kl

# %% [markdown]
# In `kdlib` the formula is the code, and says the same:

# %%
objective = (1 - alpha) * HardLabels() + alpha * SoftTargets(teacher, T)
torch.testing.assert_close(by_hand, objective(student, batch)[0])
print(objective)

# %% [markdown]
# ## Three students
#
# All three are the same network with the same labels, trained for the same number of steps:
#
# - **label-only**: the few labels, again and again;
# - **first answers only**: the transfer set as well, but of each of the teacher's answers only the most probable class, taken as a label;
# - **distilled**: all of the teacher's probabilities.

# %%
labelled = train.per_class(labels_per_class, seed=seed)
unlabelled = train[~torch.isin(train.ids, labelled.ids)].unlabelled()
transfer = labelled + unlabelled
table = tabulate(teacher, transfer)  # the teacher is asked once about each image
labelled, unlabelled

# %% [markdown]
# A *seed* draws the first weights, and a single run may be lucky; so five seeds each. `train_bank` trains all five at once.


# %%
def students(loss, images):
    """Five students of one recipe; every recipe takes the same number of steps."""
    epochs = mnist.epochs(images, 40 if small else mnist.STEPS)
    return train_bank(
        loss, student=student, examples=images, evaluate={"test": test}, epochs=epochs
    )


hard, soft, first_answers = HardLabels(), SoftTargets(table, T), TeacherLabels(table)
banks = {
    "label-only": students(hard, labelled),
    "first answers only": students((1 - alpha) * hard + alpha * first_answers, transfer),
    "distilled": students((1 - alpha) * hard + alpha * soft, transfer),
}

# %% [markdown]
# What each saves, paired by seed and image. The intervals are over seeds and test images. None covers the draw of labels: all five students share the same labels and one teacher.

# %% tags=["nbval-ignore-output"]
wrong = {name: bank.wrong() for name, bank in banks.items()}  # (seeds, images) each
errors = {name: metrics.interval(100 * missed.double()) for name, missed in wrong.items()}
gains = {name: metrics.difference(wrong["label-only"], missed) for name, missed in wrong.items()}
beyond_first = metrics.difference(wrong["first answers only"], wrong["distilled"])
compared = {name: saves(gain) for name, gain in gains.items()} | {"label-only": ""}
cells = [[name, errors[name], compared[name]] for name in banks]
cells += [["distilled, against first answers only", "", saves(beyond_first)]]
head = ["", "test error %", "against label-only, or as named"]
figures.show_table(head, [*cells, ["the teacher", teacher_error, ""]])

# %% [markdown]
# The same as a picture:

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=2.8)
roles = {"label-only": "alone", "first answers only": "extra", "distilled": "taught"}
for place, (name, role) in enumerate(roles.items()):
    figures.seed_dots(axis, place, 100 * wrong[name].double(), role, label=name)
for dots in axis.lines[::3]:
    dots.set(zorder=3, alpha=1)  # in front of the bars
axis.axhline(teacher_error.mean, color=figures.COLOURS["teacher"], linestyle=":")
axis.text(-0.4, teacher_error.mean, "the teacher", va="bottom", color=figures.INKS["teacher"])
axis.set(xticks=[], xlim=(-0.5, 2.8), ylim=(0, None))
figures.error_axis(axis, len(test))
figures.show(
    picture,
    "The same few labels: a teacher's first answers bring most of the gain",
    "Each dot is one student; a bar is the mean of five, the upright line its 95 % interval over "
    "seeds and test images, as in the table.",
)

# %%
error_ratio = float(errors["distilled"].mean / errors["label-only"].mean)
claim(
    "00.1",
    "With the same few labels, the distilled student makes less than half the errors of the "
    "label-only student",
    error_ratio < 0.5 and gains["distilled"].low > 0,
    measured={
        "label-only %": errors["label-only"],
        "distilled %": errors["distilled"],
        "saves, points": gains["distilled"],
    },
)

# %%
label_only, first, distilled = (wrong[name].double() for name in banks)
beyond = metrics.interval(100 * ((label_only - first) - 0.75 * (label_only - distilled)))
right = 100 - 100 * float(metrics.wrong(predict(teacher, train), train.y).double().mean())
claim(
    "00.2",
    "The teacher's first answers alone bring over three quarters of this gain",
    beyond.low > 0 and gains["first answers only"].low > 0,
    measured={
        "first answers only, saves points": gains["first answers only"],
        "beyond three quarters of the distilled student's gain, points": beyond,
        "first answers that are right, % of the transfer set": right,
    },
)

# %% [markdown]
# What did you expect?

# %% tags=["nbval-ignore-output"]
guess.recall(guess.options[(error_ratio < 0.9) + (error_ratio < 0.5)])

# %% [markdown]
# Is it fair? The teacher had *all* labels, and shifted images too. So it is a gain for somebody with a good teacher and few labels. And most of it needs no soft answers: the teacher's first choices serve as labels (*pseudo-labelling*). ✓ 00.2 prints how many are right: these are images on which the teacher was trained. What the small probabilities add is the subject of [02](lesson02) and [03](lesson03); [04](lesson04) measures what a teacher brings where there are more labels.
#
# ## Is the student smaller?
#
# Count before you believe:

# %% tags=["nbval-ignore-output"]
costs = {}  # measures time
for name, network in {"teacher": teacher, "student": student}.items():
    seconds = min(timeit.repeat(lambda net=network: predict(net, test), number=1, repeat=5))
    adds = models.multiply_adds(network, batch.x)
    costs[name] = (models.parameter_count(network), adds, 1000 * seconds / len(test))
counted = [[name, f"{n:,}", f"{adds:,}", f"{ms:.4f}"] for name, (n, adds, ms) in costs.items()]
clock = f"milliseconds per image, {len(test):,} at once"
figures.show_table(["", "weights", "multiply-adds per image", clock], counted)

# %% tags=["nbval-ignore-output"]
(big, many, slow), (light, fewer, fast) = costs.values()
claim(
    "00.3",
    "The student has more weights than the teacher, and is far cheaper to run: over ten times "
    "fewer multiply-adds, and over twice as fast",
    light > big and many > 10 * fewer and slow > 2 * fast,
    measured={
        "weights, times the teacher's": light / big,
        "multiply-adds, times fewer": many / fewer,
        f"{len(test):,} images at once, times as fast": slow / fast,
    },
)

# %% [markdown]
# The student has *more* weights. But a convolution uses each weight at many places of the image, so the teacher computes far more. "Small" can mean memory, time or energy: always say which. (The latency of one image alone is not measured here.)
#
# ## Explore: temperature
#
# Move T. Image: 0 confident … 7 doubtful. Grey: the state before, at first T = 1.

# %%
first_least = z_test.softmax(-1).amax(-1).argsort()  # least confident first
shown = first_least[[900, 400, 150, 60, 25, 8, 3, 0]]
explorer = SoftenedLogits(z_test[shown], test.y[shown], test.x[shown])
explorer.set(image=2)
explorer.set(T=4.0)
explorer

# %% [markdown]
# Before each move say which bars will rise. The rule:
#
# $$\frac{\mathrm{d}p_k}{\mathrm{d}T} = \frac{p_k\,(\bar z - z_k)}{T^2}, \qquad \bar z = \sum_j p_j z_j$$
#
# As T grows, bars with a logit below the weighted mean $\bar z$ rise. On the picture these are the bars lower than $e^{-H}$, with $H$ the entropy written beneath. The order of the bars never changes.
#
# ## What can go wrong
#
# **The teacher was left in train mode.** Its BatchNorm layers then use the averages of the *batch*: an answer depends on the other images in it. And the network changes while it is asked, even without gradients:

# %%
careless = copy.deepcopy(teacher).train()
with torch.no_grad():
    z_careless = torch.cat([careless(part.x) for part in test.batches(64)])
changed = int((z_careless.argmax(-1) != z_test.argmax(-1)).sum())
before, after = (network.stage1[2].running_mean for network in (teacher, careless))

# %%
claim(
    "00.4",
    "Asking a teacher in train mode changes the teacher, even without a gradient step",
    not torch.equal(before, after),
    measured={
        f"first choices of {len(test):,} that changed": changed,
        "largest change of a running mean": float((before - after).abs().max()),
    },
)

# %% [markdown]
# ## Exercises
#
# **1 (5 minutes).** `widths` are the layers of an MLP, such as `[784, 100, 10]`. How many multiply-adds does one image cost?
#
# <details><summary>Hint 1</summary>A layer from m to n units multiplies a vector of m numbers by a matrix of n rows.</details>
# <details><summary>Hint 2</summary>Pair each width with the next one: zip(widths[:-1], widths[1:]). A bias is added, not multiplied.</details>


# %% tags=["exercise"]
def cost_of_mlp(widths):
    # SOLUTION
    inputs, outputs = widths[:-1], widths[1:]
    return sum(m * n for m, n in zip(inputs, outputs, strict=True))
    # END


exercises.cost_of_mlp(cost_of_mlp)

# %% [markdown]
# **2 (15 minutes).** Predict in reverse: write `temperature_for(z, most)`, the temperature at which the largest probability of one answer `z`, shape (classes,), is `most` (to within 0.01). `most` lies between 1/classes and 1; one logit is the largest.
#
# <details><summary>Hint 1</summary>The higher T, the smaller the largest probability. So halve an interval of temperatures again and again.</details>
# <details><summary>Hint 2</summary>Begin with low = 0.001 and high = 10,000; take √(low·high) as the middle, since these are factors apart. If the largest probability in the middle is still above <code>most</code>, T must be higher.</details>


# %% tags=["exercise"]
def temperature_for(z, most):
    # SOLUTION
    low, high = 0.001, 10_000.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        if float((z / middle).softmax(-1).max()) > most:
            low = middle
        else:
            high = middle
    return high
    # END


exercises.temperature_for(temperature_for)

# %% [markdown]
# **3 (debugging).** This function asks a teacher for its answers while a student trains. They depend on the other images in the batch, the teacher changes, and a gradient is recorded. Repair it, and leave *every layer* in the mode in which it came: on [07](lesson07) some stay in eval mode while others train.
#
# ```python
# def answers(network, x):
#     return network(x).softmax(-1)
# ```
#
# <details><summary>Hint 1</summary>Which layers behave differently in train and in eval mode?</details>
# <details><summary>Hint 2</summary><code>network.training</code> is one switch of many: each of <code>network.modules()</code> has its own, and <code>network.eval()</code> turns all of them. What must you note before?</details>


# %% tags=["exercise"]
def answers(network, x):
    # SOLUTION
    modes = {m: m.training for m in network.modules()}
    network.eval()
    with torch.no_grad():
        p = network(x).softmax(-1)
    for m, was in modes.items():
        m.training = was
    return p
    # END


exercises.answers(answers)

# %% [markdown]
# ## The map
#
# *Core* pages are the short way through; *deeper* ones are for whoever wants more; *lab notes* hold controls and second settings.
#
# {map}
#
# ## The words
#
# | word | 中文 | meaning |
# |---|---|---|
# | teacher, student | 教师网络, 学生网络 | the network that answers; the one that learns from it |
# | label-only student | 仅用标签的学生 | trained without a teacher |
# | distilled student | 蒸馏的学生 | trained on a teacher's answers |
# | transfer set | 迁移集 | the images that the teacher answers |
# | logits | 未归一化的输出 | the numbers before softmax |
# | soft targets | 软目标 | all of the teacher's probabilities |
# | temperature T | 温度 | what logits are divided by before softmax |
# | knowledge distillation | 知识蒸馏 | training a student on a teacher's answers |
# | hard label | 硬标签 | one class only |
# | resolved | 统计显著 | the interval of a difference leaves out 0 |
#
# ## In three lines
#
# - A student can learn from a teacher's answers where it has no labels; the teacher's first choices bring most of that.
# - "Smaller" is multiply-adds, milliseconds or memory: count the one that you need.
# - A temperature takes a root of all odds: the order stays, and the small probabilities become visible.
#
# ## Recall
#
# <details><summary>What stays the same when T changes?</summary>The order of the classes.</details>
# <details><summary>Why train five seeds?</summary>One run may be lucky; five runs show how much luck first weights bring, not the choice of labels.</details>
# <details><summary>A difference is 0.3 (−0.3 to 0.9) points. What may you say?</summary>It is not resolved: these seeds and images allow no difference, or one of either sign.</details>
# <details><summary>Which third student do you ask for when somebody shows you a gain from a transfer set?</summary>First answers only: what does the teacher bring as a mere source of labels?</details>
#
# ## Reading
#
# - Hinton, Vinyals & Dean (2015), *Distilling the Knowledge in a Neural Network*: nine pages; read sections 1 to 3.
# - Buciluă, Caruana & Niculescu-Mizil (2006), *Model Compression*: an ensemble in one network, by unlabelled data.
#
# Next: [](lesson01)
