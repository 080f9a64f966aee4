"""What verifier processes acknowledged: only places that the log holds, only upwards, and never without bound."""

from typing import Any

import pytest

from broker.errors import LimitReached
from broker.feed import acknowledgements
from broker.feed.acknowledgements import EVERY_VERSION, SILENCE, Process
from tests.broker.acknowledging import FIRST, SECOND, acknowledge, place
from tests.broker.world import CRM, CRM_WORKLOAD, KB, World

KEPT = f"ab:{{feed}}:verifiers:{CRM}"


async def known(world: World, audience: str = CRM) -> list[Process]:
    return await world.broker.acknowledgements.processes(audience, now=world.clock.now().wall)


async def only(world: World) -> Process:
    (process,) = await known(world)
    return process


async def revoke(world: World, agent: str = "support-bot") -> None:
    await world.revoke(agent=agent)
    world.follow()


async def test_a_process_is_known_by_its_workload_and_its_own_name(world: World) -> None:
    """One acknowledgement for four worker processes would hide three (TRAPS 23c)."""
    assert await acknowledge(world, FIRST)
    assert await acknowledge(world, SECOND)
    processes = await known(world)
    assert [(process.workload, process.id) for process in processes] == [(CRM_WORKLOAD, FIRST), (CRM_WORKLOAD, SECOND)]
    picture = world.broker.streams.picture
    assert {(process.epoch, process.seq, process.as_of, process.version) for process in processes} == {
        (picture.epoch, 0, picture.as_of, "1.2.3")
    }
    assert await known(world, KB) == []


async def test_a_process_that_does_not_say_what_it_enforces_does_what_every_version_did(world: World) -> None:
    await acknowledge(world)
    assert (await only(world)).enforces == EVERY_VERSION == {"fields", "proof", "certificate"}


async def test_what_a_process_enforces_is_what_it_said_last(world: World) -> None:
    """Also where its place does not count: a lie about the log is none about itself."""
    for enforces in (["single_use", "fields"], [], ["proof", "of_a_later_version", "proof"]):
        await acknowledge(world, enforces=enforces)
        await acknowledge(world, enforces=enforces, seq=50)
        assert (await only(world)).enforces == set(enforces)
    await acknowledge(world)
    assert (await only(world)).enforces == EVERY_VERSION


async def test_what_a_worker_of_an_earlier_version_kept_is_read_and_kept_on(world: World) -> None:
    """Replicas are replaced one after the other."""
    await revoke(world)
    await acknowledge(world)
    name, row = next(iter(world.backend.client.hgetall(KEPT).items()))
    world.backend.client.hset(KEPT, name, row.rpartition(b" ")[0])
    before = await only(world)
    assert (before.seq, before.enforces, len(before.moves)) == (1, EVERY_VERSION, 1)
    await acknowledge(world, enforces=["single_use"])
    after = await only(world)
    assert (after.first, after.moves, after.enforces) == (before.first, before.moves, {"single_use"})


async def test_a_place_moves_up_and_never_down(world: World) -> None:
    start = place(world)
    await revoke(world)
    assert await acknowledge(world)
    assert await acknowledge(world, seq=start.seq, id=start.id, as_of=1)
    process = await only(world)
    assert (process.seq, process.as_of) == (1, world.broker.streams.picture.as_of)


@pytest.mark.parametrize(
    "lie",
    [
        {"seq": 2},
        {"seq": 2, "id": "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV"},
        {"seq": 2**53},
        {"id": "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV"},
        {"epoch": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"},
        {"epoch": "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
        {"epoch": "-"},
        {"epoch": ""},
    ],
    ids=str,
)
async def test_a_place_that_the_log_does_not_hold_is_a_sign_of_life_and_no_more(world: World, lie: dict[str, Any]) -> None:
    """Whoever is ahead of the log would seem to enforce what nobody has revoked yet."""
    await revoke(world)
    assert not await acknowledge(world, **lie)
    process = await only(world)
    assert (process.epoch, process.seq, process.as_of, process.moves) == ("", -1, 0, ())
    assert await acknowledge(world)
    assert not await acknowledge(world, **lie)
    assert (await only(world)).seq == 1


async def test_an_earlier_place_counts_by_its_id(world: World) -> None:
    await revoke(world)
    earlier = place(world)
    await revoke(world, "other-bot")
    assert not await acknowledge(world, seq=earlier.seq)
    assert await acknowledge(world, seq=earlier.seq, id=earlier.id)
    assert (await only(world)).seq == 1


async def test_a_place_that_was_trimmed_away_is_far_behind_and_counts_as_what_it_says(world: World) -> None:
    await revoke(world)
    earlier = place(world)
    await revoke(world, "other-bot")
    world.backend.client.xtrim("ab:{feed}:log", maxlen=1, approximate=False)
    assert await acknowledge(world, seq=earlier.seq, id=earlier.id)


async def test_nobody_is_fresher_than_the_store(world: World) -> None:
    await acknowledge(world, as_of=2**53)
    process = await only(world)
    assert process.as_of == process.last


async def test_a_process_of_the_epoch_before_begins_anew_in_the_next(world: World) -> None:
    await revoke(world)
    await acknowledge(world)
    old = place(world)
    for name in world.backend.client.keys("ab:{feed}:[el]*"):
        world.backend.client.delete(name)
    world.follow()
    assert not await acknowledge(world, seq=old.seq, id=old.id)
    assert (await only(world)).seq == 1
    assert await acknowledge(world)
    process = await only(world)
    assert (process.epoch, process.seq, len(process.moves)) == (world.broker.streams.picture.epoch, 0, 1)


async def test_without_an_epoch_no_place_counts(world: World) -> None:
    world.backend.client.delete("ab:{feed}:epoch")
    assert not await acknowledge(world)
    assert (await world.broker.acknowledgements.position()).epoch == ""


async def test_when_a_place_was_reached_is_kept_for_the_latest_of_them(world: World) -> None:
    times = []
    for number in range(40):
        await revoke(world, f"agent-{number}")
        world.advance(1_000)
        await acknowledge(world)
        times.append((await only(world)).last)
    process = await only(world)
    assert process.moves == tuple(zip(range(9, 41), times[8:], strict=True))
    assert process.reached(40) == times[39]
    assert process.reached(10) == times[9]
    assert process.reached(9) is None, "an earlier place may have covered it, too"
    assert process.reached(41) is None


async def test_the_first_place_of_all_is_known_to_be_the_first(world: World) -> None:
    await revoke(world)
    await acknowledge(world)
    process = await only(world)
    assert process.reached(0) == process.reached(1) == process.first


async def test_a_sign_of_life_changes_when_it_was_heard_and_nothing_else(world: World) -> None:
    await acknowledge(world)
    before = await only(world)
    world.clock.advance(2_000)
    await acknowledge(world)
    after = await only(world)
    assert after.last >= before.last + 2_000
    assert after._replace(last=before.last) == before


async def test_an_acknowledgement_whose_answer_was_lost_may_come_again(repeating_world: World) -> None:
    await revoke(repeating_world)
    assert await acknowledge(repeating_world)
    assert len((await only(repeating_world)).moves) == 1
    assert await acknowledge(repeating_world, leaving=True)
    assert await known(repeating_world) == []


async def test_who_leaves_is_forgotten_at_once(world: World) -> None:
    await acknowledge(world, FIRST)
    await acknowledge(world, SECOND)
    assert await acknowledge(world, FIRST, leaving=True)
    assert [process.id for process in await known(world)] == [SECOND]
    assert await acknowledge(world, "never-there", leaving=True)


async def test_who_is_silent_for_minutes_is_forgotten(world: World) -> None:
    await acknowledge(world, FIRST)
    world.clock.advance(SILENCE - 60_000)
    await acknowledge(world, SECOND)
    assert [process.id for process in await known(world)] == [FIRST, SECOND]
    world.clock.advance(60_001)
    assert [process.id for process in await known(world)] == [SECOND]
    await acknowledge(world, SECOND)
    assert world.backend.client.hlen(f"ab:{{feed}}:verifiers:{CRM}") == 1
    assert world.backend.client.zcard(f"ab:{{feed}}:heard:{CRM}") == 1


async def test_invented_names_do_not_fill_the_store_and_push_nobody_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad instance must not hide the others (TRAPS 25)."""
    monkeypatch.setattr(acknowledgements, "MOST_PROCESSES", 3)
    await acknowledge(world, "honest-one")
    for number in range(2):
        await acknowledge(world, f"invented-{number}")
    with pytest.raises(LimitReached) as refused:
        await acknowledge(world, "invented-2")
    assert (refused.value.reason, refused.value.retry_after) == ("verifier_processes", 300)
    assert await acknowledge(world, "honest-one")
    assert len(await known(world)) == 3


async def test_an_event_is_found_with_its_number_and_the_time_of_its_commit(world: World) -> None:
    world.advance(5_000)
    revoked = await world.revoke(agent="support-bot")
    world.clock.advance(3_000)
    logged = await world.broker.acknowledgements.find(revoked.id)
    assert logged is not None
    assert (logged.seq, logged.event.kind, logged.event.value) == (1, "agent", "support-bot")
    assert logged.position[1:] == (revoked.epoch, 1)
    assert 3_000 <= logged.position.time - logged.committed < 13_000


async def test_an_event_whose_entry_was_trimmed_is_taken_as_committed_with_the_oldest_that_is_left(world: World) -> None:
    """Too late is on the safe side: nobody is said to be fenced too early."""
    revoked = await world.revoke(agent="support-bot")
    world.advance(60_000)
    later = await world.revoke(agent="other-bot")
    world.backend.client.xtrim("ab:{feed}:log", maxlen=1, approximate=False)
    found = [await world.broker.acknowledgements.find(id) for id in (revoked.id, later.id)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].committed == found[1].committed
    world.backend.client.delete("ab:{feed}:log")
    alone = await world.broker.acknowledgements.find(revoked.id)
    assert alone is not None
    assert alone.committed == alone.position.time


async def test_what_is_unknown_or_over_is_not_found(world: World) -> None:
    revoked = await world.revoke(agent="support-bot")
    assert await world.broker.acknowledgements.find("evt_01ARZ3NDEKTSV4RRFFQ69G5FAV") is None
    world.backend.client.delete("ab:{feed}:epoch")
    assert await world.broker.acknowledgements.find(revoked.id) is None
