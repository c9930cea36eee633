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
# **In one line:** you will train a student on the *answers* of a teacher, see when that beats labels, and prove it with intervals.
#
# *{minutes} minutes to read, exercises apart · about 15 CPU seconds to run · needs: Python, nothing else (no GPU, no network)*
#
# **First, wake the sliders: Run ▸ Run All Cells.** On Binder's shared processor this may take three times as long.
#
# After this page you can
#
# - train a teacher and two students, and read their error with its interval;
# - say what logits, softmax, cross-entropy, entropy, KL divergence and BatchNorm are, each in a line of code;
# - move a temperature and predict what it does to an answer.

# %% tags=["parameters"]
dataset: str = "mnist5k"  # mnist5k | mnist | fashion
T: float = 4.0  # 0.5..50
alpha: float = 0.9  # 0..1
labels_per_class: int = 20  # 1..100
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %% [markdown]
# Every page begins with such a cell. A teacher can run the page with other values before class: `python3 course.py run 00 -p T=8`. `budget = "small"` is a smoke run.

# %%
import torch
from IPython.display import Markdown, display

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.explorers import SoftenedLogits
from kdcourse.lessons.lesson00 import exercises
from kdcourse.parameters import check_parameters
from kdlib import bank, data, losses, metrics, models, training
from kdlib.objectives import HardLabels, SoftTargets, tabulate

check_parameters()

small = budget == "small"

# %% [markdown]
# What is this machine? `python3 course.py doctor` says more, with a mend for each trouble. (bf16: numbers of 16 bits, which some processors multiply faster.)

# %% tags=["nbval-ignore-output"]
from kdlib import device

print(f"PyTorch {torch.__version__} on {device.pick()}, {device.threads()} processors for us")
print(f"bf16 in hardware: {device.has_bf16(device.pick())}")

# %% [markdown]
# ## The data: real digits, three parts
#
# We *train* on one part, *choose* settings on validation, and use the test part only once, for the number we report. The split never changes.

# %%
train, validation, test = data.load(dataset)
train = train[:1000] if small else train[:3500]
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
# A student sees a handful of labels: `labels_per_class` of each digit. Its twin sees the same labels, and also sees the teacher's answers to the other 3,300 images. Their labels stay hidden.

# %%
guess = checks.Prediction(
    "How many of the student's errors does the twin with a teacher still make?",
    ["all of them", "about three quarters", "less than half"],
)
guess

# %% [markdown]
# ## A teacher
#
# `fit` is the one training loop of the course; [01](lesson01) writes it by hand. The teacher is a small convolutional network, trained on *all* labels, with images shifted by up to two pixels.

# %%
teacher = models.cnn(8 if small else 16)
run = training.fit(teacher, train, epochs=2 if small else 6, seed=seed, augment=data.jitter(2))

# %% tags=["nbval-ignore-output"]
wrong = metrics.wrong(run.logits(test), test.y)
teacher_error = metrics.interval(100 * wrong[None].double())
display(
    Markdown(
        f"The teacher errs on **{teacher_error:.1f} %** of {len(test):,} test images (95 % interval in brackets)."
    )
)

# %% [markdown]
# ## Two students
#
# Both are the same small network, `mlp(784, 32, 10)`. First the naive way: **the student alone** learns from its few labels until it knows them by heart.

# %%
few = train.per_class(labels_per_class, seed=seed)
rest = train[~torch.isin(train.ids, few.ids)].unlabelled()
student = models.mlp(few.x[0].numel(), 32, 10)
few, rest

# %% [markdown]
# Five seeds, not one: a *seed* draws the initial weights, and one run may be lucky. `train_bank` trains all five at once. Both train for the same number of steps.

# %%
steps = {"few": 21 if small else 420, "all": 3 if small else 30}
alone = bank.train_bank(
    HardLabels(), student=student, examples=few, evaluate={"test": test}, epochs=steps["few"]
)

# %% [markdown]
# Now the idea of the whole course. **The student taught** also matches the teacher's softened answers on every image, labelled or not:
#
# $$\text{loss} = (1 - \alpha)\,\text{CE} + \alpha\,T^2\,\mathrm{KL}(p_T \,\|\, q_T)$$
#
# CE: the error on the labels. KL: how far from the teacher's answers, $p_T$ and $q_T$ being the teacher's and the student's probabilities with their logits divided by a temperature $T$. $\alpha$: how much the teacher counts. The primer below explains each.
#
# In `kdlib` the formula is the code:

# %%
objective = (1 - alpha) * HardLabels() + alpha * SoftTargets(tabulate(teacher, few + rest), T)
taught = bank.train_bank(
    objective, student=student, examples=few + rest, evaluate={"test": test}, epochs=steps["all"]
)
print(objective)

# %% [markdown]
# And the result, each dot one seed:

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=2.8)
for x, (one, role) in enumerate([(alone, "alone"), (taught, "taught")]):
    figures.seed_dots(axis, x, one.errors().numpy(), role, label=f"the student {role}")
axis.axhline(teacher_error.mean, color=figures.COLOURS["teacher"], linestyle=":")
axis.text(0.3, teacher_error.mean, "the teacher", va="bottom", color=figures.INKS["teacher"])
axis.set(xticks=[], xlim=(-0.5, 1.9), ylim=(0, None))
figures.error_axis(axis, len(test))
gain = metrics.difference(alone.wrong(), taught.wrong())
figures.show(
    picture,
    "The same few labels: a teacher's answers do the rest",
    f"Dots are seeds, bars their means, lines 95 % intervals. The difference is {gain:.1f} points, paired by seed and image.",
)

# %%
ratio = taught.errors().mean() / alone.errors().mean()
claim(
    "00.1",
    "With the same few labels, the student taught makes less than half the errors of the student alone",
    ratio < 0.5 and gain.low > 0,
    measured={
        "alone %": metrics.interval(100 * alone.wrong().double()),
        "taught %": metrics.interval(100 * taught.wrong().double()),
        "difference": gain,
    },
)

# %% [markdown]
# What did you expect?

# %% tags=["nbval-ignore-output"]
guess.recall(
    "less than half" if ratio < 0.5 else "about three quarters" if ratio < 0.9 else "all of them"
)

# %% [markdown]
# Is the comparison fair? The teacher had *all* the labels, so this is a gain for whoever has a good teacher and few labels, not magic. Where labels are plenty, the gain shrinks, or becomes a loss: [02](lesson02) and [04](lesson04) show it.
#
# And is the student really smaller? Count before you believe:

# %% tags=["nbval-ignore-output"]
for name, network in {"teacher": teacher, "student": student}.items():
    adds = models.multiply_adds(network, test.batch(slice(0, 1)).x)
    print(f"{name}: {models.parameter_count(network):,} weights, {adds:,} multiply-adds per image")

# %% [markdown]
# About as many weights, but the teacher reuses each of its weights at many places of the image: it *computes* far more. "Small" can mean memory or time: always say which.
#
# ## Five minutes of primer
#
# A network answers with **logits** $z$: one number per class, any size. **Softmax** turns them into probabilities.

# %%
z = torch.tensor([4.0, 2.0, -1.0])
p = z.exp() / z.exp().sum()
torch.testing.assert_close(p, z.softmax(-1))
p

# %% [markdown]
# **Cross-entropy** of a label $y$ is $-\log p_y$: small when the label was expected. **Entropy** is how unsure the answer is by itself: 0 for certainty, $\log C$ when all $C$ classes are alike.

# %%
cross_entropy = -p[0].log()
entropy = -(p * p.log()).sum()
cross_entropy, entropy

# %% [markdown]
# **KL divergence** measures how far an answer $q$ is from an answer $p$. It is what cross-entropy costs beyond the entropy that cannot be avoided: $\mathrm{KL}(p\|q) = \mathrm{CE}(p, q) - H(p)$. It is not symmetric.

# %%
q = torch.tensor([0.5, 0.25, 0.25])
kl = (p * (p / q).log()).sum()
torch.testing.assert_close(kl, -(p * q.log()).sum() - entropy)
kl, (q * (q / p).log()).sum()

# %% [markdown]
# kdlib's loss is the same thing, with a temperature and an average over the batch:

# %%
by_hand = (
    T**2 * ((z / T).softmax(-1) * ((z / T).log_softmax(-1) - (q.log() / T).log_softmax(-1))).sum()
)
torch.testing.assert_close(by_hand, losses.soft_targets(q.log()[None], z[None], T))
print("by hand = kdlib")

# %% [markdown]
# **BatchNorm** subtracts a mean and divides by a spread. In train mode these are the *batch's*: an image's answer then depends on its neighbours. In eval mode they are fixed. Forgetting `eval()` is an easy mistake to make; here it is, shown:

# %%
careless = models.cnn(8 if small else 16)
careless.load_state_dict(teacher.state_dict())
careless.train()
with torch.no_grad():
    z_careless = torch.cat([careless(batch.x) for batch in test.batches(64)])
drifted = int((z_careless.argmax(-1) != run.logits(test).argmax(-1)).sum())
moved = not torch.equal(careless.stage1[2].running_mean, teacher.stage1[2].running_mean)

# %% tags=["nbval-ignore-output"]
print(f"first choices of {len(test):,} that changed: {drifted}; running statistics moved: {moved}")

# %% [markdown]
# However many first choices changed, the network is another one now:

# %%
claim(
    "00.2",
    "Asking a teacher in train mode changes the teacher, even without a gradient step",
    moved,
    measured={f"first choices of {len(test):,} that changed": drifted},
)

# %% [markdown]
# ## Your first slider: temperature
#
# $p_T = \mathrm{softmax}(z / T)$. At T = 1 a teacher that is sure says almost nothing but its first choice. Raise T and look at *which* other classes come up. The images go from sure to doubtful.

# %%
logits = run.logits(test)
least_sure_first = logits.softmax(-1).amax(-1).argsort()
shown = least_sure_first[[900, 400, 150, 60, 25, 8, 3, 0]]
SoftenedLogits(logits[shown], test.y[shown], test.x[shown])

# %% [markdown]
# The order of the bars never changes with T, only their heights: temperature does not change what the teacher knows, it changes how loudly it says the small things.
#
# ## Exercises
#
# **1 (5 minutes).** Write softmax with a temperature, for logits of any size.
#
# <details><summary>Hint 1</summary>Divide the logits by T first.</details>
# <details><summary>Hint 2</summary>Large logits overflow exp: subtract each row's maximum before.</details>


# %% tags=["exercise"]
def softened(z, T):
    # SOLUTION
    weights = (z / T - (z / T).amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True)
    # END


exercises.softened(softened)

# %% [markdown]
# **2 (15 minutes).** Write the KL divergence of rows of probabilities, shape (batch, classes) to (batch,).
#
# <details><summary>Hint 1</summary>Which of the two stands outside the logarithm?</details>
# <details><summary>Hint 2</summary>Sum over classes, not over images: the last axis.</details>


# %% tags=["exercise"]
def divergence(p, q):
    # SOLUTION
    return (p * (p.log() - q.log())).sum(-1)
    # END


exercises.divergence(divergence)

# %% [markdown]
# **3 (debugging).** This function asks a network for its answers. They change with the other images in the batch, and so does the network. Mend it.
#
# ```python
# def answers(network, x):
#     return network(x).softmax(-1)
# ```
#
# <details><summary>Hint 1</summary>Which layers behave differently in train and eval mode?</details>
# <details><summary>Hint 2</summary>Two things are needed: a mode, and no gradient.</details>


# %% tags=["exercise"]
def answers(network, x):
    # SOLUTION
    network.eval()
    with torch.no_grad():
        return network(x).softmax(-1)
    # END


exercises.answers(answers)

# %% [markdown]
# ## The map
#
# {map}
#
# ## The words
#
# | word | 中文 | in a sentence |
# |---|---|---|
# | teacher | 教师网络 | the network whose answers are learned from |
# | student | 学生网络 | the network that learns from them |
# | logits | 未归一化的输出 | numbers before softmax |
# | soft targets | 软目标 | the teacher's probabilities, all of them |
# | hard label | 硬标签 | one class, and nothing about the others |
# | temperature T | 温度 | what logits are divided by before softmax |
# | dark knowledge | 暗知识 | what the small probabilities say |
# | knowledge distillation | 知识蒸馏 | training a student on a teacher's answers |
# | feature distillation | 特征蒸馏 | training it on a teacher's inner layers |
# | domain transfer | 领域迁移 | using what was learned on other images |
#
# ## In three lines
#
# A teacher's answer holds more than its first choice. A student can learn from it where there are no labels. Whether it helps is measured, with seeds and an interval, every time.
#
# ## Recall
#
# <details><summary>What is the KL divergence of an answer from itself?</summary>0: nothing is lost by using the right answer.</details>
# <details><summary>What stays the same when T changes?</summary>The order of the classes.</details>
# <details><summary>Why five seeds?</summary>One run may be lucky; five runs show how much luck there is.</details>
#
# ## Reading
#
# - Hinton, Vinyals & Dean (2015), *Distilling the Knowledge in a Neural Network*: nine pages, and the idea of this course; read sections 1 to 3.
# - Buciluă, Caruana & Niculescu-Mizil (2006), *Model Compression*: the idea ten years earlier, with unlabelled data as we used it.
# - Gou, Yu, Maybank & Tao (2021), *Knowledge Distillation: A Survey*: to see how much grew from it.
