"""A broker as it runs: a process of its own that serves HTTP on loopback, beside others on the same Redis."""

import os
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import httpx2

from broker.api.token import CLIENT_CREDENTIALS, JWT_SPIFFE
from tests.broker.redis_server import free_port

ROOT = Path(__file__).parents[2]
_PATIENCE = 1_500
"""How often to look, every fiftieth of a second, whether a process has come as far as it should."""
_ASKED_OF_EACH = 8
"""How often to ask for each worker, where there are more: the system deals out connections, and each has to be ready."""


class Replica:
    """One `broker serve`, with the configuration that it shares with the others."""

    def __init__(
        self, folder: Path, *, workers: int = 1, port: int | None = None, trusted: ssl.SSLContext | None = None
    ) -> None:
        """Start it; with its own certificate where there are authorities to be `trusted` for it."""
        self._workers = workers
        self.port = port or free_port()
        self.url = f"https://localhost:{self.port}" if trusted is not None else f"http://127.0.0.1:{self.port}"
        self._trusted = trusted
        self._log = (folder / f"{self.port}.log").open("wb")
        options = ["--config", str(folder / "broker.toml"), "--listen", f"127.0.0.1:{self.port}", "--workers", str(workers)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "broker.cli", "serve", *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=self._log,
            stderr=self._log,
        )

    def wait_until_ready(self) -> "Replica":
        pause = threading.Event()
        for _ in range(_PATIENCE):
            if all(self._is_ready() for _ in range(self._workers * _ASKED_OF_EACH if self._workers > 1 else 1)):
                return self
            assert self._process.poll() is None, "the replica ended by itself"
            pause.wait(0.02)
        raise AssertionError("the replica did not become ready")

    def token(
        self,
        assertion: str,
        scope: str = "crm:ticket/4711#read[subject]",
        *,
        headers: dict[str, str] | None = None,
        **more: str,
    ) -> httpx2.Response:
        """Ask for a token as an OAuth client does; `more` are other parameters."""
        form = {
            "grant_type": CLIENT_CREDENTIALS,
            "client_assertion_type": JWT_SPIFFE,
            "client_assertion": assertion,
            "scope": scope,
            **more,
        }
        return httpx2.post(f"{self.url}/oauth/token", data=form, headers=headers, timeout=30)

    def revoke(self, assertion: str, **selector: object) -> httpx2.Response:
        """Revoke as an operator does."""
        body = {"selector": selector, "reason": "a test"}
        return httpx2.post(
            f"{self.url}/v1/revocations", json=body, headers={"Authorization": f"Bearer {assertion}"}, timeout=30
        )

    def change(self, assertion: str, verb: str, agent: str = "support-bot") -> httpx2.Response:
        """Suspend, resume or retire an agent as an operator does."""
        headers = {"Authorization": f"Bearer {assertion}"}
        return httpx2.post(f"{self.url}/v1/agents/{agent}/{verb}", json={"reason": "a test"}, headers=headers, timeout=30)

    def jwks(self) -> bytes:
        """Return what is published for anybody who verifies."""
        return httpx2.get(f"{self.url}/oauth/jwks.json", timeout=30).content

    def end(self) -> int:
        """Tell the process to stop, and return how it did."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(20)
        finally:
            self._process.kill()
            self._log.close()

    def _is_ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5, verify=self._trusted or True).status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False
