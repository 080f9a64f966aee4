"""A broker as an operator runs it: made by `broker init`, served by `broker serve`, on loopback, ended by its process."""

import subprocess
import threading
from pathlib import Path

import httpx2

from tests.broker.cli.typed import Ran, run, start
from tests.broker.redis_server import free_port

_TRIES = 1_500


class Served:
    """A running broker with its folder, and the options by which its operator and its agent sign in."""

    def __init__(self, folder: Path, *options: str, redis_url: str | None = None) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.key = folder / "operator.jwk"
        self.identity = folder / "support-bot.svid"
        self.environment = {"BROKER_ISSUER": self.url, "BROKER_LISTEN": self.url.removeprefix("http://")}
        self.environment |= {"BROKER_REDIS_URL": redis_url} if redis_url is not None else {}
        make(folder)
        self.process = self.start(*options)
        self.renew_identity("support-bot", self.identity)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start the broker and wait until it would issue."""
        command = ["serve", "--config", str(self.folder / "broker.toml"), "--json", *options]
        self.process = start(command, environment=self.environment)
        self.wait_until_ready()
        return self.process

    def wait_until_ready(self) -> None:
        pause = threading.Event()
        for _ in range(_TRIES):
            if self.process.poll() is not None or self._is_ready():
                break
            pause.wait(0.02)
        assert self._is_ready(), self.process.communicate(timeout=10)

    def renew_identity(self, name: str, file: Path) -> None:
        """Sign an identity for this broker, as the agent's or service's name."""
        patch = {"BROKER_ISSUER": self.url}
        command = ["development", "identity", name, "--output", str(file), "--config", str(self.folder / "broker.toml")]
        done = start(command, environment=patch)
        _, err = done.communicate(timeout=60)
        assert done.returncode == 0, err

    def operate(self, *arguments: str, entered: str = "") -> Ran:
        """Run a command as the operator."""
        return run(*arguments, "--broker", self.url, "--operator-key", str(self.key), entered=entered)

    def act(self, *arguments: str) -> Ran:
        """Run a command as the agent."""
        return run(*arguments, "--broker", self.url, "--identity", str(self.identity))

    def end(self) -> tuple[int, str, str]:
        """Tell the broker to stop; return its exit code and what it printed."""
        if self.process.poll() is None:
            self.process.terminate()
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def _is_ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", trust_env=False, timeout=5).status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False


def make(folder: Path) -> None:
    """Make everything a broker needs, with the operator's key beside it."""
    done = run("init", str(folder), "--operator-key", str(folder / "operator.jwk"))
    assert done.code == 0, done.err
