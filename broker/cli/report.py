"""`broker report`: who can reach what, and what policies in shadow mode would have done."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import typer

from broker.cli import output, recorded, sign_in
from broker.cli.options import (
    DEFAULT_BROKER,
    DEFAULT_OPERATOR,
    DEFAULT_OPERATOR_KEY,
    AsJson,
    Broker,
    OperatorKey,
    OperatorName,
)
from broker.cli.reach import reach
from broker.cli.recorded import DEFAULT_SINCE, Since
from broker.client.answers import AuditRecord

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command()(reach)


class _Shadowed(NamedTuple):
    policy: str
    agent: str
    action: str
    would: str


@app.command()
def shadow(
    *,
    since: Since = DEFAULT_SINCE,  # type: ignore[assignment]  # parsed like any other that is given
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Say which policies in shadow mode would have turned how many decisions, and for whom.

    Example: broker report shadow --since 24h
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        decided, found = _shadowed(recorded.since(client, since))
    rows = sorted(found.items(), key=lambda row: (-row[1], row[0]))
    if as_json:
        output.document({"decided": decided, "shadow": [{**row._asdict(), "count": count} for row, count in rows]})
        return
    cells = [(*row, str(count)) for row, count in rows]
    empty = "No policy in shadow mode would have turned an answer."
    output.table(("POLICY", "AGENT", "ACTION", "WOULD HAVE", "COUNT"), cells, empty=empty)
    output.say(f"{decided} decisions.")


def _shadowed(records: Iterable[AuditRecord]) -> tuple[int, Counter[_Shadowed]]:
    decided, found = 0, Counter[_Shadowed]()
    for record in records:
        taken = recorded.taken(record)
        if taken is None:
            continue
        decided += 1
        would = "allowed it" if taken.reason else "refused it"
        found.update(_Shadowed(id, taken.seen.facts.agent, taken.seen.facts.action, would) for id in record.shadow)
    return decided, found
