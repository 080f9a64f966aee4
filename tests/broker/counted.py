"""A broker whose tokens are counted, and a service that is known to hold them to it."""

from pathlib import Path
from typing import Any

from broker.identity import Presented
from broker.issuer import Issued
from scopes import ulid
from scopes.constraints import CONSTRAINTS
from tests.broker.acknowledging import acknowledge
from tests.broker.world import CRM_WORKLOAD, KB, Backend, World
from tests.broker.world import REGISTRY as PLAIN

ONCE, THRICE, UNCOUNTED = (f"crm:ticket/4711#{action}[subject]" for action in ("read", "peek", "look"))
"""Scopes of the CRM whose tokens may be used once, three times, and as often as their holder likes."""

KB_WORKLOAD = "spiffe://development.test/service/kb"

_ACTIONS = """\
read  = { level = "read", max_ttl = 300, single_use = true }
peek  = { level = "read", max_ttl = 300, max_uses = 3 }
look  = { level = "read", max_ttl = 300 }
"""
REGISTRY = (
    PLAIN.replace('read  = { level = "read",    max_ttl = 300 }\n', _ACTIONS)
    .replace('"crm:ticket/*#read[subject,description]"', '"crm:ticket/*#read[subject]", "crm:ticket/*#look[subject]"')
    .replace('"crm:ticket/*#draft[subject]"', '"crm:ticket/*#peek[subject]"')
    .replace(f'audience    = "{KB}"\n', f'audience    = "{KB}"\nworkloads   = [{{ spiffe = "{KB_WORKLOAD}" }}]\n')
)


async def counted_world(folder: Path, backend: Backend, **options: Any) -> World:
    """Return a broker that knows one verifier process of the CRM, which enforces everything."""
    world = World(folder, backend, registry=REGISTRY, **options)
    world.follow()
    await acknowledge(world, enforces=CONSTRAINTS)
    return world


def new_use() -> str:
    """Choose an id for a use, as a service does."""
    return ulid.new(0)


async def consume(world: World, issued: Issued | str, use: str, *, workload: str = CRM_WORKLOAD) -> str:
    """Have a use counted as the service does; the worker has not heard of anything since it last followed."""
    token = issued if isinstance(issued, str) else issued.access_token
    caller = await world.broker.callers.workload(Presented(world.svid(workload)))
    return await world.broker.consumption(caller, token, use)
