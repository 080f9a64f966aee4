"""Reads decisions on requests for tokens from the audit of a running broker."""

from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from broker.cli import output, times
from broker.client import NotFound, Operator
from broker.client.answers import AuditRecord
from broker.policy import Seen
from broker.policy.replay import Taken
from scopes import ulid
from scopes.clock import SystemClock

DECIDED = ("token.issued", "token.refused")

# The id has the time of the worker that wrote it, the record that of the store.
_MARGIN = 60_000
_TOLD_EVERY = 1_000


def _span(text: str) -> int:
    try:
        return times.span(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Since = Annotated[int, typer.Option(metavar="SPAN", parser=_span, help="How far to go back: 90s, 30m, 24h, 7d.")]
DEFAULT_SINCE = "24h"


def since(client: Operator, seconds: int) -> Iterator[AuditRecord]:
    """Yield decisions of the last seconds, oldest first, and show how far the reading is."""
    for number, record in enumerate(_records(client, SystemClock().now().wall - seconds * 1000), 1):
        if number % _TOLD_EVERY == 0:
            output.progress(f"{number} records read, up to {times.clock(record.time // 1000)}")
        if record.kind in DECIDED:
            yield record
    output.progress("")


def find(client: Operator, id: str) -> AuditRecord:
    """Return the decision of this id; raise `NotFound`."""
    if not ulid.is_id(id, "evt_"):
        raise typer.BadParameter(f"{id!a} is not the id of an audit record, like evt_…", param_hint="--event")
    made = ulid.time_of(id.removeprefix("evt_"))
    for record in _records(client, max(made - _MARGIN, 0)):
        if record.id == id and record.kind in DECIDED:
            return record
        if record.time > made + _MARGIN:
            break
    raise NotFound(f"there is no decision {id!a} on a request for a token in the audit")


def taken(record: AuditRecord) -> Taken | None:
    """Return what a record tells of a decision; nothing, where policies were not asked."""
    if record.seen is None or record.scope is None:
        return None
    return Taken(
        seen=msgspec.convert(record.seen, Seen),
        scope=record.scope,
        reason="" if record.kind == "token.issued" else record.reason or "refused",
        policies=record.policies,
        user=record.user or "",
    )


def _records(client: Operator, start: int) -> Iterator[AuditRecord]:
    page = client.audit(since=start)
    while page.events:
        yield from page.events
        page = client.audit(page.events[-1].cursor)
