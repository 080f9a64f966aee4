"""What tests of deciding again begin with: changed files, a worker that decides by them, and what has ended by it."""

from typing import Any

import msgspec

from broker.leases import NewLease
from broker.policy import Facts
from tests.broker.ended import told
from tests.broker.leases.written import decision_class, written
from tests.broker.recorded import recorded
from tests.broker.world import CRM, KB, World

TICKET = "crm:ticket/4711#read[subject]"
ARTICLE = "kb:article/1#read"
DRAFT = "crm:ticket/4711#draft[subject]"
PERMIT_DRAFTS = '@id("drafts") permit (principal is Agent, action in [Action::"draft"], resource is Record);'
FORBID_TICKETS = '@id("no-tickets") forbid (principal is Agent, action == Action::"crm:ticket#read", resource is Record);'


def rewrite(world: World, *changes: tuple[str, str]) -> None:
    """Change the registry's file."""
    path = world.folder / "registry" / "all.toml"
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


def add_policy(world: World, text: str, name: str = "more") -> None:
    (world.folder / "policies" / f"{name}.cedar").write_text(text)


async def decided_again(world: World) -> None:
    """Put the files into force and decide by them what is live."""
    await world.look()
    await world.broker.redecision.decide_again()
    world.follow()


def class_events(world: World) -> list[str]:
    """Return the classes that events have ended, of all services."""
    return [event.value for audience in (CRM, KB) for event in told(world, audience) if event.kind == "class"]


async def records(world: World) -> list[tuple[str | None, str | None, tuple[str, ...]]]:
    """Return the records of classes that ended, by what, why, and by which policies."""
    found = [entry.record for entry in await recorded(world) if entry.record.kind == "class.ended"]
    return [(record.scope, record.reason, record.policies) for record in found]


async def held(world: World, **facts: Any) -> NewLease:
    """Write a lease that was decided on facts of the test's own, as the ceiling allows it now."""
    task = await world.declare()
    known = {"agent": "support-bot", "trust_domain": "development.test", "identity_source": "jwt-svid", "ttl": 300}
    known |= {"task_type": "summarise-ticket", "action": "crm:ticket#read", "record": "crm:ticket", "fields": ("subject",)}
    text = msgspec.json.encode(Facts(**(known | facts)))
    patterns = (("crm:ticket/*#read[description,subject]", "crm:ticket/*#draft[subject]"),)
    level = str((known | facts)["action"]).partition("#")[2]
    decided = decision_class(world, facts=msgspec.Raw(text), patterns=patterns, level=level, max_staleness=10)
    return await written(world, task, decided=decided)
