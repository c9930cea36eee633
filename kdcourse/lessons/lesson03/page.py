# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Can a student learn what it never saw?
#
# **In part: a teacher's soft answers on other digits tell of the missing one. This page measures how much a student keeps of it, and what hides it.**
#
# *{minutes} minutes to read, exercises apart · about 20 s of processor time · needs: [](lesson02)*
#
# Choose **Run ▸ Run All Cells** first: sliders and buttons wake up then. On Binder's shared processor it may take three times as long.
#
# After this page you will be able to
#
# 1. train a student on a *transfer set* that lacks a class, and measure what it knows of that class;
# 2. explain why its bias is wrong although its knowledge is there, and correct it;
# 3. say which rule used what it should not have seen.
#
# **Why anyone wants this.** A teacher often learned from data that you may not have: private photographs, a rare disease, last year's products. You distil on what is left. Does the student then lose what is missing?

# %% tags=["parameters"]
missing: int = 3  # 0..9
T: float = 4.0  # 2..50
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import torch

from kdcourse.checks import Prediction, claim
from kdcourse.figures import digits, figure, seed_dots, show, show_table
from kdcourse.ground import mnist
from kdcourse.lessons.lesson03 import exercises, ten_thousand
from kdcourse.lessons.lesson03.class_bias import ClassBias
from kdcourse.measured import saves
from kdcourse.parameters import check_parameters
from kdlib.bank import train_bank
from kdlib.data import load
from kdlib.losses import class_mean_logits, soft_targets
from kdlib.metrics import difference, interval, wrong
from kdlib.models import mlp
from kdlib.objectives import HardLabels, SoftTargets, tabulate

check_parameters()

# %% [markdown]
# ## The common ground, with a hole in it
#
# The teacher and the data are those of [](lesson02). The teacher saw threes. The *transfer set*, on which students train, holds **no 3 at all**: we take the pictures out, not only their labels. So did Hinton, Vinyals and Dean (2015, section 3).

# %%
whole, validation, test = load("mnist5k")
train = whole if budget == "full" else whole[:1000]
transfer = train.without([missing])
teacher = mnist.teacher(train, epochs=8 if budget == "full" else 1, seed=seed)
# The table holds answers on threes too; students read only the rows of `transfer`.
answers = tabulate(teacher, train)

# %% [markdown]
# ## Your prediction
#
# The student is distilled on these images. Then a number is added to one logit, that of class 3, without looking at any label.

# %%
prediction = Prediction(
    "Of 100 threes, how many does this student then get right?",
    ["none", "1 to 30", "31 to 60", "more than 60"],
)
prediction

# %% [markdown]
# ## The idea: other digits tell about threes
#
# The teacher does not only say "5". Softened, its answer on a 5 also says *how much of a 3* there is in it. Here are the images of the transfer set that it finds most like a 3. None of them is one.

# %%
p_T = (answers.logits / T).softmax(-1)[:, missing]
resembling = torch.where(train.y == missing, 0, p_T).topk(10).indices
captions = [f"a {train.y[i]}\n{100 * p_T[i]:.0f} %" for i in resembling]

# %% tags=["nbval-ignore-output"]
show(
    digits(train.x[resembling], captions, roles=["teacher"] * 10),
    "Not threes: the ten images that the teacher finds most like one",
    f"Above each image, in the teacher's blue: its label, and the teacher's probability of a {missing} at T = {T:g}.",
)

# %% [markdown]
# Its mean probability of a 3 differs between digits. A student that fits its answers can learn *in which direction* an image becomes more like a 3.

# %% tags=["nbval-ignore-output"]
seen = [c for c in range(10) if c != missing]
spoken = [f"{100 * p_T[train.y == c].mean():.1f}" for c in seen]
show_table(["label of the image", *map(str, seen)], [["mean probability of a 3, %", *spoken]])

# %% [markdown]
# ## Four students
#
# All have 100 hidden units and take 560 steps on the same images without threes. With softened answers $p = \mathrm{softmax}(z_t / T)$ of the teacher and $q = \mathrm{softmax}(z_s / T)$ of the student, the loss is
#
# $$(1 - \alpha)\,\mathrm{CE}(\text{labels}) + \alpha\,T^2\,\mathrm{KL}(p \,\|\, q)$$
#
# The three distilled students give the labels a tenth of it (α = `mnist.ALPHA` = 0.9). They differ in the teacher's part: one mean answer for each class (*class means*: which digits are alike, but nothing about this image), or its own answer to each image, at T = 1 and at T = 4. The *label-only* student has α = 0.


# %%
def distilled(source, T):
    return (1 - mnist.ALPHA) * HardLabels() + mnist.ALPHA * SoftTargets(source, T)


of_class = answers.answering(class_mean_logits(answers.logits, train.y, T), "class means")
at_T = f"T = {T:g}"
objectives = {
    at_T: distilled(answers, T),
    "T = 1": distilled(answers, 1.0),
    "class means": distilled(of_class, T),
    "label-only": HardLabels(),
}

# %%
settings = {"student": mlp(784, mnist.WIDTH, 10), "examples": transfer}
settings["evaluate"] = {"transfer": transfer, "validation": validation, "test": test}
settings["seeds"] = range(seed, seed + 5)
settings["epochs"] = mnist.epochs(transfer) if budget == "full" else 3
students = {name: train_bank(aim, **settings).logits for name, aim in objectives.items()}

# %% [markdown]
# How many of the test set's threes do they get right, as trained?


# %%
def right(logits):
    """100 where a test image of the missing class is answered right: (seeds, N, C) -> (seeds, n)."""
    return 100.0 * ~wrong(logits, test.y)[..., test.y == missing]


as_trained = {name: interval(right(logits["test"])) for name, logits in students.items()}
percents = [f"{share:.0f}".replace("-0", "0") for share in as_trained.values()]
show_table(["", *as_trained], [["threes right, %", *percents]])

# %%
claim(
    "03.1",
    "As trained on 3,500 images (no 3), a label-only student gets no three right; a distilled one few",
    as_trained["label-only"].high == 0 and ten_thousand.right("T = 4", "as trained").high < 10,
    measured={
        "label-only, the 1,000 test images, threes right %": as_trained["label-only"],
        "T = 4, stored run, 10,000 test images, threes right %": ten_thousand.right(
            "T = 4", "as trained"
        ),
    },
    published="Hinton et al. 2015, larger student, all of MNIST but the threes: 877 of 1,010 threes (86.8 %), 206 errors in all",
)

# %% [markdown]
# Does the distilled student not know threes, or does it never put class 3 *first*?
#
# ## Why the bias is wrong
#
# The last layer adds a bias $b_c$ to each logit, the same for every image. The derivative with respect to one bias:
#
# $$\mathrm{KL} = \text{const} - \sum_c p_c \log q_c, \qquad \log q_c = \frac{z_c + b_c}{T} - \log \sum_k e^{(z_k + b_k)/T}$$
#
# $$\frac{\partial \log q_c}{\partial b_k} = \frac{\delta_{ck} - q_k}{T} \quad\Rightarrow\quad \frac{\partial}{\partial b_k}\, T^2\,\mathrm{KL} = T\,(q_k - p_k), \text{ a mean over images}$$
#
# Training ends where this is zero: **on the transfer set** the student's mean $q_3$ must equal the teacher's mean $p_3$. (The labels, a tenth of the loss, push it lower still.) By hand, and by PyTorch:

# %%
z_s = torch.randn(64, 10, generator=torch.Generator().manual_seed(seed))
b = torch.zeros(10, requires_grad=True)
loss = soft_targets(z_s + b, answers.logits[:64], T)
p, q = (answers.logits[:64] / T).softmax(-1), (z_s / T).softmax(-1)
torch.testing.assert_close(torch.autograd.grad(loss, b)[0], T * (q - p).mean(0))

# %% [markdown]
# Does the trained student obey?

# %% tags=["nbval-ignore-output"]
asked = {
    "teacher, all training images": answers.logits,
    "teacher, transfer set": answers.logits[train.y != missing],
    "student, transfer set": students[at_T]["transfer"],
}
frequency = [
    [
        name,
        f"{100 * (z / T).softmax(-1)[..., missing].mean():.1f}",
        f"{(z.argmax(-1) == missing).double().sum(-1).mean():g} of {z.shape[-2]:,}",
    ]
    for name, z in asked.items()
]
show_table([f"at T = {T:g}", "mean probability of a 3, %", "images with 3 on top"], frequency)

# %% [markdown]
# So the student learned two things: *which images* are like a 3, and *how common* a 3 is. The second is true of the transfer set and false of the world. From here on, *the bias* is a number that we add to the trained $b_3$, changing nothing else:
#
# $$\text{answer} = \arg\max_c \; z_s(c) + \text{bias} \cdot (1 \text{ if } c = 3, \text{ else } 0)$$
#
# ## Three rules to choose the bias
#
# | rule | wants | needs |
# |---|---|---|
# | by share | a tenth of the answers to be "3" | unlabelled images of the real world, and a guess of how common a 3 is |
# | on validation | fewest validation errors | labels, **threes included** |
# | on test | fewest test errors | the labels that judge it: this is what the paper did |

# %%
biases = torch.arange(-20, 301) / 10
column = torch.eye(10)[missing]


def by_share(share):
    return "validation", lambda a: ((a == missing).double().mean() - share).abs()


def best_bias(z, score):  # z: (N, C); the middle of the biases with the lowest score
    scores = torch.stack([score((z + b * column).argmax(-1)) for b in biases])
    return float(biases[scores == scores.min()].median())


# %% [markdown]
# Only the first rule needs no label. Each student gets a bias of its own. A tenth is exactly true of the test set (100 threes of 1,000), so we also try two wrong guesses.

# %%
scoring = {
    "by share": by_share(0.1),
    "by share, guessed 5 %": by_share(0.05),
    "by share, guessed 15 %": by_share(0.15),
    "on validation": ("validation", lambda a: (a != validation.y).sum()),
    "on test": ("test", lambda a: (a != test.y).sum()),
}
chosen = {
    name: {
        rule: [best_bias(z, score) for z in logits[part]] for rule, (part, score) in scoring.items()
    }
    for name, logits in students.items()
}

# %% [markdown]
# The distilled student under each rule, on our 1,000 test images:


# %%
def shifted(name, rule):  # test logits (seeds, N, C) with the biases that the rule chose
    return students[name]["test"] + torch.tensor(chosen[name][rule])[:, None, None] * column


raw = students[at_T]["test"]
under_rule = {"as trained": raw} | {rule: shifted(at_T, rule) for rule in scoring}

# %% tags=["nbval-ignore-output"]
effects = []
for rule, z in under_rule.items():
    mean_bias = sum(chosen[at_T][rule]) / len(raw) if rule in scoring else 0.0
    gain = difference(wrong(raw, test.y), wrong(z, test.y))
    change = saves(gain) if rule in scoring else ""
    threes = f"{interval(right(z)):.0f}".replace("-0", "0")
    effects.append([rule, f"{mean_bias:.1f}", threes, change])
show_table(["rule", "bias, mean", "threes right, %", "change in all errors"], effects)
found = interval(right(under_rule["by share"]))
prediction.recall(prediction.options[sum(found.mean > bound for bound in (0.5, 30.5, 60.5))])

# %% [markdown]
# One number per student, chosen without any label, finds most of the threes. The knowledge was there. The rules that look at labels find fewer threes here, for slightly fewer errors in all. A wrong guess of the share changes the threes found more than the errors in all.

# %%
errors_saved = difference(wrong(raw, test.y), wrong(under_rule["by share"], test.y))
claim(
    "03.2",
    "With one bias, set without any label, the student gets most threes right, and fewer errors in all",
    found.low > 55 and errors_saved.low > 1,
    measured={"threes right %": found, "errors saved, points": errors_saved},
    published="Hinton et al. 2015, bias chosen on test: +3.5, 996 of 1,010 threes (98.6 %), 109 errors",
)

# %% [markdown]
# ## Move the bias yourself
#
# Every student's test answers are scored anew at every bias; dots are seeds. Left: errors on threes fall. Right: errors on all other images rise, slowly first; all errors together are lowest in between. Change the student, too.

# %%
shown = [name for name in students if name != "label-only"]
means = {
    rule: {name: sum(chosen[name][rule]) / len(raw) for name in shown}
    for rule in ("by share", "on validation", "on test")
}
ClassBias(
    {name: students[name]["test"] for name in shown},
    test.y,
    missing=missing,
    biases=[k / 4 for k in range(-8, 29)],
    rules=means,
)

# %% [markdown]
# ## Would any student do?
#
# Perhaps any student finds the threes, once a tenth of its answers must be "3"? All four get their bias by share.

# %% tags=["nbval-ignore-output"]
picture, axis = figure(2.8, width=5.6)
order = ["label-only", "class means", "T = 1", at_T]
for k, name in enumerate(order):
    role = "alone" if name == "label-only" else "taught"
    seed_dots(axis, k, right(shifted(name, "by share")), role)
axis.set(xticks=range(4), xticklabels=order, ylim=(0, 104))
axis.set_ylabel("threes right, %, bias by share")
show(
    picture,
    f"With the same rule, {at_T} finds most threes; T = 1 and class means are close",
    "Test images of the missing class answered right, with the bias by share; dots are five seeds, bars their means, lines 95 % intervals over seeds and images.",
)

# %% [markdown]
# With this rule the label-only student finds some threes, too. A mean answer per class adds that a 2 or a 5 is nearer to a 3 than a 6 is. Only the answer to *each image* says which 5s.
#
# A hundred threes cannot resolve all of these steps. MNIST's 10,000 test images have 1,010 threes. Ten students of each kind, stored (`table.py` in this lesson's folder trains them):

# %%
stored = []
for name in ("label-only", "class means", "T = 1", "T = 4"):
    cells = [f"{ten_thousand.right(name, rule):.0f}" for rule in ("as trained", "by share")]
    lead = "" if name == "T = 4" else f"{ten_thousand.ahead(name):.0f}"
    stored.append([name, *cells, f"{ten_thousand.errors(name):.1f}", lead])
head = ["1,010 threes", "right as trained, %", "right by share, %", "all errors by share, %"]
show_table([*head, "by share, T = 4 finds more threes, points"], stored)

# %%
claim(
    "03.3",
    "With the same rule the distilled student finds far more threes than the label-only student",
    ten_thousand.ahead("label-only").low > 15,
    measured={"more threes right, points": ten_thousand.ahead("label-only")},
)
claim(
    "03.4",
    "At T = 4, each image's own answer teaches more about threes than the mean answer of its class",
    ten_thousand.ahead("class means").low > 5,
    measured={"more threes right, points": ten_thousand.ahead("class means")},
)

# %% [markdown]
# ## Beside the paper
#
# Hinton et al. distilled all of MNIST (but the threes) into 800-800 units at T = 20. The second column is a stored run of that size: 55,000 images, the threes taken out, a `cnn(16)` as the teacher, two students, six epochs. Biases are chosen on test, as the paper did.

# %%
beside = []
for rule, threes, total in (("as trained", "86.8", "2.06"), ("on test", "98.6", "1.09")):
    large = ten_thousand.row("55,000 images", "784-800-800, T = 20", rule)
    beside.append([f"threes right %, {rule}", threes, f"{large['right'][0]:.1f}"])
    beside.append([f"all errors %, {rule}", total, f"{large['errors'][0]:.2f}"])
show_table(["", "Hinton et al. 2015", "here, 55,000 images"], beside)

# %% [markdown]
# In both columns the bias finds more threes and lowers the total error. The paper's student found most threes before it; ours did not.
#
# ## What can go wrong
#
# - **The pictures stay.** A label of −1 hides the label, not the image; the teacher still answers it.
# - **Validating in the same blind world.** If nobody could collect threes, validation has none either, and then no bias looks better than 0.
# - **Choosing on the test set.** It can never look worse, by construction.
# - **A wrong guess of the share.** See the two wrong guesses above.
# - **A teacher that never saw a 3 either.** Then there is nothing to pass on.
#
# The [lab notes](lesson03/notes) measure these, and go on to the paper's harder question: only 7s and 8s.
#
# ## Exercises
#
# **1 (5 minutes).** What does a student know *before* any bias? Write `among_first(z, y, missing, k)`: in percent, for how many images of class `missing` that class is among the `k` largest logits. `z` is (N, C), `y` is (N,). Then print it with k = 2 for `students[at_T]["test"][0]` and for the label-only student (labels: `test.y`).
#
# <details><summary>Hint 1</summary>y == missing picks the images; topk gives the k largest logits of each row, and their places.</details>
# <details><summary>Hint 2</summary>(places == missing).any(1) says for each image whether the class is among them. Percent: times 100.</details>


# %% tags=["exercise"]
def among_first(z, y, missing, k):
    # SOLUTION
    places = z[y == missing].topk(k).indices
    return 100 * (places == missing).any(1).double().mean()
    # END


exercises.among_first(among_first)

# %% [markdown]
# **2 (15 minutes).** We tried a grid of biases. But an image is called "3" exactly when the bias exceeds its *margin*: the largest other logit minus the logit of 3. So the bias by share can be had without a grid. Write `bias_for_share(z, missing, share)`.
#
# <details><summary>Hint 1</summary>To find the largest other logit, clone z and set the missing class's column to -torch.inf first.</details>
# <details><summary>Hint 2</summary>What fraction of margins should lie below the bias? Which tensor method gives that value?</details>


# %% tags=["exercise"]
def bias_for_share(z, missing, share):
    # SOLUTION
    rivals = z.clone()
    rivals[:, missing] = -torch.inf
    margins = rivals.amax(1) - z[:, missing]
    return float(margins.quantile(share))
    # END


exercises.bias_for_share(bias_for_share)

# %% [markdown]
# **3 (debugging).** A colleague chooses the bias on validation images and reports the error there:
#
# ```python
# def held_out_error(z, y, missing, biases):
#     errors = []
#     for bias in biases:
#         z[:, missing] += bias
#         errors.append(100 * (z.argmax(1) != y).double().mean())
#     return min(errors)
# ```
#
# It is too optimistic, and it has a second mistake. Correct both: choose the bias on the first half of the images (`len(y) // 2`), return the error in percent on the second half, and leave `z` as it was.
#
# <details><summary>Hint 1</summary>Which images chose the bias, and which report it? And what is in z at the second bias?</details>
# <details><summary>Hint 2</summary>Write one function that gives the errors of some images under one bias, on a clone. Take the best bias by the first half, then call it once for the second half.</details>


# %% tags=["exercise"]
def held_out_error(z, y, missing, biases):
    # SOLUTION
    def error(part, bias):
        moved = z[part].clone()
        moved[:, missing] += bias
        return 100 * float((moved.argmax(1) != y[part]).double().mean())

    half = len(y) // 2
    best = min(biases, key=lambda bias: error(slice(0, half), float(bias)))
    return error(slice(half, None), float(best))
    # END


exercises.held_out_error(held_out_error)

# %% [markdown]
# ## In three lines
#
# - A teacher's soft answers on other classes describe a class that the student never sees; labels alone tell less of it.
# - The student learns which images are like the class and, falsely, that it is rare.
# - One bias corrects most of that, by the class's expected share, without a label.
#
# ## Recall
#
# <details><summary>Why does the distilled student almost never say "3"?</summary>Training makes its mean q_T(3) on the transfer set equal to the teacher's, and there are no threes there, so that mean is low. It learned which images are more like a 3, not to put 3 first.</details>
# <details><summary>A transfer set keeps the pictures of threes, with label −1. What does that leak?</summary>The teacher still answers these pictures, and it says "3". The student learns threes from them; they are no unseen class.</details>
# <details><summary>Which rules may you use if nobody has labelled a single 3?</summary>By share. It needs unlabelled images of the real world, and how common the class is.</details>
# <details><summary>What do class means lack?</summary>They say which digits are alike, the same for every image. The teacher's own answers also say which images of a 5 are nearly a 3.</details>
#
# ## Reading
#
# - Hinton, Vinyals, Dean (2015), *Distilling the Knowledge in a Neural Network*, section 3.
# - Saerens, Latinne, Decaestecker (2002), *Adjusting the Outputs of a Classifier to New a Priori Probabilities*: the bias, done in general.
#
# Next: [](lesson04)
