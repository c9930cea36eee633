"""The course's networks, and how to look inside any network."""

from kdlib.models.cost import multiply_adds, parameter_count
from kdlib.models.joint import Ensemble, Together
from kdlib.models.kinds import (
    convolves,
    frozen_with_buffers,
    fused,
    held_still,
    lazy,
    normalises,
    of_patches,
    of_tokens,
    resting,
)
from kdlib.models.networks import CNN, MLP, Normalise, cnn, mlp
from kdlib.models.observing import (
    Observation,
    as_taps,
    check_examples,
    evaluating,
    main_tensor,
    observe,
    predict,
    seen_by,
)
from kdlib.models.sequences import GRU, Transformer, gru, transformer
from kdlib.models.weights import built, fingerprint, inherit, initialise
from kdlib.models.writing import sample, write
