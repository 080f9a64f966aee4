"""Commands in an empty home, without a broker in the environment; and one running broker for those that need one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.cli.served import Served
from tests.broker.cli.typed import ROOT
from tests.broker.redis_server import RedisServer

_VARIABLES = ("CONFIG", "URL", "OPERATOR", "OPERATOR_KEY", "IDENTITY_FILE", "ISSUER", "LISTEN", "REDIS_URL")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own. Variables are set before they are deleted, so that what a command sets is undone as well."""
    for name in _VARIABLES:
        monkeypatch.setenv(f"BROKER_{name}", "")
        monkeypatch.delenv(f"BROKER_{name}")
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A broker with two workers, for tests that leave nothing behind which another one could see."""
    yield from two_workers(tmp_path_factory)


def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve with two workers on a redis-server of their own."""
    redis_server = RedisServer(tmp_path_factory.mktemp("redis"))
    broker = Served(tmp_path_factory.mktemp("served"), redis_url=redis_server.url)
    yield broker.started("--workers", "2")
    broker.end()
    redis_server.end()
