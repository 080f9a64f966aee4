"""Plays a case on a real broker and holds what comes of it against what may be given."""

from typing import NamedTuple

from broker.active import Rules
from broker.errors import AccessDenied, BrokerError, InvalidGrant, InvalidScope
from broker.issuer import Issued
from broker.policy import Policy, parse
from broker.registry import files
from broker.tasks import Task
from scopes import claims as token_claims
from scopes import jose
from scopes.claims import TOKEN_TYPE, Claims
from scopes.scope import Scope
from tests.broker.ended import is_ended
from tests.broker.privilege.oracle import Exposed, Given, may_open, most, permits
from tests.broker.privilege.records import Ask, Case, Open, audience, policies_text, registry_text
from tests.broker.world import AGENT_KEY, BOT, World


class Opened(NamedTuple):
    """A task with the declarations from its root down to it."""

    task: Task
    path: tuple[Open, ...]


class Counted(NamedTuple):
    """How much was looked at: requests, tokens, and tokens that the tree's reading has ended."""

    asked: int = 0
    issued: int = 0
    ended: int = 0


class Player:
    """Plays one case; what is given beyond what may be, or kept back, fails an assertion."""

    def __init__(self, world: World, case: Case) -> None:
        self._world = world
        self._case = case
        self._exposed: dict[str, Exposed] = {}
        self._issued: list[tuple[Issued, Given, str]] = []

    async def play(self) -> Counted:
        """Have everything declared and asked for, in turn."""
        self._put_into_force()
        tasks = await self._declare()
        asked = 0
        for ask in self._case.asked:
            opened = tasks[ask.task]
            if opened is not None:
                asked += 1
                await self._ask(opened, ask)
        return Counted(asked, len(self._issued), self._count_ended())

    def _put_into_force(self) -> None:
        text = registry_text(self._case, agent="support-bot", workload=BOT)
        registry = files.parse({"all.toml": text}, where="generated")
        folder = parse({"all.cedar": policies_text(self._case)}, registry, where="generated")
        active = self._world.broker.active
        # Under the id of what was activated: a history has one configuration, and to activate it is another test's matter.
        active.replace(Rules(registry, Policy(folder, registry, clock=self._world.clock), active.activation))

    async def _declare(self) -> list[Opened | None]:
        tasks: list[Opened | None] = []
        for opened in self._case.opened:
            above = tasks[opened.parent] if opened.parent is not None else None
            if opened.parent is not None and above is None:
                tasks.append(None)
                continue
            path = (*(above.path if above else ()), opened)
            tasks.append(await self._open(opened, above, path))
        return tasks

    async def _open(self, opened: Open, above: Opened | None, path: tuple[Open, ...]) -> Opened | None:
        declared = {"parent": above.task.id if above else None, "max_duration": opened.max_duration}
        try:
            task = await self._world.declare(opened.type, resources=opened.resources, **declared)
        except (AccessDenied, InvalidGrant):
            assert not may_open(self._case, path)
            return None
        assert may_open(self._case, path)
        assert above is None or task.ends <= above.task.ends
        return Opened(task, path)

    async def _ask(self, opened: Opened, ask: Ask) -> None:
        if not ask.is_deaf:
            self._world.follow()
        root = opened.task.path[0]
        known = self._exposed.get(root, Exposed())
        given = most(self._case, opened.path, ask)
        is_given = given is not None and permits(self._case, given, known)
        issued = await self._token(opened, ask)
        if issued is None:
            assert not is_given or ask.is_deaf, f"kept back: {ask.text}"
            return
        assert given is not None, f"beyond the ceiling: {ask.text}"
        assert is_given or ask.is_deaf, f"beyond the policies: {ask.text}"
        _check(issued, given, opened.task)
        self._exposed[root] = known.reading(given)
        self._issued.append((issued, given, root))

    async def _token(self, opened: Opened, ask: Ask) -> Issued | None:
        try:
            return await self._world.issue(ask.text, task=opened.task.id, ttl=ask.ttl, bound=ask.is_bound)
        except (AccessDenied, InvalidScope, InvalidGrant):
            return None
        except BrokerError as error:
            raise AssertionError(f"{ask.text}: {error}") from error

    def _count_ended(self) -> int:
        """Hold every token that is still good against what its tree has read by now; return how many are not."""
        ended = 0
        for issued, given, root in self._issued:
            if is_ended(self._world, issued):
                ended += 1
            else:
                assert permits(self._case, given, self._exposed[root]), f"outlived what was read: {given.ask.text}"
        return ended


def _check(issued: Issued, given: Given, task: Task) -> None:
    """Hold what a token says against the most that it may say."""
    claims, ask = _claims(issued), given.ask
    scope = Scope.parse(claims.scope)
    assert (scope.resource.service, scope.resource.type) == (ask.kind.service, ask.kind.type)
    assert (scope.resource.path, scope.action, scope.fields or ()) == (ask.path, ask.action.name, given.fields)
    assert (claims.aud, claims.lease.level) == (audience(ask.kind), ask.action.level)
    assert (claims.txn, claims.lease.path, claims.jti) == (task.path[0], task.path, issued.lease_id)
    assert claims.exp - claims.iat <= given.ttl
    assert claims.exp * 1000 <= task.ends
    assert claims.cnf == issued.confirmation
    assert (claims.cnf.jkt if claims.cnf else None) == (AGENT_KEY.kid if ask.is_bound else None)


def _claims(issued: Issued) -> Claims:
    payload = jose.read(issued.access_token, types=frozenset({TOKEN_TYPE})).unverified_payload
    return token_claims.decode(payload)[0]
