"""What can go wrong, each a small class: `inject` does it, `heal` puts it right. While it lasts, the load goes on."""

import random
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import httpx2

from tests.broker.redis_server import RedisServer, free_port
from tests.live.faults import drowsy, tampering
from tests.live.faults.load import SCOPES, Agents, Caller, Operators
from tests.live.faults.stage import (
    COUNTS_CONFIRMATIONS,
    NO_TLS,
    SERVICES,
    BrokerProcess,
    Stage,
    VerifierHost,
    signal_to,
    wait_until,
)

LONG = (6.0, 8.0)
"""Seconds that are longer than the bound, so that what is taken away at its beginning has to be refused within the fault."""

SHORT = (0.5, 2.0)
_SNAPSHOT_AGE = (1.5, 3.0)
_RECORDING = 2.0
_FULL = "1mb"


class World:
    """What a fault can lay its hands on. `chance` decides whom it hits."""

    def __init__(self, stage: Stage, caller: Caller, agents: Agents, operators: Operators, chance: random.Random) -> None:
        self.stage, self.caller, self.agents, self.operators, self.chance = stage, caller, agents, operators, chance

    def broker(self) -> BrokerProcess:
        return self.chance.choice(self.stage.brokers)

    def host(self) -> VerifierHost:
        return self.chance.choice(self.stage.hosts)


class Fault:
    """`lasts` is from how many to how many seconds; `loses` says that the store may lose what it held; `detail` whom it hit.

    What happens in one that is not `judged` is told, and is no violation.
    """

    lasts = LONG
    loses = False
    judged = True

    def __init__(self, world: World) -> None:
        self.world = world
        self.stage = world.stage
        self.chance = world.chance
        self.detail = ""

    @classmethod
    def name(cls) -> str:
        return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in cls.__name__).lstrip("-")

    def inject(self) -> None:
        raise NotImplementedError

    def heal(self) -> None:
        """Put right what does not come right by itself."""


class KillWorker(Fault):
    """kill -9 of one worker; its server starts another."""

    lasts = SHORT

    def inject(self) -> None:
        broker = self.world.broker()
        self.detail = broker.name
        signal_to(self.chance.choice(broker.workers), signal.SIGKILL)


class KillBroker(Fault):
    """kill -9 of a whole broker."""

    def inject(self) -> None:
        self.broker = self.world.broker()
        self.detail = self.broker.name
        self.broker.kill()
        others = [broker for broker in self.stage.brokers if broker is not self.broker]
        self.hosts = [host for host in self.stage.hosts if host.link.target == self.broker.port]
        for host in self.hosts:
            host.link.target = others[0].port

    def heal(self) -> None:
        self.broker.start()
        for host in self.hosts:
            host.link.lead_to(self.broker.port)


class StopWorker(Fault):
    """SIGSTOP of a worker for longer than the bound."""

    def inject(self) -> None:
        broker = self.world.broker()
        self.pid = self.chance.choice(broker.workers)
        self.detail = broker.name
        signal_to(self.pid, signal.SIGSTOP)

    def heal(self) -> None:
        signal_to(self.pid, signal.SIGCONT)


class StumblingWorker(Fault):
    """SIGSTOP of a worker at many random moments, for a moment each, so that some stand between reading and signing."""

    lasts = (0.0, 0.5)

    def inject(self) -> None:
        broker = self.world.broker()
        self.pid = self.chance.choice(broker.workers)
        self.detail = broker.name
        for _ in range(12):
            signal_to(self.pid, signal.SIGSTOP)
            time.sleep(self.chance.uniform(0.05, 0.6))
            signal_to(self.pid, signal.SIGCONT)
            time.sleep(self.chance.uniform(0.01, 0.3))


class StopBeforeSigning(Fault):
    """A worker stops between the last reading and the signature, of a token or of a feed message, and goes on much later."""

    def inject(self) -> None:
        self.detail = self.chance.choice(drowsy.KINDS)
        name = f"drowsy-{free_port()}"
        self.broker = BrokerProcess(
            self.stage.folder, name, self.stage.leader.port, workers=1, program=("tests.live.faults.drowsy",)
        )
        self.broker.start()
        wait_until(self.broker.is_ready, "the drowsy broker is ready")
        self.host = self.world.host()
        self.before = self.host.link.target
        self.host.link.lead_to(self.broker.port)
        time.sleep(1)
        drowsy.bed(self.stage.folder, self.detail).touch()
        self.asking = threading.Thread(target=self._ask, daemon=True)
        self.asking.start()
        wait_until(self._sleeps, "the worker sleeps")
        self.world.operators.revoke(self.stage.brokers[0], "all", "")

    def heal(self) -> None:
        for pid in self.broker.workers:
            signal_to(pid, signal.SIGCONT)
        self.asking.join(10)
        self.host.link.lead_to(self.before)
        self.broker.end()
        drowsy.bed(self.stage.folder, self.detail).unlink(missing_ok=True)

    def _ask(self) -> None:
        try:
            self.world.agents.ask(self.broker, scope=SCOPES[0].format(0), timeout=20)
        except httpx2.HTTPError:
            return

    def _sleeps(self) -> bool:
        states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in self.broker.workers]
        return "T" in states


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
        self.stage.replication.cut()

    def heal(self) -> None:
        self.stage.replication.mend()


class FailOver(Fault):
    """The master dies, and its replica, which missed its last writes, takes over."""

    loses = True
    lasts = SHORT

    def inject(self) -> None:
        self.stage.replication.hold()
        time.sleep(self.chance.uniform(0.5, 3))
        self.stage.leader.kill()
        self.stage.fail_over()
        self.stage.lead_brokers()

    def heal(self) -> None:
        self.stage.follower.forget_snapshot()
        self.stage.follower.start()
        self.stage.set_up_replication()


class IsolatedMaster(Fault):
    """The replica takes over while the old master lives on, and one broker still reaches only the old one."""

    loses = True
    judged = COUNTS_CONFIRMATIONS

    def inject(self) -> None:
        left, right = self.chance.sample(self.stage.brokers, 2)
        self.detail = f"{left.name} is left behind"
        self.stage.replication.cut()
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


class CutVerifiers(Fault):
    """A host of verifiers reaches no broker."""

    def inject(self) -> None:
        self.host = self.world.host()
        self.detail = self.host.name
        self.host.link.cut()

    def heal(self) -> None:
        self.host.link.mend()


class HeldVerifiers(CutVerifiers):
    """What is sent to a host of verifiers arrives much later, all at once."""

    def inject(self) -> None:
        self.host = self.world.host()
        self.detail = self.host.name
        self.host.link.hold()


class StopVerifiers(Fault):
    """SIGSTOP of a host of verifiers."""

    def inject(self) -> None:
        self.host = self.world.host()
        self.detail = self.host.name
        self.host.send_signal(signal.SIGSTOP)

    def heal(self) -> None:
        self.host.send_signal(signal.SIGCONT)


class CutBroker(Fault):
    """One broker reaches no Redis, while the other goes on taking away."""

    def inject(self) -> None:
        self.broker = self.world.broker()
        self.detail = self.broker.name
        self.broker.to_redis.cut()

    def heal(self) -> None:
        self.broker.to_redis.mend()


class HeldBroker(CutBroker):
    """What one broker and Redis say to each other arrives much later."""

    def inject(self) -> None:
        self.broker = self.world.broker()
        self.detail = self.broker.name
        self.broker.to_redis.hold()


class LostAnswers(CutBroker):
    """Redis does what it is told, and its answers are lost, again and again."""

    lasts = (2.0, 4.0)

    def inject(self) -> None:
        self.broker = self.world.broker()
        self.detail = self.broker.name
        for _ in range(10):
            self.broker.to_redis.lose_answers(self.chance.randint(1, 3))
            time.sleep(self.chance.uniform(0.1, 0.5))


class SlowRedis(CutBroker):
    """Every answer of Redis is late."""

    def inject(self) -> None:
        self.broker = self.world.broker()
        self.broker.to_redis.delay = self.chance.choice((0.1, 0.3, 0.7, 1.5))
        self.detail = f"{self.broker.name} by {self.broker.to_redis.delay} s"


class TamperedFeed(Fault):
    """Somebody between a broker and a host of verifiers tampers with the feed, and cannot sign."""

    def inject(self) -> None:
        self.host = self.world.host()
        chosen = self.chance.choice(tampering.PLAIN)
        self.detail = f"{self.host.name}: {chosen.__name__}"
        self._tamper(dict.fromkeys(SERVICES, chosen))

    def heal(self) -> None:
        self.host.link.mend()

    def _tamper(self, chosen: Mapping[str, tampering.Tampering]) -> None:
        self.host.link.tampering = chosen
        self.host.link.hang_up()


class ReplayedFeed(TamperedFeed):
    """An old snapshot and old messages are replayed, among true ones or instead of them."""

    def inject(self) -> None:
        self.host = self.world.host()
        self.over = threading.Event()
        old = {audience: self._record(audience) for audience in SERVICES}
        time.sleep(self.chance.uniform(*SHORT))
        if self.chance.random() < 0.5:
            self.detail = f"{self.host.name}: instead of true ones"
            self._tamper({audience: tampering.frozen(frames, self.over) for audience, frames in old.items()})
        else:
            self.detail = f"{self.host.name}: among true ones"
            self._tamper({audience: tampering.replayed(frames) for audience, frames in old.items()})

    def heal(self) -> None:
        self.over.set()
        super().heal()

    def _record(self, audience: str) -> list[bytes]:
        """Listen for two seconds, and keep every frame."""
        frames, start = [b""], time.monotonic()
        headers = {"Authorization": f"Bearer {self.world.caller.svid(f'{SERVICES[audience]}/recorder')}"}
        url = f"{self.stage.brokers[0].url}/v1/feed/stream?aud={audience}"
        with httpx2.stream("GET", url, headers=headers, timeout=5, verify=NO_TLS, trust_env=False) as answer:
            for line in answer.iter_lines():
                frames[-1] += f"{line}\n".encode()
                if not line:
                    frames.append(b"")
                if time.monotonic() - start > _RECORDING:
                    break
        return frames[:-1]


class WrongClock(Fault):
    """The clock of a host of verifiers is set wrong, by as much as the feed allows."""

    def inject(self) -> None:
        self.host = self.world.host()
        skew = self._skew()
        self.detail = f"{self.host.name} by {skew} ms"
        self.host.tell("skew", milliseconds=skew)

    def heal(self) -> None:
        self.host.tell("skew", milliseconds=0)

    def _skew(self) -> int:
        return self.chance.choice((-900, 900))


class FarWrongClock(WrongClock):
    """The clock of a host of verifiers is set wrong by more than the feed allows; they may refuse, and nothing else."""

    def _skew(self) -> int:
        return self.chance.choice((-1, 1)) * self.chance.randrange(2_000, 120_000)


ALL: tuple[type[Fault], ...] = (
    KillWorker,
    KillBroker,
    StopWorker,
    StumblingWorker,
    StopBeforeSigning,
    KillRedis,
    OldSnapshot,
    LoseHost,
    StopRedis,
    FlushAll,
    FullRedis,
    ReadOnlyRedis,
    LostReplica,
    FailOver,
    IsolatedMaster,
    CutVerifiers,
    HeldVerifiers,
    StopVerifiers,
    CutBroker,
    HeldBroker,
    LostAnswers,
    SlowRedis,
    TamperedFeed,
    ReplayedFeed,
    WrongClock,
    FarWrongClock,
)
NAMED = {fault.name(): fault for fault in ALL}
