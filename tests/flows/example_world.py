"""A whole broker on one of the worked examples, and what a service's verifier makes of its tokens."""

import datetime
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from broker import private_key_file
from broker.delegation import Subject
from broker.issuer import Issued
from broker.policy import Moment
from broker.registry.records import Service
from broker.settings import SpiffeTrust, Trust
from broker.tasks import NOBODY, Behalf, Declaration, Task
from broker.trusted_issuers import UserTrust
from broker.workload import Workload
from scopes import claims as token_claims
from scopes import jose, revocations
from scopes.claims import TOKEN_TYPE
from scopes.constraints import CONSTRAINTS
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Picture, revocable
from scopes.scope import Scope
from tests.broker.acknowledging import acknowledge
from tests.broker.identity import user_tokens
from tests.broker.identity.platform_tokens import jwks_file
from tests.broker.world import ISSUER, Backend, World
from tests.flows.example_cases import FOLDER

DEVELOPMENT = "keys/development"
DOMAINS = ("prod", "staging", "test")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class ExampleWorld(World):
    """A broker that reads the example's own files. Its trust domains have one authority, that of development."""

    def __init__(self, folder: Path, backend: Backend, *, name: str) -> None:
        for part in ("registry", "policies"):
            shutil.copytree(FOLDER / name / part, folder / part)
        super().__init__(folder, backend, registry="", changes={"trust": _trusted(folder)})
        self.follow()
        self.advance(self._until("Monday", 12))

    async def live_until(self, day: str, hour: int) -> None:
        """Let it be the next such hour, unless it is such an hour now."""
        if self.broker.active.rules.policy.moment() != Moment(hour, DAYS.index(day) + 1):
            await self.live_for(self._until(day, hour))

    async def live_for(self, milliseconds: int) -> None:
        """Let the time go by, and what is over by then be ended, as the scheduler would."""
        self.advance(milliseconds)
        await self.broker.scheduler.expire_leases()
        await self.broker.revocation.end_due_tasks()
        self.follow()

    def _until(self, day: str, hour: int) -> int:
        now = datetime.datetime.fromtimestamp(self.clock.now().wall / 1000, tz=datetime.UTC)
        days = (DAYS.index(day) - now.weekday()) % 7 or 7
        then = (now + datetime.timedelta(days=days)).replace(hour=hour, minute=0, second=0, microsecond=0)
        return int((then - now).total_seconds() * 1000)

    def svid(self, workload: str = "", *, audience: str = ISSUER) -> str:
        now = self.clock.now().wall // 1000
        claims = {"sub": workload, "aud": [audience], "iat": now, "exp": now + 300}
        key = private_key_file.read(self.folder / DEVELOPMENT / "authority.jwk")
        return jose.write(msgspec.json.encode(claims), type="JWT", key=key)

    def workload_of(self, agent: str) -> str:
        """Return the one workload of an agent."""
        workload = self.registry.agent(agent).record.workloads[0].spiffe
        assert workload is not None
        return workload

    async def begin(
        self, agent: str, *types: str, resources: Sequence[str] = (), user: str = "", groups: Sequence[str] = ()
    ) -> Task:
        """Open a task of the last type inside one of each type before it; the first declares the resources, and for whom."""
        workload = self.workload_of(agent)
        behalf = await self._behalf(agent, user, groups) if user else NOBODY
        tasks: list[Task] = []
        for type in types:
            above = tasks[-1].id if tasks else None
            declaration = Declaration(type, resources=tuple(resources) or None if not tasks else None, parent=above)
            opened = await self.broker.tasks.open(
                self.registry.agent(agent), workload, declaration, self.registry, behalf=NOBODY if tasks else behalf
            )
            tasks.append(opened)
        return tasks[-1]

    async def ask(self, task: Task, scope: str, *, bound: bool = True, **asked: Any) -> Issued:
        """Ask for a token for the task, as its agent does, bound to a key unless said otherwise; all is heard of it."""
        await self._verify_for(self.registry.content.services[Scope.parse(scope).resource.service])
        try:
            return await self.issue(scope, workload=task.workload, task=task.id, bound=bound, **asked)
        finally:
            self.follow()

    async def _behalf(self, agent: str, user: str, groups: Sequence[str]) -> Behalf:
        """Show the token of a person who signed in where the agent's users do."""
        record = self.registry.agent(agent)
        signed_in = {"sub": user.removeprefix("corp:"), "groups": [*groups], "azp": record.record.users[0].clients[0]}
        subject = Subject(user_tokens.user_token(self.clock.now().wall // 1000, **signed_in), "jwt")
        picture = self.broker.streams.picture
        workload = Workload(self.workload_of(agent), expires=self.clock.now().wall // 1000 + 300)
        return await self.broker.delegations.behalf(record, workload, subject, registry=self.registry, picture=picture)

    async def _verify_for(self, service: Service) -> None:
        """Have a verifier run in the service, which says that it holds tokens to what limits them."""
        for selector in service.workloads:
            assert selector.spiffe is not None
            await acknowledge(self, workload=selector.spiffe, aud=service.audience, enforces=CONSTRAINTS)

    def honours(self, issued: Issued) -> bool:
        """Tell whether the service that the token names would honour it, with all that it has been told."""
        tokens, feed = (
            KeySet.parse(keys, algorithms=TOKEN_ALGORITHMS)
            for keys in (self.broker.keys.token_jwks, self.broker.keys.feed_jwks)
        )
        token = jose.read(issued.access_token, types=frozenset({TOKEN_TYPE}))
        claims, scope = token_claims.decode(token.verified_payload(tokens))
        self.follow()
        text = self.broker.streams.snapshot(claims.aud)
        told = revocations.read_snapshot(text, keys=feed, issuer=ISSUER, audience=claims.aud)
        picture = Picture().adopt(told, self.clock.now())
        hit = picture.ended_by(revocable(claims, scope, self.broker.keys.token.kid))
        return hit is None and claims.lease.epoch == picture.epoch and self.clock.now().wall < claims.exp * 1000


def _trusted(folder: Path) -> Trust:
    jwks_file(folder, "corp", user_tokens.KEY)
    people = UserTrust(name="corp", issuer=user_tokens.IDP, audience=user_tokens.AUDIENCE, jwks="corp.json")
    domains = (SpiffeTrust(f"{domain}.example.com", f"{DEVELOPMENT}/bundle.json") for domain in DOMAINS)
    return Trust(spiffe=tuple(domains), users=(people,))
