"""What has to hold across a whole registry. Each check yields its problems, so that one run names them all."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from broker.registry.overlaps import overlapping
from broker.registry.records import Action, Content, ResourceType, Service, UserBinding, WorkloadSelector
from broker.spiffe_id import is_spiffe_id
from broker.toml_file import nearest
from scopes.constraints import CONSTRAINTS
from scopes.errors import InvalidDocument, InvalidScope
from scopes.keys import TOKEN_ALGORITHMS, KeySet, thumbprint
from scopes.scope import ScopePattern, is_field, is_name, one_inside_another

MAX_TTL = 3600
"""The longest life of any token, in seconds, whatever is configured (`WIRE.md`, "The token")."""

ROLES = frozenset({"admin", "operator", "auditor"})

_NAME_RULE = "a name is a small letter and at most 62 of a-z, 0-9, _ and -"
_FIELD_RULE = f"up to four names with dots between them, each inside the one before; {_NAME_RULE}"


def problems_of(content: Content) -> Iterator[str]:
    """Yield every problem of the registry, named by its key."""
    yield from _names(content)
    yield from _data_classes(content)
    yield from _services(content)
    yield from _task_types(content)
    yield from _agents(content)
    yield from _operators(content)
    yield from _overlaps(content)
    yield from _keys(content)


def _names(content: Content) -> Iterator[str]:
    tables: dict[str, Mapping[str, Any]] = {
        "data_classes": content.data_classes,
        "services": content.services,
        "tasks": content.tasks,
        "agents": content.agents,
        "operators": content.operators,
    }
    for table, records in tables.items():
        yield from (f"{table}.{name}: {_NAME_RULE}" for name in records if not is_name(name))


def _data_classes(content: Content) -> Iterator[str]:
    """Yield classes that are used and not declared, where any is declared: a misspelled one would be another class."""
    if not content.data_classes:
        return
    for service_name, service in content.services.items():
        for type_name, resource in service.resources.items():
            used = {*resource.data_classes, *(name for classes in resource.fields.values() for name in classes)}
            for name in sorted(used - content.data_classes.keys()):
                hint = nearest(name, content.data_classes)
                yield f"services.{service_name}.resources.{type_name}: no data class {name!r}{hint}"


def _services(content: Content) -> Iterator[str]:
    audiences = Counter(service.audience for service in content.services.values())
    for name, service in content.services.items():
        where = f"services.{name}"
        if not service.audience or audiences[service.audience] > 1:
            yield f"{where}.audience: has to be the audience of this service only"
        if not service.environment or not service.owner:
            yield f"{where}: needs an environment and an owner"
        yield from _selectors(service.workloads, where)
        for constraint in service.enforces or ():
            if constraint not in CONSTRAINTS:
                yield f"{where}.enforces: no constraint {constraint!r}{nearest(constraint, CONSTRAINTS)}"
        for name_of_type, resource in service.resources.items():
            yield from _resource_type(resource, f"{where}.resources.{name_of_type}", name_of_type)


def _resource_type(resource: ResourceType, where: str, name: str) -> Iterator[str]:
    names = [name, *resource.actions]
    yield from (f"{where}: {name!r}: {_NAME_RULE}" for name in names if not is_name(name))
    yield from (f"{where}.fields: {field!r}: {_FIELD_RULE}" for field in resource.fields if not is_field(field))
    nested = one_inside_another(resource.fields)
    if nested is not None:
        yield f"{where}.fields: {nested[1]} is inside {nested[0]}; name the parts of {nested[0]}, or all of it"
    if not resource.actions:
        yield f"{where}: has no actions, so nothing could ever be granted on it"
    for action_name, action in resource.actions.items():
        yield from _action(action, resource, f"{where}.actions.{action_name}")


def _action(action: Action, resource: ResourceType, where: str) -> Iterator[str]:
    unknown = [field for field in action.default_fields or () if field not in resource.fields]
    for field in unknown:
        yield f"{where}.default_fields: no field {field!r}{nearest(field, resource.fields)}"
    if action.default_fields == ():
        yield f"{where}.default_fields: is empty; leave it out to have every request name its fields"
    if len(set(action.default_fields or ())) != len(action.default_fields or ()):
        yield f"{where}.default_fields: names a field twice"
    if action.max_ttl > MAX_TTL:
        yield f"{where}.max_ttl: is above {MAX_TTL} seconds"
    if action.single_use is not None and action.max_uses is not None:
        yield f"{where}: single_use and max_uses say the same thing twice; leave one out (single use is max_uses = 1)"


def _task_types(content: Content) -> Iterator[str]:
    for name, task in content.tasks.items():
        where = f"tasks.{name}"
        if task.purpose_class and not is_name(task.purpose_class):
            yield f"{where}.purpose_class: {_NAME_RULE}"
        if not task.scopes:
            yield f"{where}.scopes: is empty, so such a task could do nothing"
        for text in task.scopes:
            yield from _pattern(text, content.services, f"{where}.scopes")


def _pattern(text: str, services: Mapping[str, Service], where: str) -> Iterator[str]:
    try:
        pattern = ScopePattern.parse(text)
    except InvalidScope as error:
        yield f"{where}: {error}"
        return
    service = services.get(pattern.service)
    if service is None:
        yield f"{where}: {text!r}: no service {pattern.service!r}{nearest(pattern.service, services)}"
        return
    resource = service.resources.get(pattern.type)
    if resource is None:
        yield f"{where}: {text!r}: no resource type {pattern.type!r}{nearest(pattern.type, service.resources)}"
        return
    yield from _pattern_action(pattern, resource, f"{where}: {text!r}")


def _pattern_action(pattern: ScopePattern, resource: ResourceType, where: str) -> Iterator[str]:
    action = resource.actions.get(pattern.action)
    if action is None:
        yield f"{where}: no action {pattern.action!r}{nearest(pattern.action, resource.actions)}"
        return
    for field in pattern.fields or ():
        if field not in resource.fields:
            yield f"{where}: no field {field!r}{nearest(field, resource.fields)}"
    if pattern.fields is None and resource.fields and action.default_fields is None:
        yield f"{where}: has to name its fields, for the action has no default_fields"


def _agents(content: Content) -> Iterator[str]:
    for name, agent in content.agents.items():
        where = f"agents.{name}"
        yield from _selectors(agent.workloads, where)
        for task in agent.tasks:
            if task not in content.tasks:
                yield f"{where}.tasks: no task type {task!r}{nearest(task, content.tasks)}"
        if agent.default_task is not None and agent.default_task not in agent.tasks:
            yield f"{where}.default_task: {agent.default_task!r} is not one of its tasks"
        for other in agent.delegates_to:
            if other not in content.agents:
                yield f"{where}.delegates_to: no agent {other!r}{nearest(other, content.agents)}"
        yield from _users(agent.users, f"{where}.users")


def _users(bindings: tuple[UserBinding, ...], where: str) -> Iterator[str]:
    issuers = Counter(binding.issuer for binding in bindings)
    for issuer, number in issuers.items():
        if number > 1:
            yield f"{where}: names {issuer!r} twice; one entry has all its clients"
    for binding in bindings:
        if not binding.clients or "" in binding.clients:
            yield f"{where}: {binding.issuer!r} needs clients, by name: what was issued to others is none of the agent's"


def _overlaps(content: Content) -> Iterator[str]:
    """Yield workloads of an agent that are another's too, or a service's: an identity belongs to one (`TRAPS.md` 9, 25)."""
    agents = [(f"agents.{name}", selector) for name, agent in content.agents.items() for selector in agent.workloads]
    services = [(f"services.{name}", selector) for name, service in content.services.items() for selector in service.workloads]
    everybody = [*agents, *services]
    for one, other in overlapping([selector for _, selector in everybody]):
        # Two services may share a workload; in this order, the second of a pair is a service where only one is.
        if one < len(agents):
            (name, selector), (other_name, also) = everybody[one], everybody[other]
            yield f"{name}.workloads: {selector.text!r} also matches {also.text!r} of {other_name}"


def _selectors(selectors: tuple[WorkloadSelector, ...], where: str) -> Iterator[str]:
    for selector in selectors:
        if (selector.spiffe is None) == (selector.oidc is None):
            yield f"{where}.workloads: a selector is {{ spiffe = … }} or {{ oidc = …, claims = {{ … }} }}"
        elif selector.spiffe is not None:
            yield from _spiffe(selector, selector.spiffe, where)
        elif not selector.claims:
            yield f"{where}.workloads: {selector.text!r} demands no claims, so it would be everybody of that trust"
        elif any(not path or not value or "*" in value for path, value in selector.claims.items()):
            yield f"{where}.workloads: {selector.text!r}: claims are compared with whole values; none is empty or a pattern"


def _spiffe(selector: WorkloadSelector, spiffe: str, where: str) -> Iterator[str]:
    if not is_spiffe_id(spiffe.removesuffix("/*")):
        yield f"{where}.workloads: {spiffe!r} is not a SPIFFE id with a path, nor one followed by /*"
    if selector.claims or selector.names_may_be_reused:
        yield f"{where}.workloads: {spiffe!r}: claims and names_may_be_reused go with oidc"


def _operators(content: Content) -> Iterator[str]:
    for name, operator in content.operators.items():
        where = f"operators.{name}"
        if not operator.keys:
            yield f"{where}.keys: is empty, so nobody could sign in"
        if not operator.roles:
            yield f"{where}.roles: is empty"
        for role in operator.roles:
            if role not in ROLES:
                yield f"{where}.roles: no role {role!r}{nearest(role, ROLES)}"


def _keys(content: Content) -> Iterator[str]:
    """Yield keys that verify nothing, and keys or names by which one signer could be taken for another."""
    owners: dict[str, str] = {}
    tables: dict[str, str] = {}
    for table, name, keys in _signers(content):
        where = f"{table}.{name}"
        if tables.setdefault(name, table) != table:
            yield f"{where}: signs with keys under a name that {tables[name]}.{name} has; give one of them another name"
        for jwk in keys:
            problems = list(_key(jwk, where))
            yield from problems
            if not problems and owners.setdefault(thumbprint(jwk), where) != where:
                yield f"{where}.keys: holds a key of {owners[thumbprint(jwk)]}; a key belongs to one name"


def _signers(content: Content) -> Iterator[tuple[str, str, tuple[dict[str, Any], ...]]]:
    # Names of agents and operators are told apart even without keys, for people read both in one audit.
    yield from (("agents", name, agent.keys) for name, agent in content.agents.items())
    yield from (("operators", name, operator.keys) for name, operator in content.operators.items())
    yield from (("services", name, service.keys) for name, service in content.services.items() if service.keys)


def _key(jwk: dict[str, Any], where: str) -> Iterator[str]:
    try:
        document = msgspec.json.encode({"keys": [{**jwk, "kid": thumbprint(jwk)}]})
        if not len(KeySet.parse(document, algorithms=TOKEN_ALGORITHMS)):
            yield f"{where}.keys: not a key for signatures under one of {', '.join(sorted(TOKEN_ALGORITHMS))}"
    except InvalidDocument as error:
        yield f"{where}.keys: {error}"
