"""A broker as an operator runs it: made by `broker init`, served by `broker serve`, on loopback, ended by its process."""

import subprocess
import threading
from pathlib import Path

import httpx2
import pytest

from tests.broker.cli.typed import Ran, run, start
from tests.broker.redis_server import free_port

_TRIES = 3_000


class Served:
    """A broker that can be started, with its folder, and the options by which its operator and its agent sign in."""

    def __init__(self, folder: Path, *, redis_url: str | None = None, **settings: str) -> None:
        """Make everything it needs; `settings` are those of `broker.toml`, given in the environment."""
        self.folder = folder
        listen = f"127.0.0.1:{free_port()}"
        self.url = f"http://{listen}"
        self.key = folder / "operator.jwk"
        self.identity = folder / "support-bot.svid"
        self.config = ("--config", str(folder / "broker.toml"))
        store = {"redis_url": redis_url} if redis_url is not None else {}
        given = {"issuer": self.url, "listen": listen, **store, **settings}
        self.environment = {f"BROKER_{name.upper()}": value for name, value in given.items()}
        self._http = httpx2.Client(trust_env=False, timeout=30)
        make(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BROKER_ISSUER", self.url)
            done = run("development", "identity", "support-bot", "--output", str(self.identity), *self.config)
        assert done.code == 0, done.err

    def start(self, *options: str) -> "Served":
        """Start the broker without waiting for it."""
        self.process: subprocess.Popen[str] = start(["serve", *self.config, *options], environment=self.environment)
        return self

    def started(self, *options: str) -> "Served":
        """Start the broker and wait until it would issue."""
        self.start(*options).wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        pause = threading.Event()
        for _ in range(_TRIES):
            if self.process.poll() is not None or self.status() == httpx2.codes.OK:
                break
            pause.wait(0.02)
        assert self.status() == httpx2.codes.OK, self.end()

    def status(self) -> int:
        """Return how the broker answers when it is asked whether it is ready; 0 where it does not."""
        try:
            return self._http.get(f"{self.url}/readyz").status_code
        except httpx2.TransportError:
            return 0

    def ready(self) -> dict[str, str]:
        """Return what one of its workers says of itself."""
        said: dict[str, str] = self._http.get(f"{self.url}/readyz").json()
        return said

    def operate(self, *arguments: str, entered: str = "") -> Ran:
        """Run a command as the operator."""
        return run(*arguments, "--broker", self.url, "--operator-key", str(self.key), entered=entered)

    def act(self, *arguments: str) -> Ran:
        """Run a command as the agent."""
        return run(*arguments, "--broker", self.url, "--identity", str(self.identity))

    def end(self) -> Ran:
        """Tell the broker to stop."""
        self._http.close()
        if self.process.poll() is None:
            self.process.terminate()
        out, err = self.process.communicate(timeout=60)
        return Ran(self.process.returncode, out, err)


def make(folder: Path) -> None:
    """Make everything a broker needs, with the operator's key beside it."""
    done = run("init", str(folder), "--operator-key", str(folder / "operator.jwk"))
    assert done.code == 0, done.err
