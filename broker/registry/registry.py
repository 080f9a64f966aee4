"""The registry in force: immutable, with every name resolved, and a digest that decisions carry."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from broker.errors import InvalidScope, InvalidTarget, NotFound, UnauthorizedClient
from broker.registry.agents import Agent, AgentIndex
from broker.registry.records import Action, AgentRecord, Content, OperatorRecord, ResourceType, Service, TaskType
from broker.workload import PRIVATE_KEY, Workload, key_workload
from scopes.keys import TOKEN_ALGORITHMS, Jwk, KeySet, VerificationKey, thumbprint
from scopes.scope import Scope, ScopePattern

__all__ = ["Agent", "Entry", "Registry"]


class Entry(NamedTuple):
    """What the catalogue says of one scope."""

    service_name: str
    service: Service
    resource_type: ResourceType
    action: Action


class Registry:
    """Answers by name. Unknown names are refused with an error of the contract.

    `data_classes` are all that the catalogue speaks of.
    """

    def __init__(self, content: Content, *, canonical: bytes = b"") -> None:
        """Take the content, and the canonical form it was written in before: another version may spell it otherwise."""
        self.content = content
        self.canonical = canonical or msgspec.json.encode(content, order="sorted")
        self._patterns = {name: tuple(map(ScopePattern.parse, task.scopes)) for name, task in content.tasks.items()}
        self.data_classes = frozenset(_data_classes(content))
        self._agents = AgentIndex(Agent(name, record) for name, record in content.agents.items())
        self._service_names = {service.audience: name for name, service in content.services.items()}
        self._operator_keys = {name: _key_set(operator.keys) for name, operator in content.operators.items()}
        signers: list[tuple[str, AgentRecord | Service]] = [*content.agents.items(), *content.services.items()]
        self._workload_keys = {name: _key_set(record.keys) for name, record in signers if record.keys}

    @property
    def digest(self) -> str:
        """The SHA-256 of the content, whatever files and order it came from."""
        return hashlib.sha256(self.canonical).hexdigest()

    def agent_of(self, workload: Workload) -> Agent:
        """Return the one agent whose workload this is; raise `UnauthorizedClient` if there is none."""
        agent = self.find_agent(workload)
        if agent is None:
            raise UnauthorizedClient("this workload is not registered as an agent")
        return agent

    def find_agent(self, workload: Workload) -> Agent | None:
        """Return the one agent whose workload this is, if there is one."""
        return self._agents.find(workload)

    def is_of_service(self, workload: Workload, name: str) -> bool:
        """Tell whether the workload is one of the service, by a selector or by a key; the service has to be there."""
        service = self.content.services[name]
        signs = bool(service.keys) and workload.source == PRIVATE_KEY and workload.id == key_workload(name)
        return signs or any(selector.matches(workload) for selector in service.workloads)

    def workload_keys(self, name: str) -> KeySet:
        """Return the keys that sign for an agent or a service; none for one that has none, or is not there."""
        return self._workload_keys.get(name, KeySet())

    def agent(self, name: str) -> Agent:
        """Return the agent; raise `NotFound`."""
        record = self.content.agents.get(name)
        if record is None:
            raise NotFound(f"there is no agent {name!a}")
        return Agent(name, record)

    def delegates_of(self, name: str) -> frozenset[str]:
        """Return the agents that can hold what this one delegated, or what those it delegates to passed on."""
        found: set[str] = set()
        rest = [name]
        while rest:
            record = self.content.agents.get(rest.pop())
            new = set(record.delegates_to if record else ()) - found
            found |= new
            rest += new
        return frozenset(found)

    def task_type(self, name: str) -> TaskType | None:
        """Return the task type, if there is one."""
        return self.content.tasks.get(name)

    def patterns(self, task_type: str) -> tuple[ScopePattern, ...]:
        """Return the ceiling of a task type; empty, so nothing, for one that is not there any more."""
        return self._patterns.get(task_type, ())

    def service_name(self, audience: str) -> str | None:
        """Return the name of the service with this audience, if there is one."""
        return self._service_names.get(audience)

    def operator(self, name: str) -> OperatorRecord | None:
        """Return the operator, if there is one."""
        return self.content.operators.get(name)

    def operator_keys(self, name: str) -> KeySet:
        """Return the keys that sign for an operator; none for one that is not there."""
        return self._operator_keys.get(name, KeySet())

    def entry(self, scope: Scope) -> Entry:
        """Return the catalogue's entry; raise `InvalidTarget` or `InvalidScope` for what it does not know."""
        service = self.content.services.get(scope.resource.service)
        resource_type = service.resources.get(scope.resource.type) if service else None
        if service is None or resource_type is None:
            raise InvalidTarget(f"the catalogue has no resource {scope.resource}")
        action = resource_type.actions.get(scope.action)
        if action is None:
            raise InvalidScope(f"{scope.resource.service}:{scope.resource.type} has no action {scope.action}")
        return Entry(scope.resource.service, service, resource_type, action)


def _data_classes(content: Content) -> Iterator[str]:
    for service in content.services.values():
        for resource in service.resources.values():
            yield from resource.data_classes
            for classes in resource.fields.values():
                yield from classes


def _key_set(jwks: Iterable[Jwk]) -> KeySet:
    return KeySet(VerificationKey({**jwk, "kid": thumbprint(jwk)}, algorithms=TOKEN_ALGORITHMS) for jwk in jwks)
