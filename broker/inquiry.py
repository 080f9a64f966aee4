"""The use case of answering a service about a token that was made for it (RFC 7662): the picture first, the lease second."""

from broker import own_token
from broker.callers import Callers
from broker.feed.follower import Follower
from broker.identity import Presented
from broker.keys.keys import Keys
from broker.leases import Leases
from scopes.claims import Claims


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
        audiences = self._callers.audiences(await self._callers.workload(presented), "token:introspect")
        picture = self._follower.standpoint().picture
        token = own_token.read(unverified_token, issuer=self._issuer, jwks=self._keys.token_jwks)
        if token is None or token.claims.aud not in audiences or token.is_over(picture):
            return None
        leases = await self._leases.known([token.claims.jti], picture)
        return token.claims if [lease.status for lease in leases] == ["live"] else None
