"""Brokers that die, stop, stumble, and lose sight of Redis."""

import contextlib
import signal
import threading
import time
from pathlib import Path

import httpx2

from tests.broker.redis_server import free_port
from tests.live.faults import drowsy
from tests.live.faults.fault import SHORT, Fault
from tests.live.faults.load import SCOPES
from tests.live.faults.stage import BrokerProcess, signal_to, wait_until


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
        self._end_everything()

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

    def _end_everything(self) -> None:
        for broker in self.stage.brokers:
            with contextlib.suppress(httpx2.HTTPError):
                if self.world.operators.revoke(broker, "all", ""):
                    return

    def _sleeps(self) -> bool:
        states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in self.broker.workers]
        return "T" in states


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
