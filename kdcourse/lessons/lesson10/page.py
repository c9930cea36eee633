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
# # Can the gap be too wide?
#
# **In one line:** it can; but before a chain of helpers gets the credit, try its images, its steps and its temperature without the chain. When you merge several teachers, decide whether to soften before or after the mean.
#
# *{minutes} minutes to read, exercises apart · about 25 CPU seconds to run · needs: [](lesson02)*
#
# After this page you can
#
# - merge several teachers' answers, and say which average your loss computes;
# - merge specialists that know different classes;
# - compare a chain of helpers with direct distillation at equal budgets, and say what in it helped.
#
# ## Why anyone wants this
#
# A teacher may be too far from a small student: people put a **helper** between them (a *teacher assistant*, TAKD, Mirzadeh et al. 2020). Or there is no single teacher but an *ensemble*: five hospitals share images, but labels stay at home; or each network knows other classes.

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
seeds: int = 2  # 2..10
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import warnings

import torch

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.ground import mnist
from kdcourse.lessons.lesson10 import exercises, stored, table
from kdcourse.parameters import check_parameters
from kdlib import models
from kdlib.bank import ladder, train_bank
from kdlib.data import load
from kdlib.objectives import HardLabels, SoftTargets, TeacherTable, merge, tabulate

check_parameters()

# %% [markdown]
# The common ground: teacher `cnn(16)`, 8 epochs, one network for all seeds; every other network takes 560 steps of 128 images unless its row says otherwise; a student of 100 hidden units. Whose answers it learns, the teacher's or a helper's, is its **guide**. New is a shortage: **the student has only 200 images, without labels.** The helper may have all 3,500, which may not leave the place where it is trained. So this gap is one of images; the classical one, of size, comes after it.

# %%
small = budget == "small"
train, _, test = load("mnist5k")
train = train[:1000] if small else train
teacher, student = mnist.teacher(train, epochs=1 if small else 8), models.mlp(784, mnist.WIDTH, 10)
images = train.unlabelled()
steps = 20 if small else mnist.STEPS


def few(seed):
    """This seed's own 200 images."""
    return train.per_class(20, seed=seed).unlabelled()


def soft(guide):
    return SoftTargets(guide, T)


warnings.filterwarnings("ignore", message="rung ")  # of a student with more weights than its guide


# %% [markdown]
# ## A prediction first

# %%
options = {"cnn(16), the teacher itself": "direct, 1,120 steps"}
for helper in ("linear", "mlp(100)"):
    options[f"{helper}, taught by the teacher"] = f"{helper}: taught, 3,500 images"
    options[f"{helper}, that never met the teacher"] = f"{helper}: labels only, 3,500"
guess = checks.Prediction("Whose soft targets on 200 images make the best student?", [*options])
guess

# %% [markdown]
# ## One helper
#
# `ladder` trains a chain, seed by seed: each network is taught by the one before it. Three rivals at $T = 4$:
#
# - **Direct, for all the steps of the chain.** The helper's training was not free.
# - **A helper that saw only the student's 200 images.** Then the chain brings no image with it.
# - **A helper that learned from labels alone.** It never met the teacher.
#
# And a fourth: the helper is itself taught at **T = 1**.


# %%
linear, chosen = models.mlp(784, 10), range(seed, seed + seeds)
common = dict(objective=soft, evaluate={"test": test}, seeds=chosen, batch=mnist.BATCH)
all_epochs, few_epochs = mnist.epochs(images, steps), mnist.epochs(few(0), steps)
at_few, longer = (dict(examples=few, epochs=n * few_epochs, **common) for n in (1, 2))
at_all = dict(examples=[images, few], epochs=[all_epochs, few_epochs], **common)
chains = {
    "direct": ladder(teacher, [student], **at_few),
    "direct, 1,120 steps": ladder(teacher, [student], **longer),
    "linear: taught, the same 200": ladder(teacher, [linear, student], **at_few),
    "linear: taught, 3,500 images": ladder(teacher, [linear, student], **at_all),
}

# %% [markdown]
# The two other helpers are banks; each student asks the helper of its seed.

# %%
settings = dict(evaluate={"test": test}, seeds=chosen, batch=mnist.BATCH)


def taught_from(helpers):
    return train_bank(
        lambda seed: soft(helpers.network(seed=seed)),
        student=student, examples=few, epochs=few_epochs, **settings)  # fmt: skip


for kind, aim, seen in (("labels only, 3,500", HardLabels(), train),
                        ("taught at T = 1, 3,500 images", SoftTargets(teacher, 1.0), images)):  # fmt: skip
    helpers = train_bank(aim, student=linear, examples=seen, epochs=all_epochs, **settings)
    chains[f"linear: {kind}"] = [helpers, taught_from(helpers)]
lines = [[way, f"{banks[0].errors().mean():.1f}" if banks[1:] else "",
          f"{banks[-1].errors().mean():.1f}"] for way, banks in chains.items()]  # fmt: skip
figures.show_table(["live", "helper's error %", "student's error %"], lines)

# %% [markdown]
# Stored: each seed has its own 200 images and its own helper. *Disagreement*: the student answers otherwise than its guide. `label-only` has the labels of its 200 images; `direct, all images` takes 560 steps over 3,500.
#
# <details><summary>How to read tables and claims</summary>Brackets: 95 % interval over 5 seeds and 10,000 test images; <em>not resolved</em> means that 0 lies in it. A claim's sentence is the threshold that was tested, its numbers are what was measured; a negative saving is a cost. The sum is only a bound: <code>mlp(100): taught, the same 200</code> has a larger one than <code>direct</code>, and the same error. Live numbers are of few seeds and 1,000 test images, stored ones of 10,000 others: they can lie outside of each other's intervals.</details>

# %%
gap, narrow_rows = stored.rows("gap"), stored.rows("small")
kinds = [f"{name}: {kind}" for name in table.HELPERS for kind in stored.KINDS]
fair = "direct, 1,120 steps"
shown = ["label-only", "direct", fair, *kinds, "direct, all images"]
head = ["stored", *stored.GAP_HEAD, f"against {fair}"]
figures.show_table(head, stored.gap_cells(gap, shown, fair))

# %% [markdown]
# Where the student is wrong, either its guide is wrong too, or the two disagree. So
#
# $$\text{student's error} \;\le\; \text{guide's error} + \text{disagreement}.$$
#
# **A helper pays if it lowers the disagreement by more than it raises the guide's error**: look at the sum. With 200 images an `mlp(100)` learns to predict a linear network's answers on new images, but not a `cnn`'s. Direct distillation with all images beats every helper: **if you may move images, move images.**

# %%
picture = stored.gap_picture()
title = "At T = 4 helpers of labels alone are the better ones, twice; on the right plain labels are best"
sentence = "Stored: dots are five seeds, the bar is their mean, the line its 95 % interval over seeds. On the right the taught helpers stand before those of labels alone."
figures.show(picture, title, sentence)

# %%
guess.recall(min(options, key=lambda name: stored.mean(gap[options[name]])))
figures.show_table(["guide", "student's error %, stored"],
                   [[name, stored.error(gap[way])] for name, way in options.items()])  # fmt: skip

# %%
text = "A linear helper that has seen more images saves over two points against direct distillation for as many steps, though its error is over five times the teacher's"
helped = stored.saved(gap["linear: taught, 3,500 images"], fair)
ratio = stored.mean(gap["linear: taught, 3,500 images"], "helper errors") / stored.mean(
    gap["direct"], "helper errors"
)
measured = {"linear helper saves, points": helped, "its error / the teacher's": ratio}
claim("10.1", text, helped.low > 2 and ratio > 5, measured=measured)

# %%
text = "Of three helpers that have seen the same 200 images none saves one point"
same = {
    f"{name} helper saves, points": stored.saved(gap[f"{name}: taught, the same 200"], fair)
    for name in table.HELPERS
}
claim("10.2", text, all(gain.high < 1 for gain in same.values()), measured=same)

# %%
text = "At T = 4 a helper that learned from the 3,500 labels alone teaches better than the same network taught by the teacher: the gain needs no chain"
alone = {
    f"{name}: labels save against taught, points": stored.saved(
        gap[f"{name}: labels only, 3,500"], f"{name}: taught, 3,500 images"
    )
    for name in ("linear", "mlp(100)")
}
claim("10.3", text, all(gain.low > 1 for gain in alone.values()), measured=alone)

# %% [markdown]
# Why is the taught helper worse? In the live table the linear helper taught at $T = 1$ is level with the one of labels: not the chain did harm, its temperature did (again: [lab notes](lesson10/notes)).
#
# **And the classical gap?** On the right: three hidden units, *all* images, soft targets alone at $T = 4$. There plain labels (no guide) are best, and the teacher does harm. Taught helpers do not help; helpers of labels bring most of it back. A gap of size? Ask the temperature:

# %%
tiny = {
    t: train_bank(SoftTargets(teacher, t), student=models.mlp(784, 3, 10), examples=images,
                  epochs=all_epochs, **{**settings, "seeds": range(3)}).errors()
    for t in (1.0, 4.0)}  # fmt: skip
every_seed = (tiny[4.0] - tiny[1.0]).min()
figures.show_table(["mlp(3), all images, live", "student's error %, three seeds"],
                   [[f"direct, T = {t:g}", ", ".join(f"{e:.1f}" for e in errors)]
                    for t, errors in tiny.items()])  # fmt: skip

# %%
text = "With soft targets alone at T = 4 the teacher harms a student of three hidden units; a taught mlp(100) as helper does not help, a linear helper of labels alone saves over two points"
harm = stored.saved(narrow_rows["3: label-only"], f"3: {fair}")
back = stored.saved(narrow_rows["3: via linear, labels only"], f"3: {fair}")
via = stored.saved(narrow_rows["3: via mlp(100), taught"], f"3: {fair}")
measured = {
    "label-only saves, points": harm,
    "label helper saves": back,
    "taught mlp(100) saves": via,
}
claim("10.4", text, min(harm.low, back.low) > 2 and via.high < 1, measured=measured)

# %%
text = "At T = 1 every one of three seeds saves over three points against T = 4"
claim("10.5", text, every_seed > 3, measured={"least of three seeds, points": float(every_seed)})

# %% [markdown]
# The harm was the softness: at $T = 1$ no gap is left to bridge ([lab notes](lesson10/notes)).
#
# ## Several teachers
#
# The usual loss is a sum of soft terms with weights $w_m$, $\sum_m w_m = 1$. What does it ask for? Per image, with $\bar p = \sum_m w_m p_m$, all softened at $T$:
#
# 1. $\sum_m w_m \mathrm{KL}(p_m \Vert q) = \sum_m w_m \sum_k p_{mk} \log p_{mk} - \sum_m w_m \sum_k p_{mk} \log q_k$
# 2. The last sum is $\sum_k \bar p_k \log q_k$: only the mean meets the student.
# 3. Add and subtract $\sum_k \bar p_k \log \bar p_k$:
# 4. $= \mathrm{KL}(\bar p \Vert q) + \sum_m w_m \mathrm{KL}(p_m \Vert \bar p)$, and the second part has no $q$ in it.
#
# **A sum of losses is one loss: against the mean of the softened probabilities.** The teachers' disagreement is a constant; $T^2$ in front changes nothing. By hand, against the algebra:


# %%
def mean_loss(z_s, z_teachers, w, T):
    log_q = (z_s / T).log_softmax(-1)
    p = (z_teachers / T).softmax(-1)  # (teachers, batch, classes)
    mean = (w[:, None, None] * p).sum(0)
    to_mean = (mean * (mean.log() - log_q)).sum(-1).mean()
    constant = (w[:, None, None] * p * (p / mean).log()).sum(-1).sum(0).mean()
    return T**2 * to_mean, T**2 * constant


# %%
w, noise = torch.tensor([0.5, 0.3, 0.2]), torch.Generator().manual_seed(seed)
probe, batch = models.initialise(models.mlp(784, 10), seed), images[:64].batch()
z_s, z_teachers = probe(batch.x), 3 * torch.randn(3, 64, 10, generator=noise)
first, second, third = (SoftTargets(TeacherTable(batch.ids, z), T) for z in z_teachers)
objective = 0.5 * first + 0.3 * second + 0.2 * third
to_mean, constant = mean_loss(z_s, z_teachers, w, T)
torch.testing.assert_close(objective(probe, batch)[0], to_mean + constant)
whole, part = (torch.autograd.grad(loss, z_s, retain_graph=True)[0]
               for loss in (to_mean + constant, to_mean))  # fmt: skip
torch.testing.assert_close(whole, part)

# %% [markdown]
# The rival average is that of the **logits**. $\operatorname{softmax}(\sum_m w_m z_m)_k \propto \prod_m p_{mk}^{w_m}$: the normalised geometric mean (a *product of experts*). One teacher can veto: of 0.5 and 0.0001 the mean is 0.25, the geometric mean 0.007. For large $T$ both averages agree to first order.
#
# ## Five hospitals
#
# Each trains a network with its own 200 labels. The student has all 3,500 images without labels, the hospitals' 1,000 among them (without them: [lab notes](lesson10/notes)).

# %%
count = 100 if small else 200
parts = train.split(*[count] * 5, seed=seed)
how = dict(student=student, evaluate={"test": test}, batch=mnist.BATCH)
teachers = [
    train_bank(examples=part, seeds=[seed + number], epochs=mnist.epochs(part, steps), **how)
    for number, part in enumerate(parts)
]
tables = [tabulate(bank.network(seed=seed + m), images) for m, bank in enumerate(teachers)]
targets = {"logits, T = 1, 1": (tables[:1], "logits", 1.0)}  # how, T, how many hospitals
targets |= {f"{way}, T = {t:g}, 5": (tables, way, t)
            for way in ("logits", "probabilities") for t in (1.0, T)}  # fmt: skip
objectives = {name: SoftTargets(merge(asked, way), t) for name, (asked, way, t) in targets.items()}
summed = f"sum of losses, T = {T:g}, 5"
objectives[summed] = sum((soft(m) / 5 for m in tables[1:]), soft(tables[0]) / 5)

# %% [markdown]
# A strong rival is a label-only student with all 1,000 labels, **pooled**, if that were allowed. *Probabilities* at $T = 4$: first the mean, then softened; *sum of losses*: first softened, then the mean.

# %% tags=["nbval-ignore-output"]
pool, hospitals = sum(parts[1:], parts[0]), stored.rows("hospitals")
live = {way: train_bank(aim, examples=images, seeds=[seed], epochs=all_epochs, **how)
        for way, aim in objectives.items()}  # fmt: skip
live["pooled, 5"] = train_bank(examples=pool, seeds=[seed], epochs=mnist.epochs(pool, steps), **how)
soft_by = {name: stored.entropy(merge(asked, way).logits[None], t)
           for name, (asked, way, t) in targets.items()}  # fmt: skip
soft_by[summed] = stored.entropy(torch.stack([m.logits for m in tables]), T, soften_first=True)
figures.show_table(
    ["how, T, hospitals", "target's entropy, nats", "live, one seed: error %", "stored, five seeds"],
    [[way, f"{soft_by[way]:.2f}" if way in soft_by else "", f"{float(bank.errors()):.1f}",
      stored.error(hospitals[way]) if way in hospitals else ""]
     for way, bank in live.items()])  # fmt: skip

# %% [markdown]
# At $T = 1$ the mean of logits beats the mean of probabilities. At $T = 4$ it depends on **where the temperature acts**: first softened, then the mean comes near to logits; first the mean, then softened is much worse, with the highest entropy: the mean, soft already, is softened again.

# %%
text = "A student of five teachers of 200 labels each saves over three points against a student of one of them, and costs over half a point against all labels pooled"
five = hospitals["logits, T = 1, 5"]
against = {
    "against a student of one hospital": stored.saved(five, "logits, T = 1, 1"),
    "against labels pooled": stored.saved(five, "pooled, 5"),
}
gain, loss = against.values()
claim(
    "10.6",
    text,
    gain.low > 3 and loss.high < -0.5,
    measured={f"{k}, points saved": v for k, v in against.items()},
)

# %%
text = "At T = 1 averaging logits beats averaging probabilities; at T = 4 softening before averaging beats softening after it by over a point"
first = stored.saved(hospitals["sum of losses, T = 4, 5"], "probabilities, T = 4, 5")
cold = stored.saved(five, "probabilities, T = 1, 5")
measured = {"T = 1: logits save, points": cold, "T = 4: softened first saves": first}
claim("10.7", text, cold.low > 0.4 and first.low > 1, measured=measured)

# %% [markdown]
# ## The explorer
#
# Move the number of teachers (up to ten hospitals), how they are merged (*confidence*: each weighted by its largest probability), and T. Left: the students; label-only has the pooled labels of as many hospitals. Right: the merged teachers. Press *mean, then soften*, then *soften, then mean*: the whole left curve falls.

# %% tags=["nbval-ignore-output"]
explorer = stored.hospitals()
explorer

# %% [markdown]
# ## Specialists
#
# One network learned 0 to 6, another 7 to 9. Their logits have no common scale: training never compared them. And each is confident of its own classes, whatever you show it (printed below). With **one output more, "none of mine"**, trained on the other digits' images, a specialist can say how much a class is better than "not mine":
#
# $$s_c = \log p(c) - \log p(\text{none of mine})$$
#
# Each score is measured from that specialist's *own* "not mine": no common zero, but a score that can be low for all classes. The price: images of the other's classes.
#
# <details><summary>What the scores get wrong</summary>With P(3) = 0.8 and P(8) = 0.2, and both specialists right, they say 16 : 1 in place of 4 : 1: the evidence for the group counts twice. Where two specialists share out all classes, log p(c) with the extra output dropped is exact, and teaches as well (lab notes).</details>

# %%
known = [list(range(7)), [7, 8, 9]]


def specialist(classes, rest):
    """A network of these classes, and of one output more for all others where rest is True."""
    places = torch.tensor([classes.index(c) if c in classes else len(classes) for c in range(10)])
    mine = train.labelled_as(places[train.y])
    mine = mine if rest else mine[mine.y < len(classes)]
    build = dict(student=models.mlp(784, mnist.WIDTH, len(classes) + rest), evaluate={})
    epochs = mnist.epochs(mine, steps)
    bank = train_bank(examples=mine, seeds=[seed], epochs=epochs, batch=mnist.BATCH, **build)
    return tabulate(bank.network(seed=seed), images)


# %% [markdown]
# Two pairs, and a student of each. *Generalist*: a teacher of all 3,500 labels. *Log-probabilities*: each specialist's best class gets nearly 0, so the target has two peaks of nearly one height.

# %% tags=["nbval-ignore-output"]
plain = [specialist(c, False) for c in known]
pairs = {
    "logits side by side": merge(plain, classes=known),
    "with none of mine": merge([specialist(c, True) for c in known], classes=known, rest=True),
}
special = stored.rows("specialists")
live_pairs = {way: train_bank(soft(pair), examples=images, seeds=[seed], epochs=all_epochs, **how)
              for way, pair in pairs.items()}  # fmt: skip
figures.show_table(
    ["specialists merged", "merged table's error % (3,500)", "student: live", "stored, five seeds"],
    [[way, f"{stored.mean(row, 'on training images'):.1f}",
      f"{float(live_pairs[way].errors()):.1f}" if way in live_pairs else "", stored.error(row)]
     for way, row in special.items()])  # fmt: skip
sure = plain[0].logits.softmax(-1).amax(-1)  # of the network of 0 to 6
print(
    f"largest probability: own {sure[train.y < 7].mean():.2f}, 7 to 9 {sure[train.y > 6].mean():.2f}"
)

# %%
text = "Specialists with an output for none of mine, merged, teach within a point of a generalist; logits side by side cost over eight points more"
rest_row = special["with none of mine"]
measured = {
    "points saved against a generalist": stored.saved(rest_row, "generalist"),
    "against logits side by side": stored.saved(rest_row, "logits side by side"),
}
near, far = measured.values()
claim("10.8", text, near.low > -1 and far.low > 8, measured=measured)

# %% [markdown]
# ## What can go wrong
#
# - **A helper whose steps are not counted.** Compare at equal steps and images: the `mlp(100)` gains nothing by twice the steps, the `mlp(3)` does.
# - **One temperature for all.** Here it made a gap, and a bad taught helper.
# - **Softened after the mean.** `merge(tables, "probabilities")` is a mean at $T = 1$. For the mean of softened probabilities add up the losses.
# - **Votes.** Unanimous votes, their zeros clamped before the logarithm, are label smoothing in disguise ([lab notes](lesson10/notes)).
# - **Teachers of other classes or images.** `merge` refuses them; a loop with `zip` does not.
#
# Joint training, mutual learning, born-again networks, helpers cut from the teacher: [lab notes](lesson10/notes).
#
# ## Exercises
#
# **1 (5 minutes).** One table for many: write the logits whose soft targets *at T* are what a weighted sum of losses at $T$ asks for. `z` is (teachers, images, classes), `w` (teachers,) sums to 1; return (images, classes).
#
# <details><summary>Hint 1</summary>Derivation, line 4: the student meets one distribution only, the mean of the softened ones.</details>
# <details><summary>Hint 2</summary>The loss will divide your logits by T and take a softmax. Which numbers, divided by T, are the logarithms of that mean?</details>


# %% tags=["exercise"]
def as_one(z, w, T):
    # SOLUTION
    weighted = (z / T).log_softmax(-1) + w.log()[:, None, None]
    return T * weighted.logsumexp(0)  # log of the sum, safe where it is tiny
    # END


exercises.as_one(as_one)

# %% [markdown]
# **2 (15 minutes).** Specialists may overlap. `z` is a list of logits (images, classes known + 1), the last output "none of mine", as on this page; `known` a list of lists of classes, in the order of the outputs; the classes are 0, 1, … without a gap, each known to somebody. Return the scores (images, classes); where several specialists know a class, the mean of their scores.
#
# <details><summary>Hint 1</summary>log p(c) − log p(none of mine) of one specialist: the softmax's denominator cancels.</details>
# <details><summary>Hint 2</summary>Two running sums: scores, and how many specialists know each class. <code>total[:, classes] += …</code> adds to chosen columns.</details>


# %% tags=["exercise"]
def merged_scores(z, known):
    # SOLUTION
    count = 1 + max(max(classes) for classes in known)
    total, knowing = torch.zeros(len(z[0]), count), torch.zeros(count)
    for logits, classes in zip(z, known, strict=True):
        total[:, classes] += logits[:, :-1] - logits[:, -1:]
        knowing[classes] += 1
    return total / knowing
    # END


exercises.specialists(merged_scores)

# %% [markdown]
# **3 (debugging, 10 minutes).** The helper may see `images`, the student only `few`. `train(network, guide, images, steps)` trains *in place* and returns the network. This program always reports a tie. Find four faults: two in the students, one in the steps, one in the caller's networks. Return direct, chain, and a control that says whether the helper's *further images* helped.
#
# ```python
# def compared(train, teacher, helper, student, images, few, steps):
#     direct = train(student, teacher, few, steps)
#     helper = train(helper, teacher, images, steps)
#     chain = train(student, helper, few, steps)
#     return direct, chain
# ```
#
# <details><summary>Hint 1</summary>Is <code>direct is chain</code>? Count the steps behind each, the helper's too. The control is a second chain; what must its helper not see?</details>
# <details><summary>Hint 2</summary><code>copy.deepcopy(student)</code> is an untrained student of its own. In the control the helper's images are <code>few</code>, too.</details>


# %% tags=["exercise"]
def compared(train, teacher, helper, student, images, few, steps):
    # SOLUTION
    import copy

    def chained(seen):
        middle = train(copy.deepcopy(helper), teacher, seen, steps)
        return train(copy.deepcopy(student), middle, few, steps)

    direct = train(copy.deepcopy(student), teacher, few, 2 * steps)
    return direct, chained(images), chained(few)
    # END


exercises.compared(compared)

# %% [markdown]
# ## In three lines
#
# A student's error is at most its guide's error plus their disagreement; a helper pays if the sum falls. The chain itself brought nothing here: further images did, and the second gap was one of temperature. Several teachers are one mean; ask which, and where T acts.
#
# ## Recall
#
# <details><summary>What does a weighted sum of soft terms ask the student for?</summary>For the weighted mean of the softened probabilities. The rest of the sum is a constant: the teachers' disagreement.</details>
# <details><summary>What is the mean of logits, as a distribution?</summary>The geometric mean of the probabilities, normalised: one teacher can veto a class.</details>
# <details><summary>Which controls does a chain need?</summary>Direct distillation for the chain's steps; a helper that saw only the student's images; a helper that never met the teacher; another temperature for the helper, and for the direct student.</details>
# <details><summary>What does an output for “none of mine” give a specialist?</summary>It was trained to reject the other digits' images; without it, it is confident of one of its own classes for any image. The scores are no common scale even then: each is measured from its own “not mine”.</details>
# <details><summary>When can a worse teacher make a better student?</summary>When the student cannot copy the better one: too few images, too few hidden units, or targets softened too much. Then disagreement costs more than the lower error brings.</details>
#
# ## Reading
#
# - Mirzadeh, Farajtabar, Li, Levine, Matsukawa & Ghasemzadeh (2020), *Improved Knowledge Distillation via Teacher Assistant*.
# - Cho & Hariharan (2019), *On the Efficacy of Knowledge Distillation*: better teachers, worse students.
# - Hinton, Vinyals & Dean (2015), *Distilling the Knowledge in a Neural Network*: ensembles into one student; specialists with an *out-of-distribution* class.
# - You, Xu, Xu & Tao (2017), *Learning from Multiple Teacher Networks*.
#
# Next: [](lesson11)
