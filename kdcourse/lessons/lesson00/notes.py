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
# # What do logits, entropy, KL and BatchNorm mean?
#
# Lab notes to [00](lesson00), *{minutes} minutes*. Optional: a primer, one word and one line of code at a time. Whoever knows softmax and KL may skip it.

# %% tags=["parameters"]
T: float = 4.0  # 0.5..50
seed: int = 0  # 0..1000
budget: str = "full"  # full | small

# %%
import torch

from kdcourse import figures
from kdcourse.checks import claim
from kdcourse.ground import mnist
from kdcourse.parameters import check_parameters
from kdlib import data, losses
from kdlib.models import evaluating, predict

check_parameters()

# %% [markdown]
# ## Logits and softmax
#
# A network answers with **logits** $z$: one number for each class, of any size. **Softmax** turns them into probabilities: exponentials, divided by their sum.

# %%
z = torch.tensor([4.0, 2.0, -1.0])
p = z.exp() / z.exp().sum()
torch.testing.assert_close(p, z.softmax(-1))
p

# %% [markdown]
# Adding the same number to all logits changes nothing: it cancels. So one logit alone says nothing, only differences do, and one may subtract the largest before `exp`, which then cannot overflow.

# %%
torch.testing.assert_close((z + 100).softmax(-1), p)

# %% [markdown]
# ## Cross-entropy of a label
#
# $-\log p_y$: small when the label was expected. Its unit is the *nat*, because the logarithm is the natural one. An answer that gives the label 50 % costs 0.69 nats; one that gives it 1 % costs 4.6.

# %%
label = torch.tensor(0)
cost = -p[label].log()
torch.testing.assert_close(cost, torch.nn.functional.cross_entropy(z, label))
cost

# %% [markdown]
# ## Cross-entropy of two distributions
#
# A label is a distribution too: all of it on one class. Let any distribution $p$ say how much each class counts, and the answer be $q$:
#
# $$\mathrm{CE}(p, q) = -\sum_c p_c \log q_c$$

# %%
q = torch.tensor([0.5, 0.25, 0.25])
cross_entropy = -(p * q.log()).sum()
torch.testing.assert_close(cross_entropy, torch.nn.functional.cross_entropy(q.log(), p))
cross_entropy

# %% [markdown]
# ## Entropy
#
# $H(p) = \mathrm{CE}(p, p)$: how doubtful an answer is in itself. 0 for certainty, $\log C$ when all $C$ classes are alike.

# %%
entropy = -(p * p.log()).sum()
alike = torch.full((3,), 1 / 3)
torch.testing.assert_close(-(alike * alike.log()).sum(), torch.tensor(3.0).log())
entropy

# %% [markdown]
# ## KL divergence
#
# How far is $q$ from $p$? What cross-entropy costs beyond the entropy that cannot be avoided:
#
# $$\mathrm{KL}(p \,\|\, q) = \mathrm{CE}(p, q) - H(p) = \sum_c p_c \log \frac{p_c}{q_c}$$
#
# It is 0 only where both are the same. It is not symmetric: the other way round it is another number.

# %%
kl = (p * (p / q).log()).sum()
torch.testing.assert_close(kl, cross_entropy - entropy)
torch.testing.assert_close(kl, torch.nn.functional.kl_div(q.log(), p, reduction="sum"))
kl, (q * (q / p).log()).sum()

# %% [markdown]
# PyTorch's `kl_div` wants the *logarithm* of the answer first and the target second: the reverse of the formula.
#
# As $H(p)$ does not depend on the student, KL and cross-entropy have the same gradient. KL is the better one to look at: it is 0 when the student answers like its teacher.
#
# ## The soft targets' loss
#
# kdlib's loss is this KL with a temperature, times $T^2$, averaged over the batch:

# %%
z_teacher, z_student = torch.tensor([[4.0, 2.0, -1.0]]), torch.tensor([[1.0, 0.5, 0.0]])
p_T, q_T = (z_teacher / T).softmax(-1), (z_student / T).softmax(-1)
by_hand = T**2 * (p_T * (p_T / q_T).log()).sum(-1).mean()
torch.testing.assert_close(by_hand, losses.soft_targets(z_student, z_teacher, T))
by_hand

# %% [markdown]
# ## BatchNorm
#
# **BatchNorm** subtracts a mean from each channel and divides by a spread. In *train mode* these are the batch's own; in *eval mode* they are *running statistics*, collected while training, and fixed. By hand, with PyTorch's layer beside it:

# %%
layer = torch.nn.BatchNorm1d(3)
features = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
spread = (features.var(0, correction=0) + layer.eps).sqrt()
torch.testing.assert_close(layer(features), (features - features.mean(0)) / spread)

# %% [markdown]
# Every forward in train mode moves the running mean a tenth of the way to the batch's mean (`momentum = 0.1`), gradient or not:

# %%
fresh = torch.nn.BatchNorm1d(3)
with torch.no_grad():
    fresh(features)
torch.testing.assert_close(fresh.running_mean, 0.1 * features.mean(0))

# %% [markdown]
# ### What it does to a teacher
#
# The teacher of page 00 is asked about one test image, each time in other company: alone in eval mode; in train mode among its neighbours; in train mode among images of its own class.

# %%
small = budget == "small"
everything, _, test = data.load("mnist5k")
train = everything[:1000] if small else everything[:3500]
teacher = mnist.teacher(train, epochs=1 if small else 8)

# %%
place = int(predict(teacher, test).softmax(-1).amax(-1).argsort()[60])
same_class = (test.y == test.y[place]).nonzero()[:64, 0]
companies = {"neighbours": torch.arange(64), "its own class": same_class}


def answer_among(company):
    """Probabilities of the image at `place`, asked in train mode with these images around it."""
    indices = torch.cat([torch.tensor([place]), company])
    with evaluating(teacher):  # gives modes and statistics back at the end
        kept = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
        answer = teacher.train()(test.batch(indices).x)[0].softmax(-1).detach()
        teacher.load_state_dict(kept)
    return answer


# %% [markdown]
# The same image, the same weights; only the company differs:

# %% tags=["nbval-ignore-output"]
answers = {"eval mode": predict(teacher, test)[place].softmax(-1)}
answers |= {f"train mode, {name}": answer_among(who) for name, who in companies.items()}
confidence = {name: float(answer.max()) for name, answer in answers.items()}
lines = [[name, int(answers[name].argmax()), f"{p:.3f}"] for name, p in confidence.items()]
figures.show_table(["asked in", "first choice", "its probability"], lines)

# %%
gap = (answers["train mode, neighbours"] - answers["train mode, its own class"]).abs().max()
claim(
    "00.5",
    "In train mode the same image gets other probabilities in other company",
    float(gap) > 0.001,
    measured={"largest change of a probability": float(gap)},
)

# %% [markdown]
# Back to [00](lesson00), or on to [](lesson01).
