"""Two replicas with folders of their own on a redis-server, real tokens of many decision classes, and many leases of each."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import redis
from redis.commands.core import Script

from broker.api.token import CLIENT_CREDENTIALS, JWT_SPIFFE
from broker.leases import Leases
from broker.store import key, shard_of
from tests.benchmarks.spending import spent_by
from tests.broker.front import claims_of
from tests.broker.gate import Gate
from tests.broker.redis_server import RedisServer
from tests.broker.world import ISSUER, write_files
from tests.live.conftest import Site
from tests.live.replica import Replica

FIELDS = tuple(f"f{number}" for number in range(10))
RESOURCE = "crm:ticket/4711"
LIFE = 3600
_AT_ONCE = 500
_CALLERS = 6
_PAUSE = 2
_WRITE = """
local text = redis.call('HGET', KEYS[1], ARGV[1])
for i = 3, #ARGV do
  redis.call('HSET', KEYS[1], ARGV[i], text)
  for index = 2, 4 do
    redis.call('ZADD', KEYS[index], ARGV[2], ARGV[i])
  end
end
"""
_REGISTRY = f"""
[services.crm]
audience    = "https://crm.test"
environment = "prod"
owner       = "crm-team@example.com"
workloads   = [{{ spiffe = "spiffe://development.test/service/crm" }}]

[services.crm.resources.ticket]
fields = {{ {", ".join(f"{name} = []" for name in FIELDS)} }}

[services.crm.resources.ticket.actions]
read  = {{ level = "read", max_ttl = {LIFE} }}
reply = {{ level = "trigger" }}

[tasks.long]
purpose      = "Longer than a benchmark"
max_duration = 7200
scopes       = ["crm:ticket/*#read[{",".join(FIELDS)}]"]
"""
_AGENT = """
[agents.{0}]
owner        = "jane@example.com"
purpose      = "A benchmark"
environment  = "prod"
workloads    = [{{ spiffe = "spiffe://development.test/agent/{0}" }}]
tasks        = ["long"]
default_task = "long"
ends         = 2099-06-30
"""


class Held(NamedTuple):
    """A token that somebody holds, and the field that it is for."""

    agent: str
    field: str
    token: str


class Fleet(NamedTuple):
    """Two replicas, of which the second has a copy of the first one's files, and who works with them."""

    site: Site
    folders: tuple[Path, Path]
    agents: tuple[str, ...]
    identities: dict[str, str]

    @property
    def replicas(self) -> tuple[Replica, Replica]:
        """Both of them."""
        return self.site.replicas

    def spent(self) -> float:
        """Return how many seconds of the processor's time both replicas have taken until now, with all their processes."""
        return spent_by(*(f"--config\0{folder / 'broker.toml'}\0" for folder in self.folders))

    def ask(self, agent: str, field: str) -> dict[str, str]:
        """Return the parameters of a request for a token."""
        form = {"grant_type": CLIENT_CREDENTIALS, "client_assertion_type": JWT_SPIFFE, "scope": scope_of(field)}
        return {**form, "client_assertion": self.identities[agent]}

    def activation(self, policies: dict[str, str]) -> tuple[dict[str, str], dict[str, object]]:
        """Return headers and body of a request that puts policies beside those of the first folder into force."""
        names = {"registry": "*.toml", "policies": "*.cedar"}
        files = {name: {path.name: path.read_text() for path in (self.folders[0] / name).glob(names[name])} for name in names}
        files["policies"] |= policies
        return {"Authorization": f"Bearer {self.site.operator()}"}, {**files, "reason": "a benchmark"}

    async def hold(self) -> list[Held]:
        """Ask both replicas in turns for a token of every class: each agent's for each of the fields."""
        wanted = iter(itertools.product(self.agents, FIELDS))
        found: list[Held] = []
        await asyncio.gather(*(self._hold(number, wanted, found) for number in range(_CALLERS)))
        return found

    async def _hold(self, number: int, wanted: Iterator[tuple[str, str]], found: list[Held]) -> None:
        url = f"{self.replicas[number % 2].url}/oauth/token"
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
            for agent, field in wanted:
                answer = await client.post(url, data=self.ask(agent, field))
                if answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
                    # A worker that stood still for a second gives nothing until it has heard from the store.
                    await asyncio.sleep(_PAUSE)
                    answer = await client.post(url, data=self.ask(agent, field))
                answer.raise_for_status()
                found.append(Held(agent, field, answer.json()["access_token"]))

    def multiply(self, held: Sequence[Held], leases: int) -> None:
        """Write more leases of the class of each token, as the script that issues would, until there are so many."""
        each = max(0, leases // len(held) - 1)
        with redis.Redis.from_url(self.site.server.url) as client:
            write = client.register_script(_WRITE)
            for number, token in enumerate(held):
                _write_more(client, write, token, each)
                if number % 100 == 0:
                    print(f"\r{number * each:,} leases", end="", flush=True)
        print()


def scope_of(field: str) -> str:
    """Write the scope for reading one field."""
    return f"{RESOURCE}#read[{field}]"


def _write_more(client: "redis.Redis", write: Script, held: Held, count: int) -> None:
    """Write leases beside that of the token, a bounded number at a time; each differs from it in nothing but its id."""
    claims, shard = claims_of(held.token), shard_of(held.agent)
    task, epoch = claims["lease"]["path"][-1], claims["lease"]["epoch"]
    parts = (("leases",), ("due",), ("agent", held.agent, epoch), ("task", task, "leases"))
    for first in range(0, count, _AT_ONCE):
        ids = [Leases.new_id(held.agent, now=claims["iat"] * 1000) for _ in range(min(_AT_ONCE, count - first))]
        write([key(shard, *part) for part in parts], [claims["jti"], claims["exp"] * 1000, *ids], client=client)


@asynccontextmanager
async def fleet(folder: Path, agents: int) -> AsyncIterator[Fleet]:
    """Start a redis-server, a gate that is the issuer's address, and two replicas; end them all."""
    folders = folder / "one", folder / "two"
    names = tuple(f"agent-{number:05}" for number in range(agents))
    server, gate = RedisServer(folder / "redis"), Gate(0)
    _write(folders, server, gate, registry=_REGISTRY + "".join(map(_AGENT.format, names)))
    replicas = Replica(folders[0]), Replica(folders[1])
    try:
        for replica in replicas:
            replica.wait_until_ready()
        site = Site(folders[0], server, gate, replicas)
        yield Fleet(site, folders, names, {name: site.svid(f"spiffe://development.test/agent/{name}") for name in names})
    finally:
        for replica in replicas:
            replica.end()
        gate.close()
        server.end()


def _write(folders: tuple[Path, Path], server: RedisServer, gate: Gate, *, registry: str) -> None:
    write_files(folders[0], registry=registry)
    toml = (folders[0] / "broker.toml").read_text().replace(ISSUER, f"http://127.0.0.1:{gate.port}")
    (folders[0] / "broker.toml").write_text(f'redis_url = "{server.url}"\nmax_ttl = {LIFE}\n{toml}')
    shutil.copytree(*folders)


def shards_of(agents: Sequence[str]) -> int:
    """Return over how many shards the agents are spread."""
    return len(set(map(shard_of, agents)))
