"""A master whose replica hears nothing gives no token, no heartbeat and no revocation that counts (`DESIGN.md` 3.9)."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.errors import Stuck, Unconfirmed
from broker.store import store
from tests.broker.redis_server import RedisServer
from tests.broker.world import World, redis_backend
from tests.flows.test_store_faults import epoch_of, leases_without_a_token, recovered
from tests.scopes.clocks import eventually


@pytest.fixture
def replica(tmp_path: Path, redis_server: RedisServer) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path / "replica")
    made.follow(redis_server)
    yield made
    made.end()


@pytest_asyncio.fixture
async def following(
    tmp_path: Path, redis_server: RedisServer, replica: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setattr(store, "TIMEOUT", 1.0)
    backend = redis_backend(redis_server.url, replicas_required=1)
    world = World(tmp_path, backend)
    world.broker.follower.start()
    eventually(world.broker.follower.is_current)
    yield world
    replica.go_on()
    world.broker.follower.close()
    await backend.close()


async def test_without_its_replica_the_master_gives_no_token_and_leaves_no_lease(
    following: World, replica: RedisServer
) -> None:
    await following.issue()
    epoch = epoch_of(following)
    replica.stop()
    with pytest.raises(Unconfirmed):
        await following.issue()
    as_of = following.broker.streams.picture.as_of
    with pytest.raises(Stuck, match="too few replicas"):
        await following.revoke(all=True)
    assert following.broker.streams.picture.as_of == as_of
    replica.go_on()
    await recovered(following)
    assert epoch_of(following) == epoch
    # What was handed out before has been ended by the revocation, which holds although it did not count.
    assert await leases_without_a_token(following) == 0


async def test_a_revocation_that_no_replica_has_is_answered_as_unconfirmed(following: World, replica: RedisServer) -> None:
    issued = await following.issue()
    replica.stop()
    with pytest.raises(Stuck, match="too few replicas"):
        await following.revoke(lease=issued.lease_id)
