"""The use case of counting a use of a token, for the service that is about to make it: exactly once (`TRAPS.md` 15a).

The picture first, the lease second. What was counted in a store that turns out to be another one, or an earlier copy of itself,
was counted nowhere: whoever asks hears that it is not known.
"""

from collections.abc import Collection

from broker import own_token
from broker.audit import Audit, Record
from broker.callers import Callers
from broker.errors import AlreadyUsed, Expired, InvalidRequest, NotFound, Revoked, Unavailable
from broker.feed.follower import Follower, Standpoint
from broker.feed.log import Log
from broker.keys.keys import Keys
from broker.leases import Leases, NewUse
from broker.own_token import OwnToken
from broker.store import Store
from broker.store.watch import Watch
from broker.workload import Workload
from scopes.claims import Claims
from scopes.revocations import Picture


class Consumption:
    """Counts uses of tokens that may be used so often only. Nobody but the token's own service can spend any of them."""

    def __init__(
        self,
        *,
        issuer: str,
        keys: Keys,
        callers: Callers,
        follower: Follower,
        leases: Leases,
        log: Log,
        store: Store,
        audit: Audit,
        watch: Watch,
    ) -> None:
        self._issuer = issuer
        self._keys = keys
        self._callers = callers
        self._follower = follower
        self._leases = leases
        self._log = log
        self._store = store
        self._audit = audit
        self._watch = watch

    async def __call__(self, workload: Workload, unverified_token: str, use: str) -> str:
        """Count a use by its id, which its service chose, and return the lease; the same use again counts nothing.

        Raises `AccessDenied` for a workload that may consume no token at all, `NotFound` for what is no token of its service,
        `InvalidRequest` for a token that is not counted, `AlreadyUsed`, `Expired`, `Revoked`, and `Unavailable` where it is not
        certain that the use was counted.
        """
        audiences = self._callers.audiences(workload, "token:consume")
        standpoint = self._follower.standpoint()
        self._watch.check()
        token = own_token.read(unverified_token, issuer=self._issuer, jwks=self._keys.token_jwks)
        if token is None:
            raise NotFound(_UNKNOWN)
        try:
            most = _most_uses(token, audiences, standpoint.picture)
            record = _record("token.used", token.claims, use, workload)
            await self._leases.consume(NewUse(token.claims.jti, use, most, token.claims.exp * 1000, self._audit.encode(record)))
            await self._check_still_true(token, standpoint)
        except (NotFound, AlreadyUsed, Expired, Revoked) as refusal:
            await self._audit.append(_record("token.use_refused", token.claims, use, workload, reason=refusal.reason))
            raise
        return token.claims.jti

    async def _check_still_true(self, token: OwnToken, standpoint: Standpoint) -> None:
        """Raise `Unavailable` if the use may have been counted in another life of the store, `Revoked` if it came too late."""
        # The store itself is asked, and after it counted: this worker may not have heard yet of an epoch that another one
        # began, or of a log that went back without a restart. What was counted since the copy was taken would be forgotten.
        life = await self._log.life()
        is_same = life.epoch == token.revocable.epoch and life.run_id == standpoint.run_id == self._store.run_id
        if not is_same or life.seq < standpoint.picture.seq:
            raise Unavailable("the store was lost or restarted meanwhile, so the use does not count; ask again", retry_after=1)
        if self._follower.standpoint().picture.ended_by(token.revocable) is not None:
            raise Revoked(_ENDED)


_UNKNOWN = "there is no such token of this service"
_ENDED = "the token was ended before its time"


def _most_uses(token: OwnToken, audiences: Collection[str], picture: Picture) -> int:
    """Return how often the token may be used; raise what says why it may not be at all."""
    if token.claims.aud not in audiences:
        raise NotFound(_UNKNOWN)
    if token.is_over(picture):
        raise Revoked(_ENDED)
    uses = token.claims.lease.uses
    if uses is None:
        raise InvalidRequest("the uses of this token are not counted; it needs no consuming")
    return uses


def _record(kind: str, claims: Claims, use: str, workload: Workload, *, reason: str | None = None) -> Record:
    return Record(
        kind=kind,
        agent=claims.client_id,
        workload=workload.id,
        task=claims.lease.path[-1],
        lease=claims.jti,
        scope=claims.scope,
        use=use,
        reason=reason,
        epoch=claims.lease.epoch,
        position=claims.lease.position,
    )
