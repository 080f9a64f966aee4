"""The use case of the broker's own keys: each is prepared, activated and retired in its time, or at once when it has to be."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from broker.audit import Audit, Record
from broker.callers import Caller
from broker.endings import check_reason
from broker.errors import NotFound, Unavailable
from broker.feed.follower import Follower
from broker.keys import USES, Key, KeyRecord, Use
from broker.keys import record as records
from broker.keys.keys import Keys
from broker.keys.record import PUBLISHED
from broker.revocation import SCHEDULER, Revocation
from broker.selector import Selector

Decide = Callable[[KeyRecord, Key], KeyRecord]
"""Returns what the record is to become, with the new key where it needs one; called again where somebody else was faster."""


class Replaced(NamedTuple):
    """The key that signs now, and what ended the tokens of the one before it, if any."""

    key: Key
    revocation: str | None


class _Why(NamedTuple):
    """Who changes keys, and why; what an operator wrote is in `said`."""

    by: Caller
    reason: str
    said: str | None = None


_REVOKED, _SCHEDULED = _Why(SCHEDULER, "revoked"), _Why(SCHEDULER, "scheduled")


class Rotation:
    """Rotates keys. Any worker may do it, and all at once: the record is changed by compare-and-set.

    `lifetime` is milliseconds; with 0 keys sign until somebody rotates them.
    """

    def __init__(self, *, keys: Keys, revocation: Revocation, follower: Follower, audit: Audit, lifetime: int) -> None:
        self._keys = keys
        self._revocation = revocation
        self._follower = follower
        self._audit = audit
        self._lifetime = lifetime

    async def keep(self) -> None:
        """Do what is due: replace what was revoked, prepare what comes next, forget what nobody needs. Raises `Unavailable`."""
        picture = self._follower.standpoint().picture
        for key in self._keys.record.keys:
            if not key.revoked and picture.has(f"key {key.kid}"):
                await self._drop(key, _REVOKED)
        for use in USES:
            at = self._due(self._keys.record, use)
            if at is not None:
                await self._change(use, at, self._scheduled, _SCHEDULED)
        await self._forget()

    async def rotate(self, use: Use, reason: str, by: Caller, *, at_once: bool = False) -> Key:
        """Have another key sign once it has been published long enough, or at once; return it.

        One that is prepared already is the one. Raises `Unavailable` where that is not certain.
        """
        check_reason(reason)
        now = self._keys.now()

        def decide(record: KeyRecord, key: Key) -> KeyRecord:
            if at_once:
                return records.at_once(record, key, now)
            return records.with_new(record, key) if record.next(use, now) is None else record

        record = await self._change(use, now if at_once else now + PUBLISHED, decide, _Why(by, "requested", reason))
        key = record.signing(use, now) if at_once else record.next(use, now)
        if key is None:
            raise Unavailable("another rotation came in between; look at the keys and try again", retry_after=1)
        return key

    async def replace(self, kid: str, reason: str, by: Caller) -> Replaced:
        """Revoke a key: another signs first, then this one's tokens end. Raises `NotFound`, `Unavailable` and `Stuck`."""
        check_reason(reason)
        key = self._keys.record.get(kid)
        if key is None:
            raise NotFound(f"there is no key {kid!a}")
        signing = self._keys.record.signing(key.use, self._keys.now())
        if signing is None or signing.kid == kid:
            signing = await self.rotate(key.use, reason, by, at_once=True)
        # A feed key has signed no token that could be ended; verifiers lose it when their streams end with it.
        revoked = await self._revocation.revoke(Selector(key=kid), reason, by) if key.use == "token" else None
        await self._drop(key, _Why(by, "requested", reason))
        return Replaced(signing, revoked.id if revoked is not None else None)

    def _due(self, record: KeyRecord, use: Use) -> int | None:
        """Return when the next key is to begin to sign, `None` where it is too early to prepare one."""
        now = self._keys.now()
        signing = record.signing(use, now)
        if signing is None:
            return now
        if signing.retires is not None:
            return None
        if signing.kept != self._keys.custody.name:
            return now + PUBLISHED
        ends = max(signing.prepared, signing.activates) + self._lifetime
        return max(now + PUBLISHED, ends) if self._lifetime and now >= ends - PUBLISHED else None

    def _scheduled(self, record: KeyRecord, key: Key) -> KeyRecord:
        if self._due(record, key.use) is None:
            return record
        if record.signing(key.use, self._keys.now()) is None:
            return records.at_once(record, key, self._keys.now())
        return records.with_new(record, key)

    async def _drop(self, key: Key, why: _Why) -> None:
        """Publish a revoked key no longer, and have another take its turn."""
        now = self._keys.now()

        def decide(record: KeyRecord, new: Key) -> KeyRecord:
            known = record.get(key.kid)
            if known is None or known.revoked:
                return record
            without = records.revoked(record, key.kid, now)
            if known.state(now) == "prepared":
                return records.with_new(without, msgspec.structs.replace(new, activates=known.activates))
            return records.at_once(without, new, now) if without.signing(key.use, now) is None else without

        await self._change(key.use, now, decide, _REVOKED)
        await asyncio.to_thread(self._keys.discard, key)
        await self._note("key.revoked", key, why)

    async def _change(self, use: Use, at: int, decide: Decide, why: _Why) -> KeyRecord:
        """Make a key and change the record with it; one that was not needed after all is thrown away."""
        made = await asyncio.to_thread(self._keys.custody.make, use)
        public, now = made.public, self._keys.now()
        key = Key(public["kid"], use, public["alg"], public, self._keys.custody.name, made.private, prepared=now, activates=at)
        record = await self._keys.change(lambda record: decide(record, key))
        if record.get(key.kid) is None:
            await asyncio.to_thread(self._keys.discard, key)
        else:
            await self._note("key.prepared", key, why)
        return record

    async def _forget(self) -> None:
        now = self._keys.now()
        gone = [key for key in self._keys.record.keys if key.is_forgotten(now) and (key.private or key.use == "token")]
        if gone:
            await self._keys.change(lambda record: records.pruned(record, now))
        for key in gone:
            await asyncio.to_thread(self._keys.discard, key)

    async def _note(self, kind: str, key: Key, why: _Why) -> None:
        operator = why.by.name if why.by.kind == "Operator" else None
        record = Record(kind=kind, operator=operator, selector=f"key:{key.kid}", reason=why.reason, said=why.said)
        await self._audit.append_end(record)
