"""`broker doctor`: the live store and this machine, looked at as the broker needs them."""

import stat
from pathlib import Path

import redis
import typer

from broker import app
from broker import settings as settings_file
from broker.cli import output, refusals
from broker.cli.check import store_of
from broker.cli.options import DEFAULT_CONFIG, AsJson, Config
from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.store import masters
from broker.store.examination import Finding, examine, examine_feed, rating_of
from scopes.clock import SystemClock


def doctor(*, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Look at the live store, its replicas, its clock and the key folder, and say what to do next.

    Changes nothing. Ends with 1 if there is a problem, with 3 if the store does not answer; a warning is no problem.
    Example: broker doctor --config /etc/agent-broker/broker.toml
    """
    settings = app.configure(settings_file.load(config)).settings
    findings = [_folder(settings.path(settings.keys)), *_store(settings)]
    rating = rating_of(findings)
    if as_json:
        output.document({"rating": rating, "findings": [finding._asdict() for finding in findings]})
    else:
        output.table(("rating", "what", "found", "next"), [_row(finding) for finding in findings], empty="Nothing to look at.")
    if any(finding.subject == "unreachable" for finding in findings):
        raise typer.Exit(refusals.UNREACHABLE)
    if rating == "problem":
        raise typer.Exit(refusals.REFUSED)


def _row(finding: Finding) -> tuple[str, str, str, str]:
    return (finding.rating, finding.subject, finding.found, finding.advice)


def _folder(folder: Path) -> Finding:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        return Finding("keys", "problem", f"{folder} is open to others ({mode:03o})", f"run chmod 700 {folder}")
    return Finding("keys", "ok", f"{folder} is its owner's alone")


def _store(settings: Settings) -> list[Finding]:
    if settings.redis_url is None:
        return [Finding("store", "warning", "embedded: nothing is kept", "set redis_url for anything but a first run")]
    where, clients = store_of(settings), list[redis.Redis]()
    try:
        clients = masters.clients(settings.redis_url)
        return _masters(clients, settings)
    except (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError) as error:
        raise ConfigurationError([f"redis_url: the server refuses the broker: {error}"]) from None
    except (redis.exceptions.RedisError, OSError) as error:
        advice = "is it running, and is redis_url right? Nothing is issued until it answers"
        return [Finding("unreachable", "problem", f"{where} does not answer ({type(error).__name__})", advice)]
    finally:
        masters.close(clients)


def _masters(clients: list[redis.Redis], settings: Settings) -> list[Finding]:
    clock, replicas = SystemClock(), settings.replicas_required
    findings = [finding for client in clients for finding in examine(client, replicas_required=replicas, clock=clock)]
    return [*findings, *examine_feed(masters.of_the_feed(clients), run_id=masters.run_id(clients))]
