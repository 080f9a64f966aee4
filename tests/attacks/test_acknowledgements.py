"""A verifier that lies: it acknowledges for somebody else, or for a future that nobody has revoked yet."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.broker.acknowledging import FIRST, body
from tests.broker.front import Front, opened, problem_of
from tests.broker.world import KB, REGISTRY

PATH = "/v1/feed/acknowledgements"
KB_WORKLOAD = 'audience    = "https://kb.test"\nworkloads   = [{ spiffe = "spiffe://development.test/service/kb" }]\n'


@pytest_asyncio.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A broker of two services, each with workloads of its own."""
    registry = REGISTRY.replace('audience    = "https://kb.test"\n', KB_WORKLOAD)
    async with opened(tmp_path, registry=registry, changes={"feed_access": "workloads"}) as made:
        made.world.follow()
        yield made


async def states(front: Front, resource: str) -> list[str]:
    """Revoke something, and tell what is said of the verifiers of its service at once."""
    revoked = await front.post("/v1/revocations", {"selector": {"resource": resource}, "reason": "drill"})
    front.world.follow()
    shown = (await front.get(f"/v1/revocations/{revoked.json()['id']}")).json()
    return [one["state"] for one in shown["verifiers"]]


async def test_a_service_cannot_acknowledge_for_another(front: Front) -> None:
    """Else a dishonest service could hide that another one still honours what was revoked."""
    refused = await front.post(PATH, body(front.world, aud=KB), "crm")
    assert problem_of(refused) == (403, "access_denied", "not_its_workload")
    assert (await front.get("/v1/feed/verifiers")).json()["verifiers"] == []
    assert await states(front, "kb") == ["open"]


async def test_a_service_cannot_say_goodbye_for_another(front: Front) -> None:
    """Its own goodbye names a process below its own workload, whatever it calls itself."""
    svid = front.world.svid("spiffe://development.test/service/kb")
    await front.post(PATH, body(front.world, aud=KB), None, Authorization=f"Bearer {svid}")
    refused = await front.post(PATH, body(front.world, aud=KB, leaving=True), "crm")
    assert problem_of(refused) == (403, "access_denied", "not_its_workload")
    assert [one["process"] for one in (await front.get("/v1/feed/verifiers")).json()["verifiers"]] == [FIRST]


@pytest.mark.parametrize("ahead", [1, 5, 2**53])
@pytest.mark.parametrize("id", [None, "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV"], ids=["the head's id", "an invented id"])
async def test_a_verifier_ahead_of_the_log_does_not_enforce_what_comes_then(front: Front, ahead: int, id: str | None) -> None:
    said = body(front.world)
    said["seq"] += ahead
    answer = await front.post(PATH, said if id is None else {**said, "id": id}, "crm")
    assert answer.json() == {"counted": False}
    for _ in range(min(ahead, 6)):
        assert await states(front, "crm:ticket") == ["open"]


async def test_a_verifier_of_another_epoch_does_not_enforce_what_comes_in_this_one(front: Front) -> None:
    for epoch in ("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "00000000000000000000000000", ""):
        assert (await front.post(PATH, body(front.world, epoch=epoch), "crm")).json() == {"counted": False}
    assert await states(front, "crm:ticket") == ["open"]


async def test_an_acknowledgement_of_the_epoch_before_is_worth_nothing_in_the_next(front: Front) -> None:
    """A store that was lost counts from one again; what was acknowledged of the old numbers is not of the new ones."""
    for _ in range(3):
        await states(front, "crm:ticket")
    await front.post(PATH, body(front.world), "crm")
    for name in front.world.backend.client.keys("ab:{feed}:[el]*"):
        front.world.backend.client.delete(name)
    front.world.follow()
    assert await states(front, "crm:ticket") == ["open"]
