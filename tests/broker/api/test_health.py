"""Whether the process lives, and whether it can issue."""

from pathlib import Path

import pytest

from tests.broker.front import Front
from tests.broker.redis_server import RedisServer
from tests.broker.world import World, fake_backend, redis_backend


async def test_a_process_that_answers_lives(front: Front) -> None:
    assert (await front.get("/healthz", None)).json() == {"status": "alive"}


async def test_a_worker_that_follows_the_store_is_ready(front: Front) -> None:
    response = await front.get("/readyz", None)
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_has_not_heard_from_the_store_is_alive_and_not_ready(front: Front) -> None:
    front.world.follow()
    front.deaf = True
    front.world.clock.advance(1_500)
    response = await front.get("/readyz", None)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["status"] == "not ready"
    assert (await front.get("/healthz", None)).status_code == 200
    front.deaf = False
    assert (await front.get("/readyz", None)).status_code == 200


async def test_a_worker_that_never_heard_from_the_store_is_not_ready(tmp_path: Path) -> None:
    backend = fake_backend()
    front = Front(World(tmp_path, backend))
    front.deaf = True
    assert (await front.get("/readyz", None)).status_code == 503
    await backend.close()


async def test_a_worker_whose_store_has_a_problem_is_not_ready_and_says_which(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    backend = redis_backend(redis_server.url)
    front = Front(World(tmp_path / "world", backend, changes={"redis_url": redis_server.url}))
    watch = front.world.broker.watch
    watch.step()
    assert (await front.get("/readyz", None)).status_code == 200
    redis_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    watch.step()
    response = await front.get("/readyz", None)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "maxmemory-policy" in response.json()["problem"]
    watch.close()
    await backend.close()
