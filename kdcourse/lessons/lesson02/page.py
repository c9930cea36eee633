# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What does a teacher know that labels don't?
#
# **Where it doubts, and between which classes. A student can learn both, also from images without labels.**
#
# *{minutes} minutes to read, without the exercises · about 30 s of processor time · needs: [](lesson01) · more: [lab notes](lesson02/notes)*
#
# Choose **Run ▸ Run All Cells** first: sliders and buttons wake up then.
#
# After this page you will be able to
#
# 1. write the loss of soft targets and its gradient by hand, and say why $T^2$ stands in front;
# 2. build a *control*: a teacher that lacks one thing, so that you see what this thing is worth;
# 3. teach a student with two hundred labels, a teacher, and images that nobody labelled.
#
# **Why anyone wants this.** A label costs somebody's time and names one class. A teacher's answer costs one forward pass and gives a number to every class. If these numbers carry something, a student learns more from the same images, and also from images without labels.

# %% [markdown]
# ## Set-up
#
# Data, teacher, student and steps are those of all pages up to [05](lesson05). `T` is the temperature, `alpha` the weight of the soft targets, `labels` how many labelled images of each class the students of the first experiment have.

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
alpha: float = 0.9  # 0..1
labels: int = 100  # 20..200
dataset: str = "mnist5k"  # mnist5k | mnist | fashion
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import torch
from torch.nn import functional as F

from kdcourse import figures
from kdcourse.checks import Prediction, claim
from kdcourse.figures import digits, error_axis, figure, matrix, seed_dots, show, show_table
from kdcourse.ground import mnist
from kdcourse.lessons.lesson02 import exercises
from kdcourse.lessons.lesson02 import table as stored_table
from kdcourse.lessons.lesson02.gradient_arrows import GradientArrows
from kdcourse.measured import saves
from kdcourse.pages import tables
from kdcourse.parameters import check_parameters
from kdlib import losses, metrics
from kdlib.bank import train_bank
from kdlib.data import load
from kdlib.models import initialise, mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, TeacherLabels, tabulate

# %% [markdown]
# The teacher answers every training image once; `teacher_answers` keeps its logits. How often is its first answer the label?

# %% tags=["nbval-ignore-output"]
check_parameters()
whole, _, test = load(dataset)
train = whole if len(whole) <= 3500 else whole.split(3500)[0]
full = budget == "full"
teacher = mnist.teacher(train, epochs=8 if full else 1, seed=seed)
teacher_answers = tabulate(teacher, train)
error = metrics.error_percent(predict(teacher, test), test.y)
agreement = 100 * (teacher_answers.logits.argmax(1) == train.y).double().mean()
half = 100 * teacher_answers.logits.softmax(1).amax(1).median()
print(f"test error {error:.1f} %; its first answer is the label of {agreement:.1f} % of the "
      f"training images; half of its answers are at least {half:.2f} % confident")  # fmt: skip

# %% [markdown]
# ## The rest of the answer
#
# On training images the first answer is the label, nearly always. So copying them teaches nothing new. What is new must be in the rest. Here the teacher is right, but least confident:

# %%
probability = teacher_answers.logits.softmax(1)
confidence = torch.where(teacher_answers.logits.argmax(1) == train.y, probability.amax(1), 2.0)
unsure = confidence.argsort()[:10]
second = probability[unsure].topk(2).indices[:, 1]
titles = [f"{a}, or maybe {b}?" for a, b in zip(train.y[unsure], second, strict=True)]
show(
    digits(train.x[unsure], titles, columns=5, roles=["teacher"] * 10),
    "Ten training images on which the teacher is right, and least confident",
    "Their labels, and the class that the teacher finds second best.",
)

# %% [markdown]
# Averaged over all images of a label, and without the label's own share, this is what Hinton and his colleagues call **dark knowledge**:

# %%
doubt = metrics.dark_knowledge(teacher_answers.logits, train.y)  # (label, class), rows sum to 1
picture, axis = figure(3.5, width=5.0)
matrix(axis, 100 * doubt, blank_diagonal=True, across="what else it might be", down="label")
show(
    picture,
    "Dark knowledge: where the teacher's doubt goes, in %",
    "Each row shares out the probability that the teacher does not give to the label. Dark: a "
    "class that it could take the label for. White: below half a percent.",
)

# %% [markdown]
# ## The loss by hand
#
# Read the row of the 4: a label says "4", the teacher says "a 4, and if not, a 9, but hardly a 0". (The lab notes test that this is not chance.) But the whole row is about a tiny rest: see the confidence printed above. So divide the logits by a *temperature* $T$ before softmax. Small probabilities grow: $p_T = \mathrm{softmax}(z_t/T)$ for the teacher, $q_T = \mathrm{softmax}(z_s/T)$ for the student.
#
# **In words:** measure with KL how far the student's softened answer is from the teacher's, average over the images, and multiply by $T^2$.
#
# $$\mathcal L_\text{soft} = T^2 \cdot \frac{1}{\text{batch}} \sum_{\text{images}} \sum_c p_T(c) \, \log \frac{p_T(c)}{q_T(c)}$$


# %%
def soft_targets(z_s, z_t, T):
    """Logits (batch, classes) of student and teacher -> one number."""
    p, q = (z_t / T).softmax(1), (z_s / T).softmax(1)
    kl = (p * (p.log() - q.log())).sum(1)  # (batch,)
    return T**2 * kl.mean()


# %%
student = mlp(train.x[0].numel(), mnist.WIDTH, 10)
z_s = predict(initialise(student, seed), train[:64]).double().requires_grad_()
z_t = teacher_answers.logits[:64].double()
torch.testing.assert_close(soft_targets(z_s, z_t, T), losses.soft_targets(z_s, z_t, T))

# %% [markdown]
# ## Its gradient, in four lines
#
# For one image, with $z$ the student's logits and $p, q$ short for $p_T, q_T$:
#
# 1. $\mathrm{KL} = \text{const} - \sum_c p_c \log q_c$: the teacher's own part does not depend on $z$.
# 2. $\log q_c = z_c/T - \log \sum_k e^{z_k/T}$: the logarithm of a softmax.
# 3. $\partial \log q_c / \partial z_k = (\delta_{ck} - q_k)/T$, where $\delta_{ck}$ is 1 if $c = k$, else 0.
# 4. So $\partial\, \mathrm{KL} / \partial z_k = (q_k - p_k)/T$, because the $p_c$ sum to 1. With $T^2$ in front: $T\,(q_k - p_k)$.
#
# Student minus teacher. Autograd must agree, with the mean over the batch:

# %%
by_hand = T * ((z_s / T).softmax(1) - (z_t / T).softmax(1)).detach() / len(z_s)
(by_autograd,) = torch.autograd.grad(soft_targets(z_s, z_t, T), z_s)
torch.testing.assert_close(by_hand, by_autograd)

# %%
claim(
    "02.2",
    "The gradient of the soft targets' loss is T (q_T - p_T) / batch",
    torch.allclose(by_hand, by_autograd),
    measured={"largest difference from autograd": float((by_hand - by_autograd).abs().max())},
    published="Hinton, Vinyals & Dean 2015, equation 2 (there without the factor T²)",
)

# %% [markdown]
# **Why $T^2$?** Without it the gradient is $(q_T - p_T)/T$. At high $T$, $e^{z/T} \approx 1 + z/T$, so $q_c \approx (1 + (z_c - \bar z)/T)/C$, and $q_T - p_T$ shrinks like $1/T$ as well. Together that is $1/T^2$. The mean length of an image's gradient, for this student:

# %%
lengths = {}
for temperature in (1.0, 2.0, 4.0, 8.0, 20.0):
    gap = (z_s / temperature).softmax(1) - (z_t / temperature).softmax(1)
    lengths[temperature] = float(temperature * gap.detach().norm(dim=1).mean())
show_table(
    ["T", *(f"{temperature:g}" for temperature in lengths)],
    [
        ["with T²", *(f"{length:.3f}" for length in lengths.values())],
        ["without", *(f"{length / temperature**2:.4f}" for temperature, length in lengths.items())],
    ],
)

# %%
claim(
    "02.3",
    "From T = 4 to T = 20 the gradient without T² shrinks more than tenfold; with T² it stays "
    "within a factor of two from T = 2 on",
    lengths[4.0] / 4**2 > 10 * lengths[20.0] / 20**2
    and max(list(lengths.values())[1:]) < 2 * min(list(lengths.values())[1:]),
    measured={
        "without T², shrinks by a factor of": 25 * lengths[4.0] / lengths[20.0],
        "with T², highest over lowest from T = 2 on": max(list(lengths.values())[1:])
        / min(list(lengths.values())[1:]),
    },
)

# %% [markdown]
# So, roughly and from T = 2 on, `alpha` keeps its meaning when `T` changes. The whole objective has the labels too:
#
# $$\mathcal L = (1 - \texttt{alpha}) \cdot \mathrm{CE}(y, q_1) + \texttt{alpha} \cdot \mathcal L_\text{soft}$$
#
# ### Move the student to the teacher
#
# One image. The bars are $p_T$ and $q_T$. Each arrow shows where a training step *pushes* the logit: `alpha · T · (p_T − q_T)`, minus the gradient. Move `step` from the untrained student's logits to the teacher's, and watch the arrows vanish. Then move `T`: the lower it is, the fewer classes get any probability.

# %%
shown = confidence.argsort()[[20, 0, 100, 500, 1000]]  # from little to much confidence
GradientArrows(
    predict(initialise(student, seed), train[shown]),
    teacher_answers.logits[shown],
    train.x[shown],
    alpha=alpha or 0.9,
)

# %% [markdown]
# ## Which part of the answer helps?
#
# Five students see the same 100 labelled images of each class, for the same 560 steps. They differ only in what they are told about these images.
#
# | student | is told | has |
# |---|---|---|
# | label-only | the label | |
# | first answers | the teacher's first answer | almost nothing new |
# | even doubt | soft targets, the doubt spread evenly over the other classes | the teacher's confidence |
# | permuted | soft targets, the other classes shuffled in each image | confidence, random similarity |
# | distilled | soft targets | confidence, true similarity |

# %%
prediction = Prediction(
    "The permuted student, compared with the label-only student, makes",
    ["fewer errors", "about as many", "more errors"],
)
prediction

# %% [markdown]
# A teacher that says something else is another table of answers to the same images. The loss divides logits by T, so a probability $p$ is stored as $T \log p$:

# %%
p = (teacher_answers.logits / T).softmax(1)
is_first = F.one_hot(teacher_answers.logits.argmax(1), 10).bool()
rest = (1 - p.amax(1, keepdim=True)).clamp(min=1e-12)  # (N, 1): what the first answer leaves
even = teacher_answers.answering(T * torch.where(is_first, p, rest / 9).log(), "even doubt")
generator = torch.Generator().manual_seed(seed)
permuted = losses.permute_wrong_classes(teacher_answers.logits, generator=generator)


# %%
def distilled_from(answers):
    return (1 - alpha) * HardLabels() + alpha * SoftTargets(answers, T)


recipes = {
    "label-only": HardLabels(),
    "first answers": (1 - alpha) * HardLabels() + alpha * TeacherLabels(teacher_answers),
    "even doubt": distilled_from(even),
    "permuted": distilled_from(teacher_answers.answering(permuted, "permuted")),
    "distilled": distilled_from(teacher_answers),
}

# %% [markdown]
# Every student is trained several times, on several *draws* of labelled images, each with its own initial weights. Draws are the same for all students, so that we can compare in pairs.


# %%
def wrong_answers(images_of, names, draws):
    """Which test images each student gets wrong: name -> bool (draws, images)."""
    per_draw = []
    for draw in draws:
        images, grid = images_of(draw), {"draw": [draw], "recipe": list(names)}
        settings = {"examples": images, "student": student, "evaluate": {"test": test}}
        epochs = mnist.epochs(images, mnist.STEPS if full else 28)
        bank = train_bank(lambda recipe, draw: recipes[recipe], grid=grid, seeds=[draw],
            epochs=epochs, **settings)  # fmt: skip
        per_draw.append(bank.wrong()[0, :, 0])  # (draw, recipe, seed, images): one draw, one seed
    return dict(zip(names, torch.stack(per_draw, 1), strict=True))


draws = [100 * seed + k for k in range(5 if full else 2)]
wrong = wrong_answers(lambda draw: train.per_class(labels, seed=draw), recipes, draws)

# %%
permuted_harm = metrics.difference(wrong["permuted"], wrong["label-only"])
verdict = "more errors" if permuted_harm.low > 0 else "fewer errors"
prediction.recall(verdict if permuted_harm.excludes() else "about as many")
roles = ["alone", "label", "extra", "extra", "taught"]
picture, axis = figure(2.9)
for place, (name, role) in enumerate(zip(wrong, roles, strict=True)):
    seed_dots(axis, place, 100 * wrong[name].double(), role)
axis.set_xticks(range(len(wrong)), wrong)
error_axis(axis, len(test))
show(
    picture,
    "Permuted is worst; even doubt and distilled are best",
    "Test error. A dot is one draw of labelled images and initial weights, the bar their mean, the "
    "vertical line its 95 % interval over draws and test images. The axis does not begin at 0.",
)

# %% [markdown]
# One thousand test images leave intervals up to two points wide. So we have trained the same students on ten draws and tested them on MNIST's 10,000 test images (`table.py` beside this page; its result is stored, you need no download). Left today's run, right the stored one:

# %% tags=["nbval-ignore-output"]
stored = {
    row["student"]: row
    for row in tables.read(stored_table.__file__)
    if row["setting"] == "100 labels per class"
}


def stored_saving(name, other):
    return metrics.Interval(*stored[name]["saves against"][other])


show_table(
    ["student", "compared with label-only", "the same on 10,000 images"],
    [[name, saves(metrics.difference(wrong["label-only"], wrong[name])),
        saves(stored_saving(name, "label-only"))] for name in list(recipes)[1:]],
)  # fmt: skip

# %%
claim(
    "02.4",
    "With 100 labels per class, shuffling the teacher's wrong classes makes its student worse than "
    "the label-only student",
    permuted_harm.low > 0 and stored_saving("label-only", "permuted").low > 0,
    measured={
        "permuted, more errors in points": permuted_harm,
        "on 10,000 images": stored_saving("label-only", "permuted"),
    },
)

# %%
claim(
    "02.5",
    "On 10,000 images more than half of what soft targets save is doubt itself, spread evenly; true "
    "similarity adds less than a point and a half; random similarity costs more than both bring",
    stored_saving("even doubt", "label-only").mean
    > 0.5 * stored_saving("distilled", "label-only").mean
    and stored_saving("distilled", "even doubt").low > 0
    and stored_saving("distilled", "even doubt").high < 1.5
    and stored_saving("even doubt", "permuted").low > stored_saving("distilled", "label-only").mean,
    measured={
        "distilled saves, points": stored_saving("distilled", "label-only"),
        "even doubt saves": stored_saving("even doubt", "label-only"),
        "true similarity adds": stored_saving("distilled", "even doubt"),
        "random similarity costs": stored_saving("even doubt", "permuted"),
    },
    published="Hinton et al. 2015, table 5 (speech, the same 3 % of the training set for both): "
    "44.5 % of frames right with hard targets, 57.0 % with soft targets (no control for doubt)",
)

# %% [markdown]
# **Read it like this.** *First answers* save next to nothing: the labels said it all. *Even doubt* has no similarity, and brings more than half of the gain. *Distilled* and *even doubt* have the same confidence and another distribution of the rest: so this pair shows what similarity is worth, and it is little. *Permuted* and *even doubt* are the pair for false similarity: it costs more than doubt and similarity have saved. (Part of it is noise, for each image is shuffled by itself: see the lab notes.)
#
# So "soft targets help because they tell which classes are alike" is a small part of the truth here. [](lesson03) removes one digit from the training set, and asks again.
#
# ## Two hundred labels and a teacher
#
# Now the situation in which distillation is most useful. Twenty labels per class; all other images have *no* label, `y = -1` in code. They are a **transfer set**: the teacher answers them. (Our teacher was trained with their labels, which flatters its answers a little.)


# %%
def two_hundred(draw):
    """20 labels per class; the other images stay, without a label."""
    labelled = torch.isin(train.ids, train.per_class(20, seed=draw).ids)
    return train.labelled_as(torch.where(labelled, train.y, -1))


with_transfer = wrong_answers(two_hundred, ["first answers", "distilled"], draws)
label_only = wrong_answers(lambda draw: train.per_class(20, seed=draw), ["label-only"], draws)

# %%
students = {
    "200 labels": ("alone", label_only["label-only"]),
    "+ first answers": ("label", with_transfer["first answers"]),
    "+ soft targets": ("taught", with_transfer["distilled"]),
}
picture, axis = figure(2.9, width=5.6)
for place, (role, missed) in enumerate(students.values()):
    seed_dots(axis, place, 100 * missed.double(), role)
axis.set_xticks(range(len(students)), students)
axis.axhline(float(error), color=figures.COLOURS["teacher"], linestyle=":")
axis.set_ylim(0)
error_axis(axis, len(test))
show(
    picture,
    "With a transfer set, first answers bring most",
    "Test error after equally many steps: 200 labels; the same and the teacher's answers to the "
    "other images, first answers or soft targets. Dotted: the teacher.",
)

# %% [markdown]
# How much do first answers bring, and soft targets in addition? Again from ten draws and 10,000 images:

# %%
stored_transfer = {
    row["student"]: row
    for row in tables.read(stored_table.__file__)
    if row["setting"] == "20 labels per class, transfer set"
}
answers_bring, soft_adds = (
    metrics.Interval(*stored_transfer[name]["saves against"][other])
    for name, other in (("first answers", "label-only"), ("distilled", "first answers"))
)

# %%
claim(
    "02.6",
    "Two hundred labels and a teacher save more than half the errors of two hundred labels; over "
    "four fifths of that are the teacher's first answers, and soft targets add about a point",
    metrics.interval(
        100 * (with_transfer["distilled"].double() - label_only["label-only"].double() / 2)
    ).high
    < 0
    and answers_bring.mean > 0.8 * (answers_bring.mean + soft_adds.mean)
    and soft_adds.low > 0.3,
    measured={
        "today: label-only, error %": metrics.interval(100 * label_only["label-only"].double()),
        "distilled, error %": metrics.interval(100 * with_transfer["distilled"].double()),
        "on 10,000 images first answers save, points": answers_bring,
        "soft targets save in addition": soft_adds,
    },
)

# %% [markdown]
# ## What can go wrong
#
# - **$T^2$ forgotten.** At T = 4 the soft targets then pull sixteen times too little: `alpha = 0.9` acts like $\frac{0.9/16}{0.9/16 + 0.1} = 0.36$.
# - **Mean over classes too.** `F.kl_div(..., reduction="mean")` divides by the number of classes as well.
# - **Probabilities where log-probabilities belong.** `F.kl_div` wants $\log q$ first.
#
# **Two checks.** Give the teacher's logits as the student's: loss and gradient must be 0; this finds the third. Compare a gradient with $T\,(q_T - p_T)/\text{batch}$: this finds the other two. (Their fingerprints, measured: lab notes.)
#
# ## Exercises
#
# ### 5 minutes: the gradient of the whole objective
#
# Write the gradient of $\mathcal L$, labels and soft targets, with respect to the student's logits. All images have a label. Use no autograd.
#
# <details><summary>Hint 1</summary>A label is a teacher too: one that gives 1 to its class, at $T = 1$.</details>
# <details><summary>Hint 2</summary><code>F.one_hot(y, classes)</code> is that teacher's answer. Take the derivation once with it and T = 1, once with $p_T$ and T, and weight both.</details>


# %% tags=["exercise"]
def gradient(z_s, z_t, y, T, alpha):
    """Logits (batch, classes), labels (batch,) -> gradient (batch, classes)."""
    # SOLUTION
    hard = z_s.softmax(1) - F.one_hot(y, z_s.shape[1])
    soft = T * ((z_s / T).softmax(1) - (z_t / T).softmax(1))
    return ((1 - alpha) * hard + alpha * soft) / len(z_s)
    # END


exercises.gradient(gradient)

# %% [markdown]
# ### 15 minutes: a control of your own
#
# *Class means* keep the similarity of classes, and take away what is special about the single image: every image is told the mean softened answer of its label's images. Write this teacher: logits `z` such that softmax(z / T) is the mean of $p_T$ over the images with the same label. (The lab notes train its student.)
#
# <details><summary>Hint 1</summary>Average probabilities, not logits. At which temperature does the loss soften what you return?</details>
# <details><summary>Hint 2</summary><code>p[y == c].mean(0)</code> is the mean of one label. Store a probability as T times its logarithm.</details>


# %% tags=["exercise"]
def class_means(z_t, y, T):
    """Logits (batch, classes), labels (batch,) -> logits (batch, classes)."""
    # SOLUTION
    p = (z_t / T).softmax(1)
    means = torch.stack([p[y == label].mean(0) for label in y])
    return T * means.log()
    # END


exercises.class_means(class_means)

# %% [markdown]
# ### Debugging, 10 minutes: the unlabelled images say "0"
#
# This objective is meant for a transfer set, where `y = -1` marks an image without a label. It runs, and teaches that every such image is a 0. Correct it: the label term is the mean over the *labelled* images, and 0 in a batch that has none.
#
# ```python
# def loss(z_s, z_t, y, T, alpha):
#     hard = F.cross_entropy(z_s, y.clamp(min=0))
#     return (1 - alpha) * hard + alpha * losses.soft_targets(z_s, z_t, T)
# ```
#
# <details><summary>Hint 1</summary>What label does <code>clamp</code> make of −1? Leave those images out of the first term, not out of the second.</details>
# <details><summary>Hint 2</summary><code>z_s[y >= 0]</code> are the labelled ones. The mean over no image is nan: ask first whether there is any.</details>


# %% tags=["exercise"]
def transfer_loss(z_s, z_t, y, T, alpha):
    """Logits (batch, classes), labels (batch,) or -1 -> one number."""
    # SOLUTION
    labelled = y >= 0
    hard = F.cross_entropy(z_s[labelled], y[labelled]) if labelled.any() else 0.0
    return (1 - alpha) * hard + alpha * losses.soft_targets(z_s, z_t, T)
    # END


exercises.transfer_loss(transfer_loss)

# %% [markdown]
# ## In three lines
#
# 1. The loss of soft targets is $T^2\,\mathrm{KL}(p_T \| q_T)$; its gradient is $T\,(q_T - p_T)$, student minus teacher; $T^2$ roughly keeps its size from T = 2 on.
# 2. A control takes one thing away. Here doubt brings more than half of the gain, true similarity a little, and random similarity costs more than both bring.
# 3. With a transfer set the teacher's first answers bring most of the gain, soft targets about one point more.
#
# ## Recall
#
# <details><summary>You double T and forget T². What happens to the teacher's share of the gradient?</summary>
#
# At high T it falls to about a quarter, as if alpha had been turned down.
# </details>
#
# <details><summary>The permuted student is worse than the label-only student. Why does that not show that true similarity helps?</summary>
#
# Shuffling puts random similarity in. To take similarity away and nothing else, spread the doubt evenly.
# </details>
#
# <details><summary>Why do first answers help with a transfer set, and not on labelled images?</summary>
#
# On labelled images they repeat the label. On the others there is no label, and the teacher is nearly always right.
# </details>
#
# ## Reading
#
# - Hinton, Vinyals & Dean (2015), *Distilling the Knowledge in a Neural Network*: sections 2 and 3 are this page.
# - Yuan et al. (2020), *Revisiting Knowledge Distillation via Label Smoothing Regularization*: much of the gain is mere softness. Compare *even doubt*.
#
# Next: [](lesson03)
