"""Decision classes: what leases were decided on alike is kept once, for as long as one of them can be shown."""

import msgspec
import pytest

from broker.leases import DecisionClass
from broker.leases.leases import KEPT_AFTER_END
from broker.store import key, shard_of
from tests.broker.leases.written import decision_class, picture_of, written
from tests.broker.world import World

BOTS = shard_of("support-bot")


def kept(world: World) -> set[str]:
    return {id.decode() for id in world.backend.client.hkeys(key(BOTS, "class"))}


def test_a_class_is_named_by_all_that_it_says(world: World) -> None:
    changes = [
        {"epoch": "01JE0000000000000000000009"},
        {"level": "draft"},
        {"audience": "https://kb.test"},
        {"max_staleness": 31},
        {"facts": msgspec.Raw(b'{"agent":"bot"}')},
        {"types": ("a", "b")},
        {"patterns": (("x",),)},
        {"agents": ("bot",)},
        {"binding": "spiffe://development.test/agent/bot"},
        {"users": "corp"},
        {"untrusted": True},
        {"single_use": True},
        {"max_uses": 3},
        {"ends_on_taint": True},
        {"ends_on_labels": ("pii",)},
        {"approved": True},
    ]
    assert {name for change in changes for name in change} == set(DecisionClass.__struct_fields__)
    ids = {decision_class(world, **change).id for change in [{}, *changes]}
    assert len(ids) == len(changes) + 1


def test_a_class_reads_back_as_it_was_written(world: World) -> None:
    decided = decision_class(world, ends_on_labels=("pii",), patterns=(("a b", "c"), ()), types=("x", "y"))
    again = DecisionClass.read(decided.text)
    assert (again.text, again.id) == (decided.text, decided.id)
    assert decided.text.startswith(f"{decided.epoch} ")


async def test_leases_that_were_decided_alike_share_one_class(world: World) -> None:
    tickets = [await world.issue("crm:ticket/1#read[subject]"), await world.issue("crm:ticket/2#read[subject]")]
    await world.issue("crm:ticket/1#read[description]")
    shown = [await world.broker.leases.find(issued.lease_id, picture_of(world)) for issued in tickets]
    assert shown[0].record.decision_class == shown[1].record.decision_class
    assert len(kept(world)) == 2


async def test_live_classes_come_with_the_latest_expiry_of_their_leases_the_latest_first(world: World) -> None:
    task = await world.declare()
    one, other = decision_class(world), decision_class(world, level="draft")
    for decided, longest in ((one, 10_000), (other, 200_000), (one, 100_000), (one, 50_000)):
        await written(world, task, decided=decided, longest=longest)
    count, found = await world.broker.leases.live_classes(BOTS)
    assert (count, [live.id for live in found]) == (2, [other.id, one.id])
    assert found[1].expires - world.clock.now().wall == pytest.approx(100_000, abs=5_000)
    assert [live.decision_class.text for live in found] == [other.text, one.text]


async def test_live_classes_are_read_page_by_page(world: World) -> None:
    task = await world.declare()
    made = [decision_class(world, max_staleness=number) for number in range(1, 6)]
    for number, decided in enumerate(made):
        await written(world, task, decided=decided, longest=100_000 + 5_000 * number)
    pages = [await world.broker.leases.live_classes(BOTS, after=after, most=2) for after in (0, 2, 4, 6)]
    assert [count for count, _ in pages] == [5] * 4
    assert [live.id for _, found in pages for live in found] == [decided.id for decided in reversed(made)]


async def test_a_class_without_a_live_lease_is_not_live(world: World) -> None:
    await written(world, await world.declare(), longest=10_000)
    world.advance(10_000)
    assert await world.broker.leases.live_classes(BOTS) == (0, [])


async def test_a_class_is_kept_as_long_as_a_lease_of_it_can_be_shown(world: World) -> None:
    lease = await written(world, await world.declare(), longest=10_000)
    world.advance(10_000)
    await world.broker.leases.expire(BOTS)
    world.advance(KEPT_AFTER_END - 60_000)
    await world.broker.scheduler.forget()
    assert (await world.broker.leases.find(lease.id, picture_of(world))).decision_class.text == lease.decision_class.text
    world.advance(KEPT_AFTER_END + 120_000)
    await world.broker.scheduler.forget()
    assert kept(world) == set()
    assert world.backend.client.zcard(key(BOTS, "classes")) == 0


async def test_a_bounded_number_of_classes_is_forgotten_at_a_time(world: World) -> None:
    task = await world.declare()
    for number in range(1, 6):
        await written(world, task, decided=decision_class(world, max_staleness=number), longest=10_000)
    world.advance(2 * KEPT_AFTER_END + 20_000)
    assert [await world.broker.leases.forget_classes(BOTS, most=2) for _ in range(4)] == [2, 2, 1, 0]
