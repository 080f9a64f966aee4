"""Workloads that prove who they are by a certificate: on their connection, or through a proxy."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from broker.settings import ProxyTrust
from scopes.client_certificate import thumbprint
from tests.broker.application import application_of
from tests.broker.certified import authority_of, svid_of, trust
from tests.broker.front import CRM_WORKLOAD, Front, claims_of, error_of, opened, problem_of
from tests.broker.world import BOT, CRM, ISSUER, OTHER, World
from tests.scopes.certificates import Made, escaped

ROOT = authority_of()
OWN = svid_of(ROOT)
PROXY, STRANGER = "10.0.0.7", "10.0.0.8"
CLIENT_ID = {"client_id": BOT}


class Connected(Front):
    """Speaks over one connection, that shows a chain of certificates."""

    def __init__(self, world: World, *chain: Made, peer: str = "127.0.0.1") -> None:
        super().__init__(world)
        shown = [ssl.DER_cert_to_PEM_cert(made.der) for made in chain]
        application: Any = application_of(world.broker)

        async def over_tls(scope: Any, receive: Any, send: Any) -> None:
            extensions = {"tls": {"client_cert_chain": shown}} if shown else {}
            await application({**scope, "extensions": extensions}, receive, send)

        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=over_tls, client=(peer, 1)), base_url=ISSUER)

    async def certified(self, *, headers: dict[str, str] | None = None, **changes: str | None) -> httpx2.Response:
        """Ask for a token without an assertion."""
        form = self.form(client_assertion=None, client_assertion_type=None, **changes)
        return await self.send("POST", "/oauth/token", data=form, headers=headers)


@contextlib.asynccontextmanager
async def world_of(folder: Path, **changes: Any) -> AsyncIterator[World]:
    trust(folder, ROOT)
    async with opened(folder, changes=changes) as front:
        yield front.world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A broker behind two proxies."""
    nginx, envoy = ProxyTrust((PROXY,), "ssl-client-cert"), ProxyTrust(("192.0.2.0/24",), "x-forwarded-client-cert")
    async with world_of(tmp_path / "world") as plain:
        settings = plain.broker.configuration.settings
    behind = msgspec.structs.replace(settings.trust, proxy=(nginx, envoy))
    async with world_of(tmp_path / "behind", trust=behind) as world:
        yield world


# Tokens


async def test_a_certificate_alone_gets_a_token_that_is_bound_to_it(world: World) -> None:
    """RFC 8705 §2, §3."""
    answer = await Connected(world, OWN).certified(**CLIENT_ID)
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")
    claims = claims_of(answer.json()["access_token"])
    assert (claims["client_id"], claims["sub"]) == ("support-bot", BOT)
    assert claims["cnf"] == {"x5t#S256": thumbprint(OWN.der)}


async def test_an_assertion_with_the_certificate_of_the_same_workload_is_bound_to_it(world: World) -> None:
    answer = await Connected(world, OWN).token()
    assert claims_of(answer.json()["access_token"])["cnf"] == {"x5t#S256": thumbprint(OWN.der)}


async def test_an_assertion_without_a_certificate_is_bound_to_nothing(world: World) -> None:
    answer = await Connected(world).token()
    assert "cnf" not in claims_of(answer.json()["access_token"])


async def test_the_same_key_of_a_renewed_certificate_is_another_request(world: World) -> None:
    """The lease of the first is bound to a certificate that its holder may not have any more."""
    headers = {"Idempotency-Key": "once"}
    leases = [
        (await Connected(world, own).certified(headers=headers, **CLIENT_ID)).json()["lease_id"]
        for own in (OWN, OWN, svid_of(ROOT))
    ]
    assert leases[0] == leases[1] != leases[2]


@pytest.mark.parametrize(
    ("chain", "client_id"),
    [
        pytest.param([OWN], None, id="no client_id (RFC 8705 §2)"),
        pytest.param([OWN], "support-bot", id="the name of the agent as client_id"),
        pytest.param([OWN], OTHER, id="another workload's client_id"),
        pytest.param([], BOT, id="no certificate"),
        pytest.param([svid_of(authority_of())], BOT, id="of an unknown authority"),
        pytest.param([svid_of(ROOT, ca=True)], BOT, id="an authority's certificate"),
    ],
)
async def test_a_certificate_that_does_not_say_who_calls_gets_nothing(world: World, chain: list[Made], client_id: str) -> None:
    assert error_of(await Connected(world, *chain).certified(client_id=client_id))[:2] == (401, "invalid_client")


async def test_an_assertion_and_a_certificate_of_different_workloads_are_refused(world: World) -> None:
    refused = await Connected(world, svid_of(ROOT, OTHER)).token("bot")
    assert error_of(refused)[:2] == (401, "invalid_client")


async def test_a_good_assertion_does_not_make_a_bad_certificate_good(world: World) -> None:
    refused = await Connected(world, svid_of(authority_of())).token("bot")
    assert error_of(refused)[:2] == (401, "invalid_client")


async def test_a_workload_that_is_no_agent_gets_nothing_by_its_certificate(world: World) -> None:
    stranger = "spiffe://development.test/agent/nobody"
    refused = await Connected(world, svid_of(ROOT, stranger)).certified(client_id=stranger)
    assert error_of(refused)[1] == "unauthorized_client"


async def test_a_connection_that_stays_open_does_not_outlive_the_trust_in_its_certificate(world: World) -> None:
    kept = Connected(world, OWN)
    assert (await kept.certified(**CLIENT_ID)).status_code == 200
    trust(world.folder, authority_of())
    assert error_of(await kept.certified(**CLIENT_ID))[:2] == (401, "invalid_client")


async def test_a_connection_that_stays_open_does_not_outlive_its_certificate(world: World) -> None:
    kept = Connected(world, OWN)
    assert (await kept.certified(**CLIENT_ID)).status_code == 200
    world.advance(7_200_000)
    assert error_of(await kept.certified(**CLIENT_ID))[:2] == (401, "invalid_client")


# REST endpoints


async def test_an_agent_with_a_certificate_alone_opens_and_ends_its_task(world: World) -> None:
    agent = Connected(world, OWN)
    opened = await agent.declare(caller=None)
    assert opened.status_code == 201, opened.text
    task = opened.json()["id"]
    assert (await agent.certified(task=task, **CLIENT_ID)).status_code == 200
    ended = await agent.post(f"/v1/tasks/{task}/complete", None, None)
    assert (ended.status_code, ended.json()["status"]) == (200, "completed")


async def test_another_workload_cannot_end_that_task(world: World) -> None:
    task = (await Connected(world, OWN).declare(caller=None)).json()["id"]
    refused = await Connected(world, svid_of(ROOT, OTHER)).post(f"/v1/tasks/{task}/complete", None, None)
    assert refused.status_code in (403, 404)


async def test_a_service_follows_its_feed_by_its_certificate(world: World) -> None:
    snapshot = await Connected(world, svid_of(ROOT, CRM_WORKLOAD)).get(f"/v1/feed?aud={CRM}", None)
    assert snapshot.status_code == 200


async def test_an_operator_is_not_its_connection(world: World) -> None:
    """Behind a proxy every connection may have a certificate; what an operator does is proven by the operator's own key."""
    assert (await Connected(world, OWN).get("/v1/agents")).status_code == 200
    assert problem_of(await Connected(world, OWN).get("/v1/agents", None))[:2] == (403, "access_denied")


# Proxies


@pytest.mark.parametrize(
    ("peer", "header", "value"),
    [
        (PROXY, "ssl-client-cert", escaped(OWN)),
        (PROXY, "SSL-Client-Cert", escaped(OWN, ROOT)),
        ("192.0.2.9", "x-forwarded-client-cert", f'By=spiffe://x/y;Cert="{escaped(OWN)}";Subject="CN=\\"a;b\\""'),
    ],
    ids=["nginx", "with more of the chain", "Envoy"],
)
async def test_a_trusted_proxy_says_which_certificate_it_saw(world: World, peer: str, header: str, value: str) -> None:
    answer = await Connected(world, peer=peer).certified(headers={header: value}, **CLIENT_ID)
    assert answer.status_code == 200, answer.text
    assert claims_of(answer.json()["access_token"])["cnf"] == {"x5t#S256": thumbprint(OWN.der)}


async def test_a_forged_header_from_anybody_else_is_refused(world: World) -> None:
    """TRAPS 11."""
    refused = await Connected(world, peer=STRANGER).certified(headers={"ssl-client-cert": escaped(OWN)}, **CLIENT_ID)
    assert error_of(refused)[:2] == (401, "invalid_client")
    assert "trusted proxies" in refused.json()["error_description"]
    agent = Connected(world, peer=STRANGER)
    refused = await agent.post("/v1/tasks", {"type": "summarise-ticket"}, None, **{"ssl-client-cert": escaped(OWN)})
    assert problem_of(refused)[:2] == (401, "invalid_client")


async def test_a_forged_header_beside_an_assertion_changes_nothing(world: World) -> None:
    """Not even the binding: the caller has not proven to hold that certificate."""
    form = Connected(world, peer=STRANGER).form()
    headers = {"ssl-client-cert": escaped(svid_of(ROOT, OTHER))}
    answer = await Connected(world, peer=STRANGER).send("POST", "/oauth/token", data=form, headers=headers)
    assert answer.status_code == 200
    assert "cnf" not in claims_of(answer.json()["access_token"])


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("ssl-client-cert", escaped(OWN))] * 2, id="twice"),
        pytest.param([("ssl-client-cert", OWN.pem.decode().replace("\n", " "))], id="not encoded"),
        pytest.param([("x-forwarded-client-cert", f'Cert="{escaped(OWN)}"')], id="the header of another proxy"),
        pytest.param([("ssl-client-verify", "SUCCESS"), ("ssl-client-subject-dn", f"URI={BOT}")], id="a verdict, and a name"),
    ],
)
async def test_a_header_that_does_not_say_one_thing_is_refused(world: World, headers: list[tuple[str, str]]) -> None:
    agent = Connected(world, peer=PROXY)
    form = agent.form(client_assertion=None, client_assertion_type=None, **CLIENT_ID)
    refused = await agent.client.post("/oauth/token", data=form, headers=headers)
    assert error_of(refused)[:2] == (401, "invalid_client")


async def test_a_broken_header_of_a_trusted_proxy_is_not_passed_over(world: World) -> None:
    agent = Connected(world, peer=PROXY)
    refused = await agent.send("POST", "/oauth/token", data=agent.form(), headers={"ssl-client-cert": "?"})
    assert error_of(refused)[:2] == (401, "invalid_client")


# What is published


async def test_the_metadata_says_that_certificates_are_taken(world: World) -> None:
    """RFC 8705 §3.3."""
    metadata = (await Front(world).get("/.well-known/oauth-authorization-server", None)).json()
    assert metadata["tls_client_certificate_bound_access_tokens"] is True
    assert {"spiffe_x509", "tls_client_auth"} <= set(metadata["token_endpoint_auth_methods_supported"])
    assert "mtls_endpoint_aliases" not in metadata


async def test_a_broker_that_takes_no_certificates_says_nothing_of_them(tmp_path: Path) -> None:
    async with world_of(tmp_path) as plain:
        metadata = (await Front(plain).get("/.well-known/oauth-authorization-server", None)).json()
    assert not [name for name in metadata if "tls" in name]
    assert "tls_client_auth" not in metadata["token_endpoint_auth_methods_supported"]
