"""Which rows of the table are compared with which."""

SHORT, LONG = 5, 20  # epochs of recovery
AMOUNTS = (0.9, 0.95, 0.98)
ATTACKED = [
    "teacher", "pruned 90 %: soft targets, 20 epochs", "channels 80 %: soft targets, 20 epochs",
    "mlp(32): distilled", "mlp(32): label-only", "cnn(16)",
]  # fmt: skip

PAIRS = [  # what the second saves against the first
    *(
        (f"{name}: labels, {epochs} epochs", f"{name}: soft targets, {epochs} epochs")
        for name in (*(f"pruned {100 * a:g} %" for a in AMOUNTS), "channels 80 %", "channels 90 %",
                     "rank 16")
        for epochs in (SHORT, LONG)
    ),
    ("prune 95 %, then distil into it, 40 epochs", "distil into mlp(100), prune, distil again"),
    ("mlp(16): distilled", "mlp(16): taught by the pruned teacher"),
    ("channels 80 %, drawn anew: soft targets, 60 epochs",
     "channels 80 %: soft targets, 20 epochs"),
    ("channels 80 %, drawn anew: labels and jitter, 60 epochs",
     "channels 80 %: labels and jitter, 20 epochs"),
    ("teacher", "cnn(16)"), ("teacher", "cnn(16), int8"), ("cnn(16)", "cnn(16), int8"),
    ("teacher", "teacher, int8"), ("mlp(100): label-only", "mlp(100): distilled"),
    ("mlp(100): distilled", "channels 80 %: soft targets, 20 epochs"),
    ("mlp(32): distilled", "channels 90 %: soft targets, 20 epochs"),
    ("mlp(100): distilled", "rank 16: soft targets, 20 epochs"),
    ("mlp(100): distilled", "mlp(100), int8"), ("mlp(32): distilled", "mlp(32), int8"),
    ("teacher", "pruned 90 %: labels, 20 epochs"),
    ("teacher", "pruned 90 %: labels and jitter, 20 epochs"),
    *((f"{words}: teacher", f"{words}: {name}")
      for words in ("FGSM", "FGSM from teacher") for name in ATTACKED[1:]),
    *(("narrow: label-only", f"narrow: {way}") for way in (
        "KL of weights, gaussian", "begins from the teacher's weights, by SVD", "soft targets")),
    *(("as wide: label-only", f"as wide: {way}") for way in (
        "KL of weights, energy", "distance of weights, 0.01")),
]  # fmt: skip
