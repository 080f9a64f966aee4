"""Whoever has registered a public key signs one assertion for each request (RFC 7523 §3): operators and workloads alike."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from broker.errors import InvalidClient
from broker.store import Store, key, shard_of
from scopes import jose, strict_json
from scopes.clock import Clock
from scopes.errors import InvalidDocument
from scopes.keys import KeySet

LIFETIME = 60
"""The seconds an assertion may live."""

MAX_SKEW = 30
"""The seconds by which an assertion may be from the future (`DESIGN.md` 5)."""

# The record of a spent assertion must outlive every moment at which it is still accepted, so it is kept for the skew
# on top of its lifetime, and a little more for workers whose clocks differ.
_SPENT_FOR = (LIFETIME + MAX_SKEW + 10) * 1000

_TYPES: frozenset[str | None] = frozenset({"jwt", "client-authentication+jwt", None})


class _Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claims of RFC 7523 §3; `aud` is the issuer alone, as a string (draft-ietf-oauth-rfc7523bis)."""

    iss: str
    sub: str
    aud: str
    exp: int
    iat: int
    jti: str


class Signer(NamedTuple):
    """Who signed an assertion, by name, with which key, and until when it said so, in seconds."""

    name: str
    kid: str
    expires: int


class PrivateKeyAssertions:
    """Accepts each assertion once, whichever worker it is shown to."""

    def __init__(self, keys: Callable[[str], KeySet], *, store: Store, audience: str, clock: Clock) -> None:
        """Accept signers by the keys that `keys` returns for their names; none for a name that nobody has."""
        self._keys = keys
        self._store = store
        self._audience = audience
        self._clock = clock
        self._spend = store.script("broker", "spend", even_when_full=True)

    async def authenticate(self, unverified_assertion: str) -> Signer:
        """Return who signed, and spend the assertion; raise `InvalidClient`, or `Unavailable` without a store."""
        try:
            jws = jose.read(unverified_assertion, types=_TYPES)
            claims = self._verified(jws)
        except InvalidDocument as error:
            raise InvalidClient(f"the assertion is not accepted: {error}") from None
        spent = [key(shard_of(claims.sub), "spent")]
        if not await self._store.run(self._spend, spent, [f"{claims.sub} {claims.jti}", _SPENT_FOR]):
            raise InvalidClient("the assertion was used before; sign one for each request")
        return Signer(claims.sub, jws.unverified_header.kid, claims.exp)

    def _verified(self, jws: jose.UnverifiedJws) -> _Claims:
        unverified_claims = strict_json.decode(jws.unverified_payload, type=_Claims, max_bytes=jose.MAX_TOKEN_BYTES)
        # Whose key to use stands in the assertion; nothing else of it is used before the signature is checked.
        keys = self._keys(unverified_claims.sub)
        claims = strict_json.decode(jws.verified_payload(keys), type=_Claims, max_bytes=jose.MAX_TOKEN_BYTES)
        self._check(claims)
        return claims

    def _check(self, claims: _Claims) -> None:
        now = self._clock.now().wall // 1000
        if claims.iss != claims.sub or claims.aud != self._audience or not claims.jti:
            raise InvalidDocument(f"iss and sub have to be the name of who signs, aud {self._audience} alone, jti present")
        if not claims.iat <= claims.exp <= claims.iat + LIFETIME:
            raise InvalidDocument(f"it may live {LIFETIME} seconds at most")
        if now >= claims.exp or claims.iat > now + MAX_SKEW:
            raise InvalidDocument("it has expired, or is from the future; compare the clocks")
