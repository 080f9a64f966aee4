"""Two redis-servers and a redis-sentinel: the master dies while tokens are asked for, and its replica takes over."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import redis

from broker.audit import Record
from broker.errors import Unavailable
from broker.store import preconditions
from tests.broker.redis_server import RedisServer, Sentinel
from tests.live.failing_over import epoch_of, opened
from tests.scopes.clocks import eventually


class Servers(NamedTuple):
    """A master, its replica, and who watches over them."""

    master: RedisServer
    replica: RedisServer
    sentinel: Sentinel


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    master, replica = RedisServer(tmp_path / "master"), RedisServer(tmp_path / "replica")
    replica.follow(master)
    sentinel = Sentinel(tmp_path / "sentinel", master)
    try:
        eventually(sentinel.knows_a_replica)
        yield Servers(master, replica, sentinel)
    finally:
        for server in (sentinel, master, replica):
            server.end()


async def test_a_failover_under_load_begins_a_new_epoch_and_issuing_resumes(servers: Servers, tmp_path: Path) -> None:
    preconditions.check(servers.sentinel.service_url)
    async with opened(tmp_path / "broker", servers.sentinel.service_url) as site:
        epoch = site.epoch
        await site.revoke(agent="nobody")
        site.ask_all_the_time()
        await site.until(lambda: len(site.issued) > 20)
        before = list(site.issued)
        servers.master.kill()
        await site.until(lambda: site.epoch > epoch)
        assert epoch_of(await site.issues()) == site.epoch
        assert {epoch_of(issued) for issued in before} == {epoch}
        assert servers.replica.call("HGET", "ab:{feed}:epoch", "id") == site.epoch.encode()
        assert await site.revoke(all=True) > 0
        await site.until(lambda: site.broker.watch.problem() == "")
        assert site.refused > 0


async def test_with_a_replica_required_every_token_that_was_handed_out_has_its_record_after_the_failover(
    servers: Servers, tmp_path: Path
) -> None:
    """What Sentinel loses at a failover is what no replica had (`DESIGN.md` I2, 3.9)."""
    async with opened(tmp_path / "broker", servers.sentinel.service_url, replicas_required=1) as site:
        site.ask_all_the_time()
        await site.until(lambda: len(site.issued) > 20)
        servers.master.kill()
        handed_out = {issued.lease_id for issued in site.issued}
        await site.until(servers.replica.is_master)
        assert handed_out <= recorded_by(servers.replica)
        # The one replica is the master now: without another, nothing counts.
        with pytest.raises(Unavailable):
            await site.issue()
        another = RedisServer(tmp_path / "another")
        another.follow(servers.replica)
        await site.issues()
        another.end()


def recorded_by(server: RedisServer) -> set[str | None]:
    """Return the leases of which the audit says that their token was issued; each record is written with its lease."""
    with redis.Redis.from_url(server.url) as client:
        entries = [fields for name in client.keys("ab:*:audit") for _, fields in client.xrange(name)]
    records = [msgspec.json.decode(fields[b"record"], type=Record) for fields in entries]
    return {record.lease for record in records if record.kind == "token.issued"}


async def test_an_old_master_that_comes_back_is_not_spoken_to(servers: Servers, tmp_path: Path) -> None:
    """A heartbeat read from an old master vouches for nothing (TRAPS 21): every new connection asks for the role."""
    async with opened(tmp_path / "broker", servers.sentinel.service_url) as site:
        epoch = site.epoch
        servers.master.stop()
        await site.until(lambda: site.epoch > epoch)
        epoch = site.epoch
        servers.master.go_on()
        await site.issues()
        assert site.epoch == epoch
        assert servers.replica.call("HGET", "ab:{feed}:epoch", "id") == epoch.encode()
