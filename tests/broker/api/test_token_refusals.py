"""`POST /oauth/token`: every row of the contract's error table (`WIRE.md`)."""

import json

import fakeredis
import pytest

from broker.api.token import JWT_SPIFFE
from tests.broker.api.asked import by_details, details
from tests.broker.front import STRANGER, Front, error_of
from tests.broker.recorded import kinds_recorded
from tests.broker.world import BOT, CRM, KB, OTHER

INVALID_CLIENT = (401, "invalid_client", "")
INVALID_GRANT = (400, "invalid_grant", "")
INVALID_SCOPE = (400, "invalid_scope", "")
INVALID_DETAILS = (400, "invalid_authorization_details", "")
INVALID_TARGET = (400, "invalid_target", "")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"client_assertion": None}, id="no assertion"),
        pytest.param({"client_assertion": "x"}, id="an assertion that is none"),
        pytest.param({"client_assertion": "x" * 9000}, id="an oversized assertion"),
        pytest.param({"client_assertion_type": None}, id="no type of assertion"),
        pytest.param({"client_assertion_type": JWT_SPIFFE + "x"}, id="an unknown type of assertion"),
        pytest.param(
            {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, id="a type nobody checks yet"
        ),
        pytest.param({"client_id": "other-bot"}, id="the name of another agent"),
        pytest.param({"client_id": OTHER}, id="the SPIFFE id of another agent"),
        pytest.param({"client_id": f"{BOT}/x"}, id="a SPIFFE id below its own"),
        pytest.param({"client_secret": "s", "client_assertion": None}, id="a secret"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_caller_who_proves_nothing_is_an_invalid_client(shared: Front, changes: dict[str, str | None]) -> None:
    response = await shared.token(**changes)
    assert error_of(response) == INVALID_CLIENT
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.asyncio(loop_scope="module")
async def test_an_assertion_in_the_header_is_no_client_assertion(shared: Front) -> None:
    form = shared.form(client_assertion=None)
    response = await shared.send("POST", "/oauth/token", data=form, headers=shared.bearer("bot"))
    assert error_of(response) == INVALID_CLIENT


@pytest.mark.asyncio(loop_scope="module")
async def test_an_operator_gets_no_token(shared: Front) -> None:
    assert error_of(await shared.token(client_assertion=shared.world.operator_assertion())) == INVALID_CLIENT


@pytest.mark.parametrize(
    "task", ["tsk_x", "tsk_01ARZ3NDEKTSV4RRFFQ69G5F00", "lse_01ARZ3NDEKTSV4RRFFQ69G5F00", "x" * 9000, "tsk_\x00", "../tsk"]
)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_task_is_an_invalid_grant(shared: Front, task: str) -> None:
    assert error_of(await shared.token(task=task)) == INVALID_GRANT


async def test_anothers_task_is_as_unknown_as_one_that_does_not_exist(front: Front) -> None:
    """TRAPS 27: the answer does not tell which tasks there are."""
    theirs = (await front.declare("other")).json()["id"]
    made_up = theirs[:10] + "ZZZZ" + theirs[14:]
    one, other = await front.token(task=theirs), await front.token(task=made_up)
    assert error_of(one) == error_of(other) == INVALID_GRANT
    assert one.json() == other.json()


@pytest.mark.parametrize("verb", ["complete", "fail", "cancel"])
async def test_a_task_that_has_ended_is_an_invalid_grant(front: Front, verb: str) -> None:
    task = (await front.declare()).json()["id"]
    assert (await front.token(task=task)).status_code == 200
    await front.post(f"/v1/tasks/{task}/{verb}", caller="bot")
    assert error_of(await front.token(task=task)) == INVALID_GRANT


async def test_a_task_whose_time_is_over_is_an_invalid_grant(front: Front) -> None:
    task = (await front.declare(max_duration=60)).json()["id"]
    front.world.advance(60_000)
    assert error_of(await front.token(task=task)) == INVALID_GRANT


async def test_a_child_of_anothers_task_is_an_invalid_grant(front: Front) -> None:
    theirs = (await front.declare("other")).json()["id"]
    declaration = json.dumps({"type": "summarise-ticket", "parent": theirs})
    assert error_of(await front.token(task_declaration=declaration)) == INVALID_GRANT


@pytest.mark.asyncio(loop_scope="module")
async def test_a_workload_that_is_no_agent_is_an_unauthorized_client(shared: Front) -> None:
    assert error_of(await shared.token("stranger")) == (400, "unauthorized_client", "")
    assert error_of(await shared.token("crm")) == (400, "unauthorized_client", "")


async def test_an_agent_past_its_end_is_an_unauthorized_client(front: Front) -> None:
    front.world.advance(80 * 365 * 86_400_000)
    assert error_of(await front.token()) == (400, "unauthorized_client", "agent_ended")


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param("crm:ticket/4711#delete", id="an unknown action"),
        pytest.param("crm:ticket/4711#read[subject,nothing]", id="an unknown field"),
        pytest.param("crm:ticket/4711#read", id="no fields where they have to be named"),
        pytest.param("kb:article/1#read[title]", id="a field of a type without fields"),
        pytest.param("crm:ticket/*#read[subject]", id="a wildcard"),
        pytest.param("crm:ticket/**#read[subject]", id="a deep wildcard"),
        pytest.param("crm:ticket/1#*", id="any action"),
        pytest.param("crm:ticket/1#read[*]", id="any field"),
        pytest.param("crm:ticket/1#read[subject] crm:ticket/2#read[subject]", id="two scopes"),
        pytest.param("crm:ticket/1#read,draft[subject]", id="two actions"),
        pytest.param("crm:ticket/1#read[subject,subject]", id="a field twice"),
        pytest.param("crm:ticket#read", id="a type alone"),
        pytest.param("crm", id="a service alone"),
        pytest.param("crm:ticket/../article/1#read", id="a dot segment (TRAPS 16)"),
        pytest.param("crm:ticket/%2e%2e/1#read", id="an encoded dot segment (TRAPS 16)"),
        pytest.param("crm:ticket/4711%2fnote#read", id="an encoded slash (TRAPS 16)"),
        pytest.param("crm:tick\u0435t/1#read", id="a letter that looks like another (TRAPS 16)"),
        pytest.param("CRM:ticket/1#read[subject]", id="capitals (TRAPS 16)"),
        pytest.param("crm:ticket/1#read[subject]\n", id="a newline at the end"),
        pytest.param("crm:ticket/" + "x" * 500 + "#read", id="more than 512 bytes"),
        pytest.param("openid profile", id="scopes of other servers"),
        pytest.param('"\\\u00e9\n', id="characters an error may not have"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_not_one_thing_of_the_catalogue_is_an_invalid_scope(shared: Front, scope: str) -> None:
    assert error_of(await shared.token(scope=scope)) == INVALID_SCOPE


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("crm:ticket/1#read[subject]", id="no JSON"),
        pytest.param("[]", id="no object"),
        pytest.param(details()[1:-1], id="an object outside a list"),
        pytest.param(f"[{details()[1:-1]},{details()[1:-1]}]", id="two objects (TRAPS 14)"),
        pytest.param(details(actions=["read", "draft"]), id="two actions (TRAPS 14)"),
        pytest.param(details(actions=[]), id="no action"),
        pytest.param(details(actions="read"), id="an action outside a list"),
        pytest.param(details(actions=[5]), id="a number for an action (TRAPS 14)"),
        pytest.param(details(actions=["delete"]), id="an unknown action"),
        pytest.param(details(actions=["read[subject]"], datatypes=None), id="fields inside the action"),
        pytest.param(details(datatypes=["subject,description"]), id="two fields in one place"),
        pytest.param(details(datatypes=["subject]#draft[subject"]), id="another scope inside a field"),
        pytest.param(details(datatypes=[]), id="an empty list of fields"),
        pytest.param(details(datatypes=["subject", "subject"]), id="a field twice"),
        pytest.param(details(datatypes=["nothing"]), id="an unknown field"),
        pytest.param(details(datatypes=None), id="no fields where they have to be named"),
        pytest.param(details(identifier="crm:ticket/*"), id="a wildcard"),
        pytest.param(details(identifier="crm:ticket/1#read[subject]"), id="a scope as identifier"),
        pytest.param(details(identifier=["crm:ticket/1", "crm:ticket/2"]), id="two resources"),
        pytest.param(details(identifier=4711), id="a number as identifier (TRAPS 14)"),
        pytest.param(details(locations=[CRM, KB]), id="two locations"),
        pytest.param(details(locations=None), id="no location"),
        pytest.param(details(type="payment_initiation"), id="another type"),
        pytest.param(details(privileges=["admin"]), id="a member nobody knows (TRAPS 14)"),
        pytest.param(details()[:-2] + ',"actions":["draft"]}]', id="a member twice (TRAPS 2)"),
        pytest.param(details(identifier="crm:ticket/" + "x" * 17000), id="a huge object"),
        pytest.param("[" * 5000, id="a deep list"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_details_that_are_not_one_thing_are_invalid(shared: Front, text: str) -> None:
    """RFC 9396 §5."""
    assert error_of(await shared.token(scope=None, authorization_details=text)) == INVALID_DETAILS


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"scope": "nothing:ticket/1#read"}, id="an unknown service"),
        pytest.param({"scope": "crm:letter/1#read"}, id="a resource that the service does not have"),
        pytest.param({"resource": KB}, id="the audience of another service"),
        pytest.param({"resource": f"{CRM}/"}, id="the audience with a slash"),
        pytest.param({"resource": "crm"}, id="the name of the service"),
        pytest.param({"resource": "https://evil.test"}, id="the audience of nobody"),
        pytest.param(by_details(locations=[KB]), id="a location of another service"),
        pytest.param(by_details(locations=["https://evil.test"]), id="a location of nobody"),
        pytest.param(by_details(locations=[""]), id="an empty location"),
        pytest.param(by_details(locations=[KB]) | {"resource": CRM}, id="a location and a resource that differ"),
        pytest.param(by_details() | {"resource": KB}, id="a resource and a location that differ"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_for_no_service_or_another_is_an_invalid_target(shared: Front, changes: dict[str, str | None]) -> None:
    """RFC 8707 §2. A location that is not looked at would promise a token for somewhere else (TRAPS 14)."""
    assert error_of(await shared.token(**changes)) == INVALID_TARGET


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"scope": "crm:ticket/1/note#read[subject]"}, "outside_task_type", id="outside the task type"),
        pytest.param({"scope": "crm:ticket/1#read[email]"}, "outside_fields", id="fields beyond the task type"),
        pytest.param(
            {"task_declaration": '{"type":"summarise-ticket","resources":["crm:ticket/47"]}'},
            "outside_declaration",
            id="outside the declaration, whose last segment only begins the same (TRAPS 16)",
        ),
        pytest.param({"task_declaration": '{"type":"nothing"}'}, "outside_task_types", id="a task type that it may not run"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_outside_the_ceiling_is_denied_with_its_reason(
    shared: Front, changes: dict[str, str | None], reason: str
) -> None:
    response = await shared.token(**changes)
    assert error_of(response) == (400, "access_denied", reason)
    assert response.json()["policies"] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_what_policy_refuses_is_denied_with_its_reason(shared: Front) -> None:
    response = await shared.token(scope="crm:ticket/4711#draft[subject]", proof=await shared.world.prove())
    assert error_of(response) == (400, "access_denied", "not_permitted")


async def test_a_policy_that_forbids_is_named(front: Front) -> None:
    extra = front.world.folder / "policies" / "extra.cedar"
    extra.write_text('@id("not-this-one") forbid (principal, action, resource == Record::"crm:ticket/13");')
    await front.world.look()
    response = await front.token(scope="crm:ticket/13#read[subject]")
    assert error_of(response) == (400, "access_denied", "forbidden")
    assert response.json()["policies"] == ["not-this-one"]
    assert (await front.token()).status_code == 200


async def test_a_refusal_is_recorded_and_leaves_nothing_else_behind(front: Front) -> None:
    await front.token(scope="crm:ticket/4711#draft[subject]", task_declaration='{"type":"summarise-ticket"}')
    assert await kinds_recorded(front.world) == ["task.opened", "token.refused"]
    assert (await front.get("/v1/leases")).json()["leases"] == []


async def test_too_many_leases_for_a_task_are_refused_for_a_while(front: Front) -> None:
    task = (await front.declare(type="single-ticket")).json()["id"]
    assert [(await front.token(task=task)).status_code for _ in range(3)] == [200] * 3
    response = await front.token(task=task)
    assert error_of(response) == (429, "temporarily_unavailable", "leases_per_task")
    assert int(response.headers["retry-after"]) >= 1


async def test_too_many_live_leases_are_refused_until_some_expire(front: Front) -> None:
    task = (await front.declare("other")).json()["id"]
    assert [(await front.token("other", task=task)).status_code for _ in range(5)] == [200] * 5
    response = await front.token("other", task=task)
    assert error_of(response) == (429, "temporarily_unavailable", "live_leases")
    assert int(response.headers["retry-after"]) >= 1
    front.world.advance(301_000)
    assert (await front.token("other", task=task)).status_code == 200


async def test_too_many_leases_in_a_minute_are_refused_and_the_answer_says_for_how_long(front: Front) -> None:
    task = (await front.declare("other")).json()["id"]
    for _ in range(2):
        for _ in range(5):
            assert (await front.token("other", task=task, requested_ttl="1")).status_code == 200
        front.world.advance(2_000)
    response = await front.token("other", task=task, requested_ttl="1")
    assert error_of(response) == (429, "temporarily_unavailable", "leases_per_minute")
    front.world.advance(int(response.headers["retry-after"]) * 1000)
    assert (await front.token("other", task=task, requested_ttl="1")).status_code == 200


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_has_not_heard_from_the_store_issues_nothing(front: Front) -> None:
    front.world.follow()
    front.deaf = True
    front.world.clock.advance(1_500)
    response = await front.token()
    assert error_of(response) == (503, "temporarily_unavailable", "")
    assert response.headers["retry-after"] == "1"


async def test_a_store_that_cannot_be_reached_issues_nothing(front: Front) -> None:
    """TRAPS 20: never a fall-back to memory."""
    server = front.world.backend.client.connection_pool.connection_kwargs["server"]
    assert isinstance(server, fakeredis.FakeServer)
    front.world.follow()
    front.deaf, server.connected = True, False
    response = await front.token()
    assert error_of(response) == (503, "temporarily_unavailable", "")
    assert response.headers["retry-after"] == "1"
    front.deaf, server.connected = False, True
    assert (await front.token()).status_code == 200


async def test_an_error_nobody_foresaw_says_nothing_of_itself(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """I7: no stack trace, no type, no token."""

    def broken(*_: object) -> None:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(front.world.broker.identities, "authenticate", broken)
    response = await front.token()
    assert error_of(response) == (500, "server_error", "")
    assert "s3cret" not in response.text
    assert "Error" not in response.text


@pytest.mark.asyncio(loop_scope="module")
async def test_the_strangers_of_a_trusted_domain_are_told_nothing_of_agents(shared: Front) -> None:
    """TRAPS 27: an unknown workload hears the same whatever it asks for."""
    answers = {
        (await shared.token("stranger", **changes)).text
        for changes in ({}, {"task": "tsk_x"}, {"scope": "nothing:x/1#read"}, {"client_id": STRANGER})
    }
    assert len(answers) == 1
