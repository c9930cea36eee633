"""What pages have in common: data, teacher, student, steps, and the domain table."""

from kdcourse.ground import domains, mnist
from kdcourse.ground.keeping import kept

__all__ = ["domains", "kept", "mnist"]
