"""How alike two layers see the same images."""

from torch import Tensor

from kdlib.tensors import check_tensors


def cka(f_a: Tensor, f_b: Tensor) -> Tensor:
    """Linear CKA of two layers' features of the same N images, (N, …) each; from 0 to 1.

    (Kornblith et al. 2019.) ||AᵀB||² / (||AᵀA|| ||BᵀB||) with centred columns: 1 where one is a
    rotation and scaling of the other. Widths may differ; it needs many more images than widths to
    be read as an absolute number (unrelated features get about width / N, not 0).
    """
    check_tensors(f_a=f_a, f_b=f_b)
    if len(f_a) != len(f_b) or len(f_a) < 2:
        raise ValueError(
            f"features of {len(f_a)} and {len(f_b)} images; "
            "expected those of the same images, at least 2"
        )
    a, b = (f.detach().cpu().double().flatten(1) for f in (f_a, f_b))
    if not bool(a.isfinite().all() and b.isfinite().all()):
        raise ValueError("features hold nan or inf: did the training of their network diverge?")
    a, b = a - a.mean(0), b - b.mean(0)
    if max(a.shape[1], b.shape[1]) <= len(a):
        cross, own_a, own_b = ((x.T @ y).square().sum() for x, y in ((a, b), (a, a), (b, b)))
    else:  # wide maps: the same three numbers from the images' Gram matrices
        g_a, g_b = a @ a.T, b @ b.T
        cross, own_a, own_b = ((x * y).sum() for x, y in ((g_a, g_b), (g_a, g_a), (g_b, g_b)))
    return cross / (own_a.sqrt() * own_b.sqrt()).clamp(min=1e-300)
