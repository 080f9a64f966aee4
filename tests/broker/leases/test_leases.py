"""Leases: written, counted and recorded in one step, ended once, found by anybody who may look, and swept."""

import asyncio

import msgspec
import pytest

from broker.errors import NotFound, Unavailable
from broker.leases import AgentEnded, LeaseEnded, Leases, TaskClosed
from broker.leases.leases import KEPT_AFTER_END, MAX_LAG
from broker.leases.records import Mark
from broker.revocation import SCHEDULER
from broker.store import key, shard_of, shard_of_id
from scopes.revocations import Picture
from tests.broker.leases.written import LONGEST, new_lease, picture_of, status_of, written
from tests.broker.recorded import kinds_recorded
from tests.broker.world import World

UNKNOWN = "lse_01JE0000000000000000000007"


async def test_a_lease_is_written_with_its_times_and_found_again(world: World) -> None:
    task = await world.declare(purpose="to look")
    lease = new_lease(world, task)
    times = await world.broker.leases.issue(lease)
    found = await world.broker.leases.find(lease.id, picture_of(world))
    assert found.times == times[:2]
    assert times.expires - times.issued == 300
    assert (found.agent, found.workload, found.path, found.status) == ("support-bot", task.workload, task.path, "live")
    assert str(found.scope) == "crm:ticket/4711#read[subject]"
    assert found.record == lease.record


async def test_a_lease_is_in_its_agents_shard(world: World) -> None:
    lease = await written(world, await world.declare())
    assert shard_of_id(lease.id, "lse_") == shard_of("support-bot")


async def test_the_times_of_a_lease_are_the_stores_whatever_the_worker_thinks(world: World) -> None:
    """`iat` and `exp` come from Redis (`DESIGN.md` 3.6), here twenty minutes ahead of the machine."""
    world.advance(1_200_000)
    times = await world.broker.leases.issue(new_lease(world, await world.declare()))
    seconds, _ = world.backend.client.time()
    # The machine's second may have gone by between the two.
    assert abs(times.issued - seconds - 1_200) <= 1


async def test_a_lease_names_its_workload_where_it_is_not_the_tasks(world: World) -> None:
    lease = await written(world, await world.declare(), workload="spiffe://development.test/other")
    assert (await world.broker.leases.find(lease.id, picture_of(world))).workload == "spiffe://development.test/other"


async def test_a_lease_never_outlives_its_task(world: World) -> None:
    task = await world.declare(max_duration=10)
    times = await world.broker.leases.issue(new_lease(world, task))
    assert times.expires * 1000 <= task.ends


async def test_a_lease_never_outlives_the_agents_last_day(world: World) -> None:
    task, now = await world.declare(), world.clock.now().wall
    times = await world.broker.leases.issue(new_lease(world, task, last=now + 10_000))
    assert times.expires * 1000 <= now + 10_000


@pytest.mark.parametrize("late", [0, 1_000, 86_400_000])
async def test_after_the_agents_last_day_nothing_is_written(world: World, late: int) -> None:
    """By the store's clock, whatever the worker thinks that the date is."""
    lease = new_lease(world, await world.declare(), last=world.clock.now().wall - late)
    with pytest.raises(AgentEnded):
        await world.broker.leases.issue(lease)
    assert await kinds_recorded(world) == ["task.opened"]


async def test_in_the_last_second_of_the_agents_last_day_it_is_the_agent_that_has_ended(world: World) -> None:
    """A token that would expire in the second of its issue is none, and what is over is not the task."""
    task = await world.declare()
    world.clock.hold()
    last = world.clock.now().wall // 1000 * 1000 + 999
    with pytest.raises(AgentEnded):
        await world.broker.leases.issue(new_lease(world, task, last=last))


async def test_a_lease_and_its_audit_record_are_written_together(world: World) -> None:
    """The record is never after the token (TRAPS 26)."""
    await written(world, await world.declare())
    assert await kinds_recorded(world) == ["task.opened", "token.issued"]


async def test_a_lease_written_twice_is_written_and_counted_once(world: World) -> None:
    """A script whose answer was lost may be asked again (TRAPS 21b)."""
    lease = new_lease(world, await world.declare(), limits={"leases_per_minute": 2, "live_leases": 2, "leases_per_task": 2})
    first = await world.broker.leases.issue(lease)
    world.advance(2_000)
    assert await world.broker.leases.issue(lease) == first
    assert await world.broker.leases.count_live(lease.decision_class.epoch, "support-bot") == 1
    assert (await kinds_recorded(world)).count("token.issued") == 1


@pytest.mark.parametrize("how", ["revoked", "undone"])
async def test_a_lease_that_has_ended_is_not_written_again(world: World, how: str) -> None:
    """Nothing un-revokes (`DESIGN.md` I4): whoever repeats a request too late does not get its token back."""
    lease = await written(world, await world.declare())
    await world.broker.leases.end([lease.id], how)
    with pytest.raises(LeaseEnded):
        await world.broker.leases.issue(lease)
    assert await status_of(world, lease) == how


async def test_a_lease_whose_time_is_over_is_not_written_again_though_nobody_swept_it(world: World) -> None:
    world.clock.hold()
    lease = new_lease(world, await world.declare(), longest=5_000)
    times = await world.broker.leases.issue(lease)
    world.advance(times.expires * 1000 - 1 - world.clock.now().wall)
    assert await world.broker.leases.issue(lease) == times
    world.advance(1)
    with pytest.raises(LeaseEnded):
        await world.broker.leases.issue(lease)


async def test_a_lease_ended_while_it_is_written_again_is_never_live_afterwards(world: World) -> None:
    lease = await written(world, await world.declare())
    attempts = [world.broker.leases.issue(lease) for _ in range(20)]
    ending = world.broker.leases.end([lease.id], "revoked")
    await asyncio.gather(*attempts[:10], ending, *attempts[10:], return_exceptions=True)
    assert await status_of(world, lease) == "revoked"
    assert await world.broker.leases.count_live(lease.decision_class.epoch) == 0


async def test_the_same_lease_written_many_times_at_once_is_one(world: World) -> None:
    lease = new_lease(world, await world.declare(), limits={"leases_per_minute": 1, "live_leases": 1, "leases_per_task": 1})
    times = await asyncio.gather(*(world.broker.leases.issue(lease) for _ in range(50)))
    assert all(time == times[0] for time in times)
    assert (await kinds_recorded(world)).count("token.issued") == 1


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled", "timed_out"])
async def test_no_lease_is_written_for_a_task_from_the_moment_its_end_begins(world: World, outcome: str) -> None:
    """The guard is in the script: whoever read the task a moment ago may believe it open (`DESIGN.md` 3.20)."""
    task = await world.declare()
    await world.broker.tasks.begin_end(task.id, outcome)
    with pytest.raises(TaskClosed):
        await written(world, task)
    assert "token.issued" not in await kinds_recorded(world)


async def test_no_lease_is_written_for_a_task_whose_time_is_over_though_nobody_ended_it(world: World) -> None:
    """No token lives a second longer because a job is late (`DESIGN.md` 3.15)."""
    task = await world.declare(max_duration=10)
    world.advance(10_000)
    with pytest.raises(TaskClosed):
        await written(world, task)


async def test_no_lease_is_written_that_would_expire_in_the_second_it_was_issued(world: World) -> None:
    task = await world.declare()
    with pytest.raises(TaskClosed):
        await written(world, task, longest=0)


async def test_no_lease_is_written_for_a_task_nobody_declared(world: World) -> None:
    undeclared = msgspec.structs.replace(await world.declare(), id="tsk_01JE0000000000000000000007")
    with pytest.raises(TaskClosed):
        await written(world, undeclared)


async def test_a_lease_issued_while_its_task_is_being_ended_is_refused_or_named_to_who_ends_it(world: World) -> None:
    """A lease that slipped through unnamed would live on after its task (TRAPS 13, 22)."""
    task = await world.declare()
    leases = [new_lease(world, task) for _ in range(40)]
    attempts = [world.broker.leases.issue(lease) for lease in leases]
    ending = world.broker.tasks.begin_end(task.id, "completed")
    results = await asyncio.gather(*attempts[:20], ending, *attempts[20:], return_exceptions=True)
    named = results.pop(20)
    written_ids = {lease.id for lease, result in zip(leases, results, strict=True) if not isinstance(result, TaskClosed)}
    assert set(named.leases) == written_ids


async def test_an_ended_lease_says_how_and_only_the_first_end_counts(world: World) -> None:
    lease = await written(world, await world.declare())
    assert await world.broker.leases.end([lease.id], "undone") == 1
    assert await world.broker.leases.end([lease.id], "revoked") == 0
    assert await status_of(world, lease) == "undone"
    assert await world.broker.leases.count_live(lease.decision_class.epoch) == 0


async def test_leases_ended_many_times_at_once_end_once(world: World) -> None:
    task = await world.declare()
    leases = [await written(world, task) for _ in range(5)]
    ids = [lease.id for lease in leases]
    ended = await asyncio.gather(*(world.broker.leases.end(ids, "revoked") for _ in range(20)))
    assert sum(ended) == 5


async def test_ending_what_is_unknown_changes_nothing(world: World) -> None:
    assert await world.broker.leases.end([UNKNOWN, "no id", ""], "revoked") == 0
    assert await world.broker.leases.known([UNKNOWN, "no id", ""], picture_of(world)) == []


async def test_a_lease_that_is_not_there_is_not_found(world: World) -> None:
    for id in (UNKNOWN, "no id", "tsk_01JE0000000000000000000007"):
        with pytest.raises(NotFound):
            await world.broker.leases.find(id, picture_of(world))


async def test_without_a_picture_no_lease_is_shown_for_its_status_would_be_a_guess(world: World) -> None:
    lease = await written(world, await world.declare())
    with pytest.raises(Unavailable):
        await world.broker.leases.find(lease.id, Picture())


async def test_more_leases_than_one_script_takes_are_found_and_ended_all(world: World) -> None:
    task = await world.declare()
    leases = await asyncio.gather(*(written(world, task) for _ in range(601)))
    ids = [lease.id for lease in leases]
    assert len(await world.broker.leases.known(ids, picture_of(world))) == 601
    assert await world.broker.leases.end(ids, "revoked") == 601
    assert {lease.status for lease in await world.broker.leases.known(ids, picture_of(world))} == {"revoked"}


async def test_a_page_shows_leases_in_the_order_of_an_index(world: World) -> None:
    task = await world.declare()
    for longest in (30_000, 10_000, 20_000):
        await written(world, task, longest=longest)
    shard = shard_of("support-bot")
    page = await world.broker.leases.page(shard, ("due",), (0, 1), picture_of(world))
    assert [lease.times.expires - lease.times.issued for lease in page] == [10, 20]
    assert await world.broker.leases.page(shard, ("due",), (3, 9), picture_of(world)) == []


async def test_live_leases_are_counted_of_one_agent_and_of_all(world: World) -> None:
    await written(world, await world.declare())
    await written(world, await world.declare(workload="spiffe://development.test/agent/other-bot"))
    epoch = picture_of(world).epoch
    assert await world.broker.leases.count_live(epoch) == 2
    assert await world.broker.leases.count_live(epoch, "support-bot") == 1
    assert await world.broker.leases.count_live(epoch, "nobody") == 0
    world.advance(300_000)
    assert await world.broker.leases.count_live(epoch) == 0
    assert await world.broker.leases.count_live(epoch, "support-bot") == 0


async def test_expired_leases_leave_the_live_ones_and_no_others_do(world: World) -> None:
    task = await world.declare()
    short, long = await written(world, task, longest=5_000), await written(world, task)
    world.advance(5_000)
    shard = shard_of("support-bot")
    assert await status_of(world, short) == "expired"
    assert await world.broker.leases.expire(shard) == 1
    assert [await status_of(world, short), await status_of(world, long)] == ["expired", "live"]
    assert [lease.id for lease in await world.broker.leases.page(shard, ("due",), (0, 9), picture_of(world))] == [long.id]
    assert [lease.id for lease in await world.broker.leases.page(shard, ("ended",), (0, 9), picture_of(world))] == [short.id]
    assert await world.broker.leases.expire(shard) == 0


async def test_a_lease_that_expired_before_its_agent_was_revoked_is_not_called_revoked(world: World) -> None:
    lease = await written(world, await world.declare(), longest=5_000)
    world.advance(5_000)
    await world.revoke(agent="support-bot")
    world.follow()
    assert await world.broker.leases.end([lease.id], "revoked") == 0
    assert await status_of(world, lease) == "expired"


async def test_expiry_takes_a_bounded_number_at_a_time(world: World) -> None:
    """Overdue work after a pause, handled all at once, blocks everything else (TRAPS 22, 24)."""
    task = await world.declare()
    for _ in range(5):
        await written(world, task, longest=5_000)
    world.advance(60_000)
    assert [await world.broker.leases.expire(shard_of("support-bot"), most=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_an_agents_and_a_tasks_index_keep_little_of_what_is_over_though_nobody_sweeps_them(world: World) -> None:
    """What is never pruned grows for ever (TRAPS 22)."""
    task = await world.declare()
    short = [await written(world, task, longest=5_000) for _ in range(20)]
    world.advance(5_000)
    shard, epoch = shard_of("support-bot"), picture_of(world).epoch
    for index in (("agent", "support-bot", epoch), ("task", task.id, "leases")):
        assert world.backend.client.zcard(key(shard, *index)) == len(short)
    for left in (5, 2, 3):
        await written(world, task)
        for index in (("agent", "support-bot", epoch), ("task", task.id, "leases")):
            assert world.backend.client.zcard(key(shard, *index)) == left


@pytest.mark.usefixtures("patient")
async def test_two_workers_that_sweep_at_once_end_what_one_would(world: World, neighbour: World) -> None:
    """`DESIGN.md` I6: jobs may run twice, at once, or late."""
    task = await world.declare()
    short = [await written(world, task, longest=5_000) for _ in range(10)]
    long = [await written(world, task) for _ in range(10)]
    world.advance(5_000)
    neighbour.follow()
    await asyncio.gather(*(worker.broker.scheduler.expire_leases() for worker in (world, neighbour) * 3))
    assert {await status_of(world, lease) for lease in short} == {"expired"}
    assert {await status_of(neighbour, lease) for lease in long} == {"live"}
    assert await world.broker.leases.count_live(picture_of(world).epoch) == 10


async def test_leases_that_ended_long_ago_are_forgotten_and_no_others(world: World) -> None:
    task = await world.declare()
    revoked, expired, live = (
        await written(world, task),
        await written(world, task, longest=1_000),
        await written(world, task, longest=900_000),
    )
    shard = shard_of("support-bot")
    await world.broker.leases.end([revoked.id], "revoked")
    world.advance(KEPT_AFTER_END)
    assert await world.broker.leases.expire(shard) == 1
    young = await written(world, task)
    await world.broker.leases.end([young.id], "revoked")
    assert await world.broker.leases.forget(shard) == 1
    world.advance(1_000)
    assert await world.broker.leases.forget(shard) == 1
    assert await world.broker.leases.forget(shard) == 0
    assert await world.broker.leases.known([revoked.id, expired.id], picture_of(world)) == []
    assert [await status_of(world, lease) for lease in (live, young)] == ["live", "revoked"]
    assert await world.broker.tasks.count_live(task.id) == 1


async def test_workers_that_forget_at_once_forget_once(world: World) -> None:
    task = await world.declare()
    ids = [(await written(world, task)).id for _ in range(6)]
    await world.broker.leases.end(ids, "revoked")
    world.advance(KEPT_AFTER_END)
    shard = shard_of("support-bot")
    assert sorted(await asyncio.gather(*(world.broker.leases.forget(shard, most=4) for _ in range(4)))) == [0, 0, 2, 4]


async def test_nothing_of_a_lease_is_left_when_it_is_forgotten(world: World) -> None:
    """What is never pruned grows for ever (TRAPS 22)."""
    task = await world.declare()
    lease = await written(world, task)
    await world.broker.leases.end([lease.id], "undone")
    world.advance(LONGEST + 2 * KEPT_AFTER_END)
    await world.broker.scheduler.forget()
    shard = shard_of("support-bot")
    left = {name.decode() for name in world.backend.client.keys("ab:{s*")}
    # The totals are of the whole life of an agent.
    assert left == {key(shard, "task", task.id), key(shard, "tasks"), key(shard, "audit"), key(shard, "totals")}


async def settle(world: World, shard: int, *index: str, most: int = 100) -> int:
    """Go through an index as the house-keeping does, and tell in how many pages."""
    place: Mark | None = Mark()
    pages = 0
    while place is not None:
        place, pages = await world.broker.leases.settle(shard, index, place, picture_of(world), most=most), pages + 1
    return pages


async def test_settling_marks_what_the_picture_has_ended_and_leaves_what_it_has_not(world: World) -> None:
    task = await world.declare()
    other = await world.declare(workload="spiffe://development.test/agent/other-bot")
    hit, missed = await written(world, task), await written(world, other)
    await world.revoke(agent="support-bot")
    world.follow()
    later = await written(world, task)
    for _ in range(2):
        for agent in ("support-bot", "other-bot"):
            await settle(world, shard_of(agent), "due")
    assert [await status_of(world, lease) for lease in (hit, missed, later)] == ["revoked", "live", "live"]
    assert await world.broker.leases.count_live(picture_of(world).epoch, "support-bot") == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("most", [1, 7, 100])
async def test_settling_goes_page_by_page_and_leaves_none_out(world: World, most: int) -> None:
    """Ranks shift while leases end, and many expire in the same second: whoever goes by rank skips some."""
    task = await world.declare()
    for position in (10_000, 0, 10_000):
        await asyncio.gather(*(written(world, task, position=position and number % 2 * 10_000) for number in range(20)))
    await world.revoke(agent="support-bot")
    world.follow()
    index = ("agent", "support-bot", picture_of(world).epoch)
    pages = await settle(world, shard_of("support-bot"), *index, most=most)
    assert await world.broker.leases.count_live(picture_of(world).epoch, "support-bot") == 20
    assert pages == 60 // most + 1


async def test_settling_goes_on_though_the_lease_it_stood_at_has_ended_meanwhile(world: World) -> None:
    task = await world.declare()
    leases = [await written(world, task, position=position) for position in (9, 9, 0, 0)]
    await world.revoke(agent="support-bot")
    world.follow()
    shard, picture = shard_of("support-bot"), picture_of(world)
    place = await world.broker.leases.settle(shard, ("due",), Mark(), picture, most=2)
    assert place is not None
    await world.broker.leases.end([place.lease], "undone")
    while place is not None:
        place = await world.broker.leases.settle(shard, ("due",), place, picture, most=2)
    assert [await status_of(world, lease) for lease in leases[2:]] == ["revoked", "revoked"]


async def test_settling_does_not_look_at_what_has_expired_anyway(world: World) -> None:
    task = await world.declare()
    for _ in range(10):
        await written(world, task, longest=5_000)
    world.advance(5_000)
    assert await settle(world, shard_of("support-bot"), "due", most=2) == 1


async def test_nothing_is_issued_in_a_shard_whose_leases_end_too_late(world: World) -> None:
    """Giving must not outrun taking away; as soon as the sweeper has caught up, it goes on."""
    task = await world.declare()
    await written(world, task, longest=5_000)
    world.advance(5_000 + MAX_LAG - 1_000)
    await written(world, task, longest=5_000)
    world.advance(2_000)
    with pytest.raises(Unavailable) as refused:
        await written(world, task)
    assert refused.value.retry_after == 5
    await world.broker.scheduler.expire_leases()
    await written(world, task)


async def test_nothing_is_issued_in_a_shard_whose_tasks_end_too_late(world: World) -> None:
    task, short = await world.declare(), await world.declare(max_duration=10)
    world.advance(10_000 + MAX_LAG + 1_000)
    with pytest.raises(Unavailable):
        await written(world, task)
    await world.broker.revocation.end_task(short.id, "timed_out", SCHEDULER)
    await written(world, task)


async def test_one_shard_that_lags_stops_no_other(world: World) -> None:
    task, other = await world.declare(), await world.declare(workload="spiffe://development.test/agent/other-bot")
    await written(world, task, longest=5_000)
    world.advance(5_000 + MAX_LAG + 1_000)
    lease = await written(world, other)
    assert (await world.broker.leases.find(lease.id, world.broker.streams.picture)).status == "live"


async def test_an_id_is_new_each_time(world: World) -> None:
    assert len({Leases.new_id("support-bot", now=world.clock.now().wall) for _ in range(1_000)}) == 1_000
