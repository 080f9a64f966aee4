"""`broker policy simulate`: what other policies would have answered to what was asked lately."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import typer

from broker.cli import output, recorded, refusals, sign_in, trying
from broker.cli.options import (
    DEFAULT_BROKER,
    DEFAULT_CONFIG,
    DEFAULT_OPERATOR,
    DEFAULT_OPERATOR_KEY,
    AsJson,
    Broker,
    Config,
    OperatorKey,
    OperatorName,
)
from broker.cli.recorded import DEFAULT_SINCE, Since
from broker.cli.trying import Policies, RegistryFolder
from broker.client.answers import AuditRecord
from broker.policy.replay import Again, Replay, Taken


class Turned(NamedTuple):
    """Decisions that would be others, by whom they are about: `was` and `now` are reasons, empty for what is allowed."""

    agent: str
    task_type: str
    action: str
    was: str
    now: str
    policies: tuple[str, ...]


class Simulated(NamedTuple):
    """What came of a simulation. Of `uncertain` decisions the records do not say all that the policies look at.

    `below` were for tasks below others, whose ceilings the records do not name. `before` were refused before policies were
    asked, and would be so again or not: the records do not say.
    """

    decided: int
    turned: Counter[Turned]
    uncertain: int
    below: int
    before: Counter[str]

    @property
    def rows(self) -> list[tuple[Turned, int]]:
        """What would be another answer: first what would be newly allowed, then what would be refused, the most first."""
        return sorted(self.turned.items(), key=lambda row: (bool(row[0].now), row[0].was != "", -row[1], row[0]))


def simulate(
    *,
    policies: Policies = None,
    registry: RegistryFolder = None,
    since: Since = DEFAULT_SINCE,  # type: ignore[assignment]  # parsed like any other that is given
    config: Config = DEFAULT_CONFIG,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Decide again what a running broker decided lately, by other policies, and say what would change for whom.

    Changes nothing; ends with 1 where something would change. Example: broker policy simulate --since 24h --policies new
    """
    replay = Replay(trying.read(config, policies, registry).trials)
    with sign_in.operator(broker, operator, operator_key) as client:
        found = _simulated(recorded.since(client, since), replay)
    if as_json:
        output.document(_told(found))
    else:
        _report(found)
    if found.turned or found.uncertain:
        raise typer.Exit(refusals.REFUSED)


def _simulated(records: Iterable[AuditRecord], replay: Replay) -> Simulated:
    decided = uncertain = below = 0
    turned: Counter[Turned] = Counter()
    before: Counter[str] = Counter()
    for record in records:
        taken = recorded.taken(record)
        if taken is None:
            before[record.reason or ""] += 1
            continue
        decided += 1
        below += taken.seen.facts.depth > 0
        again = replay.again(taken)
        if not again.is_certain:
            uncertain += 1
        elif again.verdict.reason != taken.reason:
            turned[_turned(taken, again)] += 1
    return Simulated(decided, turned, uncertain, below, before)


def _turned(taken: Taken, again: Again) -> Turned:
    facts = taken.seen.facts
    verdict = again.verdict
    return Turned(facts.agent, facts.task_type, facts.action, taken.reason, verdict.reason, verdict.policies)


def _told(found: Simulated) -> dict[str, object]:
    return {
        "decided": found.decided,
        "changes": [{**row._asdict(), "count": count} for row, count in found.rows],
        "changed": found.turned.total(),
        "uncertain": found.uncertain,
        "below_other_tasks": found.below,
        "refused_before": dict(found.before),
    }


def _report(found: Simulated) -> None:
    columns = ("AGENT", "TASK", "ACTION", "WAS", "WOULD BE", "BY", "COUNT")
    rows = [
        (row.agent, row.task_type, row.action, row.was or "allowed", row.now or "allowed", ", ".join(row.policies), str(count))
        for row, count in found.rows
    ]
    output.table(columns, rows, empty="No answer would be another.")
    output.say(f"{found.decided} decisions: {found.turned.total()} would be others.")
    if found.uncertain:
        output.say(f"{found.uncertain} are uncertain: the policies look at the user, and the records do not say which it was.")
    if found.below:
        output.say(f"{found.below} were for tasks below others; the ceilings of those are not looked at.")
    if found.before:
        output.say(f"{found.before.total()} were refused before policies were asked, and are not decided again.")
