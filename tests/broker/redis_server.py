"""A redis-server that a test owns: killed, stopped, filled up and started again, with what it kept or with nothing."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

_PATIENCE = 3_000
"""How often to look, every hundredth of a second, whether a server that starts answers."""

_SLOTS = 16_384


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program() -> str:
    found = shutil.which("redis-server")
    assert found is not None, "redis-server is missing; sh deploy/test installs it"
    return found


class RedisServer:
    """Runs from the start. It keeps what it is told to keep, in `folder`."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def command(self) -> list[str]:
        """What is run."""
        own = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        # A replica that comes is served at once.
        return [_program(), *own, "--repl-diskless-sync-delay", "0", *self._options]

    def start(self) -> None:
        """Start the server from the snapshot in its folder, or empty where there is none."""
        self._process = subprocess.Popen(self.command(), cwd=self.folder, stdout=subprocess.DEVNULL)
        pause = threading.Event()
        for _ in range(_PATIENCE):
            if self._answers():
                return
            pause.wait(0.01)
        raise AssertionError("redis-server did not start")

    def kill(self) -> None:
        """Kill the server, so that it keeps nothing but its last snapshot."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(30)

    def stop(self) -> None:
        """Stop the server in the middle of whatever it does."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a stopped server go on; one that has ended stays so."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGCONT)

    def follow(self, master: "RedisServer") -> None:
        """Become a replica of another server, and wait until it is one."""
        self.call("REPLICAOF", "127.0.0.1", master.port)
        pause = threading.Event()
        for _ in range(_PATIENCE):
            if self.port in master.confirmed_by():
                return
            pause.wait(0.01)
        raise AssertionError("the replica did not come up")

    def is_master(self) -> bool:
        """Tell whether this server follows no other; while it changes sides it may not say."""
        try:
            info = self.call("INFO", "replication")
        except redis.exceptions.ConnectionError:
            return False
        return isinstance(info, dict) and info["role"] == "master"

    def confirmed_by(self) -> set[object]:
        """Write something that leaves nothing, and name the ports of the replicas that have confirmed it."""
        with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            client.publish("nobody", "")
            client.execute_command("WAIT", 1, 100)
            known = [value for name, value in client.info("replication").items() if name.startswith("slave")]
        return {replica["port"] for replica in known if isinstance(replica, dict) and replica["offset"] > 0}

    def take_snapshot(self) -> None:
        """Write what the server holds to its folder; the next start begins with it."""
        self.call("SAVE")

    def forget_snapshot(self) -> None:
        """Let the next start begin empty."""
        (self.folder / "dump.rdb").unlink(missing_ok=True)

    def call(self, *command: str | int) -> object:
        """Run one command from outside."""
        with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            return client.execute_command(*command)

    def end(self) -> None:
        """End the server, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self.go_on()
            self.kill()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            return bool(self.call("PING"))
        except redis.exceptions.ConnectionError:
            return False


class Sentinel(RedisServer):
    """A redis-sentinel that alone watches over one master, and promotes its replica after half a second of silence."""

    SERVICE = "store"

    def __init__(self, folder: Path, master: RedisServer) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        watched = [
            f"monitor {self.SERVICE} 127.0.0.1 {master.port} 1",
            f"down-after-milliseconds {self.SERVICE} 500",
            f"failover-timeout {self.SERVICE} 3000",
        ]
        (folder / "sentinel.conf").write_text("".join(f"sentinel {line}\n" for line in watched))
        super().__init__(folder)

    def command(self) -> list[str]:
        return [_program(), "sentinel.conf", "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"]

    @property
    def service_url(self) -> str:
        """The URL of the service, of which only this sentinel knows where it is."""
        return f"redis+sentinel://127.0.0.1:{self.port}/{self.SERVICE}/0"

    def knows_a_replica(self) -> bool:
        """Tell whether there is somebody to promote."""
        known = self.call("SENTINEL", "REPLICAS", self.SERVICE)
        return bool(known)


class RedisCluster:
    """Masters of a cluster, and one replica of the first, which owns the slot of the feed or of what else a test asks for."""

    def __init__(self, folder: Path, *, masters: int = 3) -> None:
        self._buses = {name: free_port() for name in (*(f"master{number}" for number in range(masters)), "replica")}
        *self.masters, self.replica = (RedisServer(folder / name, *self._options(bus)) for name, bus in self._buses.items())
        self._assemble()

    @property
    def servers(self) -> list[RedisServer]:
        """Every server."""
        return [*self.masters, self.replica]

    @property
    def url(self) -> str:
        """The URL of the cluster, by its masters."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.masters)

    def owner(self, key: str) -> RedisServer:
        """Return the master that owned a key when the cluster was made."""
        return self.masters[self._owner(key_slot(key.encode()))]

    def follow(self, master: RedisServer) -> None:
        """Have the replica follow a master, and wait until it does."""
        self.replica.call("CLUSTER", "REPLICATE", _text(master.call("CLUSTER", "MYID")))
        self._until(lambda: "'master_link_status': 'up'" in str(self.replica.call("INFO")), "the replica did not come up")

    def move(self, key: str, to: RedisServer) -> None:
        """Give the slot of a key, which has to be empty, to another master."""
        slot, id = key_slot(key.encode()), _text(to.call("CLUSTER", "MYID"))
        owner = next(server for server in self.masters if server is not to)
        # Who imports a slot takes it with an epoch above all others: nobody's older word of it counts any more.
        to.call("CLUSTER", "SETSLOT", slot, "IMPORTING", _text(owner.call("CLUSTER", "MYID")))
        for server in sorted(self.masters, key=lambda server: server is not to):
            server.call("CLUSTER", "SETSLOT", slot, "NODE", id)

    def end(self) -> None:
        """End every server."""
        for server in self.servers:
            server.end()

    @staticmethod
    def _options(bus: int) -> list[str]:
        # Without a limit to how old a replica's data may be: what it lacks, the new epoch voids.
        own = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1000"]
        return [*own, "--cluster-replica-validity-factor", "0"]

    def _owner(self, slot: int) -> int:
        return slot * len(self.masters) // _SLOTS

    def _assemble(self) -> None:
        for number, server in enumerate(self.servers):
            server.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            self.masters[0].call("CLUSTER", "MEET", "127.0.0.1", server.port, self._buses[server.folder.name])
        for number, master in enumerate(self.masters):
            owned = [slot for slot in range(_SLOTS) if self._owner(slot) == number]
            master.call("CLUSTER", "ADDSLOTSRANGE", owned[0], owned[-1])
        self._until(lambda: all(self._is_whole(server) for server in self.servers), "the cluster did not come up")

    def _is_whole(self, server: RedisServer) -> bool:
        told = str(server.call("CLUSTER", "INFO"))
        return "cluster_state:ok" in told and f"cluster_known_nodes:{len(self.servers)}" in told

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        pause = threading.Event()
        for _ in range(_PATIENCE):
            if condition():
                return
            pause.wait(0.01)
        raise AssertionError(otherwise)


def _text(answer: object) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)
