"""A reload that forbids what a tenth of a million live leases hold. Run: python -m tests.benchmarks.reload --help.

Two replicas, each a process with files of its own, on a redis-server on loopback; the second one's files never change. Every
round forbids one field more, by an activation that is sent to the first replica. A verifier, in the process that measures,
holds a real token of every decision class. The last round is watched with MONITOR, and has no other load.
"""

import argparse
import asyncio
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx2
import redis

import broker
from broker.store import Script
from broker.store.scripts import CLOCK
from scopes import Revoked, Verifier
from tests.benchmarks.figures import machine, quantile, spread
from tests.benchmarks.held import FIELDS, RESOURCE, Fleet, Held, fleet, shards_of

_FORBID = '@id("no-{0}") forbid (principal is Agent, action, resource is Record) when {{ context.fields.contains("{0}") }};\n'
_PATIENCE = 60
_GAP, _SELDOM = 0.01, 0.1
_ROOT = Path(broker.__file__).parents[1]
_SCRIPTS = tuple((".".join(path.relative_to(_ROOT).parent.parts), path.stem) for path in _ROOT.glob("broker/**/*.lua"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leases", type=int, default=1_000_000, help="how many leases live")
    parser.add_argument("--agents", type=int, default=500, help="how many agents hold them, each in ten classes")
    parser.add_argument("--rounds", type=int, default=5, help="how often a field more is forbidden, at most nine times")
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), asked))
    print(machine())


async def measure(folder: Path, asked: argparse.Namespace) -> None:
    async with fleet(folder, asked.agents) as made:
        held = await made.hold()
        await asyncio.to_thread(made.multiply, held, asked.leases)
        print(f"{asked.leases:,} leases, {len(held):,} classes, {len(made.agents):,} agents in {shards_of(made.agents)} shards")
        verifier = made.site.verifier(made.replicas[0])
        try:
            rounds = await asyncio.to_thread(forbid_more_and_more, made, verifier, held, asked.rounds)
            show(rounds)
        finally:
            verifier.close()


class Round(NamedTuple):
    """What one reload gave; seconds from the moment of the request.

    `spent` is the processor's time that both replicas took together until then.
    """

    spent: float
    answered: float
    first: float
    last: float
    undecided: list[tuple[float, int]]
    calm: list[float]
    during: list[float]
    issued_after: int
    refused: int
    lost: int


def forbid_more_and_more(made: Fleet, verifier: Verifier, held: Sequence[Held], rounds: int) -> list[Round]:
    """Go through the rounds, and through one more under MONITOR."""
    found = []
    for number in range(rounds):
        found.append(one_round(made, verifier, held, number))
        print(f"\rround {number + 1}: {found[-1].last:.2f} s", end="", flush=True)
    print()
    watched(made, verifier, held, rounds)
    return found


def one_round(made: Fleet, verifier: Verifier, held: Sequence[Held], number: int) -> Round:
    gone, stays = FIELDS[: number + 1], FIELDS[number + 1 :]
    wanted = [one for one in held if one.field == gone[-1]]
    others = [one for one in held if one.field in stays]
    refuses(verifier, held)
    with Asking(made, stays[0]) as calm_one:
        threading.Event().wait(2)
    calm = calm_one.latencies
    with Asking(made, stays[0]) as allowed, Asking(made, gone[-1]) as forbidden, Undecided(made) as undecided:
        started, spent = time.perf_counter(), made.spent()
        answered = activate(made, gone)
        refused = refusals(verifier, wanted)
        ended, spent = time.perf_counter(), made.spent() - spent
        threading.Event().wait(0.5)
    after = [at for at, status in forbidden.answers if status == httpx2.codes.OK and at - answered > 0]
    during = [took for at, took in zip(allowed.times, allowed.latencies, strict=True) if started <= at <= ended]
    return Round(
        spent,
        answered - started,
        min(refused) - started,
        max(refused) - started,
        [(at - started, left) for at, left in undecided.seen],
        calm,
        during,
        len(after),
        len(refused),
        len(refuses(verifier, others)),
    )


def activate(made: Fleet, fields: Iterable[str]) -> float:
    """Forbid the fields, and return when that was answered."""
    headers, body = made.activation({"forbidden.cedar": "".join(map(_FORBID.format, fields))})
    answer = httpx2.post(f"{made.replicas[0].url}/v1/activations", json=body, headers=headers, timeout=30, trust_env=False)
    answer.raise_for_status()
    return time.perf_counter()


def refusals(verifier: Verifier, held: Iterable[Held]) -> list[float]:
    """Look until all the tokens are refused, and return when each was."""
    left, found = list(held), []
    until = time.perf_counter() + _PATIENCE
    while left and time.perf_counter() < until:
        gone = refuses(verifier, left)
        found += [time.perf_counter()] * len(gone)
        left = [one for one in left if one not in gone]
        threading.Event().wait(_GAP)
    assert not left, f"{len(left)} tokens are accepted after {_PATIENCE} seconds"
    return found


def refuses(verifier: Verifier, held: Iterable[Held]) -> set[Held]:
    """Return those of the tokens that the verifier refuses as revoked."""
    return {one for one in held if is_refused(verifier, one)}


def is_refused(verifier: Verifier, held: Held) -> bool:
    try:
        verifier.verify(held.token, action="read", resource=RESOURCE)
    except Revoked:
        return True
    return False


class Asking:
    """Asks both replicas for tokens of one field while it is open, each in a thread of its own, with a pause between two."""

    def __init__(self, made: Fleet, field: str) -> None:
        self._made = made
        self._field = field
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(len(made.replicas))]
        self.times: list[float] = []
        self.latencies: list[float] = []
        self.answers: list[tuple[float, int]] = []

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        url, agents = f"{self._made.replicas[number].url}/oauth/token", self._made.agents
        with httpx2.Client(trust_env=False, timeout=30) as client:
            for turn in range(1_000_000):
                if self._over.wait(_SELDOM):
                    return
                start = time.perf_counter()
                answer = client.post(url, data=self._made.ask(agents[turn % len(agents)], self._field))
                self.times.append(start)
                self.latencies.append((time.perf_counter() - start) * 1e3)
                self.answers.append((start, answer.status_code))


class Undecided:
    """Notes what the first replica shows of shards that are not decided yet, while it is open."""

    def __init__(self, made: Fleet) -> None:
        self._url = f"{made.replicas[0].url}/metrics"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen: list[tuple[float, int]] = []

    def __enter__(self) -> "Undecided":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        with httpx2.Client(trust_env=False, timeout=30) as client:
            while not self._over.wait(_SELDOM):
                found = re.search(r"^broker_undecided_shards (\d+)", client.get(self._url).text, re.MULTILINE)
                if found is not None and (not self.seen or self.seen[-1][1] != int(found[1])):
                    self.seen.append((time.perf_counter(), int(found[1])))


def watched(made: Fleet, verifier: Verifier, held: Sequence[Held], number: int) -> None:
    """Forbid one field more, and count which scripts looked at which kinds of keys until all its tokens were refused."""
    gone = FIELDS[: number + 1]
    with redis.Redis.from_url(made.site.server.url) as client, client.monitor() as monitor:
        ended = threading.Event()
        seen: list[tuple[bool, str]] = []
        listening = threading.Thread(target=lambda: _listen(monitor, seen, ended))
        listening.start()
        activate(made, gone)
        refusals(verifier, [one for one in held if one.field == gone[-1]])
        ended.set()
        listening.join()
    for script, kinds in sorted(_by_script(seen).items()):
        print(f"  {script:28} {', '.join(f'{kind} {count:,}' for kind, count in kinds.most_common())}")


def _listen(monitor: redis.client.Monitor, seen: list[tuple[bool, str]], ended: threading.Event) -> None:
    for told in monitor.listen():
        seen.append((told["client_type"] == "lua", told["command"]))
        if ended.is_set():
            return


def _by_script(commands: Iterable[tuple[bool, str]]) -> dict[str, Counter[str]]:
    """Count the keys of shards that commands name, by the script they were in; a script's commands follow it."""
    names = {_script(package, name, full).sha: f"{package}.{name}" for package, name in _SCRIPTS for full in (False, True)}
    found: dict[str, Counter[str]] = {}
    script = "commands"
    for is_in_script, command in commands:
        verb, _, rest = command.partition(" ")
        if verb.upper() == "EVALSHA":
            script = names.get(rest.partition(" ")[0], "another script")
            continue
        script = script if is_in_script else "commands"
        kinds = re.findall(r"ab:\{s\d\d\}:(\w+)", rest)
        found.setdefault(script, Counter()).update(kinds[:1])
    return found


def _script(package: str, name: str, full: bool) -> Script:
    return Script(package, name, clock=CLOCK, even_when_full=full)


def show(rounds: Sequence[Round]) -> None:
    calm = [took for each in rounds for took in each.calm]
    during = [took for each in rounds for took in each.during]
    print(f"tokens refused            {rounds[0].refused:,} a round, {sum(each.lost for each in rounds)} others")
    print(f"from request to answer    {spread([each.answered for each in rounds])} s")
    print(f"to the first refusal      {spread([each.first for each in rounds])} s")
    print(f"to the last refusal       {spread([each.last for each in rounds])} s")
    print(f"answer to last refusal    {spread([each.last - each.answered for each in rounds])} s")
    print(f"processor's time until it {spread([each.spent for each in rounds])} s, of both replicas together")
    print(f"issued after the answer   {sum(each.issued_after for each in rounds)} of what is forbidden")
    print(f"issuing p99               {quantile(calm, 0.99):.0f} ms before, {quantile(during, 0.99):.0f} ms during")
    print(f"undecided shards, a round {', '.join(f'{left} at {at:.2f} s' for at, left in rounds[-1].undecided)}")


if __name__ == "__main__":
    main()
