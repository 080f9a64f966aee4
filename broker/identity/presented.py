"""What a request shows to prove who calls; nobody has looked at any of it."""

from typing import Literal, NamedTuple

from scopes.client_certificate import Chain

AssertionType = Literal["jwt-spiffe", "jwt-bearer", "grant"]
"""What the caller says its assertion is (RFC 7521 §4.1, §4.2); at a REST endpoint nothing is said."""


class Presented(NamedTuple):
    """An assertion, or nothing; and a DPoP proof, where the caller also shows that it holds a key (RFC 9449 §5).

    The chain is of the caller's certificate, leaf first, whose key the caller has proven to hold. `untrusted` names the header
    in which somebody who is no trusted proxy sent one.
    """

    unverified_assertion: str | None = None
    type: AssertionType | None = None
    unverified_proof: str | None = None
    unverified_chain: Chain = ()
    untrusted: str = ""
