"""A token and a proof are stolen from an agent; the broker, the service and all that is sent are real."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
import pytest_asyncio

from broker.client import Agent, Token
from broker.client.agent import identity_file
from scopes import proof as proofs
from scopes.clock import SystemClock
from scopes.keys import SigningKey
from tests.broker.cli.served import Served
from tests.flows.protected import Protected

AUDIENCE = "https://crm.example.com"
SCOPE = "crm:ticket/4711#read[subject]"
TICKET = {"subject": "Cannot sign in", "email": "customer@example.com"}


class Theft(NamedTuple):
    """What a thief has: a token, a proof that was used with it, and a key of their own."""

    url: str
    token: Token
    proof: str
    key: SigningKey

    def by_own_key(self) -> str:
        now = SystemClock().now().wall
        return proofs.make(self.key, method="GET", url=self.url, now=now, token=self.token.text)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    try:
        yield made.started()
    finally:
        made.end()


@pytest.fixture
def service(served: Served) -> Iterator[Protected]:
    made = Protected("crm", served.url, AUDIENCE, {"crm:ticket/4711": TICKET})
    yield made
    made.close()


class Overheard(httpx2.AsyncHTTPTransport):
    """The way to the broker, on which somebody listens."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return await super().handle_async_request(request)


@pytest.fixture
def overheard() -> Overheard:
    return Overheard()


@pytest_asyncio.fixture
async def agent(served: Served, overheard: Overheard) -> AsyncIterator[Agent]:
    services = httpx2.AsyncClient(trust_env=False)
    agent = Agent(served.url, identity_file(served.identity), transport=overheard, services=services)
    async with services, agent:
        yield agent


def used_as(theft: Theft, method: str, url: str, **fields: str) -> tuple[int, str]:
    """Use what was stolen; return status and code, or no code where it worked."""
    response = httpx2.request(method, url, headers=fields, trust_env=False)
    assert response.is_success or "DPoP error=" in response.headers["www-authenticate"]
    return response.status_code, response.json().get("error", "")


async def test_a_stolen_token_is_refused_each_time_with_the_right_code(agent: Agent, service: Protected) -> None:
    """From another key, with another method, at another URL, with another token, replayed, and as a bearer token."""
    async with agent.task("summarise-ticket") as task:
        url, another = service.url_of(SCOPE), service.url_of("crm:ticket/12#read")
        shown = await task.request("GET", url, scope=SCOPE)
        assert (shown.status_code, shown.json()) == (200, {"subject": "Cannot sign in"})
        token, other = await task.token(SCOPE), await task.token("crm:ticket/12#read[subject]")
        theft = Theft(url, token, shown.request.headers["dpop"], SigningKey.generate())
        dpop, wrong = f"DPoP {token.text}", (401, "invalid_dpop_proof")
        assert used_as(theft, "GET", url, Authorization=f"Bearer {token.text}") == (401, "proof_required")
        assert used_as(theft, "GET", url, Authorization=f"Bearer {token.text}", DPoP=theft.proof) == (401, "proof_required")
        assert used_as(theft, "GET", url, Authorization=dpop) == wrong
        assert used_as(theft, "GET", url, Authorization=dpop, DPoP=theft.by_own_key()) == wrong
        assert used_as(theft, "DELETE", url, Authorization=dpop, DPoP=fresh(agent, theft)) == wrong
        assert used_as(theft, "GET", another, Authorization=dpop, DPoP=fresh(agent, theft)) == wrong
        assert used_as(theft, "GET", url, Authorization=f"DPoP {other.text}", DPoP=fresh(agent, theft)) == wrong
        assert used_as(theft, "GET", url, Authorization=dpop, DPoP=theft.proof) == wrong
        assert used_as(theft, "GET", url, Authorization=dpop, DPoP=fresh(agent, theft)) == (200, "")
        assert (await task.request("GET", url, scope=SCOPE)).status_code == 200


async def test_a_proof_that_was_seen_at_the_broker_gets_nobody_a_token(agent: Agent, overheard: Overheard) -> None:
    """The thief has the assertion too, and sends the whole request once more."""
    await agent.token(SCOPE)
    seen = overheard.requests[-1]
    again = httpx2.post(seen.url, content=seen.content, headers=seen.headers, trust_env=False)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_dpop_proof")
    assert again.headers["dpop-nonce"]


def fresh(agent: Agent, theft: Theft) -> str:
    """Have the agent itself make a proof for the stolen token at its own URL: what a thief could overhear at best."""
    assert agent._holder is not None
    return agent._holder.prove("GET", theft.url, token=theft.token.text)
