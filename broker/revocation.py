"""The use case of taking away: revoke by any selector, end tasks. Everything that ends access is one event of the feed."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from broker.active import Active
from broker.audit import Audit, Record
from broker.callers import Caller
from broker.endings import Endings, check_reason
from broker.errors import InvalidRequest, NotFound, Unavailable
from broker.feed.event import NO_END, NewEvent, new_event
from broker.feed.follower import Follower
from broker.feed.log import Log
from broker.leases import Lease, Leases
from broker.selector import Selector
from broker.store.shards import SHARDS
from broker.stuck_work import StuckWork
from broker.tasks import Task, Tasks
from scopes.clock import Clock
from scopes.errors import InvalidScope
from scopes.revocations import Picture
from scopes.scope import canonical_prefix

SCHEDULER = Caller("Scheduler", "scheduler")

_TASK_END = "the end of a task"
# How many tasks are ended at the same time, so that they share round trips and leave the others their turn.
_AT_ONCE = 16


class Revoked(NamedTuple):
    """A revocation that was committed. `matched` counts the live leases it ends, where that needs no look at each of them."""

    id: str
    epoch: str
    seq: int
    matched: int | None


class Revocation:
    """Ends access. What the caller waits for is the event; what it ends is marked afterwards, by the scheduler too."""

    def __init__(
        self,
        *,
        endings: Endings,
        log: Log,
        follower: Follower,
        leases: Leases,
        tasks: Tasks,
        active: Active,
        audit: Audit,
        clock: Clock,
        stuck: StuckWork,
    ) -> None:
        self._endings = endings
        self._log = log
        self._follower = follower
        self._leases = leases
        self._tasks = tasks
        self._active = active
        self._audit = audit
        self._clock = clock
        self._stuck = stuck

    async def revoke(self, selector: Selector, reason: str, by: Caller) -> Revoked:
        """Commit the end of everything the selector hits, known or not; raise `Stuck` where that is not certain."""
        kind, value = selector.chosen
        check_reason(reason)
        events, matched = await self._seen_or_blind(kind, value)
        record = Record(kind="revocation", operator=by.name, selector=f"{kind}:{value}", reason="requested", said=reason)
        committed = await self._endings.commit(events, record)
        if kind == "lease":
            await self._leases.end([value], "revoked")
        return Revoked(events[-1].id, committed.epoch, committed.seq, matched)

    async def end_task(self, id: str, outcome: str, by: Caller) -> Task:
        """End a task and all below it, its leases first; to end it again changes nothing. Raises `NotFound`, `Unavailable`.

        Tokens of all of them name the task, so one event ends them, also where they are of other agents and in other shards.
        """
        picture = self._follower.standpoint().picture
        ending = await self._tasks.begin_end(id, outcome)
        live = [lease for lease in await self._leases.known(ending.leases, picture) if lease.status == "live"]
        if live:
            event = self._event("task", id, live)
            await self._log.append(picture.epoch, [event])
        # All that were named, not only those seen alive: an ending that broke off here is taken up from its start.
        await self._leases.end(ending.leases, "revoked")
        if ending.missed is not None:
            # What lives there lives by a lease that is named here, at the same service and no longer: the event ends it too.
            raise ending.missed
        # The first one last, for it is by that one that an ending which breaks off is found again.
        for part in reversed(ending.parts):
            await self._tasks.close(part, await self._end_record(part, by))
        return await self._tasks.find(id)

    async def end_due_tasks(self) -> None:
        """End every task whose time is over, and finish endings whose caller died; one that fails stops no other."""
        due = [id for shard in await asyncio.gather(*(self._tasks.due(shard) for shard in range(SHARDS))) for id in shard]
        for id in self._stuck.ids(_TASK_END):
            if not await self._tasks.unclosed_tree(id):
                self._stuck.done(id)
        for start in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*(self._end_due(id) for id in due[start : start + _AT_ONCE]))

    async def _end_due(self, id: str) -> None:
        if not self._stuck.may_try(id):
            return
        try:
            await self.end_task(id, "timed_out", SCHEDULER)
            self._stuck.done(id)
        except Exception as error:  # whatever it was: it is listed and tried again, and the next task is not this one
            self._stuck.failed(id, _TASK_END, error)

    async def _seen_or_blind(self, kind: str, value: str) -> tuple[list[NewEvent], int | None]:
        """Return the events and what they match; where the store does not say what there is, events for everybody."""
        try:
            return await self._events(kind, value, self._follower.standpoint().picture)
        except Unavailable:
            return self._blind(kind, value), None

    def _blind(self, kind: str, value: str) -> list[NewEvent]:
        if kind == "owner":
            return [self._event("agent", name) for name in self._agents_of(value)]
        return [self._event(kind, value)]

    def _agents_of(self, owner: str) -> list[str]:
        names = [name for name, agent in self._active.rules.registry.content.agents.items() if agent.owner == owner]
        if not names:
            raise NotFound(f"nobody called {owner!a} owns an agent")
        return names

    async def _events(self, kind: str, value: str, picture: Picture) -> tuple[list[NewEvent], int | None]:
        if kind == "lease":
            # A lease that is not known may still be behind a token: a revocation that comes first must hold (TRAPS 23).
            known = await self._leases.known([value], picture)
            live = sum(lease.status == "live" for lease in known)
            return [self._event("lease", value, known) if known else self._event("lease", value)], live
        if kind == "owner":
            return self._blind(kind, value), await self._count(picture, self._agents_of(value))
        return [self._event(kind, value)], await self._matched(kind, value, picture)

    def _event(self, kind: str, value: str, leases: Sequence[Lease] = ()) -> NewEvent:
        """Make an event for the services that hold these leases and until the last of them expires; without, for all."""
        if kind == "resource":
            audiences = self._audiences([_service_of(value)])
        else:
            audiences = self._audiences([lease.scope.resource.service for lease in leases]) if leases else None
        expires = max((lease.times.expires * 1000 for lease in leases), default=None)
        event = new_event(kind, value, now=self._clock.now().wall, expires=expires, audiences=audiences)
        # A stolen key signs any epoch and any expiry, so its end outlives both.
        return msgspec.structs.replace(event, stands=True, until=NO_END) if kind == "key" else event

    async def _matched(self, kind: str, value: str, picture: Picture) -> int | None:
        if kind == "agent":
            return await self._count(picture, [value])
        if kind == "task":
            return await self._tasks.count_live(value)
        return await self._leases.count_live(picture.epoch) if kind == "all" else None

    async def _count(self, picture: Picture, agents: list[str]) -> int:
        return sum([await self._leases.count_live(picture.epoch, agent) for agent in agents])

    def _audiences(self, services: Iterable[str]) -> tuple[str, ...] | None:
        """Return the services' audiences; `None`, so all, where one is not in the catalogue any more."""
        known = self._active.rules.registry.content.services
        found = {known[name].audience if name in known else None for name in services}
        return None if None in found else tuple(sorted(audience for audience in found if audience is not None))

    async def _end_record(self, id: str, by: Caller) -> Record:
        task = await self._tasks.find(id)
        operator = by.name if by.kind == "Operator" else None
        return Record(
            kind="task.ended",
            agent=task.agent,
            workload=by.workload,
            operator=operator,
            user=task.user or None,
            task=id,
            reason=task.outcome,
        )


def _service_of(prefix: str) -> str:
    try:
        return canonical_prefix(prefix).partition(":")[0]
    except InvalidScope as error:
        raise InvalidRequest(f"resource: {error}") from None
