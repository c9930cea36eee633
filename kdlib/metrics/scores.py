"""Scores from logits (…, N, classes) and labels (N,); a number where (…) is one network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kdlib.arguments import check_labelled, check_numbers, check_temperature, whole
from kdlib.data.errors import wrong
from kdlib.tensors import check_tensors


def _check_classes(logits: Tensor, y: Tensor) -> None:
    """Raises ValueError unless each answer has a label among the classes answered with."""
    check_labelled(logits, y)
    check_numbers(logits)
    if y.dim() > 1:
        raise ValueError(
            f"labels have shape {tuple(y.shape)}, as tokens of sequences have; this score is for "
            "one label an answer: give logits[where] and tokens[where], where = tokens >= 0"
        )


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """Share of right answers, (…)."""
    return 1 - wrong(logits, y).cpu().double().mean(-1)


def confusion(logits: Tensor, y: Tensor) -> Tensor:
    """Counts (…, classes, classes): row = label, column = answer. Raises ValueError as `wrong`."""
    _check_classes(logits, y)
    logits, y = logits.cpu(), y.cpu()
    classes = logits.shape[-1]
    cells = y * classes + logits.argmax(-1)
    rows = cells.reshape(-1, cells.shape[-1])
    counts = [torch.bincount(row, minlength=classes**2) for row in rows]
    empty = cells.new_zeros(0, classes**2)
    stacked = torch.stack(counts) if counts else empty
    return stacked.view(*cells.shape[:-1], classes, classes)


def macro_f1(logits: Tensor, y: Tensor) -> Any:
    """F1 of each class that occurs, averaged with equal weights, (…)."""
    _check_classes(logits, y)
    if logits.dim() > 2:
        return _each(macro_f1, logits, y)
    counts = confusion(logits, y).double()
    occurs = counts.sum(1) > 0
    f1 = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1)).clamp(min=1)
    return float(f1[occurs].mean())


def _each(score: Callable[..., Any], logits: Tensor, *given: Any, **settings: Any) -> Tensor:
    """The score of each network: (…)."""
    return torch.stack(
        [torch.as_tensor(score(one, *given, **settings), dtype=torch.float64) for one in logits]
    )


def nll(logits: Tensor, y: Tensor) -> Tensor:
    """Mean negative log-likelihood of the labels in nats, (…)."""
    _check_classes(logits, y)
    logits, y = logits.cpu(), y.cpu()
    log_p = logits.double().log_softmax(-1)
    return -log_p.gather(-1, y.expand(log_p.shape[:-1])[..., None])[..., 0].mean(-1)


def reliability(logits: Tensor, y: Tensor, *, bins: int = 15) -> tuple[Tensor, Tensor]:
    """Mean confidence and mean accuracy (…, bins) of equal-mass bins, least sure first."""
    _check_classes(logits, y)
    confidence, right = _sorted_confidence(logits, ~wrong(logits, y))
    return _means(confidence, bins), _means(right, bins)


def calibration_error(logits: Tensor, y: Tensor, *, bins: int = 15) -> Any:
    """ECE over equal-mass bins, (…) (Naeini 2015; equal-mass as in Nguyen & O'Connor 2015).

    Bins weigh the same: where they do not divide N, weighing by size differs a little.
    """
    _check_classes(logits, y)
    if logits.dim() > 2:
        return _each(calibration_error, logits, y, bins=bins)
    confidence, right = reliability(logits, y, bins=bins)
    return float((confidence - right).abs().mean())


def calibration_null(
    logits: Tensor, *, bins: int = 15, draws: int = 500, seed: int = 0
) -> tuple[Any, ...]:
    """The 2.5 % and 97.5 % quantiles of ECE for a perfectly calibrated network of this confidence.

    Labels are drawn anew: right with the probability that the network claims. A finite test set
    gives even this network an ECE above 0; only what lies beyond the band is miscalibration.
    """
    if not (whole(draws, 1) and whole(seed, 0)):
        raise ValueError(f"draws={draws!r}, seed={seed!r}: expected whole numbers, draws 1 or more")
    check_numbers(logits)
    if logits.dim() > 2:
        bands = [calibration_null(one, bins=bins, draws=draws, seed=seed) for one in logits]
        if logits.dim() == 3:
            low, high = torch.tensor(bands, dtype=torch.float64).unbind(-1)
            return low, high
        return tuple(torch.stack(side) for side in zip(*bands, strict=True))
    confidence, _ = _sorted_confidence(logits, torch.ones(logits.shape[0]))
    generator = torch.Generator().manual_seed(int(seed))
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
    """Abstention: thresholds, share answered and error % among the answered: (…, N), (N,), (…, N).

    Entry i answers the i + 1 images that the network is surest of.
    """
    _check_classes(logits, y)
    confidence, right = _sorted_confidence(logits, ~wrong(logits, y))
    answered = torch.arange(1, len(y) + 1, dtype=torch.float64)
    errors = 100 * (1 - right.flip(-1)).cumsum(-1) / answered
    return confidence.flip(-1), answered / len(y), errors


def _sorted_confidence(logits: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    confidence, order = logits.cpu().double().softmax(-1).amax(-1).sort(stable=True)
    return confidence, right.cpu().double().gather(-1, order)


def _means(values: Tensor, bins: int) -> Tensor:
    count = values.shape[-1]
    if not (whole(bins, 1) and bins <= count):
        raise ValueError(
            f"{count} answers in {bins} bins; expected a number of bins from 1 to {count}"
        )
    return torch.stack([chunk.mean(-1) for chunk in values.tensor_split(int(bins), dim=-1)], dim=-1)


def agreement(a: Tensor, b: Tensor) -> Tensor:
    """Share of images to which two networks give the same answer, (…).

    a, b: (…, N, classes). Raises ValueError unless they answer the same images, with numbers.
    """
    return _same_answers(a, b).double().mean(-1)


def _same_answers(a: Tensor, b: Tensor) -> Tensor:
    """Where two networks answer alike: bool (…, N), on the CPU."""
    check_tensors(1, a=a, b=b)
    if a.dim() < 2 or a.shape[-2:] != b.shape[-2:]:
        raise ValueError(
            f"answers of shapes {tuple(a.shape)} and {tuple(b.shape)}; "
            "expected (…, N, classes) of the same images and classes"
        )
    check_numbers(a)
    check_numbers(b)
    return a.argmax(-1).cpu() == b.argmax(-1).cpu()


def inherited_errors(student: Tensor, teacher: Tensor, y: Tensor) -> Tensor:
    """Share of the teacher's errors that the student makes too, with the very same answer, (…).

    Raises ValueError as `wrong` and `agreement`.
    """
    teacher_wrong = wrong(teacher, y).cpu()
    same = _same_answers(student, teacher) & teacher_wrong
    return same.double().sum(-1) / teacher_wrong.sum(-1).clamp(min=1)


def dark_knowledge(logits: Tensor, y: Tensor, T: float = 1.0) -> Tensor:
    """(…, classes, classes): mean p_T of each label's images, its own class removed, rows sum to 1.

    Which wrong classes the network finds plausible for a label (Hinton et al. 2015).
    """
    _check_classes(logits, y)
    check_temperature(T)
    logits, y = logits.cpu(), y.cpu()
    p = (logits.double() / T).softmax(-1)
    one_hot = torch.nn.functional.one_hot(y, p.shape[-1]).double()
    means = one_hot.T @ p / one_hot.sum(0).clamp(min=1)[:, None]
    means.diagonal(dim1=-2, dim2=-1).zero_()
    return means / means.sum(-1, keepdim=True).clamp(min=1e-300)
