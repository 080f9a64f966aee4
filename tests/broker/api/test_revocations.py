"""`POST /v1/revocations`: end everything a selector hits."""

from typing import Any

import pytest

from tests.broker.front import Front, problem_of
from tests.broker.world import BOT

SELECTORS: list[dict[str, Any]] = [
    {"lease": "lse_01ARZ3NDEKTSV4RRFFQ69G5F00"},
    {"task": "tsk_01ARZ3NDEKTSV4RRFFQ69G5F00"},
    {"agent": "support-bot"},
    {"instance": BOT},
    {"resource": "crm:ticket/4711"},
    {"owner": "jane@example.com"},
    {"user": "corp:jane"},
    {"key": "kid"},
    {"all": True},
]


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda selector: next(iter(selector)))
async def test_every_selector_is_committed_whether_or_not_anything_matches(front: Front, selector: dict[str, Any]) -> None:
    """TRAPS 23: a revocation that comes before the token does must hold."""
    response = await front.post("/v1/revocations", {"selector": selector, "reason": "drill"})
    assert response.status_code == 202
    body = response.json()
    assert body["id"].startswith("evt_")
    assert body["seq"] == 1
    assert body["epoch"]
    assert body["matched"] in (0, None)


async def test_what_matched_is_counted(front: Front) -> None:
    lease = (await front.token()).json()["lease_id"]
    await front.token()
    response = await front.post("/v1/revocations", {"selector": {"agent": "support-bot"}, "reason": "drill"})
    assert response.json()["matched"] == 2
    front.world.follow()
    assert (await front.get(f"/v1/leases/{lease}")).json()["status"] == "revoked"


async def test_revoking_again_is_another_event(front: Front) -> None:
    body = {"selector": {"agent": "support-bot"}, "reason": "drill"}
    assert [(await front.post("/v1/revocations", body)).json()["seq"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, (401, "invalid_client", "")),
        ("bot", (403, "access_denied", "not_an_operator")),
        ("crm", (403, "access_denied", "not_registered")),
        ("stranger", (403, "access_denied", "not_registered")),
        ("watcher", (403, "access_denied", "not_permitted")),
    ],
    ids=["nobody", "an agent", "a service", "a stranger", "an auditor"],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_only_operators_who_may_revoke(shared: Front, caller: str | None, answer: tuple[int, str, str]) -> None:
    lease = (await shared.token()).json()["lease_id"]
    response = await shared.post("/v1/revocations", {"selector": {"all": True}, "reason": "drill"}, caller)
    assert problem_of(response) == answer
    shared.world.follow()
    assert (await shared.get(f"/v1/leases/{lease}")).json()["status"] == "live"


@pytest.mark.parametrize("caller", ["admin", "olga"])
async def test_admins_and_operators_revoke(front: Front, caller: str) -> None:
    body = {"selector": {"agent": "support-bot"}, "reason": "drill"}
    assert (await front.post("/v1/revocations", body, caller)).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        {"selector": {}, "reason": "drill"},
        {"selector": {"agent": "a", "task": "b"}, "reason": "drill"},
        {"selector": {"agent": ""}, "reason": "drill"},
        {"selector": {"agent": 5}, "reason": "drill"},
        {"selector": {"all": False}, "reason": "drill"},
        {"selector": {"all": "true"}, "reason": "drill"},
        {"selector": {"all": 1}, "reason": "drill"},
        {"selector": {"agents": "support-bot"}, "reason": "drill"},
        {"selector": {"resource": "crm:ticket/*"}, "reason": "drill"},
        {"selector": {"resource": "crm:ticket/../x"}, "reason": "drill"},
        {"selector": "all", "reason": "drill"},
        {"selector": {"all": True}},
        {"selector": {"all": True}, "reason": ""},
        {"selector": {"all": True}, "reason": "x" * 501},
        {"selector": {"all": True}, "reason": None},
        {"selector": {"all": True}, "reason": "drill", "dry_run": True},
        {"reason": "drill"},
        b'{"selector":{"agent":"a"},"selector":{"all":true},"reason":"drill"}',
        b'{"selector":{"agent":"a","agent":"support-bot"},"reason":"drill"}',
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_body_that_is_not_one_selector_with_a_reason_ends_nothing(shared: Front, body: Any) -> None:
    """TRAPS 19: nothing is reported as revoked that was not; a typing error never ends more than was meant."""
    lease = (await shared.token()).json()["lease_id"]
    assert problem_of(await shared.post("/v1/revocations", body)) == (400, "invalid_request", "")
    shared.world.follow()
    assert (await shared.get(f"/v1/leases/{lease}")).json()["status"] == "live"


@pytest.mark.asyncio(loop_scope="module")
async def test_an_owner_of_nothing_is_not_found(shared: Front) -> None:
    body = {"selector": {"owner": "nobody@example.com"}, "reason": "drill"}
    assert problem_of(await shared.post("/v1/revocations", body)) == (404, "not_found", "")


async def test_a_replayed_request_revokes_once(front: Front) -> None:
    headers = front.bearer("admin")
    body = {"selector": {"agent": "support-bot"}, "reason": "drill"}
    assert (await front.post("/v1/revocations", body, None, **headers)).status_code == 202
    assert problem_of(await front.post("/v1/revocations", body, None, **headers)) == (401, "invalid_client", "")


async def test_without_the_store_nothing_is_said_to_be_revoked(front: Front) -> None:
    """TRAPS 19."""
    front.world.follow()
    front.deaf = True
    front.world.backend.client.connection_pool.connection_kwargs["server"].connected = False
    response = await front.post("/v1/revocations", {"selector": {"all": True}, "reason": "drill"})
    assert problem_of(response) == (503, "temporarily_unavailable", "")
    assert response.headers["retry-after"] == "1"
