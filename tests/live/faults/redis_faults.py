"""Redis that dies, stops, forgets, fills up, and is succeeded."""

import time

from tests.broker.redis_server import RedisServer, free_port
from tests.live.faults.fault import SHORT, Fault, World

_SNAPSHOT_AGE = (1.5, 3.0)
_FULL = "1mb"


class KillRedis(Fault):
    """kill -9 of Redis, which comes back with nothing."""

    loses = True
    lasts = SHORT

    def inject(self) -> None:
        self.stage.leader.kill()
        self.stage.leader.forget_snapshot()
        time.sleep(self.chance.uniform(0, 3))
        self.stage.leader.start()

    def heal(self) -> None:
        self.stage.set_up_replication()


class OldSnapshot(Fault):
    """kill -9 of Redis, which comes back as it was some seconds ago, its epoch included."""

    loses = True
    lasts = SHORT

    def inject(self) -> None:
        self.stage.leader.take_snapshot()
        time.sleep(self.chance.uniform(*_SNAPSHOT_AGE))
        self.stage.leader.kill()
        self.stage.leader.start()

    def heal(self) -> None:
        self.stage.leader.forget_snapshot()
        self.stage.set_up_replication()


class LoseHost(Fault):
    """kill -9 of Redis and of a broker beside it, at once; Redis comes back with nothing."""

    loses = True
    lasts = SHORT

    def inject(self) -> None:
        self.broker = self.world.broker()
        self.detail = self.broker.name
        self.stage.leader.kill()
        self.broker.kill()
        self.stage.leader.forget_snapshot()
        self.stage.leader.start()

    def heal(self) -> None:
        self.broker.start()
        self.stage.set_up_replication()


class StopRedis(Fault):
    """SIGSTOP of Redis."""

    def inject(self) -> None:
        self.stage.leader.stop()

    def heal(self) -> None:
        self.stage.leader.go_on()


class FlushAll(Fault):
    """Somebody empties Redis, which goes on running."""

    loses = True
    lasts = SHORT

    def inject(self) -> None:
        self.stage.leader.call("FLUSHALL")


class FullRedis(Fault):
    """Redis has no memory left: nothing is issued, and what ends access goes on."""

    def inject(self) -> None:
        self.stage.leader.call("CONFIG", "SET", "maxmemory", _FULL)

    def heal(self) -> None:
        self.stage.leader.call("CONFIG", "SET", "maxmemory", 0)


class ReadOnlyRedis(Fault):
    """Redis became a replica of a server that is not there, and a master again."""

    def inject(self) -> None:
        self.stage.leader.call("REPLICAOF", "127.0.0.1", free_port())

    def heal(self) -> None:
        self.stage.leader.call("REPLICAOF", "NO", "ONE")


class LostReplica(Fault):
    """The replica of Redis is gone."""

    def inject(self) -> None:
        self.stage.part_replica()

    def heal(self) -> None:
        self.stage.set_up_replication()


class FailOver(Fault):
    """The master dies, and its replica, which missed its last writes, takes over. What it confirmed, it has."""

    lasts = SHORT

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.loses = not self.stage.replicas_required

    def inject(self) -> None:
        self.stage.part_replica()
        time.sleep(self.chance.uniform(0.5, 3))
        self.stage.leader.kill()
        self.stage.fail_over()
        self.stage.lead_brokers()

    def heal(self) -> None:
        self.stage.follower.forget_snapshot()
        self.stage.follower.start()
        self.stage.set_up_replication()


class IsolatedMaster(Fault):
    """The replica takes over while the old master lives on, and one broker still reaches only the old one.

    Where brokers wait for no replica, the old master vouches for what it does not know. That is no surprise, and not judged.
    """

    loses = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.judged = self.stage.replicas_required > 0

    def inject(self) -> None:
        left, right = self.chance.sample(self.stage.brokers, 2)
        self.detail = f"{left.name} is left behind"
        self.stage.part_replica()
        self.stage.fail_over()
        # The new master has a replica of its own, for otherwise nobody could confirm what it is told.
        self.spare = RedisServer(self.stage.folder / f"redis-{free_port()}")
        self.spare.call("REPLICAOF", "127.0.0.1", self.stage.leader.port)
        right.to_redis.lead_to(self.stage.leader.port)

    def heal(self) -> None:
        self.stage.follower.end()
        self.stage.follower = self.spare
        self.stage.set_up_replication()
        self.stage.lead_brokers()
