"""Teachers with something taken away: what every gain is shown against."""

import torch
from torch import Tensor

from kdlib.arguments import check_label_for_each, check_temperature
from kdlib.tensors import check_tensors


def permute_wrong_classes(z_t: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Teacher logits (batch, classes) with those below the top class shuffled within each image.

    Keeps what the teacher says first and how sure it is, destroys which other classes it finds
    similar. Use one fixed permutation per image: apply it to the whole table once.
    """
    check_tensors(z_t=z_t)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(
            f"generator={generator!r}: expected torch.Generator().manual_seed(0), or none"
        )
    top = torch.nn.functional.one_hot(z_t.argmax(-1), z_t.shape[-1]).bool()
    noise = torch.rand(z_t.shape, generator=generator).to(z_t.device)
    ranks = torch.where(top, -1.0, noise).argsort(-1)  # the top class first, the rest at random
    places = torch.where(top, -1, torch.arange(z_t.shape[-1], device=z_t.device)).argsort(-1)
    return torch.empty_like(z_t).scatter(-1, places, z_t.gather(-1, ranks))


def class_mean_logits(z_t: Tensor, y: Tensor, T: float = 1.0) -> Tensor:
    """Logits whose softmax at T is the mean p_T of the image's class: (batch, classes).

    Every image of a class gets the same soft target: similarity between classes, none of images.
    A table made before training. Raises ValueError for an image without a label.
    """
    check_temperature(T)
    check_label_for_each(z_t, y)
    if z_t.dim() != 2:
        raise ValueError(f"z_t has shape {tuple(z_t.shape)}; expected (batch, classes)")
    if y.numel() and not 0 <= int(y.min()) <= int(y.max()) < z_t.shape[-1]:
        raise ValueError(
            f"labels are {int(y.min())} to {int(y.max())} and the teacher answers with "
            f"{z_t.shape[-1]} classes; give labelled images of its classes"
        )
    p = (z_t / T).softmax(-1)
    one_hot = torch.nn.functional.one_hot(y, z_t.shape[-1]).to(p.dtype)
    means = one_hot.T @ p / one_hot.sum(0).clamp(min=1)[:, None]
    return T * means.clamp(min=1e-12).log()[y]
