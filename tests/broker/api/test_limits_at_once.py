"""Limits hold however many ask at once, of whichever worker (TRAPS 15)."""

import asyncio
from collections import Counter

import pytest

from tests.broker.front import Front, error_of
from tests.broker.world import OTHER, World

REQUESTS = 200
LIMITS = {
    "leases_per_minute": ("limits       = { leases_per_minute = 10, live_leases = 5 }", "limits = { leases_per_minute = 10 }"),
    "live_leases": ("limits       = { leases_per_minute = 10, live_leases = 5 }", "limits = { live_leases = 10 }"),
    "leases_per_agent": ("limits       = { leases_per_minute = 10, live_leases = 5 }", "limits = { leases = 10 }"),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_two_hundred_requests_at_once_of_two_workers_pass_a_limit_of_ten_ten_times(
    world: World, neighbour: World, name: str
) -> None:
    """TRAPS 15: volume limits counted without atomicity, through HTTP and all that is behind it."""
    path = world.folder / "registry" / "all.toml"
    old, new = LIMITS[name]
    path.write_text(path.read_text().replace(old, new))
    await world.look()
    neighbour.follow()
    task = await world.declare(workload=OTHER)
    fronts = [Front(world), Front(neighbour)] * (REQUESTS // 2)
    responses = await asyncio.gather(*(front.token("other", task=task.id) for front in fronts))
    assert Counter(response.status_code for response in responses) == {200: 10, 429: REQUESTS - 10}
    refused = [response for response in responses if response.status_code == 429]
    assert {error_of(response) for response in refused} == {(429, "temporarily_unavailable", name)}
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused) or name == "leases_per_agent"
    assert await world.broker.leases.count_live(world.broker.streams.picture.epoch, "other-bot") == 10
