"""Who decides again what is live, when, and in which order: every worker may, at once, and dies at bad moments."""

import asyncio
from typing import Any

import msgspec
import pytest

from broker import redecision
from broker.errors import AccessDenied, Unavailable
from broker.policy import Permit, Question
from broker.quotas import quotas_of
from broker.store import key, shard_of
from broker.store.shards import SHARDS
from scopes.scope import Scope
from tests.broker.deciding_again import (
    FORBID_TICKETS,
    TICKET,
    add_policy,
    class_events,
    decided_again,
    held,
    records,
    rewrite,
)
from tests.broker.ended import is_ended
from tests.broker.test_issuer import after
from tests.broker.world import BOT, OTHER, World, proven


async def test_all_classes_are_decided_however_many_there_are(world: World, monkeypatch) -> None:
    """On every page and in every step, the last of each included."""
    monkeypatch.setattr(redecision, "PAGE", 3)
    monkeypatch.setattr(redecision, "STEP", 2)
    for ttl in (15, 30, 60, 120, 300):
        await held(world, ttl=ttl)
        await held(world, ttl=ttl, fields=("description",))
    add_policy(world, FORBID_TICKETS)
    await decided_again(world)
    assert len(set(class_events(world))) == len(class_events(world)) == len(await records(world)) == 10


async def test_what_another_decided_since_it_was_looked_is_not_recorded_again(
    world: World, neighbour: World, monkeypatch
) -> None:
    await world.issue(TICKET)
    add_policy(world, FORBID_TICKETS)
    await world.look()
    neighbour.follow()
    monkeypatch.setattr(redecision, "SHARDS_AT_ONCE", SHARDS)
    after(world.broker.redecision, "_undecided", monkeypatch, neighbour.broker.redecision.decide_again)
    await world.broker.redecision.decide_again()
    assert len(class_events(world)) == len(await records(world)) == 1


async def test_a_claim_is_over_by_itself(world: World, monkeypatch) -> None:
    """So that a worker that dies keeps nobody from deciding (TRAPS 24)."""
    raise_floor, lives = world.broker.leases.raise_floor, list[int]()
    add_policy(world, FORBID_TICKETS)
    await world.look()

    async def raised(shard: int, *place: Any) -> None:
        lives.append(world.backend.client.pttl(key(shard, "deciding")))
        await raise_floor(shard, *place)

    monkeypatch.setattr(world.broker.leases, "raise_floor", raised)
    await world.broker.redecision.decide_again()
    assert len(lives) == SHARDS
    assert all(0 < life <= redecision.CLAIM for life in lives)
    assert not any(world.backend.client.exists(key(shard, "deciding")) for shard in range(SHARDS))


async def test_two_workers_share_the_shards_and_end_each_class_once(world: World, neighbour: World) -> None:
    for workload in (BOT, OTHER):
        task = await world.declare(workload=workload)
        for scope in (TICKET, "crm:ticket/1#read[description]"):
            await world.issue(scope, workload=workload, task=task.id)
    add_policy(world, FORBID_TICKETS)
    await world.look()
    neighbour.follow()
    await asyncio.gather(*(worker.broker.redecision.decide_again() for worker in (world, neighbour)))
    assert len(class_events(world)) == len(await records(world)) == 4


async def test_a_shard_that_another_worker_decides_is_left_to_it_until_its_claim_is_over(world: World) -> None:
    issued = await world.issue(TICKET)
    claim = key(shard_of("support-bot"), "deciding")
    world.backend.client.set(claim, "a worker that died")
    add_policy(world, FORBID_TICKETS)
    await decided_again(world)
    assert not is_ended(world, issued)
    # As its expiry would.
    world.backend.client.delete(claim)
    await world.broker.redecision.decide_again()
    assert is_ended(world, issued)


async def test_a_worker_that_dies_half_way_is_taken_over_and_the_event_is_there_once(
    world: World, neighbour: World, monkeypatch
) -> None:
    issued = await world.issue(TICKET)
    add_policy(world, FORBID_TICKETS)
    await world.look()
    neighbour.follow()

    async def die(*_: Any) -> None:
        raise Unavailable("gone")

    monkeypatch.setattr(world.broker.audit, "append_end", die)
    with pytest.raises(Unavailable):
        await world.broker.redecision.decide_again()
    world.backend.client.delete(key(shard_of("support-bot"), "deciding"))
    await neighbour.broker.redecision.decide_again()
    assert is_ended(world, issued)
    assert len(class_events(world)) == 1
    assert len(await records(neighbour)) == 1


async def test_a_worker_that_adopts_other_rules_on_the_way_leaves_the_rest_to_them(world: World, monkeypatch) -> None:
    issued = await world.issue(TICKET)
    add_policy(world, "// nothing")
    await world.look()
    live_classes = world.broker.leases.live_classes

    async def overtaken(shard: int, **named: Any) -> Any:
        # In one of the shards that are decided at once, for files that many look at together are not those of one look.
        if shard == shard_of("support-bot"):
            add_policy(world, FORBID_TICKETS)
            await world.look()
        return await live_classes(shard, **named)

    monkeypatch.setattr(world.broker.leases, "live_classes", overtaken)
    await world.broker.redecision.decide_again()
    assert not is_ended(world, issued)
    await world.broker.redecision.decide_again()
    assert is_ended(world, issued)


async def test_what_is_given_by_rules_that_came_on_the_way_is_not_ended_by_those_before(world: World, monkeypatch) -> None:
    issued = await world.issue(TICKET)
    add_policy(world, FORBID_TICKETS)
    await world.look()

    live_classes = world.broker.leases.live_classes

    async def permitted_again(shard: int, **named: Any) -> Any:
        found = await live_classes(shard, **named)
        if shard == shard_of("support-bot"):
            add_policy(world, "// nothing")
            await world.look()
        return found

    monkeypatch.setattr(world.broker.leases, "live_classes", permitted_again)
    for _ in range(2):
        await world.broker.redecision.decide_again()
        assert not is_ended(world, issued)
    assert class_events(world) == []


async def test_a_worker_that_hears_of_something_else_between_two_looks_decides_nothing(world: World, monkeypatch) -> None:
    issued, known = await world.issue(TICKET), world.broker.follower.standpoint
    add_policy(world, FORBID_TICKETS)
    await world.look()
    with monkeypatch.context() as later:
        later.setattr(
            world.broker.follower, "standpoint", lambda: msgspec.structs.replace(known(), configuration="evt_of_a_later_one")
        )
        await world.broker.redecision.decide_again()
    assert not is_ended(world, issued)
    await world.broker.redecision.decide_again()
    assert is_ended(world, issued)


async def test_a_worker_that_has_not_adopted_what_is_in_force_decides_nothing(world: World, neighbour: World) -> None:
    issued = await world.issue(TICKET)
    add_policy(world, FORBID_TICKETS)
    await neighbour.look()
    # Heard of, and not built yet.
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(world.broker.adoption, "adopt", lambda: None)
        world.broker.follower.catch_up()
        await world.broker.redecision.decide_again()
    assert not is_ended(world, issued)
    world.follow()
    await world.broker.redecision.decide_again()
    assert is_ended(world, issued)


# What was decided before the change


async def permitted(world: World) -> Permit:
    """Take a decision, as it stands before every issue."""
    rules, task, scope = world.broker.active.rules, await world.declare(), Scope.parse(TICKET)
    agent = rules.registry.agent_of(proven(BOT))
    question = Question(agent, proven(BOT), task, scope, rules.registry.entry(scope), 300)
    quotas = quotas_of(question, world.broker.streams.picture.epoch, rules.registry)
    return Permit(question, rules.policy.decide(question), (("crm:ticket/*#read[description,subject]",),), quotas)


async def test_a_worker_that_lags_issues_nothing_by_the_old_policy_after_the_sweep_of_the_new_one(
    world: World, neighbour: World, monkeypatch
) -> None:
    """TRAPS 15c, also where whoever activated came to its end before it had raised the floors."""
    permit, standpoint = await permitted(world), world.broker.follower.standpoint()

    async def die(*_: Any) -> None:
        raise Unavailable("gone")

    monkeypatch.setattr(neighbour.broker.leases, "raise_floors", die)
    add_policy(neighbour, FORBID_TICKETS)
    with pytest.raises(Unavailable):
        await neighbour.look()
    neighbour.follow()
    await neighbour.broker.redecision.decide_again()
    with pytest.raises(Unavailable) as refused:
        await world.broker.issuer.issue(permit, standpoint)
    assert refused.value.reason == "configuration_pending"


async def test_nothing_that_was_decided_before_is_written_once_the_classes_are_being_read(
    world: World, neighbour: World, monkeypatch
) -> None:
    """First the floor, then the classes (TRAPS 15c): what comes between would be in no page that was read, and live on."""
    permit, standpoint = await permitted(world), world.broker.follower.standpoint()
    refused: list[str] = []

    async def fail(*_: Any) -> None:
        raise Unavailable("gone")

    async def issue_behind() -> None:
        with pytest.raises(Unavailable) as error:
            await world.broker.issuer.issue(permit, standpoint)
        refused.append(error.value.reason)

    with monkeypatch.context() as died:
        died.setattr(neighbour.broker.leases, "raise_floors", fail)
        add_policy(neighbour, FORBID_TICKETS)
        with pytest.raises(Unavailable):
            await neighbour.look()
    neighbour.follow()
    live_classes = neighbour.broker.leases.live_classes

    async def read_and_issue(shard: int, **named: Any) -> Any:
        found = await live_classes(shard, **named)
        if shard == shard_of("support-bot"):
            await issue_behind()
        return found

    monkeypatch.setattr(neighbour.broker.leases, "live_classes", read_and_issue)
    await neighbour.broker.redecision.decide_again()
    assert refused == ["configuration_pending"]


async def test_a_running_task_whose_type_was_taken_from_the_agent_gets_nothing_more(world: World) -> None:
    task = await world.declare()
    rewrite(
        world,
        ('["summarise-ticket", "single-ticket"]', '["single-ticket"]'),
        ('default_task = "summarise-ticket"', 'default_task = "single-ticket"'),
    )
    await world.look()
    with pytest.raises(AccessDenied) as refused:
        await world.issue(TICKET, task=task.id)
    assert refused.value.reason == "outside_task_types"
