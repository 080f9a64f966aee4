"""`broker token`: ask for tokens, and look into them."""

import sys
from typing import Annotated, Any

import msgspec
import typer

from broker.cli import output, sign_in, times
from broker.cli.options import DEFAULT_BROKER, AsJson, Broker, Identity
from broker.cli.unverified import Inspected, read, verified
from broker.client.agent import Declaration
from broker.client.tokens import Token

app = typer.Typer(no_args_is_help=True, add_completion=False)

_STANDARD_INPUT = "-"


@app.command()
def request(
    *,
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="One action on one resource.")],
    task: Annotated[str | None, typer.Option(metavar="TASK", help="Ask for this open task.")] = None,
    type: Annotated[str | None, typer.Option(metavar="TYPE", help="Declare a task of this type in the same call.")] = None,
    purpose: Annotated[str, typer.Option(metavar="TEXT", help="What the declared task is for.")] = "",
    ttl: Annotated[int | None, typer.Option(min=1, metavar="SECONDS", help="The longest life wanted.")] = None,
    identity: Identity = None,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Ask for a token, as an agent, and print it: the only command that prints one.

    With neither --task nor --type, the agent's default task is opened or joined.
    Example: broker token request 'crm:ticket/4711#read[subject]' --type summarise-ticket --purpose "Ticket 4711"
    """
    if task is not None and type is not None:
        raise typer.BadParameter("give --task or --type, not both")
    if purpose and type is None:
        raise typer.BadParameter("--purpose is of a task that is declared here: give --type too")
    declaration = Declaration(type, purpose) if type is not None else None
    token = sign_in.as_agent(broker, identity, lambda agent: agent.token(scope, task=task, declaration=declaration, ttl=ttl))
    _print(token, as_json=as_json)


@app.command()
def inspect(
    *,
    token: Annotated[
        str | None, typer.Argument(metavar="[TOKEN|-]", help="The token; - or nothing reads it from standard input.")
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Check the signature with this broker's keys; without it nothing is asked."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a token or identity says. Without --broker nothing is checked, so nothing of it is to be believed.

    Example: broker token request … | broker token inspect -
    """
    unverified_token = token if token not in (None, _STANDARD_INPUT) else _from_standard_input()
    inspected = read(unverified_token) if broker is None else verified(unverified_token, broker)
    if as_json:
        output.document(inspected)
        return
    output.say(_trust_of(inspected))
    output.fields({name: _readable(name, value) for name, value in inspected.claims.items()} | {"signed with": inspected.key})


def _print(token: Token, *, as_json: bool) -> None:
    if as_json:
        details = {"scope": token.scope, "expires": token.expires, "lease_id": token.lease_id, "task_id": token.task_id}
        output.document({"access_token": token.text, **details})
        return
    typer.echo(token.text)
    output.say(f"{token.scope}, {token.lease_id} of {token.task_id}, expires {times.moment(token.expires)}")


def _from_standard_input() -> str:
    if sys.stdin.isatty():
        output.say("Paste the token and press Enter.")
    return sys.stdin.readline().strip()


def _trust_of(inspected: Inspected) -> str:
    if not inspected.verified:
        return "NOT VERIFIED: nobody has checked who wrote this. --broker URL checks the signature."
    state = "expired" if inspected.expired else "not expired"
    return f"Signed by {inspected.claims.get('iss')}, {state}. Whether it was revoked, only a verifier on the feed knows."


def _readable(name: str, value: Any) -> str:
    if name in ("exp", "iat", "nbf") and isinstance(value, int) and abs(value) < 2**40:
        return times.moment(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
