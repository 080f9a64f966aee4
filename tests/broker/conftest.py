"""Every test of a store runs twice: on fakeredis and on a real redis-server of its own, on loopback."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import settings

from tests.broker.redis_server import RedisServer
from tests.broker.world import Backend, World, fake_backend, neighbour_of, redis_backend

# A busy machine is no bug.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a redis-server that keeps nothing, and end it by its process."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.url
    server.end()


@pytest_asyncio.fixture(params=["fakeredis", "redis"])
async def backend(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Backend]:
    """A store that is empty."""
    made = fake_backend() if request.param == "fakeredis" else redis_backend(redis_url)
    made.client.flushall()
    yield made
    await made.close()


@pytest.fixture
def world(tmp_path: Path, backend: Backend) -> World:
    """A broker whose follower has caught up."""
    made = World(tmp_path, backend)
    made.follow()
    return made


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers decide on pictures up to a minute old: a machine that stands still for a second is no bug."""
    if not hasattr(request.module, "MAX_AGE"):
        monkeypatch.setattr("broker.feed.follower.MAX_AGE", 60_000)
    # Nor is it of interest, but to tests of just that, that a new epoch issues nothing for its first three seconds.
    if not hasattr(request.module, "MERGE_TIME"):
        monkeypatch.setattr("broker.feed.follower.MERGE_TIME", 0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold workers to the second, for tests of just that."""
    monkeypatch.setattr("broker.feed.follower.MAX_AGE", 1_000)


@pytest.fixture
def repeating_world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A broker whose scripts each run twice, as one may that is asked again because its answer was lost."""
    for store in world.backend.stores:
        monkeypatch.setattr(store, "run", _twice(store.run))
    return world


def _twice(run: Callable[..., Any]) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(run):
        return lambda *asked: (run(*asked), run(*asked))[1]

    async def run_twice(*asked: Any) -> Any:
        await run(*asked)
        return await run(*asked)

    return run_twice


@pytest_asyncio.fixture
async def neighbour(world: World, backend: Backend) -> AsyncIterator[World]:
    """Another worker on the same store, with the same files and the same clock."""
    connected = neighbour_of(backend)
    made = World(world.folder, connected, clock=world.clock)
    made.follow()
    yield made
    await connected.close()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server of this test alone, to be killed, stopped, filled and started again."""
    server = RedisServer(tmp_path / "redis")
    yield server
    server.end()


@pytest_asyncio.fixture
async def own_world(tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[World]:
    """A broker on a redis-server of this test alone."""
    backend = redis_backend(redis_server.url)
    made = World(tmp_path, backend)
    made.follow()
    yield made
    await backend.close()
