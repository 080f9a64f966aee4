"""`broker activate`: put the registry and the policies of a folder into force, for all workers of all replicas."""

import threading
from typing import Annotated

import msgspec
import typer

from broker import app
from broker import policy as policies
from broker import settings as settings_file
from broker.active.own_files import Folders
from broker.cli import output, sign_in, trying
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
    Reason,
)
from broker.cli.refusals import REFUSED, UNCONFIRMED
from broker.cli.trying import Tried
from broker.client import Operator
from broker.client.answers import ActivationRecord, ConfigurationRecord
from broker.policy.trials import Trials
from broker.registry import files
from scopes.clock import SystemClock

_POLL = 0.1


def activate(
    *,
    reason: Reason,
    config: Config = DEFAULT_CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, and say what would change.")] = False,
    untested: Annotated[bool, typer.Option("--untested", help="Send it even where cases beside the policies fail.")] = False,
    wait: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Wait until every worker decides by it; exit 4 where one does not yet."),
    ] = None,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Put the registry and the policies of a folder into force: as a whole, for all workers at once.

    Example: broker activate --config /etc/agent-broker/broker.toml --reason "support-bot may draft" --wait 10
    """
    settings = settings_file.load(config)
    folders = Folders(settings.path(settings.registry), settings.path(settings.policies))
    # Checked here first, where the files are, so that problems are named by their paths.
    found = folders.read(app.objections(settings))
    if not untested:
        _check_cases(Tried(Trials(found.policies, found.registry, max_ttl=settings.max_ttl), folders.policies))
    sent = {"registry": files.read(folders.registry), "policies": policies.read(folders.policies)}
    with sign_in.operator(broker, operator, operator_key) as client:
        done = client.activate(sent, reason=reason, dry_run=dry_run)
        behind = _behind_after(client, done, wait) if wait is not None and not dry_run else None
    if as_json:
        told = {"behind": behind} if behind is not None else {}
        output.document({**msgspec.to_builtins(done), **told})
    else:
        _report(done, behind, is_tried=dry_run)
    if behind:
        raise typer.Exit(UNCONFIRMED)


def _check_cases(tried: Tried) -> None:
    lines = trying.failing(tried.results())
    if lines:
        output.say("\n".join(lines))
        output.say("Nothing was sent. --untested sends it all the same.")
        raise typer.Exit(REFUSED)


def _behind_after(client: Operator, done: ActivationRecord, seconds: float) -> int:
    """Return how many workers do not decide by it when all do, or the time is over."""
    clock, pause = SystemClock(), threading.Event()
    start = clock.now()
    while True:
        behind = _behind(client.configuration(), done.digest)
        left = seconds - clock.now().since(start) / 1000
        if not behind or left <= 0:
            return behind
        pause.wait(min(_POLL, left))


def _behind(known: ConfigurationRecord, digest: str) -> int:
    if known.digest != digest:
        # The worker that was asked has not heard of it itself.
        return max(len(known.workers), 1)
    return sum(worker.state == "behind" for worker in known.workers)


def _report(done: ActivationRecord, behind: int | None, *, is_tried: bool) -> None:
    rows = [(change.how, change.what, change.name) for change in done.changes]
    output.table(("", "WHAT", "NAME"), rows, empty="No record and no policy is another.")
    if is_tried:
        output.text("Nothing was changed." if done.new else "Nothing would change: this is in force.")
        return
    output.text("In force." if done.new else "Already in force.")
    output.say(f"digest {done.digest}, number {done.seq} of epoch {done.epoch}; nothing is decided by another any more.")
    if behind:
        workers = "1 worker has" if behind == 1 else f"{behind} workers have"
        output.say(f"{workers} not swapped yet, and so far {'issues' if behind == 1 else 'issue'} nothing.")
