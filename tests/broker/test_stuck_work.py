"""House-keeping that failed is listed with its reason and its next try, each piece apart."""

import pytest

from broker.errors import Unavailable
from broker.leases.leases import MAX_LAG
from broker.stuck_work import LONGEST_PAUSE, StuckWork
from tests.broker.world import ADMIN, BOT, OTHER, World
from tests.scopes.clocks import MovableClock


@pytest.fixture
def stuck(clock: MovableClock) -> StuckWork:
    return StuckWork(clock)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


def test_what_failed_is_tried_again_after_pauses_that_double_up_to_a_minute(stuck, clock):
    pauses = []
    for _ in range(9):
        assert stuck.may_try("a")
        stuck.failed("a", "a job", ValueError("with a secret in it"))
        (piece,) = stuck.pieces()
        pauses.append(piece.next_try - clock.now().wall)
        clock.advance(pauses[-1] - 1)
        assert not stuck.may_try("a")
        clock.advance(1)
    assert pauses == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_what_is_stuck_says_since_when_how_often_and_why_and_quotes_nothing(stuck, clock):
    first = clock.now().wall
    stuck.failed("a", "a job", ValueError("with a secret in it"))
    clock.advance(5_000)
    stuck.failed("a", "a job", KeyError("x"))
    (piece,) = stuck.pieces()
    assert (piece.id, piece.what, piece.since, piece.tries, piece.problem) == ("a", "a job", first, 2, "KeyError")


def test_what_is_done_is_stuck_no_more_and_the_oldest_comes_first(stuck, clock):
    for id in ("a", "b", "c"):
        stuck.failed(id, "a job" if id != "c" else "another", ValueError())
        clock.advance(1)
    assert [piece.id for piece in stuck.pieces()] == ["a", "b", "c"]
    stuck.done("b")
    assert [piece.id for piece in stuck.pieces()] == ["a", "c"]
    assert stuck.ids("a job") == ["a"]


async def test_a_task_that_cannot_be_ended_is_stuck_and_stops_no_other(world: World, monkeypatch) -> None:
    """TRAPS 24: what raises once must run again, and must not keep the rest from running."""
    tasks = [await world.declare(workload=who, max_duration=10) for who in (OTHER, OTHER, BOT)]
    world.advance(10_000)
    close = world.broker.tasks.close

    async def fail_for_the_first(id: str, record) -> None:
        if id == tasks[0].id:
            raise Unavailable("lost")
        await close(id, record)

    with monkeypatch.context() as broken:
        broken.setattr(world.broker.tasks, "close", fail_for_the_first)
        for _ in range(2):
            await world.broker.revocation.end_due_tasks()
    (piece,) = world.broker.stuck_work.pieces()
    assert (piece.id, piece.tries, piece.problem) == (tasks[0].id, 1, "Unavailable")
    assert [(await world.broker.tasks.find(task.id)).status for task in tasks] == ["ending", "timed_out", "timed_out"]
    world.advance(MAX_LAG)
    await world.broker.revocation.end_due_tasks()
    assert world.broker.stuck_work.pieces() == []
    assert (await world.broker.tasks.find(tasks[0].id)).status == "timed_out"


async def test_a_task_that_another_worker_ended_is_stuck_no_more(world: World, neighbour: World, monkeypatch) -> None:
    task = await world.declare(max_duration=10)
    world.advance(10_000)
    neighbour.follow()
    monkeypatch.setattr(world.broker.tasks, "close", None)
    await world.broker.revocation.end_due_tasks()
    assert [piece.id for piece in world.broker.stuck_work.pieces()] == [task.id]
    await neighbour.broker.revocation.end_task(task.id, "completed", ADMIN)
    await world.broker.revocation.end_due_tasks()
    assert world.broker.stuck_work.pieces() == []


async def test_leases_without_a_token_that_cannot_be_undone_are_stuck(world: World, monkeypatch) -> None:
    world.broker.issuer._to_undo.add("lse_01JE0000000000000000000007")
    with monkeypatch.context() as broken:
        broken.setattr(world.broker.leases, "end", None)
        with pytest.raises(TypeError):
            await world.broker.issuer.finish_undoing()
    assert [piece.id for piece in world.broker.stuck_work.pieces()] == ["undoing"]
    await world.broker.issuer.finish_undoing()
    assert world.broker.stuck_work.pieces() == []
