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
# # How to move without labels?
#
# **In one line:** new BatchNorm statistics, and answers that are *confident and diverse*, remove nearly all of the target error without one label; but diversity assumes even classes, and where that is wrong the best methods become the worst.
#
# *{minutes} minutes to read, exercises apart · about 25 CPU seconds to run · needs: [](lesson01) · more in the [lab notes](lesson08/notes)*
#
# **First, wake the sliders: Run ▸ Run All Cells.** On Binder's shared processor this may take three times as long.
#
# After this page you can
#
# - adapt a trained network to unlabelled images in three ways, and say what each assumes;
# - recognise a collapse by counting answers, and know which loss invites it;
# - judge an adapted network without target labels, and test a split for a leak.
#
# **Why anyone wants this.** Images are cheap, labels are not. A model meets a new camera or a new hospital; images arrive by the thousand, and nobody has time to label them.
#
# Parameters: `lam` is one more position of the explorer's slider; `seeds` networks from `seed` on are trained here. **Settings were found on seeds 0 and 1 with labels in view; seeds from 10 on had no part in it.**

# %% tags=["parameters"]
lam: float = 0.5  # 0..10
seeds: int = 3  # 2..10
seed: int = 10  # 0..1000
budget: str = "full"  # full | small

# %%
import copy

import torch

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.figures import show_table
from kdcourse.ground import domains
from kdcourse.lessons.lesson08 import exercises, stored, table
from kdcourse.lessons.lesson08.clouds import Clouds, in_one_plane
from kdcourse.parameters import check_parameters
from kdlib import data, losses, metrics, models
from kdlib.adaptation import MMD, InformationMaximization, adabn, freeze
from kdlib.objectives import HardLabels
from kdlib.training import fit

check_parameters()

# %% [markdown]
# ## The task
#
# That of [06](lesson06): the **source** is MNIST, cropped to its inner pixels; the **target** is scikit-learn's digits, in file order, which follows its writers. We adapt on the first 1,097 images, *without labels*, and score on the last 500, by other writers. Labels are sealed: an envelope counts its openings.

# %%
runs = 2 if budget == "small" else seeds
here = domains.domains("A")
images, sealed = here.target.seal()
unseen, labels = here.target_test.seal()
networks = [domains.source_network(here.source, seed=seed + k) for k in range(runs)]

# %% [markdown]
# ## A prediction first
#
# These networks read the source nearly without error, and half of the target. You get the target's images, no labels, a second of computing.

# %%
guess = checks.Prediction(
    "How much of its error on the target can be removed without any label?",
    ["next to nothing", "about half", "about three quarters", "more than nine tenths"],
)
guess

# %% [markdown]
# ## First way: new statistics (AdaBN)
#
# **In words.** BatchNorm subtracts a mean and divides by a deviation that it remembers *from the source*. On thicker digits every channel is off. So let it remember the target's (Li et al. 2017): no weight moves, no loss, no label. It assumes that domains differ by shift and scale of each channel.
#
# **In a formula.** $\hat h = \gamma\,(h - \mu)/\sqrt{\sigma^2 + \epsilon} + \beta$ for each channel, with $\mu, \sigma^2$ over the *target's* images and pixels. By hand, for the first layer:

# %%
renewed = [adabn(copy.deepcopy(network), images) for network in networks]
first = adabn(copy.deepcopy(networks[0]), images, size=len(images))
x = first.normalise(images.batch().x)
h = first.stage1[:2](x)  # convolved, pooled: (N, 1, 16, 16) -> (N, 16, 8, 8)
mean, variance = h.mean((0, 2, 3)), h.var((0, 2, 3))
torch.testing.assert_close(first.stage1[2].running_mean, mean, rtol=1e-2, atol=1e-3)
torch.testing.assert_close(first.stage1[2].running_var, variance, rtol=1e-2, atol=1e-3)

# %% [markdown]
# ## Second way: confident and diverse
#
# **In words.** A good classifier is *confident* of each image: its answer has little entropy. **Tent** (Wang et al. 2021) minimises the entropy by BatchNorm's statistics and its own weights $\gamma, \beta$; we also let all weights but the head move ("entropy"). But confidence has a lazy solution, *always say 3*. So **SHOT-IM** (Liang, Hu & Feng 2020) asks for a second thing: over all images together, use every class. It freezes the head, so that classes keep their meaning.
#
# **In a formula.** With $p_i = \mathrm{softmax}(z_i)$ and $\bar p$ the mean answer,
#
# $$\mathcal L_{\mathrm{IM}} = \underbrace{\tfrac1N \textstyle\sum_i H(p_i)}_{\text{entropy}} - \lambda\, \underbrace{H(\bar p)}_{\text{diversity}}, \qquad H(p) = -\textstyle\sum_c p_c \log p_c, \qquad \lambda = 1.$$
#
# **Why entropy alone is dangerous, in four lines:**
#
# $$\begin{aligned} \partial p_j / \partial z_c &= p_j\,([j = c] - p_c) \\ \partial H / \partial z_c &= -\textstyle\sum_j p_j\,([j = c] - p_c)(\log p_j + 1) \\ &= -p_c \log p_c + p_c \textstyle\sum_j p_j \log p_j \\ &= -p_c\,(\log p_c + H). \end{aligned}$$
#
# Descent raises a logit where $\log p_c > -H$: what is likely becomes likelier, right or wrong, until a class may have no image left; then nothing pulls an image back. Diversity pulls towards classes that are answered too rarely. It assumes that classes come **equally often**.

# %%
z = models.predict(renewed[0], images).double().requires_grad_()
p, log_p = z.softmax(-1), z.log_softmax(-1)
H = -(p * log_p).sum(-1)
by_hand = H.mean() + (p.mean(0) * p.mean(0).log()).sum()
torch.testing.assert_close(by_hand, losses.information_maximization(z))
(slope,) = torch.autograd.grad(H.sum(), z, retain_graph=True)
torch.testing.assert_close(slope, -p * (log_p + H[:, None]))


# %% [markdown]
# Training is the loop of page 01; only the loss is new:


# %%
def adapted(network, seen, order_seed, diversity=1.0):
    moved = freeze(adabn(copy.deepcopy(network), seen), "head")
    how = dict(epochs=4, batch=128, lr=1e-2, augment=data.jitter(1), precision="fp32")
    fit(moved, seen, InformationMaximization(diversity), order_seed=order_seed, **how)
    return adabn(moved, seen)


ways = {"source only": networks, "AdaBN": renewed}
for name, diversity in (("entropy", 0.0), ("SHOT-IM", 1.0)):
    ways[name] = [adapted(net, images, seed + k, diversity) for k, net in enumerate(networks)]

# %% [markdown]
# To score is to open the envelope. What did you predict?

# %% tags=["nbval-ignore-output"]
y = labels.open("to score the four ways")
wrong = {
    name: torch.stack([metrics.wrong(models.predict(net, unseen), y) for net in nets])
    for name, nets in ways.items()
}
left = {name: 100 * float(missed.double().mean()) for name, missed in wrong.items()}
show_table(["", "target error %"], [[name, f"{error:.1f}"] for name, error in left.items()])
removed = 1 - left["SHOT-IM"] / left["source only"]
guess.recall(guess.options[sum(removed > bound for bound in (0.3, 0.62, 0.9))])

# %% [markdown]
# ## Collapse: count the answers
#
# The error of *entropy* looks respectable, too. Count how often each network gives its rarest answer; no label is needed. (Stored networks of this very recipe: ten in fold A, five in B.)

# %% tags=["nbval-ignore-output"]
picture, panels = figures.figure(height=2.7, panels=2, sharey=True)
roles = {"AdaBN": "extra", "Tent": "teacher", "entropy": "alone", "SHOT-IM": "taught"}
for axis, fold in zip(panels, ("A", "B"), strict=True):
    for place, (name, role) in enumerate(roles.items()):
        rarest = stored.counts("way", name, fold).amin(1)
        spread = torch.linspace(-0.25, 0.25, len(rarest))
        axis.plot(place + spread, rarest, figures.MARKERS[role], color=figures.COLOURS[role])
    axis.axhline(len(images) / 10, color="#666666", linestyle=":", linewidth=1)
    axis.set(title=f"fold {fold}", xticks=range(4), xlim=(-0.5, 3.5), ylim=(-4, None))
    axis.set_xticklabels(list(roles))
panels[0].set_ylabel("answers to the rarest class")
figures.show(
    picture,
    "Entropy alone lets a class disappear in some networks; diversity never does",
    "Each mark is a network: how many of the images are answered with its rarest class. Dotted: an even share.",
)

# %%
lost, never = (stored.counts("way", name).amin(1) for name in ("entropy", "SHOT-IM"))
gone, least = int((lost < 11).sum()), int(never.min())
text = "With entropy alone some networks lose a class (less than a tenth of its even share); with diversity none does"
measured = {"of ten networks, those that lose one, entropy": gone, "rarest class, SHOT-IM": least}
claim("08.1", text, gone >= 2 and least > 50, measured=measured)

# %% [markdown]
# ## Third way: teach yourself
#
# **Self-training** is distillation with the network as its own teacher. Answer all images; keep the confident answers as labels (pseudo-labels, Lee 2013); train on them from AdaBN's network again; repeat, three rounds. *Self-training* keeps answers of $p \ge 0.9$. *Balanced* keeps for each class the most confident 40, 70, then 100 % of an even share (Zou et al. 2018): diversity by counting, and the same assumption.
#
# **With the source beside.** Others train on both: cross-entropy on the source plus a term that makes the two clouds of features alike, a distance (**MMD**, [06](lesson06)) or an adversary (**DANN**, Ganin et al. 2016: a discriminator guesses the domain, the encoder learns to mislead it). They assume that where *clouds* meet *classes* meet. Their control is *source, longer*: as much training on the source only, then AdaBN.
#
# *Oracle* is trained on the target's labels.

# %%
everywhere = domains.ways("08")
both_pages = {name: way for name, way in everywhere.items() if way.page in ("06", "08")}
show_table(*domains.table(both_pages, new="08"))

# %% [markdown]
# Statistics remove most of the error, confidence alone adds little, and *diverse* answers, by loss or by counting, come close to the oracle. Methods that never see the source again forget it. (CORAL, MCC, mean teacher: lab notes.)

# %%
missed = {name: way.wrong for name, way in everywhere.items()}
by_statistics = metrics.difference(missed["source only"]["A"], missed["AdaBN"]["A"])
by_answers = {
    fold: metrics.difference(missed["AdaBN"][fold], missed["SHOT-IM"][fold]) for fold in "AB"
}
text = "AdaBN saves more than twenty points, SHOT-IM more than five points more in both folds"
holds = by_statistics.low > 20 and min(gain.low for gain in by_answers.values()) > 5
measured = {"AdaBN against source only": by_statistics}
measured |= {f"SHOT-IM against AdaBN, fold {fold}": gain for fold, gain in by_answers.items()}
claim("08.2", text, holds, measured=measured)

pairs = {"SHOT-IM": "entropy", "self-training, balanced": "self-training"}
gains = {
    f"{name} against {plain}, fold {fold}": metrics.difference(
        missed[plain][fold], missed[name][fold]
    )
    for name, plain in pairs.items()
    for fold in "AB"
}
text = "On even classes diversity saves points, in a loss and in self-training alike, in both folds"
claim("08.3", text, all(gain.low > 1 for gain in gains.values()), measured=gains)

# %% [markdown]
# An adversary needs a strength. DANN's row has 0.3; ten seeds each:

# %%
strengths = {s: stored.answers("more", f"DANN, strength {s}") for s in ("1", "3")}
errors = {"0.3": 100 * missed["DANN"]["A"].double().mean(1)}
errors |= {s: 100 * each.double().mean(1) for s, each in strengths.items()}
rows = [[s, f"{e.mean():.1f}", f"{e.min():.1f}", f"{e.max():.1f}"] for s, e in errors.items()]
show_table(["DANN's strength", "target error %", "best seed", "worst seed"], rows)

# %% [markdown]
# ## When classes are not even
#
# Now thin the classes 0 to 4 of the images adapted on to a tenth, as a new hospital may see few of some cases, and score with the same shares: an error on a rare class counts a tenth. This is **label shift**.

# %%
weight = torch.where(here.target_test.y >= 5, 1.0, 0.1)


def weighed(kind, name):
    """Error % of each network where 0 to 4 are rare, (seeds, images)."""
    return 100 * stored.answers(kind, name).double() * weight / weight.mean()


# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=3.2)
roles = {"AdaBN": "extra", "entropy": "alone", "SHOT-IM": "taught"}
roles |= {"self-training, balanced": "label", "MMD": "teacher"}
for name, role in roles.items():
    sides = torch.stack([weighed(kind, name).mean(1) for kind in ("way", "thinned")])
    figures.lines_with_dots(axis, [0, 1], sides, role, name)
axis.set(xlim=(-0.1, 1.6), ylim=(0, None), xticks=[0, 1], ylabel="target error %, same shares")
axis.set_xticklabels(["adapted on even classes", "on 0 to 4 thinned to a tenth"])
figures.show(
    picture,
    "Where classes are uneven, the best methods become the worst",
    "The same methods adapted on even and on thinned classes; both scored with the thinned shares. Dots: seeds.",
)

# %% [markdown]
# The winners press answers into classes that hardly come. *Entropy* assumes nothing about shares. Is it only that fewer images are left? As few, but even:

# %%
harm = metrics.interval(weighed("thinned", "SHOT-IM") - weighed("thinned", "AdaBN"))
balanced = metrics.interval(
    weighed("thinned", "self-training, balanced") - weighed("thinned", "AdaBN")
)
few = metrics.interval(weighed("fewer", "SHOT-IM"))
text = "Adapted on uneven classes SHOT-IM and balanced self-training cost points against AdaBN; as few images with even classes do SHOT-IM no such harm"
measured = {"SHOT-IM costs": harm, "balanced costs": balanced, "SHOT-IM, as few, error %": few}
claim("08.4", text, harm.low > 3 and balanced.low > 3 and few.high < 10, measured=measured)

# %% [markdown]
# One network: slide `lam`, the weight, and change `term`.

# %%
lams = sorted({0.0, 1.0, lam} if budget == "small" else {0.0, 0.3, 1.0, 3.0, lam})
uneven = table.thinned(here.target, seed)
seen_by = {"diversity, even": here.target, "diversity, uneven": uneven, "MMD": here.target}


def moved_by(term, value):
    seen = seen_by[term].unlabelled()
    if term == "MMD":
        both = HardLabels() + value * MMD("embedding")
        return table.jointly(networks[0], here, seen, seed, objective=both)
    return adapted(networks[0], seen, seed, value)


moved = {term: [moved_by(term, value) for value in lams] for term in seen_by}


# %%
def error_of(network, term):
    shares = weight if "uneven" in term else torch.ones(len(unseen))
    return 100 * float(
        (metrics.wrong(models.predict(network, unseen), y) * shares).mean() / shares.mean()
    )


def answered(network, term):
    return models.predict(network, seen_by[term]).argmax(-1).bincount(minlength=10).numpy()


Clouds(
    lams,
    *in_one_plane(moved, here.source_test[:200], unseen[:200], first=renewed[0]),
    {t: [answered(net, t) for net in nets] for t, nets in moved.items()},
    {t: [error_of(net, t) for net in nets] for t, nets in moved.items()},
    n_test=len(unseen),
    shares={t: part.y.bincount(minlength=10).numpy() for t, part in seen_by.items()},
    losses=dict.fromkeys(seen_by, "entropy − {lam} · diversity")
    | {"MMD": "CE(source) + {lam} · MMD²"},
    start={"lam": 1.0, "term": "diversity, uneven"},
)

# %% [markdown]
# With uneven classes a smaller weight is better. And with MMD, **clouds that coincide are not yet classes that coincide**.
#
# ## Validators: judging without labels
#
# Who has no target labels can choose neither method nor λ by the error. A *validator* scores a network by its answers $p_i$ to unlabelled images, higher meant to be better:
#
# $$\text{negative entropy} = -\tfrac1N \textstyle\sum_i H(p_i), \qquad \text{IM score} = H(\bar p) - \tfrac1N \textstyle\sum_i H(p_i).$$
#
# All stored networks but the oracle's, fold A: rank correlation of score and accuracy, and the error of the network that the validator would choose. (Without interval: networks of one method are not independent.)

# %%
kinds = {"even": ("way", [*table.WAYS][:-1]), "uneven": ("thinned", [*table.THINNED])}


def errors_of(name, way):
    same_shares = 100 * missed[way]["A"].double()
    return (weighed("thinned", way) if name == "uneven" else same_shares).mean(1).tolist()


def judged(name, validator):
    kind, chosen = kinds[name]
    truth = [error for way in chosen for error in errors_of(name, way)]
    scores = [score for way in chosen for score in stored.scores(kind, way, validator)]
    rank = metrics.rank_correlation(scores, [-error for error in truth]).mean
    return rank, truth[scores.index(max(scores))], min(truth)


verdicts = {(n, v): judged(n, v) for n in kinds for v in ("negative entropy", "IM score")}
rows = [
    [n, v, f"{rank:.2f}", f"{choice:.1f}", f"{best:.1f}"]
    for (n, v), (rank, choice, best) in verdicts.items()
]
show_table(["classes", "validator", "rank correlation", "error % of its choice", "best"], rows)

# %% [markdown]
# The IM score shares SHOT-IM's assumption, and is fooled together with it; the entropy chooses badly, too. Read the counts as well; if you know the true shares, compare.

# %%
even, uneven_rank = (verdicts[name, "IM score"][0] for name in ("even", "uneven"))
text = "The IM score ranks networks as accuracy does where classes are even, and misleads under label shift"
measured = {"rank correlation, even": even, "uneven": uneven_rank}
measured |= {"error % of its choice, uneven": verdicts["uneven", "IM score"][1]}
claim("08.5", text, even > 0.6 and uneven_rank < 0.4, measured=measured, decimals=2)

# %% [markdown]
# ## What can go wrong
#
# **A look at the labels.** Our settings were found with labels in view, on other seeds. But training itself sees none. Shuffle the labels before they are sealed, train again:

# %%
order = torch.randperm(len(here.target), generator=torch.Generator().manual_seed(0))
hidden, _ = here.target.labelled_as(here.target.y[order]).seal()
again = adapted(networks[0], hidden, seed)
same = models.fingerprint(again) == models.fingerprint(ways["SHOT-IM"][0])

# %%
text = "With the sealed labels shuffled, SHOT-IM gives the same network, bit for bit"
opened = {"times that the labels of the images adapted on were opened": len(sealed.opened)}
claim("08.6", text, same and not sealed.opened, measured=opened)

# %% [markdown]
# **The same writers on both sides.** Exercise 2. **Other classes.** A letter among the digits will be called a digit, with confidence. **A forgotten source.** If you need both, keep the source in the training, or [07](lesson07)'s old network as teacher.
#
# ## Exercises
#
# **1 (5 minutes; collapse).** Write `vanished(logits)`: the numbers of all classes that are answered for fewer than a tenth of their even share of the images. The alarm bell of this page.
#
# <details><summary>Hint 1</summary><code>logits.argmax(-1)</code> gives the answers, <code>torch.bincount</code> their counts.</details>
# <details><summary>Hint 2</summary>A class that never comes has no entry in <code>bincount</code> unless you give <code>minlength</code>. The even share is images / classes.</details>


# %% tags=["exercise"]
def vanished(logits):
    # SOLUTION
    classes = logits.shape[-1]
    counts = torch.bincount(logits.argmax(-1), minlength=classes)
    return (counts < 0.1 * len(logits) / classes).nonzero()[:, 0].tolist()
    # END


exercises.vanished(vanished)

# %% [markdown]
# **2 (15 minutes; leak or no leak?).** Rows `x` (N, d) with labels `y` stand in the order in which writers filled a file. Write `leak(x, y, size, seed)`: the error in percent of the *nearest neighbour* (each test row takes the label of the nearest other row) for two splits, as a pair: test rows drawn **at random**, and the **last** `size` rows. If a random split is much easier, the same writers are on both sides. Then try it on `load_digits()` from scikit-learn, `size = 500`.
#
# <details><summary>Hint 1</summary><code>torch.cdist(test, train).argmin(1)</code> gives the nearest training row of each test row.</details>
# <details><summary>Hint 2</summary>One inner function for a given order of rows; call it with <code>torch.randperm(len(x), generator=…)</code> and with <code>torch.arange(len(x))</code>.</details>


# %% tags=["exercise"]
def leak(x, y, size, seed):
    # SOLUTION
    def error(order):
        train, test = order[:-size], order[-size:]
        nearest = torch.cdist(x[test], x[train]).argmin(1)
        return 100 * float((y[train][nearest] != y[test]).double().mean())

    generator = torch.Generator().manual_seed(seed)
    return error(torch.randperm(len(x), generator=generator)), error(torch.arange(len(x)))
    # END


exercises.leak(leak)

# %% [markdown]
# **3 (debugging; adapt).** A *mean teacher* (Tarvainen & Valpola 2017) is self-training with a slow teacher: after each step it moves towards the student, $\theta_t \leftarrow d\,\theta_t + (1 - d)\,\theta$. This one was copied from a blog. It runs, and teaches nonsense. Mend it (two faults).
#
# ```python
# def follow(teacher, student, decay):
#     for mine, now in zip(teacher.parameters(), student.parameters()):
#         mine.data = (1 - decay) * mine + decay * now
# ```
#
# <details><summary>Hint 1</summary>At decay 0.99, who should hardly move?</details>
# <details><summary>Hint 2</summary>Where does BatchNorm keep its running mean: in <code>parameters()</code>?</details>


# %% tags=["exercise"]
def follow(teacher, student, decay):
    # SOLUTION
    with torch.no_grad():
        for mine, now in zip(teacher.parameters(), student.parameters(), strict=True):
            mine.copy_(decay * mine + (1 - decay) * now)
        for mine, now in zip(teacher.buffers(), student.buffers(), strict=True):
            mine.copy_(now)
    # END


exercises.follow(follow)

# %% [markdown]
# ## In three lines
#
# Give BatchNorm the target's statistics, then make answers confident *and* diverse. Count the answers: a class that disappears has collapsed, one that grows from nothing hints at label shift. Seal the labels, split by writer, and trust a validator only as far as its assumption.
#
# ## Recall
#
# <details><summary>What does AdaBN change, and what does it leave alone?</summary>BatchNorm's running means and variances; no weight.</details>
# <details><summary>Why does SHOT freeze the head?</summary>So that classes keep their meaning: features must move to the head, not the head to the features.</details>
# <details><summary>Why does entropy alone collapse?</summary>Its gradient makes likely answers likelier, whichever they are; a class without images gets none back.</details>
# <details><summary>Your target has 90 % sevens. Which methods do you leave alone?</summary>Those that assume even classes or equal clouds: SHOT-IM, balanced self-training, MMD, DANN.</details>
# <details><summary>Two clouds of features coincide. Why may the error stay?</summary>The classes may be crossed: a 4 where the 9s are.</details>
#
# ## Reading
#
# - Li et al. (2017), *Revisiting Batch Normalization for Practical Domain Adaptation*: AdaBN.
# - Wang et al. (2021), *Tent: Fully Test-Time Adaptation by Entropy Minimization*.
# - Liang, Hu & Feng (2020), *Do We Really Need to Access the Source Data?* (SHOT), section 3.2.
# - Zou et al. (2018), *Unsupervised Domain Adaptation for Semantic Segmentation via Class-Balanced Self-Training*.
# - Ganin et al. (2016), *Domain-Adversarial Training of Neural Networks*.
# - Musgrave, Belongie & Lim (2021), *Unsupervised Domain Adaptation: A Reality Check*: fair tuning.
#
# Next: [](lesson09)
