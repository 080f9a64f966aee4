"""`POST /oauth/token`: what it gives."""

import base64
import json
from typing import Any

import pytest

from scopes.keys import TOKEN_ALGORITHMS, KeySet
from tests.broker.api.asked import by_details
from tests.broker.front import SCOPE, Front, claims_of
from tests.broker.world import BOT, CRM, ISSUER


@pytest.mark.asyncio(loop_scope="module")
async def test_an_agent_gets_a_token_and_hears_what_it_is_for(shared: Front) -> None:
    response = await shared.token(scope="crm:ticket/4711#read[subject,description]")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    token = body.pop("access_token")
    assert body.pop("lease_id").startswith("lse_")
    assert body.pop("task_id").startswith("tsk_")
    assert body == {
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "crm:ticket/4711#read[description,subject]",
        "authorization_details": [
            {
                "type": "agent_broker_scope",
                "locations": [CRM],
                "identifier": "crm:ticket/4711",
                "actions": ["read"],
                "datatypes": ["description", "subject"],
            }
        ],
    }
    claims = claims_of(token)
    assert (claims["iss"], claims["aud"], claims["client_id"], claims["sub"]) == (ISSUER, CRM, "support-bot", BOT)
    assert claims["scope"] == body["scope"]


@pytest.mark.asyncio(loop_scope="module")
async def test_no_refresh_token_ever(shared: Front) -> None:
    assert "refresh_token" not in (await shared.token()).json()


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "support-bot"},
        {"client_id": BOT},
        {"client_id": ""},
        {"resource": CRM},
        {"requested_ttl": "300"},
        by_details(),
        by_details() | {"resource": CRM},
        {"task_declaration": '{"type":"summarise-ticket"}'},
        {"audience": "ignored", "state": "ignored"},
    ],
    ids=[
        "its name",
        "its SPIFFE id",
        "an empty parameter counts as left out (RFC 6749 §3.2)",
        "the service's audience",
        "the longest life",
        "by details",
        "by details and audience",
        "a task declared in the same call",
        "parameters nobody knows (RFC 6749 §3.2)",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_may_also_say(shared: Front, changes: dict[str, str | None]) -> None:
    response = await shared.token(**changes)
    assert (response.status_code, response.json()["scope"]) == (200, SCOPE)


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"requested_ttl": "10"}, 10),
        ({"requested_ttl": "999999999"}, 300),
        ({"scope": "kb:article/a/b#read"}, 600),
        ({"scope": "kb:article/a/b#read", "requested_ttl": "601"}, 600),
    ],
    ids=["shorter", "longer than the action", "of another action", "longer than that"],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_longer_life_is_cut_and_a_shorter_one_granted(shared: Front, changes: dict[str, str], seconds: int) -> None:
    response = await shared.token(**changes)
    assert response.json()["expires_in"] == seconds


@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_never_outlives_its_task(shared: Front) -> None:
    response = await shared.token(task_declaration='{"type":"summarise-ticket","max_duration":30}')
    assert response.json()["expires_in"] <= 30


@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_is_joined_by_its_id(shared: Front) -> None:
    task = (await shared.declare()).json()["id"]
    response = await shared.token(task=task)
    assert response.json()["task_id"] == task
    assert claims_of(response.json()["access_token"])["txn"] == task


@pytest.mark.asyncio(loop_scope="module")
async def test_a_declared_task_is_opened_in_the_same_call(shared: Front) -> None:
    response = await shared.token(task_declaration='{"type":"single-ticket","purpose":"look","resources":["crm:ticket/4711"]}')
    shown = (await shared.get(f"/v1/tasks/{response.json()['task_id']}", "bot")).json()
    assert (shown["type"], shown["purpose"], shown["resources"]) == ("single-ticket", "look", ["crm:ticket/4711"])


async def test_without_a_task_the_default_one_is_opened_and_joined_again(front: Front) -> None:
    first, second = [(await front.token()).json() for _ in range(2)]
    assert first["task_id"] == second["task_id"]
    assert first["lease_id"] != second["lease_id"]


@pytest.mark.asyncio(loop_scope="module")
async def test_fields_are_granted_by_default_where_the_catalogue_says_so(shared: Front) -> None:
    assert (await shared.token(scope="kb:article/1#read")).json()["scope"] == "kb:article/1#read"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_published_key_verifies_the_token(shared: Front) -> None:
    token = (await shared.token()).json()["access_token"]
    document = (await shared.get("/oauth/jwks.json", None)).content
    keys = KeySet.parse(document, algorithms=TOKEN_ALGORITHMS)
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert keys.get(header["kid"]) is not None
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")


async def keyed(front: Front, key: str, caller: str = "bot", **changes: str | None) -> Any:
    """Ask for a token with an `Idempotency-Key`."""
    task = {} if caller == "bot" else {"task_declaration": '{"type":"summarise-ticket"}'}
    form = front.form(caller, **{**task, **changes})
    return await front.send("POST", "/oauth/token", data=form, headers={"Idempotency-Key": key})


async def test_the_same_request_with_the_same_key_gets_the_same_lease(front: Front) -> None:
    """`WIRE.md`: the same caller, key and parameters; the assertion may be a new one."""
    first = (await keyed(front, "k")).json()
    front.world.advance(1_000)
    assert (await keyed(front, "k")).json()["lease_id"] == first["lease_id"]
    assert len((await front.get("/v1/leases")).json()["leases"]) == 1


@pytest.mark.parametrize(
    ("key", "caller", "changes"),
    [
        ("other", "bot", {}),
        ("k", "other", {}),
        ("k", "bot", {"scope": "crm:ticket/12#read[subject]"}),
        ("k", "bot", {"requested_ttl": "10"}),
        ("k", "bot", {"task_declaration": '{"type":"single-ticket"}'}),
    ],
    ids=["another key", "another caller", "another scope", "another life", "another task"],
)
async def test_any_other_request_gets_a_lease_of_its_own(front: Front, key: str, caller: str, changes: dict[str, str]) -> None:
    """A key that somebody else knows, or that is used again, is no way to another's lease."""
    first = (await keyed(front, "k")).json()
    second = (await keyed(front, key, caller, **changes)).json()
    assert second["lease_id"] != first["lease_id"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("length", "status"), [(0, 400), (1, 200), (255, 200), (256, 400)])
async def test_a_key_has_a_length(shared: Front, length: int, status: int) -> None:
    assert (await keyed(shared, "k" * length)).status_code == status
