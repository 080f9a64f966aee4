"""Writes a question as Cedar takes it: principal, action, resource, the entities they are, and the context."""

from collections.abc import Set
from typing import Any, NamedTuple

from broker.policy.facts import UNNAMED, Facts, Moment, sensitive
from broker.registry.records import AgentRecord
from broker.registry.registry import Entry, Registry
from broker.workload import PRIVATE_KEY
from scopes.scope import Resource, Scope

Uid = tuple[str, str]
"""A Cedar entity by type and id."""


class Asked(NamedTuple):
    """A question as Cedar takes it. `is_for_token` where nothing but a policy can name the agent that asks."""

    principal: Uid
    action: Uid
    resource: Uid
    entities: list[dict[str, Any]]
    context: dict[str, Any]
    groups: tuple[str, ...] = ()
    is_for_token: bool = False

    def unnamed(self) -> "Asked":
        """Return the question as any agent with the same attributes asks it: the same, for policies that name no agent."""
        if not self.is_for_token:
            return self
        nobody = self.principal[0], UNNAMED
        principal, *others = self.entities
        return self._replace(principal=nobody, entities=[{**principal, "uid": uid(nobody)}, *others])


def of_token(facts: Facts, moment: Moment, registry: Registry, *, reads: Set[str]) -> Asked:
    """Ask for a token, with what policies read and nothing else: so that many questions are one.

    The catalogue and the agent have to know what the facts name.
    """
    service, type, action = facts.place
    entry = registry.entry(Scope(Resource(service, type, ("-",)), action))
    agent, named, record = ("Agent", facts.agent), ("Action", facts.action), ("Record", facts.record)
    level = entry.action.level
    entities = [
        _entity(agent, _read(_agent_attributes(facts, registry), reads)),
        _entity(named, {}, parents=[("Action", level)]),
        _entity(record, _read(_record_attributes(entry, type), reads)),
    ]
    context = _read(_context(facts, moment, entry, registry), reads)
    return Asked(agent, named, record, entities, context, (level,), is_for_token=True)


def of_operation(principal: Uid, action: str, resource: Uid, *, attributes: dict[str, Any], registry: Registry) -> Asked:
    """Ask for an operation on the broker itself."""
    known = {principal, *_references(attributes)}
    entities = [_entity(uid, _attributes(uid, registry)) for uid in known] + [_entity(resource, attributes)]
    return Asked(principal, ("Action", action), resource, entities, {})


def uid(entity: Uid) -> dict[str, str]:
    """Write the name of an entity."""
    return {"type": entity[0], "id": entity[1]}


def _read(attributes: dict[str, Any], reads: Set[str]) -> dict[str, Any]:
    known = ((name, value) for name, value in attributes.items() if name in reads)
    return {name: _read(value, reads) if isinstance(value, dict) else value for name, value in known}


def _context(facts: Facts, moment: Moment, entry: Entry, registry: Registry) -> dict[str, Any]:
    classes_of_fields = entry.resource_type.fields
    classes = entry.resource_type.classes_of(facts.fields)
    user = {"user": {"id": facts.user, "groups": facts.groups}} if facts.user else {}
    return {
        "task": _task(facts, registry),
        "fields": facts.fields,
        "data_classes": sorted({data_class for field in facts.fields for data_class in classes_of_fields.get(field, ())}),
        "sensitive": any(sensitive(classes, registry)),
        "office_hours": any(known.office_hours for name, known in registry.content.data_classes.items() if name in classes),
        "level": entry.action.level,
        "reversible": entry.action.reversible,
        "external": entry.action.external,
        "ttl": facts.ttl,
        "proof": facts.proof,
        "identity_source": facts.identity_source,
        "hour": moment.hour,
        "weekday": moment.weekday,
        "reductions": facts.reductions,
        "recent_refusals": facts.recent_refusals,
        "approved": facts.approved,
        **user,
    }


def _task(facts: Facts, registry: Registry) -> dict[str, Any]:
    task_type = registry.task_type(facts.task_type)
    return {
        "type": facts.task_type,
        "purpose_class": task_type.purpose_class if task_type is not None else "",
        "depth": facts.depth,
        "age": facts.age,
        "tainted": facts.tainted,
        "labels": facts.labels,
        "read_sensitive": any(sensitive(frozenset(facts.labels), registry)),
    }


def _agent_attributes(facts: Facts, registry: Registry) -> dict[str, Any]:
    record = registry.agent(facts.agent).record
    return {"owner": record.owner, "environment": record.environment, "trust_domain": facts.trust_domain}


def _record_attributes(entry: Entry, type: str) -> dict[str, Any]:
    return {
        "service": entry.service_name,
        "type": type,
        "environment": entry.service.environment,
        "data_classes": entry.resource_type.data_classes,
        "untrusted": entry.resource_type.untrusted,
    }


def _attributes(entity: Uid, registry: Registry) -> dict[str, Any]:
    """Return what the registry says of a principal; nothing for one that it does not know, so that policies err: no."""
    kind, name = entity
    content = registry.content
    if kind == "Operator" and name in content.operators:
        return {"roles": content.operators[name].roles}
    if kind == "Service" and name in content.services:
        return {"environment": content.services[name].environment}
    if kind == "Agent" and name in content.agents:
        return _agent_record_attributes(content.agents[name])
    return {}


def _agent_record_attributes(record: AgentRecord) -> dict[str, Any]:
    # Where its workloads are of several trust domains, the record does not say which of them this is about.
    domains = {selector.trust for selector in record.workloads} | ({PRIVATE_KEY} if record.keys else set())
    known = {"trust_domain": domains.pop()} if len(domains) == 1 else {}
    return {"owner": record.owner, "environment": record.environment, **known}


def _references(attributes: dict[str, Any]) -> set[Uid]:
    """Return the entities that the attributes of a resource name."""
    named = [value["__entity"] for value in attributes.values()]
    return {(entity["type"], entity["id"]) for entity in named}


def _entity(entity: Uid, attributes: dict[str, Any], *, parents: list[Uid] | None = None) -> dict[str, Any]:
    return {"uid": uid(entity), "attrs": attributes, "parents": [uid(parent) for parent in parents or []]}
