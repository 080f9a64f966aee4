"""How often an agent was refused lately is counted with each refusal, and seen by policies."""

import pytest

from broker.audit import Record
from broker.errors import AccessDenied, Unavailable
from broker.refusals import LATELY, MOST
from tests.broker.recorded import recorded
from tests.broker.world import OTHER, World

MANY = '@id("enough") forbid (principal is Agent, action, resource is Record) when { context.recent_refusals > 3 };'


async def refuse(world: World, times: int = 1, agent: str | None = "support-bot") -> None:
    for _ in range(times):
        await world.broker.refusals.record(Record(kind="token.refused", agent=agent))


async def recent(world: World, agent: str = "support-bot") -> int:
    """Count anew: what a worker counted is remembered for a second."""
    world.advance(1_000)
    return await world.broker.refusals.recent(agent)


async def test_each_refusal_is_recorded_and_counted(world: World) -> None:
    await refuse(world, 3)
    assert await recent(world) == 3
    assert [entry.record.kind for entry in await recorded(world)] == ["token.refused"] * 3


async def test_the_refusals_of_one_agent_are_no_others(world: World) -> None:
    await refuse(world, 2)
    assert await recent(world, "other-bot") == 0


async def test_a_refusal_of_nobody_known_is_recorded_all_the_same(world: World) -> None:
    await refuse(world, agent=None)
    assert len(await recorded(world)) == 1


async def test_a_refusal_is_forgotten_after_ten_minutes_with_nobody_doing_anything(world: World) -> None:
    await refuse(world, 2)
    world.advance(LATELY - 2_000)
    await refuse(world)
    assert await recent(world) == 3
    world.advance(2_000)
    assert await recent(world) == 1


async def test_no_more_are_kept_than_policies_tell_apart(world: World) -> None:
    await refuse(world, MOST + 20)
    assert await recent(world) == MOST


async def test_a_worker_remembers_a_count_for_a_second(world: World) -> None:
    assert await recent(world) == 0
    await refuse(world)
    assert await world.broker.refusals.recent("support-bot") == 0
    assert await recent(world) == 1


async def test_what_another_worker_refused_counts_as_well(world: World, neighbour: World) -> None:
    await refuse(neighbour, 2)
    assert await recent(world) == 2


async def test_a_refusal_that_cannot_be_recorded_is_not_certain(world: World, monkeypatch) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable("gone")

    monkeypatch.setattr(world.backend.stores.shared, "run", fail)
    with pytest.raises(Unavailable):
        await refuse(world)


async def test_a_policy_sees_how_often_an_agent_was_refused_lately(world: World) -> None:
    (world.folder / "policies" / "own.cedar").write_text(MANY)
    await world.look()
    for _ in range(4):
        with pytest.raises(AccessDenied):
            await world.issue("crm:ticket/1#read[email]")
    world.advance(1_000)
    with pytest.raises(AccessDenied) as refused:
        await world.issue()
    assert refused.value.policies == ("enough",)
    assert await world.issue(workload=OTHER, task=(await world.declare(workload=OTHER)).id)
    world.advance(LATELY)
    assert await world.issue()
