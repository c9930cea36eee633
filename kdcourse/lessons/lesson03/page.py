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
# **Yes, mostly: a teacher's soft answers on other digits describe the missing one. Adding one number to one logit lets the student say so.**
#
# *{minutes} minutes to read, exercises apart · about 20 s of processor time · needs: [](lesson02)*
#
# Choose **Run ▸ Run All Cells** first: sliders and buttons wake up then. On Binder's shared processor it may take three times as long.
#
# After this page you will be able to
#
# 1. train a student on a *transfer set* that lacks a class, and measure what it knows of that class;
# 2. explain why its bias is wrong although its knowledge is there, and mend it;
# 3. say which rule, or which transfer set, used what it should not have seen.
#
# **Why anyone wants this.** A teacher often learned from data that you may not have: private photographs, a rare disease, last year's products. You distil on what is left. Does the student then lose what is missing?
#
# And with ten known digits it hardly mattered *which* wrong answers the teacher finds nearly right. Here one digit is gone, and similarity is all there is.

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
answers = tabulate(teacher, train)

# %% [markdown]
# ## Your prediction
#
# The student is distilled on these images. Then one number of it is changed, the bias of class 3, without looking at any label.

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
    f"Above each image its label and the teacher's probability of a {missing} at T = {T:g}.",
)

# %% [markdown]
# On average it speaks of threes more on some digits than on others. The student that fits these numbers learns *in which direction* an image becomes more like a 3.

# %% tags=["nbval-ignore-output"]
seen = [c for c in range(10) if c != missing]
spoken = [f"{100 * p_T[train.y == c].mean():.1f}" for c in seen]
show_table(["label of the image", *map(str, seen)], [["mean probability of a 3, %", *spoken]])

# %% [markdown]
# ## Four students
#
# All have 100 hidden units, take 560 steps on the same images without threes, and give the labels a tenth of the loss. They differ in what the teacher tells them: nothing (*label-only*), one mean answer for each class (*class means*: which digits are alike, but nothing about this image), or its own answer to each image, at T = 1 and at T = 4.


# %%
def distilled(source, T):
    return (1 - mnist.ALPHA) * HardLabels() + mnist.ALPHA * SoftTargets(source, T)


of_class = answers.answering(class_mean_logits(answers.logits, train.y, T), "class means")
first = f"T = {T:g}"
objectives = {
    first: distilled(answers, T),
    "T = 1": distilled(answers, 1.0),
    "class means": distilled(of_class, T),
    "label-only": HardLabels(),
}

# %%
settings = {"student": mlp(784, mnist.WIDTH, 10), "examples": transfer}
settings |= {"evaluate": {"validation": validation, "test": test}, "seeds": range(seed, seed + 5)}
settings["epochs"] = mnist.epochs(transfer) if budget == "full" else 3
students = {name: train_bank(one, **settings).logits for name, one in objectives.items()}

# %% [markdown]
# How many of the test set's threes do they get right, as trained?


# %%
def right(logits):
    """100 where a test image of the missing class is answered right: (seeds, N, C) -> (seeds, n)."""
    return 100.0 * ~wrong(logits, test.y)[..., test.y == missing]


as_trained = {name: interval(right(z["test"])) for name, z in students.items()}
show_table(["", *as_trained], [["threes right, %", *(f"{r:.0f}" for r in as_trained.values())]])

# %%
claim(
    "03.1",
    "A label-only student that never saw a three gets no three right; a distilled one few, as trained",
    as_trained["label-only"].high == 0 and ten_thousand.right("T = 4", "as trained").high < 10,
    measured={
        "label-only, threes right %": as_trained["label-only"],
        "distilled, on the 10,000": ten_thousand.right("T = 4", "as trained"),
    },
    published="Hinton et al. 2015, all of MNIST: 877 of 1,010 threes (86.8 %), 206 errors in all",
)

# %% [markdown]
# Does the distilled student not know threes, or does it never put class 3 *first*?
#
# ## Why the bias is wrong
#
# The last layer adds a bias $b_c$ to each logit, the same for every image. Its slope takes three lines:
#
# $$\mathrm{KL} = \text{const} - \sum_c p_c \log q_c, \qquad \log q_c = \frac{z_c + b_c}{T} - \log \sum_k e^{(z_k + b_k)/T}$$
#
# $$\frac{\partial \log q_c}{\partial b_k} = \frac{\delta_{ck} - q_k}{T} \quad\Rightarrow\quad \frac{\partial}{\partial b_k}\, T^2\,\mathrm{KL} = T\,(q_k - p_k), \text{ a mean over images}$$
#
# Training ends where this is zero: **on the transfer set** the student must say "3" as often as the teacher does there. And there the teacher says it seldom. (The labels, a tenth of the loss, push the same way.) By hand, and by PyTorch:

# %%
z_s = torch.randn(64, 10, generator=torch.Generator().manual_seed(seed))
bias = torch.zeros(10, requires_grad=True)
loss = soft_targets(z_s + bias, answers.logits[:64], T)
p, q = (answers.logits[:64] / T).softmax(-1), (z_s / T).softmax(-1)
torch.testing.assert_close(torch.autograd.grad(loss, bias)[0], T * (q - p).mean(0))

# %% [markdown]
# So the student learned two things: *which images* are like a 3 (its weights), and *how common* a 3 is (its bias). The second is true of the transfer set and false of the world. No image there had 3 on top, so it also learned never to put 3 first. We add a number to the logit of class 3 and change nothing else:
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


def best_bias(z, score):  # z: (N, C); the middle of the biases with the lowest score
    scores = torch.stack([score((z + b * column).argmax(-1)) for b in biases])
    return float(biases[scores == scores.min()].median())


# %% [markdown]
# Only the first rule needs no label. Each student gets a bias of its own.

# %%
scoring = {
    "by share": ("validation", lambda a: ((a == missing).double().mean() - 0.1).abs()),
    "on validation": ("validation", lambda a: (a != validation.y).sum()),
    "on test": ("test", lambda a: (a != test.y).sum()),
}
chosen = {
    name: {
        rule: [best_bias(one, score) for one in z[part]] for rule, (part, score) in scoring.items()
    }
    for name, z in students.items()
}

# %% [markdown]
# The distilled student under each rule, on our 1,000 test images:


# %%
def mended(name, rule):  # test logits (seeds, N, C) with the biases that the rule chose
    return students[name]["test"] + torch.tensor(chosen[name][rule])[:, None, None] * column


raw = students[first]["test"]
after = {"as trained": raw} | {rule: mended(first, rule) for rule in scoring}

# %% tags=["nbval-ignore-output"]
rows = []
for rule, z in after.items():
    mean_bias = sum(chosen[first][rule]) / len(raw) if rule in scoring else 0.0
    gain = difference(wrong(raw, test.y), wrong(z, test.y))
    told = saves(gain) if rule in scoring else ""
    rows.append([rule, f"{mean_bias:.1f}", f"{interval(right(z)):.0f}", told])
show_table(["bias", "chosen, mean", "threes right, %", "of all errors it"], rows)
by_share = interval(right(after["by share"]))
prediction.recall(prediction.options[sum(by_share.mean > bound for bound in (0.5, 30.5, 60.5))])

# %% [markdown]
# One number per student, chosen without any label, finds most of the threes. The knowledge was there. The rules that look at labels add next to nothing.

# %%
errors_saved = difference(wrong(raw, test.y), wrong(after["by share"], test.y))
claim(
    "03.2",
    "With one bias, set without any label, the student gets most threes right, and fewer errors in all",
    by_share.low > 55 and errors_saved.low > 1,
    measured={"threes right %": by_share, "errors saved, points": errors_saved},
    published="Hinton et al. 2015, bias chosen on test: +3.5, 996 of 1,010 threes (98.6 %), 109 errors",
)

# %% [markdown]
# ## Move the bias yourself
#
# Every student's test answers are scored anew at every bias; dots are seeds. Left: errors on threes fall. Right: errors on all other images rise, slowly first, and all errors together have their valley between. Change the student, too.

# %%
shown = [name for name in students if name != "label-only"]
means = {rule: {name: sum(chosen[name][rule]) / len(raw) for name in shown} for rule in scoring}
ClassBias(
    {name: students[name]["test"] for name in shown},
    test.y,
    missing=missing,
    biases=[k / 4 for k in range(-8, 41)],
    rules=means,
)

# %% [markdown]
# ## Would any student do?
#
# Perhaps any student finds the threes, once a tenth of its answers must be "3"? All four get their bias by share.

# %% tags=["nbval-ignore-output"]
drawn, axis = figure(2.8, width=5.6)
order = ["label-only", "class means", "T = 1", first]
for k, name in enumerate(order):
    role = "alone" if name == "label-only" else "taught"
    seed_dots(axis, k, right(mended(name, "by share")).mean(-1), role)
axis.set(xticks=range(4), xticklabels=order, ylim=(0, 104))
axis.set_ylabel("threes right, %, bias by share")
show(
    drawn,
    "Labels tell something of the unseen class, class similarity more, each image's own answer most",
    "Test images of the missing class answered right, with the bias by share; dots are five seeds, bars their means, lines 95 % intervals over seeds.",
)

# %% [markdown]
# Even labels alone know something: to tell nine digits apart, a student learns features that threes share. A mean answer per class adds that a 2 or a 5 is nearer to a 3 than a 6 is. Only the answer to *each image* says which 5s, and which strokes.
#
# A hundred threes cannot resolve all of these steps. MNIST's 10,000 test images have 1,010 threes. Ten students of each kind, stored (`table.py` in this lesson's folder trains them):

# %%
stored = []
for name in ("label-only", "class means", "T = 1", "T = 4"):
    cells = [f"{ten_thousand.right(name, rule):.0f}" for rule in ("as trained", "by share")]
    lead = "" if name == "T = 4" else f"{ten_thousand.ahead(name):.0f}"
    stored.append([name, *cells, f"{ten_thousand.errors(name):.1f}", lead])
head = ["1,010 threes", "right as trained, %", "right by share, %", "all errors, %"]
show_table([*head, "T = 4 is ahead by, points"], stored)

# %%
claim(
    "03.3",
    "With the same rule the distilled student finds far more threes than the label-only student",
    ten_thousand.ahead("label-only").low > 15,
    measured={"more threes right, points": ten_thousand.ahead("label-only")},
)
claim(
    "03.4",
    "Each image's own answer teaches more about threes than the mean answer of its class",
    ten_thousand.ahead("class means").low > 5,
    measured={"more threes right, points": ten_thousand.ahead("class means")},
)

# %% [markdown]
# ## Beside the paper
#
# Hinton et al. distilled all of MNIST (but the threes) into 800-800 units at T = 20. The second column is our student, of 3,500 images. The third is a stored run of the paper's size: 55,000 images, the threes taken out, a `cnn(16)` as the teacher. Biases are chosen on test, as the paper did.

# %%
ours = {rule: ("3,500 images", "T = 4", rule) for rule in ("as trained", "on test")}
large = {rule: ("55,000 images", "784-800-800, T = 20", rule) for rule in ours}
beside = []
for rule, threes, total in (("as trained", "86.8", "2.06"), ("on test", "98.6", "1.09")):
    here, there = (ten_thousand.row(*place[rule]) for place in (ours, large))
    beside.append(
        [f"threes right %, {rule}", threes, *(f"{r['right'][0]:.1f}" for r in (here, there))]
    )
    beside.append(
        [f"all errors %, {rule}", total, *(f"{r['errors'][0]:.2f}" for r in (here, there))]
    )
show_table(["", "Hinton et al. 2015", "here, 3,500 images", "here, 55,000 images"], beside)

# %% [markdown]
# Ours find fewer threes as trained (two students, six epochs); the bias closes most of the distance. The pattern is the paper's.
#
# ## What can go wrong
#
# - **The pictures stay.** A label of −1 hides the label, not the image; the teacher still answers it.
# - **Validating in the same blind world.** If nobody could collect threes, validation has none either, and then no bias looks better than 0.
# - **Choosing on the test set.** It always looks a little better, by construction.
# - **A wrong guess of the share.** Move the explorer's bias half a unit each way to see how much that matters.
# - **A teacher that never saw a 3 either.** Then there is nothing to pass on.
#
# The [lab notes](lesson03/notes) measure these, and go on to the paper's harder question: only 7s and 8s.
#
# ## Exercises
#
# **1 (5 minutes).** What does a student know *before* any bias? Write `among_first(z, y, missing, k)`: in percent, for how many images of class `missing` that class is among the `k` largest logits. `z` is (N, C), `y` is (N,). Then try it on `students["T = 4"]["test"][0]` and on the label-only student, with k = 2.
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
# <details><summary>Hint 2</summary>A tenth of the margins must lie below the bias: margins.quantile(share).</details>


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
# It is too optimistic, and wrong besides. Mend it: choose the bias on the first half of the images (`len(y) // 2`), return the error in percent on the second half, and leave `z` as it was.
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
# - A teacher's soft answers on other classes describe a class that the student never sees; labels deny it.
# - The student learns what the class looks like (weights) and, falsely, that it is rare and never first (bias).
# - One bias mends most of that, by the class's expected share, without a label.
#
# ## Recall
#
# <details><summary>Why does the distilled student almost never say "3"?</summary>Training makes its mean q_T(3) on the transfer set equal to the teacher's, and there are no threes there. No image had 3 on top: it learned what is more like a 3, not to put 3 first.</details>
# <details><summary>Which rules may you use if nobody has labelled a single 3?</summary>By share. It needs unlabelled images of the real world, and how common the class is.</details>
# <details><summary>What do class means lack?</summary>They say which digits are alike, the same for every image. The teacher's own answers also say which images of a 5 are nearly a 3.</details>
#
# ## Reading
#
# - Hinton, Vinyals, Dean (2015), *Distilling the Knowledge in a Neural Network*, section 3.
# - Saerens, Latinne, Decaestecker (2002), *Adjusting the Outputs of a Classifier to New a Priori Probabilities*: the bias, done in general.
#
# Next: [](lesson04)
