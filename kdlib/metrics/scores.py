"""Scores from logits (…, N, classes) and labels (N,)."""

import torch
from torch import Tensor

from kdlib.arguments import check_labelled, check_numbers, check_temperature
from kdlib.data.errors import wrong


def _check_classes(logits: Tensor, y: Tensor) -> None:
    """Raises ValueError unless each answer has a label among the classes answered with."""
    check_labelled(logits, y)
    _check_one_label(y)
    if len(y) and int(y.max()) >= logits.shape[-1]:
        raise ValueError(
            f"a label is {int(y.max())} and the logits speak of {logits.shape[-1]} classes; "
            "score examples whose classes the network has"
        )


def _check_one_label(y: Tensor) -> None:
    if y.dim() > 1:
        raise ValueError(
            f"labels have shape {tuple(y.shape)}, as tokens of sequences have; this score is for "
            "one label an answer: give logits[where] and tokens[where], where = tokens >= 0"
        )


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """Share of right answers, (…)."""
    return 1 - wrong(logits, y).double().mean(-1)


def confusion(logits: Tensor, y: Tensor) -> Tensor:
    """Counts (classes, classes): row = label, column = answer. Raises ValueError as `wrong`."""
    _check_classes(logits, y)
    check_numbers(logits)
    classes = logits.shape[-1]
    cells = y * classes + logits.argmax(-1)
    return torch.bincount(cells, minlength=classes**2).view(classes, classes)


def macro_f1(logits: Tensor, y: Tensor) -> float:
    """F1 of each class that occurs, averaged with equal weights."""
    counts = confusion(logits, y).double()
    occurs = counts.sum(1) > 0
    f1 = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1)).clamp(min=1)
    return float(f1[occurs].mean())


def nll(logits: Tensor, y: Tensor) -> Tensor:
    """Mean negative log-likelihood of the labels in nats, (…)."""
    _check_classes(logits, y)
    log_p = logits.double().log_softmax(-1)
    return -log_p.gather(-1, y.expand(log_p.shape[:-1])[..., None])[..., 0].mean(-1)


def reliability(logits: Tensor, y: Tensor, *, bins: int = 15) -> tuple[Tensor, Tensor]:
    """Mean confidence and mean accuracy (bins,) of equal-mass bins, least sure first."""
    _check_one_label(y)
    confidence, right = _sorted_confidence(logits, ~wrong(logits, y))
    return _means(confidence, bins), _means(right, bins)


def calibration_error(logits: Tensor, y: Tensor, *, bins: int = 15) -> float:
    """ECE over equal-mass bins (Naeini 2015; equal-mass as in Nguyen & O'Connor 2015)."""
    confidence, right = reliability(logits, y, bins=bins)
    return float((confidence - right).abs().mean())


def calibration_null(
    logits: Tensor, *, bins: int = 15, draws: int = 500, seed: int = 0
) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of ECE for a perfectly calibrated network of this confidence.

    Labels are drawn anew: right with the probability that the network claims. A finite test set
    gives even this network an ECE above 0; only what lies beyond the band is miscalibration.
    """
    confidence, _ = _sorted_confidence(logits, torch.ones(logits.shape[0]))
    generator = torch.Generator().manual_seed(seed)
    claimed = _means(confidence, bins)
    errors = torch.stack(
        [
            (claimed - _means(torch.bernoulli(confidence, generator=generator), bins)).abs().mean()
            for _ in range(draws)
        ]
    )
    low, high = errors.quantile(torch.tensor([0.025, 0.975], dtype=errors.dtype)).tolist()
    return low, high


def coverage_error(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Abstention: thresholds, share answered and error % among the answered, each (N,).

    Entry i answers the i + 1 images that the network is surest of.
    """
    confidence, right = _sorted_confidence(logits, ~wrong(logits, y))
    answered = torch.arange(1, len(y) + 1, dtype=torch.float64)
    errors = 100 * (1 - right.flip(0)).cumsum(0) / answered
    return confidence.flip(0), answered / len(y), errors


def _sorted_confidence(logits: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    confidence, order = logits.double().softmax(-1).amax(-1).cpu().sort(stable=True)
    return confidence, right.cpu().double()[order]


def _means(values: Tensor, bins: int) -> Tensor:
    if not 1 <= bins <= len(values):
        raise ValueError(
            f"{len(values)} answers in {bins} bins; "
            f"expected a number of bins from 1 to {len(values)}"
        )
    return torch.stack([chunk.mean() for chunk in values.tensor_split(bins)])


def agreement(a: Tensor, b: Tensor) -> Tensor:
    """Share of images to which two networks give the same answer, (…).

    a, b: (…, N, classes). Raises ValueError unless they answer the same images, with numbers.
    """
    return _same_answers(a, b).double().mean(-1)


def _same_answers(a: Tensor, b: Tensor) -> Tensor:
    """Where two networks answer alike: bool (…, N)."""
    if a.dim() < 2 or a.shape[-2:] != b.shape[-2:]:
        raise ValueError(
            f"answers of shapes {tuple(a.shape)} and {tuple(b.shape)}; "
            "expected (…, N, classes) of the same images and classes"
        )
    check_numbers(a)
    check_numbers(b)
    return a.argmax(-1) == b.argmax(-1)


def inherited_errors(student: Tensor, teacher: Tensor, y: Tensor) -> Tensor:
    """Share of the teacher's errors that the student makes too, with the very same answer, (…).

    Raises ValueError as `wrong` and `agreement`.
    """
    teacher_wrong = wrong(teacher, y)
    same = _same_answers(student, teacher) & teacher_wrong
    return same.double().sum(-1) / teacher_wrong.sum(-1).clamp(min=1)


def dark_knowledge(logits: Tensor, y: Tensor, T: float = 1.0) -> Tensor:
    """(classes, classes): mean p_T of each label's images, its own class removed, rows sum to 1.

    Which wrong classes the network finds plausible for a label (Hinton et al. 2015).
    """
    _check_classes(logits, y)
    check_temperature(T)
    p = (logits.double() / T).softmax(-1)
    one_hot = torch.nn.functional.one_hot(y, p.shape[-1]).double()
    means = one_hot.T @ p / one_hot.sum(0).clamp(min=1)[:, None]
    means.fill_diagonal_(0)
    return means / means.sum(-1, keepdim=True).clamp(min=1e-300)
