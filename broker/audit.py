"""What happened, who did it, and why: recorded before anything leaves, never with a token (`MISSION.md` J1, J3).

Records of one agent or operator are in one shard's stream, in the order in which they were written.
"""

import asyncio
import re
from typing import NamedTuple

import msgspec

from broker.errors import InvalidRequest
from broker.store import Store, key, shard_of
from broker.store.shards import SHARDS
from scopes import ulid
from scopes.clock import Clock

_CURSOR = re.compile(r"([0-9]{1,15}-[0-9]{1,19})\.([0-9]{1,2})")


NOTHING = msgspec.Raw()


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One audit record. What agents and operators wrote is in `said`, and only there. The store adds the time.

    `seen` are the facts that policies saw of a request for a token, so that it can be decided again by others; `shadow` are
    the policies in shadow mode that would have turned the answer.
    """

    kind: str
    id: str = ""
    agent: str | None = None
    workload: str | None = None
    operator: str | None = None
    instance: str | None = None
    user: str | None = None
    task: str | None = None
    lease: str | None = None
    scope: str | None = None
    use: str | None = None
    reason: str | None = None
    policies: tuple[str, ...] = ()
    policy_version: str | None = None
    previous: str | None = None
    epoch: str | None = None
    position: int | None = None
    selector: str | None = None
    said: str | None = None
    shadow: tuple[str, ...] = ()
    seen: msgspec.Raw = NOTHING


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
        self._append = store.script("broker", "audit")
        self._append_end = store.script("broker", "audit", even_when_full=True)

    def encode(self, record: Record) -> bytes:
        """Give the record its id and return the bytes that another room's script writes with what it records."""
        return msgspec.json.encode(msgspec.structs.replace(record, id=f"evt_{ulid.new(self._clock.now().wall)}"))

    async def append(self, record: Record) -> None:
        """Write one record; raise `Unavailable` if it is not certain that it was written."""
        await self._store.run(self._append, [_stream(_owner(record))], [self.encode(record)])

    async def append_end(self, record: Record) -> None:
        """Write a record of something that was ended, also where the store is full; otherwise as `append`."""
        await self.append_encoded(_owner(record), self.encode(record))

    async def append_encoded(self, owner: str, encoded: bytes) -> None:
        """Write a record that was encoded before, of something that this operator or agent ended."""
        await self._store.run(self._append_end, [_stream(owner)], [encoded])

    async def read(self, cursor: str = "", *, since: int = 0, most: int = 100) -> list[Entry]:
        """Return up to `most` records after the cursor, oldest first; where it is empty, those since then (milliseconds).

        The present millisecond is left for the next reading: a record may still be added to it, before one already seen.
        """
        after, after_shard = _parsed(cursor) if cursor else (f"{since}-0", -1)
        time = await self._store.call("TIME")
        last = f"{int(time[0]) * 1000 + int(time[1]) // 1000 - 1}"

        async def of_shard(shard: int) -> list[Entry]:
            start = f"({after}" if shard <= after_shard else after
            found = await self._store.call("XRANGE", key(shard, "audit"), start, last, "COUNT", most)
            return [_entry(shard, id, fields) for id, fields in found]

        shards = await asyncio.gather(*map(of_shard, range(SHARDS)))
        return sorted((entry for entries in shards for entry in entries), key=_order)[:most]


def _owner(record: Record) -> str:
    return record.agent or record.operator or record.workload or ""


def _stream(owner: str) -> str:
    return key(shard_of(owner), "audit")


def _parsed(cursor: str) -> tuple[str, int]:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InvalidRequest("this cursor was not given out here; leave it out to begin at the oldest record")
    return match[1], int(match[2])


def _order(entry: Entry) -> tuple[int, int, int]:
    id, _, shard = entry.cursor.partition(".")
    milliseconds, _, number = id.partition("-")
    return int(milliseconds), int(number), int(shard)


def _entry(shard: int, id: bytes, fields: list[bytes]) -> Entry:
    _, time, _, record = fields
    return Entry(f"{id.decode()}.{shard}", int(time), msgspec.json.decode(record, type=Record))
