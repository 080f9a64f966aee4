"""Leases as the issuer writes them, for tests that look at what is kept."""

from typing import Any

from broker.audit import Record
from broker.feed.event import NO_END
from broker.leases import LeaseRecord, Leases, Limits, NewLease
from broker.tasks import Task
from scopes.revocations import Picture
from tests.broker.world import World

LONGEST = 300_000
"""How long these leases may live, in milliseconds."""


def new_lease(
    world: World, task: Task, *, limits: Limits | None = None, longest: int = LONGEST, last: int = NO_END, **record: Any
) -> NewLease:
    """Prepare a lease of the task, decided on the worker's present picture."""
    picture = world.broker.streams.picture
    kept = {"scope": "crm:ticket/4711#read[subject]", "level": "read", "epoch": picture.epoch, "position": picture.seq}
    id = Leases.new_id(task.agent, now=world.clock.now().wall)
    audit = world.broker.audit.encode(Record(kind="token.issued", agent=task.agent, task=task.id, lease=id))
    return NewLease(id, task.agent, LeaseRecord(task=task.id, **(kept | record)), longest, limits or Limits(), audit, last)


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
