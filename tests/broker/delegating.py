"""A broker whose agents act for the users of one provider, and delegate to each other."""

from pathlib import Path
from typing import Any

import pytest

from broker.delegation import Subject
from broker.errors import BrokerError
from broker.issuer import Issued
from broker.settings import SpiffeTrust, Trust
from broker.trusted_issuers import UserTrust
from scopes import claims as token_claims
from scopes import jose
from scopes.claims import TOKEN_TYPE, Claims
from tests.broker.identity import user_tokens
from tests.broker.identity.platform_tokens import jwks_file
from tests.broker.world import REGISTRY as CATALOGUE
from tests.broker.world import Backend, MovedClock, World

HELPER = "spiffe://development.test/agent/helper"
"""An agent to which the support bot delegates, in another shard."""

TWIN = "spiffe://development.test/agent/twin-21"
"""An agent to which the support bot delegates, in the same shard."""

LAST = "spiffe://development.test/agent/last"
"""An agent to which the helper delegates, and the support bot does not."""

WHOLE = "crm:ticket/4711#read[description,subject]"
PART = "crm:ticket/4711#read[subject]"

_AGENT = """
[agents.{name}]
owner        = "joe@example.com"
purpose      = "Helping"
environment  = "prod"
workloads    = [{{ spiffe = "spiffe://development.test/agent/{name}" }}]
tasks        = ["summarise-ticket", "single-ticket"]
default_task = "summarise-ticket"
ends         = 2099-06-30
{more}
"""
USERS = 'users = [{ issuer = "corp", clients = ["support-portal"] }]\n'
DELEGATES = 'delegates_to = ["helper", "twin-21"]\n'
REGISTRY = (
    CATALOGUE.replace("[agents.support-bot]\n", f"[agents.support-bot]\n{USERS}{DELEGATES}")
    + _AGENT.format(name="helper", more='delegates_to = ["last", "support-bot"]')
    + _AGENT.format(name="twin-21", more="")
    + _AGENT.format(name="last", more="")
)


def delegating_world(folder: Path, backend: Backend, *, clock: MovedClock | None = None, registry: str = REGISTRY) -> World:
    """Return a worker that has caught up; of another one's folder, store and clock, a neighbour."""
    world = World(folder, backend, registry=registry, changes=trusting(folder), clock=clock)
    world.follow()
    return world


def trusting(folder: Path) -> dict[str, Any]:
    """Return the settings that believe the provider, and write its key."""
    jwks_file(folder, "corp", user_tokens.KEY)
    corp = UserTrust(name="corp", issuer=user_tokens.IDP, audience=user_tokens.AUDIENCE, jwks="corp.json")
    return {"trust": Trust(spiffe=(SpiffeTrust("development.test", "keys/development/bundle.json"),), users=(corp,))}


def of_user(world: World, *, type: Any = "jwt", **changes: Any) -> Subject:
    """Return a good token of Jane as subject, changed."""
    return Subject(user_tokens.user_token(world.clock.now().wall // 1000, **changes), type)


def of_agent(issued: Issued, *, type: Any = "access_token") -> Subject:
    """Return a token of an agent as subject."""
    return Subject(issued.access_token, type)


async def delegated(world: World, parent: Issued, scope: str = PART, *, workload: str = HELPER, **asked: Any) -> Issued:
    """Exchange an agent's token for one of another agent."""
    return await world.issue(scope, workload=workload, subject=of_agent(parent), **asked)


def claims_of(issued: Issued) -> Claims:
    return token_claims.decode(jose.read(issued.access_token, types=frozenset({TOKEN_TYPE})).unverified_payload)[0]


async def check_refused(world: World, error: type[BrokerError], reason: str = "", **asked: Any) -> str:
    """Ask for a token that is refused with this error, for this reason where one is given, and return what is said."""
    with pytest.raises(error) as refused:
        await world.issue(**asked)
    assert refused.value.reason == reason or not reason
    return str(refused.value)
