"""The use case the broker is for: a workload identity and a task in, a token of one scope out."""

from typing import NamedTuple

import msgspec

from broker import metrics
from broker.audit import Audit, Record
from broker.errors import (
    AccessDenied,
    BrokerError,
    InvalidAuthorizationDetails,
    InvalidClient,
    InvalidScope,
    InvalidTarget,
    Unavailable,
)
from broker.feed.follower import Follower
from broker.identity import JwtSvids, Workload
from broker.issuer import Issued, Issuer
from broker.policy import Permit, Policy, Question
from broker.registry import ceiling
from broker.registry.registry import Agent, Entry, Registry
from broker.spiffe_id import trust_domain
from broker.standing import Standing, check_reductions
from broker.store.watch import Watch
from broker.tasks import Declaration, Task, Tasks, is_task_id
from scopes.scope import Scope


class TokenRequest(NamedTuple):
    """What was asked for. `audience` is the `resource` parameter, `by_details` tells how the scope was spelled.

    Requests of one workload that are equal, their `idempotency_key` included, get the same task and lease.
    """

    unverified_assertion: str
    scope: Scope
    client_id: str | None = None
    task: str | None = None
    declaration: Declaration | None = None
    audience: str | None = None
    ttl: int | None = None
    by_details: bool = False
    idempotency_key: str | None = None

    def seed(self, workload: str) -> bytes | None:
        """Return what the ids of a repeatable request are made from, or `None` for one that is not."""
        if self.idempotency_key is None:
            return None
        # All but the assertion, which a workload renews, and the scope in its one spelling.
        _, scope, *rest = self
        return msgspec.json.encode([workload, str(scope), *rest])


class Exchange:
    """Exchange a workload identity and a task for a token of one scope."""

    def __init__(
        self,
        *,
        identity: JwtSvids,
        registry: Registry,
        standing: Standing,
        tasks: Tasks,
        policy: Policy,
        issuer: Issuer,
        follower: Follower,
        audit: Audit,
        watch: Watch,
        max_ttl: int,
    ) -> None:
        self._identity = identity
        self._registry = registry
        self._standing = standing
        self._tasks = tasks
        self._policy = policy
        self._issuer = issuer
        self._follower = follower
        self._audit = audit
        self._watch = watch
        self._max_ttl = max_ttl

    async def __call__(self, request: TokenRequest) -> Issued:
        """Issue a token, or raise the `BrokerError` that says which step refused; a refusal is recorded as well."""
        workload = self._identity.authenticate(request.unverified_assertion)
        try:
            issued = await self._issue(workload, request)
        except BrokerError as error:
            metrics.REFUSED.labels(error.reason).inc()
            # Where something is unavailable nothing was decided, and there may be nothing to write a record to.
            if not isinstance(error, Unavailable):
                await self._record_refusal(workload, request, error)
            raise
        metrics.ISSUED.inc()
        return issued

    async def _issue(self, workload: Workload, request: TokenRequest) -> Issued:
        standpoint = self._follower.issuing_standpoint()
        self._watch.check()
        agent = self._standing.check(self._agent_of(workload, request))
        scope, entry = self._resolve(request)
        check_reductions(standpoint.acts, agent.name, workload.id, service=entry.service_name, level=entry.action.level)
        task = await self._task(agent, workload, request)
        self._check_ceiling(scope, task, entry)
        permit = self._decide(
            Question(agent, trust_domain(workload.id) or "", task, scope, entry, self._ttl(request, entry)), workload
        )
        return await self._issuer.issue(permit, standpoint, seed=request.seed(workload.id))

    def _agent_of(self, workload: Workload, request: TokenRequest) -> Agent:
        agent = self._registry.agent_of(workload.id)
        if request.client_id not in (None, agent.name, workload.id):
            raise InvalidClient("client_id is neither the agent's name nor its SPIFFE id")
        return agent

    def _resolve(self, request: TokenRequest) -> tuple[Scope, Entry]:
        try:
            entry = self._registry.entry(request.scope)
            scope = ceiling.resolve_fields(request.scope, entry)
        except InvalidScope as error:
            if request.by_details:
                raise InvalidAuthorizationDetails(str(error)) from None
            raise
        if request.audience not in (None, entry.service.audience):
            raise InvalidTarget(f"resource has to be the audience of {entry.service_name}")
        return scope, entry

    async def _task(self, agent: Agent, workload: Workload, request: TokenRequest) -> Task:
        if request.task is not None:
            return await self._tasks.find_own(agent, request.task)
        if request.declaration is not None:
            seed = request.seed(workload.id)
            return await self._tasks.open(agent, workload.id, request.declaration, self._registry, seed=seed)
        return await self._tasks.join_default(agent, workload.id, self._registry)

    def _check_ceiling(self, scope: Scope, task: Task, entry: Entry) -> None:
        for task_type in task.types:
            ceiling.check(scope, task_type, entry, self._registry)
        if not task.allows(scope):
            raise AccessDenied(f"the task did not declare {scope.resource}", reason="outside_declaration")
        ceiling.check_enforceable(entry)

    def _decide(self, question: Question, workload: Workload) -> Permit:
        decision = self._policy.decide(question)
        if not decision.allowed:
            raise AccessDenied(f"policy refuses {question.scope}", reason=decision.reason, policies=decision.policies)
        task_type = self._registry.task_type(question.task.type)
        per_task = (task_type.limits.leases or 0) if task_type else 0
        return Permit(question, workload.id, decision, per_task)

    def _ttl(self, request: TokenRequest, entry: Entry) -> int:
        return min(request.ttl or entry.action.max_ttl, entry.action.max_ttl, self._max_ttl)

    async def _record_refusal(self, workload: Workload, request: TokenRequest, error: BrokerError) -> None:
        agent = self._registry.find_agent(workload.id)
        await self._audit.append(
            Record(
                kind="token.refused",
                agent=agent.name if agent is not None else None,
                workload=workload.id,
                task=request.task if request.task is not None and is_task_id(request.task) else None,
                scope=str(request.scope),
                reason=error.reason,
                policies=error.policies,
                policy_version=self._policy.version,
            )
        )
