"""Tokens as the feed sees them."""

import msgspec

from scopes import claims as token_claims
from scopes.claims import Claims
from scopes.revocations import Revocable, revocable
from tests.scopes.tokens import members

KID = "kid-1"
_LEASE: dict[str, object] = {"user": True, "instance": "pod-1", "path": ["tsk_01", "tsk_02", "tsk_03"], "ends_on_taint": True}


def token(**changes: object) -> tuple[Claims, Revocable]:
    """Return the claims of a token, and all of it that can be ended."""
    claims, scope = token_claims.decode(msgspec.json.encode(members(now=1_795_318_537, **changes)))  # type: ignore[arg-type]
    return claims, revocable(claims, scope, KID)


def held(**lease: object) -> Revocable:
    """Return a token that has everything an event can name."""
    return token(sub="corp:jane", act={"sub": "spiffe://prod.example.com/bot"}, lease=_LEASE | lease)[1]
