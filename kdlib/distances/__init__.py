"""How far apart two clouds of features are: functions (f_a, f_b) -> a number, and null bands."""

from collections.abc import Callable

from torch import Tensor

from kdlib.distances.kernels import mmd
from kdlib.distances.moments import coral, cosine_distance, euclidean, frechet, mahalanobis
from kdlib.distances.nulls import null_band
from kdlib.distances.probe import proxy_a_distance
from kdlib.distances.transport import sinkhorn, sliced_wasserstein

DISTANCES: dict[str, Callable[..., Tensor]] = {
    "euclidean": euclidean,
    "cosine": cosine_distance,
    "mahalanobis": mahalanobis,
    "mmd": mmd,
    "coral": coral,
    "sliced_wasserstein": sliced_wasserstein,
    "sinkhorn": sinkhorn,
    "frechet": frechet,
    "proxy_a_distance": proxy_a_distance,
}
