"""`broker development`: identities of the development trust domain."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from broker import settings as settings_file
from broker.cli import output, times
from broker.cli.options import DEFAULT_CONFIG, AsJson, Config
from broker.errors import ConfigurationError
from broker.identity import development as domain
from broker.registry import files
from broker.settings import Settings
from broker.spiffe_id import is_spiffe_id
from scopes.clock import SystemClock

app = typer.Typer(no_args_is_help=True, add_completion=False)

FOLDER = "development"
"""Where the domain's keys are, in the folder of the broker's keys."""

_PREFIX = f"spiffe://{domain.DEVELOPMENT_DOMAIN}/"

LONGEST = 86_400
"""The seconds a development identity lives at most: a day of work."""


@app.callback()
def development() -> None:
    """Make a group of what would otherwise be one command."""


@app.command()
def identity(
    *,
    whose: Annotated[str, typer.Argument(metavar="NAME|SPIFFE_ID", help="An agent or service by name, or a SPIFFE id.")],
    lifetime: Annotated[int, typer.Option(min=1, max=LONGEST, metavar="SECONDS", help="How long it lives.")] = domain.LIFETIME,
    out: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write it here, for you only, instead of printing it."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Sign an identity (a JWT-SVID) for a workload of the development domain: for trying things out, never for production.

    Example: broker development identity support-bot --output support-bot.svid
    """
    settings = settings_file.load(config)
    workload = whose if is_spiffe_id(whose) else _workload_of(whose, settings)
    keys = settings.path(settings.keys) / FOLDER
    svid = domain.sign_svid(keys, workload, audience=settings.issuer, clock=SystemClock(), lifetime=lifetime)
    if out is not None:
        _write(out, svid)
    _report(svid, workload, out, {"expires": times.now() + lifetime, "audience": settings.issuer}, as_json=as_json)


def _workload_of(name: str, settings: Settings) -> str:
    content = files.load(settings.path(settings.registry)).content
    records = [table[name] for table in (content.agents, content.services) if name in table]
    if not records:
        raise ConfigurationError([f"the registry has no agent or service {name!a}; its folder is {settings.registry}"])
    named = [selector.spiffe or "" for selector in records[0].workloads]
    within = [spiffe for spiffe in named if spiffe.startswith(_PREFIX)]
    exact = [spiffe for spiffe in within if not spiffe.endswith("/*")]
    if not exact:
        raise ConfigurationError([f"{name} has no workload spelled out in {_PREFIX}; name a SPIFFE id {_below(within)}"])
    return exact[0]


def _below(within: list[str]) -> str:
    return f"below {within[0]}" if within else "of that domain, and add it to its workloads"


def _write(path: Path, svid: str) -> None:
    # Written aside and renamed, so that an agent that reads it again and again never reads half of it.
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(svid + "\n")
        aside.replace(path)
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be written: {error.strerror}"]) from None


def _report(svid: str, workload: str, out: Path | None, times_of: Mapping[str, Any], *, as_json: bool) -> None:
    where = {"file": str(out)} if out is not None else {"svid": svid}
    if as_json:
        output.document({"spiffe_id": workload, **times_of, **where})
        return
    if out is None:
        typer.echo(svid)
    output.say(f"{workload}, for {times_of['audience']}, expires {times.moment(times_of['expires'])}")
    if out is not None:
        output.say(f"Use it with: export BROKER_IDENTITY_FILE={out.resolve()}")
