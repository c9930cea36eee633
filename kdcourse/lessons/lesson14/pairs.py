"""What is asked of students, and which rows of the table are compared with which."""

SEEDS, FIVE = range(8), range(5)
M = 10
MS, LENGTHS = (1, 3, 5, 10, 20), (1, 4, 12)  # auxiliary outputs; epochs
RHOS = (0.95, 0.8, 0.5)  # correlation of the first weights with the teacher's first ones
COUNTS = (1024, 2048, 3500, 4096)  # noise images, seen in as many steps
KINDS = (
    "black or white",
    "coarse noise",
    "dark noise",
    "shuffled digits",
    "digits less their mean",
)
SETTINGS = ("PyTorch's initialisation", "noise not centred", "teacher of 40 epochs")
LONG, LATE = 48, 40  # epochs of a patient student, of a patient teacher
FIRST = "same, auxiliary outputs, first answer only"


def grid(name: str, m: int, epochs: int) -> str:
    """A row's name: `same, m = 10, 12 epochs`."""
    return f"{name}, m = {m}, {epochs} epochs"


SAME, OTHER = (grid(name, M, LENGTHS[-1]) for name in ("same", "other"))
PAIRS = [  # what the first has right more than the second
    (SAME, OTHER),
    *((grid("same", m, 12), grid("other", m, 12)) for m in (3, 5, 20)),
    (OTHER, "other, untrained"),
    (f"other, {LONG} epochs", "other, untrained"),
    ("other, class outputs", OTHER),
    ("other, class outputs", SAME),
    ("same, class outputs", "other, class outputs"),
    ("other, class outputs", "other, class outputs, first answer only"),
    *((SAME, name) for name in (
        "same head, other hidden layers", "same hidden layers, other head",
        "other, hidden units matched", *(f"correlated {rho:g}" for rho in RHOS))),
    ("same head, other hidden layers", "other, untrained"),
    ("same hidden layers, other head", "other, untrained"),
    ("correlated 0.5", "other, untrained"),
    (SAME, "same, answers shuffled"),
    (SAME, "same, teacher of shuffled labels"),
    ("same, answers shuffled", "same, untrained"),
    (SAME, FIRST),
    (FIRST, "same, untrained"),
    ("same, one class of noise", "other, one class of noise"),
    ("same, as few images of noise", "same, one class of noise"),
    *((SAME, f"same, {count} images of noise") for count in COUNTS),
    *((SAME, f"same, {kind}") for kind in ("digits", *KINDS)),
    ("same, 3500 images of noise", "same, digits"),
    ("same, 3500 images of noise", "same, digits less their mean"),
    ("same, digits less their mean", "same, digits"),
    *((f"same, {words}", f"other, {words}")
      for words in ("digits", *KINDS[2:], *SETTINGS)),
    (SAME, f"same, {SETTINGS[-1]}"),
    ("new head: other", "new head: other, untrained"),
    ("new head: other", "new head: other, of an untrained teacher"),
    ("new head: other", "new head: other, of shuffled labels"),
    ("new head: other, of an untrained teacher", "new head: other, untrained"),
    ("new head: same", "new head: other"),
]  # fmt: skip
