"""Connections: one round trip for many, nothing repeated, and a lost answer is never taken for a yes or a no."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from broker.errors import Unavailable
from broker.store import Store, SyncStore, store
from tests.broker.gate import Gate
from tests.broker.redis_server import RedisServer
from tests.broker.world import Backend

HERE = "tests.broker.store"
COUNTER = "ab:{s00}:counter"


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test that waits for a store that does not answer wait a moment only."""
    monkeypatch.setattr(store, "TIMEOUT", 0.2)


@pytest.fixture
def gate(redis_server: RedisServer) -> Iterator[Gate]:
    gate = Gate(redis_server.port)
    yield gate
    gate.close()


def url_of(gate: Gate) -> str:
    return f"redis://127.0.0.1:{gate.port}/0"


@contextlib.asynccontextmanager
async def connected(url: str):
    made = Store.connect(url)
    yield made
    await made.close()


@contextlib.contextmanager
def connected_sync(url: str):
    made = SyncStore.connect(url)
    yield made
    made.close()


async def test_a_command_is_answered(backend: Backend) -> None:
    assert await backend.stores.shared.call("SET", "ab:{s00}:a", "1") in (b"OK", True)
    assert await backend.stores.shared.call("GET", "ab:{s00}:a") == b"1"
    assert backend.stores.follower.call("GET", "ab:{s00}:a") == b"1"


async def test_callers_that_wait_at_the_same_moment_each_get_their_own_answer(backend: Backend) -> None:
    shared = backend.stores.shared
    await asyncio.gather(*(shared.call("SET", f"ab:{{s00}}:{number}", number) for number in range(2_000)))
    answers = await asyncio.gather(*(shared.call("GET", f"ab:{{s00}}:{number}") for number in range(2_000)))
    assert [int(answer) for answer in answers] == list(range(2_000))


async def test_callers_that_wait_at_the_same_moment_share_a_round_trip(redis_server: RedisServer) -> None:
    """`DESIGN.md` 3.13: what waits for Redis at the same moment goes as one."""
    async with connected(redis_server.url) as shared:
        await shared.call("PING")
        before = reads_of(redis_server)
        await asyncio.gather(*(shared.call("INCR", COUNTER) for _ in range(100)))
        assert reads_of(redis_server) - before < 20


def reads_of(server: RedisServer) -> int:
    info = server.call("INFO", "stats")
    assert isinstance(info, dict)
    return int(info["total_reads_processed"])


async def test_one_refused_command_does_not_touch_those_that_share_its_round_trip(backend: Backend) -> None:
    """One bad instance must not lock the whole fleet (TRAPS 25)."""
    shared = backend.stores.shared
    await shared.call("SET", "ab:{s00}:text", "no number")
    good, bad, other = await asyncio.gather(
        shared.call("INCR", COUNTER), shared.call("INCR", "ab:{s00}:text"), shared.call("INCR", COUNTER), return_exceptions=True
    )
    assert (good, other) == (1, 2)
    assert isinstance(bad, Unavailable)


async def test_one_command_that_cannot_be_written_does_not_leave_others_waiting(backend: Backend) -> None:
    """A text with half a character in it is nobody's fault but its own (TRAPS 25)."""
    shared = backend.stores.shared
    asked = (shared.call("GET", "\ud800"), shared.call("INCR", COUNTER))
    bad, good = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
    assert isinstance(bad, Exception)
    assert good == 1
    assert await asyncio.wait_for(shared.call("INCR", COUNTER), 30) == 2


async def test_a_caller_that_gives_up_does_not_keep_others_from_their_answers(backend: Backend) -> None:
    shared = backend.stores.shared
    impatient = asyncio.create_task(shared.call("INCR", COUNTER))
    patient = asyncio.create_task(shared.call("INCR", COUNTER))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 2


async def test_a_store_that_is_closed_answers_what_it_was_asked_before_and_nothing_else(redis_server: RedisServer) -> None:
    """What was sent and not answered would be neither done nor undone, and who waits for it would wait for ever."""
    made = Store.connect(redis_server.url)
    asked = [asyncio.create_task(made.call("INCR", COUNTER)) for _ in range(1_000)]
    await asyncio.sleep(0)
    await made.close()
    assert sorted(await asyncio.wait_for(asyncio.gather(*asked), 5)) == list(range(1, 1_001))
    with pytest.raises(Unavailable):
        await asyncio.wait_for(made.call("PING"), 5)


async def test_whoever_waits_hears_of_whatever_befalls_the_connection(backend: Backend, monkeypatch, caplog) -> None:
    shared = backend.stores.shared
    monkeypatch.setattr(shared._servers._pool, "get_connection", None)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(shared.call("PING"), 5)
    monkeypatch.undo()
    assert await shared.call("PING") in (b"PONG", True)


async def test_a_script_the_server_does_not_have_is_loaded_and_runs_once(backend: Backend) -> None:
    """NOSCRIPT means that it did not run, so asking again is no repetition."""
    shared, follower = backend.stores
    assert await shared.run(shared.script(HERE, "count"), [COUNTER], []) == 1
    backend.client.script_flush()
    assert await shared.run(shared.script(HERE, "count"), [COUNTER], []) == 2
    backend.client.script_flush()
    assert follower.run(follower.script(HERE, "count"), [COUNTER], []) == 3
    assert follower.run(follower.script(HERE, "count"), [COUNTER], []) == 4


async def test_a_script_that_fails_is_unavailable_and_says_nothing_of_its_arguments(backend: Backend) -> None:
    """No secret in an error (TRAPS 26): an error of Redis can quote what it was given."""
    shared, follower = backend.stores
    await shared.call("SET", COUNTER, "a-secret-text")
    with pytest.raises(Unavailable) as refused:
        await shared.run(shared.script(HERE, "count"), [COUNTER], ["a-secret-argument"])
    with pytest.raises(Unavailable) as refused_sync:
        follower.run(follower.script(HERE, "count"), [COUNTER], ["a-secret-argument"])
    with pytest.raises(Unavailable) as refused_command:
        follower.call("INCR", COUNTER)
    assert all("secret" not in str(error.value) for error in (refused, refused_sync, refused_command))
    assert refused.value.retry_after > 0
    assert refused.value.__cause__ is None


async def test_a_script_whose_answer_is_lost_runs_once_and_is_unavailable(redis_server: RedisServer, gate: Gate) -> None:
    """The client library's own retries ran one script three times (TRAPS 21b): whether it ran is not known, so 503."""
    async with connected(url_of(gate)) as shared:
        script = shared.script(HERE, "count")
        assert await shared.run(script, [COUNTER], []) == 1
        gate.lose_answers(1)
        with pytest.raises(Unavailable):
            await shared.run(script, [COUNTER], [])
        assert gate.lost == 1
        assert redis_server.call("GET", COUNTER) == b"2"
        assert await shared.run(script, [COUNTER], []) == 3


async def test_everybody_in_a_round_trip_whose_answers_are_lost_hears_unavailable(
    redis_server: RedisServer, gate: Gate
) -> None:
    async with connected(url_of(gate)) as shared:
        await shared.call("PING")
        gate.lose_answers(1)
        answers = await asyncio.gather(*(shared.call("INCR", COUNTER) for _ in range(10)), return_exceptions=True)
        assert all(isinstance(answer, Unavailable) for answer in answers)
        assert redis_server.call("GET", COUNTER) == b"10"


def test_a_threads_script_whose_answer_is_lost_runs_once_and_is_unavailable(redis_server: RedisServer, gate: Gate) -> None:
    """TRAPS 21b, for the follower's connection."""
    with connected_sync(url_of(gate)) as follower:
        script = follower.script(HERE, "count")
        follower.run(script, [COUNTER], [])
        gate.lose_answers(1)
        with pytest.raises(Unavailable):
            follower.run(script, [COUNTER], [])
        assert gate.lost == 1
        assert redis_server.call("GET", COUNTER) == b"2"


@pytest.mark.usefixtures("short_timeout")
async def test_a_server_that_is_stopped_is_unavailable_after_the_timeout(redis_server: RedisServer) -> None:
    async with connected(redis_server.url) as shared:
        with connected_sync(redis_server.url) as follower:
            await shared.call("PING")
            follower.call("PING")
            redis_server.stop()
            with pytest.raises(Unavailable):
                await asyncio.wait_for(shared.call("PING"), 5)
            with pytest.raises(Unavailable):
                follower.call("PING")
            redis_server.go_on()
            assert await shared.call("PING") in (b"PONG", True)
            assert follower.call("PING") in (b"PONG", True)


async def test_a_server_that_is_not_there_is_unavailable_and_found_again(redis_server: RedisServer) -> None:
    async with connected(redis_server.url) as shared:
        with connected_sync(redis_server.url) as follower:
            redis_server.kill()
            with pytest.raises(Unavailable):
                await shared.call("PING")
            with pytest.raises(Unavailable):
                follower.call("PING")
            redis_server.start()
            assert await shared.call("INCR", COUNTER) == 1
            assert follower.call("INCR", COUNTER) == 2


async def test_the_answer_of_one_command_is_never_taken_for_anothers_after_a_timeout(
    redis_server: RedisServer, short_timeout: None
) -> None:
    """What a stopped server says late belongs to nobody: the connection is given up with the question."""
    async with connected(redis_server.url) as shared:
        await shared.call("SET", "ab:{s00}:late", "late")
        redis_server.stop()
        with pytest.raises(Unavailable):
            await shared.call("GET", "ab:{s00}:late")
        redis_server.go_on()
        assert await shared.call("GET", "ab:{s00}:none") is None


async def test_every_new_connection_learns_which_life_of_the_server_it_speaks_to(redis_server: RedisServer) -> None:
    """`DESIGN.md` 3.7: after a restart the keys may be the same, and the `run_id` is not (TRAPS 21a)."""
    async with connected(redis_server.url) as shared:
        with connected_sync(redis_server.url) as follower:
            assert (shared.run_id, follower.run_id) == ("", "")
            await shared.call("PING")
            follower.call("PING")
            first = shared.run_id
            assert follower.run_id == first == told_by(redis_server)
            redis_server.kill()
            redis_server.start()
            with contextlib.suppress(Unavailable):
                await shared.call("PING")
            with contextlib.suppress(Unavailable):
                follower.call("PING")
            await shared.call("PING")
            follower.call("PING")
            assert shared.run_id == follower.run_id == told_by(redis_server) != first


def told_by(server: RedisServer) -> str:
    info = server.call("INFO", "server")
    assert isinstance(info, dict)
    return str(info["run_id"])
