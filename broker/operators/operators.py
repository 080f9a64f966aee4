"""Operators sign one assertion per request with a key that the registry names (RFC 7523 §3)."""

from collections.abc import Callable

import msgspec

from broker.errors import InvalidClient
from broker.store import Store, key, shard_of
from scopes import jose, strict_json
from scopes.clock import Clock
from scopes.errors import InvalidDocument
from scopes.keys import KeySet

ASSERTION_LIFETIME = 60
"""The seconds an operator's assertion may live."""

MAX_SKEW = 30
"""The seconds by which an assertion may be from the future (`DESIGN.md` 5)."""

# The record of a spent assertion must outlive every moment at which it is still accepted, so it is kept for the skew
# on top of its lifetime, and a little more.
_SPENT_FOR = (ASSERTION_LIFETIME + MAX_SKEW + 10) * 1000

_TYPES: frozenset[str | None] = frozenset({"jwt", "client-authentication+jwt", None})


class _AssertionClaims(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claims of RFC 7523 §3; `aud` is the issuer alone, as a string (draft-ietf-oauth-rfc7523bis)."""

    iss: str
    sub: str
    aud: str
    exp: int
    iat: int
    jti: str


class Operators:
    """Authenticates operators."""

    def __init__(self, keys: Callable[[str], KeySet], *, store: Store, audience: str, clock: Clock) -> None:
        """Accept operators by the keys that `keys` returns for their names; none for a name that is no operator's."""
        self._keys = keys
        self._store = store
        self._audience = audience
        self._clock = clock
        self._spend = store.script("broker.operators", "spend", even_when_full=True)

    async def authenticate(self, unverified_assertion: str) -> str:
        """Return the operator's name, and spend the assertion; raise `InvalidClient`, or `Unavailable` without a store."""
        try:
            claims = self._verified(unverified_assertion)
        except InvalidDocument as error:
            raise InvalidClient(f"the operator's assertion is not accepted: {error}") from None
        spent = [key(shard_of(claims.sub), "spent")]
        until = self._clock.now().wall + _SPENT_FOR
        if not await self._store.run(self._spend, spent, [f"{claims.sub} {claims.jti}", until]):
            raise InvalidClient("the operator's assertion was used before; sign one for each request")
        return claims.sub

    def _verified(self, unverified_assertion: str) -> _AssertionClaims:
        jws = jose.read(unverified_assertion, types=_TYPES)
        unverified_claims = strict_json.decode(jws.unverified_payload, type=_AssertionClaims, max_bytes=jose.MAX_TOKEN_BYTES)
        # Whose key to use stands in the assertion; nothing else of it is used before the signature is checked.
        keys = self._keys(unverified_claims.sub)
        claims = strict_json.decode(jws.verified_payload(keys), type=_AssertionClaims, max_bytes=jose.MAX_TOKEN_BYTES)
        self._check(claims)
        return claims

    def _check(self, claims: _AssertionClaims) -> None:
        now = self._clock.now().wall // 1000
        if claims.iss != claims.sub or claims.aud != self._audience or not claims.jti:
            raise InvalidDocument(f"iss and sub have to be the operator, aud {self._audience} alone, jti present")
        if not claims.iat <= claims.exp <= claims.iat + ASSERTION_LIFETIME:
            raise InvalidDocument(f"it may live {ASSERTION_LIFETIME} seconds at most")
        if now >= claims.exp or claims.iat > now + MAX_SKEW:
            raise InvalidDocument("it has expired, or is from the future; compare the clocks")
