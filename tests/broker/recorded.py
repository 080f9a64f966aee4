"""What the audit holds, for tests that look at all of it."""

from broker.audit import Entry
from tests.broker.world import World


async def recorded(world: World) -> list[Entry]:
    """Return every record so far, the oldest first.

    The audit leaves out the present millisecond, for more may still come into it; so this waits for the next.
    """
    first = now = _milliseconds(world)
    while now == first:
        now = _milliseconds(world)
    return await world.broker.audit.read(most=10_000)


async def kinds_recorded(world: World) -> list[str]:
    """Return the kinds of all records so far, the oldest first."""
    return [entry.record.kind for entry in await recorded(world)]


def _milliseconds(world: World) -> int:
    seconds, microseconds = world.backend.client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000
