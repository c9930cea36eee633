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
# **Which wrong answers are nearly right. Its soft targets say how alike the classes are, also for images without labels.**
#
# *{minutes} minutes to read, exercises apart · about 45 s of processor time · needs: [](lesson01)*
#
# Choose **Run ▸ Run All Cells** first: sliders and buttons wake up then. On Binder's shared processor it may take three times as long.
#
# After this page you will be able to
#
# 1. write the loss of soft targets and its gradient by hand, and say why $T^2$ stands in front;
# 2. test, with controls, which part of the teacher's answers helps or harms a student;
# 3. teach a student with two hundred labels, a teacher, and images that nobody labelled.

# %% [markdown]
# ## Parameters
#
# `T` is the temperature and `alpha` the weight of the soft targets. `labels` is the number of labelled images per class in the table of controls. Change one, run all cells, and see what still holds.

# %% tags=["parameters"]
T: float = 8.0  # 0.5..50
alpha: float = 0.9  # 0..1
labels: int = 20  # 5..80
width: int = 100  # 4..400
dataset: str = "mnist5k"  # mnist5k | digits | mnist | fashion
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import torch
from IPython.display import Markdown, display
from torch.nn import functional as F

from kdlib import losses, metrics
from kdlib.bank import train_bank
from kdlib.data import jitter, load
from kdlib.models import cnn, initialise, mlp, predict
from kdlib.objectives import HardLabels, SoftTargets, TeacherTable, tabulate
from kdlib.training import fit

# %% [markdown]
# The pictures and checks of this course:

# %%
from kdcourse import figures
from kdcourse.checks import Prediction, claim
from kdcourse.figures import bars, digits, error_axis, figure, lines_with_dots
from kdcourse.figures import matrix, seed_dots, show
from kdcourse.lessons.lesson02 import exercises
from kdcourse.lessons.lesson02.gradient_arrows import GradientArrows
from kdcourse.parameters import check_parameters

check_parameters()

# %% [markdown]
# ## Recap
#
# A network answers an image with *logits* $z$, one number per class. Softmax turns them into probabilities. A *teacher* is a good network, a *student* a cheaper one. "Alone" means that the student learns from labels; "taught" means that it also learns from the teacher's answers.
#
# From a large data set we take 3,500 training images, so that the page stays quick. The test set stays whole.

# %%
train, validation, test = load(dataset)
(train,) = train.split(min(len(train), 3500))
held_out = {"validation": validation, "test": test}
pixels = train.x[0].numel()

# %% [markdown]
# The teacher is a small convolutional network. It sees each image shifted by up to two pixels. We ask it once about every training image, and keep its logits in a table.

# %%
full = budget == "full"
run = fit(cnn(16), train, epochs=8 if full else 1, batch=64, seed=seed, augment=jitter(2))
teacher = run.network
table = tabulate(teacher, train)

# %% tags=["nbval-ignore-output"]
agrees = (table.logits.argmax(1) == train.y).double().mean()
display(
    Markdown(
        f"The teacher errs on **{run.error(test):.1f} %** of {len(test):,} test images. On its own "
        f"{len(train):,} training images its first answer is the label in {100 * agrees:.1f} % of "
        "cases."
    )
)

# %% [markdown]
# ## The naive way: copy the first answer
#
# Why not let the student learn the teacher's first answer? Look at the sentence above. On training images the first answer *is* the label, nearly always. There is nothing new in it. What is new must be in the rest of the answer.
#
# ## The rest of the answer
#
# Here are training images on which the teacher is right, but least sure.

# %%
probability = table.logits.softmax(1)
sure = torch.where(table.logits.argmax(1) == train.y, probability.amax(1), 2.0)
unsure = sure.argsort()[:10]
second = probability[unsure].topk(2).indices[:, 1]
titles = [f"{a}, or maybe {b}?" for a, b in zip(train.y[unsure], second, strict=True)]

# %%
show(
    digits(train.x[unsure], titles, columns=5, roles=["teacher"] * 10),
    "The teacher's second thoughts often make sense",
    "Ten training images with their label, and the class that the teacher finds second best.",
)

# %% [markdown]
# A label says "4". A teacher says something like "a 4, and if not, a 9, but surely no 0". Hinton and his colleagues called this *dark knowledge*.
#
# **In words:** for all images of one label, average what the teacher gives to the *other* classes.
#
# $$D_{ab} = \frac{\bar p_b^{\,(a)}}{1 - \bar p_a^{\,(a)}} \quad (a \neq b), \qquad \bar p^{\,(a)} = \text{mean of } p \text{ over the images labelled } a$$

# %%
one_hot = F.one_hot(train.y, 10).double()
mean = one_hot.T @ table.logits.double().softmax(1)  # (10, N) @ (N, 10) -> (10, 10)
mean = mean.fill_diagonal_(0)
dark = mean / mean.sum(1, keepdim=True)
torch.testing.assert_close(dark, metrics.dark_knowledge(table.logits, train.y))

# %%
picture, axis = figure(3.7, width=5.2)
matrix(axis, 100 * dark, blank_diagonal=True, across="what else it might be", down="label")
show(
    picture,
    "Dark knowledge: where the teacher's doubt goes, in %",
    "Each row shares out the probability that the teacher does not give to the label: "
    "dark cells are pairs of classes that look alike; a blank cell is below half a percent.",
)

# %% [markdown]
# How much of this pattern is luck? A few images hold much of a row's doubt, so some classes come out ahead even if no two are alike. To see how far, we shuffle: each image keeps its nine doubts, but hands them to the wrong classes at random. Then we compare what the two likeliest wrong classes take of a row, on average over the ten rows: from this teacher, and from a hundred shuffled ones.


# %%
def two_likeliest(doubts):
    """Doubts (N, 9) about the nine wrong classes -> share of the two likeliest, by row: (10,)."""
    rows = one_hot.T @ doubts.double()  # (10, N) @ (N, 9) -> (10, 9)
    return (rows / rows.sum(1, keepdim=True)).topk(2).values.sum(1)


# %%
doubts, dice = probability[one_hot == 0].view(-1, 9), torch.Generator().manual_seed(seed)  # (N, 9)
orders = (torch.rand(doubts.shape, generator=dice).argsort(1) for _ in range(100))
by_luck = torch.stack([two_likeliest(doubts.gather(1, order)).mean() for order in orders])
by_class = two_likeliest(doubts)

# %% [markdown]
# This teacher row by row and on average, then 95 of the 100 shuffled ones, on average:

# %% tags=["nbval-ignore-output"]
low, high = (100 * by_luck.quantile(level) for level in (0.025, 0.975))
print("the two likeliest take, %:", *(f"{100 * share:.0f}" for share in by_class), end="; ")
print(f"mean {100 * by_class.mean():.0f}; shuffled {low:.0f} to {high:.0f}")

# %% [markdown]
# So there is more to it than luck: the doubt goes to the same classes again and again.

# %%
claim(
    "02.1",
    "Averaged over the classes, two of the nine wrong answers take more of the teacher's doubt than "
    "in any of a hundred teachers whose doubts are shuffled within each image",
    by_class.mean() > by_luck.max() + 0.03,
    measured={
        "mean of ten classes": float(by_class.mean()),
        "shuffled, mean": float(by_luck.mean()),
        "shuffled, highest of 100": float(by_luck.max()),
    },
)

# %% [markdown]
# ## Temperature brings it to light
#
# The doubts are tiny: a trained teacher is nearly certain. **In words:** divide the logits by $T$ before softmax, and small probabilities grow.
#
# $$p_T = \mathrm{softmax}(z_t / T), \qquad q_T = \mathrm{softmax}(z_s / T)$$


# %%
def soften(z, T):
    """softmax(z / T): (batch, classes) -> (batch, classes), rows sum to 1."""
    powers = ((z - z.amax(1, keepdim=True)) / T).exp()  # the largest becomes 1: no overflow
    return powers / powers.sum(1, keepdim=True)


torch.testing.assert_close(soften(table.logits, T), (table.logits / T).softmax(1))

# %%
usual = sure.argsort()[len(train) // 2]  # of middling certainty: more typical than the ten above
picture, axes = figure(2.3, panels=2, sharey=True)
for axis, heat in zip(axes, (1.0, T), strict=True):
    p = soften(table.logits[usual : usual + 1], heat)[0]
    bars(axis, {"teacher": p}, truth=int(train.y[usual]), labels={"teacher": "p_T"})
    axis.set_title(f"T = {heat:g}")
show(
    picture,
    "One ordinary image: at T = 1 the answer is a label, softened it is a ranking",
    "The same teacher's logits for the same image at two temperatures; the bold class is the label.",
)

# %% [markdown]
# ## The loss by hand
#
# **In words:** measure with KL how far the student's softened answer is from the teacher's, average over the images, and multiply by $T^2$ (we shall see why).
#
# $$\mathcal L_\text{soft} = T^2 \cdot \mathrm{KL}(p_T \,\|\, q_T) = T^2 \cdot \frac{1}{\text{batch}} \sum_{\text{images}} \sum_c p_T(c) \, \log \frac{p_T(c)}{q_T(c)}$$


# %%
def soft_targets(z_s, z_t, T):
    """Logits (batch, classes) of student and teacher -> one number."""
    p, q = soften(z_t, T), soften(z_s, T)
    kl = (p * (p.log() - q.log())).sum(1)  # (batch, classes) -> (batch,)
    return T**2 * kl.mean()


# %% [markdown]
# To try it we need a student's logits. Ours is a young one, after a single epoch. We take the first 64 training images, in 64-bit precision, and compare with `kdlib.losses.soft_targets`.

# %%
young = fit(mlp(pixels, width, 10), train, epochs=1, lr=1e-3, seed=seed).network
z_s = predict(young, train[:64]).double().requires_grad_()
z_t = table.logits[:64].double()
loss = soft_targets(z_s, z_t, T)
torch.testing.assert_close(loss, losses.soft_targets(z_s, z_t, T))

# %% [markdown]
# ### Its gradient
#
# Softmax and logarithm cancel when we differentiate, and something very simple is left: student minus teacher.
#
# $$\frac{\partial \mathcal L_\text{soft}}{\partial z_s} = \frac{T\,(q_T - p_T)}{\text{batch}}$$
#
# We check it twice: against autograd, and by nudging each logit a little ("finite differences").

# %%
by_hand = (T * (soften(z_s, T) - soften(z_t, T)) / len(z_s)).detach()
(by_autograd,) = torch.autograd.grad(loss, z_s)
torch.testing.assert_close(by_hand, by_autograd)


# %%
def nudged(i, c, step=1e-5):
    """How fast the loss changes when logit c of image i moves."""
    nudge = torch.zeros_like(z_s)
    nudge[i, c] = step
    up, down = (soft_targets(z_s + way * nudge, z_t, T) for way in (1, -1))
    return (up - down) / (2 * step)


with torch.no_grad():
    by_nudging = torch.stack([nudged(i, c) for i in range(4) for c in range(10)]).view(4, 10)
torch.testing.assert_close(by_hand[:4], by_nudging, rtol=1e-5, atol=1e-8)

# %% [markdown]
# All three agree, so the formula holds.

# %%
claim(
    "02.2",
    "The gradient of the soft targets' loss is T (q_T - p_T) / batch",
    torch.allclose(by_hand, by_autograd) and torch.allclose(by_hand[:4], by_nudging, rtol=1e-4),
    measured={
        "largest difference from autograd": float((by_hand - by_autograd).abs().max()),
        "from finite differences": float((by_hand[:4] - by_nudging).abs().max()),
    },
    published="Hinton, Vinyals & Dean 2015, equation 2 (there without the factor T²)",
)

# %% [markdown]
# ### Drag the student to the teacher
#
# One image at a time. The bars are $p_T$ and $q_T$. The arrows are `alpha · T · (q_T − p_T)`: an arrow that points up marks a logit that is too high and will fall. Drag `step` from the young student's logits $z_s$ to the teacher's $z_t$, and watch the arrows vanish. Then change `T`: which classes speak at T = 1, and which at T = 8?

# %%
shown = unsure[:6]
GradientArrows(
    predict(young, train[shown]), table.logits[shown], train.x[shown], alpha=alpha or 0.9
)

# %% [markdown]
# ## Why T²?
#
# Softening has a price. $\mathrm{KL}(p_T \| q_T)$ alone has the gradient $(q_T - p_T)/T$. And at high $T$ the two softened answers come close, so that their difference shrinks as $1/T$ as well. Together that is $1/T^2$. The factor $T^2$ makes up for it.
#
# We measure it: the mean length of an image's gradient, over the 64 images, with and without $T^2$.

# %%
temperatures = torch.tensor([0.5, 1, 2, 4, 8, 20, 50], dtype=torch.float64)
with torch.no_grad():
    pulls = [t * (soften(z_s, t) - soften(z_t, t)).norm(dim=1).mean() for t in temperatures]
with_square = torch.stack(pulls)
label_pull = (soften(z_s, 1.0) - F.one_hot(train.y[:64], 10)).norm(dim=1).mean().item()

# %%
without = with_square / temperatures**2
picture, axis = figure(2.9, width=6.2)
lines_with_dots(axis, temperatures, with_square[:, None], "taught", "with T²", log=True)
lines_with_dots(axis, temperatures, without[:, None], "extra", "without T²", log=True)
axis.axhline(label_pull, color=figures.COLOURS["label"], linestyle=":")
axis.text(50, 0.9 * label_pull, "hard labels", color=figures.INKS["label"], ha="right", va="top")
axis.set(yscale="log", xlabel="T", ylabel="mean length of the gradient")
show(
    picture,
    "Without T² the teacher's voice dies away as 1 / T²",
    "With T² the soft targets pull about equally hard at every temperature from 2 on; without it, "
    "at high temperatures, hardly at all. Dotted: how hard labels pull.",
)

# %% [markdown]
# From T = 4 to T = 20 the curves fall by these factors. And how far apart are the highest and the lowest point of the curve with T², from T = 2 on?

# %% tags=["nbval-ignore-output"]
fall = {name: float(g[3] / g[5]) for name, g in (("with", with_square), ("without", without))}
spread = float(with_square[2:].max() / with_square[2:].min())
print(f"without T²: {fall['without']:.1f} times, with T²: {fall['with']:.1f} times")
print(f"with T², from T = 2 on, the highest is {spread:.1f} times the lowest")
ratios = [f"{float(pull) / label_pull:.1f} (T = {heat:g})" for heat, pull in
    zip(temperatures, with_square, strict=True)]  # fmt: skip
print("soft pull with T², over label pull:", ", ".join(ratios))

# %%
claim(
    "02.3",
    "From T = 4 to T = 20 the gradient without T² shrinks more than tenfold; with T² it stays "
    "within a factor of two from T = 2 on",
    fall["without"] > 10 and spread < 2,
    measured={
        "without T², shrinks by a factor of": fall["without"],
        "with T²": fall["with"],
        "with T², T = 2 to 50, highest over lowest": spread,
    },
)

# %% [markdown]
# So from T = 2 on `alpha` keeps its meaning when `T` changes. The two pulls need not be equal for that: the last numbers say how far apart they are. That is all that $T^2$ does, and it is why forgetting it hurts (below).
#
# The whole objective has the labels too:
#
# $$\mathcal L = (1 - \texttt{alpha}) \cdot \mathrm{CE}(y, q_1) + \texttt{alpha} \cdot T^2 \cdot \mathrm{KL}(p_T \,\|\, q_T)$$


# %%
def taught_by(answers, T=T):
    """The objective on this page; `answers` is a teacher, or a table of what one said."""
    return (1 - alpha) * HardLabels() + alpha * SoftTargets(answers, T)


taught_by(table)

# %% [markdown]
# ## Is it the similarity that helps?
#
# A student taught gets many things at once: more numbers per image, gentler targets, a second opinion on wrong labels. Any of them could be what helps. So we take things away, one at a time. Few labels show it best: the student has `labels` images per class (20 unless you changed it), and the teacher answers *these same images* only.

# %%
prediction = Prediction(
    "The teacher's wrong classes are shuffled within each image. Beside the student alone, this one is",
    ["better", "about the same", "worse"],
)
prediction

# %% [markdown]
# Shuffled in this way the teacher is as sure as before, but no longer about the classes that look alike. Here are all the students that we compare:
#
# | the student … | learns from | has | lacks |
# |---|---|---|---|
# | alone | labels | | |
# | alone, longer | labels, three and a half times the epochs | time | |
# | alone, loss doubled | labels, loss × 2 | a bigger loss (AdamW does not notice) | |
# | alone, smoothed | labels with smoothing 0.1 | gentle targets | |
# | teacher's labels | the teacher's first answers | second opinion | all else |
# | even doubt | soft targets, the doubt spread evenly over the wrong classes | confidence | similarity |
# | permuted | soft targets, wrong classes shuffled within each image | confidence, *false* similarity, noise | true similarity |
# | class means | the mean soft target of the class's images in this draw | similarity of classes | what is special about the image |
# | false class means | class means, wrong classes shuffled once for each class | *false* similarity | true similarity |
# | taught | soft targets | everything | |
#
# *Alone, loss doubled* can show nothing here, and will agree with *alone* almost exactly: AdamW, which trains all our students, divides each gradient by its own usual size. Under plain gradient descent (SGD) a doubled loss makes every step twice as long, and then this control is needed.
#
# Each student is trained ten times: on ten draws of labelled images, each with initial weights of its own. The ten are the same for every student, so that we can compare in pairs.


# %%
def few(draw):
    """`labels` labelled images of each class."""
    return train.per_class(labels, seed=draw)


# %%
draws = [1000 * seed + k for k in range(10 if full else 2)]
student = mlp(pixels, width, 10)
common = {"student": student, "evaluate": held_out, "precision": "auto"}
epochs, patience = (60, 210) if full else (3, 28)  # patience: for those who train longer

# %% [markdown]
# A teacher who says something else is a table, too. One is *certain* of its first answer: logits so far apart that softmax gives 0 and 1. One is shuffled. One is as sure as the real one, but shares out the rest evenly.

# %%
certain = 100.0 * F.one_hot(table.logits.argmax(1), 10)
shuffle = torch.Generator().manual_seed(seed)
permuted = losses.permute_wrong_classes(table.logits, generator=shuffle)
p, top = soften(table.logits, T), F.one_hot(table.logits.argmax(1), 10).bool()
doubt = (1 - p.amax(1, keepdim=True)).clamp(min=1e-12)  # (N, 1)
even = T * torch.where(top, p, doubt / 9).log()

# %%
methods = {
    "alone": HardLabels(),
    "alone, loss doubled": 2 * HardLabels(),
    "alone, smoothed": HardLabels(smoothing=0.1),
    "teacher's labels": taught_by(table.answering(certain, "first answers"), T=1.0),
    "even doubt": taught_by(table.answering(even, "even doubt")),
    "permuted": taught_by(table.answering(permuted, "permuted")),
    "taught": taught_by(table),
}

# %% [markdown]
# Class means depend on the draw: the teacher is asked about the student's own images and no others. The false ones are shuffled anew for each draw, so that our result doesn't hang on one shuffle.


# %%
def class_means(draw, false=False):
    """One soft target for each class; a false one has its wrong classes shuffled, once."""
    own = few(draw)
    said = losses.class_mean_logits(table.find(own.ids), own.y, T)  # (images, 10)
    if false:
        of_class = torch.stack([said[own.y == c][0] for c in range(10)])  # (10, 10)
        shuffle = torch.Generator().manual_seed(draw)
        said = losses.permute_wrong_classes(of_class, generator=shuffle)[own.y]
    return TeacherTable(own.ids, said, name="class means")


# %%
def lesson(method, draw):
    """What a method teaches in one draw."""
    if method in methods:
        return methods[method]
    return taught_by(class_means(draw, false=method == "false class means"))


# %% [markdown]
# A draw's number is the seed of its initial weights, too. So an interval over draws holds the luck of both.


# %%
def each_draw(draws, examples, teach=None, split="test", grid=None, **how):
    """A bank for each draw, with initial weights of its own: logits (…, draws, images, 10)."""
    how |= {**common, "examples": examples}
    said = []
    for draw in draws:
        bank = train_bank(teach, grid={**(grid or {}), "draw": [draw]}, seeds=[draw], **how)
        said.append(bank.logits[split][..., 0, :, :])  # (…, 1 draw, 1 seed, N, 10): seed dropped
    return torch.cat(said, -3)


# %% [markdown]
# Training: nine methods times ten draws, and the ten students alone for longer.

# %%
names = [*methods, "class means", "false class means"]
controls = each_draw(draws, few, lesson, grid={"method": names}, epochs=epochs)
longer = each_draw(draws, few, epochs=patience)

# %% [markdown]
# Which test images does each get wrong? One row per draw. Then the differences, paired by draw and by image, with the interval of notebook 01.
#
# The last column is *Holm's correction*. Of eight intervals one may well exclude 0 by luck. Holm looks at p-values (how often luck alone would make a difference as large as this). It asks more of the smallest (p ≤ 0.05/8), a little less of the next (0.05/7), and so on, and stops at the first that fails. So an interval may exclude 0 and still not stand.

# %%
wrong = dict(zip(names, metrics.wrong(controls, test.y), strict=True))  # each (draws, images)
wrong["alone, longer"] = metrics.wrong(longer, test.y)
others = [name for name in wrong if name not in ("taught", "alone, loss doubled")]
gap = {name: metrics.difference(wrong[name], wrong["taught"]) for name in others}
resolved = metrics.holm({name: gap[name].p_value for name in others})

# %% [markdown]
# The table, worst first:


# %% tags=["nbval-ignore-output"]
def as_table(head, rows):
    """Shows lists of texts as a table."""
    lines = [head, ["---"] * len(head), *rows]
    display(Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines)))


rows, word = [], {True: "resolved", False: "not resolved", None: ""}
for name in sorted(wrong, key=lambda name: -wrong[name].double().mean()):
    error = metrics.interval(100 * wrong[name].double())
    against = f"{gap[name]:.1f}" if name in gap else ""
    rows.append([name, f"{error:.1f}", against, word[resolved.get(name)]])
as_table(["the student …", "test error %", "minus the student taught", "after Holm"], rows)

# %%
role = {"teacher's labels": "label", "class means": "taught"}
role |= dict.fromkeys(["even doubt", "permuted", "false class means"], "extra")
order = sorted(others, key=lambda name: -gap[name].mean)
picture, axis = figure(3.2)
for k, name in enumerate(order):
    per_draw = 100 * (wrong[name].double() - wrong["taught"].double()).mean(1)
    seed_dots(axis, k, per_draw, role.get(name, "alone"))
axis.axhline(0, color=figures.COLOURS["taught"])
axis.set_xticks(range(len(order)), [name.replace(" ", "\n") for name in order])
axis.set_ylabel("error %, minus the student taught")
show(
    picture,
    "False similarity hurts, with noise and without",
    "Each dot is one draw of labelled images and initial weights, above zero where the student "
    "taught is better. The intervals here are over draws; those of the table are over draws and "
    "test images.",
)

# %% [markdown]
# First your prediction: *permuted*, compared with the student alone.

# %%
shuffled = metrics.difference(wrong["permuted"], wrong["alone"])
verdict = "worse" if shuffled.low > 0 else "better" if shuffled.high < 0 else "about the same"
prediction.recall(verdict)

# %%
claim(
    "02.4",
    "Shuffle the teacher's wrong classes within each image, and its student is worse than alone",
    shuffled.low > 0,
    measured={"permuted, minus alone (points)": shuffled},
)

# %% [markdown]
# **Does that show that similarity helps?** It is tempting to say so, and it would be wrong. Shuffling does more than take the similarity away. It puts a *false* one in ("this 4 looks like a 0"). And it is another one for each image, so that there is noise to fit, and at high $T$ the noise is loud.
#
# Two controls take this apart. *Even doubt* has no similarity, neither true nor false. *False class means* have a false one without noise. So we put each question to the pair that can answer it:

# %%
pairs = {
    "does false similarity harm, with noise?": ("permuted", "alone"),
    "does it harm without noise?": ("false class means", "alone"),
    "is false worse than true?": ("false class means", "class means"),
    "how much does the noise add?": ("permuted", "false class means"),
    "what does it cost to take true similarity away?": ("even doubt", "taught"),
    "does similarity of classes beat smoothing, which has none?": (
        "alone, smoothed",
        "class means",
    ),
}
asked = {q: metrics.difference(wrong[a], wrong[b]) for q, (a, b) in pairs.items()}
stands = metrics.holm({q: found.p_value for q, found in asked.items()})

# %% tags=["nbval-ignore-output"]
rows = [
    [question, f"{a}, minus {b}", f"{asked[question]:.1f}", word[stands[question]]]
    for question, (a, b) in pairs.items()
]
as_table(["", "students", "error %, difference", "after Holm"], rows)

# %% [markdown]
# Read the rows from the top. The third has the cleanest pair: those two students differ only in *which* classes share the doubt. (Whether a false teacher without noise is even worse than no teacher, the second row says.)

# %%
claim(
    "02.5",
    "False similarity is worse than true, without noise as well: with the wrong classes of its class "
    "means shuffled, a student errs more than with the true ones",
    asked["is false worse than true?"].low > 0,
    measured={
        **{f"{a}, minus {b}": asked[question] for question, (a, b) in pairs.items()},
        **{f"{name}, minus taught": gap[name] for name in others},
    },
)

# %% [markdown]
# The last two rows are the question of this section. And the gain itself?

# %% tags=["nbval-ignore-output"]
without_it, smoothed = list(asked)[4:]
standing = "; ".join(name for name in others if resolved[name]) or "none"
at_most = f"{max(asked[without_it].high, 0):.1f} points at most"
worth = at_most + (", if anything" if not asked[without_it].excludes() else "")
display(
    Markdown(
        f"**What is true similarity worth?** A student whose teacher has none errs by "
        f"{asked[without_it]:.1f} points more (below zero: less; {word[stands[without_it]]} among "
        f"these {len(asked)} questions, {word[resolved['even doubt']]} among the {len(gap)} "
        f"comparisons of the first table). By that interval it is worth {worth}. Smoothed labels, "
        f"beside class means: {asked[smoothed]:.1f} ({word[stands[smoothed]]} among the "
        f"{len(asked)}). The student taught is better than the student alone by {gap['alone']:.1f} "
        f"points ({word[resolved['alone']]}), than the one alone for longer by "
        f"{gap['alone, longer']:.1f} (below zero: worse; {word[resolved['alone, longer']]}). Of all "
        f"{len(gap)} comparisons with the student taught, these stand after Holm: {standing}."
    )
)

# %% [markdown]
# Holm's verdict depends on the company: one difference may stand among these and fall among those. Then it lies at the edge of what these draws and test images resolve. And smoothing differs from class means in how large its doubt is, too: *even doubt* is the cleaner control.
#
# So be careful with the sentence "soft targets help, because they tell which classes are alike". *False* similarity certainly hurts. What the true one adds to labels on these same few images is small, if it is anything. Whether more time with the labels alone does as much, the row "alone, longer" of the first table says. `dataset="mnist"` has ten times as many test images: try it.
#
# <details><summary>Going deeper: and what does the single image add?</summary>
#
# "This 4 is drawn like a 9" is more than "4s are like 9s". It is the step from class means to the student taught. See in the first table whether these test images resolve it. Notebook 03 comes back to it.
# </details>
#
# ### How was T chosen?
#
# On the validation images, never on the test images, with draws that the table does not use.

# %%
heats = [1.0, 2.0, 4.0, 8.0, 20.0]
spare = [1000 * seed + 100 + k for k in range(5 if full else 2)]
how = {"split": "validation", "grid": {"T": heats}, "epochs": epochs}
sweep = each_draw(spare, few, lambda T: taught_by(table, T), **how)

# %%
picture, axis = figure(3.1, width=5.6)
missed = metrics.wrong(sweep, validation.y)  # (T, draws, images)
lines_with_dots(axis, heats, 100 * missed.double().mean(-1), "taught", "taught", log=True)
axis.set_xlabel("T")
error_axis(axis, len(validation))
show(
    picture,
    "On validation the temperatures differ less than the draws do",
    "Validation error of students taught at five temperatures, a dot per draw; band: 95 % interval "
    "of the mean over draws. Notebook 04 asks again with many more students.",
)

# %% [markdown]
# All temperatures had the same draws, so compare them in pairs. By how many points each errs more than T = 8 (below zero: less):

# %% tags=["nbval-ignore-output"]
for heat in (1.0, 2.0, 4.0, 20.0):
    beside = metrics.difference(missed[heats.index(heat)], missed[heats.index(8.0)])
    print(f"T = {heat:g}: {beside}, {word[beside.excludes()]}")

# %% [markdown]
# ## Two hundred labels and a teacher
#
# Now the situation in which distillation earns its living. Twenty labels per class. All other images have *no* label. They are a **transfer set**: the teacher, trained on everything, answers them. In code, an image without a label has `y = -1`; `HardLabels` ignores it, `SoftTargets` doesn't mind.


# %%
def two_hundred(draw):
    """20 labels per class; the other images stay, without a label."""
    labelled = torch.isin(train.ids, train.per_class(20, seed=draw).ids)
    return train.labelled_as(torch.where(labelled, train.y, -1))


two_hundred(seed)

# %% [markdown]
# The fair comparison needs two more students: one who gets only the teacher's *first* answers for the transfer set, and one with all labels and no teacher. And all of them take equally many steps.

# %%
first_draws, transfer_epochs = draws[:5], 15 if full else 2
everyone = {"examples": train, "epochs": transfer_epochs, "seeds": range(seed, seed + 5), **common}
alone_all = train_bank(**everyone)
taught_all = train_bank(taught_by(table), **everyone)

# %%
means = {"soft targets": methods["taught"], "first answers": methods["teacher's labels"]}
how = {"grid": {"method": list(means)}, "epochs": transfer_epochs}
transfer = each_draw(first_draws, two_hundred, lambda method: means[method], **how)

# %% [markdown]
# And the students who have two hundred labels and nothing else. Two batches make an epoch of theirs, so they need many epochs for as many steps. (At 20 labels per class these are the students "alone, longer" from above, and come from the cache.)

# %%
alone_200 = each_draw(
    first_draws, lambda draw: train.per_class(20, seed=draw), epochs=patience
)  # (draws, images, classes)

# %% tags=["nbval-ignore-output"]
batches = [-(-images // 128) for images in (200, len(train))]  # of 128 images, in an epoch
print(f"steps of 200 labels alone: {patience * batches[0]}, ", end="")
print(f"of all others: {transfer_epochs * batches[1]}")

# %% [markdown]
# Test images missed, by draw or seed:

# %%
few_alone = metrics.wrong(alone_200, test.y)
few_taught, few_answered = metrics.wrong(transfer, test.y)  # soft targets, first answers
people = {
    "200 labels,\nalone": ("alone", few_alone),
    "200 labels,\nteacher's\nfirst answers": ("label", few_answered),
    "200 labels,\nsoft targets": ("taught", few_taught),
    "all labels,\nalone": ("alone", alone_all.wrong()),
    "all labels,\nsoft targets": ("taught", taught_all.wrong()),
}

# %% [markdown]
# All five side by side:

# %%
picture, axis = figure(3.3)
for k, (who, missed) in enumerate(people.values()):
    seed_dots(axis, k, 100 * missed.double().mean(1), who)
axis.set_xticks(range(len(people)), people)
axis.set_ylim(0)
error_axis(axis, len(test))
show(
    picture,
    "With a teacher, two hundred labels do nearly the work of all",
    "Test error, a dot per draw or seed, after equally many steps. How much of the gap between few "
    "labels and all of them the transfer set closes is said below.",
)

# %%
halved = metrics.interval(100 * (few_taught.double() - few_alone.double() / 2))
claim(
    "02.6",
    "Two hundred labels and a teacher beat two hundred labels alone by half the errors, "
    "in equally many steps",
    halved.high < 0,
    measured={
        "alone, error %": metrics.interval(100 * few_alone.double()),
        "with a teacher, error %": metrics.interval(100 * few_taught.double()),
    },
)

# %% [markdown]
# Is it the softness, again, or simply the teacher's labels?

# %% tags=["nbval-ignore-output"]
soft_gain = metrics.difference(few_answered, few_taught)
all_gain = metrics.difference(alone_all.wrong(), taught_all.wrong())
word[False] = f"not resolved by {len(test):,} images"
high, first, mid, low = (
    100 * one.double().mean() for one in (few_alone, few_answered, few_taught, alone_all.wrong())
)
display(
    Markdown(
        f"The transfer set closes {100 * (high - mid) / (high - low):.0f} % of the gap between "
        f"two hundred labels ({high:.1f} % errors) and all ({low:.1f} %). **Honestly.** Most of this "
        f"is the teacher's *labels*: {100 * (high - first) / (high - mid):.0f} % of what soft targets "
        f"gain, first answers bring too. Soft targets are better by {soft_gain:.1f} points "
        f"(below zero: worse; {word[soft_gain.excludes()]}). "
        f"With all labels, the student taught gains {all_gain:.1f} points on the student alone "
        f"({word[all_gain.excludes()]})."
    )
)

# %%
claim(
    "02.7",
    "With all labels, a teacher brings this student less than two points, if anything",
    all_gain.high < 2,
    measured={"alone, minus taught (points)": all_gain},
    published="Hinton et al. 2015, all 60,000 MNIST images, 800-800 units: "
    "1.46 % alone, 0.74 % taught at T = 20",
)

# %% [markdown]
# In speech, with only 3 % of the training set, Hinton and his colleagues had more to win: 44.5 % of the frames right with hard labels, 57.0 % with soft targets, 58.9 % with all labels (their table 5). On MNIST they halved the errors; why not here? We can't tell from this page: their student was larger (800 units in each of two layers), and so was their training set. Notebook 04 takes students of several widths.
#
# ## Does it learn the teacher's errors, too?
#
# A teacher's wrong answer is a lesson like any other. But a student alone makes some of these very errors as well: bad handwriting is hard for all. So count both: of the test images that the teacher gets wrong, how often does the student give *the same wrong answer*?

# %%
answers = predict(teacher, test)
teacher_wrong = metrics.wrong(answers, test.y)

# %%
said = {
    "all labels": (alone_all.logits["test"], taught_all.logits["test"]),
    "200 labels": (alone_200, transfer[0]),
}  # student alone, student taught: (seeds, images, classes)

# %% [markdown]
# For each pair: the share of the teacher's errors that is repeated, and the difference with its interval, over seeds and over these errors.

# %%
share = {name: [float(metrics.inherited_errors(out, answers, test.y).mean()) for out in pair]
    for name, pair in said.items()}  # fmt: skip
same = {name: [100 * (out.argmax(-1) == answers.argmax(-1))[:, teacher_wrong].double()
    for out in pair] for name, pair in said.items()}  # fmt: skip
more = {name: metrics.interval(taught - alone) for name, (alone, taught) in same.items()}
base = {name: metrics.interval(alone) for name, (alone, _) in same.items()}

# %% tags=["nbval-ignore-output"]
rows = []
for name, (alone, taught) in share.items():
    percent = [f"{100 * alone:.0f} %", f"{100 * taught:.0f} %", f"{more[name]:.0f} points"]
    rows.append([name, *percent, word[more[name].excludes()].split(" by")[0]])
head = [f"of {int(teacher_wrong.sum())} errors, repeated", "alone", "taught", "difference", ""]
as_table(head, rows)

# %% [markdown]
# "The student repeats so many of its teacher's errors" sounds like inheritance. But much of it is the base rate; only the difference is inherited. Does this test set see one?

# %% tags=["nbval-ignore-output"]
seen = [name for name, found in more.items() if found.excludes()]
widest = max(found.high - found.low for found in more.values())
print(f"resolved: {', '.join(seen) or 'neither'}; {int(teacher_wrong.sum())} errors leave an "
      f"interval up to {widest:.0f} points wide")  # fmt: skip

# %%
claim(
    "02.8",
    "With all labels, a student alone repeats over a twentieth of a teacher's errors, without ever "
    "having met the teacher",
    base["all labels"].low > 5,
    measured={
        **{f"{name}, alone repeats %": base[name] for name in share},
        **{f"{name}, taught repeats %": 100 * taught for name, (_, taught) in share.items()},
        **{f"{name}, difference in points": more[name] for name in share},
    },
    decimals=0,
)

# %% [markdown]
# ## Numbers can be taught as well
#
# Not every answer is a class. Turn each digit by an angle between −45° and 45°, and ask for the digit *and* the angle. The network gets 12 outputs: ten logits, and $(\cos, \sin)$ of the angle. The teacher's two numbers are targets as they are: they have no softmax, so they need no $T$. (For the logits $T = 2$ here.)
#
# $$\mathcal L = T^2 \cdot \mathrm{KL}(p_T \,\|\, q_T) + \texttt{lam} \cdot \tfrac12 \lVert (\cos, \sin)_s - (\cos, \sin)_t \rVert^2$$


# %%
def turned(examples, seed):
    """Images (N, 1, 14, 14), turned; directions (N, 2) = (cos, sin)."""
    generator = torch.Generator().manual_seed(seed)
    angle = (torch.rand(len(examples), generator=generator) - 0.5) * torch.pi / 2
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(examples))
    turn = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)  # (N, 6) -> (N, 2, 3)
    grid = F.affine_grid(turn, [len(examples), 1, 14, 14], align_corners=False)
    return F.grid_sample(examples.batch().x, grid, align_corners=False), torch.stack([cos, sin], 1)


# %%
x, direction = turned(train, seed)
x_test, direction_test = turned(test, seed + 1)
show(
    digits(x[:10]),
    "Ten turned digits",
    "Training images of 14 × 14 pixels, each turned by its own angle.",
)

# %% [markdown]
# The loop, once more by hand:


# %%
def fit_mixed(network, loss, images, steps, seed=seed):
    """The loop by hand: loss(outputs (128, 12), indices (128,)) on random batches of x."""
    initialise(network, seed).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps + 1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        i = images[torch.randint(len(images), (128,), generator=generator)]
        optimizer.zero_grad()
        loss(network(x[i]), i).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


# %% [markdown]
# The truth teaches the teacher (all images) and the student alone (the few labelled images of the first draw). The teacher teaches the student taught, class and angle together, on all images and without a single label.

# %%
lam = 10.0  # at the start the two terms are of about the same size


def apart(out, aim):
    """Half the squared distance of directions (batch, 2), averaged over the batch: one number."""
    return F.mse_loss(out, aim)  # a mean over both numbers, so half of their sum


def from_truth(out, i):
    return F.cross_entropy(out[:, :10], train.y[i]) + lam * apart(out[:, 10:], direction[i])


# %%
def from_teacher(out, i):
    soft = soft_targets(out[:, :10], told[i, :10], T=2.0)
    return soft + lam * apart(out[:, 10:], told[i, 10:])


# %% [markdown]
# The teacher first, then five students of each kind, with equally many steps.

# %%
everything, steps = torch.arange(len(train)), 200 if full else 10
mixed_teacher = fit_mixed(cnn(16, 12), from_truth, everything, steps)
told = predict(mixed_teacher, x)  # (N, 12)

# %%
some = torch.isin(train.ids, few(draws[0]).ids).nonzero()[:, 0]
pupils = {"alone": (from_truth, some), "taught": (from_teacher, everything)}
outputs = {name: torch.stack([predict(fit_mixed(mlp(196, width, 12), *how, steps, s), x_test)
    for s in range(seed, seed + (5 if full else 2))]) for name, how in pupils.items()}  # fmt: skip


# %% [markdown]
# Two scores: wrong classes, and how far the angle is off.


# %%
def missed_and_off(out):
    """Wrong classes (…, N), and how far off the angle is in degrees (…, N)."""
    apart = torch.atan2(out[..., 11], out[..., 10]) - torch.atan2(*direction_test.T.flip(0))
    return metrics.wrong(out[..., :10], test.y).double(), apart.rad2deg().abs().double()


# %%
scores = {name: missed_and_off(out) for name, out in outputs.items()}
gains = [metrics.interval(a - b) for a, b in zip(scores["alone"], scores["taught"], strict=True)]

# %% [markdown]
# How did they do? With 95 % intervals over seeds and test images:

# %% tags=["nbval-ignore-output"]
everybody = {"teacher": missed_and_off(predict(mixed_teacher, x_test)), **scores}
rows = [
    [name, f"{metrics.interval(100 * error):.1f}", f"{metrics.interval(off):.1f}"]
    for name, (error, off) in everybody.items()
]
as_table(["", "error %", "angle off by, degrees"], rows)

# %% [markdown]
# The student taught saw no label at all, only the teacher's twelve numbers for each image.

# %%
missed_alone, missed_taught = (scores[name][0] for name in ("alone", "taught"))
claim(
    "02.9",
    "Class and angle are learned together from a teacher, without a label: both errors fall",
    gains[0].low > 0 and gains[1].low > 0,
    measured={
        "wrong classes saved, points": metrics.interval(100 * (missed_alone - missed_taught)),
        "degrees saved": gains[1],
    },
)

# %% [markdown]
# ## What can go wrong
#
# Three mistakes that real projects have shipped. Each looks harmless, and each has a *fingerprint*: what the loss and its gradient are where student and teacher agree (both must be 0), and how long the gradient is elsewhere.


# %%
def no_square(z_s, z_t, T):
    return soft_targets(z_s, z_t, T) / T**2


def mean_over_all(z_s, z_t, T):  # what F.kl_div(..., reduction="mean") does
    kl = F.kl_div((z_s / T).log_softmax(1), (z_t / T).softmax(1), reduction="none")
    return T**2 * kl.mean()


# %%
def no_logarithm(z_s, z_t, T):
    kl = F.kl_div((z_s / T).softmax(1), (z_t / T).softmax(1), reduction="batchmean")
    return T**2 * kl


# %% [markdown]
# The loss where both agree; its gradient's length there; and its length where they don't agree, in multiples of the right one:


# %%
def fingerprint(loss):
    slope, rest = (torch.func.grad(loss)(z, z_t, T).norm() for z in (z_s.detach(), z_t))
    length, left = (float(norm / by_autograd.norm()) for norm in (slope, rest))
    return float(loss(z_t, z_t, T)) + 0.0, left, length


# %%
suspects = {
    "right": soft_targets,
    "T² missing": no_square,
    'reduction="mean"': mean_over_all,
    "probabilities for log-probabilities": no_logarithm,
}
prints = {name: fingerprint(loss) for name, loss in suspects.items()}

# %% [markdown]
# Compare each row with the first one:

# %% tags=["nbval-ignore-output"]
rows = [
    [name, f"{agreed:.2f}", f"{left:.4f} ×", f"{length:.4f} ×"]
    for name, (agreed, left, length) in prints.items()
]
as_table(["the loss", "value where both agree", "gradient there", "gradient elsewhere"], rows)

# %% [markdown]
# The first two mistakes have the right direction, but are T² (or C) times too small. No error message, no strange curve: only `alpha` no longer means what it says. The third is not zero where student and teacher agree, it is even negative, and its gradient does not vanish there: training would go on, away from the teacher.
#
# **A check for your own code:** feed the teacher's logits as the student's. The loss must be 0, and so must its gradient.

# %% tags=["nbval-ignore-output"]
whisper = alpha / T**2
left = whisper / (whisper + 1 - alpha) if alpha > 0 else 0.0
display(
    Markdown(
        f"What does the whisper cost? At T = {T:g} the mistake turns alpha = {alpha:g} into "
        f"alpha = **{left:.2f}**: the labels have nearly all the say."
    )
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
# ## Exercises
#
# ### 5 minutes: the gradient
#
# Write the gradient of `soft_targets` with respect to the student's logits, without autograd.
#
# <details><summary>Hint 1</summary>Two softened answers, one difference.</details>
# <details><summary>Hint 2</summary>The loss has $T^2$ in front, the chain rule gives $1/T$, and the mean over the batch one more factor.</details>


# %% tags=["exercise"]
def gradient(z_s, z_t, T):
    """Logits (batch, classes) -> gradient (batch, classes)."""
    # SOLUTION
    q, p = (z_s / T).softmax(1), (z_t / T).softmax(1)
    return T * (q - p) / len(z_s)
    # END


exercises.gradient(gradient)

# %% [markdown]
# ### 15 minutes: a teacher who knows nothing
#
# Label smoothing can be seen as distillation from an ignorant teacher: one who gives `1 - smoothing` to the label and shares the rest evenly among all classes. Write this teacher: logits whose softmax is the smoothed label. Then no similarity can come from smoothing, because this teacher has none to give.
#
# <details><summary>Hint 1</summary>Write down the probabilities first. Which function does softmax undo?</details>
# <details><summary>Hint 2</summary><code>F.one_hot(y, classes)</code> gives 1 to the label; multiply, add, take the logarithm.</details>


# %% tags=["exercise"]
def ignorant_teacher(y, classes, smoothing):
    """Labels (batch,) -> logits (batch, classes)."""
    # SOLUTION
    one_hot = F.one_hot(y, classes).float()
    return ((1 - smoothing) * one_hot + smoothing / classes).log()
    # END


exercises.ignorant_teacher(ignorant_teacher)

# %% [markdown]
# ### Debugging: three mistakes in one line
#
# This loss trains without an error message. Feed it the teacher's logits twice, look at its size at two temperatures and for two numbers of classes, and mend it.
#
# ```python
# def loss(z_s, z_t, T):
#     return F.kl_div((z_s / T).softmax(1), (z_t / T).softmax(1), reduction="none").mean()
# ```
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


exercises.mended_loss(mended)

# %% [markdown]
# ## In three lines
#
# 1. A teacher knows which wrong answers are nearly right. Temperature makes that visible; $T^2$ keeps its pull about equally strong from T = 2 on.
# 2. *False* similarity harms: shuffled for each image, it makes a student worse than alone, and without that noise still worse than with the true one. What true similarity adds on the same few images is small, if anything, and needs a control of its own: one that puts something false in does not show what taking the true thing away costs.
# 3. A teacher turns images without labels into lessons. Much of that is its first answers. Whether its errors come along, so few errors cannot tell.
#
# ## Recall
#
# <details><summary>What is the gradient of T² · KL(p_T || q_T) with respect to the student's logits?</summary>
#
# $T\,(q_T - p_T)$, divided by the number of images: student minus teacher.
# </details>
#
# <details><summary>You double T and forget T². What happens to the teacher's share of the gradient?</summary>
#
# At high T it falls to about a quarter, as if alpha had been turned down.
# </details>
#
# <details><summary>Wrong classes permuted within each image make a student worse than alone. Why does that not show that true similarity helps?</summary>
#
# Permuting puts a false similarity in, and noise. To take similarity away and nothing else, keep the confidence and spread the doubt evenly.
# </details>
#
# <details><summary>What does label smoothing lack?</summary>
#
# It has doubt without similarity, and the same doubt about every image: its teacher knows nothing.
# </details>
#
# <details><summary>A student repeats a third of the teacher's errors. Did it inherit them?</summary>
#
# Only what goes beyond the base rate: the share that a student alone repeats as well.
# </details>
#
# ## Reading
#
# - Hinton, Vinyals & Dean (2015), *Distilling the Knowledge in a Neural Network*: nine pages; sections 2 and 3 are this page, table 5 is "few labels".
# - Yuan et al. (2020), *Revisiting Knowledge Distillation via Label Smoothing Regularization*: the other side, that much of the gain is mere softness. Compare with our table.
# - Müller, Kornblith & Hinton (2019), *When Does Label Smoothing Help?*: why a smoothed teacher has less dark knowledge to give.
# - Stanton et al. (2021), *Does Knowledge Distillation Really Work?*: how rarely a student truly says what its teacher says.
#
# Next: [](lesson03)
