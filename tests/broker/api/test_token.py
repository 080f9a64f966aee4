"""`POST /oauth/token`: what it gives, and every row of the contract's error table (`WIRE.md`)."""

import base64
import json
from typing import Any
from urllib.parse import urlencode

import fakeredis
import pytest

from broker.api.token import JWT_SPIFFE
from broker.tasks import Declaration
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from tests.broker.front import FORM, SCOPE, STRANGER, Front, claims_of, error_of
from tests.broker.recorded import kinds_recorded
from tests.broker.world import BOT, CRM, ISSUER, KB, OTHER, World

REST_OF_A_FORM = {"scope": SCOPE, "client_assertion_type": JWT_SPIFFE}


def details(**changes: Any) -> str:
    """Ask by `authorization_details`; `None` takes a member out."""
    good = {
        "type": "agent_broker_scope",
        "locations": [CRM],
        "identifier": "crm:ticket/4711",
        "actions": ["read"],
        "datatypes": ["subject"],
    }
    return json.dumps([{name: value for name, value in (good | changes).items() if value is not None}])


def by_details(**changes: Any) -> dict[str, str | None]:
    """Change a request so that it asks by details instead of by scope."""
    return {"scope": None, "authorization_details": details(**changes)}


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


INVALID_REQUEST = (400, "invalid_request", "")
INVALID_CLIENT = (401, "invalid_client", "")
INVALID_GRANT = (400, "invalid_grant", "")
INVALID_SCOPE = (400, "invalid_scope", "")
INVALID_DETAILS = (400, "invalid_authorization_details", "")
INVALID_TARGET = (400, "invalid_target", "")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"grant_type": None}, id="no grant_type"),
        pytest.param({"grant_type": ""}, id="an empty grant_type"),
        pytest.param({"scope": None}, id="neither scope nor details"),
        pytest.param({"authorization_details": details()}, id="scope and details"),
        pytest.param({"task": "tsk_x", "task_declaration": "{}"}, id="task and declaration"),
        pytest.param({"requested_ttl": "0"}, id="no time"),
        pytest.param({"requested_ttl": "-1"}, id="less than no time"),
        pytest.param({"requested_ttl": "1.5"}, id="half a second"),
        pytest.param({"requested_ttl": "1e3"}, id="a time with an exponent"),
        pytest.param({"requested_ttl": "+60"}, id="a time with a sign"),
        pytest.param({"requested_ttl": "６０"}, id="a time in other digits"),
        pytest.param({"requested_ttl": "9" * 5000}, id="a time of five thousand digits"),
        pytest.param({"task_declaration": "summarise-ticket"}, id="a declaration that is no JSON"),
        pytest.param({"task_declaration": "[]"}, id="a declaration that is a list"),
        pytest.param({"task_declaration": "{}"}, id="a declaration without a type"),
        pytest.param({"task_declaration": '{"type":"a","type":"summarise-ticket"}'}, id="a declaration with a member twice"),
        pytest.param({"task_declaration": '{"type":"summarise-ticket","agent":"x"}'}, id="a declaration with more in it"),
        pytest.param({"task_declaration": '{"type":"summarise-ticket","max_duration":"5"}'}, id="a text for a duration"),
        pytest.param({"task_declaration": '{"type":"summarise-ticket","max_duration":true}'}, id="a boolean for a duration"),
        pytest.param({"task_declaration": '{"type":"summarise-ticket","max_duration":0}'}, id="no duration"),
        pytest.param({"task_declaration": '{"type":"summarise-ticket","resources":[]}'}, id="no resources"),
        pytest.param({"task_declaration": '{"type":"summarise-ticket","resources":["crm:*"]}'}, id="a wildcard as resource"),
        pytest.param(
            {"task_declaration": json.dumps({"type": "summarise-ticket", "purpose": "x" * 501})}, id="a purpose without end"
        ),
        pytest.param(
            {"task_declaration": json.dumps({"type": "summarise-ticket", "purpose": "x" * 17000})}, id="a huge declaration"
        ),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_malformed_request_is_an_invalid_request(shared: Front, changes: dict[str, str | None]) -> None:
    assert error_of(await shared.token(**changes)) == INVALID_REQUEST


@pytest.mark.asyncio(loop_scope="module")
async def test_an_agent_without_a_default_task_has_to_name_one(shared: Front) -> None:
    response = await shared.token("other")
    assert error_of(response) == INVALID_REQUEST
    assert "declare one" in response.json()["error_description"]


@pytest.mark.parametrize(
    "grant", ["password", "authorization_code", "refresh_token", "urn:x:saml2-bearer", "CLIENT_CREDENTIALS"]
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_grant_that_nobody_knows_is_said_to_be_unsupported(shared: Front, grant: str) -> None:
    assert error_of(await shared.token(grant_type=grant)) == (400, "unsupported_grant_type", "")


@pytest.mark.parametrize(
    "name", ["grant_type", "scope", "client_assertion", "client_assertion_type", "task", "requested_ttl", "unknown"]
)
@pytest.mark.parametrize("same", [True, False], ids=["the same", "another"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_parameter_twice_is_refused(shared: Front, name: str, same: bool) -> None:
    """TRAPS 27, RFC 6749 §3.2: which of them counts depends on the parser."""
    form = {"task": "x", "requested_ttl": "5", "unknown": "x", **shared.form()}
    content = urlencode([*form.items(), (name, form[name] if same else "other")])
    assert error_of(await shared.raw_token(content.encode())) == INVALID_REQUEST


@pytest.mark.asyncio(loop_scope="module")
async def test_a_resource_twice_is_an_invalid_target(shared: Front) -> None:
    """RFC 8707 §2 would allow several; a token is for one service."""
    content = urlencode([*shared.form().items(), ("resource", CRM), ("resource", CRM)])
    assert error_of(await shared.raw_token(content.encode())) == INVALID_TARGET


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "text/plain", "multipart/form-data; boundary=x", "", "application/x-www-form-urlencodedx"],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_only_a_form_is_read(shared: Front, media_type: str) -> None:
    """TRAPS 27: another type than the contract's, with the bytes of a good form."""
    assert error_of(await shared.raw_token(urlencode(shared.form()).encode(), media_type)) == INVALID_REQUEST


@pytest.mark.asyncio(loop_scope="module")
async def test_json_is_refused_at_the_token_endpoint(shared: Front) -> None:
    """TRAPS 27, content-type confusion: also where it says that it is a form."""
    content = json.dumps(shared.form()).encode()
    assert error_of(await shared.raw_token(content, "application/json")) == INVALID_REQUEST
    assert error_of(await shared.raw_token(content)) == INVALID_REQUEST


@pytest.mark.parametrize("media_type", [FORM.upper(), f"{FORM}; charset=utf-8", f"{FORM} ;charset=x"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_form_may_say_its_character_set(shared: Front, media_type: str) -> None:
    assert (await shared.raw_token(urlencode(shared.form()).encode(), media_type)).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"&&",
        b"grant_type",
        b"\xff=\xff",
        b"a=%ff",
        b"a=%ed%a0%80",
        b"a=1;b=2&c",
        b"&".join(b"p%d=x" % number for number in range(51)),
        b"\x00" * 100,
    ],
    ids=[
        "nothing",
        "nothing twice",
        "a name alone",
        "bytes",
        "escaped bytes",
        "half a character",
        "semicolons",
        "fifty-one parameters",
        "zeros",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_body_that_is_no_form_is_refused(shared: Front, content: bytes) -> None:
    assert error_of(await shared.raw_token(content)) == INVALID_REQUEST


@pytest.mark.asyncio(loop_scope="module")
async def test_a_huge_body_is_refused(shared: Front) -> None:
    """TRAPS 27."""
    status, error, _ = error_of(await shared.raw_token(b"a=" + b"x" * 40_000))
    assert (status, error) == (413, "invalid_request")


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
    response = await shared.token(scope="crm:ticket/4711#draft[subject]")
    assert error_of(response) == (400, "access_denied", "not_permitted")


async def test_a_policy_that_forbids_is_named(front: Front) -> None:
    extra = front.world.folder / "policies" / "extra.cedar"
    extra.write_text('@id("not-this-one") forbid (principal, action, resource == Record::"crm:ticket/13");')
    changed = Front(World(front.world.folder, front.world.backend))
    response = await changed.token(scope="crm:ticket/13#read[subject]")
    assert error_of(response) == (400, "access_denied", "forbidden")
    assert response.json()["policies"] == ["not-this-one"]
    assert (await changed.token()).status_code == 200


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

    monkeypatch.setattr(front.world.broker.identity, "authenticate", broken)
    response = await front.token()
    assert error_of(response) == (500, "server_error", "")
    assert "s3cret" not in response.text
    assert "Error" not in response.text


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_is_asked_for_by_post_only(shared: Front, method: str) -> None:
    """RFC 6749 §3.2; parameters in the URL would stand in every log."""
    response = await shared.send(method, "/oauth/token", params=shared.form())
    status, error, _ = error_of(response)
    assert (status, error) == (405, "invalid_request")
    assert "POST" in response.headers["allow"]


@pytest.mark.asyncio(loop_scope="module")
async def test_parameters_in_the_url_are_not_read(shared: Front) -> None:
    """RFC 6749 §2.3.1."""
    response = await shared.send("POST", "/oauth/token", params=shared.form(), content=b"", headers={"Content-Type": FORM})
    assert error_of(response) == INVALID_REQUEST


@pytest.mark.parametrize(
    "changes",
    [{"client_assertion": "x.y.z"}, {"scope": "crm:ticket/1#read[email]"}, {"task": "tsk_x"}, {"client_id": "x"}],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_no_answer_repeats_the_assertion(shared: Front, changes: dict[str, str]) -> None:
    """I7."""
    form = shared.form(**changes)
    response = await shared.raw_token(urlencode(form).encode())
    assert not any(part and part in response.text for part in form["client_assertion"].split(".") if len(part) > 8)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_strangers_of_a_trusted_domain_are_told_nothing_of_agents(shared: Front) -> None:
    """TRAPS 27: an unknown workload hears the same whatever it asks for."""
    answers = {
        (await shared.token("stranger", **changes)).text
        for changes in ({}, {"task": "tsk_x"}, {"scope": "nothing:x/1#read"}, {"client_id": STRANGER})
    }
    assert len(answers) == 1


async def test_a_declaration_made_through_the_use_case_is_what_the_form_says(front: Front) -> None:
    """The form and `POST /v1/tasks` take the same declaration."""
    text = '{"type":"single-ticket","purpose":"look","max_duration":30}'
    response = await front.token(task_declaration=text)
    task = await front.world.broker.tasks.find(response.json()["task_id"])
    declared = Declaration(type=task.type, purpose=task.purpose, max_duration=(task.ends - task.created) // 1000)
    assert declared == Declaration(type="single-ticket", purpose="look", max_duration=30)
