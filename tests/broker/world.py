"""A whole broker for a test: its files, its store, its clock, and the callers who use it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import fakeredis
import msgspec
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker import app, policy, private_key_file, settings
from broker.app import Broker, Stores
from broker.callers import Caller
from broker.exchange import TokenRequest
from broker.identity import Presented, development
from broker.issuer import Issued
from broker.registry.registry import Agent, Registry
from broker.revocation import Revoked
from broker.selector import Selector
from broker.store import Store, SyncStore
from broker.tasks import Declaration, Task
from broker.workload import Workload
from scopes import jose, ulid
from scopes import proof as proofs
from scopes.clock import Instant, SystemClock
from scopes.keys import SigningKey
from scopes.scope import Scope
from tests.broker import key_files
from tests.scopes.tokens import new_key

ISSUER = "http://127.0.0.1:8750"
CRM = "https://crm.test"
KB = "https://kb.test"
BOT = "spiffe://development.test/agent/support-bot"
OTHER = "spiffe://development.test/agent/other-bot"
CRM_WORKLOAD = "spiffe://development.test/service/crm"
ADMIN = Caller("Operator", "admin")
AGENT_KEY = new_key()
"""The key that tokens of these tests are bound to, where they are bound."""

OFFSET = "test:clock:offset"
HELD = "test:clock:held"
CLOCK = f"""
local function now()
  local held = redis.call('GET', '{HELD}')
  if held then
    return tonumber(held)
  end
  local time = redis.call('TIME')
  local offset = tonumber(redis.call('GET', '{OFFSET}') or '0')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + offset
end
"""
"""The scripts' clock with an offset that the test moves, or a moment at which the test holds it (`DESIGN.md` 3.22)."""

REGISTRY = """
[services.crm]
audience    = "https://crm.test"
environment = "prod"
owner       = "crm-team@example.com"
workloads   = [{ spiffe = "spiffe://development.test/service/crm" }]

[services.crm.resources.ticket]
fields       = { subject = [], description = [], email = ["pii"], card_number = ["financial"] }

[services.crm.resources.ticket.actions]
read  = { level = "read",    max_ttl = 300 }
draft = { level = "draft",   max_ttl = 300 }
reply = { level = "trigger", max_ttl = 60, reversible = false, single_use = true, max_staleness = 3 }

[services.crm.resources.message]
data_classes = ["pii"]
untrusted    = true
fields       = { text = [] }

[services.crm.resources.message.actions]
read = { level = "read",    max_ttl = 300 }

[services.kb]
audience    = "https://kb.test"
environment = "prod"
owner       = "kb-team@example.com"

[services.kb.resources.article.actions]
read = { level = "read", max_ttl = 600 }

[tasks.summarise-ticket]
purpose      = "Summarise a support ticket for a human agent"
max_duration = 900
scopes       = [
  "crm:ticket/*#read[subject,description]", "crm:ticket/*#draft[subject]", "crm:message/*#read[text]", "kb:article/**#read",
]

[tasks.single-ticket]
purpose      = "Look at few tickets"
max_duration = 60
scopes       = ["crm:ticket/*#read[subject]"]
limits       = { leases = 3 }

[agents.support-bot]
owner        = "jane@example.com"
purpose      = "First-line support drafting"
environment  = "prod"
workloads    = [{ spiffe = "spiffe://development.test/agent/support-bot" }]
tasks        = ["summarise-ticket", "single-ticket"]
default_task = "summarise-ticket"
ends         = 2099-06-30

[agents.other-bot]
owner        = "joe@example.com"
purpose      = "Something else"
environment  = "prod"
workloads    = [
  { spiffe = "spiffe://development.test/agent/other-bot" },
  { spiffe = "spiffe://development.test/pod/other-bot/*" },
]
tasks        = ["summarise-ticket"]
ends         = 2099-06-30
limits       = { leases_per_minute = 10, live_leases = 5 }
"""


class MovedClock:
    """The system's clock plus what the test added, in Python and in every script of the store."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._offset = 0
        self._held: Instant | None = None

    def now(self) -> Instant:
        real = self._held or SystemClock().now()
        return Instant(real.wall + self._offset, real.boot + self._offset)

    def advance(self, milliseconds: int) -> None:
        self._offset += milliseconds
        self._show()

    def hold(self) -> None:
        """Stand still but for what the test adds, for tests that go to the last moment of something."""
        self._held = SystemClock().now()
        self._show()

    def _show(self) -> None:
        self._client.set(OFFSET, self._offset)
        if self._held is not None:
            self._client.set(HELD, self.now().wall)


class Backend(NamedTuple):
    """One store, seen from a test: what a worker speaks through, and a client of the test's own."""

    stores: Stores
    client: redis.Redis

    async def close(self) -> None:
        """Close every connection."""
        await self.stores.shared.close()
        self.stores.follower.close()
        self.client.close()


def fake_backend(server: fakeredis.FakeServer | None = None, *, run_id: str = "") -> Backend:
    server = server or fakeredis.FakeServer()
    life = run_id or ulid.new(0)
    stores = Stores(
        Store.embedded(fakeredis.FakeAsyncRedis(server=server), run_id=life, clock=CLOCK),
        SyncStore.embedded(fakeredis.FakeRedis(server=server), run_id=life, clock=CLOCK),
    )
    return Backend(stores, fakeredis.FakeRedis(server=server))


def redis_backend(url: str, *, replicas_required: int = 0) -> Backend:
    stores = Stores(
        Store.connect(url, clock=CLOCK, replicas_required=replicas_required),
        SyncStore.connect(url, clock=CLOCK, replicas_required=replicas_required),
    )
    return Backend(stores, redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)))


def neighbour_of(backend: Backend) -> Backend:
    """Connect another worker to the same store."""
    known = backend.client.connection_pool.connection_kwargs
    if isinstance(backend.client, fakeredis.FakeRedis):
        return fake_backend(known["server"], run_id=backend.stores.follower.run_id)
    return redis_backend(f"redis://{known['host']}:{known['port']}/{known['db']}")


class World:
    """One worker on one store. `folder` holds what `broker init` would have made."""

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        *,
        registry: str = REGISTRY,
        changes: Mapping[str, Any] | None = None,
        clock: MovedClock | None = None,
        may_differ: bool = False,
    ) -> None:
        self.folder = folder
        self.backend = backend
        self.clock = clock or MovedClock(backend.client)
        write_files(folder, registry=registry)
        configured = msgspec.structs.replace(settings.load(folder / "broker.toml", environment={}), **(changes or {}))
        self.broker = Broker(app.configure(configured, may_differ=may_differ), backend.stores, clock=self.clock)

    @property
    def registry(self) -> Registry:
        """The registry in force."""
        return self.broker.active.rules.registry

    def agent(self, workload: str = BOT) -> Agent:
        """Return the agent of a workload."""
        return self.registry.agent_of(proven(workload))

    def follow(self) -> None:
        """Let the follower catch up, and the worker adopt what is in force; tests call it instead of running the threads."""
        self.broker.follower.catch_up()
        self.broker.adoption.step()

    async def look(self, times: int = 2) -> None:
        """Let the worker look at its files, as often as it takes to see that nobody is writing them, and adopt what follows."""
        for _ in range(times):
            await self.broker.activation.look()
        self.follow()

    def advance(self, milliseconds: int) -> None:
        """Move every clock, and let the follower hear the new time."""
        self.clock.advance(milliseconds)
        self.follow()

    async def issue(
        self, scope: str = "crm:ticket/4711#read[subject]", *, workload: str = BOT, bound: bool | None = None, **asked: Any
    ) -> Issued:
        """Exchange the workload's identity for a token, as the token endpoint does.

        The token is `bound` to the world's key; where nothing is said, above reading, as the starter policies demand.
        """
        wanted = Scope.parse(scope)
        proof = await self.prove() if bound or (bound is None and wanted.action != "read") else None
        presented = Presented(self.svid(workload), unverified_proof=proof)
        return await self.broker.exchange(TokenRequest(presented, wanted, **asked))

    async def prove(self, *, key: SigningKey | None = None, **changes: Any) -> str:
        """Prove to hold a key, the world's where none is given, in a request for a token."""
        request = {"method": "POST", "url": f"{ISSUER}/oauth/token", "now": self.clock.now().wall}
        nonce = await self.broker.possession.nonce()
        return proofs.make(key or AGENT_KEY, **(request | {"nonce": nonce} | changes))

    async def declare(self, type: str = "summarise-ticket", *, workload: str = BOT, **declared: Any) -> Task:
        """Open a task, as an agent does."""
        registry = self.registry
        return await self.broker.tasks.open(self.agent(workload), workload, Declaration(type=type, **declared), registry)

    async def revoke(self, reason: str = "a test", **selector: Any) -> Revoked:
        """Revoke by one selector, as an operator does; every worker hears of it when it follows."""
        return await self.broker.revocation.revoke(Selector(**selector), reason, ADMIN)

    def svid(self, workload: str = BOT, *, audience: str = ISSUER) -> str:
        return development.sign_svid(self.folder / "keys" / "development", workload, audience=audience, clock=self.clock)

    def operator_assertion(self, name: str = "admin", **changes: Any) -> str:
        now = self.clock.now().wall // 1000
        claims = {"iss": name, "sub": name, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": ulid.new(now), **changes}
        key = private_key_file.read(self.folder / f"{name}.jwk")
        return jose.write(msgspec.json.encode(claims), type="JWT", key=key)


def proven(workload: str) -> Workload:
    """Return a workload as if it had proven its SPIFFE id, for an hour."""
    return Workload(workload, expires=SystemClock().now().wall // 1000 + 3600)


def write_files(folder: Path, *, registry: str = REGISTRY) -> None:
    """Write everything a broker is configured with; files that are there stay. Its keys are those of `key_files`."""
    (folder / "registry").mkdir(parents=True, exist_ok=True)
    (folder / "policies").mkdir(exist_ok=True)
    key_files.write(folder)
    operators = "".join(_operator(folder, name, role) for name, role in (("admin", "admin"), ("watcher", "auditor")))
    (folder / "registry" / "all.toml").write_text(registry + operators)
    starter = Path(policy.__file__).parent / "starter"
    for path in starter.glob("*.cedar"):
        (folder / "policies" / path.name).write_text(path.read_text())
    (folder / "broker.toml").write_text(
        f'issuer = "{ISSUER}"\n[[trust.spiffe]]\ntrust_domain = "development.test"\nbundle = "keys/development/bundle.json"\n'
    )


def _operator(folder: Path, name: str, role: str) -> str:
    public: Mapping[str, Any] = private_key_file.read(folder / f"{name}.jwk").public_jwk
    key = ", ".join(f"{member} = {json.dumps(public[member])}" for member in ("kty", "crv", "x", "y"))
    return f'\n[operators.{name}]\nroles = ["{role}"]\nkeys = [{{ {key} }}]\n'
