"""What a lesson claims, what a reader predicts, what an exercise asks: all of it checked."""

from kdlib.checks.claims import ClaimFailed, claim
from kdlib.checks.exercises import Exercise, Property
from kdlib.checks.predictions import Prediction

__all__ = ["ClaimFailed", "Exercise", "Prediction", "Property", "claim"]
