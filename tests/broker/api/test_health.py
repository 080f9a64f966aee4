"""Whether the process lives, and whether it can issue."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker import private_key_file
from broker.settings import SpiffeTrust, Trust
from tests.broker.front import Front
from tests.broker.identity.platform_world import trust_in
from tests.broker.redis_server import RedisServer
from tests.broker.world import REGISTRY, World, fake_backend, redis_backend

NOBODY_THERE = SpiffeTrust("development.test", bundle_endpoint="http://127.0.0.1:1/", allow_private_addresses=True)


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


async def test_a_worker_whose_bundle_is_broken_is_ready_and_says_so(front: Front) -> None:
    """It goes on with the bundle that it has; who has to mend the file should hear of it."""
    (front.world.folder / "keys" / "development" / "bundle.json").write_text("{")
    response = await front.get("/readyz", None)
    assert response.status_code == 200
    assert "bundle of development.test: not the JSON" in response.json()["problem"]
    assert (await front.token()).status_code == 200


async def knowing_no_bundle(folder: Path, **changes: Any) -> Any:
    backend = fake_backend()
    front = Front(World(folder, backend, changes={"trust": Trust(spiffe=(NOBODY_THERE,))}, **changes))
    response, token = await front.get("/readyz", None), await front.token()
    await backend.close()
    assert (token.status_code, token.json()["error"], token.headers["retry-after"]) == (503, "temporarily_unavailable", "5")
    return response


async def test_a_worker_to_which_nobody_could_prove_who_they_are_is_not_ready(tmp_path: Path) -> None:
    response = await knowing_no_bundle(tmp_path)
    assert response.status_code == 503
    assert "bundle of development.test: not fetched yet" in response.json()["problem"]


async def test_a_worker_that_knows_no_bundle_is_ready_for_agents_with_keys_of_their_own(tmp_path: Path) -> None:
    public = private_key_file.create(tmp_path / "agent.jwk").public_jwk
    key = ", ".join(f"{member} = {json.dumps(public[member])}" for member in ("kty", "crv", "x", "y"))
    agent = REGISTRY[REGISTRY.index("[agents.support-bot]") :].replace("support-bot]", "signing-bot]", 1)
    agent = agent.partition("[agents.other-bot]")[0].replace("workloads", f"keys = [{{ {key} }}]\n# workloads")
    response = await knowing_no_bundle(tmp_path, registry=REGISTRY + agent)
    assert response.status_code == 200
    assert "development.test" in response.json()["problem"]


async def test_a_worker_that_knows_no_bundle_is_ready_for_the_workloads_of_a_platform(tmp_path: Path) -> None:
    backend = fake_backend()
    trust = msgspec.structs.replace(trust_in(tmp_path), spiffe=(NOBODY_THERE,))
    response = await Front(World(tmp_path, backend, changes={"trust": trust})).get("/readyz", None)
    await backend.close()
    assert response.status_code == 200
    assert "bundle of development.test" in response.json()["problem"]
