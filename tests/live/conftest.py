"""Real processes on loopback: two replicas on one redis-server, and in front of them a gate that is the issuer's address."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from broker import private_key_file
from broker.identity import development
from scopes import Verifier, jose, ulid
from scopes.clock import SystemClock
from tests.broker.gate import Gate
from tests.broker.redis_server import RedisServer
from tests.broker.world import BOT, CRM, CRM_WORKLOAD, ISSUER, REGISTRY, write_files
from tests.live.replica import Replica


class Site(NamedTuple):
    """Two replicas, their store, the address they are known by, and the identities of those who call."""

    folder: Path
    server: RedisServer
    gate: Gate
    replicas: tuple[Replica, Replica]

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.gate.port}"

    def svid(self, workload: str = BOT) -> str:
        return development.sign_svid(self.folder / "keys" / "development", workload, audience=self.issuer, clock=SystemClock())

    def operator(self) -> str:
        """Sign one request of the operator."""
        now = SystemClock().now().wall
        claims = {"iss": "admin", "sub": "admin", "aud": self.issuer, "iat": now // 1000, "exp": now // 1000 + 60}
        payload = msgspec.json.encode({**claims, "jti": ulid.new(now)})
        return jose.write(payload, type="JWT", key=private_key_file.read(self.folder / "admin.jwk"))

    def verifier(self, replica: Replica) -> Verifier:
        """Start a verifier of the CRM that follows this replica; it goes on following it."""
        self.gate.target = replica.port
        verifier = Verifier(self.issuer, CRM, lambda: self.svid(CRM_WORKLOAD))
        verifier.wait_until_ready(timeout=20)
        return verifier


@contextmanager
def serving(folder: Path, *, registry: str = REGISTRY, more: str = "") -> Iterator[Site]:
    """Start a site with this registry, and `more` in its settings."""
    server, gate = RedisServer(folder / "redis"), Gate(0)
    _write(folder, server, gate, registry=registry, more=more)
    replicas = (Replica(folder), Replica(folder, workers=2))
    try:
        for replica in replicas:
            replica.wait_until_ready()
        yield Site(folder, server, gate, replicas)
    finally:
        for replica in replicas:
            replica.end()
        gate.close()
        server.end()


@contextmanager
def alone(folder: Path, *, registry: str, workers: int) -> Iterator[Site]:
    """Start a site whose only replica has so many workers."""
    server, gate = RedisServer(folder / "redis"), Gate(0)
    _write(folder, server, gate, registry=registry)
    replica = Replica(folder, workers=workers)
    try:
        gate.target = replica.wait_until_ready().port
        yield Site(folder, server, gate, (replica, replica))
    finally:
        replica.end()
        gate.close()
        server.end()


def _write(folder: Path, server: RedisServer, gate: Gate, *, registry: str, more: str = "") -> None:
    write_files(folder, registry=registry)
    written = (folder / "broker.toml").read_text().replace(ISSUER, f"http://127.0.0.1:{gate.port}")
    (folder / "broker.toml").write_text(f'redis_url = "{server.url}"\n{written}{more}')


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("site")) as made:
        yield made
