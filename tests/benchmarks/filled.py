"""A worker on a redis-server full of leases, each written by the product's own script, and a steady load of requests on it."""

import asyncio
import contextlib
import functools
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from broker.errors import Unavailable
from broker.exchange import TokenRequest
from broker.feed.event import NO_END
from broker.identity import Presented
from broker.leases import DecisionClass, LeaseRecord, Leases, NewLease, volume
from broker.policy import Facts
from broker.store import key, shard_of
from broker.store.shards import SHARDS
from broker.tasks import Declaration, Task
from scopes.scope import Scope
from tests.benchmarks.figures import quantile
from tests.broker.redis_server import RedisServer
from tests.broker.world import CRM, REGISTRY, World, redis_backend

BIG = "agent-big"
SCOPE = "crm:ticket/4711#read[subject,description]"
PER_TASK = 25
_AT_ONCE = 500
_CALLERS = 8
_AGENT = """
[agents.{name}]
owner        = "jane@example.com"
purpose      = "A benchmark"
environment  = "prod"
workloads    = [{{ spiffe = "spiffe://development.test/agent/{name}" }}]
tasks        = ["long"]
default_task = "long"
ends         = 2099-06-30
"""
_LONG = """
[tasks.long]
purpose      = "Longer than a benchmark"
max_duration = 7200
scopes       = ["crm:ticket/*#read[subject,description]"]
"""


class Load(NamedTuple):
    """What a while of asking for tokens gave: milliseconds each, how many a second, and how many were refused with 503."""

    latencies: list[float]
    rate: float
    refused: int

    @classmethod
    def of(cls, loads: "list[Load]") -> "Load":
        """Put several whiles together."""
        latencies = [latency for load in loads for latency in load.latencies]
        return cls(latencies, sum(load.rate for load in loads) / len(loads), sum(load.refused for load in loads))

    @property
    def p99(self) -> float:
        """The milliseconds within which 99 of 100 requests were answered."""
        return quantile(self.latencies, 0.99)

    def shown(self) -> str:
        """Write rate and latencies."""
        p50, worst = quantile(self.latencies, 0.5), max(self.latencies)
        times = f"p50 {p50:6.2f} ms, p99 {self.p99:6.2f} ms, worst {worst:7.2f} ms"
        return f"{self.rate:6.0f} tokens/s, {times}, {self.refused} refused"


class Filled:
    """One worker, in this process, with its follower and its scheduler; everything that asks is in this process too."""

    def __init__(self, folder: Path, server: RedisServer, agents: int) -> None:
        self.server = server
        self.names = [f"agent-{number:04}" for number in range(agents)]
        registry = REGISTRY + _LONG + "".join(_AGENT.format(name=name) for name in (BIG, *self.names))
        self.world = World(folder, redis_backend(server.url), registry=registry)
        self.broker = self.world.broker

    def memory(self) -> int:
        """Return what the server holds, in bytes, without the audit: that is deleted here."""
        for shard in range(SHARDS):
            self.server.call("DEL", key(shard, "audit"))
        info = self.server.call("INFO", "memory")
        assert isinstance(info, dict)
        return int(info["used_memory"])

    async def fill(self, agent: str, leases: int, *, per_task: int, expiries: Iterable[int]) -> None:
        """Write leases of an agent; `expiries` gives each its life, in milliseconds, over and over."""
        lives = iter(expiries)
        for start in range(0, leases, per_task):
            task = await self._task(agent)
            count = min(per_task, leases - start)
            for first in range(0, count, _AT_ONCE):
                batch = [self._lease(agent, task, next(lives)) for _ in range(min(_AT_ONCE, count - first))]
                await asyncio.gather(*(self.broker.leases.issue(lease) for lease in batch))

    async def fill_all(self, leases: int, *, per_task: int, expiries: Iterable[int]) -> None:
        """Write leases of all agents but the big one, evenly."""
        each = max(1, leases // len(self.names))
        for start in range(0, len(self.names), 20):
            names = self.names[start : start + 20]
            await asyncio.gather(*(self.fill(name, each, per_task=per_task, expiries=expiries) for name in names))
            print(f"\r{(start + len(names)) * each:,} leases", end="", flush=True)
        print()

    async def load(self, seconds: float) -> Load:
        """Ask for tokens as fast as they come, a few callers at a time, each for another agent than the big one."""
        latencies: list[float] = []
        start = time.perf_counter()
        asking = [self._ask(name, start + seconds, latencies) for name in self.names[:_CALLERS]]
        refused = sum(await asyncio.gather(*asking))
        return Load(latencies, len(latencies) / (time.perf_counter() - start), refused)

    async def _ask(self, name: str, end: float, latencies: list[float]) -> int:
        refused = 0
        assertion, scope = self.world.svid(_workload(name)), Scope.parse(SCOPE)
        while time.perf_counter() < end:
            start = time.perf_counter()
            try:
                await self.broker.exchange(TokenRequest(Presented(assertion), scope))
                latencies.append((time.perf_counter() - start) * 1e3)
            except Unavailable:
                # A worker that stood still for a second gives nothing until it has heard from the store.
                refused += 1
                await asyncio.sleep(0.1)
        return refused

    async def _task(self, agent: str) -> Task:
        registry = self.broker.active.rules.registry
        found = self.world.agent(_workload(agent))
        return await self.broker.tasks.open(found, _workload(agent), Declaration(type="long"), registry)

    def _lease(self, agent: str, task: Task, life: int) -> NewLease:
        picture, shard = self.broker.streams.picture, shard_of(agent)
        decided = _decided(agent, picture.epoch)
        record = LeaseRecord(task.id, decided.id, picture.seq, SCOPE)
        volumes = volume.of_agent(shard, agent, picture.epoch), volume.of_task(shard, task.id, picture.epoch)
        id = Leases.new_id(agent, now=self.world.clock.now().wall)
        return NewLease(id, agent, record, decided, life, volumes, b"{}", NO_END)

    def live(self, agent: str) -> int:
        """Return how many leases of an agent are still counted."""
        index = key(shard_of(agent), "agent", agent, self.broker.streams.picture.epoch)
        return int(self.world.backend.client.zcard(index))


@functools.cache
def _decided(agent: str, epoch: str) -> DecisionClass:
    fields = ("description", "subject")
    facts = Facts(agent, "development.test", "jwt-svid", "long", "crm:ticket#read", "crm:ticket", 300, fields=fields)
    return DecisionClass(
        epoch=epoch,
        level="read",
        audience=CRM,
        max_staleness=30,
        facts=msgspec.Raw(msgspec.json.encode(facts)),
        types=("long",),
        patterns=(("crm:ticket/*#read[description,subject]",),),
        agents=(agent,),
        binding=_workload(agent),
    )


@asynccontextmanager
async def filled(agents: int) -> AsyncIterator[Filled]:
    """Start a redis-server on loopback and a worker; end both."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder) / "redis")
        try:
            made = Filled(Path(folder), server, agents)
            made.world.follow()
            made.broker.follower.start()
            # As a worker does from its first second on: else all that is written now is gone through before anything else.
            await made.broker.settling.settle()
            yield made
            made.broker.follower.close()
            await made.world.backend.close()
        finally:
            server.end()


async def until(condition: Callable[[], bool], *, every: float) -> None:
    """Look every so many seconds until the condition is true."""
    pause = asyncio.Event()
    while not condition():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pause.wait(), every)


def _workload(agent: str) -> str:
    return f"spiffe://development.test/agent/{agent}"
