"""`broker feed`: watch what is taken away, as verifiers hear it, and which of them have heard what."""

import threading
from pathlib import Path
from typing import Annotated

import msgspec
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
from broker.client import Operator, Published
from broker.client.answers import VerifierRecord
from broker.client.feed import News
from scopes.event_index import Event
from scopes.revocations import Snapshot

app = typer.Typer(no_args_is_help=True, add_completion=False)

_AFTER_END = 1.0


@app.command()
def watch(
    *,
    audience: Annotated[str, typer.Option(metavar="URL", help="The audience of the service whose feed to watch.")],
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Print what the verifiers of a service are told, as it happens, every frame's signature checked.

    Signs in as the operator where there is a key; a development broker lets anyone read. With --json every message is
    printed, heartbeats as well. Example: broker feed watch --audience https://crm.example.com
    """
    pause = threading.Event()
    with _reader(broker, operator, operator_key) as reader:
        while True:
            for news in reader.feed(audience):
                _print(news, as_json=as_json)
            output.say("The stream ended; connecting again.")
            pause.wait(_AFTER_END)


@app.command()
def status(
    *,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Show every verifier process that was heard of lately: its version, how far it is behind, how old its picture is, and
    which constraints of tokens it enforces.

    Example: broker feed status
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        found = client.verifiers()
    if as_json:
        output.document(found)
        return
    output.say(f"The log is at number {found.seq} of epoch {found.epoch}.")
    rows = [
        (
            one.service,
            f"{one.workload}/{one.process}",
            one.version,
            _lag(one),
            _milliseconds(one.age_ms),
            _milliseconds(one.heard_ms),
            " ".join(one.enforces),
        )
        for one in found.verifiers
    ]
    output.table(("SERVICE", "PROCESS", "VERSION", "BEHIND", "AGE", "HEARD", "ENFORCES"), rows, empty="No verifier is known.")


def _lag(verifier: VerifierRecord) -> str:
    if verifier.lag is not None:
        return str(verifier.lag)
    return "in another epoch" if verifier.epoch else "at no place of this log"


def _milliseconds(span: int | None) -> str:
    return f"{span} ms" if span is not None else "–"


def _reader(broker: str, operator: str, key: Path) -> Operator | Published:
    return sign_in.operator(broker, operator, key) if key.expanduser().exists() else Published(broker)


def _print(news: News, *, as_json: bool) -> None:
    kind = "snapshot" if isinstance(news, Snapshot) else "message"
    if as_json:
        output.line({"type": kind, **msgspec.to_builtins(news)})
        return
    if isinstance(news, Snapshot):
        output.text(f"{times.clock(news.as_of // 1000)}  at number {news.seq} of epoch {news.epoch}: {len(news.events)} alive")
    for event in news.events:
        _print_event(event, news.as_of)


def _print_event(event: Event, as_of: int) -> None:
    narrowed = f"  above {event.above}" if event.above else ""
    until = times.moment(event.until // 1000)
    output.text(f"{times.clock(as_of // 1000)}  #{event.seq}  {event.kind:<9} {event.value}{narrowed}  until {until}")
