"""What a lesson claims, what a reader predicts, what an exercise asks: all of it checked."""

from kdcourse.checks.claims import ClaimFailed, claim
from kdcourse.checks.exercises import Exercise, Property, close
from kdcourse.checks.predictions import Prediction

__all__ = ["ClaimFailed", "Exercise", "Prediction", "Property", "claim", "close"]
