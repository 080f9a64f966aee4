"""`broker audit`: read what happened."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Annotated

import typer

from broker.cli import output, sign_in, times
from broker.cli.options import (
    DEFAULT_BROKER,
    DEFAULT_OPERATOR,
    DEFAULT_OPERATOR_KEY,
    AsJson,
    Broker,
    OperatorKey,
    OperatorName,
)
from broker.client import Operator
from broker.client.answers import AuditRecord

app = typer.Typer(no_args_is_help=True, add_completion=False)

_LAST = 20
_POLL = 0.5


@app.callback()
def audit() -> None:
    """Make a group of what would otherwise be one command."""


@app.command()
def tail(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on and print what is recorded from now on.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Print everything after this cursor, as an earlier --json run gave it.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last records, without --since.")] = _LAST,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Print the last audit records, oldest first; with --json one per line, each with the cursor to go on from.

    Example: broker audit tail --follow
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        records = _after(client, since or "")
        cursor = since or ""
        for record in records if since is not None else deque(records, maxlen=lines):
            _print(record, as_json=as_json)
            cursor = record.cursor
        pause = threading.Event()
        while follow:
            for record in _after(client, cursor):
                _print(record, as_json=as_json)
                cursor = record.cursor
            pause.wait(_POLL)


def _after(client: Operator, cursor: str) -> Iterator[AuditRecord]:
    while page := client.audit(cursor).events:
        yield from page
        cursor = page[-1].cursor


def _print(record: AuditRecord, *, as_json: bool) -> None:
    if as_json:
        output.line(record)
        return
    who = record.agent or record.operator or "–"
    what = [record.scope, record.selector, record.reason, ", ".join(record.policies), record.task, record.lease]
    if record.shadow:
        what.append(f"shadow: {', '.join(record.shadow)}")
    said = [f"“{record.said}”"] if record.said else []
    told = "  ".join(part for part in [*what, *said] if part)
    output.text(f"{times.clock(record.time // 1000)}  {record.kind:<14}  {who:<16}  {told}")
