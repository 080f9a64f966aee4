"""A cluster of real servers: each command goes to the owner of its key, and no life is believed that is not known."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from broker.cli import refusals
from broker.errors import Unavailable
from broker.store import Store, SyncStore, key, masters, preconditions, store
from broker.store.command import FEED
from tests.broker.cli.served import make
from tests.broker.cli.typed import run
from tests.broker.redis_server import RedisCluster

HERE = "tests.broker.store"
KEYS = [key(shard, "counter") for shard in range(64)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    made = RedisCluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.end()


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "TIMEOUT", 0.3)


@pytest_asyncio.fixture
async def shared(cluster: RedisCluster) -> AsyncIterator[Store]:
    for server in cluster.masters:
        server.call("FLUSHALL")
    made = Store.connect(cluster.url)
    yield made
    await made.close()


@pytest.fixture
def follower(cluster: RedisCluster) -> Iterator[SyncStore]:
    made = SyncStore.connect(cluster.url)
    yield made
    made.close()


async def test_everybody_is_answered_by_the_owner_of_their_key(shared: Store, follower: SyncStore) -> None:
    script = shared.script(HERE, "count")
    assert await asyncio.gather(*(shared.run(script, [name], []) for name in KEYS)) == [1] * 64
    assert [follower.run(script, [name], []) for name in KEYS] == [2] * 64
    assert await asyncio.gather(*(shared.call("GET", name) for name in KEYS)) == [b"2"] * 64
    assert await shared.call("PING") == b"PONG"


async def test_a_thread_and_an_event_loop_know_the_same_life(shared: Store, follower: SyncStore, cluster: RedisCluster) -> None:
    assert (shared.run_id, follower.run_id) == ("", "")
    await shared.call("PING")
    follower.call("PING")
    clients = masters.clients(cluster.url)
    assert shared.run_id == follower.run_id == masters.run_id(clients) != ""
    masters.close(clients)


async def test_what_was_answered_moved_is_asked_once_more_where_it_belongs(
    shared: Store, follower: SyncStore, cluster: RedisCluster
) -> None:
    """It did not run, so to ask again is no repetition (TRAPS 21b)."""
    name = next(name for name in KEYS if cluster.owner(name) is not cluster.owner(FEED))
    script = shared.script(HERE, "count")
    assert await shared.run(script, [name], []) == 1
    assert follower.call("GET", name) == b"1"
    before, after = cluster.owner(name), cluster.owner(FEED)
    before.call("DEL", name)
    cluster.move(name, after)
    assert await shared.run(script, [name], []) == 1
    with pytest.raises(Unavailable):
        follower.call("GET", name)
    assert follower.call("GET", name) == b"1"
    after.call("DEL", name)
    cluster.move(name, before)


@pytest.mark.usefixtures("short_timeout")
async def test_a_master_that_does_not_answer_is_waited_for_once_by_all(
    shared: Store, follower: SyncStore, cluster: RedisCluster
) -> None:
    made, watcher = Store.connect(cluster.url), SyncStore.connect(cluster.url)
    await made.call("PING")
    watcher.call("PING")
    stopped = next(server for server in cluster.masters if server is not cluster.owner(FEED))
    stopped.stop()
    names = [name for name in KEYS if cluster.owner(name) is stopped]
    asked = [made.call("GET", name) for name in names * 5]
    answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    # The feed's own master answers, and is not believed: another may be of another life by now.
    with pytest.raises(Unavailable):
        watcher.run(watcher.script(HERE, "count"), [FEED + "counter"], [])
    stopped.go_on()
    await cluster_answers(made, names[0])
    await made.close()
    watcher.close()


async def cluster_answers(shared: Store, name: str) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                await shared.call("GET", name)
                return
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_a_master_that_was_restarted_is_another_life_for_both(
    shared: Store, follower: SyncStore, cluster: RedisCluster
) -> None:
    """Be it another master than the feed's (`DESIGN.md` 3.7)."""
    await shared.call("PING")
    follower.call("PING")
    life = shared.run_id
    restarted = next(server for server in cluster.masters if server is not cluster.owner(FEED))
    restarted.kill()
    with pytest.raises(Unavailable):
        follower.run(follower.script(HERE, "count"), [FEED + "counter"], [])
    restarted.start()
    name = next(name for name in KEYS if cluster.owner(name) is restarted)
    await cluster_answers(shared, name)
    follower.run(follower.script(HERE, "count"), [FEED + "counter"], [])
    assert shared.run_id == follower.run_id != life


async def test_a_cluster_of_which_nobody_answers_is_unavailable() -> None:
    shared, follower = Store.connect("redis+cluster://127.0.0.1:1"), SyncStore.connect("redis+cluster://127.0.0.1:1")
    with pytest.raises(Unavailable):
        await shared.call("PING")
    with pytest.raises(Unavailable):
        follower.call("PING")
    await shared.close()
    follower.close()


def test_every_master_is_looked_at_before_a_broker_trusts_them(cluster: RedisCluster) -> None:
    assert preconditions.check(cluster.url) is None
    with pytest.raises(Unavailable):
        preconditions.check("redis+cluster://127.0.0.1:1")


def test_the_doctor_looks_at_every_master(
    cluster: RedisCluster, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("broker") / "made"
    make(folder)
    monkeypatch.setenv("BROKER_REDIS_URL", cluster.url)
    cluster.masters[-1].call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    done = run("doctor", "--config", str(folder / "broker.toml"), "--json")
    cluster.masters[-1].call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert done.code == refusals.REFUSED
    servers = [finding["rating"] for finding in done.document["findings"] if finding["subject"] == "server"]
    assert sorted(servers) == ["ok", "ok", "problem"]
