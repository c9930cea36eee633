"""Seeds made of two numbers, so that neither resuming nor sharing an order needs kept state."""

_SALT = 1_000_003  # a prime: no two seeds of one training meet before a million steps


def salted(seed: int, place: int) -> int:
    """The seed of one place (an epoch, a step, a purpose) in what `seed` decides."""
    return _SALT * seed + place
