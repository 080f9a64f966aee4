"""Three masters of a cluster and a replica: one master dies while tokens are asked for, and its replica takes over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.callers import Caller
from broker.errors import AlreadyUsed, InvalidGrant
from broker.leases import NewUse
from broker.store import key, shard_of
from broker.store.command import FEED
from broker.tasks import Declaration
from scopes.clock import SystemClock
from tests.broker.delegating import HELPER, REGISTRY, USERS, of_agent
from tests.broker.redis_server import RedisCluster, RedisServer
from tests.broker.world import OTHER
from tests.live.failing_over import epoch_of, opened

AGENTS = ("support-bot", "other-bot")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    made = RedisCluster(tmp_path / "cluster")
    yield made
    made.end()


def master_of(cluster: RedisCluster, whose: str) -> RedisServer:
    """Return the master of the feed, or one that holds no feed and does hold an agent."""
    feed = cluster.owner(FEED)
    if whose == "feed":
        return feed
    return next(owner for owner in (cluster.owner(key(shard_of(agent), "")) for agent in AGENTS) if owner is not feed)


async def test_tokens_are_issued_and_revoked_through_a_cluster(cluster: RedisCluster, tmp_path: Path) -> None:
    async with opened(tmp_path / "broker", cluster.url) as site:
        issued = [await site.issue() for _ in range(3)]
        picture = site.broker.streams.picture
        seq = await site.revoke(lease=issued[0].lease_id)
        await site.until(lambda: site.broker.streams.picture.seq >= seq)
        leases = await site.broker.leases.known([one.lease_id for one in issued], site.broker.streams.picture)
        assert sorted(lease.status for lease in leases) == ["live", "live", "revoked"]
        assert site.epoch == picture.epoch
        assert site.broker.stores.shared.run_id == site.broker.stores.follower.run_id
        await site.issue(OTHER, declaration=Declaration(type="summarise-ticket"))
        assert sum(bool(server.call("DBSIZE")) for server in cluster.masters) > 1
        await site.broker.scheduler.forget()
        await site.until(lambda: site.broker.watch.problem() == "")


async def test_uses_are_counted_through_a_cluster(cluster: RedisCluster, tmp_path: Path) -> None:
    """The count is in the agent's slot, and the life that it is compared with in the feed's."""
    async with opened(tmp_path / "broker", cluster.url) as site:
        use = NewUse((await site.issue()).lease_id, "one", 1, 0, b"{}")
        for _ in range(2):
            await site.broker.leases.consume(use)
        with pytest.raises(AlreadyUsed):
            await site.broker.leases.consume(use._replace(id="another"))
        standpoint = site.broker.follower.standpoint()
        life = await site.broker.log.life()
        assert life == (site.epoch, standpoint.run_id, standpoint.picture.seq)
        assert life.run_id == site.broker.stores.shared.run_id


async def test_what_is_delegated_between_agents_of_two_nodes_ends_with_the_task_above(
    cluster: RedisCluster, tmp_path: Path
) -> None:
    """`DESIGN.md` 3.14: each step is in one slot, though the two tasks are not."""
    assert cluster.owner(key(shard_of("support-bot"), "")) is not cluster.owner(key(shard_of("helper"), ""))
    async with opened(tmp_path / "broker", cluster.url, registry=REGISTRY.replace(USERS, "")) as site:
        parent = await site.issue()
        child = await site.issue(HELPER, subject=of_agent(parent))
        ended = await site.broker.revocation.end_task(parent.task_id, "completed", Caller("Operator", "admin"))
        assert (await site.broker.tasks.find(child.task_id)).status == ended.status == "completed"
        await site.until(lambda: site.broker.streams.picture.has(f"task {parent.task_id}"))
        leases = await site.broker.leases.known([parent.lease_id, child.lease_id], site.broker.streams.picture)
        assert [lease.status for lease in leases] == ["revoked", "revoked"]
        with pytest.raises(InvalidGrant):
            await site.issue(HELPER, task=child.task_id)


@pytest.mark.parametrize("whose", ["feed", "agent"])
async def test_a_failover_of_any_master_under_load_begins_a_new_epoch_and_issuing_resumes(
    cluster: RedisCluster, tmp_path: Path, whose: str
) -> None:
    """An epoch is one unbroken life of every node (`DESIGN.md` 3.7): what one of them lost may have been anything."""
    dying = master_of(cluster, whose)
    cluster.follow(dying)
    async with opened(tmp_path / "broker", cluster.url) as site:
        epoch = site.epoch
        site.ask_all_the_time()
        await site.until(lambda: len(site.issued) > 20)
        before = list(site.issued)
        started = SystemClock().now()
        dying.kill()
        await site.until(lambda: site.epoch > epoch)
        print(f"a new epoch {SystemClock().now().since(started)} ms after the master died")
        assert epoch_of(await site.issues()) == site.epoch
        print(f"a token {SystemClock().now().since(started)} ms after the master died")
        assert {epoch_of(issued) for issued in before} == {epoch}
        assert await site.revoke(all=True) > 0
        assert site.broker.stores.shared.run_id == site.broker.stores.follower.run_id
        assert site.refused > 0
