"""The use case the broker is for: a workload identity and a task in, a token of one scope out."""

from typing import NamedTuple

import msgspec

from broker import metrics
from broker.active import Active, Rules
from broker.audit import Record
from broker.delegation import Delegations, Subject
from broker.errors import (
    BrokerError,
    InvalidAuthorizationDetails,
    InvalidClient,
    InvalidScope,
    InvalidTarget,
    Unavailable,
    UseDpopNonce,
)
from broker.feed.follower import Follower
from broker.identity import Identities, Presented
from broker.issuer import Issued, Issuer
from broker.permits import Permits
from broker.policy import PolicyRefusal, Question
from broker.possession import Possession
from broker.refusals import Refusals
from broker.registry import ceiling
from broker.registry.registry import Agent, Entry
from broker.standing import Standing, check_reductions
from broker.store.watch import Watch
from broker.tasks import Behalf, Declaration, is_task_id
from broker.workload import Workload
from scopes.claims import Confirmation
from scopes.scope import Scope


class TokenRequest(NamedTuple):
    """What was asked for. `audience` is the `resource` parameter, `by_details` tells how the scope was spelled.

    Requests of one workload that are equal, their `idempotency_key` included, get the same task and lease.
    """

    presented: Presented
    scope: Scope
    subject: Subject | None = None
    client_id: str | None = None
    task: str | None = None
    declaration: Declaration | None = None
    audience: str | None = None
    ttl: int | None = None
    by_details: bool = False
    idempotency_key: str | None = None

    def seed(self, workload: Workload, confirmation: Confirmation | None, behalf: Behalf) -> bytes | None:
        """Return what the ids of a repeatable request are made from, or `None` for one that is not."""
        if self.idempotency_key is None:
            return None
        # All but the assertion, the proof and the subject token, which are renewed, and the scope in its one spelling.
        _, scope, _, *rest = self
        return msgspec.json.encode([workload.names, confirmation, behalf.mark, behalf.groups, str(scope), *rest])


class Exchange:
    """Exchange a workload identity and a task for a token of one scope."""

    def __init__(
        self,
        *,
        identities: Identities,
        possession: Possession,
        active: Active,
        standing: Standing,
        delegations: Delegations,
        permits: Permits,
        issuer: Issuer,
        follower: Follower,
        refusals: Refusals,
        watch: Watch,
    ) -> None:
        self._identities = identities
        self._possession = possession
        self._active = active
        self._standing = standing
        self._delegations = delegations
        self._permits = permits
        self._issuer = issuer
        self._follower = follower
        self._refusals = refusals
        self._watch = watch

    async def __call__(self, request: TokenRequest) -> Issued:
        """Issue a token, or raise the `BrokerError` that says which step refused; a refusal is recorded as well."""
        # Before whoever calls is known: keys of the registry may say who that is, and others may be in force a moment later.
        rules = self._active.rules
        workload = await self._identities.authenticate(request.presented)
        try:
            issued = await self._issue(rules, workload, request)
        except UseDpopNonce:
            # No refusal: nothing was decided, and every agent's first request hears it.
            raise
        except BrokerError as error:
            metrics.REFUSED.labels(error.reason).inc()
            # Where something is unavailable nothing was decided, and there may be nothing to write a record to.
            if not isinstance(error, Unavailable):
                await self._record_refusal(rules, workload, request, error)
            raise
        metrics.ISSUED.inc()
        return issued

    async def nonce(self) -> str:
        """Return the nonce to make the next proof with (RFC 9449 §8.2); raise `Unavailable` without a store."""
        return await self._possession.nonce()

    async def _issue(self, rules: Rules, workload: Workload, request: TokenRequest) -> Issued:
        standpoint = self._follower.issuing_standpoint()
        rules.check_in_force(standpoint)
        self._watch.check()
        agent = self._standing.check(_agent_of(rules, workload, request), workload, standpoint.acts)
        confirmation = await self._confirmation(workload, request.presented)
        scope, entry = _resolve(rules, request)
        level = entry.action.level
        reductions = check_reductions(standpoint.acts, agent.name, workload, service=entry.service_name, level=level)
        registry, picture = rules.registry, standpoint.picture
        behalf = await self._delegations.behalf(agent, workload, request.subject, registry=registry, picture=picture)
        seed = request.seed(workload, confirmation, behalf)
        asked = request.task or request.declaration
        task = await self._delegations.task(agent, workload.id, asked, behalf=behalf, registry=registry, seed=seed)
        await self._delegations.check(task, scope, confirmation, registry=registry, picture=picture)
        ttl = min(request.ttl or entry.action.max_ttl, entry.action.max_ttl)
        question = Question(agent, workload, task, scope, entry, ttl, confirmation, reductions=reductions)
        permit = await self._permits.permit(rules, question, standpoint)
        return await self._issuer.issue(permit, standpoint, seed=seed)

    async def _confirmation(self, workload: Workload, presented: Presented) -> Confirmation | None:
        """Return what the token will be bound to: whoever proved to hold a key now has to prove it at the service as well.

        Where there are two keys it is the one of the proof: that one was made for this request alone.
        """
        if presented.unverified_proof is not None:
            return Confirmation(jkt=await self._possession.prove(presented.unverified_proof))
        return Confirmation(x5t_s256=workload.certificate) if workload.certificate is not None else None

    async def _record_refusal(self, rules: Rules, workload: Workload, request: TokenRequest, error: BrokerError) -> None:
        agent = rules.registry.find_agent(workload)
        record = Record(
            kind="token.refused",
            agent=agent.name if agent is not None else None,
            workload=workload.id,
            user=await self._delegations.user_of(request.subject, request.task),
            task=request.task if request.task is not None and is_task_id(request.task) else None,
            scope=str(request.scope),
            reason=error.reason,
            policies=error.policies,
            policy_version=rules.policy.version,
        )
        await self._refusals.record(error.decision.noted_in(record) if isinstance(error, PolicyRefusal) else record)


def _agent_of(rules: Rules, workload: Workload, request: TokenRequest) -> Agent:
    agent = rules.registry.agent_of(workload)
    if workload.source == "x509-svid" and request.client_id != workload.id:
        raise InvalidClient("with a certificate alone, client_id has to be its SPIFFE id (RFC 8705 §2)")
    if request.client_id not in (None, agent.name, workload.id):
        raise InvalidClient("client_id is neither the agent's name nor its workload's id")
    return agent


def _resolve(rules: Rules, request: TokenRequest) -> tuple[Scope, Entry]:
    try:
        entry = rules.registry.entry(request.scope)
        scope = ceiling.resolve_fields(request.scope, entry)
    except InvalidScope as error:
        if request.by_details:
            raise InvalidAuthorizationDetails(str(error)) from None
        raise
    if request.audience not in (None, entry.service.audience):
        raise InvalidTarget(f"resource has to be the audience of {entry.service_name}")
    return scope, entry
