"""How the tests ask a verifier, and bring it up to date."""

from typing import Any

from scopes import Grant, VerificationError, Verifier
from tests.scopes.clocks import MovableClock, eventually
from tests.scopes.issuer import Issuer
from tests.scopes.tokens import RESOURCE


def read(verifier: Verifier, token: str, **request: Any) -> Grant:
    """Verify as a service does that was asked to show the ticket."""
    return verifier.verify(token, **({"action": "read", "resource": RESOURCE} | request))


def catch_up(verifier: Verifier, issuer: Issuer) -> None:
    """Wait until the verifier has heard all that the issuer said."""
    head = issuer.log.snapshot()
    eventually(lambda: (verifier.picture.id, verifier.picture.as_of) == (head.id, head.as_of))


def pass_time(verifier: Verifier, issuer: Issuer, clock: MovableClock, ms: int) -> None:
    """Let time pass while the issuer keeps beating."""
    clock.advance(ms)
    issuer.beat()
    catch_up(verifier, issuer)


def is_granted(verifier: Verifier, token: str) -> bool:
    try:
        read(verifier, token)
    except VerificationError:
        return False
    return True
