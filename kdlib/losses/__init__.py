"""Losses as pure functions of tensors: one convention, each with its paper.

Symbols: z_s, z_t student and teacher logits (batch, classes); T temperature; p_T = softmax(z_t/T),
q_T = softmax(z_s/T). Those on answers take logits of sequences, (batch, length, V), as well. Every
loss averages over the examples it concerns (`where`, bool (batch,), or (batch, length)) and is 0,
with a gradient, when it concerns none. It computes in at least float32.
"""

from kdlib.losses.answers import (
    decoupled,
    dist,
    hard_labels,
    jensen_shannon,
    logit_mse,
    probability_mse,
    reverse_kl,
    soft_targets,
    standardized,
    teacher_labels,
)
from kdlib.losses.controls import class_mean_logits, permute_wrong_classes
from kdlib.losses.ensembles import merge_logits
from kdlib.losses.features import (
    attention,
    contrastive,
    cosine,
    flow,
    hint,
    neuron_selectivity,
    similarity,
    variational,
)
from kdlib.losses.gradients import reverse_gradient
from kdlib.losses.labels import (
    binary_labels,
    mean_squares,
    sigmoid_targets,
    teacher_mean_squares,
    weighted_labels,
)
from kdlib.losses.parameters import parameter_kl, parameter_l2, regularizer, shrink
from kdlib.losses.relations import relational
from kdlib.losses.spaces import class_centres, kernel_similarity
from kdlib.losses.unlabelled import (
    diversity,
    entropy,
    information_maximization,
    minimum_class_confusion,
)
