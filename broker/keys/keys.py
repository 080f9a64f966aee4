"""The broker's own keys as one worker holds them: token keys sign tokens, feed keys sign the feed, and neither the other's.

All replicas have one record of them in the store, mirrored to their folder. The follower's thread looks at it with every beat,
so that a change reaches every worker within a fifth of a second, and a store that was lost gets the record back.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from broker.errors import ConfigurationError, Unavailable
from broker.keys import record as records
from broker.keys.custody import Custody
from broker.keys.folder import KeyFolder
from broker.keys.record import Key, KeyRecord, Use
from broker.store import Store, SyncStore, feed_key
from scopes.clock import Clock
from scopes.keys import Signer

KEY = feed_key("keys")
_TRIES = 10
_LOG = logging.getLogger(__name__)

Change = Callable[[KeyRecord], KeyRecord]
"""Returns what a record is to become; called again where somebody else was faster."""


class Keys:
    """Signs with the key whose turn it is. `custodies` are where keys are kept; new ones are made by the first."""

    def __init__(
        self, folder: KeyFolder, *, custodies: Sequence[Custody], store: Store, follower: SyncStore, clock: Clock
    ) -> None:
        self._folder = folder
        self._custodies = {custody.name: custody for custody in custodies}
        self._store = store
        self._reader = follower
        self._clock = clock
        self._script = store.script("broker.keys", "replace", even_when_full=True)
        self._signers: dict[str, Signer] = {}
        # Together, for two threads replace them: what is written over a record has to be made from just that record.
        self._held: tuple[bytes | None, KeyRecord] = (None, folder.record)
        self._foreign: bytes | None = None
        self.custody: Custody = custodies[0]

    @property
    def record(self) -> KeyRecord:
        """Every key, as far as this worker knows."""
        return self._held[1]

    @property
    def token(self) -> Signer:
        """The key that signs tokens now; raises `Unavailable` if there is none, or none is known to be right."""
        return self._signer("token")

    @property
    def feed(self) -> Signer:
        """The key that signs the feed now; raises `Unavailable` if there is none, or none is known to be right."""
        return self._signer("feed")

    @property
    def token_jwks(self) -> bytes:
        """The public token keys as a JWKS (RFC 7517 §5)."""
        return self._jwks("token")

    @property
    def feed_jwks(self) -> bytes:
        """The public feed keys as a JWKS."""
        return self._jwks("feed")

    @property
    def known_feed_jwks(self) -> bytes:
        """Every feed key that was not revoked: what is kept was signed when it was, and is read for as long as it is."""
        return records.jwks(self.record.known("feed"))

    def now(self) -> int:
        """Return the time by which keys begin and retire; a worker whose clock is off by a second signs nothing anyway."""
        return self._clock.now().wall

    def catch_up(self) -> None:
        """Take up the store's record, and add what it lacks; raise `Unavailable` if the store does not answer."""
        raw = self._reader.call("GET", KEY) or b""
        for _ in range(_TRIES):
            if raw == self._held[0]:
                self._foreign = None
            if raw in (self._held[0], self._foreign):
                return
            wanted = self._completed(raw)
            if wanted is None:
                return
            answer = raw if wanted == raw else self._reader.run(self._script, [KEY], [raw, wanted])
            if answer == wanted:
                self._hold(wanted)
                self._mirror()
                return
            raw = answer

    async def change(self, change: Change) -> KeyRecord:
        """Change the record for all workers; raise `Unavailable` where that is not certain."""
        for _ in range(_TRIES):
            self._check_known()
            before, record = self._held
            wanted = records.encode(change(record))
            if wanted == before:
                return record
            answer = await self._store.run(self._script, [KEY], [before or b"", wanted])
            if answer != wanted:
                self._lost_to(answer)
                continue
            self._hold(wanted)
            await asyncio.to_thread(self._mirror)
            return self.record
        raise Unavailable("others change the keys at the same time; try again", retry_after=1)

    def discard(self, key: Key) -> None:
        """Destroy the private part of a key that is not needed any more; raise `Unavailable` where it cannot be reached."""
        if key.kept in self._custodies and key.private:
            self._custodies[key.kept].discard(key.private)

    def close(self) -> None:
        """Let go of what keeps the keys."""
        for custody in self._custodies.values():
            custody.close()

    def _signer(self, use: Use) -> Signer:
        self._check_known()
        key = self.record.signing(use, self.now())
        if key is None:
            raise Unavailable(f"no {use} key is active; the next one is made within seconds", retry_after=5)
        return self._of(key)

    def _of(self, key: Key) -> Signer:
        known = self._signers.get(key.kid)
        if known is None:
            custody = self._custodies.get(key.kept)
            if custody is None:
                raise Unavailable(f"the key {key.kid} is kept in {key.kept}, which is not configured", retry_after=30)
            known = self._signers[key.kid] = custody.signer(key)
        return known

    def _check_known(self) -> None:
        if self._foreign is not None:
            raise Unavailable("the store's keys are not those of this key folder", retry_after=30)
        if self._held[0] is None:
            raise Unavailable("the record of keys has not been read from the store yet", retry_after=1)

    def _jwks(self, use: Use) -> bytes:
        return records.jwks(self.record.published(use, self.now()))

    def _completed(self, raw: bytes) -> bytes | None:
        """Return the store's record with what only this worker knows; `None` where it is not one of ours."""
        if not raw:
            return records.encode(records.pruned(self.record, self.now()))
        try:
            stored = records.decode(raw)
        except msgspec.MsgspecError:
            self._refuse(raw, "the store's record of keys cannot be read")
            return None
        if stored.wrapping != self._folder.wrapping.id:
            self._refuse(raw, f"the store's keys are wrapped under another key than {self._folder.path}'s")
            return None
        both = records.pruned(records.merged(stored, self.record), self.now())
        return raw if both == records.pruned(stored, self.now()) else records.encode(both)

    def _lost_to(self, raw: bytes) -> None:
        """Take up the record of whoever was faster; what it lacks, the follower adds with its next beat."""
        if self._completed(raw) is not None:
            self._hold(raw or records.encode(self.record))

    def _refuse(self, raw: bytes, why: str) -> None:
        self._foreign = raw
        _LOG.error("%s; nothing is signed: copy the key folder of the other replicas", why)

    def _hold(self, raw: bytes) -> None:
        self._held, self._foreign = (raw, records.decode(raw)), None
        self._signers = {kid: signer for kid, signer in self._signers.items() if self._may_sign(kid)}

    def _mirror(self) -> None:
        try:
            self._folder.write(self.record)
        except (OSError, ConfigurationError) as error:
            _LOG.error("the record of keys cannot be mirrored to %s: %s", self._folder.path, error)

    def _may_sign(self, kid: str) -> bool:
        key = self.record.get(kid)
        return key is not None and not key.revoked
