"""The people who operate the broker, and how they prove it."""

from broker.operators.operators import ASSERTION_LIFETIME, Operators

__all__ = ["ASSERTION_LIFETIME", "Operators"]
