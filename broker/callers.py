"""Who calls a REST endpoint, and may they: authenticate, then ask policy."""

from typing import Any, NamedTuple

from broker.active import Active
from broker.errors import AccessDenied, UnauthorizedClient
from broker.feed.follower import Follower
from broker.identity import Identities, Presented, unverified_names
from broker.operators import Operators
from broker.registry.registry import Agent
from broker.standing import Standing
from broker.tasks import Task
from broker.workload import Workload

FLEET = ("Fleet", "fleet")


class Caller(NamedTuple):
    """Whoever proved to be an agent, a service or an operator: `kind` and `name` are a Cedar entity."""

    kind: str
    name: str
    workload: str | None = None


class Callers:
    """Tells callers of the REST endpoints apart, and asks Cedar what they may do."""

    def __init__(
        self, *, identities: Identities, operators: Operators, active: Active, standing: Standing, follower: Follower
    ) -> None:
        self._identities = identities
        self._operators = operators
        self._active = active
        self._standing = standing
        self._follower = follower

    async def operator(self, presented: Presented, action: str) -> Caller:
        """Return an operator who may do `action` with the whole fleet; raise `InvalidClient` or `AccessDenied`."""
        caller = await self.identify(presented)
        self.check_operator(caller, action)
        return caller

    def check_operator(self, caller: Caller, action: str) -> None:
        """Raise `AccessDenied` unless the caller is an operator who may do `action` with the whole fleet."""
        if caller.kind != "Operator":
            raise AccessDenied("this is for operators", reason="not_an_operator")
        self._active.rules.policy.check_operation((caller.kind, caller.name), action, FLEET, {})

    async def agent(self, presented: Presented) -> tuple[Agent, Workload]:
        """Return an active agent and its workload; raise `InvalidClient`, `UnauthorizedClient` or `Unavailable`."""
        workload = await self._authenticated(presented)
        agent = self._active.rules.registry.agent_of(workload)
        return self._standing.check(agent, workload, self._follower.standpoint().acts), workload

    async def identify(self, presented: Presented) -> Caller:
        """Return whoever calls, whatever they may do; raise `InvalidClient`, or `AccessDenied` for nobody registered."""
        operator = await self._operator(presented)
        if operator is not None:
            return operator
        workload = await self._authenticated(presented)
        try:
            return Caller("Agent", self._active.rules.registry.agent_of(workload).name, workload.id)
        except UnauthorizedClient as error:
            raise AccessDenied(str(error), reason="not_registered") from None

    def check_task(self, caller: Caller, action: str, task: Task) -> None:
        """Raise `AccessDenied` unless the caller may do `action` with the task."""
        attributes = {"agent": _reference("Agent", task.agent)}
        self._active.rules.policy.check_operation((caller.kind, caller.name), action, ("Task", task.id), attributes)

    async def follower_of(self, presented: Presented, audience: str) -> None:
        """Raise `InvalidClient` or `AccessDenied` unless the caller may follow the feed of this audience."""
        operator = await self._operator(presented)
        if operator is None:
            self.check_verifier(await self._authenticated(presented), audience)
        else:
            self._check_follows(operator, self.service_of(audience))

    def audiences(self, workload: Workload, action: str) -> frozenset[str]:
        """Return the audiences with whose tokens the workload may do `action`; raise `AccessDenied` for none."""
        registry, policy = self._active.rules.registry, self._active.rules.policy
        names = [name for name in registry.content.services if registry.is_of_service(workload, name)]
        if not names:
            raise AccessDenied("this workload is no service's", reason="not_its_workload")
        for name in names:
            attributes = {"service": _reference("Service", name)}
            policy.check_operation(("Service", name), action, ("Tokens", name), attributes)
        return frozenset(registry.content.services[name].audience for name in names)

    async def workload(self, presented: Presented) -> Workload:
        """Return the workload that calls, whatever it may do; raise `InvalidClient`, or `AccessDenied` for an operator."""
        if await self._operator(presented) is not None:
            raise AccessDenied("this is for workloads of services", reason="not_its_workload")
        return await self._authenticated(presented)

    def check_verifier(self, workload: Workload, audience: str) -> None:
        """Raise `AccessDenied` unless the workload is one of the service of this audience, and may follow its feed.

        Who may follow for the service may also say how far it has come.
        """
        name = self.service_of(audience)
        if not self._active.rules.registry.is_of_service(workload, name):
            raise AccessDenied(f"this workload is not one of {name}'s", reason="not_its_workload")
        self._check_follows(Caller("Service", name, workload.id), name)

    def service_of(self, audience: str) -> str:
        """Return the name of the service of this audience; raise `AccessDenied` where there is none."""
        name = self._active.rules.registry.service_name(audience)
        if name is None:
            raise AccessDenied("no service has this audience", reason="unknown_audience")
        return name

    async def _operator(self, presented: Presented) -> Caller | None:
        """Return the operator who calls, or `None` where nobody claims to be one."""
        unverified_assertion = presented.unverified_assertion
        if unverified_assertion is None:
            return None
        # Names of operators are no others' (the registry sees to it), and no issuer's: a URL is not a name.
        claimed = unverified_names(unverified_assertion)
        if claimed.sub != claimed.iss or self._active.rules.registry.operator(claimed.sub) is None:
            return None
        rules = self._active.rules
        caller = Caller("Operator", await self._operators.authenticate(unverified_assertion))
        self._active.check_same(rules)
        return caller

    async def _authenticated(self, presented: Presented) -> Workload:
        rules = self._active.rules
        workload = await self._identities.authenticate(presented)
        self._active.check_same(rules)
        return workload

    def _check_follows(self, caller: Caller, name: str) -> None:
        attributes = {"service": _reference("Service", name)}
        self._active.rules.policy.check_operation((caller.kind, caller.name), "feed:follow", ("Feed", name), attributes)


def _reference(kind: str, name: str) -> dict[str, Any]:
    return {"__entity": {"type": kind, "id": name}}
