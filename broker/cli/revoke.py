"""`broker revoke`: take back everything that a selector hits, in one event."""

import sys
from typing import Annotated

import typer

from broker.cli import output, sign_in, waiting
from broker.cli.options import (
    DEFAULT_BROKER,
    DEFAULT_OPERATOR,
    DEFAULT_OPERATOR_KEY,
    AsJson,
    Broker,
    OperatorKey,
    OperatorName,
    Reason,
)
from broker.client.answers import Revoked

_PANEL = "What to revoke: exactly one"
_SELECTORS = "--agent, --task, --instance, --resource, --service, --owner, --user, --key and --all"


def revoke(
    *,
    reason: Reason,
    agent: Annotated[str | None, typer.Option(metavar="NAME", rich_help_panel=_PANEL, help="All of this agent.")] = None,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", rich_help_panel=_PANEL, help="All of this task and its sub-tasks.")
    ] = None,
    instance: Annotated[
        str | None, typer.Option(metavar="ID", rich_help_panel=_PANEL, help="All of this workload, by its SPIFFE id.")
    ] = None,
    resource: Annotated[
        str | None, typer.Option(metavar="PREFIX", rich_help_panel=_PANEL, help="All on this resource and below.")
    ] = None,
    service: Annotated[str | None, typer.Option(metavar="NAME", rich_help_panel=_PANEL, help="All at this service.")] = None,
    owner: Annotated[
        str | None, typer.Option(metavar="ADDRESS", rich_help_panel=_PANEL, help="All of the agents of this owner.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="USER", rich_help_panel=_PANEL, help="All for this user.")] = None,
    key: Annotated[str | None, typer.Option(metavar="KID", rich_help_panel=_PANEL, help="All signed with this key.")] = None,
    everything: Annotated[bool, typer.Option("--all", rich_help_panel=_PANEL, help="All there is.")] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Wait until every verifier process refuses it; exit 4 where one may not yet."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before revoking everything.")] = False,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Take back everything that one selector hits: at once, everywhere, whatever the number of tokens.

    Example: broker revoke --agent support-bot --reason "behaves oddly" --wait 5
    """
    chosen = {
        "agent": agent,
        "task": task,
        "instance": instance,
        # A service is the prefix of everything at it.
        "resource": _either(resource, service),
        "owner": owner,
        "user": user,
        "key": key,
        "all": everything or None,
    }
    selector = {name: value for name, value in chosen.items() if value is not None}
    if len(selector) != 1:
        raise typer.BadParameter(f"name exactly one of {_SELECTORS}")
    if everything and not yes and sys.stdin.isatty():
        typer.confirm("Every token of every agent will be refused. Revoke everything?", abort=True, err=True)
    with sign_in.operator(broker, operator, operator_key) as client:
        revoked = client.revoke(selector, reason=reason)
        with waiting.in_force(revoked, as_json=as_json):
            if wait is None or not as_json:
                report(revoked, as_json=as_json)
            if wait is not None:
                waiting.wait(client, revoked, wait, as_json=as_json)


def report(revoked: Revoked, *, as_json: bool) -> None:
    """Say what a revocation did."""
    if as_json:
        output.document(revoked)
        return
    ended = {None: "what it ended is not counted", 0: "no live lease matched", 1: "1 live lease ended"}
    output.text(f"Revoked: {ended.get(revoked.matched, f'{revoked.matched} live leases ended')}.")
    output.say(
        f"{revoked.id}, number {revoked.seq} of epoch {revoked.epoch}; each verifier refuses what it hits once it hears of it."
    )


def _either(resource: str | None, service: str | None) -> str | None:
    if resource is not None and service is not None:
        raise typer.BadParameter("name --resource or --service, not both")
    return resource if resource is not None else service
