"""With replicas required, what the master did alone does not count (`DESIGN.md` 3.9)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.errors import Unavailable, Unconfirmed
from broker.store import Store, SyncStore, store
from broker.store.scripts import CLOCK, Script
from tests.broker.redis_server import RedisServer
from tests.scopes.clocks import eventually

HERE = "tests.broker.store"
COUNTER = "ab:{s00}:counter"


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "TIMEOUT", 1.0)


@pytest.fixture
def replica(tmp_path: Path, redis_server: RedisServer) -> Iterator[RedisServer]:
    """A replica of the test's own server."""
    made = RedisServer(tmp_path / "replica")
    made.follow(redis_server)
    yield made
    made.end()


@pytest_asyncio.fixture
async def shared(redis_server: RedisServer, replica: RedisServer) -> AsyncIterator[Store]:
    made = Store.connect(redis_server.url, replicas_required=1)
    yield made
    await made.close()


@pytest.fixture
def follower(redis_server: RedisServer, replica: RedisServer) -> Iterator[SyncStore]:
    made = SyncStore.connect(redis_server.url, replicas_required=1)
    yield made
    made.close()


async def test_what_a_replica_confirms_counts_and_the_replica_has_it(shared: Store, replica: RedisServer) -> None:
    assert await shared.run(shared.script(HERE, "count"), [COUNTER], []) == 1
    assert replica.call("GET", COUNTER) == b"1"
    assert await shared.call("SET", COUNTER, 7) == b"OK"
    assert replica.call("GET", COUNTER) == b"7"


async def test_what_no_replica_confirms_is_unconfirmed_and_counts_again_when_it_goes_on(
    shared: Store, follower: SyncStore, replica: RedisServer
) -> None:
    replica.stop()
    for _ in range(2):
        with pytest.raises(Unconfirmed) as refused:
            await shared.run(shared.script(HERE, "count"), [COUNTER], [])
    assert (refused.value.reason, refused.value.retry_after) == ("unconfirmed", 1)
    with pytest.raises(Unconfirmed):
        await shared.call("SET", COUNTER, 7)
    with pytest.raises(Unconfirmed):
        follower.run(follower.script(HERE, "count"), [COUNTER], [])
    replica.go_on()
    assert await shared.run(shared.script(HERE, "count"), [COUNTER], []) == 9
    assert follower.run(follower.script(HERE, "count"), [COUNTER], []) == 10


async def test_a_repetition_that_changes_nothing_is_not_confirmed_by_a_replica_that_hears_nothing(
    shared: Store, follower: SyncStore, redis_server: RedisServer, replica: RedisServer
) -> None:
    """Where a replica lacked nothing when it fell silent, WAIT alone would take it at its word."""
    await shared.call("SET", COUNTER, 7)
    eventually(lambda: has_heard_everything(redis_server))
    replica.stop()
    anew = Store.connect(redis_server.url, replicas_required=1)
    with pytest.raises(Unconfirmed):
        await anew.call("SETNX", COUNTER, 8)
    await anew.close()
    # A thread vouches for what it reads, so that is confirmed as well: an old master may be cut off.
    with pytest.raises(Unconfirmed):
        follower.run(follower.script(HERE, "clock_reading"), [COUNTER], [])


def has_heard_everything(master: RedisServer) -> bool:
    """Tell whether the replica has confirmed all that its master has sent to it."""
    info = master.call("INFO", "replication")
    assert isinstance(info, dict)
    return bool(info["slave0"]["offset"] == info["master_repl_offset"])


async def test_what_only_reads_waits_for_no_replica(shared: Store, follower: SyncStore, replica: RedisServer) -> None:
    await shared.call("SET", COUNTER, 7)
    replica.stop()
    assert await shared.call("GET", COUNTER) == b"7"
    assert follower.call("GET", COUNTER) == b"7"
    assert await shared.run(shared.script(HERE, "clock_reading"), [COUNTER], [])


async def test_only_those_who_wrote_hear_of_it(shared: Store, replica: RedisServer) -> None:
    """They share a round trip, and not their fate (TRAPS 25)."""
    await shared.call("SET", COUNTER, 7)
    await shared.call("SET", "ab:{s00}:text", "no number")
    replica.stop()
    asked = (shared.call("GET", COUNTER), shared.call("INCR", COUNTER), shared.call("INCR", "ab:{s00}:text"))
    read, written, refused = await asyncio.gather(*asked, return_exceptions=True)
    assert read == b"7"
    assert isinstance(written, Unconfirmed)
    assert isinstance(refused, Unavailable)
    assert not isinstance(refused, Unconfirmed)


async def test_a_script_that_has_to_be_loaded_first_is_confirmed_too(shared: Store, replica: RedisServer) -> None:
    replica.stop()
    with pytest.raises(Unconfirmed):
        await shared.run(shared.script(HERE, "count"), [COUNTER], [])


async def test_more_replicas_than_there_are_never_confirm(redis_server: RedisServer, replica: RedisServer) -> None:
    made = Store.connect(redis_server.url, replicas_required=2)
    with pytest.raises(Unconfirmed):
        await made.call("SET", COUNTER, 7)
    await made.close()


async def test_a_full_server_confirms_what_ends_access(shared: Store, redis_server: RedisServer) -> None:
    """A full Redis refuses the revocation (TRAPS 21b): neither the script nor its confirmation."""
    script = shared.script(HERE, "count", even_when_full=True)
    assert await shared.run(script, [COUNTER], []) == 1
    redis_server.call("CONFIG", "SET", "maxmemory", 1)
    assert await shared.run(script, [COUNTER], []) == 2


async def test_a_confirmation_leaves_no_key(shared: Store, redis_server: RedisServer) -> None:
    await shared.call("SET", COUNTER, 7)
    assert redis_server.call("KEYS", "*") == [COUNTER.encode()]


@pytest.mark.parametrize(
    ("room", "name", "writes"),
    [
        ("broker.leases", "issue", True),
        ("broker.leases", "list", False),
        ("broker.tasks", "due", False),
        ("broker.feed", "beat", True),
        ("broker.feed", "append", True),
    ],
)
def test_a_script_writes_unless_every_call_in_it_only_reads(room: str, name: str, writes: bool) -> None:
    assert Script(room, name, clock=CLOCK).writes is writes
