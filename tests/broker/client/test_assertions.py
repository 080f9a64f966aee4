"""What proves who asks: signed here for each request, or made by somebody else and named for what it is."""

import json
from pathlib import Path

import httpx2
import pytest

from broker.client import Agent, Misconfigured
from broker.client.agent import signing_identity
from broker.client.assertions import JWT_BEARER, JWT_SPIFFE, private_key, type_of
from broker.errors import InvalidClient
from broker.identity import Presented
from tests.broker.application import application_of
from tests.broker.identity.platform_world import platform_world, token
from tests.broker.signing import LAPTOP, signing_world
from tests.broker.world import ISSUER, World, fake_backend
from tests.scopes.tokens import private_jwk

SCOPE = "crm:ticket/4711#read[subject]"


def asking(world: World, identity: object) -> Agent:
    transport = httpx2.ASGITransport(app=application_of(world.broker))
    return Agent(ISSUER, identity, transport=transport)  # type: ignore[arg-type]


async def test_an_agent_that_signs_gets_tokens_and_uses_the_rest(tmp_path: Path) -> None:
    """Each request has an assertion of its own, for each is accepted once."""
    backend = fake_backend()
    world = signing_world(tmp_path, backend)
    async with asking(world, signing_identity("laptop", LAPTOP, issuer=f"{ISSUER}/", clock=world.clock)) as agent:
        async with agent.task("summarise-ticket") as task:
            world.follow()
            first, second = await task.token(SCOPE), await task.token(SCOPE, ttl=30)
        assert first.text != second.text
    await backend.close()


async def test_a_platforms_token_is_sent_as_what_it_is(tmp_path: Path) -> None:
    backend = fake_backend()
    world = platform_world(tmp_path, backend)
    async with asking(world, lambda: token(world, "github")) as agent:
        assert (await agent.token(SCOPE)).text
    await backend.close()


async def test_an_assertion_that_is_signed_here_is_what_the_broker_wants(tmp_path: Path) -> None:
    backend = fake_backend()
    world = signing_world(tmp_path, backend)
    assertion = signing_identity("laptop", LAPTOP, issuer=ISSUER, clock=world.clock)()
    assert type_of(assertion) == JWT_BEARER
    workload = await world.broker.identities.authenticate(Presented(assertion, "jwt-bearer"))
    assert workload.id == "private-key:laptop"
    with pytest.raises(InvalidClient):
        await world.broker.identities.authenticate(Presented(assertion, "jwt-bearer"))
    assert type_of(world.svid()) == JWT_SPIFFE
    assert type_of("nonsense") == JWT_SPIFFE
    await backend.close()


def key_file(folder: Path, *, mode: int = 0o600) -> Path:
    path = folder / "agent.jwk"
    path.write_text(json.dumps(private_jwk("ES256")))
    path.chmod(mode)
    return path


def test_a_private_key_is_for_its_owner_only(tmp_path: Path) -> None:
    assert private_key(key_file(tmp_path)).alg == "ES256"
    with pytest.raises(Misconfigured, match="chmod 600"):
        private_key(key_file(tmp_path, mode=0o644))


@pytest.mark.parametrize("content", [None, "", "{}", '{"kty":"oct","k":"c2VjcmV0"}'])
def test_what_is_no_private_key_is_said_to_be_none(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "agent.jwk"
    if content is not None:
        path.write_text(content)
        path.chmod(0o600)
    with pytest.raises(Misconfigured, match="broker agent key"):
        private_key(path)


async def test_the_environment_names_key_and_agent(tmp_path: Path) -> None:
    good = {"BROKER_URL": ISSUER, "BROKER_AGENT": "laptop", "BROKER_PRIVATE_KEY_FILE": str(key_file(tmp_path))}
    await Agent.from_environment(good).close()
    for name in ("BROKER_URL", "BROKER_AGENT"):
        with pytest.raises(Misconfigured, match=name):
            Agent.from_environment({**good, name: ""})
    with pytest.raises(Misconfigured, match="two identities"):
        Agent.from_environment({**good, "BROKER_IDENTITY_FILE": "svid"})
