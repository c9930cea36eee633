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
# # What else could explain the adapted teacher's gain?
#
# *Lab notes, optional: controls and second settings of [](lesson09). Read that page first. {minutes} minutes · about 40 CPU seconds*
#
# - Were the rivals badly set? Does the *big* teacher matter, or only a second training?
# - What does λ trade, and what if each domain has its own teacher?
# - Other teachers; whose BatchNorm statistics.
# - **Taking a recipe apart:** noise on features, in two lines of proof and a few rows.

# %% tags=["parameters"]
T: float = 2.0  # 0.5..50
lam: float = 0.9  # 0..1
seeds: int = 5  # 2..20
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import copy

import torch

from kdcourse import figures
from kdcourse.checks import claim
from kdcourse.ground import domains
from kdcourse.lessons.lesson09 import stored
from kdcourse.measured import saves
from kdcourse.parameters import check_parameters
from kdlib import data, metrics, models
from kdlib.adaptation import InformationMaximization, adabn, feature_gaussian, freeze, unfreeze
from kdlib.adaptation.gaussian import GaussianTerm
from kdlib.bank import train_bank
from kdlib.objectives import HardLabels, SoftTargets, tabulate
from kdlib.training import fit

check_parameters()

# %% [markdown]
# ## Controls of the domain table
#
# Stored with the page's rows: the same seeds, the same images. *taught* is the student taught by the SHOT-IM teacher, 20 epochs.

# %%
rows_of = stored.rows()
taught = "taught by the SHOT-IM teacher"
head = ["", "target error %, A", "B", "compared with it, taught, in A …", "in B …"]

# %% [markdown]
# **Were the rivals badly set?** The student that adapts itself, under four settings; and another way to adapt, balanced self-training, three rounds ([08](lesson08)):

# %%
rivals = ["adapts itself", "adapts itself, lr 0.001", "adapts itself, lr 0.01"]
rivals += ["adapts itself, 36 epochs", "self-training, balanced"]
figures.show_table(head, stored.comparison(rivals, taught))

# %%
text = "In fold A no setting of adapting itself comes within ten points of being taught with mlp(6); with cnn(4) none has a lower mean"
lags = {
    f"{kind}, against {name}, points": stored.saving(kind, taught, name)
    for kind in ("cnn(4)", "mlp(6)")
    for name in rivals
}
holds = all(lag.low > 10 if "mlp" in name else lag.mean > 1 for name, lag in lags.items())
claim("09.11", text, holds, measured=lags)

# %% [markdown]
# With `cnn(4)` the best rival trains three times as long; its lag is not resolved. The page's claim for `cnn(4)` therefore rests on *taught, then adapts itself*, which does beat it.
#
# **Does the big teacher matter, or only a second training?** The same student taught by *its own adapted self*; with the labels of the same 1,000 source images only (λ = 0), for as many epochs; and taught for 32 epochs, as many as teaching and then adapting take together:

# %%
second = ["labels of the same images only", "taught by its adapted self", taught]
second += ["taught, 32 epochs", "target images only", "taught, then adapts itself", "oracle"]
figures.show_table(head, stored.comparison(second, taught))

# %%
text = "It is the big teacher: taught by its own adapted self, neither student is as good (fold A)"
bigger = {
    f"{kind}, the big teacher saves, points": stored.saving(
        kind, taught, "taught by its adapted self"
    )
    for kind in ("cnn(4)", "mlp(6)")
}
claim("09.12", text, all(lead.low > 0.5 for lead in bigger.values()), measured=bigger)

# %% [markdown]
# Two honest remarks. Twelve more epochs of teaching save about as much as adapting itself does: a part of that row's lead is its length. And teaching on target images only (λ = 1, half the steps) does as well on the target with `cnn(4)`: the source is needed only if you still want to read it.
#
# ## λ buys the target and costs the source
#
# If the device must read *both* kinds of digit, two errors count. Here are students `mlp(6)` for four kinds of answers. The fourth takes each domain's images to the teacher **at home** there: the source's to the source teacher, the target's to the SHOT-IM teacher.

# %%
small = budget == "small"
here = domains.domains("A")
tests = {"source": here.source_test, "target": here.target_test}
target = here.target.unlabelled()
both = here.source[:1000].as_domain(0) + target

# %% [markdown]
# SHOT-IM, as on the page:


# %%
def shot(network, epochs=1 if small else 4):
    moved = freeze(adabn(copy.deepcopy(network), target), "head")
    how = dict(epochs=epochs, augment=data.jitter(1), order_seed=seed, precision="fp32")
    fit(moved, target, InformationMaximization(), **how)
    return adabn(unfreeze(moved, ""), target)


# %% [markdown]
# The teachers' answers, each asked once:

# %%
teacher = domains.source_network(here.source, seed=seed)
normed, adapted = adabn(copy.deepcopy(teacher), target), shot(teacher)
masters = {"source teacher": teacher, "AdaBN": normed, "SHOT-IM": adapted}
answers = {name: tabulate(network, both) for name, network in masters.items()}

# %% [markdown]
# The fourth table of answers takes its rows from two teachers, by domain:

# %%
home, away = (answers[name].logits for name in ("source teacher", "SHOT-IM"))
at_home = torch.where(both.domain[:, None] == 0, home, away)  # (N, 1) chooses rows
answers["each at home"] = answers["SHOT-IM"].answering(at_home, "each at home")

# %%
lams = [0.0, 0.1, 0.3, 0.6, 0.9, 1.0]
settings = dict(evaluate=tests, epochs=2 if small else 20, seeds=range(seed, seed + seeds))
bank = train_bank(
    lambda teacher, lam: (1 - lam) * HardLabels() + lam * SoftTargets(answers[teacher], T),
    student=models.mlp(256, 6, 10),
    examples=both,
    grid={"teacher": list(answers), "lam": lams},
    **settings,
)

# %% [markdown]
# Each λ gives one point. A setting is worth considering only if no other is better in both domains (the **Pareto** front).

# %% tags=["nbval-ignore-output"]
picture, axis = figures.figure(height=3.6)
for role, name in zip(("alone", "extra", "taught", "teacher"), answers, strict=True):
    x, y = (bank.select(teacher=name).errors(split).mean(-1) for split in tests)
    line = dict(color=figures.COLOURS[role], linestyle=figures.DASHES[role])
    axis.plot(x, y, marker=figures.MARKERS[role], markersize=4, label=name, **line)
    if name == "SHOT-IM":
        for lam_here, spot in list(zip(lams, zip(x, y, strict=True), strict=True))[1:]:
            axis.annotate(f" {lam_here:g}", spot, fontsize=8, color=figures.INKS[role], va="bottom")
axis.annotate("λ = 0  ", (x[0], y[0]), fontsize=8.5, ha="right", va="center")
axis.set(xlabel="source error %", ylabel="target error %", ylim=(0, None))
axis.legend(frameon=False, fontsize=8.5)
figures.show(
    picture,
    "One teacher trades the source for the target; each at home has nearly both",
    "mlp(6), mean of the seeds. Lower: better on the target; further left: better on the source. Numbers are λ.",
)

# %% [markdown]
# Stored rows, λ = 0.9, and then the live bank's differences:

# %%
pairs = [f"{kind}: {way}" for kind in ("cnn(4)", "mlp(6)") for way in (taught, "each at home")]
lines_home = [
    [name, f"{rows_of[name].error():.1f}", f"{rows_of[name].source_error:.1f}"] for name in pairs
]
figures.show_table(["", "target error %, A", "source error %"], lines_home)

# %%
end = bank.select(lam=0.9)
home_gain = {
    f"each at home saves, {split}, points": metrics.difference(
        *(end.select(teacher=name).wrong(split) for name in ("SHOT-IM", "each at home"))
    )
    for split in tests
}
text = "Asking each teacher at home saves over five points on the source and costs under five on the target"
gains = list(home_gain.values())
claim("09.13", text, gains[0].low > 5 and gains[1].low > -5, measured=home_gain)

# %% [markdown]
# ## Other teachers
#
# Each seed of the stored rows has a teacher of its own, so their intervals hold for other teachers, too. Live: three teachers, the same students.

# %% tags=["nbval-ignore-output"]
lines = []
for number in range(seed, seed + 3):
    master = shot(domains.source_network(here.source, seed=number))
    pupils = train_bank(
        (1 - lam) * HardLabels() + lam * SoftTargets(tabulate(master, both), T),
        student=models.mlp(256, 6, 10), examples=both, **settings,
    )  # fmt: skip
    wrong = metrics.wrong(models.predict(master, here.target_test), here.target_test.y)
    error = metrics.interval(100 * pupils.wrong("target").double())
    lines.append([number, f"{100 * wrong.double().mean():.1f}", f"{error:.1f}"])
figures.show_table(["teacher's seed", "its target error %", "its students' target error %"], lines)

# %% [markdown]
# The teachers differ by little, and so do their students: the choice of *adapting* the teacher is large, that of its seed is not.
#
# ## Whose statistics?
#
# A student with BatchNorm that trains on both domains is left with *running* statistics that mix both. The same weights, three sets of statistics:

# %% tags=["nbval-ignore-output"]
statistics = {"as training left them": None, "of the source": here.source, "of the target": target}
wrongs = {name: [] for name in statistics}
for number in range(seed, seed + 3):
    how = dict(epochs=2 if small else 12, seed=number, order_seed=number, precision="fp32")
    loss = (1 - lam) * HardLabels() + lam * SoftTargets(answers["SHOT-IM"], T)
    left = fit(models.cnn(4), both, loss, **how).network
    for name, images in statistics.items():
        network = copy.deepcopy(left) if images is None else adabn(copy.deepcopy(left), images)
        wrongs[name].append([
            metrics.wrong(models.predict(network, part), part.y) for part in tests.values()
        ])  # fmt: skip

# %% tags=["nbval-ignore-output"]
stacks = {
    name: [torch.stack(split) for split in zip(*students, strict=True)]
    for name, students in wrongs.items()
}
figures.show_table(["statistics", "source error %", "target error %"], [
    [name, *(f"{metrics.interval(100 * split.double()):.1f}" for split in splits)]
    for name, splits in stacks.items()
])  # fmt: skip

# %% [markdown]
# The statistics are a part of the network: with others, the same weights answer otherwise. The table says what each choice costs in each domain; without target labels you could not look it up, so the page chose the target's beforehand.
#
# ## Taking a recipe apart
#
# Somebody hands you a recipe: *teach the student features with Gaussian noise*. It is loosely stated, and we could not check where it comes from. **So this is an exercise in reading a recipe, not a judgement of a publication.** Here is one exact reading. $f_t, f_s$ are the features before the heads; $F(x) = \tanh(A f_t(x))$ with $A$ fitted on the source; $G(x) = B f_s(x)$.
#
# 1. On target images, $\mu = F(x)$, standardised feature by feature: $m = (\mu - \bar\mu) / \sigma$, with $d$ features.
# 2. Fit $N(0, S)$ to the $m$ (shrunk, so that $S$ has an inverse).
# 3. Noise $e = \beta\,\big((1 - \gamma)\,\varepsilon_i + \gamma\,\kappa\,\varepsilon_c\big)$: $\varepsilon_i \sim N(0, S)$ new for each image and step, $\varepsilon_c$ one for each class, drawn once.
# 4. Weights $w_i = \exp(-\delta_i / 2d)$, $\delta_i = m_i^\top S^{-1} m_i$, scaled to mean 1.
# 5. Go on from the source-only student with $(1 - \lambda)\,\mathrm{CE}_\text{source} + \lambda \cdot$ *noisy term*.
#
# The noisy term is an average over target images of one of two ($g_i = G(x_i)$, $q_i$ the student's answer):
#
# $$\text{at the target: } \frac{w_i}{d}\,\lVert g_i - (m_i + e_i) \rVert^2 \qquad \text{at the feature: } w_i\,\mathrm{KL}\big(p(m_i + e_i) \,\|\, q_i\big),\quad p(m) = \mathrm{softmax}\big(\text{head}(\bar\mu + \sigma m)\big)$$
#
# ### What can noise do? Two lines
#
# At the target, $e$ is drawn fresh, without looking at $g$. If its mean is 0,
#
# $$\mathbb{E}\,\nabla \lVert g - (m + e) \rVert^2 = 2\,\nabla g^\top \big(g - m - \mathbb{E}\,e\big) = \nabla \lVert g - m \rVert^2 .$$
#
# **On average the noise is not there**: the gradient is linear in the target. It only makes the gradient noisier. ($\varepsilon_c$, drawn once, is not fresh: it moves the target of a whole class, and stays.) Watch the mean gradient over more and more draws:

# %%
cloud = feature_gaussian.describe(
    feature_gaussian.fit_map(teacher, here.source), target, both[:1000]
)

# %% [markdown]
# The draws, for 64 images:

# %%
draws = torch.Generator().manual_seed(seed)
g, goal = torch.randn(2, 64, len(cloud.S), generator=draws)  # 64 images
eps = torch.randn(400, 64, len(cloud.S), generator=draws) @ cloud.root.T
clean, noisy = 2 * (g - goal), 2 * (g - (goal + eps))  # (64, d), (400, 64, d)
off = {n: float((noisy[:n].mean(0) - clean).norm() / clean.norm()) for n in (1, 10, 100, 400)}
measured_off = {f"off after {n} draws, % of its length": 100 * share for n, share in off.items()}

# %%
text = "Averaged over 400 draws, noise at the target leaves less than a tenth of what one draw leaves in the gradient"
claim("09.14", text, off[400] < off[1] / 10, measured=measured_off)

# %% [markdown]
# At the feature the noise goes *through* the head, and softmax is not linear: $\mathbb{E}\,p(m + e) \ne p(m)$. Here noise acts. It makes the answers softer, somewhat like a temperature:

# %%
head_of, points = cloud.feature_map.head, cloud.standardise(cloud.table.logits[:64])
sharp = head_of(cloud.undo(points)).softmax(-1)
blurred = torch.stack([head_of(cloud.undo(points + 0.5 * e)).softmax(-1) for e in eps]).mean(0)

# %% [markdown]
# In numbers, averaged over 64 images and 400 draws:

# %%
entropy = {
    name: float(torch.special.entr(p).sum(-1).mean())
    for name, p in {"without noise, nats": sharp, "averaged over noise, nats": blurred}.items()
}

# %%
text = "Noise at the feature softens the teacher's answers: their entropy rises"
low, high = entropy.values()
claim("09.15", text, high > 1.02 * low, measured=entropy)

# %% [markdown]
# ### A few rows
#
# Every row is a name and a term; one bank trains them all. They go on from the source-only students, for as many epochs as the page's students; the body learns at 0.3 of the rate.

# %%
moved_map = feature_gaussian.fit_map(adapted, here.source)
moved_cloud = feature_gaussian.describe(moved_map, target, both[:1000])

# %%
terms = {
    "target: plain hint": GaussianTerm(cloud, "target", noise_std=0.0, weighted=0.0),
    "target: all": GaussianTerm(cloud, "target"),
    "feature: no noise": GaussianTerm(cloud, "feature", noise_std=0.0),
    "feature: all": GaussianTerm(cloud, "feature"),
    "feature: adapted teacher": GaussianTerm(moved_cloud, "feature", noise_std=0.0),
}

# %% [markdown]
# The start, and what all rows have in common:

# %%
begin = train_bank(student=models.mlp(256, 6, 10), examples=here.source, **settings)
onward = dict(
    student=models.mlp(256, 6, 10), examples=both, schedule="constant",
    start=lambda seed: begin.network(seed=seed), lr={"": 3e-3, "head": 1e-2},
)  # fmt: skip

# %%
recipe = train_bank(
    lambda row: 0.5 * HardLabels() + 0.5 * terms[row],
    grid={"row": list(terms)},
    **onward,
    **settings,
)
longer = train_bank(**onward, **settings)

# %% [markdown]
# Each row against going on with the labels alone, for as long:

# %% tags=["nbval-ignore-output"]
control = longer.wrong("target")
results = {name: recipe.select(row=name).wrong("target") for name in terms}
lines = [[name, f"{metrics.interval(100 * wrong.double()):.1f}",
          saves(metrics.difference(control, wrong))] for name, wrong in results.items()]  # fmt: skip
page_row = bank.select(teacher="SHOT-IM", lam=0.9).wrong("target")
lines.append(["the page's: adapt, then distil", f"{metrics.interval(100 * page_row.double()):.1f}",
              saves(metrics.difference(control, page_row))])  # fmt: skip
figures.show_table(["", "target error %", "against labels alone it …"], lines)

# %%
noises = {
    f"noise {place}, points saved": metrics.difference(results[quiet], results[loud])
    for place, quiet, loud in (
        ("at the target", "target: plain hint", "target: all"),
        ("at the feature", "feature: no noise", "feature: all"),
    )
}
helps = metrics.difference(results["feature: no noise"], results["feature: adapted teacher"])
text = "What helps the recipe is the adapted teacher, not the noise: it saves over ten points more than noise at either place"
most = max(gain.high for gain in noises.values())
measured = {"adapted teacher, points saved": helps} | noises
claim("09.16", text, helps.low > most + 5 and helps.mean > most + 10, measured=measured)

# %% [markdown]
# Read it row by row. At the target the recipe adds noise, offsets and weights to a plain hint; the proof says what the noise does on average, and the row says that the rest does little, too. At the feature it is ordinary distillation, by a teacher that is lost on the target; the noise softens its answers and saves a little. Change the *teacher*, and the row changes.
#
# **How to read a recipe:** write each step as a formula; ask of each knob what it does on average; prove what can be proved; give every remaining part a row without it; and compare with the plainest thing that has as many steps.
#
# ## Reading
#
# - Bishop (1995), *Training with Noise is Equivalent to Tikhonov Regularization*: what noise on *inputs* does, for contrast with noise on targets.
# - Ledoit & Wolf (2004), *A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices*: the shrinkage of $S$.
# - Furlanello et al. (2018), *Born-Again Neural Networks*: students taught by a teacher of their own size.
#
# Back to [](lesson09).
