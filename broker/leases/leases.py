"""Leases on Redis: issued by one script, listed, ended, forgotten. Tokens are never here."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from broker.errors import AlreadyUsed, BrokerError, Expired, LimitReached, NotFound, Revoked, Unavailable
from broker.leases.classes import DecisionClass
from broker.leases.records import LEASE, Ended, Lease, LeaseRecord, Mark, Settled, parse
from broker.leases.volume import Volume, flattened
from broker.store import Store, key, repeatable_id, shard_of, shard_of_id, sharded_id
from broker.store.shards import SHARDS
from scopes.revocations import Picture

KEPT_AFTER_END = 600_000
"""The milliseconds for which an ended lease can still be shown; afterwards the audit knows it."""

MAX_LAG = 60_000
"""The milliseconds by which ending leases and tasks of a shard may be late before nothing is issued in it: giving must not
outrun taking away."""

PAGE = 100
"""How many leases are looked at at once, so that each step is a millisecond for the store and few for the worker."""

SWEEP = 500
"""How many leases are moved or forgotten at once: about a millisecond for the store, and nothing for the worker."""

CLAIM = 5_000
"""The milliseconds for which one worker keeps house in a shard unless it says so again; a worker that died is replaced then."""

_BATCH = 500


class NewLease(NamedTuple):
    """A lease to be written. `longest` is its longest life in milliseconds; `audit` the record that goes with it.

    `last` is the moment at which the agent's last day is over, in milliseconds. `volumes` count it, and may refuse it.
    """

    id: str
    agent: str
    record: LeaseRecord
    decision_class: DecisionClass
    longest: int
    volumes: tuple[Volume, ...]
    audit: bytes
    last: int


class Written(NamedTuple):
    """A lease as it stands in the store; times are seconds. What was written before is told as it was written then."""

    issued: int
    expires: int
    record: LeaseRecord
    decision_class: DecisionClass


class LiveClass(NamedTuple):
    """A decision class that still has a live lease, and the latest expiry of those, in milliseconds."""

    id: str
    expires: int
    decision_class: DecisionClass


class NewUse(NamedTuple):
    """A use of a lease to be counted, by an id of its maker: at most `most` are, and `audit` is the record that goes with it.

    `expires` is when the lease's token does, in milliseconds.
    """

    lease: str
    id: str
    most: int
    expires: int
    audit: bytes


class LeaseEnded(Exception):
    """The lease that is to be repeated has ended."""


class TaskClosed(Exception):
    """The task ended, or has no time left, while the lease was asked for."""


class AgentEnded(Exception):
    """The agent's last day is over by the store's clock."""


class Leases:
    """All leases of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._issue = store.script("broker.leases", "issue")
        self._consume = store.script("broker.leases", "consume")
        names = ("end", "forget", "list", "expire", "keep", "floor")
        self._end, self._forget, self._list, self._expire, self._keep, self._floor = (
            store.script("broker.leases", name, even_when_full=True) for name in names
        )
        self._forget_classes, self._live_classes = (
            store.script("broker.leases", name, even_when_full=True) for name in ("forget_classes", "live_classes")
        )

    @staticmethod
    def new_id(agent: str, *, now: int, seed: bytes | None = None) -> str:
        """Make an id in the agent's shard; from a seed, always the same one."""
        shard = shard_of(agent)
        return sharded_id(LEASE, shard=shard, now=now) if seed is None else repeatable_id(LEASE, shard=shard, seed=seed)

    async def issue(self, lease: NewLease) -> Written:
        """Write lease, counters and audit record in one atomic step, or none of them.

        To repeat it, with the same id, is safe and gives what was written first. Raises `TaskClosed`, `AgentEnded`,
        `LimitReached`, `LeaseEnded` for a repetition that comes too late, or `Unavailable` where it is not certain, where it
        was decided below the floor, or where the ending of leases or tasks of this shard is more than `MAX_LAG` late.
        """
        outcome, *rest = await self._store.run(self._issue, *_written(lease))
        if outcome == b"issued":
            issued, expires, record, decision_class = rest
            kept = DecisionClass.read(decision_class.decode())
            return Written(issued, expires, LeaseRecord.read(record.decode()), kept)
        if outcome in _REFUSALS:
            raise _REFUSALS[outcome]
        name, seconds = outcome.decode(), -(-rest[0] // 1000)
        if name == "lagging":
            raise Unavailable("what has to end first has not been ended yet; try again", retry_after=seconds)
        if name == "overtaken":
            said = "another configuration came into force while this was decided; ask again"
            raise Unavailable(said, reason="configuration_pending", retry_after=seconds)
        raise LimitReached(f"the limit {name} is reached", reason=name, retry_after=seconds)

    async def consume(self, use: NewUse) -> None:
        """Count a use of a live lease and record it, in one atomic step, or do neither.

        To repeat it, with the same id, is safe and counts nothing. Raises `AlreadyUsed`, `Expired`, `Revoked` for a lease that
        ended or is not known, and `Unavailable` where it is not certain whether it was counted.
        """
        shard = shard_of_id(use.lease, LEASE)
        if shard is None:
            raise Revoked("the token has no lease")
        keys = [key(shard, *part) for part in (("leases",), ("uses", use.lease), ("audit",))]
        outcome = await self._store.run(self._consume, keys, [use.lease, use.id, use.most, use.expires, use.audit])
        if outcome != b"used":
            refusal, message = _UNUSABLE[outcome]
            raise refusal(message)

    async def raise_floors(self, epoch: str, seq: int) -> None:
        """Write no lease any more that was decided before this place of the log; raise `Unavailable` if that is not certain."""
        await asyncio.gather(*(self.raise_floor(shard, epoch, seq) for shard in range(SHARDS)))

    async def raise_floor(self, shard: int, epoch: str, seq: int) -> None:
        """Write no lease of a shard any more that was decided before this place of the log; otherwise as `raise_floors`."""
        await self._store.run(self._floor, [key(shard, "floor")], [epoch, seq])

    async def end(self, ids: Iterable[str], how: Ended) -> int:
        """Mark leases as ended and return how many still were live; unknown ids change nothing."""
        changed = 0
        for shard, own in _by_shard(ids).items():
            for start in range(0, len(own), _BATCH):
                batch = own[start : start + _BATCH]
                keys = [key(shard, part) for part in ("due", "ended", "leases", "class")]
                changed += await self._store.run(self._end, keys, [key(shard, ""), how, *batch])
        return changed

    async def find(self, id: str, picture: Picture) -> Lease:
        """Return one lease; raise `NotFound`."""
        found = await self.known([id], picture)
        if not found:
            raise NotFound(f"there is no lease {id!a}, or it ended more than {KEPT_AFTER_END // 60000} minutes ago")
        return found[0]

    async def known(self, ids: Iterable[str], picture: Picture) -> list[Lease]:
        """Return those of the leases that are still kept."""
        found = []
        for shard, own in _by_shard(ids).items():
            for start in range(0, len(own), _BATCH):
                found += await self._read(shard, key(shard, "due"), ("-", *own[start : start + _BATCH]), picture)
        return found

    async def page(self, shard: int, index: Sequence[str], ranks: tuple[int, int], picture: Picture) -> list[Lease]:
        """Return leases of a shard in the order of an index, by rank; fewer than asked for only at its end."""
        return await self._read(shard, key(shard, *index), ranks, picture)

    async def settle(self, shard: int, index: Sequence[str], after: Mark, picture: Picture, *, most: int = PAGE) -> Mark | None:
        """Mark what the picture has ended among the next leases of an index of times; return where to go on, or no place."""
        page = await self._read(shard, key(shard, *index), (">", *after, most), picture)
        await self._end_revoked(page)
        # What was ended is in the index no more, so it is after the last that stays that the rest begins.
        stays = [lease for lease in page if lease.status != "revoked"]
        last = Mark(stays[-1].id, stays[-1].times.expires * 1000) if stays else after
        return last if len(page) == most else None

    async def settle_known(self, ids: Iterable[str], picture: Picture) -> None:
        """Mark those of the leases that the picture has ended."""
        await self._end_revoked(await self.known(ids, picture))

    async def _end_revoked(self, leases: Iterable[Lease]) -> None:
        await self.end((lease.id for lease in leases if lease.status == "revoked"), "revoked")

    async def keep(self, shard: int, worker: str) -> Settled | None:
        """Claim a shard for house-keeping, or claim it longer; return how far it is settled, `None` if another has it.

        A claim spares work and guards nothing: it may be lost at any time, and all that is done under it may be done twice.
        """
        keys = [key(shard, "keeper"), key(shard, "settled")]
        settled = await self._store.run(self._keep, keys, [worker, CLAIM])
        return None if settled is None else Settled.read(settled.decode())

    async def note_settled(self, shard: int, place: Settled) -> None:
        """Note up to where in the log the ended leases of a shard are marked."""
        await self._store.call("SET", key(shard, "settled"), place.text)

    async def expire(self, shard: int, *, most: int = SWEEP) -> int:
        """Take leases whose time is over out of the live ones, at most so many; return how many there were."""
        moved: int = await self._store.run(self._expire, [key(shard, "due"), key(shard, "ended")], [most])
        return moved

    async def forget(self, shard: int, *, most: int = SWEEP) -> int:
        """Forget leases that ended long ago, at most so many; return how many there were."""
        keys = [key(shard, "ended"), key(shard, "leases")]
        forgotten: int = await self._store.run(self._forget, keys, [KEPT_AFTER_END, most])
        return forgotten

    async def forget_classes(self, shard: int, *, most: int = SWEEP) -> int:
        """Forget decision classes that no lease has any more that could be shown; return how many there were."""
        keys = [key(shard, "classes"), key(shard, "class")]
        # A little longer than the leases, for these name them.
        forgotten: int = await self._store.run(self._forget_classes, keys, [2 * KEPT_AFTER_END, most])
        return forgotten

    async def live_classes(self, shard: int, *, after: int = 0, most: int = PAGE) -> tuple[int, list[LiveClass]]:
        """Return how many decision classes of a shard have a live lease, and some of them, the latest to expire first."""
        keys = [key(shard, "classes"), key(shard, "class")]
        count, *reply = await self._store.run(self._live_classes, keys, [after, most])
        found = zip(*[iter(reply)] * 3, strict=True)
        return count, [LiveClass(id.decode(), int(ends), DecisionClass.read(text.decode())) for id, ends, text in found]

    async def classes(self, ids: Sequence[str]) -> list[DecisionClass]:
        """Return those of the decision classes that are still kept, in whatever shards they are."""
        if not ids:
            return []
        found = await asyncio.gather(*(self._store.call("HMGET", key(shard, "class"), *ids) for shard in range(SHARDS)))
        return [DecisionClass.read(text.decode()) for texts in found for text in texts if text is not None]

    async def count_live(self, epoch: str, agent: str | None = None) -> int:
        """Return how many leases have not expired, of one agent in one epoch or of all."""
        now = await self._now()
        if agent is not None:
            return int(await self._store.call("ZCOUNT", key(shard_of(agent), "agent", agent, epoch), f"({now}", "+inf"))
        counts = [await self._store.call("ZCOUNT", key(shard, "due"), f"({now}", "+inf") for shard in range(SHARDS)]
        return sum(counts)

    async def _now(self) -> int:
        reply: list[int] = await self._store.run(
            self._list, [key(0, "due"), key(0, "leases"), key(0, "class")], [key(0, ""), "-"]
        )
        return reply[0]

    async def _read(self, shard: int, index: str, which: Iterable[str | int], picture: Picture) -> list[Lease]:
        if not picture.epoch:
            raise Unavailable("nothing is known yet about what has been revoked", retry_after=1)
        reply = await self._store.run(self._list, [index, key(shard, "leases"), key(shard, "class")], [key(shard, ""), *which])
        return [parse(entry, now=reply[0], picture=picture) for entry in zip(*[iter(reply[1:])] * 8, strict=True)]


_REFUSALS: dict[bytes, type[Exception]] = {b"task_closed": TaskClosed, b"ended": LeaseEnded, b"agent_ended": AgentEnded}

_UNUSABLE: dict[bytes, tuple[type[BrokerError], str]] = {
    b"already_used": (AlreadyUsed, "the token has been used as often as it may be; ask for another"),
    b"expired": (Expired, "the token has expired"),
    b"ended": (Revoked, "the token was ended before its time"),
}


def _written(lease: NewLease) -> tuple[list[str], list[str | bytes | int]]:
    """Return keys and arguments of the script that issues."""
    shard, task, decided = shard_of(lease.agent), lease.record.task, lease.decision_class
    parts = [
        ("leases",),
        ("due",),
        ("agent", lease.agent, decided.epoch),
        ("task", task, "leases"),
        ("task", task),
        ("audit",),
        ("tasks",),
        ("floor",),
        ("class",),
        ("classes",),
    ]
    counted, bounds = flattened(lease.volumes)
    arguments: list[str | bytes | int] = [
        lease.id,
        lease.longest,
        lease.record.text,
        lease.audit,
        MAX_LAG,
        lease.last,
        decided.epoch,
        lease.record.position,
        decided.id,
        decided.text,
    ]
    return [*(key(shard, *part) for part in parts), *counted], [*arguments, *bounds]


def _by_shard(ids: Iterable[str]) -> dict[int, list[str]]:
    grouped: dict[int, list[str]] = {}
    for id in ids:
        shard = shard_of_id(id, LEASE)
        if shard is not None:
            grouped.setdefault(shard, []).append(id)
    return grouped
