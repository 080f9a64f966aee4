"""A redis-server that a test owns: killed, stopped, filled up and started again, with what it kept or with nothing."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_PATIENCE = 500
"""How often to look, every hundredth of a second, whether a server that starts answers."""


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
        self._process.wait(10)

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
