"""The second lock: Cedar decides inside the ceiling, at request time, default deny, `forbid` wins (`DESIGN.md` 3.2)."""

import datetime
from typing import Any, NamedTuple

import cedarpy
import msgspec

from broker.errors import AccessDenied
from broker.policy.decision import PROOFS, Decision, Question
from broker.policy.policies import PolicyFolder
from broker.policy.schema import action_name
from broker.registry.records import AgentRecord
from broker.registry.registry import Registry
from broker.workload import PRIVATE_KEY
from scopes.clock import Clock

MAX_REMEMBERED = 10_000
"""How many answers are remembered. A policy is a function of what it sees, so the same question has the same answer."""

Uid = tuple[str, str]
"""A Cedar entity by type and id."""


class Seen(NamedTuple):
    """What decides a token's question, within one registry and one set of policies. `ttl` is seconds."""

    agent: str
    trust_domain: str
    task_type: str
    depth: int
    action: str
    record: str
    fields: tuple[str, ...]
    ttl: int
    proof: str
    identity_source: str
    hour: int
    weekday: int


class Policy:
    """Decides. An error while a policy is evaluated means no, whatever the others say."""

    def __init__(self, folder: PolicyFolder, registry: Registry, *, clock: Clock) -> None:
        self._folder = folder
        self._registry = registry
        self._clock = clock
        self._remembered: dict[Seen, Decision] = {}

    @property
    def version(self) -> str:
        """The digest of the policies and the registry in force."""
        return self._folder.version

    def decide(self, question: Question) -> Decision:
        """Decide on a token."""
        seen = self._seen(question)
        known = self._remembered.get(seen)
        if known is None:
            known = self._decided(question, seen)
            self._remember(seen, known)
        return known

    def check_operation(self, principal: Uid, action: str, resource: Uid, attributes: dict[str, Any]) -> Decision:
        """Decide on an operation on the broker itself; raise `AccessDenied` unless it is allowed."""
        known = {principal, *_references(attributes)}
        entities = [_entity(uid, self._attributes(uid)) for uid in known] + [_entity(resource, attributes)]
        decision = self._ask(principal, ("Action", action), resource, (entities, {}))
        if not decision.allowed:
            raise AccessDenied(
                f"{principal[0].lower()} {principal[1]} may not {action}", reason=decision.reason, policies=decision.policies
            )
        return decision

    def _seen(self, question: Question) -> Seen:
        """Collect what varies of all that the policies see; agents and the catalogue are as they are in one registry."""
        now = datetime.datetime.fromtimestamp(self._clock.now().wall / 1000, tz=datetime.UTC)
        resource = question.scope.resource
        return Seen(
            agent=question.agent.name,
            trust_domain=question.workload.trust,
            task_type=question.task.type,
            depth=len(question.task.path) - 1,
            action=action_name(resource.service, resource.type, question.scope.action),
            record=str(resource) if self._folder.reads_record_ids else f"{resource.service}:{resource.type}",
            fields=question.scope.fields or (),
            ttl=question.ttl,
            proof=question.proof,
            identity_source=question.workload.source,
            hour=now.hour,
            weekday=now.isoweekday(),
        )

    def _decided(self, question: Question, seen: Seen) -> Decision:
        decision = self._answer(question, seen)
        # Whoever came without a proof is told where one would help, and only there.
        if decision.reason == "forbidden" and seen.proof == "none":
            bound = (self._answer(question, seen._replace(proof=proof)) for proof in PROOFS)
            if any(other.allowed for other in bound):
                return decision._replace(reason="proof_required")
        return decision

    def _answer(self, question: Question, seen: Seen) -> Decision:
        return self._ask(("Agent", question.agent.name), *_asked(question, seen))

    def _remember(self, seen: Seen, decision: Decision) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[seen] = decision

    def _ask(self, principal: Uid, action: Uid, resource: Uid, given: tuple[list[dict[str, Any]], dict[str, Any]]) -> Decision:
        entities, context = (msgspec.json.encode(part).decode() for part in given)
        request = {"principal": _uid(principal), "action": _uid(action), "resource": _uid(resource), "context": context}
        return self._decision(cedarpy.is_authorized(request, self._folder.policies, entities))

    def _decision(self, result: cedarpy.AuthzResult) -> Decision:
        diagnostics = result.diagnostics
        named = diagnostics.id_annotations_by_reason
        policies = tuple(sorted(named[id] for id in diagnostics.reasons))
        if diagnostics.errors:
            return Decision("policy_error", policies, self.version)
        if result.allowed and policies:
            return Decision("", policies, self.version)
        return Decision("forbidden" if policies else "not_permitted", policies, self.version)

    def _attributes(self, uid: Uid) -> dict[str, Any]:
        """Return what the registry says of a principal; nothing for one that it does not know, so that policies err: no."""
        kind, name = uid
        content = self._registry.content
        if kind == "Operator" and name in content.operators:
            return {"roles": content.operators[name].roles}
        if kind == "Service" and name in content.services:
            return {"environment": content.services[name].environment}
        if kind == "Agent" and name in content.agents:
            return _agent_record_attributes(content.agents[name])
        return {}


def _asked(question: Question, seen: Seen) -> tuple[Uid, Uid, tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Write the question as Cedar takes it: action, resource, and the entities with the context."""
    action, record = ("Action", seen.action), ("Record", seen.record)
    entities = [
        _entity(("Agent", seen.agent), _agent_attributes(question)),
        _entity(action, {}, parents=[("Action", question.entry.action.level)]),
        _entity(record, _record_attributes(question)),
    ]
    return action, record, (entities, _context(question, seen))


def _context(question: Question, seen: Seen) -> dict[str, Any]:
    known = question.entry.resource_type.fields
    return {
        "task": {"type": seen.task_type, "depth": seen.depth},
        "fields": list(seen.fields),
        "data_classes": sorted({data_class for field in seen.fields for data_class in known.get(field, ())}),
        "level": question.entry.action.level,
        "reversible": question.entry.action.reversible,
        "ttl": seen.ttl,
        "proof": seen.proof,
        "identity_source": seen.identity_source,
        "hour": seen.hour,
        "weekday": seen.weekday,
    }


def _references(attributes: dict[str, Any]) -> set[Uid]:
    """Return the entities that the attributes of a resource name."""
    named = [value["__entity"] for value in attributes.values()]
    return {(entity["type"], entity["id"]) for entity in named}


def _agent_record_attributes(record: AgentRecord) -> dict[str, Any]:
    # Where its workloads are of several trust domains, the record does not say which of them this is about.
    domains = {selector.trust for selector in record.workloads} | ({PRIVATE_KEY} if record.keys else set())
    known = {"trust_domain": domains.pop()} if len(domains) == 1 else {}
    return {"owner": record.owner, "environment": record.environment, **known}


def _agent_attributes(question: Question) -> dict[str, Any]:
    record = question.agent.record
    return {"owner": record.owner, "environment": record.environment, "trust_domain": question.workload.trust}


def _record_attributes(question: Question) -> dict[str, Any]:
    entry = question.entry
    return {
        "service": entry.service_name,
        "type": question.scope.resource.type,
        "environment": entry.service.environment,
        "data_classes": list(entry.resource_type.data_classes),
        "untrusted": entry.resource_type.untrusted,
    }


def _uid(uid: Uid) -> dict[str, str]:
    return {"type": uid[0], "id": uid[1]}


def _entity(uid: Uid, attributes: dict[str, Any], *, parents: list[Uid] | None = None) -> dict[str, Any]:
    return {"uid": _uid(uid), "attrs": attributes, "parents": [_uid(parent) for parent in parents or []]}
