"""How long a decision takes by the number of policies. Run: python -m tests.benchmarks.decide --help.

The policies are the starter set and those of many agents and services for themselves. Four ways are measured in turns: asked
of all policies at once; asked of those whose head matches, for a question that nobody asked before; for facts that are new and
a question that is not; and for facts that were seen before. The ratios are of medians of the same run. The
times are those that the processor spent, so that what else this machine does is not in them.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cedarpy
import msgspec

from broker.active.own_files import Folders
from broker.policy import Facts, Moment, Policy, entities
from broker.policy.facts import AGES, REFUSALS, TTLS
from scopes.clock import SystemClock
from tests.benchmarks.figures import machine, spread
from tests.broker.world import REGISTRY, write_files

_SERVICES = 20
_SERVICE = """
[services.s{0}]
audience    = "https://s{0}.test"
environment = "prod"
owner       = "s{0}-team@example.com"

[services.s{0}.resources.record]
fields = {{ name = [], note = ["pii"] }}

[services.s{0}.resources.record.actions]
read = {{ level = "read" }}
edit = {{ level = "write" }}
"""
_AGENT = """
[agents.bot-{0}]
owner       = "owner-{0}@example.com"
purpose     = "A benchmark"
environment = "prod"
workloads   = [{{ spiffe = "spiffe://development.test/agent/bot-{0}" }}]
tasks       = ["summarise-ticket"]
ends        = 2099-06-30
"""
# What agents may do is most of it; the rest is what services' owners do not want.
_OWN = (
    (
        '@id("own-{0}") permit (principal == Agent::"bot-{1}", action == Action::"s{2}:record#edit", resource is Record)'
        " when {{ context.ttl <= 300 && context.recent_refusals < 10 }};\n"
    ),
    (
        '@id("own-{0}") permit (principal == Agent::"bot-{1}", action in Action::"draft", resource is Record)'
        " when {{ principal.environment == resource.environment }};\n"
    ),
    (
        '@id("own-{0}") forbid (principal, action == Action::"s{2}:record#edit", resource is Record)'
        ' when {{ context.fields.contains("note") && context.task.age > 3600 }};\n'
    ),
)
_MOMENT = Moment(12, 1)


class Asked(NamedTuple):
    """A policy, the same policies as one set, and how many agents there are."""

    policy: Policy
    whole: cedarpy.PolicySet
    registry: entities.Registry
    agents: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", type=int, nargs="+", default=[10, 100, 1_000], help="how many beside the starter set")
    parser.add_argument("--agents", type=int, default=200, help="how many agents ask")
    parser.add_argument("--rounds", type=int, default=20, help="how often each way is measured")
    asked = parser.parse_args()
    print(machine())
    for policies in asked.policies:
        with tempfile.TemporaryDirectory() as folder:
            measure(made(Path(folder), policies, asked.agents), policies, asked.rounds)
    print(machine())


def made(folder: Path, policies: int, agents: int) -> Asked:
    services = "".join(map(_SERVICE.format, range(_SERVICES)))
    write_files(folder, registry=REGISTRY + services + "".join(map(_AGENT.format, range(agents))))
    own = (_OWN[number % len(_OWN)].format(number, number % agents, number % _SERVICES) for number in range(policies))
    (folder / "policies" / "own.cedar").write_text("".join(own))
    content = Folders(folder / "registry", folder / "policies").read(lambda _: [])
    whole = cedarpy.PolicySet.from_str("\n".join(content.policies.texts.values()))
    return Asked(Policy(content.policies, content.registry, clock=SystemClock()), whole, content.registry, agents)


def measure(asked: Asked, policies: int, rounds: int) -> None:
    new, reworded = questions(asked.agents), rewordings()
    every = list(itertools.islice(new, asked.agents))
    for facts in every:
        asked.policy.judge(facts, _MOMENT)
    took: dict[str, list[float]] = {"all at once": [], "new question": [], "new facts": [], "seen before": []}
    for number in range(rounds):
        some = list(itertools.islice(new, 10))
        took["all at once"].append(each(some, lambda facts: unsliced(asked, facts)))
        took["new question"].append(each(some, lambda facts: asked.policy.judge(facts, _MOMENT)))
        same = [msgspec.structs.replace(every[number], **next(reworded)) for _ in range(10)]
        took["new facts"].append(each(same, lambda facts: asked.policy.judge(facts, _MOMENT)))
        took["seen before"].append(each(same * 10, lambda facts: asked.policy.judge(facts, _MOMENT)))
    base = statistics.median(took["all at once"])
    print(f"{policies:,} policies beside the starter set, {asked.agents} agents")
    for way, times in took.items():
        print(f"  {way:13} {spread(times, 1)} µs   {base / statistics.median(times):8.1f} times as fast as all at once")


def questions(agents: int) -> Iterator[Facts]:
    """Yield facts that differ in what policies look at, so that each is a question of its own."""
    varied = itertools.product(TTLS, REFUSALS, AGES, (("name",), ("name", "note")))
    for (ttl, refusals, age, fields), number in itertools.product(varied, range(agents)):
        action = f"s{number % _SERVICES}:record#edit"
        yield Facts(
            f"bot-{number}",
            "development.test",
            "jwt-svid",
            "summarise-ticket",
            action,
            action.partition("#")[0],
            ttl,
            age=age,
            fields=fields,
            proof="dpop",
            recent_refusals=refusals,
        )


def rewordings() -> Iterator[dict[str, str]]:
    """Yield what makes other facts, and which no policy looks at."""
    yield from ({"trust_domain": f"{number}.test"} for number in itertools.count())


def unsliced(asked: Asked, facts: Facts) -> None:
    known = entities.of_token(facts, _MOMENT, asked.registry, reads=asked.policy.folder.reads)
    named = {name: entities.uid(getattr(known, name)) for name in ("principal", "action", "resource")}
    context, given = (msgspec.json.encode(part).decode() for part in (known.context, known.entities))
    cedarpy.is_authorized({**named, "context": context}, asked.whole, given)


def each(some: list[Facts], ask: Callable[[Facts], object]) -> float:
    start = time.thread_time()
    for facts in some:
        ask(facts)
    return (time.thread_time() - start) / len(some) * 1e6


if __name__ == "__main__":
    main()
