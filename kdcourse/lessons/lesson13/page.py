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
# # How do language models teach language models?
#
# **In one line:** as classifiers do, at every token, with three new choices: the direction of the KL, who writes the text that both read, and a warm-up without which our reverse students learn nothing.
#
# *{minutes} minutes to read, exercises apart · about 25 CPU seconds to run · needs: [](lesson02)*
#
# **First, wake the sliders: Run ▸ Run All Cells.**
#
# After this page you can
#
# - compute both directions of the KL on given sequences, and say what each punishes;
# - write a training step on the student's own prefixes, with a warm-up;
# - judge a language student by share, coverage and KL *together*.
#
# ## Why anyone wants this
#
# A large language model is slow and costly for each token it writes. A small one that learned from it can be enough, and it can learn more from a teacher than from text: at every position a whole distribution, also for text that nobody wrote before. Here the language is so small that every score is exact.

# %% tags=["parameters"]
grammar: int = 0  # 0..2, which language, with its own teacher
sequences: int = 24  # 16..48, written by the teacher
warm: float = 0.4  # 0.3..0.5, share of the steps
seed: int = 0  # 0..1000, the first of five students
budget: str = "full"  # full | small

# %%
import torch

from kdcourse import checks, figures
from kdcourse.checks import claim
from kdcourse.lessons.lesson13 import exercises, stored, students, table
from kdcourse.lessons.lesson13.directions import Directions
from kdcourse.parameters import check_parameters
from kdlib import metrics
from kdlib.data import Sequences
from kdlib.models import gru, initialise, predict, sample
from kdlib.objectives import ReverseKL, SoftTargets, after, prefixes

check_parameters()

# %% [markdown]
# A string has ten tokens: the mark of a **dialect** (A to F), eight letters, the mark again. In each dialect a letter has two successors, with probabilities .7 and .3. That makes 1,536 strings, the **language**. The teacher is a recurrent network (GRU) of width 64 that read 48,000 strings; students have width 16.

# %%
small = budget == "small"
language = students.language(grammar)
teacher = students.teacher(grammar, steps=50 if small else 500)
written = sample(teacher, 2000, 10, seed=1)
slips = language.wrong(written).any(1)
print("language:", *language.letters(language.draw(4)))
print("teacher: ", *language.letters(written[~slips][:4]))
print("slips:   ", *language.letters(written[slips][:2]))

# %% [markdown]
# ## A prediction first
#
# Only 24 sequences that the teacher wrote are there, but the teacher answers any text.

# %%
options = {
    "forward KL, on the 24": "given, forward",
    "reverse KL, on the 24, after a warm-up": "given, reverse",
    "reverse KL, on the 24, from the first step": "given, reverse, no warm-up",
    "reverse KL, on text of its own, after a warm-up": "own, reverse",
}
guess = checks.Prediction("Who writes most grammatical strings?", list(options))
guess

# %% [markdown]
# ## The idea
#
# Let $p$ be the teacher, $q$ the student. A network gives the next token a distribution, given the **prefix** $x_{<t}$, the tokens before it. A string's probability is their product. So:
#
# $$\begin{aligned} \mathrm{KL}(p \,\|\, q) &= \sum_x p(x) \log \frac{p(x)}{q(x)} \\ &= \sum_x p(x) \sum_t \log \frac{p(x_t \mid x_{<t})}{q(x_t \mid x_{<t})} \\ &= \sum_t \mathbb{E}_{x_{<t} \sim p} \sum_v p(v \mid x_{<t}) \log \frac{p(v \mid x_{<t})}{q(v \mid x_{<t})} \\ &= \sum_t \mathbb{E}_{x_{<t} \sim p}\, \mathrm{KL}\big(p(\cdot \mid x_{<t}) \,\|\, q(\cdot \mid x_{<t})\big) \end{aligned}$$
#
# **Forward KL** of whole strings is forward KL of tokens, on prefixes that the *teacher* writes. Exchange $p$ and $q$: **reverse KL** of strings is reverse KL of tokens, on prefixes that the *student* writes.
#
# - Forward weighs by $p$: costly where the student gives little to what the teacher says. It **covers**.
# - Reverse weighs by $q$: costly where the student says what the teacher would not. It **seeks modes**: leaving something out is cheap.
#
# In practice direction and prefixes are chosen freely, $r$ from 0 to 1, $T = 1$, averaged over positions:
#
# $$\text{loss} = (1 - r)\, \mathrm{KL}(p \,\|\, q) + r\, \mathrm{KL}(q \,\|\, p) \quad\text{on given or own prefixes}$$
#
# By hand, on given prefixes:


# %%
def by_hand(student, x):  # x (B, L): tokens -> two numbers
    log_p, log_q = (network(x).log_softmax(-1) for network in (teacher, student))  # (B, L, V)
    forward = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    reverse = (log_q.exp() * (log_q - log_p)).sum(-1).mean()
    return forward, reverse


student = initialise(gru(language.vocabulary, 16), seed)
batch = Sequences(written[:48]).batch()
for number, term in zip(by_hand(student, batch.x), (SoftTargets, ReverseKL), strict=True):
    torch.testing.assert_close(number, (1.0 * term(teacher, T=1))(student, batch)[0])

# %% [markdown]
# And the exact KL of strings, twice: as the sum over all 1,536, and token by token as derived. Here $p$ is the true language, $q$ the teacher:

# %%
z = predict(teacher, Sequences(language.support))
log_p, log_q = language.log_probabilities, metrics.log_probabilities(z, language.support)
whole = (log_p.exp() * (log_p - log_q)).sum()

p = language.next_log_probabilities(language.support, smoothing=0).exp()  # (strings, L, V)
inner = (torch.xlogy(p, p) - p * z.double().log_softmax(-1)).sum((-2, -1))
torch.testing.assert_close(whole, (log_p.exp() * inner).sum())
exact = metrics.sequence_scores(log_p, log_q)
torch.testing.assert_close(whole, exact.kl)

# %% [markdown]
# Three scores, always together, against the true language:
#
# - **share**: of what a network writes, the grammatical part, $\sum q(x)$ over the language;
# - **coverage**: the sum of $p(x)$ over strings with $q(x) \ge p(x)/10$;
# - **KL** from the language, in nats per string; 0 is perfect.

# %%
teachers = [[f"grammar {g}", *stored.cells(stored.row("teacher", kind="gru", grammar=g))]
            for g in table.GRAMMARS]  # fmt: skip
figures.show_table(["teacher", *stored.HEAD], teachers)

# %% [markdown]
# ## The experiment
#
# In the **warm-up**, the first part of the steps, everybody learns by forward KL on the given sequences. Then direction and prefixes are as told. **Own** prefixes: in every step the student writes the batch, the teacher answers it; no gradient goes through the writing (Agarwal et al. 2024, GKD). All have 400 steps of 48 sequences (Adam, rate 2e-2); few sequences are repeated.

# %%
given = students.repeated(students.written(grammar), sequences, 20 * 48 if small else 19_200)


def objective(direction, own):
    late = after(warm)
    r = direction * late
    mixed = (1 - r) * SoftTargets(teacher, T=1) + r * ReverseKL(teacher, T=1)
    return prefixes("student", mixed, share=own * late)


five = range(seed, seed + 5)
grid = {"direction": [0.0, 1.0], "own": [0.0, 1.0]}
bank = students.students(objective, given, grammar, grid=grid, seeds=five)
cold = students.students(1.0 * ReverseKL(teacher, T=1), given, grammar, seeds=five)

# %% [markdown]
# Intervals are 95 %, over five students of one teacher:

# %% tags=["nbval-ignore-output"]
live = {
    name: students.lists(bank.logits["strings"][bank.index(**place)], grammar)
    for name, place in stored.CORNERS.items()
}
live["given, reverse, no warm-up"] = students.lists(cold.logits["strings"], grammar)
rows = [[name, *stored.cells(row)] for name, row in live.items()]
figures.show_table([f"{sequences} sequences", *stored.HEAD], rows)
best = max(options, key=lambda option: stored.mean(live[options[option]]).mean)
guess.recall(best)

# %%
text = "The students trained here have mean shares within .15 of the stored ones; from scratch, on given prefixes, reverse KL leaves less than .1"
measured = {
    f"{name}: share minus stored": stored.mean(live[name]).mean
    - stored.mean(stored.grid(grammar, 24, **corner)).mean
    for name, corner in stored.CORNERS.items()
}
near = max(map(abs, measured.values()))
measured["from scratch: share"] = stored.mean(live["given, reverse, no warm-up"]).mean
holds = near < 0.15 and measured["from scratch: share"] < 0.1
claim("13.1", text, holds, measured=measured, decimals=2)

# %% [markdown]
# Five students of one teacher decide little about others. Stored (`table.py`): **three grammars, each with a teacher of its own**; 24 sequences, or 19,200, so that each is read once (**fresh**).

# %%
picture = stored.draw_corners()
title = "Reverse KL gains share and loses coverage; with 24 sequences, own prefixes help"
sentence = "Means with 95 % intervals over five students; in each row grammars 0, 1, 2 from the top, with a teacher each. Orange squares: 24 sequences. Blue diamonds: fresh ones. A low KL is good."
figures.show(picture, title, sentence)

# %%
text = "With fresh sequences, reverse KL raises the share by over .05 and lowers the coverage, in each of three grammars; and their KL from the language is higher"
forward, reverse = ({"direction": r} for r in (0.0, 1.0))
shares, coverages, kls = (stored.by_grammar(key, forward, reverse) for key in students.KEYS)
holds = all(gain.low > 0.05 for gain in shares.values())
holds = holds and all(loss.high < 0 for loss in coverages.values())
holds = holds and all(cost.low > 0 for cost in kls.values())
claim("13.2", text, holds, measured=shares | coverages | kls, decimals=2)

# %%
text = "With 24 sequences, own prefixes raise the share in both directions and lower the KL, in each of three grammars; fresh given sequences are no worse (forward, KL less than .25 higher)"
few = {"n": 24}
measured = {}
for word, r in (("forward", 0.0), ("reverse", 1.0)):
    on = [few | {"direction": r, "own": own} for own in (False, True)]
    for key in ("share", "kl"):
        gains = stored.by_grammar(key, *on)
        measured |= {f"{word}, {name}": gain for name, gain in gains.items()}
for g in table.GRAMMARS:
    fresh = stored.more(stored.grid(g), stored.grid(g, 24, own=True), "kl")
    measured[f"fresh given against 24 own, forward, kl, grammar {g}"] = fresh
holds = all(
    g.high < 0.25 if "fresh" in name else g.high < 0 if "kl" in name else g.low > 0
    for name, g in measured.items()
)
claim("13.3", text, holds, measured=measured, decimals=2)

# %% [markdown]
# **Reading it.** Reverse KL makes a student that errs less and omits more. 24 given sequences are probably learned by heart; own prefixes show new ones, and the teacher answers them. But *fresh* given sequences are at least as good: so new text seems to help, and the student can write some. (Other writers were not tried.) With fresh sequences own prefixes gain nothing ([lab notes](lesson13/notes)).
#
# **The rival.** A higher share can be had almost for nothing: let the *forward* student write at a lower temperature, where likely tokens become likelier. (.6, .7 and .8 were tried.)

# %%
figures.show_table(stored.COOLED_HEAD, stored.cooled_rows())

# %%
text = "In each of three grammars the forward student that writes at T = .7 covers more than the reverse student and has a lower KL; its share is at most .05 lower"
measured = {}
for key in students.KEYS:
    for g in table.GRAMMARS:
        at_07 = stored.cooled(stored.grid(g), 0.7)
        measured[f"{key}, grammar {g}"] = stored.more(at_07, stored.grid(g, direction=1.0), key)
gains = list(measured.values())
holds = all(g.low > -0.05 for g in gains[:3])
holds = holds and all(g.low > 0 for g in gains[3:6]) and all(g.high < 0 for g in gains[6:])
claim("13.4", text, holds, measured=measured, decimals=2)

# %% [markdown]
# So with fresh given text the direction is no gain in itself. And four times as many steps bring both directions to nearly the same scores ([lab notes](lesson13/notes)).
#
# ## The warm-up
#
# Why not reverse KL from the first step? Own prefixes, fresh sequences, by length of the warm-up:

# %%
figures.show_table(stored.SCRATCH_HEAD, stored.from_scratch())

# %%
text = "From scratch, reverse KL leaves a share under .05 in each of three grammars; after a warm-up of 40 % it is over .5"
measured = {
    f"grammar {g}, warm-up {100 * w:g} %: share": stored.mean(stored.warm_row(g, w))
    for w in (0.0, 0.4)
    for g in table.GRAMMARS
}
holds = all(s.low > 0.5 if "40 %" in name else s.high < 0.05 for name, s in measured.items())
published = "MiniLLM (reverse KL) begins with supervised fine-tuning, its authors' README says; no effect size seen"
claim("13.5", text, holds, measured=measured, published=published, decimals=2)

# %% [markdown]
# (Grammar 0 where none is named.) 20 % is too short for some students; 70 % trades share for coverage.
#
# A student that knows nothing gives every string some small $q$. Reverse KL asks it to drop what the teacher would not say. Our reading: it drops nearly everything, and what $q$ does not say has no weight any more. The prefixes are not the cause: on given ones it collapses as well, and forward KL on own prefixes learns from scratch (explorer). Nor is the rate; a transformer collapses less ([lab notes](lesson13/notes)).
#
# ## What a distribution is worth
#
# Forward KL on given prefixes is called **word-level** distillation. Its rivals get the same number of sequences: **labels** (the language's own strings), **samples** (strings of the teacher: **sequence-level**, Kim & Rush 2016), samples drawn at $T = 0.5$.

# %%
names = ["labels", "samples", "samples at T = 0.5", "distributions"]
figures.show_table(stored.WAY_HEAD, stored.way_rows(names, (64, 1024)))

# %%
text = "With 64 sequences, distributions leave a lower KL and cover more than labels, with a share less than .1 lower; labels of 1,024 are better still by KL"
labels, soft = (stored.row("words", name=n, n=64, how="400 steps") for n in table.LABELS)
many = stored.row("words", name="labels", n=1024, how="400 steps")
measured = {
    f"64, distributions against labels: {k}": stored.more(soft, labels, k) for k in students.KEYS
}
measured["1,024 labels against 64 distributions: KL"] = stored.more(many, soft, "kl")
share, coverage, kl, rest = measured.values()
holds = share.low > -0.1 and coverage.low > 0.1 and kl.high < -1 and rest.high < 0
claim("13.6", text, holds, measured=measured, decimals=2)

# %% [markdown]
# ## Explore: direction × prefixes × number of sequences
#
# Lines: means over five students, along the number of sequences; dots: the students at the slider's number. Move the direction first, then choose prefixes from scratch.

# %%
Directions()

# %% [markdown]
# ## What can go wrong
#
# **A temperature of 4**, good on digits ([](lesson02)):

# %%
figures.show_table(stored.WAY_HEAD, stored.way_rows(["T = 1", "T = 2", "T = 4"], (64, 19_200)))

# %%
text = "Softening with T = 4 leaves less share and less coverage than T = 1, with 64 sequences and with fresh ones"
measured = {
    f"{key}, {n:,} sequences": stored.more(
        *(stored.row("words", name=name, n=n, how="400 steps") for name in ("T = 4", "T = 1")), key
    )
    for n in (64, 19_200)
    for key in ("share", "coverage")
}
claim("13.7", text, all(g.high < 0 for g in measured.values()), measured=measured, decimals=2)

# %% [markdown]
# Sampling is at $T = 1$, so $T = 1$ is what counts; at $T = 4$ most of the loss speaks of tokens that are never right. (That is our reading; not tested.)
#
# **A beta that is no slider.** GKD's Jensen–Shannon divergence has the mean $m = \beta p + (1 - \beta) q$:
#
# $$\mathrm{JS}_\beta = \beta\, \mathrm{KL}(p \,\|\, m) + (1 - \beta)\, \mathrm{KL}(q \,\|\, m)$$
#
# At both ends it is 0, and near 0 about $\beta$ times forward KL: too small a step after a warm-up. The library TRL puts the two KLs there as cases of their own. Divided by $\beta(1 - \beta)$ it does run from one KL to the other. After a warm-up, own prefixes, fresh:

# %%
figures.show_table(stored.BETA_HEAD, stored.beta_rows())

# %%
text = "As published, beta = .1 is over .1 of share below its end, forward, and beta = .9 over .2 below reverse; normalised, both are less than .05 below"
ends = {0.1: ("forward", 0.0), 0.9: ("reverse", 1.0)}
measured = {
    f"{name}, beta = {b:g} against {word}": stored.more(
        stored.row("beta", name=name, beta=b, how="after a warm-up, own"),
        stored.grid(own=True, direction=r),
    )
    for name in ("published", "normalised")
    for b, (word, r) in ends.items()
}
low, lower, *fair = measured.values()
holds = low.high < -0.1 and lower.high < -0.2 and all(g.low > -0.05 for g in fair)
claim("13.8", text, holds, measured=measured, decimals=2)

# %% [markdown]
# **One score alone.** Share crowns samples at $T = 0.5$; with 64 sequences coverage and KL crown distributions.
#
# **Reverse KL of tokens is not that of strings.** A token also decides which prefixes come later; without a gradient through the writing this is left out (MiniLLM has it).
#
# More (fresh data, rivals, a transformer, longer training, speculative decoding): [lab notes](lesson13/notes).
#
# ## Exercises
#
# **1 (5 minutes).** Logits `z_s`, `z_t` (B, L, V) of student and teacher on given sequences; `where` (B, L) is True where there is a token. Return forward and reverse KL, each the mean over all tokens that are there.
#
# <details><summary>Hint 1</summary>The page's function does it for sequences of one length. Which mean is left to change?</details>
# <details><summary>Hint 2</summary>Sum over the vocabulary first, which leaves (B, L). Then <code>[where].mean()</code>.</details>


# %% tags=["exercise"]
def both_directions(z_s, z_t, where):
    # SOLUTION
    log_p, log_q = z_t.log_softmax(-1), z_s.log_softmax(-1)
    forward = (log_p.exp() * (log_p - log_q)).sum(-1)
    reverse = (log_q.exp() * (log_q - log_p)).sum(-1)
    return forward[where].mean(), reverse[where].mean()
    # END


exercises.both_directions(both_directions)

# %% [markdown]
# **2 (15 minutes).** The loss of one step. `done` is the share of training that is over. While `done < warm`: forward KL on `given`. From then on: reverse KL on as many sequences of the student's own; `write(network, count)` writes them, (count, L). Networks turn tokens (B, L) into logits (B, L, V); all tokens are there, so the mean is over all positions.
#
# <details><summary>Hint 1</summary>First decide which text both networks read; then compute one of the two KLs on it.</details>
# <details><summary>Hint 2</summary><code>write(student, len(given))</code>; the teacher's logits may stand under <code>torch.no_grad()</code>.</details>


# %% tags=["exercise"]
def own_step(student, teacher, given, write, done, warm):
    # SOLUTION
    late = done >= warm
    x = write(student, len(given)) if late else given
    with torch.no_grad():
        log_p = teacher(x).log_softmax(-1)
    log_q = student(x).log_softmax(-1)
    weight, gap = (log_q.exp(), log_q - log_p) if late else (log_p.exp(), log_p - log_q)
    return (weight * gap).sum(-1).mean()
    # END


exercises.own_step(own_step)

# %% [markdown]
# **3 (debugging).** `log_p`, `log_q` (strings,) hold the log-probabilities of every string of a language, its own and a student's. Each of the three scores is wrong. Correct them.
#
# ```python
# def mended_scores(log_p, log_q):
#     p, q = log_p.exp(), log_q.softmax(0)
#     share = q.sum()
#     coverage = (q >= p / 10).double().mean()
#     kl = (q * (log_q - log_p)).sum()
#     return share, coverage, kl
# ```
#
# <details><summary>Hint 1</summary>Call it with a student that writes one string only. Which scores does it get, and which does it deserve?</details>
# <details><summary>Hint 2</summary>Must q sum to 1 over the language? Who weighs the strings in coverage and KL?</details>


# %% tags=["exercise"]
def mended_scores(log_p, log_q):
    # SOLUTION
    p, q = log_p.exp(), log_q.exp()
    share = q.sum()
    coverage = p[q >= p / 10].sum()
    kl = (p * (log_p - log_q)).sum()
    return share, coverage, kl
    # END


exercises.mended_scores(mended_scores)

# %% [markdown]
# ## In three lines
#
# The KL of strings is a sum of KLs of tokens, forward on the teacher's prefixes, reverse on the student's. Here reverse gains share, loses coverage and needs a warm-up; writing at a lower temperature gains it for less. Own prefixes can help where given text is short. Report share, coverage and KL together, for your number of steps.
#
# ## Recall
#
# <details><summary>Which direction forgives a student that leaves strings out?</summary>Reverse: it weighs by q, and where q is near 0 there is nothing to weigh.</details>
# <details><summary>Why does reverse KL from scratch collapse?</summary>Probably the student drops nearly all that it says by chance; what it does not say any more has no weight, so nothing brings it back.</details>
# <details><summary>What do own prefixes bring when there are 24 sequences?</summary>New text, which the teacher answers. Fresh text of the teacher brings as much.</details>
# <details><summary>A student has a share of .9. Is it good?</summary>Not known: it may write a single string. Ask for coverage or KL.</details>
# <details><summary>Why is JS with beta = .1 no nearly forward KL?</summary>Its gradient has about that direction but a tenth of the size; after a warm-up with the full size Adam's steps become small.</details>
#
# ## Reading
#
# - Kim & Rush (2016), *Sequence-Level Knowledge Distillation*: word- and sequence-level; by its abstract the student gains 4.2/1.7 BLEU (greedy/beam) over one without distillation, and runs ten times faster than its teacher.
# - Agarwal et al. (2024), *On-Policy Distillation of Language Models* (GKD): own prefixes, JS.
# - Gu et al. (2024), *MiniLLM*: reverse KL for language models.
# - TRL's documentation of `GKDTrainer` and `DistillationTrainer`: the latter has reverse KL on own prefixes as its default, T = 1.
#
# Next: [](lesson14)
