"""Whatever is sent, the answer is one of the contract: never a crash, a stack trace, or what was sent in secret (TRAPS 27)."""

import json
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.token import JWT_SPIFFE
from tests.broker.front import FORM, SCOPE, Front, error_of, problem_of
from tests.broker.world import AGENT_KEY, CRM, ISSUER
from tests.scopes.proofs import Call, proof, with_header

pytestmark = pytest.mark.asyncio(loop_scope="module")

ODD_TEXTS = st.sampled_from(
    [
        "",
        "\x00",
        "\ud7ff\ue000",
        "%00",
        "../..",
        "*",
        "null",
        "true",
        "0",
        "-1",
        "1e999",
        "9" * 400,
        "A" * 9000,
        "[" * 2000,
        "{" * 2000,
        "[]",
        "{}",
        "a.b.c",
        "..",
        "eyJhbGciOiJub25lIn0.e30.",
        "tsk_01ARZ3NDEKTSV4RRFFQ69G5F00",
        "lse_01ARZ3NDEKTSV4RRFFQ69G5F99",
        "crm:ticket/1#read",
        SCOPE,
        CRM,
        "summarise-ticket",
        "support-bot",
    ]
)
TEXTS = st.text(max_size=40) | ODD_TEXTS
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
JSON_VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)
DECLARATIONS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["summarise-ticket", "single-ticket"]) | JSON_VALUES,
        "purpose": JSON_VALUES,
        "resources": st.lists(TEXTS, max_size=3) | JSON_VALUES,
        "max_duration": st.integers() | JSON_VALUES,
        "parent": JSON_VALUES,
        "more": JSON_VALUES,
    },
)
DETAILS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("agent_broker_scope") | JSON_VALUES,
        "locations": st.just([CRM]) | JSON_VALUES,
        "identifier": st.just("crm:ticket/1") | JSON_VALUES,
        "actions": st.just(["read"]) | JSON_VALUES,
        "datatypes": st.just(["subject"]) | st.lists(TEXTS, max_size=3) | JSON_VALUES,
    },
)
SELECTORS = st.dictionaries(
    st.sampled_from(["lease", "task", "agent", "instance", "resource", "owner", "user", "key", "all", "x"]),
    JSON_VALUES,
    max_size=2,
)


def as_json(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return strategy.map(json.dumps)


FORMS = st.fixed_dictionaries(
    {
        "grant_type": st.just("client_credentials") | TEXTS,
        "client_assertion_type": st.just(JWT_SPIFFE) | TEXTS,
        "client_assertion": st.just("an svid") | TEXTS,
    },
    optional={
        "scope": st.just(SCOPE) | TEXTS,
        "authorization_details": as_json(st.lists(DETAILS, max_size=2)) | as_json(JSON_VALUES) | TEXTS,
        "task": TEXTS,
        "task_declaration": as_json(DECLARATIONS) | as_json(JSON_VALUES) | TEXTS,
        "resource": TEXTS,
        "requested_ttl": st.integers().map(str) | TEXTS,
        "client_id": TEXTS,
        "more": TEXTS,
    },
)
GOOD_MEMBERS = {"access_token", "token_type", "expires_in", "scope", "authorization_details", "lease_id", "task_id"}


def check_token_answer(response: httpx2.Response, svid: str = "") -> None:
    if response.status_code == 200:
        assert response.json().keys() == GOOD_MEMBERS
        assert response.headers["cache-control"] == "no-store"
        return
    status, error, _ = error_of(response)
    # The store is there and heard from, so that not even 503 is an answer to what somebody sends.
    assert status < 500, response.text
    assert error
    check_nothing_leaked(response, svid)


def check_rest_answer(response: httpx2.Response, svid: str = "") -> None:
    if response.is_success:
        assert response.headers["content-type"].startswith(("application/json", "application/x-ndjson"))
        return
    status, code, _ = problem_of(response)
    # The store is there and heard from, so that not even 503 is an answer to what somebody sends.
    assert status < 500, response.text
    assert code
    check_nothing_leaked(response, svid)


def check_nothing_leaked(response: httpx2.Response, svid: str) -> None:
    assert "Traceback" not in response.text
    assert 'File "' not in response.text
    assert not any(len(part) > 20 and part in response.text for part in svid.split("."))


@settings(max_examples=150)
@given(form=FORMS)
async def test_any_form_at_the_token_endpoint(shared: Front, form: dict[str, str]) -> None:
    svid = shared.world.svid()
    form = {name: svid if value == "an svid" else value for name, value in form.items()}
    check_token_answer(await shared.raw_token(urlencode(form).encode()), svid)


@given(key=st.binary(max_size=40), asked=st.sampled_from([SCOPE, "kb:article/1#read"]))
async def test_any_idempotency_key(shared: Front, key: bytes, asked: str) -> None:
    headers = {b"Idempotency-Key": key}
    check_token_answer(await shared.send("POST", "/oauth/token", data=shared.form(scope=asked), headers=headers))


@given(sent=st.binary(max_size=60))
async def test_any_bytes_as_a_proof(shared: Front, sent: bytes) -> None:
    response = await shared.send("POST", "/oauth/token", data=shared.form(), headers={b"DPoP": sent})
    assert error_of(response) == (400, "invalid_dpop_proof", "")
    assert response.headers["dpop-nonce"]


@settings(max_examples=100)
@given(
    header=st.dictionaries(st.sampled_from(["typ", "alg", "jwk", "crit", "kid"]), JSON_VALUES),
    said=st.dictionaries(st.sampled_from(["jti", "htm", "htu", "iat", "ath", "nonce"]), JSON_VALUES),
)
async def test_any_signed_json_as_a_proof(shared: Front, header: dict[str, Any], said: dict[str, Any]) -> None:
    """One of them is as it should be, so that the other is read."""
    call = Call(AGENT_KEY, "POST", f"{ISSUER}/oauth/token", shared.world.clock.now().wall // 1000)
    for changed in (with_header(call, **header), proof(call, **said)):
        response = await shared.token(proof=changed)
        assert error_of(response)[:2] in [(400, "invalid_dpop_proof"), (400, "use_dpop_nonce")]


@settings(max_examples=100)
@given(
    content=st.binary(max_size=200) | st.text(max_size=100).map(str.encode),
    media_type=st.sampled_from([FORM, "", "application/json", "text/html", "multipart/form-data"]),
)
async def test_any_bytes_at_the_token_endpoint(shared: Front, content: bytes, media_type: str) -> None:
    check_token_answer(await shared.raw_token(content, media_type))


@given(body=DECLARATIONS | JSON_VALUES)
async def test_any_json_as_a_task(shared: Front, body: Any) -> None:
    svid = shared.world.svid()
    check_rest_answer(await shared.post("/v1/tasks", body, None, Authorization=f"Bearer {svid}"), svid)


@given(body=st.fixed_dictionaries({}, optional={"selector": SELECTORS | JSON_VALUES, "reason": JSON_VALUES}) | JSON_VALUES)
async def test_any_json_as_a_revocation(shared: Front, body: Any) -> None:
    check_rest_answer(await shared.post("/v1/revocations", body))


@given(
    body=st.fixed_dictionaries(
        {
            "verifier": st.just("process-one") | TEXTS | JSON_VALUES,
            "aud": st.just(CRM),
            "version": st.just("1.2.3"),
        },
        optional={
            "epoch": TEXTS | JSON_VALUES,
            "seq": st.integers(0, 2**53) | JSON_VALUES,
            "id": TEXTS | JSON_VALUES,
            "as_of": st.integers(0, 2**53) | JSON_VALUES,
            "enforces": st.lists(TEXTS, max_size=3) | JSON_VALUES,
            "leaving": JSON_VALUES,
        },
    )
    | JSON_VALUES
)
async def test_any_json_as_an_acknowledgement(shared: Front, body: Any) -> None:
    response = await shared.post("/v1/feed/acknowledgements", body, "crm")
    check_rest_answer(response)
    assert not response.is_success or body.get("leaving") is True or response.json() == {"counted": False}


@given(
    st.fixed_dictionaries(
        {"token": TEXTS | JSON_VALUES, "use": st.just("01ARZ3NDEKTSV4RRFFQ69G5FAV") | TEXTS | JSON_VALUES},
        optional={"more": JSON_VALUES},
    )
    | JSON_VALUES
)
async def test_any_json_as_a_use(shared: Front, body: Any) -> None:
    response = await shared.post("/v1/leases/consume", body, "crm")
    check_rest_answer(response)
    assert not response.is_success


@given(content=st.binary(max_size=100), path=st.sampled_from(["/v1/tasks", "/v1/revocations"]))
async def test_any_bytes_as_json(shared: Front, content: bytes, path: str) -> None:
    check_rest_answer(await shared.post(path, content, "admin" if path.endswith("revocations") else "bot"))


@given(
    path=st.sampled_from(["/v1/tasks", "/v1/leases", "/v1/agents", "/v1/audit/events"]),
    query=st.dictionaries(st.sampled_from(["agent", "task", "resource", "status", "cursor", "x"]), TEXTS, max_size=3),
)
async def test_any_query_of_a_list(shared: Front, path: str, query: dict[str, str]) -> None:
    check_rest_answer(await shared.get(f"{path}?{urlencode(query)}"))


@settings(max_examples=50)
@given(cursor=st.from_regex(r"[0-9]{0,30}-?[0-9]{0,30}\.[0-9]{0,30}", fullmatch=True))
async def test_any_numbers_as_a_cursor(shared: Front, cursor: str) -> None:
    for path in ("/v1/tasks", "/v1/leases", "/v1/audit/events"):
        check_rest_answer(await shared.get(f"{path}?cursor={cursor}"))


@given(
    name=TEXTS.filter(bool),
    path=st.sampled_from(["/v1/tasks/{}", "/v1/leases/{}", "/v1/agents/{}", "/v1/revocations/{}", "/v1/{}", "/oauth/{}"]),
)
async def test_any_name_in_a_path(shared: Front, name: str, path: str) -> None:
    response = await shared.get(path.format(quote(name, safe="")))
    if path.startswith("/oauth/"):
        assert response.status_code < 500
    else:
        check_rest_answer(response)


@given(verb=TEXTS.filter(bool), id=TEXTS.filter(bool))
async def test_any_verb_on_any_task(shared: Front, verb: str, id: str) -> None:
    check_rest_answer(await shared.post(f"/v1/tasks/{quote(id, safe='')}/{quote(verb, safe='')}"))


@given(header=st.binary(max_size=60), scheme=st.sampled_from([b"", b"Bearer ", b"bearer ", b"Basic "]))
async def test_any_authorization_header_proves_nothing(shared: Front, header: bytes, scheme: bytes) -> None:
    for path in ("/v1/agents", "/v1/audit/events"):
        response = await shared.send("GET", path, headers={b"Authorization": scheme + header})
        assert problem_of(response)[:2] == (401, "invalid_client")
        check_nothing_leaked(response, "")


@given(claims=JSON_VALUES | st.dictionaries(st.sampled_from(["sub", "aud", "iss", "exp", "iat", "jti"]), JSON_VALUES))
async def test_any_claims_under_an_operators_own_signature(shared: Front, claims: Any) -> None:
    """Who holds a key can sign anything; what they sign is read as strictly as what anybody else does."""
    changes = claims if isinstance(claims, dict) else {"sub": claims}
    response = await shared.get("/v1/agents", None, Authorization=f"Bearer {shared.world.operator_assertion(**changes)}")
    check_rest_answer(response)
