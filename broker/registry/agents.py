"""The agents of a registry, and which of them a workload is."""

from collections.abc import Iterable
from typing import NamedTuple

from broker.registry.records import AgentRecord, WorkloadSelector
from broker.workload import PRIVATE_KEY, Workload, key_instance, key_workload
from scopes.keys import thumbprint

_Claim = tuple[str, str, str]


class Agent(NamedTuple):
    """A registered workload with an owner, by name."""

    name: str
    record: AgentRecord

    @property
    def workloads(self) -> tuple[str, ...]:
        """What it is known by, for people: its selectors, and each of its keys as the instance that it is."""
        keys = (key_instance(self.name, thumbprint(jwk)) for jwk in self.record.keys)
        return (*(selector.text for selector in self.record.workloads), *keys)

    def binding(self, workload: Workload) -> str:
        """Return which of these the workload is the agent's by; empty where it is not."""
        if workload.source == PRIVATE_KEY:
            return workload.instance or ""
        return next((selector.text for selector in self.record.workloads if selector.matches(workload)), "")


class AgentIndex:
    """Finds the one agent that a workload is; that there is at most one, the checks of the registry see to."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._exact: dict[str, Agent] = {}
        self._prefixes: list[tuple[WorkloadSelector, Agent]] = []
        self._claims: dict[_Claim, list[tuple[WorkloadSelector, Agent]]] = {}
        for agent in agents:
            if agent.record.keys:
                self._exact[key_workload(agent.name)] = agent
            for selector in agent.record.workloads:
                self._add(selector, agent)

    def find(self, workload: Workload) -> Agent | None:
        """Return the agent whose workload this is, if there is one."""
        exact = self._exact.get(workload.id) if workload.source != "oidc" else None
        return exact or next((agent for selector, agent in self._candidates(workload) if selector.matches(workload)), None)

    def _candidates(self, workload: Workload) -> Iterable[tuple[WorkloadSelector, Agent]]:
        if workload.source != "oidc":
            return self._prefixes
        held = ((workload.trust, path, value) for path, value in workload.claims.items())
        return (found for claim in held for found in self._claims.get(claim, ()))

    def _add(self, selector: WorkloadSelector, agent: Agent) -> None:
        if selector.oidc is not None:
            # By the longest value that it demands: an id or a subject, which few others demand as well.
            path, value = max(selector.claims.items(), key=lambda claim: (len(claim[1]), claim))
            self._claims.setdefault((selector.oidc, path, value), []).append((selector, agent))
        elif selector.spiffe is not None and selector.spiffe.endswith("/*"):
            self._prefixes.append((selector, agent))
        elif selector.spiffe is not None:
            self._exact[selector.spiffe] = agent
