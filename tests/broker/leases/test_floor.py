"""The floor: what was decided at an earlier place of the log than a shard's floor is not written there any more (TRAPS 15c)."""

import pytest

from broker.errors import Unavailable
from broker.store import shard_of
from tests.broker.leases.written import decision_class, new_lease, status_of
from tests.broker.world import World

EARLIER, LATER = "0" * 26, "7" + "Z" * 25

Place = tuple[str, int]


@pytest.mark.parametrize(
    ("floors", "decided", "is_written"),
    [
        pytest.param([], ("", 0), True, id="no floor"),
        pytest.param([("", 9)], ("", 9), True, id="at the floor"),
        pytest.param([("", 9)], ("", 8), False, id="below it"),
        pytest.param([("", 10)], ("", 9), False, id="below it, with fewer digits"),
        pytest.param([("", 9)], ("", 10), True, id="above it, with more digits"),
        pytest.param([(LATER, 1)], ("", 99), False, id="of an epoch before the floor's"),
        pytest.param([("", 99)], (LATER, 1), True, id="of an epoch after the floor's"),
        pytest.param([("", 9), ("", 10)], ("", 9), False, id="below a floor that was raised"),
        pytest.param([("", 100), ("", 20)], ("", 50), False, id="a floor that comes late lowers nothing"),
        pytest.param([("", 50), (EARLIER, 99)], ("", 49), False, id="nor does one of an earlier epoch"),
        pytest.param([("", 50), (EARLIER, 99)], ("", 50), True, id="which raises nothing either"),
        pytest.param([("", 50), (LATER, 1)], (LATER, 0), False, id="a later epoch's floor is above every one before it"),
        pytest.param([("", 50), (LATER, 1)], (LATER, 1), True, id="and low in its own"),
    ],
)
async def test_only_what_was_decided_at_the_floor_or_above_it_is_written(
    world: World, floors: list[Place], decided: Place, is_written: bool
) -> None:
    """An epoch that is not named is the present one."""
    leases, present = world.broker.leases, world.broker.streams.picture.epoch
    task = await world.declare()
    for epoch, seq in floors:
        await leases.raise_floor(shard_of("support-bot"), epoch or present, seq)
    epoch, seq = decided
    lease = new_lease(world, task, decided=decision_class(world, epoch=epoch or present), position=seq)
    if is_written:
        await leases.issue(lease)
        return
    with pytest.raises(Unavailable) as refused:
        await leases.issue(lease)
    assert refused.value.reason == "configuration_pending"


async def test_each_shard_has_a_floor_of_its_own(world: World) -> None:
    task = await world.declare()
    await world.broker.leases.raise_floor(shard_of("support-bot") ^ 1, LATER, 1)
    await world.broker.leases.issue(lease := new_lease(world, task))
    assert await status_of(world, lease) == "live"
