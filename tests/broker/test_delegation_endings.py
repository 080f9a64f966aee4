"""What was delegated ends with what it was delegated by, whoever holds it, wherever it is kept, whatever else happens."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.callers import Caller
from broker.errors import BrokerError, InvalidGrant, Unavailable
from broker.feed.acts import SUSPENDED
from broker.identity import Presented
from broker.issuer import Issued
from broker.lifecycle import Asked
from broker.store import key, shard_of
from broker.tasks import Declaration
from broker.tasks.tasks import UNFINISHED_AFTER
from tests.broker.delegating import HELPER, LAST, PART, TWIN, WHOLE, delegated, delegating_world, of_agent, of_user
from tests.broker.ended import is_ended, status_of, told
from tests.broker.recorded import recorded
from tests.broker.world import ADMIN, BOT, CRM, KB, Backend, World, neighbour_of, proven

AGENT = Caller("Agent", "support-bot", BOT)


@pytest.fixture
def world(tmp_path: Path, backend: Backend) -> World:
    return delegating_world(tmp_path, backend)


@pytest_asyncio.fixture
async def neighbour(world: World, backend: Backend):
    connected = neighbour_of(backend)
    yield delegating_world(world.folder, connected, clock=world.clock)
    await connected.close()


async def end(world: World, task: str, outcome: str = "completed") -> None:
    await world.broker.revocation.end_task(task, outcome, AGENT)


async def statuses(world: World, *issued: Issued) -> list[str]:
    return [(await world.broker.tasks.find(each.task_id)).status for each in issued]


@pytest.mark.parametrize("workload", [HELPER, TWIN])
async def test_ending_a_task_ends_what_was_delegated_below_it_by_one_event(world: World, workload: str) -> None:
    """C4, TRAPS 13: also where it is another agent's, in another shard."""
    parent = await world.issue(WHOLE)
    child = await delegated(world, parent, workload=workload)
    below = await world.issue(PART, task=(await world.declare(parent=child.task_id, workload=workload)).id, workload=workload)
    beside = await world.issue(PART, workload=workload)
    await end(world, parent.task_id)
    assert [(event.kind, event.value) for event in told(world, CRM)] == [("task", parent.task_id)]
    assert [is_ended(world, each) for each in (parent, child, below, beside)] == [True, True, True, False]
    assert [await status_of(world, each) for each in (parent, child, below, beside)] == ["revoked"] * 3 + ["live"]
    assert await statuses(world, parent, child, below, beside) == ["completed"] * 3 + ["open"]
    for task in (child.task_id, below.task_id):
        with pytest.raises(InvalidGrant):
            await world.issue(PART, task=task, workload=workload)


async def test_ending_a_task_reaches_down_to_whoever_it_was_passed_on(world: World) -> None:
    """TRAPS 23b: over three shards."""
    first = await world.issue(WHOLE)
    second = await delegated(world, first, WHOLE)
    third = await delegated(world, second, workload=LAST)
    await end(world, first.task_id, "failed")
    assert [is_ended(world, each) for each in (first, second, third)] == [True] * 3
    assert await statuses(world, first, second, third) == ["failed"] * 3


async def test_ending_what_was_delegated_leaves_what_is_above_alone(world: World) -> None:
    parent = await world.issue(WHOLE)
    child = await delegated(world, parent)
    await end(world, child.task_id)
    assert [is_ended(world, each) for each in (parent, child)] == [False, True]
    assert await statuses(world, parent, child) == ["open", "completed"]


async def test_each_agents_audit_tells_of_the_end_of_its_task(world: World) -> None:
    parent = await world.issue(WHOLE)
    child = await delegated(world, parent)
    await end(world, parent.task_id)
    await end(world, parent.task_id)
    ended = [entry.record for entry in await recorded(world) if entry.record.kind == "task.ended"]
    assert {(record.agent, record.task) for record in ended} == {("support-bot", parent.task_id), ("helper", child.task_id)}
    assert len(ended) == 2


async def test_only_services_that_hold_its_tokens_hear_of_it(world: World) -> None:
    parent = await world.issue("kb:article/1#read")
    child = await delegated(world, parent, "kb:article/1#read")
    await end(world, parent.task_id)
    assert [(event.kind, event.value) for event in told(world, KB)] == [("task", parent.task_id)]
    assert told(world, CRM) == []
    assert is_ended(world, child)


async def give_back(world: World, issued: Issued) -> None:
    await world.broker.returning(Presented(world.svid()), issued.access_token)


async def suspend(world: World, asked: Asked) -> None:
    await world.broker.lifecycle.change(asked, SUSPENDED, "a test", ADMIN)


WAYS: dict[str, Callable[[World, Issued], Any]] = {
    "its lease is revoked": lambda world, issued: world.revoke(lease=issued.lease_id),
    "its token is given back": give_back,
    "its task is revoked": lambda world, issued: world.revoke(task=issued.task_id),
    "its agent is revoked": lambda world, _: world.revoke(agent="support-bot"),
    "its owner's agents are revoked": lambda world, _: world.revoke(owner="jane@example.com"),
    "its workload is revoked": lambda world, _: world.revoke(instance=BOT),
    "its user is revoked": lambda world, _: world.revoke(user="corp:jane"),
    "its resource is revoked": lambda world, _: world.revoke(resource="crm:ticket/4711"),
    "the key that signed it is revoked": lambda world, _: world.revoke(key=world.broker.keys.token.kid),
    "all is revoked": lambda world, _: world.revoke(all=True),
    "its agent is suspended": lambda world, _: suspend(world, Asked("support-bot")),
    "its instance is suspended": lambda world, _: suspend(world, Asked("support-bot", BOT)),
}


@pytest.mark.parametrize("how", WAYS)
async def test_whatever_ends_the_token_above_ends_those_below(world: World, how: str) -> None:
    """TRAPS 13: a child that outlives its parent. No list of children is asked, so none is missed."""
    parent = await world.issue(WHOLE, subject=of_user(world))
    child = await delegated(world, parent, WHOLE)
    last = await delegated(world, child, workload=LAST)
    await WAYS[how](world, parent)
    assert [is_ended(world, each) for each in (parent, child, last)] == [True] * 3
    if how != "the key that signed it is revoked":  # which the lease itself does not know
        assert [await status_of(world, each) for each in (parent, child, last)] == ["revoked"] * 3
    with pytest.raises(InvalidGrant):
        await world.issue(PART, task=child.task_id, workload=HELPER)
    with pytest.raises(InvalidGrant):
        await world.issue(PART, task=last.task_id, workload=LAST)


@pytest.mark.parametrize("how", ["its lease is revoked", "its agent is revoked", "its task is revoked"])
async def test_what_ended_below_is_marked_so_that_it_counts_no_more(world: World, how: str) -> None:
    parent = await world.issue(WHOLE)
    child = await delegated(world, parent, WHOLE)
    await delegated(world, child, workload=LAST)
    beside = await world.issue(PART, workload=HELPER)
    await WAYS[how](world, parent)
    world.follow()
    await world.broker.settling.settle()
    live = [await world.broker.leases.count_live(world.broker.streams.picture.epoch, name) for name in ("helper", "last")]
    assert live == [1, 0]
    assert await status_of(world, beside) == "live"


async def test_what_is_delegated_after_a_revocation_lives(world: World) -> None:
    """Position, not time: to revoke an agent ends what was decided before, and no more."""
    await world.revoke(agent="support-bot")
    world.follow()
    child = await delegated(world, await world.issue(WHOLE))
    assert not is_ended(world, child)


async def test_a_second_lease_of_the_task_does_not_stand_in_for_the_one_that_ended(world: World) -> None:
    one, other = [await world.issue(WHOLE) for _ in range(2)]
    first, second = await delegated(world, one), await delegated(world, other)
    await world.revoke(lease=one.lease_id)
    assert [is_ended(world, each) for each in (first, second)] == [True, False]
    with pytest.raises(InvalidGrant):
        await world.issue(PART, task=first.task_id, workload=HELPER)
    assert await world.issue(PART, task=second.task_id, workload=HELPER)


# A child created while its parent is being ended (TRAPS 13): the end comes between each two steps of issuing.

STEPS = {
    "after the token above was believed": ("broker.delegations", "behalf"),
    "after it was told of the child": ("broker.tasks", "_enlist_at"),
    "after the child was opened": ("broker.tasks", "_written"),
    "after all above was looked at": ("broker.delegations", "check"),
    "after the lease was written": ("broker.leases", "issue"),
}


def interrupted(world: World, monkeypatch: pytest.MonkeyPatch, step: tuple[str, str], act: Callable[[], Any]) -> None:
    """Have something happen once, right after a step."""
    room = world.broker
    for name in step[0].split(".")[1:]:
        room = getattr(room, name)
    original, happened = getattr(room, step[1]), []

    async def then(*args: Any, **asked: Any) -> Any:
        result = await original(*args, **asked)
        if not happened:
            happened.append(True)
            await act()
        return result

    monkeypatch.setattr(room, step[1], then)


@pytest.mark.parametrize(
    "ending", ["its task is ended", "its lease is revoked", "its token is given back", "its agent is suspended"]
)
@pytest.mark.parametrize("workload", [HELPER, TWIN])
@pytest.mark.parametrize("step", STEPS)
async def test_a_child_created_while_what_is_above_is_ended_gets_nothing_that_lives(
    world: World, neighbour: World, monkeypatch: pytest.MonkeyPatch, step: str, workload: str, ending: str
) -> None:
    """TRAPS 13, by another worker, in two steps that no script holds together (`DESIGN.md` 3.14)."""
    parent = await world.issue(WHOLE, subject=of_user(world))
    neighbour.follow()

    async def act() -> None:
        if ending == "its task is ended":
            await end(neighbour, parent.task_id)
        else:
            await WAYS[ending](neighbour, parent)

    interrupted(world, monkeypatch, STEPS[step], act)
    try:
        issued = await delegated(world, parent, workload=workload)
    except BrokerError:
        issued = None
    assert issued is None or is_ended(world, issued)
    world.follow()
    for task in await world.broker.tasks.unclosed_tree(parent.task_id):
        for asking in {BOT, workload}:
            if (await world.broker.tasks.find(task)).agent == world.agent(asking).name:
                if ending != "its task is ended" and task == parent.task_id:
                    continue
                with pytest.raises(BrokerError):
                    await world.issue(PART, task=task, workload=asking)


@pytest.mark.usefixtures("patient")
async def test_many_delegated_while_their_task_is_ended_on_two_workers(world: World, neighbour: World) -> None:
    parent = await world.issue(WHOLE)
    neighbour.follow()
    asked = [delegated(worker, parent, workload=workload) for worker in (world, neighbour) for workload in (HELPER, TWIN)] * 1
    more = [
        delegated(worker, parent, workload=HELPER, idempotency_key=f"{n}") for n in range(8) for worker in (world, neighbour)
    ]
    results = await asyncio.gather(*asked, *more[:8], end(neighbour, parent.task_id), *more[8:], return_exceptions=True)
    issued = [result for result in results if isinstance(result, Issued)]
    assert all(isinstance(result, Issued | BrokerError | None) for result in results)
    assert all(is_ended(world, each) for each in issued)
    await end(world, parent.task_id)
    assert await world.broker.tasks.unclosed_tree(parent.task_id) == []


@pytest.mark.parametrize("workload", [HELPER, TWIN])
async def test_below_a_task_that_is_marked_as_ending_nothing_is_opened_or_issued(
    world: World, neighbour: World, workload: str
) -> None:
    """`DESIGN.md` 3.20: also before its end is committed, and where whoever ends it has not come to the other shard yet."""
    parent = await world.issue(WHOLE)
    child = await delegated(world, parent, workload=workload)
    behalf = await world.broker.delegations.behalf(
        world.agent(workload),
        proven(workload),
        of_agent(parent),
        registry=world.registry,
        picture=world.broker.streams.picture,
    )
    await neighbour.broker.tasks._mark(parent.task_id, "completed")
    with pytest.raises(InvalidGrant):
        await world.issue(PART, task=child.task_id, workload=workload)
    for declaration in (Declaration(type="summarise-ticket"), None):
        with pytest.raises(InvalidGrant):
            await delegated(world, parent, workload=workload, declaration=declaration)
    before = await world.broker.tasks.children(parent.task_id)
    with pytest.raises(InvalidGrant):
        await world.broker.tasks.open(
            world.agent(workload), workload, Declaration(type="summarise-ticket"), world.registry, behalf=behalf
        )
    assert await world.broker.tasks.children(parent.task_id) == before == [child.task_id]


async def test_a_child_that_was_told_and_never_opened_hinders_no_end(world: World) -> None:
    parent = await world.issue(WHOLE)
    await world.broker.tasks._enlist_at(parent.task_id, f"tsk_01JE000000000000000000000{shard_of('helper'):02}"[:30])
    await end(world, parent.task_id)
    assert await statuses(world, parent) == ["completed"]


async def test_an_ending_that_broke_off_is_finished_in_every_shard(world: World) -> None:
    """`DESIGN.md` I6, 3.20: its caller died between marking and the event."""
    parent = await world.issue(WHOLE)
    child = await delegated(world, parent)
    await world.broker.tasks.begin_end(parent.task_id, "failed")
    world.advance(UNFINISHED_AFTER)
    await world.broker.revocation.end_due_tasks()
    assert [is_ended(world, each) for each in (parent, child)] == [True, True]
    assert await statuses(world, parent, child) == ["failed", "failed"]


async def test_where_another_shard_does_not_answer_its_tokens_end_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They live by a lease of the shard that answers; what is left to do there is done later, and not said to be done."""
    parent = await world.issue(WHOLE)
    child = await delegated(world, parent)
    run, prefix = world.backend.stores.shared.run, key(shard_of("helper"), "")

    async def away(script: Any, keys: Any, arguments: Any) -> Any:
        if script.name == "ending" and keys[0].startswith(prefix):
            raise Unavailable("away")
        return await run(script, keys, arguments)

    with monkeypatch.context() as broken:
        broken.setattr(world.backend.stores.shared, "run", away)
        with pytest.raises(Unavailable):
            await end(world, parent.task_id)
        assert [is_ended(world, each) for each in (parent, child)] == [True, True]
        world.advance(UNFINISHED_AFTER)
        await world.broker.revocation.end_due_tasks()
        assert [piece.id for piece in world.broker.stuck_work.pieces()] == [parent.task_id]
    assert await statuses(world, parent, child) == ["ending", "open"]
    world.advance(60_000)
    await world.broker.revocation.end_due_tasks()
    assert await statuses(world, parent, child) == ["completed", "completed"]
    assert world.broker.stuck_work.pieces() == []


async def test_a_task_above_whose_time_is_over_takes_what_is_below_along(world: World) -> None:
    task = await world.declare(max_duration=20)
    parent = await world.issue(WHOLE, task=task.id)
    child = await delegated(world, parent)
    world.advance(21_000)
    await world.broker.revocation.end_due_tasks()
    assert await statuses(world, parent, child) == ["timed_out", "timed_out"]
