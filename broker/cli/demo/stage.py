"""Sets the demo's stage: a folder with a configuration, and three processes on loopback that are ended by their process."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from broker import keys, private_key_file
from broker.cli.demo.agent import Order
from broker.cli.demo.database import Database
from broker.cli.demo.tickets import AUDIENCES, IDENTITIES_VARIABLE, ISSUER_VARIABLE, URL_VARIABLE
from broker.client import Operator
from broker.identity import development
from scopes.clock import SystemClock

OPERATOR = "demo-operator"
AGENT = "spiffe://development.test/agent/support-bot"
_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 10.0


class Stage:
    """A broker, a ticket service and an agent. Use as a context manager; leaving it ends whatever runs."""

    def __init__(self, folder: Path, *, redis_url: str | None, database: Database | None) -> None:
        """Write the configuration; nothing runs yet."""
        self._folder = folder
        self._database = database
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.issuer = f"http://127.0.0.1:{_free_port()}"
        self._service_port = _free_port()
        self.service = f"http://127.0.0.1:{self._service_port}"
        self._http = httpx2.Client(timeout=2.0)
        _write_configuration(folder, self.issuer, redis_url)
        self.operator = Operator(self.issuer, OPERATOR, private_key_file.read(folder / "operator.jwk"))

    def __enter__(self) -> "Stage":
        self.start_broker()
        self._start_service()
        self._start_agent()
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("agent", "service", "broker"):
            self._stop(name)
        self._http.close()

    def start_broker(self) -> None:
        """Start the broker and wait until it would issue."""
        config = str(self._folder / "broker.toml")
        self._start("broker", [sys.executable, "-m", "broker.cli", "serve", "--config", config])
        self.wait_until(lambda: self._answers(f"{self.issuer}/readyz"))

    def kill_broker(self) -> None:
        """Kill the broker as a crash would."""
        process = self._processes.pop("broker")
        # The whole group: a server's workers outlive it otherwise.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_STOP_TIMEOUT)

    def empty_store(self) -> None:
        """Lose everything the broker kept; the embedded store is lost with its process anyway."""
        if self._database is not None:
            self._database.empty()

    def order(self, **order: Any) -> dict[str, Any]:
        """Have the agent do something and return what came of it."""
        process = self._processes["agent"]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(Order(**order)) + b"\n")
        process.stdin.flush()
        answer: dict[str, Any] = msgspec.json.decode(process.stdout.readline())
        return answer

    def call(self, token: str, path: str, *, method: str = "GET") -> dict[str, Any]:
        """Have the agent use a token at the service."""
        return self.order(do="call", name=token, url=f"{self.service}{path}", method=method)

    def call_as_thief(self, token: str, path: str, *, proof: str | None) -> dict[str, Any]:
        """Use a token of the agent from outside of it, with a proof that is not made for this call."""
        headers = (
            {"Authorization": f"DPoP {token}", "DPoP": proof} if proof is not None else {"Authorization": f"Bearer {token}"}
        )
        answer = self._http.get(f"{self.service}{path}", headers=headers)
        return {"status": answer.status_code, "body": answer.json()}

    def wait_until(self, condition: Callable[[], bool], *, timeout: float = _START_TIMEOUT) -> None:
        """Wait for something another process does; raise `TimeoutError`."""
        clock, pause = SystemClock(), threading.Event()
        start = clock.now()
        while not condition():
            if clock.now().since(start) > timeout * 1000:
                raise TimeoutError(f"waited {timeout:g} seconds; the demo's log is in {self._folder / 'log'}")
            pause.wait(0.005)

    def _start_service(self) -> None:
        program = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--log-level", "warning"]
        target = ["--host", "127.0.0.1", "--port", str(self._service_port), "broker.cli.demo.tickets:create"]
        environment = {
            ISSUER_VARIABLE: self.issuer,
            URL_VARIABLE: self.service,
            IDENTITIES_VARIABLE: str(self._folder),
        }
        self._start("service", [*program, *target], environment=environment)
        self.wait_until(lambda: self._answers(f"{self.service}/readyz"))

    def _start_agent(self) -> None:
        environment = {"BROKER_URL": self.issuer, "BROKER_IDENTITY_FILE": str(self._folder / "agent.svid")}
        self._start("agent", [sys.executable, "-m", "broker.cli.demo.agent"], environment=environment)

    def _start(self, name: str, command: list[str], *, environment: dict[str, str] | None = None) -> None:
        with (self._folder / "log").open("ab") as log:
            pipe = subprocess.PIPE if name == "agent" else subprocess.DEVNULL
            self._processes[name] = subprocess.Popen(  # noqa: S603 - our own programs
                command,
                stdin=pipe,
                stdout=pipe if name == "agent" else log,
                stderr=log,
                env=os.environ | (environment or {}),
                start_new_session=True,
            )

    def _stop(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stdout is not None:
            process.stdout.close()

    def _answers(self, url: str) -> bool:
        try:
            return self._http.get(url).status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False


def _write_configuration(folder: Path, issuer: str, redis_url: str | None) -> None:
    for name in ("registry", "policies"):
        (folder / name).mkdir()
    keys.create(folder / "keys")
    authority = folder / "keys" / "development"
    development.create(authority)
    for name, workload in {"agent": AGENT, **{name: f"spiffe://development.test/service/{name}" for name in AUDIENCES}}.items():
        svid = development.sign_svid(authority, workload, audience=issuer, clock=SystemClock())
        (folder / f"{name}.svid").write_text(svid)
    package = files("broker.cli.demo")
    shutil.copyfileobj(package.joinpath("registry.toml").open("rb"), (folder / "registry" / "demo.toml").open("wb"))
    (folder / "registry" / "operators.toml").write_text(_operator(folder))
    for policy in files("broker.policy").joinpath("starter").iterdir():
        (folder / "policies" / policy.name).write_text(policy.read_text())
    (folder / "broker.toml").write_text(_settings(issuer, redis_url))


def _settings(issuer: str, redis_url: str | None) -> str:
    store = f'redis_url = "{redis_url}"\n' if redis_url is not None else ""
    trust = '[[trust.spiffe]]\ntrust_domain = "development.test"\nbundle = "keys/development/bundle.json"\n'
    return f'issuer = "{issuer}"\nlisten = "{issuer.removeprefix("http://")}"\n{store}{trust}'


def _operator(folder: Path) -> str:
    public = private_key_file.create(folder / "operator.jwk").public_jwk
    key = ", ".join(f'{member} = "{public[member]}"' for member in ("kty", "crv", "x", "y"))
    return f'[operators.{OPERATOR}]\nroles = ["admin"]\nkeys = [{{ {key} }}]\n'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
