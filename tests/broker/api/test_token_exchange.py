"""Token exchange over HTTP (RFC 8693): one form, one kind of answer, and everything else refused by name."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.api.subject import TOKEN_EXCHANGE
from tests.broker.api.asked import by_details
from tests.broker.delegating import REGISTRY, trusting
from tests.broker.front import Front, claims_of, error_of, opened, problem_of
from tests.broker.identity.user_tokens import user_token
from tests.broker.world import BOT

URN = "urn:ietf:params:oauth:token-type:"
WHOLE = "crm:ticket/4711#read[description,subject]"
INVALID_REQUEST = (400, "invalid_request", "")
NOT_DELEGATED = (400, "unauthorized_client", "not_delegated")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    folder: Path = tmp_path_factory.mktemp("exchange")
    async with opened(folder, registry=REGISTRY, changes=trusting(folder)) as made:
        yield made


def jane(front: Front, **changes: Any) -> str:
    return user_token(front.world.clock.now().wall // 1000, **changes)


def exchange(token: str | None, **changes: str | None) -> dict[str, str | None]:
    """Change a request for a token so that it exchanges this one."""
    good = {"grant_type": TOKEN_EXCHANGE, "subject_token": token, "subject_token_type": f"{URN}access_token"}
    return {**good, **changes}


@pytest.mark.parametrize("type", ["jwt", "id_token", "access_token"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_users_token_is_exchanged_for_one_of_the_agent(shared: Front, type: str) -> None:
    response = await shared.token(**exchange(jane(shared), subject_token_type=f"{URN}{type}"))
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert (body["token_type"], "refresh_token" in body) == ("Bearer", False)
    claims = claims_of(body["access_token"])
    assert (claims["sub"], claims["act"], claims["lease"]["user"]) == ("corp:jane", {"sub": BOT}, True)
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.asyncio(loop_scope="module")
async def test_another_agents_token_is_exchanged_for_less(shared: Front) -> None:
    parent = (await shared.token(scope=WHOLE)).json()
    response = await shared.token("helper", **exchange(parent["access_token"]))
    assert response.status_code == 200, response.text
    claims = claims_of(response.json()["access_token"])
    assert (claims["client_id"], claims["sub"], claims["txn"]) == ("helper", BOT, parent["task_id"])
    assert f"lease {parent['lease_id']}" in claims["lease"]["ends_with"]


@pytest.mark.asyncio(loop_scope="module")
async def test_only_an_exchange_is_answered_with_the_type_of_what_was_issued(shared: Front) -> None:
    assert "issued_token_type" not in (await shared.token()).json()


@pytest.mark.parametrize(
    "changes",
    [
        {"requested_token_type": f"{URN}access_token"},
        {"resource": "https://crm.test"},
        by_details(),
        {"task_declaration": '{"type":"summarise-ticket"}'},
        {"requested_ttl": "30"},
        {"requested_token_type": ""},
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_exchange_takes_what_any_request_takes(shared: Front, changes: dict[str, str | None]) -> None:
    assert (await shared.token(**exchange(jane(shared), **changes))).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"subject_token": None}, id="no subject token"),
        pytest.param({"subject_token": ""}, id="an empty subject token"),
        pytest.param({"subject_token_type": None}, id="no type"),
        pytest.param({"subject_token_type": "jwt"}, id="a type without its name space"),
        pytest.param({"subject_token_type": f"{URN}saml2"}, id="a type that nobody reads"),
        pytest.param({"subject_token_type": f"{URN}refresh_token"}, id="a refresh token"),
        pytest.param({"subject_token": None, "subject_token_type": None}, id="neither token nor type"),
        pytest.param({"subject_token": "nonsense"}, id="no token at all"),
        pytest.param({"subject_token": "x" * 9000}, id="a token without end"),
        pytest.param({"actor_token": "x"}, id="an actor token (TRAPS 13)"),
        pytest.param({"actor_token": "x", "actor_token_type": f"{URN}jwt"}, id="an actor token with its type (TRAPS 13)"),
        pytest.param({"actor_token_type": f"{URN}jwt"}, id="the type of an actor token"),
        pytest.param({"audience": "crm"}, id="an audience"),
        pytest.param({"requested_token_type": f"{URN}refresh_token"}, id="a refresh token wanted"),
        pytest.param({"requested_token_type": f"{URN}jwt"}, id="another type wanted"),
        pytest.param({"assertion": "x"}, id="an assertion of another grant"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_no_exchange_is_an_invalid_request(shared: Front, changes: dict[str, str | None]) -> None:
    response = await shared.token(**exchange(jane(shared), **changes))
    assert error_of(response) == INVALID_REQUEST


@pytest.mark.asyncio(loop_scope="module")
async def test_refused_parameters_are_refused_with_what_to_do(shared: Front) -> None:
    said = [
        (await shared.token(**exchange(jane(shared), **{name: "x"}))).json()["error_description"]
        for name in ("actor_token", "audience")
    ]
    assert "leave out actor_token" in said[0]
    assert "resource" in said[1]


@pytest.mark.parametrize("name", ["subject_token", "subject_token_type"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_subject_token_with_another_grant_is_refused(shared: Front, name: str) -> None:
    """Ignored, it would leave the caller with a token for nobody."""
    for grant in ("client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"):
        response = await shared.token(grant_type=grant, **{name: jane(shared)})
        assert error_of(response) == INVALID_REQUEST


@pytest.mark.asyncio(loop_scope="module")
async def test_who_does_not_prove_to_be_an_agent_exchanges_nothing(shared: Front) -> None:
    """TRAPS 12: a user's token says for whom, and never who."""
    token = jane(shared)
    nobody = exchange(token, client_assertion=None, client_assertion_type=None)
    assert error_of(await shared.token(**nobody))[:2] == (401, "invalid_client")
    bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    for type in (None, bearer):
        as_client = exchange(token, client_assertion=token, **({"client_assertion_type": type} if type else {}))
        assert error_of(await shared.token(**as_client))[:2] == (401, "invalid_client")


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unrelated_pair_is_refused_by_name(shared: Front) -> None:
    """TRAPS 13."""
    assert error_of(await shared.token(**exchange(jane(shared, azp="other-portal")))) == NOT_DELEGATED
    assert error_of(await shared.token("helper", **exchange(jane(shared)))) == NOT_DELEGATED
    parent = (await shared.token("helper", scope=WHOLE)).json()["access_token"]
    assert error_of(await shared.token("other", **exchange(parent))) == NOT_DELEGATED


@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_for_less_is_refused_for_more(shared: Front) -> None:
    parent = (await shared.token(scope="crm:ticket/4711#read[subject]")).json()["access_token"]
    response = await shared.token("helper", scope=WHOLE, **exchange(parent))
    assert error_of(response) == (400, "access_denied", "outside_delegation")


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_of_a_subject_token_is_in_any_answer(shared: Front) -> None:
    """I7."""
    for token in (jane(shared), jane(shared, azp="other"), jane(shared, aud="x"), jane(shared, groups=5)):
        response = await shared.token(**exchange(token))
        assert not any(part in response.text for part in token.split("."))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_is_declared_for_a_user(shared: Front) -> None:
    shown = {"subject_token": jane(shared), "subject_token_type": f"{URN}id_token"}
    response = await shared.declare(purpose="For Jane", **shown)
    assert response.status_code == 201, response.text
    task = response.json()
    assert (task["user"], task["purpose"], "subject_token" in task) == ("corp:jane", "For Jane", False)
    issued = (await shared.token(task=task["id"])).json()
    assert claims_of(issued["access_token"])["sub"] == "corp:jane"
    lease = (await shared.get(f"/v1/leases/{issued['lease_id']}")).json()
    assert (lease["user"], lease["status"]) == ("corp:jane", "live")
    assert (await shared.declare()).json()["user"] is None


@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_is_declared_below_another_agents(shared: Front) -> None:
    parent = (await shared.token(scope=WHOLE)).json()
    shown = {"subject_token": parent["access_token"], "subject_token_type": f"{URN}access_token"}
    task = (await shared.declare("helper", **shown)).json()
    assert task["path"] == [parent["task_id"], task["id"]]
    assert (await shared.token("helper", task=task["id"])).status_code == 200
    refused = await shared.token("helper", task=task["id"], scope="crm:ticket/4712#read[subject]")
    assert error_of(refused) == (400, "access_denied", "outside_delegation")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"subject_token_type": None}, (400, "invalid_request", "")),
        ({"subject_token": None}, (400, "invalid_request", "")),
        ({"subject_token": "x"}, (400, "invalid_request", "")),
        ({"subject_token": ""}, (400, "invalid_request", "")),
        ({"subject_token": 5}, (400, "invalid_request", "")),
        ({"subject_token_type": f"{URN}saml2"}, (400, "invalid_request", "")),
        ({"actor_token": "x"}, (400, "invalid_request", "")),
        ({"user": "corp:jane"}, (400, "invalid_request", "")),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_declaration_with_half_a_subject_is_refused(shared: Front, changes: dict[str, Any], problem: Any) -> None:
    shown = {"subject_token": jane(shared), "subject_token_type": f"{URN}jwt", **changes}
    response = await shared.declare(**{name: value for name, value in shown.items() if value is not None})
    assert problem_of(response) == problem
    assert not any(part in response.text for part in jane(shared).split("."))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_declaration_for_an_unrelated_user_is_refused(shared: Front) -> None:
    shown = {"subject_token": jane(shared, azp="other-portal"), "subject_token_type": f"{URN}jwt"}
    assert problem_of(await shared.declare(**shown)) == (403, "unauthorized_client", "not_delegated")


@pytest.mark.asyncio(loop_scope="module")
async def test_keys_of_a_provider_that_cannot_be_read_are_told_by_readiness(shared: Front) -> None:
    file = shared.world.folder / "corp.json"
    good = file.read_text()
    file.write_text("{")
    assert (await shared.token(**exchange(jane(shared)))).status_code == 200
    body = (await shared.get("/readyz")).json()
    assert (body["status"], "keys of corp" in body["problem"]) == ("ready", True)
    file.write_text(good)
    assert json.loads(good)["keys"]
    assert (await shared.token(**exchange(jane(shared)))).status_code == 200
    assert "problem" not in (await shared.get("/readyz")).json()
