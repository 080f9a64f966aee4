"""The audit: everything that happened, in the order in which it did, with the store's time, a page at a time."""

import asyncio

import pytest

from broker.audit import Entry, Record
from broker.errors import AccessDenied, InvalidRequest, Unavailable
from broker.store import key
from tests.broker.recorded import recorded
from tests.broker.redis_server import RedisServer
from tests.broker.world import World


def record(number: int = 0, **changes: str) -> Record:
    return Record(kind=f"kind-{number}", agent=f"agent-{number}", **changes)


async def everything(world: World, *, most: int) -> list[Entry]:
    """Read page by page until there is nothing more."""
    await recorded(world)
    entries: list[Entry] = []
    while page := await world.broker.audit.read(entries[-1].cursor if entries else "", most=most):
        assert len(page) <= most
        entries += page
    return entries


async def test_a_record_is_read_as_it_was_written_with_an_id_of_its_own(world: World) -> None:
    for _ in range(2):
        await world.broker.audit.append(record(said="why", policies=("a", "b")))
    first, second = await recorded(world)
    assert (first.record.kind, first.record.agent, first.record.said, first.record.policies) == (
        "kind-0",
        "agent-0",
        "why",
        ("a", "b"),
    )
    assert first.record.id != second.record.id


async def test_records_of_all_shards_come_in_the_order_of_time(world: World) -> None:
    for number in range(100):
        await world.broker.audit.append(record(number))
    entries = await recorded(world)
    milliseconds = [int(entry.cursor.partition("-")[0]) for entry in entries]
    assert sorted(entry.record.kind for entry in entries) == sorted(f"kind-{number}" for number in range(100))
    assert milliseconds == sorted(milliseconds)
    assert all(abs(entry.time - written) < 1_000 for entry, written in zip(entries, milliseconds, strict=True))


async def test_records_of_one_agent_keep_their_order_within_a_millisecond(world: World) -> None:
    await asyncio.gather(*(world.broker.audit.append(Record(kind=f"{number:03}", agent="a")) for number in range(100)))
    kinds = [entry.record.kind for entry in await recorded(world)]
    assert kinds == sorted(kinds)


@pytest.mark.parametrize("most", [7, 100])
async def test_page_by_page_every_record_comes_once(world: World, most: int) -> None:
    """Many are of the same millisecond, in several shards."""
    await asyncio.gather(*(world.broker.audit.append(record(number)) for number in range(60)))
    kinds = [entry.record.kind for entry in await everything(world, most=most)]
    assert sorted(kinds) == sorted(f"kind-{number}" for number in range(60))


async def test_records_written_while_somebody_reads_are_not_missed(world: World) -> None:
    """The present millisecond is left for the next reading: more may come into it, before what was already seen."""
    seen: list[str] = []
    cursor = ""
    for number in range(30):
        await world.broker.audit.append(record(number))
        for entry in await world.broker.audit.read(cursor):
            seen.append(entry.record.kind)
            cursor = entry.cursor
    await recorded(world)
    seen += [entry.record.kind for entry in await world.broker.audit.read(cursor)]
    assert sorted(seen) == sorted(f"kind-{number}" for number in range(30))


async def test_the_present_millisecond_is_read_when_it_is_over(world: World, monkeypatch) -> None:
    """Here it stands still: a record of another shard comes into it after one that could have been read."""
    shared, now = world.backend.stores.shared, 1_795_318_537_123
    call, time = shared.call, [now // 1000, now % 1000 * 1000]

    async def at_that_time(*command):
        return time if command == ("TIME",) else await call(*command)

    def written(shard: int, kind: str, id: str) -> None:
        fields = {"time": now, "record": world.broker.audit.encode(Record(kind=kind))}
        world.backend.client.xadd(key(shard, "audit"), fields, id=id)

    monkeypatch.setattr(shared, "call", at_that_time)
    written(7, "before", f"{now - 1}-0")
    written(9, "first", f"{now}-0")
    (before,) = await world.broker.audit.read()
    assert before.record.kind == "before"
    written(3, "second", f"{now}-0")
    time[1] += 1_000
    assert [entry.record.kind for entry in await world.broker.audit.read(before.cursor)] == ["second", "first"]


async def test_the_time_of_a_record_is_the_stores_whatever_the_worker_thinks(world: World) -> None:
    await world.broker.audit.append(record())
    world.advance(3_600_000)
    await world.broker.audit.append(record())
    world.clock._offset -= 7_200_000
    await world.broker.audit.append(record())
    times = [entry.time for entry in await recorded(world)]
    assert 3_600_000 <= times[1] - times[0] < 3_660_000
    assert 0 <= times[2] - times[1] < 60_000


@pytest.mark.parametrize("cursor", ["nonsense", "1", "1-1", "1-1.x", "a-1.1", "1-a.1", "-1-1.1", "1-1.1.1"])
async def test_a_cursor_that_was_not_given_out_is_refused(world: World, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await world.broker.audit.read(cursor)


async def test_an_empty_audit_is_empty(world: World) -> None:
    assert await world.broker.audit.read() == []
    assert await world.broker.audit.read("9999999999999-0.63") == []


@pytest.mark.parametrize("said", ["a\nb", "\x00\x1b]0;title\x07", '"},{"kind":"token.issued', "\u202e"])
async def test_what_somebody_wrote_stays_in_its_place(world: World, said: str) -> None:
    """Newline or control characters from an agent's text breaking the log (TRAPS 26)."""
    await world.broker.audit.append(record(said=said))
    (entry,) = await recorded(world)
    assert entry.record.said == said
    assert b"\n" not in world.broker.audit.encode(record(said=said))


async def test_a_record_that_the_store_does_not_confirm_is_not_taken_for_written(
    own_world: World, redis_server: RedisServer
) -> None:
    redis_server.kill()
    with pytest.raises(Unavailable):
        await own_world.broker.audit.append(record())


async def test_no_token_and_no_assertion_is_ever_recorded(world: World) -> None:
    """`DESIGN.md` I7: no secret and no token is written to the audit, whether a request is granted or refused."""
    assertion = world.svid()
    issued = await world.issue()
    for scope in ("crm:ticket/4711#read[email]", "crm:ticket/4711#draft[subject]"):
        with pytest.raises(AccessDenied):
            await world.issue(scope)
    await world.revoke(lease=issued.lease_id)
    everything_kept = b"".join(
        b"".join(fields.values())
        for name in world.backend.client.keys("ab:*:audit")
        for _, fields in world.backend.client.xrange(name)
    )
    for secret in (issued.access_token, assertion):
        assert not any(part.encode() in everything_kept for part in secret.split("."))


async def test_reading_can_begin_at_a_time(world: World) -> None:
    await world.broker.audit.append(Record(kind="first", operator="jane"))
    (first,) = await recorded(world)
    world.clock.advance(5_000)
    await world.broker.audit.append(Record(kind="second", operator="joe"))
    (_, second) = await recorded(world)
    read = world.broker.audit.read
    assert [entry.record.kind for entry in await read(since=int(second.cursor.partition("-")[0]))] == ["second"]
    assert [entry.record.kind for entry in await read(first.cursor, since=second.time + 9_000)] == ["second"]
