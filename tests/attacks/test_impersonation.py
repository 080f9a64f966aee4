"""Somebody shows what was made for something else, or for somebody else, at every door there is."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from broker import private_key_file
from broker.identity import development
from scopes import jose
from tests.broker.front import Front, error_of, opened, problem_of
from tests.broker.recorded import recorded
from tests.broker.world import BOT, CRM, ISSUER
from tests.scopes.tokens import compact, new_key

PUBLIC = {
    "/.well-known/oauth-authorization-server",
    "/oauth/jwks.json",
    "/oauth/token",
    "/oauth/introspect",
    "/oauth/revoke",
    "/v1/feed/keys",
    "/healthz",
    "/readyz",
    "/metrics",
}
"""What anybody may ask for; the endpoints that take a form prove their callers by it. Everything else is closed."""

FEED = {"/v1/feed", "/v1/feed/stream"}
"""Closed by configuration, open in embedded mode."""

ACKNOWLEDGEMENTS = "/v1/feed/acknowledgements"
"""The same, for those who acknowledge what they follow."""


def endpoints(app: Litestar) -> list[tuple[str, str]]:
    """Return method and path of everything that the application answers, with something in the place of each name."""
    found = []
    for route in app.routes:
        if isinstance(route, HTTPRoute) and route.path not in PUBLIC | FEED | {ACKNOWLEDGEMENTS}:
            path = "/".join("x" if part.startswith("{") else part for part in route.path_format.split("/"))
            found += [(method, path) for method in sorted(route.methods) if method != "OPTIONS"]
    return found


def application(front: Front) -> Litestar:
    return front.world.broker.application()


@pytest.mark.asyncio(loop_scope="module")
async def test_no_endpoint_is_open_by_accident(shared: Front) -> None:
    """Empty means no: every path that is not public, of those that are there today, refuses nobody's request."""
    doors = endpoints(application(shared))
    assert len(doors) >= 10
    for method, path in doors:
        known = path.replace("tasks/x/x", "tasks/x/complete").replace("agents/x/x", "agents/x/suspend")
        response = await shared.send(method, known, content=b"{}", headers={"Content-Type": "application/json"})
        assert problem_of(response) == (401, "invalid_client", ""), (method, path)
        assert response.headers["www-authenticate"] == "Bearer"


async def test_the_feed_is_closed_where_it_is_not_said_to_be_open(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with opened(tmp_path_factory.mktemp("closed"), changes={"feed_access": "workloads"}) as front:
        for path in FEED:
            assert problem_of(await front.get(f"{path}?aud={CRM}", None)) == (401, "invalid_client", "")
        assert problem_of(await front.post(ACKNOWLEDGEMENTS, {}, None)) == (401, "invalid_client", "")


def svid(front: Front, workload: str = BOT, **changes: Any) -> str:
    """Sign an SVID of the development domain with other claims than a good one has."""
    key = private_key_file.read(front.world.folder / "keys" / "development" / "authority.jwk")
    now = front.world.clock.now().wall // 1000
    claims = {"sub": workload, "aud": [ISSUER], "iat": now, "exp": now + 300, **changes}
    return compact({"alg": "ES256", "typ": "JWT", "kid": key.kid}, claims, key)


def signed_by(front: Front, file: str, claims: dict[str, Any], type: str = "JWT") -> str:
    return jose.write(msgspec.json.encode(claims), type=type, key=private_key_file.read(front.world.folder / file))


def good_claims(front: Front, **changes: Any) -> dict[str, Any]:
    now = front.world.clock.now().wall // 1000
    return {"iss": BOT, "sub": BOT, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": "x", **changes}


def as_operator(front: Front, **changes: Any) -> dict[str, Any]:
    return good_claims(front, iss="admin", sub="admin", **changes)


FORGERIES: dict[str, Callable[[Front], str]] = {
    "a person's token (TRAPS 12)": lambda front: front.human_token(),
    "an SVID signed by the token key": lambda front: signed_by(front, "keys/token.jwk", good_claims(front)),
    "an SVID signed by the feed key": lambda front: signed_by(front, "keys/feed.jwk", good_claims(front)),
    "an SVID signed by an operator": lambda front: signed_by(front, "admin.jwk", good_claims(front)),
    "an operator's assertion by the token key": lambda front: signed_by(front, "keys/token.jwk", as_operator(front)),
    "an operator's assertion by the feed key": lambda front: signed_by(front, "keys/feed.jwk", as_operator(front)),
    "an operator's assertion by another operator": lambda front: signed_by(front, "watcher.jwk", as_operator(front)),
    "an operator's assertion by a trust domain": lambda front: svid(front, "admin", **as_operator(front)),
    "an operator's assertion by nobody": lambda front: compact(
        {"alg": "ES256", "typ": "JWT", "kid": "x"}, as_operator(front), new_key()
    ),
    "an SVID for another server": lambda front: svid(front, aud=["https://other.test"]),
    "an SVID for another server too (TRAPS 2)": lambda front: svid(front, aud=[ISSUER, "https://other.test"]),
    "an SVID for the token endpoint's URL (TRAPS 8)": lambda front: svid(front, aud=[f"{ISSUER}/oauth/token"]),
    "an SVID for a protected service": lambda front: svid(front, aud=[CRM]),
    "an SVID of an untrusted domain": lambda front: svid(front, "spiffe://prod.example.com/agent/support-bot"),
    "an SVID with a query behind its name": lambda front: svid(front, f"{BOT}?x"),
    "an SVID that has expired": lambda front: svid(front, exp=1),
    "an SVID without an end": lambda front: svid(front, exp=None),
    "an SVID that never ends (TRAPS 2)": lambda front: svid(front, exp=10**30),
    "no signature": lambda front: front.world.svid().rpartition(".")[0] + ".",
    "two assertions": lambda front: f"{front.world.svid()},{front.world.svid()}",
}


@pytest.mark.parametrize("forged", FORGERIES)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_made_for_something_else_proves_nothing_at_any_door(shared: Front, forged: str) -> None:
    assertion = FORGERIES[forged](shared)
    assert error_of(await shared.token(client_assertion=assertion)) == (401, "invalid_client", "")
    headers = {"Authorization": f"Bearer {assertion}"}
    for path in ("/v1/agents", "/v1/leases", "/v1/audit/events", "/v1/tasks/x"):
        assert problem_of(await shared.get(path, None, **headers)) == (401, "invalid_client", ""), path
    for path, body in (
        ("/v1/tasks", {"type": "single-ticket"}),
        ("/v1/revocations", {"selector": {"all": True}, "reason": "x"}),
    ):
        assert problem_of(await shared.post(path, body, None, **headers)) == (401, "invalid_client", ""), path


@pytest.mark.asyncio(loop_scope="module")
async def test_an_access_token_opens_no_door_of_the_broker(shared: Front) -> None:
    """TRAPS 1: it names its holder and is signed by us, and is meant for a service."""
    token = (await shared.token()).json()["access_token"]
    assert error_of(await shared.token(client_assertion=token)) == (401, "invalid_client", "")
    for path in ("/v1/agents", "/v1/tasks/x", "/v1/audit/events"):
        assert problem_of(await shared.get(path, None, Authorization=f"Bearer {token}")) == (401, "invalid_client", "")


@pytest.mark.asyncio(loop_scope="module")
async def test_what_the_feed_signs_opens_no_door_of_the_broker(shared: Front) -> None:
    """TRAPS 1."""
    snapshot = (await shared.get(f"/v1/feed?aud={CRM}", None)).text
    assert snapshot.count(".") == 2
    assert error_of(await shared.token(client_assertion=snapshot)) == (401, "invalid_client", "")
    assert problem_of(await shared.get("/v1/agents", None, Authorization=f"Bearer {snapshot}"))[0] == 401


@pytest.mark.parametrize(
    "header",
    [
        {"X-Forwarded-Client-Cert": f"URI={BOT}"},
        {"X-Client-Cert": BOT},
        {"X-SSL-Client-Verify": "SUCCESS", "X-SSL-Client-S-DN": "CN=admin"},
        {"X-Forwarded-User": "admin"},
        {"Cookie": "session=admin"},
        {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
    ],
    ids=lambda header: next(iter(header)),
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_header_that_a_proxy_might_have_set_proves_nothing(shared: Front, header: dict[str, str]) -> None:
    """TRAPS 11."""
    assert (
        error_of(await shared.send("POST", "/oauth/token", data=shared.form(client_assertion=None), headers=header))[0] == 401
    )
    assert problem_of(await shared.get("/v1/agents", None, **header))[0] == 401


@pytest.mark.parametrize(
    "path",
    [
        "//v1/agents",
        "/v1//agents",
        "/V1/AGENTS",
        "/v1/agents/",
        "/v1/agents;x",
        "/v1/%61gents",
        "/v1/x/../agents",
        "/oauth/../v1/agents",
        "/healthz/../v1/agents",
        "/v1/agents?x=/healthz",
        "/v1/agents%00",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_another_spelling_of_a_path_is_no_way_around(shared: Front, path: str) -> None:
    response = await shared.send("GET", path)
    assert response.status_code in (401, 404), response.text
    assert "support-bot" not in response.text


@pytest.mark.asyncio(loop_scope="module")
async def test_one_agent_is_never_taken_for_another(shared: Front) -> None:
    """Each proves its own name; what the form says besides is compared and not believed."""
    for claimed in ("other-bot", "spiffe://development.test/agent/other-bot", "admin"):
        assert error_of(await shared.token(client_id=claimed)) == (401, "invalid_client", "")
    task = (await shared.declare("other")).json()["id"]
    assert error_of(await shared.token(task=task)) == (400, "invalid_grant", "")
    assert problem_of(await shared.get(f"/v1/tasks/{task}", "bot")) == (403, "access_denied", "not_permitted")
    assert problem_of(await shared.post(f"/v1/tasks/{task}/cancel", caller="bot")) == (403, "access_denied", "not_permitted")
    assert (await shared.get(f"/v1/tasks/{task}", "other")).json()["status"] == "open"


@pytest.mark.asyncio(loop_scope="module")
async def test_an_operators_request_caught_on_the_way_is_worth_nothing(shared: Front) -> None:
    """Once at any endpoint, and then nowhere."""
    headers = shared.bearer("admin")
    assert (await shared.get("/v1/agents", None, **headers)).status_code == 200
    body = {"selector": {"all": True}, "reason": "replay"}
    assert problem_of(await shared.post("/v1/revocations", body, None, **headers)) == (401, "invalid_client", "")


@pytest.mark.asyncio(loop_scope="module")
async def test_one_assertion_sent_many_times_at_once_is_heard_once(shared: Front) -> None:
    headers = shared.bearer("admin")
    body = {"selector": {"agent": "nobody"}, "reason": "race"}
    answers = await asyncio.gather(*(shared.post("/v1/revocations", body, None, **headers) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [202] + [401] * 9


async def test_an_authority_taken_out_of_the_bundle_opens_no_door_any_more(front: Front) -> None:
    """A remembered assertion ends with it, at every door."""
    assertion = front.world.svid()
    assert (await front.token(client_assertion=assertion)).status_code == 200
    folder = front.world.folder / "keys" / "development"
    (folder / development.BUNDLE).unlink()
    (folder / "authority.jwk").unlink()
    development.create(folder)
    assert error_of(await front.token(client_assertion=assertion)) == (401, "invalid_client", "")
    response = await front.post("/v1/tasks", {"type": "single-ticket"}, None, Authorization=f"Bearer {assertion}")
    assert problem_of(response) == (401, "invalid_client", "")
    assert (await front.token()).status_code == 200


async def test_nothing_that_was_refused_wrote_a_lease(front: Front) -> None:
    """I2 and I5, over all the doors above."""
    for forge in FORGERIES.values():
        await front.token(client_assertion=forge(front))
    assert (await front.get("/v1/leases")).json()["leases"] == []
    assert (await front.get("/v1/audit/events")).json()["events"] == []


async def test_text_of_an_agent_never_becomes_structure(front: Front) -> None:
    """TRAPS 26: in the audit, what an agent wrote is in `said`, whatever it looks like."""
    purpose = '","kind":"token.issued","agent":"admin","x":"'
    task = (await front.declare(purpose=purpose)).json()["id"]
    await recorded(front.world)
    (event,) = (await front.get("/v1/audit/events")).json()["events"]
    assert (event["kind"], event["agent"], event["said"], event["task"]) == ("task.opened", "support-bot", purpose, task)
    assert json.dumps(event).count("token.issued") == 1
