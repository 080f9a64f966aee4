"""What a request shows to prove who calls; nobody has looked at any of it."""

from typing import Literal, NamedTuple

AssertionType = Literal["jwt-spiffe", "jwt-bearer"]
"""What the caller says its assertion is (RFC 7521 §4.2); at a REST endpoint nothing is said."""


class Presented(NamedTuple):
    """An assertion, or nothing; and a DPoP proof, where the caller also shows that it holds a key (RFC 9449 §5)."""

    unverified_assertion: str | None = None
    type: AssertionType | None = None
    unverified_proof: str | None = None
