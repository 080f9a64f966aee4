"""`POST /oauth/introspect`, as RFC 7662 has it, and `POST /oauth/revoke`, as RFC 7009 has it."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.api.token import JWT_BEARER, JWT_SPIFFE
from tests.broker.front import FORM, Front, claims_of, error_of, opened
from tests.broker.world import BOT, CRM, CRM_WORKLOAD

PATH = "/oauth/introspect"


async def introspect(front: Front, token: str, caller: str | None = "crm") -> httpx2.Response:
    return await front.send("POST", PATH, data={"token": token}, headers=front.bearer(caller))


async def issued(front: Front, **changes: str) -> str:
    return (await front.token(**changes)).json()["access_token"]


async def test_a_token_in_force_is_told_with_all_its_members(front: Front) -> None:
    token = await issued(front)
    response = await introspect(front, token)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"active": True, "token_type": "Bearer", **claims_of(token)}
    assert (response.json()["aud"], response.json()["client_id"]) == (CRM, "support-bot")


async def test_everything_else_is_told_in_one_word(front: Front) -> None:
    """RFC 7662 §2.2: nothing more, so that nobody learns why."""
    token = await issued(front)
    await front.world.revoke(agent="support-bot")
    for each in (token, "x", await issued(front, scope="kb:article/1#read")):
        response = await introspect(front, each)
        assert (response.status_code, response.json()) == (200, {"active": False})
        assert response.headers["cache-control"] == "no-store"


async def test_a_client_proves_itself_in_the_form_as_at_the_token_endpoint(front: Front) -> None:
    form = {
        "token": await issued(front),
        "token_type_hint": "access_token",
        "client_assertion_type": JWT_SPIFFE,
        "client_assertion": front.world.svid(CRM_WORKLOAD),
    }
    assert (await front.send("POST", PATH, data=form)).json()["active"] is True
    both = await front.send("POST", PATH, data=form, headers=front.bearer("crm"))
    assert error_of(both) == (400, "invalid_request", "")


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"client_assertion_type": None}, (401, "invalid_client", "")),
        ({"client_assertion_type": "urn:x"}, (401, "invalid_client", "")),
        ({"client_assertion_type": JWT_BEARER}, (401, "invalid_client", "")),
        ({"client_assertion": None}, (401, "invalid_client", "")),
        ({"client_assertion": "a.b.c"}, (401, "invalid_client", "")),
        ({"token": None}, (400, "invalid_request", "")),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_whoever_proves_nothing_or_asks_nothing_is_told_nothing(shared: Front, changes: Any, answer: Any) -> None:
    assertion = shared.world.svid(CRM_WORKLOAD)
    form = {"token": "x", "client_assertion_type": JWT_SPIFFE, "client_assertion": assertion, **changes}
    response = await shared.send("POST", PATH, data={name: value for name, value in form.items() if value is not None})
    assert error_of(response) == answer


@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, (401, "invalid_client", "")),
        ("bot", (400, "access_denied", "not_its_workload")),
        ("stranger", (400, "access_denied", "not_its_workload")),
        ("admin", (400, "access_denied", "not_its_workload")),
    ],
)
async def test_only_services_ask(front: Front, caller: str | None, answer: Any) -> None:
    assert error_of(await introspect(front, await issued(front), caller)) == answer


async def test_without_a_policy_no_service_asks(tmp_path: Path) -> None:
    """Absent means no."""
    async with opened(tmp_path) as front:
        path = front.world.folder / "policies" / "operations.cedar"
        kept = path.read_text().partition('@id("services-ask')[0]
        assert kept != path.read_text()
        token = await issued(front)
        path.write_text(kept)
        await front.world.look()
        front.world.follow()
        assert error_of(await introspect(front, token)) == (400, "access_denied", "not_permitted")


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (json.dumps({"token": "x"}).encode(), "application/json"),
        (b"token=x&token=y", FORM),
        (b"token=%ff", FORM),
        (b"token", FORM),
        (b"", "text/plain"),
    ],
    ids=["TRAPS 27: JSON", "twice", "no UTF-8", "no value", "no form"],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_no_form_is_refused(shared: Front, content: bytes, media_type: str) -> None:
    headers = {"Content-Type": media_type, **shared.bearer("crm")}
    assert error_of(await shared.send("POST", PATH, content=content, headers=headers)) == (400, "invalid_request", "")


async def test_no_token_is_in_an_answer(front: Front) -> None:
    """I7."""
    token = await issued(front)
    text = (await introspect(front, token)).text
    assert not any(part in text for part in token.split("."))


async def test_a_worker_that_is_behind_says_so(front: Front, impatient: None) -> None:
    token = await issued(front)
    front.deaf = True
    front.world.clock.advance(1_500)
    assert error_of(await introspect(front, token)) == (503, "temporarily_unavailable", "")


async def test_it_is_found_where_clients_look(front: Front) -> None:
    document = (await front.get("/.well-known/oauth-authorization-server", None)).json()
    assert document["introspection_endpoint"].endswith(PATH)
    assert BOT not in json.dumps(document)


# Giving back


async def revoke(front: Front, token: str, caller: str | None = "bot") -> httpx2.Response:
    return await front.send("POST", "/oauth/revoke", data={"token": token}, headers=front.bearer(caller))


async def test_a_token_is_given_back_once_and_for_all(front: Front) -> None:
    token = await issued(front)
    for _ in range(2):
        response = await revoke(front, token)
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["cache-control"] == "no-store"
    assert (await introspect(front, token)).json() == {"active": False}


async def test_an_unknown_token_is_no_error(front: Front) -> None:
    """RFC 7009 §2.2."""
    assert (await revoke(front, "x")).status_code == 200


async def test_a_kind_that_cannot_be_given_back_is_an_error(front: Front) -> None:
    """TRAPS 19, RFC 7009 §2.2.1."""
    assert error_of(await revoke(front, front.world.svid())) == (400, "unsupported_token_type", "")


@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, (401, "invalid_client", "")),
        ("other", (400, "invalid_grant", "")),
        ("crm", (400, "access_denied", "not_registered")),
        ("admin", (400, "access_denied", "not_an_agent")),
    ],
)
async def test_only_its_agent_gives_a_token_back(front: Front, caller: str | None, answer: Any) -> None:
    token = await issued(front)
    assert error_of(await revoke(front, token, caller)) == answer
    assert (await introspect(front, token)).json()["active"] is True
