"""From a permit to a token, all or nothing: lease, counters and audit record in one step, the signature after it."""

import logging
from typing import NamedTuple

import msgspec

from broker.audit import Audit, Record
from broker.errors import BrokerError, InvalidGrant, InvalidRequest, LimitReached, UnauthorizedClient, Unavailable
from broker.feed.follower import Follower, Standpoint
from broker.identity.users import trust_of
from broker.keys.keys import Keys
from broker.leases import AgentEnded, DecisionClass, LeaseEnded, LeaseRecord, Leases, NewLease, TaskClosed, Written
from broker.policy import Permit
from broker.standing import end_of_last_day
from broker.store import Store
from broker.stuck_work import StuckWork
from broker.tasks import Task
from broker.workload import Workload
from scopes import claims as token_claims
from scopes import jose
from scopes.claims import TOKEN_TYPE, Actor, Claims, Confirmation, Detail, LeaseClaims, detail_of
from scopes.clock import Clock
from scopes.errors import InvalidDocument
from scopes.keys import Signer
from scopes.revocations import revocable
from scopes.scope import Scope

_LOG = logging.getLogger(__name__)


class Issued(NamedTuple):
    """A token that may be handed out. `expires_in` is seconds from its issue, `confirmation` is what it is bound to."""

    access_token: str
    expires_in: int
    scope: str
    detail: Detail
    lease_id: str
    task_id: str
    confirmation: Confirmation | None = None


class Issuer:
    """Issues tokens. Whatever goes wrong after the lease was written, no token leaves and the lease is undone."""

    def __init__(
        self,
        *,
        issuer: str,
        keys: Keys,
        leases: Leases,
        audit: Audit,
        follower: Follower,
        store: Store,
        clock: Clock,
        stuck: StuckWork,
    ) -> None:
        self._issuer = issuer
        self._keys = keys
        self._leases = leases
        self._audit = audit
        self._follower = follower
        self._store = store
        self._clock = clock
        self._stuck = stuck
        self._to_undo: set[str] = set()

    async def issue(self, permit: Permit, standpoint: Standpoint, *, seed: bytes | None = None) -> Issued:
        """Issue what the permit says, decided at the standpoint; with a seed, the lease that was issued for it before.

        Raises `LimitReached`, `InvalidGrant` for a task that closed meanwhile, `UnauthorizedClient` for an agent whose last day
        is over meanwhile, `InvalidRequest` for a seed whose lease has ended, and `Unavailable` where something is not certain
        or was overtaken by a revocation.
        """
        key = self._usable_key(standpoint)
        lease = self._new_lease(permit, standpoint, seed)
        try:
            written = await self._leases.issue(lease)
            claims = self._claims(permit, lease.id, written)
            self._check_still_true(claims, permit, standpoint, key)
            return self._signed(claims, permit, key)
        except TaskClosed:
            raise InvalidGrant("the task has ended; declare another") from None
        except AgentEnded:
            raise UnauthorizedClient(f"{permit.question.agent.name} is past its end date", reason="agent_ended") from None
        except LeaseEnded:
            raise InvalidRequest("the lease of this Idempotency-Key has ended; ask with another key") from None
        except LimitReached:
            raise
        except BaseException:  # whatever it was, and be it that the caller hung up: a lease without a token is undone
            # A repeatable one stays: its token may be out already, and whoever asks again gets it.
            if seed is None:
                await self._undo(lease.id)
            raise

    async def finish_undoing(self) -> None:
        """Undo leases without a token that could not be undone when it was wanted."""
        if self._to_undo:
            ids = frozenset(self._to_undo)
            try:
                await self._leases.end(ids, "undone")
            except Exception as error:  # whatever it was: it is listed as stuck, and raised
                self._stuck.failed("undoing", "the end of leases without a token", error)
                raise
            self._to_undo -= ids
            self._stuck.done("undoing")

    def _new_lease(self, permit: Permit, standpoint: Standpoint, seed: bytes | None) -> NewLease:
        question, picture = permit.question, standpoint.picture
        agent, task = question.agent, question.task
        # A lease of an earlier epoch is void, and one of another task another lease, so both are part of what repeats.
        own_seed = b" ".join((seed, picture.epoch.encode(), task.id.encode())) if seed is not None else None
        id = self._leases.new_id(agent.name, now=self._clock.now().wall, seed=own_seed)
        decided = _decision_class(permit, picture.epoch)
        record = LeaseRecord(
            task=task.id,
            decision_class=decided.id,
            position=picture.seq,
            scope=str(question.scope),
            workload=question.workload.id if question.workload.id != task.workload else None,
            instance=question.workload.instance,
        )
        audit = Record(
            kind="token.issued",
            agent=agent.name,
            workload=question.workload.id,
            instance=question.workload.instance,
            user=task.user or None,
            task=task.id,
            lease=id,
            scope=record.scope,
            epoch=picture.epoch,
            position=picture.seq,
        )
        encoded = self._audit.encode(permit.decision.noted_in(audit))
        return NewLease(id, agent.name, record, decided, question.ttl * 1000, permit.quotas, encoded, end_of_last_day(agent))

    def _claims(self, permit: Permit, id: str, written: Written) -> Claims:
        question = permit.question
        task, record, decided = question.task, written.record, written.decision_class
        audience, workload = decided.audience, question.workload
        return Claims(
            iss=self._issuer,
            sub=task.subject,
            client_id=question.agent.name,
            aud=audience,
            iat=written.issued,
            nbf=written.issued,
            exp=written.expires,
            jti=id,
            txn=task.path[0],
            scope=record.scope,
            authorization_details=(detail_of(question.scope, audience),),
            act=_actor(workload, task),
            cnf=question.confirmation,
            lease=LeaseClaims(
                epoch=decided.epoch,
                position=record.position,
                path=task.path,
                level=decided.level,
                max_staleness=decided.max_staleness,
                class_=record.decision_class,
                user=bool(task.user),
                instance=workload.instance,
                ends_on_taint=decided.ends_on_taint,
                ends_on_labels=decided.ends_on_labels,
                ends_with=task.delegation.ends_with if task.delegation else (),
                single_use=decided.single_use,
                max_uses=decided.max_uses,
            ),
        )

    def _usable_key(self, standpoint: Standpoint) -> Signer:
        key = self._keys.token
        if standpoint.picture.has(f"key {key.kid}"):
            raise Unavailable("the key that signs tokens was revoked; the next one signs within seconds", retry_after=2)
        return key

    def _check_still_true(self, claims: Claims, permit: Permit, standpoint: Standpoint, key: Signer) -> None:
        """Look at the picture once more: raise `Unavailable` if what was decided at the standpoint has been overtaken."""
        latest = self._follower.standpoint()
        token = revocable(claims, permit.question.scope, key.kid)
        if latest.picture.epoch != claims.lease.epoch or self._store.run_id != standpoint.run_id:
            raise Unavailable("the store was lost or restarted meanwhile; ask again", retry_after=1)
        if latest.configuration != standpoint.configuration:
            said = "another configuration came into force while this was decided; ask again"
            raise Unavailable(said, reason="configuration_pending", retry_after=1)
        if latest.picture.ended_by(token) is not None:
            raise Unavailable("a revocation overtook this request; ask again", retry_after=1)

    def _signed(self, claims: Claims, permit: Permit, key: Signer) -> Issued:
        payload = token_claims.encode(claims)
        access_token = jose.write(payload, type=TOKEN_TYPE, key=key)
        # What leaves is read back as a verifier will read it: a token no verifier would take is better not handed out.
        if not _says(payload, claims, permit.question.scope) or len(access_token) > jose.MAX_TOKEN_BYTES:
            raise Unavailable("the token does not say what was permitted, or is too long; nothing was issued")
        return Issued(
            access_token=access_token,
            expires_in=claims.exp - claims.iat,
            scope=claims.scope,
            detail=claims.authorization_details[0],
            lease_id=claims.jti,
            task_id=permit.question.task.id,
            confirmation=claims.cnf,
        )

    async def _undo(self, id: str) -> None:
        self._to_undo.add(id)
        try:
            await self.finish_undoing()
        except BrokerError as error:
            _LOG.warning("lease %s has no token and will be undone when the store answers: %s", id, error)


def _actor(workload: Workload, task: Task) -> Actor | None:
    """Return who acts for the subject, and inside it those before, for people to read (RFC 8693 §4.1); nobody for itself."""
    actor: Actor | None = None
    for sub in reversed((workload.id, *(task.delegation.actors if task.delegation else ()))):
        actor = Actor(sub=sub, act=actor) if actor is not None or sub != task.subject else None
    return actor


def _decision_class(permit: Permit, epoch: str) -> DecisionClass:
    question = permit.question
    entry = question.entry
    return DecisionClass(
        epoch=epoch,
        level=entry.action.level,
        audience=entry.service.audience,
        max_staleness=entry.action.staleness,
        facts=msgspec.Raw(msgspec.json.encode(permit.decision.facts)),
        types=question.task.types,
        patterns=permit.patterns,
        agents=question.task.agents,
        binding=question.agent.binding(question.workload),
        users=trust_of(question.task.user),
        untrusted=entry.resource_type.untrusted,
        single_use=entry.action.is_single_use,
        max_uses=entry.action.max_uses,
        ends_on_taint=permit.ends_on_taint,
        ends_on_labels=permit.ends_on_labels,
        approved=permit.decision.facts.approved,
    )


def _says(payload: bytes, claims: Claims, scope: Scope) -> bool:
    try:
        return token_claims.decode(payload) == (claims, scope)
    except InvalidDocument:
        return False
