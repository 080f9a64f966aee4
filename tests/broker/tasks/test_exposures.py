"""What a tree of tasks was given to read is kept with its root, and told in the order of the log."""

from typing import Any

import msgspec
import pytest

from broker.errors import InvalidGrant, Unavailable
from broker.store import key
from broker.tasks import Exposure, Exposures, Task, Told, exposures, task_shard
from scopes.revocations import Picture
from tests.broker.ended import told
from tests.broker.recorded import recorded
from tests.broker.world import CRM, KB, World

CLASSES = frozenset({"financial", "health", "pii"})
SCOPE = "crm:message/1#read[text]"


def exposure(*labels: str, tainted: bool = False) -> Exposure:
    return Exposure(tainted, frozenset(labels))


def picture_of(world: World) -> Picture:
    return world.broker.streams.picture


def another(world: World) -> Exposures:
    """Return one that remembers nothing yet, as another worker's."""
    return Exposures(world.backend.stores.shared, log=world.broker.log, audit=world.broker.audit)


async def expose(world: World, task: Task, gained: Exposure, audiences: tuple[str, ...] | None = None) -> None:
    whose = Told(audiences, world.broker.active.activation)
    await world.broker.exposures.expose(task, gained, picture_of(world), scope=SCOPE, tell=lambda: whose)


async def known(world: World, task: Task) -> Exposure:
    return await world.broker.exposures.of(task, picture_of(world), CLASSES)


def test_two_exposures_together_are_all_that_was_read() -> None:
    both = exposure("pii") | exposure("health", tainted=True)
    assert both == exposure("health", "pii", tainted=True)
    assert both.beyond(exposure("pii", tainted=True)) == exposure("health")
    assert exposure("pii").beyond(both) == Exposure()


async def test_a_tree_that_was_given_nothing_was_exposed_to_nothing(world: World) -> None:
    task = await world.declare()
    assert await known(world, task) == Exposure()
    await expose(world, task, Exposure())
    assert told(world, CRM) == []
    assert [entry.record.kind for entry in await recorded(world)] == ["task.opened"]


async def test_what_one_task_reads_all_of_its_tree_have_read(world: World) -> None:
    root = await world.declare()
    children = [await world.declare(parent=root.id) for _ in range(2)]
    await expose(world, children[0], exposure("pii", tainted=True))
    world.follow()
    for task in (root, *children):
        assert await known(world, task) == exposure("pii", tainted=True)
    assert await known(world, await world.declare()) == Exposure()
    assert [entry.record.task for entry in await recorded(world) if entry.record.kind == "task.exposed"] == [root.id]


async def test_what_is_known_is_not_committed_again(world: World) -> None:
    """So that a configuration which is not in force yet keeps nobody from reading on."""
    task = await world.declare()
    await expose(world, task, exposure("pii", tainted=True))
    world.follow()
    whose = Told((CRM,), "evt_of_an_earlier_one")
    for gained in (exposure("pii"), exposure(tainted=True)):
        await world.broker.exposures.expose(task, gained, picture_of(world), scope=SCOPE, tell=lambda: whose)


async def test_it_is_told_by_an_event_for_each_thing_that_is_new(world: World) -> None:
    task = await world.declare()
    await expose(world, task, exposure("pii", tainted=True))
    world.follow()
    await expose(world, task, exposure("health", "pii", tainted=True))
    events = [event for event in told(world, CRM) if event.kind == "taint"]
    assert [event.value for event in events] == [task.id, f"{task.id} pii", f"{task.id} health"]
    assert all(event.until == task.ends + 60_000 for event in events)


async def test_those_audiences_hear_of_it_that_are_named(world: World) -> None:
    task = await world.declare()
    await expose(world, task, exposure("pii"), (KB,))
    assert told(world, CRM) == []
    assert [event.value for event in told(world, KB)] == [f"{task.id} pii"]


async def test_what_was_recorded_in_an_epoch_is_known_in_the_next_one(world: World) -> None:
    root = await world.declare()
    child, other = [await world.declare(parent=root.id) for _ in range(2)]
    await expose(world, child, exposure("pii"))
    later = msgspec.structs.replace(picture_of(world), epoch="7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
    for task in (root, child, other):
        assert await another(world).of(task, later, CLASSES) == exposure("pii")


async def test_it_is_noted_before_it_is_committed(world: World, monkeypatch) -> None:
    """Whoever comes after a loss of the log reads the record; so it may say more than was committed, and never less."""
    task = await world.declare()

    async def fail(*_: Any, **__: Any) -> None:
        raise Unavailable("gone")

    monkeypatch.setattr(world.broker.log, "append", fail)
    with pytest.raises(Unavailable):
        await expose(world, task, exposure(tainted=True))
    assert await another(world).of(task, picture_of(world), CLASSES) == exposure(tainted=True)


async def test_a_root_that_is_gone_gives_nothing(world: World) -> None:
    """Unknown means no (`DESIGN.md` I5)."""
    task = await world.declare()
    world.backend.client.delete(key(task_shard(task.id), "task", task.id))
    with pytest.raises(InvalidGrant):
        await known(world, task)
    with pytest.raises(InvalidGrant):
        await expose(world, task, exposure(tainted=True))
    assert world.backend.client.exists(key(task_shard(task.id), "task", task.id)) == 0


async def test_how_many_trees_are_remembered_is_bounded(world: World, monkeypatch) -> None:
    monkeypatch.setattr(exposures, "MAX_REMEMBERED", 2)
    tasks = [await world.declare() for _ in range(4)]
    await expose(world, tasks[0], exposure("pii"))
    world.follow()
    for _ in range(2):
        assert [await known(world, task) == exposure("pii") for task in tasks] == [True, False, False, False]


async def test_of_trees_that_are_remembered_the_store_is_not_asked_and_the_oldest_is_forgotten(
    world: World, monkeypatch
) -> None:
    monkeypatch.setattr(exposures, "MAX_REMEMBERED", 2)
    oldest, *latest = [await world.declare() for _ in range(3)]
    for task in (oldest, *latest):
        await known(world, task)
    for task in (oldest, *latest):
        world.backend.client.delete(key(task_shard(task.id), "task", task.id))
    assert [await known(world, task) for task in latest] == [Exposure()] * 2
    with pytest.raises(InvalidGrant):
        await known(world, oldest)


async def test_another_configuration_than_the_one_that_said_who_hears_of_it_commits_nothing(world: World) -> None:
    """TRAPS 15c."""
    task = await world.declare()
    with pytest.raises(Unavailable) as refused:
        await world.broker.exposures.expose(
            task, exposure(tainted=True), picture_of(world), scope=SCOPE, tell=lambda: Told((), "evt_of_an_earlier_one")
        )
    assert refused.value.reason == "configuration_pending"
    assert told(world, CRM) == []
