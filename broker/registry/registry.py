"""The registry in force: immutable, with every name resolved, and a digest that decisions carry."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from broker.errors import InvalidScope, InvalidTarget, NotFound, UnauthorizedClient
from broker.registry.records import Action, AgentRecord, Content, OperatorRecord, ResourceType, Service, TaskType
from broker.workload import Workload
from scopes.keys import TOKEN_ALGORITHMS, Jwk, KeySet, VerificationKey, thumbprint
from scopes.scope import Scope, ScopePattern


class Agent(NamedTuple):
    """A registered workload with an owner, by name."""

    name: str
    record: AgentRecord


class Entry(NamedTuple):
    """What the catalogue says of one scope."""

    service_name: str
    service: Service
    resource_type: ResourceType
    action: Action


class Registry:
    """Answers by name. Unknown names are refused with an error of the contract."""

    def __init__(self, content: Content, *, canonical: bytes = b"") -> None:
        """Take the content, and the canonical form it was written in before: another version may spell it otherwise."""
        self.content = content
        self.canonical = canonical or msgspec.json.encode(content, order="sorted")
        self._patterns = {name: tuple(map(ScopePattern.parse, task.scopes)) for name, task in content.tasks.items()}
        selectors = [
            (selector, Agent(name, record)) for name, record in content.agents.items() for selector in record.workloads
        ]
        self._by_workload = {selector.spiffe: agent for selector, agent in selectors}
        self._by_prefix = [(selector, agent) for selector, agent in selectors if selector.spiffe.endswith("/*")]
        self._service_names = {service.audience: name for name, service in content.services.items()}
        self._operator_keys = {name: _key_set(operator.keys) for name, operator in content.operators.items()}

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
        exact = self._by_workload.get(workload.id)
        return exact or next((agent for selector, agent in self._by_prefix if selector.matches(workload)), None)

    def agent(self, name: str) -> Agent:
        """Return the agent; raise `NotFound`."""
        record = self.content.agents.get(name)
        if record is None:
            raise NotFound(f"there is no agent {name!a}")
        return Agent(name, record)

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


def _key_set(jwks: Iterable[Jwk]) -> KeySet:
    return KeySet(VerificationKey({**jwk, "kid": thumbprint(jwk)}, algorithms=TOKEN_ALGORITHMS) for jwk in jwks)
