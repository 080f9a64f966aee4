"""`POST /oauth/token` takes one form, and each parameter once (RFC 6749 §3.2, TRAPS 27)."""

import json
from urllib.parse import urlencode

import pytest

from tests.broker.api.asked import details
from tests.broker.front import FORM, Front, error_of
from tests.broker.world import CRM

INVALID_REQUEST = (400, "invalid_request", "")
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
