"""How many tokens a broker gives out, over HTTP, beside its Redis and its callers. Run: python -m tests.benchmarks.issuing.

One `broker serve`, one redis-server, and callers in the process that measures, which keep their connections and do as little
as they can: what each of the three takes of the processor's time for a token is in the figures.
"""

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from broker.api.token import CLIENT_CREDENTIALS, JWT_SPIFFE
from tests.benchmarks.figures import machine, quantile, spread
from tests.benchmarks.spending import spent_by
from tests.live.conftest import Site, alone

_SCOPE = "crm:ticket/4711#read[description,subject]"
_REGISTRY = """
[services.crm]
audience    = "https://crm.test"
environment = "prod"
owner       = "crm-team@example.com"
workloads   = [{ spiffe = "spiffe://development.test/service/crm" }]

[services.crm.resources.ticket]
data_classes = ["pii"]
untrusted    = true
fields       = { subject = [], description = [], email = ["pii"], card_number = ["financial"] }

[services.crm.resources.ticket.actions]
read  = { level = "read", max_ttl = 300 }
reply = { level = "trigger" }

[tasks.summarise]
purpose      = "Summarise tickets"
max_duration = 7200
scopes       = ["crm:ticket/*#read[subject,description]"]
"""
_AGENT = """
[agents.{0}]
owner        = "jane@example.com"
purpose      = "A benchmark"
environment  = "prod"
workloads    = [{{ spiffe = "spiffe://development.test/agent/{0}" }}]
tasks        = ["summarise"]
default_task = "summarise"
ends         = 2099-06-30
limits       = {{ leases_per_minute = 1_000_000, live_leases = 1_000_000 }}
"""


class Round(NamedTuple):
    """What some seconds gave: tokens a second, milliseconds each, and the processor's microseconds for a token, by process."""

    rate: float
    latencies: list[float]
    refused: int
    broker: float
    store: float
    callers: float

    def shown(self) -> str:
        """Write it in a line."""
        times = f"p50 {quantile(self.latencies, 0.5):6.2f} ms, p99 {quantile(self.latencies, 0.99):6.2f} ms"
        share = f"broker {self.broker:4.0f} µs, store {self.store:4.0f} µs, callers {self.callers:4.0f} µs a token"
        return f"{self.rate:6.0f} tokens/s, {times}, {self.refused} refused; {share}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=32, help="how many callers wait for an answer at the same time")
    parser.add_argument("--agents", type=int, default=200, help="for how many agents they ask")
    parser.add_argument("--rounds", type=int, default=5, help="how often it is measured")
    parser.add_argument("--seconds", type=float, default=5, help="how long each time")
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder, site(Path(folder), asked.agents) as (made, requests):
        rounds = asyncio.run(measure(made, requests, asked))
    print(f"tokens/s          {spread([each.rate for each in rounds], 0)}")
    print(f"p99, ms           {spread([quantile(each.latencies, 0.99) for each in rounds])}")
    print(f"broker, µs        {spread([each.broker for each in rounds], 0)}")
    print(f"all three, µs     {spread([each.broker + each.store + each.callers for each in rounds], 0)}")
    print(machine())


async def measure(made: Site, requests: Sequence[bytes], asked: argparse.Namespace) -> list[Round]:
    callers = Callers(made.replicas[0].port, requests)
    # So that scripts are loaded, tasks open and keys fetched.
    await callers.ask(asked.connections, 2)
    found = []
    for _ in range(asked.rounds):
        before = spending(made)
        start = time.perf_counter()
        latencies, refused = await callers.ask(asked.connections, asked.seconds)
        took = time.perf_counter() - start
        each = [(after - first) * 1e6 / len(latencies) for first, after in zip(before, spending(made), strict=True)]
        found.append(Round(len(latencies) / took, latencies, refused, *each))
        print(found[-1].shown(), flush=True)
    return found


def spending(made: Site) -> tuple[float, float, float]:
    """Return the seconds of processor time that broker, store and callers have taken so far."""
    own = time.process_time()
    return spent_by(f"--config\0{made.folder / 'broker.toml'}\0"), spent_by(f"127.0.0.1:{made.server.port}\0"), own


class Callers:
    """Callers that send the same few requests over and over, each over a connection of its own."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self._port = port
        self._requests = requests

    async def ask(self, connections: int, seconds: float) -> tuple[list[float], int]:
        """Ask for so long; return the milliseconds of each answer that was a token, and how many were none."""
        latencies: list[float] = []
        end = time.perf_counter() + seconds
        starts = range(0, len(self._requests), max(1, len(self._requests) // connections))
        asking = [self._ask(start, end, latencies) for start in itertools.islice(itertools.cycle(starts), connections)]
        return latencies, sum(await asyncio.gather(*asking))

    async def _ask(self, first: int, end: float, latencies: list[float]) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        refused = 0
        for number in itertools.count(first):
            start = time.perf_counter()
            if start > end:
                break
            writer.write(self._requests[number % len(self._requests)])
            if await _is_token(reader):
                latencies.append((time.perf_counter() - start) * 1e3)
            else:
                refused += 1
        writer.close()
        await writer.wait_closed()
        return refused


async def _is_token(reader: asyncio.StreamReader) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, rest = head.lower().partition(b"content-length: ")
    body = await reader.readexactly(int(rest.partition(b"\r\n")[0]))
    return head.startswith(b"HTTP/1.1 200") and b'"access_token"' in body


@contextmanager
def site(folder: Path, agents: int) -> Iterator[tuple[Site, list[bytes]]]:
    """Start a redis-server and a broker with one worker; give with them a request of each agent."""
    names = [f"agent-{number:05}" for number in range(agents)]
    with alone(folder, registry=_REGISTRY + "".join(map(_AGENT.format, names)), workers=1) as made:
        yield made, [_request(made, name) for name in names]


def _request(made: Site, agent: str) -> bytes:
    form = {"grant_type": CLIENT_CREDENTIALS, "client_assertion_type": JWT_SPIFFE, "scope": _SCOPE}
    body = urlencode({**form, "client_assertion": made.svid(f"spiffe://development.test/agent/{agent}")}).encode()
    head = f"POST /oauth/token HTTP/1.1\r\nHost: 127.0.0.1:{made.replicas[0].port}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode() + body


if __name__ == "__main__":
    main()
