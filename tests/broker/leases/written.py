"""Leases as the issuer writes them, for tests that look at what is kept."""

from collections.abc import Mapping
from typing import Any

import msgspec

from broker.audit import Record
from broker.feed.event import NO_END
from broker.leases import DecisionClass, LeaseRecord, Leases, NewLease, Volume, volume
from broker.store import shard_of
from broker.tasks import Task
from scopes.revocations import Picture
from tests.broker.world import BOT, CRM, World

LONGEST = 300_000
"""How long these leases may live, in milliseconds."""


def decision_class(world: World, **changes: Any) -> DecisionClass:
    """Make a class of reading, decided in the worker's present epoch."""
    kept = {"epoch": world.broker.streams.picture.epoch, "level": "read", "audience": CRM, "max_staleness": 30}
    decided = {"facts": msgspec.Raw(b"{}"), "types": ("summarise-ticket",), "patterns": ((),)}
    decided |= {"agents": ("support-bot",), "binding": BOT}
    return DecisionClass(**(kept | decided | changes))


def new_lease(
    world: World,
    task: Task,
    *,
    limits: Mapping[str, int] | None = None,
    decided: DecisionClass | None = None,
    longest: int = LONGEST,
    last: int = NO_END,
    **record: Any,
) -> NewLease:
    """Prepare a lease of the task, decided on the worker's present picture."""
    decided = decided or decision_class(world)
    kept = {
        "scope": "crm:ticket/4711#read[subject]",
        "decision_class": decided.id,
        "position": world.broker.streams.picture.seq,
    }
    id = Leases.new_id(task.agent, now=world.clock.now().wall)
    audit = world.broker.audit.encode(Record(kind="token.issued", agent=task.agent, task=task.id, lease=id))
    volumes = counted(task, decided.epoch, limits or {})
    return NewLease(id, task.agent, LeaseRecord(task=task.id, **(kept | record)), decided, longest, volumes, audit, last)


def counted(task: Task, epoch: str, limits: Mapping[str, int]) -> tuple[Volume, ...]:
    """Return what counts a lease of the task, with limits by the names that refusals say them by."""
    shard = shard_of(task.agent)
    counting = [volume.of_agent(shard, task.agent, epoch), volume.of_task_type(shard, task.agent, task.type, epoch)]
    return tuple(_limited(one, limits) for one in [*counting, *(volume.of_task(shard, id, epoch) for id in task.path)])


def _limited(counting: Volume, limits: Mapping[str, int]) -> Volume:
    per_minute, live, in_all = (limits.get(name, 0) for name in counting.names)
    return counting._replace(per_minute=per_minute, live_leases=live, leases=in_all)


async def written(world: World, task: Task, **changes: Any) -> NewLease:
    """Write a lease."""
    lease = new_lease(world, task, **changes)
    await world.broker.leases.issue(lease)
    return lease


async def status_of(world: World, lease: NewLease) -> str:
    return (await world.broker.leases.find(lease.id, picture_of(world))).status


def picture_of(world: World) -> Picture:
    """Return the worker's present picture, however old."""
    return world.broker.streams.picture
