"""After a revocation: marks the leases it has ended, in the background, and leaves the worker's time to those who ask.

No token depends on it. What it makes right are lists and the counts that limits are held against.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from broker.active import Active
from broker.errors import Unavailable
from broker.feed.event import NewEvent
from broker.feed.follower import Follower
from broker.feed.log import Log
from broker.leases import Leases, Mark, Settled
from broker.store import shard_of
from broker.store.shards import SHARDS
from broker.stuck_work import StuckWork
from broker.tasks import Tasks, task_shard
from scopes import ulid
from scopes.clock import Clock
from scopes.revocations import Picture

REST = 4
"""How many times as long as each step it rests after it: so it takes a fifth of a worker's time, and less when others wait."""

LONGEST_REST = 0.05
"""The seconds it rests at most: where a step took long because the worker is busy, most of that time was not its own."""

_WHAT = "marking ended leases"
_EVENTS = 100
_DUE = ("due",)
# Events of these kinds name leases without a search, or whose leases to look at, or end none.
_NAMED = frozenset({"agent", "class", "lease", "task", "taint"})
_ENDS_NOTHING = frozenset({"label", "configuration", "lift"})

Index = tuple[str, ...]


class _Holder(msgspec.Struct):
    """What is read of the facts of a class, whichever version wrote them."""

    agent: str = ""


class _Work(NamedTuple):
    """What some events leave to do: leases by id, and for each shard the indexes to go through."""

    leases: list[str]
    indexes: dict[int, set[Index]]


class Settling:
    """Follows the log at its own pace, shard by shard. Each shard has one keeper; a keeper that dies is replaced, and what it
    had not noted as done is done again."""

    def __init__(
        self,
        *,
        log: Log,
        follower: Follower,
        leases: Leases,
        tasks: Tasks,
        active: Active,
        stuck: StuckWork,
        clock: Clock,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Keep `stuck` informed, and rest by `pause`, which takes seconds."""
        self._log = log
        self._follower = follower
        self._leases = leases
        self._tasks = tasks
        self._active = active
        self._stuck = stuck
        self._pause = pause
        self._worker = ulid.new(clock.now().wall)
        self._known: dict[int, Settled] = {}

    async def settle(self) -> None:
        """Mark what the events since the last time have ended, up to the head; raise `Unavailable` where the store is away."""
        picture = self._follower.standpoint().picture
        head = Settled(picture.epoch, picture.seq)
        behind = [shard for shard in range(SHARDS) if self._known.get(shard) != head and self._stuck.may_try(_name(shard))]
        places = await asyncio.gather(*(self._leases.keep(shard, self._worker) for shard in behind))
        kept = {shard: place for shard, place in zip(behind, places, strict=True) if place is not None}
        for place in sorted(set(kept.values())):
            await self._catch_up(place, [shard for shard in kept if kept[shard] == place], picture)

    async def _catch_up(self, place: Settled, shards: list[int], picture: Picture) -> None:
        head = Settled(picture.epoch, picture.seq)
        # Another worker may have been further than this one's picture.
        while shards and (place.epoch != head.epoch or place.seq < head.seq):
            started = asyncio.get_running_loop().time()
            work, place = await self._next(place, head)
            await self._leases.settle_known(work.leases, picture)
            await self._rest_since(started)
            done = [shard for shard in shards if await self._go_through(shard, work.indexes.get(shard, set()))]
            await asyncio.gather(*(self._leases.note_settled(shard, place) for shard in done))
            shards = done
        self._known.update(dict.fromkeys(shards, head))

    async def _next(self, place: Settled, head: Settled) -> tuple[_Work, Settled]:
        """Return what is to be done next, and the place in the log where that is done; all, where the log does not tell."""
        if place.epoch != head.epoch:
            return _everything(), head
        events = await self._log.read(place.seq, most=_EVENTS)
        events = [(seq, event) for seq, event in events if seq <= head.seq]
        if not events or events[0][0] != place.seq + 1:
            return _everything(), head
        return await self._work_of([event for _, event in events], head.epoch), Settled(head.epoch, events[-1][0])

    async def _work_of(self, events: Iterable[NewEvent], epoch: str) -> _Work:
        ending = [event for event in events if event.kind not in _ENDS_NOTHING]
        if any(event.kind not in _NAMED for event in ending):
            return _everything()
        indexes: dict[int, set[Index]] = {}
        agents = {event.value for event in ending if event.kind == "agent"}
        agents |= await self._agents_of([event.value for event in ending if event.kind == "class"])
        if "" in agents:
            return _everything()
        for agent in self._and_delegates(agents):
            indexes.setdefault(shard_of(agent), set()).add(("agent", agent, epoch))
        leases = [event.value for event in ending if event.kind == "lease"]
        roots = [event.value.partition(" ")[0] for event in ending if event.kind in ("task", "taint")]
        trees = await asyncio.gather(*map(self._tasks.unclosed_tree, roots + await self._delegated_by(leases)))
        for task in (task for tree in trees for task in tree):
            indexes.setdefault(task_shard(task), set()).add(("task", task, "leases"))
        return _Work(leases, indexes)

    def _and_delegates(self, agents: Iterable[str]) -> set[str]:
        """Return the agents with all who may hold what they delegated: it ended with them."""
        registry = self._active.rules.registry
        return {name for agent in agents for name in (agent, *registry.delegates_of(agent))}

    async def _delegated_by(self, leases: list[str]) -> list[str]:
        """Return the tasks that were opened by these leases: what they hold ended with them."""
        known = await self._leases.known(leases, self._follower.standpoint().picture)
        found = await asyncio.gather(*(self._tasks.delegated_by(lease.id, lease.record.task) for lease in known))
        return [task for tasks in found for task in tasks]

    async def _agents_of(self, classes: Sequence[str]) -> set[str]:
        """Return whose leases are of these decision classes, '' where one does not say; of one that is not kept none lives."""
        known = await self._leases.classes(classes)
        return {msgspec.json.decode(decided.facts, type=_Holder).agent for decided in known}

    async def _go_through(self, shard: int, indexes: set[Index]) -> bool:
        """Settle the indexes of a shard; tell whether it is done, and not another's by now, or stuck."""
        try:
            for index in {_DUE} if _DUE in indexes else indexes:
                if not await self._page_by_page(shard, index):
                    return False
        except Unavailable:
            raise
        except Exception as error:  # whatever it was: it is listed and tried again, and the next shard is not this one
            self._stuck.failed(_name(shard), _WHAT, error)
            return False
        self._stuck.done(_name(shard))
        return True

    async def _page_by_page(self, shard: int, index: Index) -> bool:
        place: Mark | None = Mark()
        while place is not None:
            started = asyncio.get_running_loop().time()
            if await self._leases.keep(shard, self._worker) is None:
                return False
            # What has ended meanwhile is marked with the rest, so each page is looked at with the newest picture.
            place = await self._leases.settle(shard, index, place, self._follower.standpoint().picture)
            await self._rest_since(started)
        return True

    async def _rest_since(self, started: float) -> None:
        await self._pause(min(REST * (asyncio.get_running_loop().time() - started), LONGEST_REST))


def _everything() -> _Work:
    return _Work([], {shard: {_DUE} for shard in range(SHARDS)})


def _name(shard: int) -> str:
    return f"shard s{shard:02}"
