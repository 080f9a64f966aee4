"""The use case of giving a token back: whoever holds it has no use for it any more (RFC 7009)."""

from broker import own_token
from broker.audit import Audit, Record
from broker.callers import Callers
from broker.errors import AccessDenied, InvalidGrant, UnsupportedTokenType
from broker.feed.event import new_event
from broker.feed.follower import Follower
from broker.feed.log import Log
from broker.identity import Presented
from broker.keys.keys import Keys
from broker.leases import Leases
from scopes.claims import Claims
from scopes.clock import Clock


class Returning:
    """Ends the lease of a token that its agent gives back. No policy is asked: to have less is everybody's right."""

    def __init__(
        self,
        *,
        issuer: str,
        keys: Keys,
        callers: Callers,
        log: Log,
        follower: Follower,
        leases: Leases,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._issuer = issuer
        self._keys = keys
        self._callers = callers
        self._log = log
        self._follower = follower
        self._leases = leases
        self._audit = audit
        self._clock = clock

    async def __call__(self, presented: Presented, unverified_token: str) -> None:
        """End the token; what is over or unknown changes nothing (RFC 7009 §2.2).

        Raises `InvalidClient`, `AccessDenied` for whoever is no agent, `InvalidGrant` for another agent's token,
        `UnsupportedTokenType` for what is no access token, and `Unavailable` where it is not certain that it has ended.
        """
        caller = await self._callers.identify(presented)
        if caller.kind != "Agent":
            raise AccessDenied("this is for agents", reason="not_an_agent")
        picture = self._follower.standpoint().picture
        token = own_token.read(unverified_token, issuer=self._issuer, jwks=self._keys.token_jwks)
        if token is None:
            _check_kind(unverified_token)
            return
        if token.claims.client_id != caller.name:
            raise InvalidGrant("the token was given to another agent")
        if not token.is_over(picture):
            await self._end(token.claims, caller.workload)

    async def _end(self, claims: Claims, workload: str | None) -> None:
        record = Record(kind="token.returned", agent=claims.client_id, workload=workload, lease=claims.jti, scope=claims.scope)
        # Before the event: who asks again after it finds the token ended, and would write no record any more.
        await self._audit.append_end(record)
        now = self._clock.now().wall
        event = new_event("lease", claims.jti, now=now, expires=claims.exp * 1000, audiences=(claims.aud,))
        await self._log.append(claims.lease.epoch, [event])
        await self._leases.end([claims.jti], "revoked")


def _check_kind(unverified_token: str) -> None:
    # To answer 200 would be to say that it has ended (TRAPS 19).
    if own_token.is_of_another_kind(unverified_token):
        raise UnsupportedTokenType("this is no access token; only those are given back here")
