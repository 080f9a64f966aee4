"""What the suite runs on: Redis with a replica, brokers and hosts of verifiers, each a real process, and their links."""

import contextlib
import datetime
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.broker.redis_server import RedisServer, free_port
from tests.broker.world import CRM, ISSUER, KB, write_files
from tests.live.faults.network import Link

ROOT = Path(__file__).parents[3]
STALENESS = 3
"""The seconds for which a verifier honours a token without news, in the catalogue of this suite; short, so that it shows."""

AGENTS = ("bot-0", "bot-1", "bot-2", "bot-3")
PODS = ("a", "b")
SERVICES = {CRM: "spiffe://development.test/service/crm", KB: "spiffe://development.test/service/kb"}
"""The workloads of each service begin with this; each verifier is one of its own, so that it can be told from the others."""

_POLICIES = """
@id("reads-and-drafts")
permit (principal is Agent, action in [Action::"read", Action::"draft"], resource is Record)
when { principal.environment == resource.environment };

@id("own-tasks")
permit (principal is Agent, action in [Action::"task:show", Action::"task:end"], resource is Task)
when { resource.agent == principal };
"""
"""In the place of the starter policies for agents, which give drafts to holders of keys only: what is thrown here is faults."""

_AUTHORITY = "authority.pem"
# Nothing here speaks TLS, and to read every authority of this machine for each request would cost more than the request.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_PATIENCE = 30.0
_LOOK = 0.05


def _registry() -> str:
    services = """
[services.crm]
audience = "https://crm.test"
environment = "prod"
owner = "crm-team@example.com"
workloads = [{ spiffe = "spiffe://development.test/service/crm/*" }]
[services.crm.resources.ticket.actions]
read = { level = "read", max_ttl = 300, max_staleness = STALENESS }
draft = { level = "draft", max_ttl = 300, max_staleness = STALENESS }
[services.kb]
audience = "https://kb.test"
environment = "prod"
owner = "kb-team@example.com"
workloads = [{ spiffe = "spiffe://development.test/service/kb/*" }]
[services.kb.resources.article.actions]
read = { level = "read", max_ttl = 300, max_staleness = STALENESS }
[tasks.work]
purpose = "Ask for tokens under fire"
max_duration = 3600
scopes = ["crm:ticket/*#read", "crm:ticket/*#draft", "kb:article/*#read"]
""".replace("STALENESS", str(STALENESS))
    agents = "".join(
        f"""
[agents.{name}]
owner = "jane@example.com"
purpose = "Ask for tokens under fire"
environment = "prod"
workloads = [{{ spiffe = "spiffe://development.test/pod/{name}/*" }}]
tasks = ["work"]
default_task = "work"
ends = 2099-06-30
"""
        for name in AGENTS
    )
    return services + agents


class BrokerProcess:
    """One `broker serve` with its own keys folder (copies of the same keys) and its own link to Redis."""

    def __init__(self, folder: Path, name: str, redis_port: int, *, workers: int, program: tuple[str, ...] = ()) -> None:
        self.name = name
        self.to_redis = Link(redis_port)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._program = program or ("broker.cli", "serve", "--workers", str(workers))
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree(folder / "keys", folder / f"keys-{name}")

    def start(self) -> None:
        """Start it; it is ready when it says so."""
        options = ["--config", str(self._folder / "broker.toml"), "--listen", f"127.0.0.1:{self.port}"]
        own = {
            "PYTHONPATH": str(ROOT),
            "BROKER_REDIS_URL": f"redis://127.0.0.1:{self.to_redis.port}/0",
            "BROKER_KEYS": f"keys-{self.name}",
        }
        with (self._folder / "logs" / f"broker-{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._program, *options], cwd=ROOT, env={**os.environ, **own}, stdout=log, stderr=log
            )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers, which are children of the one that was started."""
        if not self.is_running:
            return []
        assert self._process is not None
        found = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [int(pid) for pid in found]

    def is_ready(self) -> bool:
        """Tell whether whichever worker answers would issue."""
        try:
            return request("GET", f"{self.url}/readyz", timeout=2).status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False

    def kill(self) -> None:
        """Kill it and its workers, with no time to say anything."""
        for pid in (*self.workers, *([self._process.pid] if self.is_running and self._process else [])):
            signal_to(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)

    def end(self) -> None:
        """End it, whatever state it is in."""
        for pid in self.workers:
            signal_to(pid, signal.SIGCONT)
        self.kill()
        self.to_redis.mend()
        self.to_redis.hang_up()
        self.to_redis.close()


class VerifierHost:
    """A process with `each` verifiers of every audience. `heard` is called with each of its reports, from a thread."""

    def __init__(
        self, folder: Path, name: str, broker_port: int, *, each: int, heard: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self.name = name
        self.each = each
        self.link = Link(broker_port)
        self._heard = heard
        keys = str(folder / "keys" / "development")
        configured = {"name": name, "issuer": ISSUER, "keys": keys, "audiences": SERVICES, "each": each}
        # A proxy is how a host reaches an issuer that is not where its name says, with nothing of the verifier replaced.
        own = {"PYTHONPATH": str(ROOT), "HTTP_PROXY": f"http://127.0.0.1:{self.link.port}", "NO_PROXY": ""}
        # One authority instead of this machine's 150: twenty verifiers of one process that reconnect at once read them each.
        own["SSL_CERT_FILE"] = str(folder / _AUTHORITY)
        with (folder / "logs" / f"verifiers-{name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.live.faults.verifiers", json.dumps(configured)],
                cwd=ROOT,
                env={**os.environ, **own},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._sending = threading.Lock()

    def tell(self, do: str, **command: Any) -> None:
        """Give a command. To one that has ended by itself nothing can be said; that it has is found at the end."""
        assert self._process.stdin is not None
        with self._sending, contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **command}).encode() + b"\n")
            self._process.stdin.flush()

    def send_signal(self, number: int) -> None:
        """Send the process a signal."""
        signal_to(self._process.pid, number)

    def end(self) -> None:
        """Let it go."""
        if self._process.poll() is None:
            self.send_signal(signal.SIGCONT)
            self.link.mend()
            self.link.hang_up()
            self.tell("leave")
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._thread.join(5)
        self.link.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._heard(self.name, json.loads(line))


class Stage:
    """Everything that runs. `leader` is the Redis that brokers are led to, `follower` its replica.

    With `replicas_required` 0, brokers do not wait for the replica, as with a single server.
    """

    def __init__(
        self, folder: Path, *, feeds: int, replicas_required: int, heard: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self.folder, self.replicas_required = folder, replicas_required
        (folder / "logs").mkdir(parents=True)
        write_files(folder, registry=_registry())
        (folder / "policies" / "agents.cedar").write_text(_POLICIES)
        _write_authority(folder / _AUTHORITY)
        with_replicas = f"replicas_required = {replicas_required}\n"
        (folder / "broker.toml").write_text(with_replicas + (folder / "broker.toml").read_text())
        self.leader, self.follower = RedisServer(folder / "redis-1"), RedisServer(folder / "redis-2")
        self.set_up_replication()
        self.brokers = [
            BrokerProcess(folder, "A", self.leader.port, workers=1),
            BrokerProcess(folder, "B", self.leader.port, workers=2),
        ]
        self.hosts: list[VerifierHost] = []
        for broker in self.brokers:
            broker.start()
        for broker in self.brokers:
            wait_until(broker.is_ready, f"broker {broker.name} is ready")
        count = max(1, round(feeds / 20))
        for number in range(count):
            port = self.brokers[number % len(self.brokers)].port
            each = max(1, feeds // count // len(SERVICES))
            self.hosts.append(VerifierHost(folder, f"host-{number}", port, each=each, heard=heard))

    @property
    def feeds(self) -> int:
        return sum(host.each * len(SERVICES) for host in self.hosts)

    def set_up_replication(self) -> None:
        """Make `follower` the replica of `leader`, with nothing of its own."""
        for server in (self.leader, self.follower):
            server.call("CONFIG", "SET", "repl-diskless-sync-delay", 0)
        self.leader.call("REPLICAOF", "NO", "ONE")
        self.follower.call("REPLICAOF", "127.0.0.1", self.leader.port)

    def part_replica(self) -> None:
        """Have the replica hear nothing more of its master, and keep what it has."""
        self.follower.call("REPLICAOF", "127.0.0.1", free_port())

    def fail_over(self) -> None:
        """Make the replica the master, wherever it stands, and exchange the roles."""
        self.follower.call("REPLICAOF", "NO", "ONE")
        self.leader, self.follower = self.follower, self.leader

    def lead_brokers(self) -> None:
        """Lead every broker to the leader of now."""
        for broker in self.brokers:
            broker.to_redis.lead_to(self.leader.port)

    def close(self) -> None:
        """End every process that was started here."""
        for host in self.hosts:
            host.end()
        for broker in self.brokers:
            broker.end()
        for server in (self.leader, self.follower):
            server.end()


def _write_authority(path: Path) -> None:
    key, today = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(tz=datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = builder.not_valid_before(today).not_valid_after(today + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def request(method: str, url: str, **sent: Any) -> httpx2.Response:
    """Speak to a broker directly, on a connection of its own, so that every worker gets its share."""
    return httpx2.request(method, url, verify=NO_TLS, trust_env=False, **sent)


def signal_to(pid: int, number: int) -> None:
    """Send a signal; a process that is gone needs none."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_until(holds: Callable[[], bool], what: str, *, seconds: float = _PATIENCE) -> None:
    """Wait until something holds; raise `TimeoutError` naming it if it does not in time."""
    pause = threading.Event()
    for _ in range(int(seconds / _LOOK)):
        if holds():
            return
        pause.wait(_LOOK)
    raise TimeoutError(f"after {seconds:g} s it is not so that {what}")
