"""Who calls a REST endpoint, and may they: authenticate, then ask policy."""

from typing import Any, NamedTuple

import msgspec

from broker.errors import AccessDenied, InvalidClient, UnauthorizedClient
from broker.identity import JwtSvids
from broker.operators import Operators
from broker.policy import Policy
from broker.registry.registry import Agent, Registry
from broker.standing import Standing
from broker.tasks import Task
from scopes import jose, strict_json
from scopes.errors import InvalidDocument

FLEET = ("Fleet", "fleet")
_BEARER = "bearer "


class Caller(NamedTuple):
    """Whoever proved to be an agent, a service or an operator: `kind` and `name` are a Cedar entity."""

    kind: str
    name: str
    workload: str | None = None


class _UnverifiedSubject(msgspec.Struct, frozen=True, omit_defaults=True):
    sub: str


class Callers:
    """Tells callers of the REST endpoints apart, and asks Cedar what they may do."""

    def __init__(
        self, *, identity: JwtSvids, operators: Operators, registry: Registry, standing: Standing, policy: Policy
    ) -> None:
        self._identity = identity
        self._operators = operators
        self._registry = registry
        self._standing = standing
        self._policy = policy

    async def operator(self, unverified_authorization: str | None, action: str) -> Caller:
        """Return an operator who may do `action` with the whole fleet; raise `InvalidClient` or `AccessDenied`."""
        caller = await self.identify(unverified_authorization)
        self.check_operator(caller, action)
        return caller

    def check_operator(self, caller: Caller, action: str) -> None:
        """Raise `AccessDenied` unless the caller is an operator who may do `action` with the whole fleet."""
        if caller.kind != "Operator":
            raise AccessDenied("this is for operators", reason="not_an_operator")
        self._policy.check_operation((caller.kind, caller.name), action, FLEET, {})

    def agent(self, unverified_authorization: str | None) -> tuple[Agent, str]:
        """Return an active agent and its workload; raise `InvalidClient` or `UnauthorizedClient`."""
        workload = self._identity.authenticate(_assertion(unverified_authorization))
        return self._standing.check(self._registry.agent_of(workload.id)), workload.id

    async def identify(self, unverified_authorization: str | None) -> Caller:
        """Return whoever calls, whatever they may do; raise `InvalidClient`, or `AccessDenied` for nobody registered."""
        unverified_assertion = _assertion(unverified_authorization)
        if not _is_workload(unverified_assertion):
            return Caller("Operator", await self._operators.authenticate(unverified_assertion))
        workload = self._identity.authenticate(unverified_assertion)
        try:
            return Caller("Agent", self._registry.agent_of(workload.id).name, workload.id)
        except UnauthorizedClient as error:
            raise AccessDenied(str(error), reason="not_registered") from None

    def check_task(self, caller: Caller, action: str, task: Task) -> None:
        """Raise `AccessDenied` unless the caller may do `action` with the task."""
        attributes = {"agent": _reference("Agent", task.agent)}
        self._policy.check_operation((caller.kind, caller.name), action, ("Task", task.id), attributes)

    async def follower_of(self, unverified_authorization: str | None, audience: str) -> None:
        """Raise `InvalidClient` or `AccessDenied` unless the caller may follow the feed of this audience."""
        assertion = _assertion(unverified_authorization)
        if _is_workload(assertion):
            self.check_verifier(self._identity.authenticate(assertion).id, audience)
        else:
            name = self.service_of(audience)
            self._check_follows(Caller("Operator", await self._operators.authenticate(assertion)), name)

    def workload(self, unverified_authorization: str | None) -> str:
        """Return the workload that calls, whatever it may do; raise `InvalidClient`, or `AccessDenied` for an operator."""
        assertion = _assertion(unverified_authorization)
        if not _is_workload(assertion):
            raise AccessDenied("this is for workloads of services", reason="not_its_workload")
        return self._identity.authenticate(assertion).id

    def check_verifier(self, workload: str, audience: str) -> None:
        """Raise `AccessDenied` unless the workload is one of the service of this audience, and may follow its feed.

        Who may follow for the service may also say how far it has come.
        """
        name = self.service_of(audience)
        service = self._registry.content.services[name]
        if not any(selector.matches(workload) for selector in service.workloads):
            raise AccessDenied(f"this workload is not one of {name}'s", reason="not_its_workload")
        self._check_follows(Caller("Service", name, workload), name)

    def service_of(self, audience: str) -> str:
        """Return the name of the service of this audience; raise `AccessDenied` where there is none."""
        name = self._registry.service_name(audience)
        if name is None:
            raise AccessDenied("no service has this audience", reason="unknown_audience")
        return name

    def _check_follows(self, caller: Caller, name: str) -> None:
        attributes = {"service": _reference("Service", name)}
        self._policy.check_operation((caller.kind, caller.name), "feed:follow", ("Feed", name), attributes)


def _assertion(unverified_authorization: str | None) -> str:
    if unverified_authorization is None or not unverified_authorization.lower().startswith(_BEARER):
        raise InvalidClient("send your assertion as Authorization: Bearer …")
    return unverified_authorization[len(_BEARER) :].strip()


def _is_workload(unverified_assertion: str) -> bool:
    """Tell which kind of caller this claims to be; the kind then has to be proven."""
    try:
        payload = jose.read(unverified_assertion, types=frozenset({"jwt", "jose", "client-authentication+jwt", None}))
        subject = strict_json.decode(payload.unverified_payload, type=_UnverifiedSubject, max_bytes=jose.MAX_TOKEN_BYTES)
    except InvalidDocument as error:
        raise InvalidClient(f"the assertion is not accepted: {error}") from None
    return subject.sub.startswith("spiffe://")


def _reference(kind: str, name: str) -> dict[str, Any]:
    return {"__entity": {"type": kind, "id": name}}
