"""What a request shows to prove who calls; nobody has looked at any of it."""

from typing import Literal, NamedTuple

AssertionType = Literal["jwt-spiffe", "jwt-bearer"]
"""What the caller says its assertion is (RFC 7521 §4.2); at a REST endpoint nothing is said."""


class Presented(NamedTuple):
    """An assertion, or nothing."""

    unverified_assertion: str | None = None
    type: AssertionType | None = None
