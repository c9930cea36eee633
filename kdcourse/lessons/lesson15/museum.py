"""The museum's rooms: what can be wrong in a program that distils, and what gives it away."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """A mistake: what it is called, where it sits, which right program it is compared with.

    place: "loss", "teacher", "data" or "loop". beside: the right program's own switch ("dropout"
    or "jitter"), where the mistake needs one. sign: what gives it away, for the reader.
    """

    name: str
    place: str
    sign: str
    beside: str = ""


MISTAKES = {
    one.name: one
    for one in (
        Mistake(
            "the teacher is never used",
            "loss",
            "the first loss is ln 10 = 2.3, the cross-entropy of an untrained student",
        ),
        Mistake(
            "student compared with itself",
            "loss",
            "the first loss is a tenth of ln 10: the KL term is 0 in every step",
        ),
        Mistake(
            "alpha on the wrong term",
            "loss",
            "the first loss is nearer to ln 10 than the right program's",
        ),
        Mistake(
            "no T²",
            "loss",
            "the soft term is sixteen times too low, so the first loss is far too low",
        ),
        Mistake(
            'reduction="mean"',
            "loss",
            "the KL is divided by the ten classes, too: the loss is too low",
        ),
        Mistake(
            'reduction="sum"',
            "loss",
            "the loss grows with the batch: about a hundred times too high",
        ),
        Mistake(
            "KL turned round",
            "loss",
            "the first loss is a few per cent off, and nothing else shows",
        ),
        Mistake(
            "no logarithm",
            "loss",
            "the loss is negative; a KL cannot be",
        ),
        Mistake(
            "logarithm of the target",
            "loss",
            "the loss is no number from the first epoch on",
        ),
        Mistake(
            "the student ends in a softmax",
            "loss",
            "no answer is more confident than 0.23, and the loss has a floor",
        ),
        Mistake(
            "softmax twice, teacher",
            "loss",
            "the loss begins far too low, and confidence stays low",
        ),
        Mistake(
            "T on the teacher only",
            "loss",
            "confidence is much too low: its answers at T = 1 copy the teacher's at T = 4",
        ),
        Mistake(
            "T on the student only",
            "loss",
            "the first loss is three times too high, confidence near 1, the NLL high",
        ),
        Mistake(
            "MSE of probabilities",
            "loss",
            "the first loss is far too low: a squared gap of probabilities is small",
        ),
        Mistake(
            "teacher in train mode",
            "teacher",
            "no curve shows it: the teacher's running statistics move, its answer depends on "
            "the batch",
        ),
        Mistake(
            "teacher in the optimiser",
            "teacher",
            "confidence stays low: teacher and student both give nearly uniform probabilities; "
            "ask the teacher for its own error afterwards",
        ),
        Mistake(
            "the teacher's head is fresh",
            "teacher",
            "the first loss is far too low and confidence stays low: the teacher's probabilities "
            "are nearly uniform",
        ),
        Mistake(
            "other pixels for the teacher",
            "teacher",
            "the first loss is too high; ask the teacher for its error on the input that it gets",
        ),
        Mistake(
            "cached answers, shuffled",
            "data",
            "the loss falls, and agreement with the teacher does not rise",
        ),
        Mistake(
            "cached answers, moved images",
            "data",
            "no curve shows it: the answers are those of the images before they were moved",
            "jitter",
        ),
        Mistake(
            "drop_last",
            "data",
            "half the steps: in each epoch, images that never come",
        ),
        Mistake(
            "student left in eval",
            "loop",
            "the training loss is lower than with dropout switched on",
            "dropout",
        ),
        Mistake(
            "no zero_grad",
            "loop",
            "the loss jumps, and does not fall for long",
        ),
        Mistake(
            "a rate that never falls",
            "loop",
            "the rate of the last epoch is that of the first; the last loss is lower, not higher",
        ),
    )
}
