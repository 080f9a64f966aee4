"""What happened, who did it, and why: recorded before anything leaves, never with a token (`MISSION.md` J1, J3).

Records of one agent or operator are in one shard's stream, in the order in which they were written.
"""

from typing import NamedTuple

import msgspec

from broker import ulid
from broker.errors import InvalidRequest
from broker.store import Store, key, shard_of
from broker.store.shards import SHARDS
from scopes.clock import Clock


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One audit record. What agents and operators wrote is in `said`, and only there. The store adds the time."""

    kind: str
    id: str = ""
    agent: str | None = None
    workload: str | None = None
    operator: str | None = None
    task: str | None = None
    lease: str | None = None
    scope: str | None = None
    reason: str | None = None
    policies: tuple[str, ...] = ()
    policy_version: str | None = None
    epoch: str | None = None
    position: int | None = None
    selector: str | None = None
    said: str | None = None


class Entry(NamedTuple):
    """A record as it was kept. `time` is milliseconds by the store's clock; `cursor` is where to go on reading."""

    cursor: str
    time: int
    record: Record


class Audit:
    """Writes records by themselves, and reads all of them in the order of time."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def encode(self, record: Record) -> bytes:
        """Give the record its id and return the bytes that another room's script writes with what it records."""
        return msgspec.json.encode(msgspec.structs.replace(record, id=f"evt_{ulid.new(self._clock.now().wall)}"))

    async def append(self, record: Record) -> None:
        """Write one record; raise `Unavailable` if it is not certain that it was written."""
        stream = key(shard_of(record.agent or record.operator or ""), "audit")
        await self._store.call("XADD", stream, "*", "time", self._clock.now().wall, "record", self.encode(record))

    async def read(self, cursor: str = "", *, most: int = 100) -> list[Entry]:
        """Return up to `most` records after the cursor, oldest first; all of them where the cursor is empty.

        The present millisecond is left for the next reading: a record may still be added to it, before one already seen.
        """
        after, after_shard = _parsed(cursor)
        time = await self._store.call("TIME")
        last = f"{int(time[0]) * 1000 + int(time[1]) // 1000 - 1}"
        entries = []
        for shard in range(SHARDS):
            start = f"({after}" if shard <= after_shard else after
            for id, fields in await self._store.call("XRANGE", key(shard, "audit"), start, last, "COUNT", most):
                entries.append((_order(id), shard, fields))
        return [_entry(*entry) for entry in sorted(entries, key=lambda entry: entry[:2])[:most]]


def _parsed(cursor: str) -> tuple[str, int]:
    if not cursor:
        return "0-0", -1
    id, _, shard = cursor.partition(".")
    milliseconds, _, number = id.partition("-")
    if not (milliseconds.isdecimal() and number.isdecimal() and shard.isdecimal()):
        raise InvalidRequest("this cursor was not given out here; leave it out to begin at the oldest record")
    return id, int(shard)


def _order(id: bytes) -> tuple[int, int]:
    milliseconds, number = id.split(b"-")
    return int(milliseconds), int(number)


def _entry(order: tuple[int, int], shard: int, fields: dict[bytes, bytes]) -> Entry:
    record = msgspec.json.decode(fields[b"record"], type=Record)
    return Entry(f"{order[0]}-{order[1]}.{shard}", int(fields[b"time"]), record)
