"""A whole broker on one of the worked examples, and what a service's verifier makes of its tokens."""

import datetime
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from broker import private_key_file
from broker.issuer import Issued
from broker.policy import Moment
from broker.settings import SpiffeTrust, Trust
from broker.tasks import Task
from scopes import claims as token_claims
from scopes import jose, revocations
from scopes.claims import TOKEN_TYPE
from scopes.constraints import CONSTRAINTS
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Picture, revocable
from tests.broker.acknowledging import acknowledge
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
        bundle = f"{DEVELOPMENT}/bundle.json"
        trusted = Trust(spiffe=tuple(SpiffeTrust(trust_domain=f"{domain}.example.com", bundle=bundle) for domain in DOMAINS))
        super().__init__(folder, backend, registry="", changes={"trust": trusted})
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

    async def begin(self, agent: str, *types: str, resources: Sequence[str] = ()) -> Task:
        """Open a task of the last type inside one of each type before it; the first declares the resources."""
        workload = self.workload_of(agent)
        tasks: list[Task] = []
        for type in types:
            declared = {"parent": tasks[-1].id} if tasks else {"resources": tuple(resources) or None}
            tasks.append(await self.declare(type, workload=workload, **declared))
        return tasks[-1]

    async def ask(self, task: Task, scope: str, **asked: object) -> Issued:
        """Ask for a token for the task, as its agent does, bound to a key unless said otherwise; all is heard of it."""
        await self.verify_everywhere()
        try:
            return await self.issue(scope, workload=task.workload, task=task.id, **({"bound": True} | asked))
        finally:
            self.follow()

    async def verify_everywhere(self) -> None:
        """Have a verifier of every service say that it enforces all that there is: what nobody enforces is not given."""
        for service in self.registry.content.services.values():
            await acknowledge(self, aud=service.audience, enforces=CONSTRAINTS)

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
