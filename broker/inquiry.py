"""The use case of answering a service about a token that was made for it (RFC 7662): the picture first, the lease second."""

from functools import lru_cache

from broker.callers import Callers
from broker.errors import Unavailable
from broker.feed.follower import Follower
from broker.identity import Presented
from broker.keys import Keys
from broker.leases import Leases
from scopes import claims as token_claims
from scopes import jose
from scopes.claims import TOKEN_TYPE, Claims
from scopes.errors import InvalidDocument
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Revocable, revocable

_TYPES: frozenset[str | None] = frozenset({TOKEN_TYPE})


class Inquiry:
    """Tells whether a token is in force. What is not known for certain is never told to be."""

    def __init__(self, *, issuer: str, keys: Keys, callers: Callers, follower: Follower, leases: Leases) -> None:
        self._issuer = issuer
        self._keys = keys
        self._callers = callers
        self._follower = follower
        self._leases = leases

    async def introspect(self, presented: Presented, unverified_token: str) -> Claims | None:
        """Return what a token in force says; `None` for anything else, another service's token included.

        Raises `InvalidClient`, `AccessDenied` for a caller that may ask about no token at all, and `Unavailable` where this
        worker or the store cannot tell.
        """
        audiences = await self._callers.audiences(presented)
        picture = self._follower.standpoint().picture
        known = read(unverified_token, issuer=self._issuer, token_keys=self._keys.token_jwks)
        if known is None:
            return None
        claims, token = known
        if claims.aud not in audiences or token.epoch < picture.epoch:
            return None
        if token.epoch > picture.epoch:
            raise Unavailable("this worker has not heard of the epoch of this token yet; ask again", retry_after=1)
        if picture.ended_by(token) is not None:
            return None
        leases = await self._leases.known([claims.jti], picture)
        return claims if [lease.status for lease in leases] == ["live"] else None


def read(unverified_token: str, *, issuer: str, token_keys: bytes) -> tuple[Claims, Revocable] | None:
    """Return what a token of this issuer says and what can end it, whether or not something has; `None` for any other text."""
    try:
        jws = jose.read(unverified_token, types=_TYPES)
        claims, scope = token_claims.decode(jws.verified_payload(_key_set(token_keys)))
    except InvalidDocument:
        return None
    if claims.iss != issuer:
        return None
    return claims, revocable(claims, scope, jws.unverified_header.kid)


@lru_cache(maxsize=4)
def _key_set(jwks: bytes) -> KeySet:
    return KeySet.parse(jwks, algorithms=TOKEN_ALGORITHMS)
