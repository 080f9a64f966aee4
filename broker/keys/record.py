"""The record of the broker's keys: every key with its times, from which all else follows (`DESIGN.md` 3.19).

Nothing here is ever taken back but by forgetting: times only get earlier, and what is revoked stays so. So two records can be
merged in any order, and workers that know the same keys at the same moment sign with the same one.
"""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from scopes.claims import MAX_LIFETIME
from scopes.issuer_keys import REFRESH_INTERVAL

Use = Literal["token", "feed"]
USES: tuple[Use, ...] = ("token", "feed")

PUBLISHED = int(REFRESH_INTERVAL * 1000) + 120_000
"""The milliseconds for which a key is published before it signs: all verifiers fetch once in their interval, and two minutes
are for a proxy that answers from its cache for one, and for a fetch that had to be repeated."""

ALIVE = MAX_LIFETIME * 1000 + 60_000
"""The milliseconds for which a key is published after it has signed: the longest life of a token, and a minute for clocks."""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key. Times are ms; `kept` names where its private part is, and `private` is that part wrapped, or how to find it."""

    kid: str
    use: Use
    alg: str
    public: dict[str, Any]
    kept: str
    private: str
    prepared: int
    activates: int
    retires: int | None = None
    revoked: bool = False

    def state(self, now: int) -> str:
        """Return `prepared`, `active`, `retired` or `revoked`."""
        if self.revoked:
            return "revoked"
        if self.retires is not None and now >= self.retires:
            return "retired"
        return "active" if now >= self.activates else "prepared"

    @property
    def forgets(self) -> int | None:
        """When nothing that it signed can still be honoured; `None` as long as nobody follows it."""
        return self.retires + ALIVE if self.retires is not None else None

    def is_forgotten(self, now: int) -> bool:
        """Tell whether nothing that it signed can still be honoured."""
        return self.forgets is not None and now >= self.forgets

    def __repr__(self) -> str:
        return f"Key({self.kid!r}, {self.use!r})"


class KeyRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every key that is known, under the wrapping key of this id."""

    wrapping: str
    keys: tuple[Key, ...] = ()

    def signing(self, use: Use, now: int) -> Key | None:
        """Return the key that signs now: of several that are active, the one that became so last."""
        active = [key for key in self.keys if key.use == use and key.state(now) == "active"]
        return max(active, key=_order, default=None)

    def next(self, use: Use, now: int) -> Key | None:
        """Return the key that is prepared to sign next."""
        return min((key for key in self.keys if key.use == use and key.state(now) == "prepared"), key=_order, default=None)

    def published(self, use: Use, now: int) -> list[Key]:
        """Return the keys that verify, the newest first: the next, the present, and those whose signatures are still alive."""
        return [key for key in self.known(use) if not key.is_forgotten(now)]

    def known(self, use: Use) -> list[Key]:
        """Return every key that was not revoked, the newest first: for what is signed once, and read for years."""
        return sorted((key for key in self.keys if key.use == use and not key.revoked), key=_order, reverse=True)

    def get(self, kid: str) -> Key | None:
        """Return the key of this id."""
        return next((key for key in self.keys if key.kid == kid), None)


def encode(record: KeyRecord) -> bytes:
    """Spell the record."""
    return msgspec.json.encode(record)


def decode(document: bytes) -> KeyRecord:
    """Read a record; raise `msgspec.MsgspecError` if it is none."""
    return msgspec.json.decode(document, type=KeyRecord)


def with_new(record: KeyRecord, key: Key) -> KeyRecord:
    """Add a key; those of the same use retire when it begins to sign."""
    followed = [_retiring(other, key.activates) if other.use == key.use else other for other in record.keys]
    return _of(record.wrapping, [*followed, key])


def activated(record: KeyRecord, kid: str, now: int) -> KeyRecord:
    """Have a prepared key sign from now on, and the one before it no longer."""
    key = record.get(kid)
    if key is None:
        return record
    others = _of(record.wrapping, [other for other in record.keys if other is not key])
    return with_new(others, msgspec.structs.replace(key, activates=min(key.activates, now)))


def at_once(record: KeyRecord, key: Key, now: int) -> KeyRecord:
    """Have the key that is prepared sign from now on, or the new one where there is none."""
    prepared = record.next(key.use, now)
    return activated(record, prepared.kid, now) if prepared is not None else with_new(record, key)


def revoked(record: KeyRecord, kid: str, now: int) -> KeyRecord:
    """Mark a key as revoked: it is not published any more, and its private part is gone."""
    return _of(record.wrapping, [_revoked(key, now) if key.kid == kid else key for key in record.keys])


def pruned(record: KeyRecord, now: int) -> KeyRecord:
    """Forget keys of which nothing can be alive. Of a key of the feed only the private part: a configuration outlives it."""
    kept = [key for key in record.keys if key.use == "feed" or not key.is_forgotten(now)]
    return _of(record.wrapping, [_without_private(key) if key.is_forgotten(now) else key for key in kept])


def jwks(keys: Iterable[Key]) -> bytes:
    """Spell public keys as a JWKS (RFC 7517 §5)."""
    return msgspec.json.encode({"keys": [key.public for key in keys]})


def merged(one: KeyRecord, other: KeyRecord) -> KeyRecord:
    """Put together what two know. The same in whatever order, and as often as one likes."""
    both = {key.kid: key for key in other.keys}
    keys = [_merged(key, both.pop(key.kid, key)) for key in one.keys]
    return _of(one.wrapping, [*keys, *both.values()])


def _merged(one: Key, other: Key) -> Key:
    ends = [retires for retires in (one.retires, other.retires) if retires is not None]
    key = msgspec.structs.replace(
        one,
        prepared=min(one.prepared, other.prepared),
        activates=min(one.activates, other.activates),
        retires=min(ends, default=None),
    )
    # Whoever has no private part any more is further.
    key = key if other.private else _without_private(key)
    return _revoked(key, key.retires or 0) if one.revoked or other.revoked else key


def _revoked(key: Key, now: int) -> Key:
    return _retiring(_without_private(msgspec.structs.replace(key, revoked=True)), now)


def _without_private(key: Key) -> Key:
    return msgspec.structs.replace(key, private="")


def _retiring(key: Key, when: int) -> Key:
    return msgspec.structs.replace(key, retires=min(when, key.retires) if key.retires is not None else when)


def _of(wrapping: str, keys: Iterable[Key]) -> KeyRecord:
    return KeyRecord(wrapping, tuple(sorted(keys, key=_order)))


def _order(key: Key) -> tuple[int, str]:
    return key.activates, key.kid
