"""Every test of a store runs twice: on fakeredis and on a real redis-server of its own, on loopback."""

import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis

from tests.broker.world import Backend, World, fake_backend, redis_backend


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a redis-server that keeps nothing, and end it by its process."""
    program = shutil.which("redis-server")
    assert program is not None, "redis-server is missing; sh deploy/test installs it"
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, cwd=tmp_path_factory.mktemp("redis"), stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    wait_for_redis(url)
    yield url
    process.terminate()
    process.wait(10)


def wait_for_redis(url: str) -> None:
    pause = threading.Event()
    for _ in range(500):
        try:
            redis.Redis.from_url(url).ping()
        except redis.exceptions.ConnectionError:
            pause.wait(0.01)
        else:
            return
    pytest.fail("redis-server did not start")


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
