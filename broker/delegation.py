"""For whom an agent may act, and below what: a subject token becomes a user or a task above, and that has to stay true.

Two kinds of token say it (RFC 8693 §1.1): a user's, of an identity provider, and one of this broker, which its agent handed to
another. Whoever calls is the actor, proves that as always, and has to be named by whoever it acts for (`TRAPS.md` 13).
"""

import asyncio
from collections.abc import Iterator
from typing import Literal, NamedTuple

from broker import own_token
from broker.errors import AccessDenied, InvalidGrant, InvalidRequest, NotFound
from broker.identity import User, Users
from broker.identity.users import trust_of
from broker.keys.keys import Keys
from broker.leases import Lease, Leases
from broker.own_token import OwnToken
from broker.registry import acting
from broker.registry.acting import check_delegates, not_delegated
from broker.registry.registry import Agent, Registry
from broker.tasks import NOBODY, Above, Behalf, Declaration, Delegation, Task, Tasks
from broker.workload import Workload
from scopes.claims import Actor, Confirmation
from scopes.revocations import Picture
from scopes.scope import Scope

SubjectType = Literal["jwt", "id_token", "access_token"]
"""What a subject token is said to be (RFC 8693 §3)."""

# What of all that can end a lease is not said of the tokens below it by their own path, scope and user.
_HANDED_DOWN = ("lease ", "agent ", "instance ", "class ", "taint ", "key ")


class Subject(NamedTuple):
    """A subject token as it was sent (RFC 8693 §2.1); nobody has looked at it."""

    unverified_token: str
    type: SubjectType


class Delegations:
    """Believes subject tokens, and looks at what was believed again whenever something is issued for it."""

    def __init__(self, *, issuer: str, keys: Keys, users: Users, leases: Leases, tasks: Tasks) -> None:
        self._issuer = issuer
        self._keys = keys
        self._users = users
        self._leases = leases
        self._tasks = tasks

    async def behalf(
        self, agent: Agent, workload: Workload, subject: Subject | None, *, registry: Registry, picture: Picture
    ) -> Behalf:
        """Return for whom or below what the agent acts by this token; raise where that is not for this agent to do.

        Raises `InvalidRequest` for what is no subject token, `UnauthorizedClient` for one that has nothing to do with the
        agent, `Unavailable` where nobody can tell.
        """
        if subject is None:
            return NOBODY
        own = self._own(subject)
        if own is not None:
            return await self._below(agent, own, registry=registry, picture=picture)
        user = self._users.authenticate(subject.unverified_token)
        _check_may_act_for(agent, workload, user)
        return Behalf(user.id, user.groups)

    async def task(
        self,
        agent: Agent,
        workload: str,
        asked: str | Declaration | None,
        *,
        behalf: Behalf,
        registry: Registry,
        seed: bytes | None = None,
    ) -> Task:
        """Return the task of this id, the one declared here, or the default one; it is on this behalf, or it is refused."""
        if isinstance(asked, str):
            task = await self._tasks.find_own(agent, asked)
            behalf.check(task)
            return task
        if asked is not None:
            return await self._tasks.open(agent, workload, asked, registry, behalf=behalf, seed=seed)
        return await self._tasks.join_default(agent, workload, registry, behalf=behalf)

    async def user_of(self, subject: Subject | None, task: str | None) -> str | None:
        """Return for whom something was asked, for the record of a refusal; `None` where that was not shown."""
        try:
            if subject is None:
                return (await self._tasks.find(task or "")).user or None
            own = self._own(subject)
            if own is not None:
                return own.claims.sub if own.claims.lease.user else None
            return self._users.authenticate(subject.unverified_token).id
        except (InvalidRequest, NotFound):
            return None

    async def check(
        self, task: Task, scope: Scope, confirmation: Confirmation | None, *, registry: Registry, picture: Picture
    ) -> None:
        """Raise unless all agents of the path may still do it, and what it was delegated by is in force and covers this scope.

        To be called after the picture was taken: what ends after it ends what is issued now, for it is later in the log.
        Raises `InvalidGrant`, `UnauthorizedClient`, `AccessDenied` for what the token above does not say, `Unavailable`.
        """
        acting.check(registry, task.agents, task.types, users=trust_of(task.user))
        if task.delegation is None:
            return
        _check_within(task.delegation, scope, confirmation)
        leases, above = await asyncio.gather(self._leases.known([task.delegation.lease], picture), self._all_above(task))
        # The key that signed the token shown then is not kept with its lease.
        is_ended = any(picture.has(each) for each in task.delegation.ends_with if each.startswith("key "))
        if is_ended or not all(each.is_open for each in above) or [lease.status for lease in leases] != ["live"]:
            raise InvalidGrant("what this task was delegated by has ended; have it delegated again")

    async def _all_above(self, task: Task) -> list[Task]:
        try:
            return await asyncio.gather(*(self._tasks.find(id) for id in task.path[:-1]))
        except NotFound:
            raise InvalidGrant("what this task was delegated by is not there any more; have it delegated again") from None

    def _own(self, subject: Subject) -> OwnToken | None:
        """Return what it says where it is a token of this broker."""
        own = own_token.read(subject.unverified_token, issuer=self._issuer, jwks=self._keys.token_jwks)
        if own is not None and subject.type == "id_token":
            raise InvalidRequest("the subject token is an access token of this broker, and no id_token")
        return own

    async def _below(self, agent: Agent, own: OwnToken, *, registry: Registry, picture: Picture) -> Behalf:
        claims = own.claims
        check_delegates(registry, claims.client_id, agent.name)
        if claims.lease.single_use or claims.lease.max_uses is not None:
            raise InvalidRequest("the subject token may be used a counted number of times, which cannot be passed on")
        lease = await self._live(own, picture)
        try:
            task = await self._tasks.find(lease.record.task)
        except NotFound:
            raise _over() from None
        delegation = Delegation(
            lease=lease.id,
            scope=lease.record.scope,
            ends_with=tuple(dict.fromkeys(each for each in own.revocable.targets if each.startswith(_HANDED_DOWN))),
            actors=tuple(_actors(claims.act)),
            is_bound=claims.cnf is not None,
            agents=task.agents,
        )
        return Behalf(task.user, task.groups, Above(task, delegation, lease.times.expires * 1000))

    async def _live(self, own: OwnToken, picture: Picture) -> Lease:
        """Return the lease behind a token in force: the picture is asked first, the lease second (`DESIGN.md` 3.5)."""
        claims = own.claims
        if own.is_over(picture):
            raise _over()
        for lease in await self._leases.known([claims.jti], picture):
            # What stands in the store counts, and the token has to say the same.
            said = (claims.client_id, claims.scope, claims.lease.path)
            if lease.status == "live" and said == (lease.agent, lease.record.scope, lease.path):
                return lease
        raise _over()


def _over() -> InvalidRequest:
    return InvalidRequest("the subject token is a token of this broker that is not in force any more")


def _actors(actor: Actor | None) -> Iterator[str]:
    while actor is not None:
        yield actor.sub
        actor = actor.act


def _check_may_act_for(agent: Agent, workload: Workload, user: User) -> None:
    """Raise `UnauthorizedClient` unless user and agent have to do with each other, by the token and by the registry."""
    clients = {client for binding in agent.record.users if binding.issuer == user.trust for client in binding.clients}
    if not clients:
        raise not_delegated(f"{agent.name} acts for no users of {user.trust}")
    if user.may_act is not None:
        if user.may_act not in (agent.name, workload.id):
            raise not_delegated(f"the subject token names another than {agent.name} as who may act for its user")
    elif user.authorized_party not in clients:
        raise not_delegated(f"the subject token was not issued to a client whose users {agent.name} acts for")


def _check_within(delegation: Delegation, scope: Scope, confirmation: Confirmation | None) -> None:
    if not Scope.parse(delegation.scope).covers(scope):
        raise AccessDenied(f"the task was delegated for {delegation.scope} only", reason="outside_delegation")
    if delegation.is_bound and confirmation is None:
        said = "the token above is bound to a key, so one below it is as well: send a DPoP proof"
        raise AccessDenied(said, reason="proof_required")
