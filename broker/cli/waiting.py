"""Waits until every verifier process refuses what was revoked, and says of each how far it has come (TRAPS 19)."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
import typer

from broker.cli import output, times
from broker.cli.refusals import UNCONFIRMED
from broker.client import ClientError, Operator, Refused
from broker.client.answers import AffectedVerifier, Committed
from scopes.clock import SystemClock

_POLL = 0.1
_INTERRUPTED = 130


class Waited(NamedTuple):
    """What is known at the end: each verifier process, or why the broker could not tell."""

    verifiers: tuple[AffectedVerifier, ...] = ()
    problem: str = ""

    @property
    def open(self) -> int:
        """How many may still honour what was revoked."""
        return sum(verifier.state == "open" for verifier in self.verifiers)

    @property
    def is_confirmed(self) -> bool:
        """Tell whether nobody honours it any more."""
        return not self.problem and not self.open


@contextmanager
def in_force(revoked: Committed, *, as_json: bool) -> Iterator[None]:
    """Say that the revocation holds, and exit as Ctrl-C does, where that ends what is said or waited for afterwards."""
    try:
        yield
    except KeyboardInterrupt:
        output.progress("")
        if as_json:
            output.document(revoked)
        output.say(f"{revoked.id} is in force; only the waiting was broken off.")
        raise typer.Exit(_INTERRUPTED) from None


def wait(client: Operator, revoked: Committed, seconds: float, *, as_json: bool) -> None:
    """Wait at most so long, say how far it has come, and exit with 4 unless nobody honours it any more."""
    waited = _until_confirmed(client, revoked.id, seconds)
    output.progress("")
    if as_json:
        output.document({**msgspec.to_builtins(revoked), "confirmed": waited.is_confirmed, "verifiers": waited.verifiers})
    else:
        _print(waited)
    _explain(waited)
    if not waited.is_confirmed:
        raise typer.Exit(UNCONFIRMED)


def _until_confirmed(client: Operator, id: str, seconds: float) -> Waited:
    clock, pause = SystemClock(), threading.Event()
    start, waited = clock.now(), Waited()
    while True:
        try:
            waited = Waited(client.revocation(id).verifiers)
        except Refused as error:
            return Waited(problem=str(error))
        except ClientError as error:
            waited = waited._replace(problem=str(error))
        left = seconds - clock.now().since(start) / 1000
        if waited.is_confirmed or left <= 0:
            return waited
        output.progress(f"{waited.open} of {len(waited.verifiers)} verifier processes may still honour it …")
        pause.wait(min(_POLL, left))


def _print(waited: Waited) -> None:
    rows = [(one.service, _name(one), one.state, _detail(one)) for one in waited.verifiers]
    if rows or not waited.problem:
        output.table(
            ("SERVICE", "PROCESS", "STATE", ""), rows, empty="It concerns no service, so no verifier has to refuse it."
        )


def _name(verifier: AffectedVerifier) -> str:
    return f"{verifier.workload}/{verifier.process}" if verifier.process is not None else "(any that is not known)"


def _detail(verifier: AffectedVerifier) -> str:
    if verifier.state == "enforced":
        return f"after {verifier.delay_ms} ms" if verifier.delay_ms is not None else ""
    if verifier.state == "fenced":
        return "heard nothing for too long, so it refuses by itself"
    if verifier.fenced_at is None:
        return "until it acknowledges"
    return f"until it acknowledges, or {times.moment(verifier.fenced_at // 1000)}"


def _explain(waited: Waited) -> None:
    for verifier in waited.verifiers:
        if verifier.process is None and verifier.state == "open":
            output.say(
                f"Not every verifier process of {verifier.service} is known, or none is; one that is not may still honour it."
            )
    if waited.problem:
        output.say(f"The revocation is in force; how far it has come is not known: {waited.problem}")
    elif waited.open:
        output.say(f"The revocation is in force, and {waited.open} of {len(waited.verifiers)} may still honour what it ended.")
