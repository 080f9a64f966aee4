"""`broker doctor`: the live store and this machine, looked at as the broker needs them."""

import stat
from pathlib import Path
from typing import Any

import msgspec
import redis
import typer

from broker import app
from broker import settings as settings_file
from broker.active import bundle as bundles
from broker.app import Configuration
from broker.cli import output, refusals, times
from broker.cli.check import store_of
from broker.cli.options import DEFAULT_CONFIG, AsJson, Config
from broker.errors import ConfigurationError
from broker.feed.activated import Activated
from broker.feed.log import ACTIVE
from broker.identity import TrustDomain
from broker.keys import record as records
from broker.settings import Settings
from broker.store import masters
from broker.store.examination import Finding, examine, examine_feed, rating_of
from scopes.clock import SystemClock
from scopes.keys import TOKEN_ALGORITHMS, KeySet


def doctor(*, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Look at the live store, its replicas, its clock and the key folder, and say what to do next.

    Changes nothing. Ends with 1 if there is a problem, with 3 if the store does not answer; a warning is no problem.
    Example: broker doctor --config /etc/agent-broker/broker.toml
    """
    configuration = app.configure(settings_file.load(config), may_differ=True)
    settings = configuration.settings
    findings = [_folder(settings.path(settings.keys)), *_files(configuration), *_bundles(configuration), *_store(configuration)]
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


def _bundles(configuration: Configuration) -> list[Finding]:
    """Read the bundle of every trust domain, as a worker does; one that is not known keeps its workloads out."""
    return [_bundle(domain) for domain in configuration.trust_domains]


def _bundle(domain: TrustDomain) -> Finding:
    domain.source.refresh()
    state, subject = domain.state, f"bundle of {domain.name}"
    if state.problem:
        advice = "what a worker knew before stays in force for a day; look at [[trust.spiffe]]"
        # What could not be fetched names its address itself.
        found = state.problem if state.problem.startswith(state.source) else f"{state.source}: {state.problem}"
        return Finding(subject, "problem", found, advice)
    kinds = f"{len(domain.bundle.jwt_authorities)} for JWT-SVIDs, {len(domain.bundle.x509_authorities)} for X.509-SVIDs"
    return Finding(subject, "ok", f"{state.source}: authorities: {kinds}; {state.age or 0:.0f} s old")


def _files(configuration: Configuration) -> list[Finding]:
    """Say what is wrong with the files of this replica: one by one, for what is in force stays until all are mended."""
    advice = "mend it: what is in force stays, and nothing of the files is used until then"
    return [Finding("files", "problem", problem, advice) for problem in configuration.own.problems]


def _store(configuration: Configuration) -> list[Finding]:
    settings = configuration.settings
    if settings.redis_url is None:
        return [Finding("store", "warning", "embedded: nothing is kept", "set redis_url for anything but a first run")]
    where, clients = store_of(settings), list[redis.Redis]()
    try:
        clients = masters.clients(settings.redis_url)
        return [*_masters(clients, settings), _in_force(masters.of_the_feed(clients), configuration)]
    except (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError) as error:
        raise ConfigurationError([f"redis_url: the server refuses the broker: {error}"]) from None
    except (redis.exceptions.RedisError, OSError) as error:
        advice = "is it running, and is redis_url right? Nothing is issued until it answers"
        return [Finding("unreachable", "problem", f"{where} does not answer ({type(error).__name__})", advice)]
    finally:
        masters.close(clients)


def _in_force(client: redis.Redis, configuration: Configuration) -> Finding:
    """Look at the configuration in force as a worker does that starts now."""
    kept = client.hgetall(ACTIVE)
    if not kept:
        return Finding("configuration", "warning", "none yet", "the first broker that starts puts its files into force")
    try:
        keys = KeySet.parse(records.jwks(configuration.keys.record.known("feed")), algorithms=TOKEN_ALGORITHMS)
        bundle = bundles.verified(_activated(kept), keys=keys, issuer=configuration.settings.issuer)
    except ConfigurationError as error:
        advice = "nothing is issued by it: `broker activate` puts files into force where a broker still runs"
        return Finding("configuration", "problem", str(error), advice)
    if not configuration.own.problems and configuration.own.digest != bundle.digest:
        found = "the files differ from what is in force"
        return Finding("configuration", "warning", found, "`broker activate` takes them into force")
    return Finding("configuration", "ok", f"{bundle.digest} since {times.moment(bundle.time // 1000)}")


def _activated(kept: Any) -> Activated:
    known = {name.decode(): value.decode(errors="replace") for name, value in kept.items()}
    try:
        return msgspec.convert(known, Activated, strict=False)
    except msgspec.ValidationError:
        raise ConfigurationError(["the configuration in the store is not believed: it is incomplete"]) from None


def _masters(clients: list[redis.Redis], settings: Settings) -> list[Finding]:
    clock, replicas = SystemClock(), settings.replicas_required
    findings = [finding for client in clients for finding in examine(client, replicas_required=replicas, clock=clock)]
    return [*findings, *examine_feed(masters.of_the_feed(clients), run_id=masters.run_id(clients))]
