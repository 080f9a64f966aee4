"""`broker token`: ask for tokens, and look into them."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from broker import private_key_file
from broker.cli import output, sign_in, times
from broker.cli.options import (
    DEFAULT_BROKER,
    AsJson,
    Broker,
    Certificate,
    CertificateKey,
    Identity,
    ParentTokenFile,
    UserTokenFile,
)
from broker.cli.sign_in import AgentFiles
from broker.cli.unverified import Inspected, read, verified
from broker.client.agent import Agent, Declaration
from broker.client.tokens import Token
from scopes import proof
from scopes.clock import SystemClock

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
    user_token: UserTokenFile = None,
    parent_token: ParentTokenFile = None,
    dpop_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Bind the token to this private key, which is made if it is not there.")
    ] = None,
    identity: Identity = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Ask for a token, as an agent, and print it: the only command that prints one.

    With neither --task nor --type, the agent's default task is opened or joined. With --user-token it is for that user, with
    --parent-token below the task of the agent that handed that token over. Without --dpop-key it is a bearer token, which
    works for whoever has it; `broker token prove` makes the proofs that one with a key needs.
    Example: broker token request 'crm:ticket/4711#read[subject]' --type summarise-ticket --purpose "Ticket 4711"
    """
    if task is not None and type is not None:
        raise typer.BadParameter("give --task or --type, not both")
    if purpose and type is None:
        raise typer.BadParameter("--purpose is of a task that is declared here: give --type too")
    declaration = Declaration(type, purpose) if type is not None else None
    key = private_key_file.create(dpop_key) if dpop_key is not None else None
    subject = sign_in.for_whom(user_token, parent_token)
    files = AgentFiles(identity, certificate, certificate_key)

    async def ask(agent: Agent) -> Token:
        return await agent.token(scope, task=task, declaration=declaration, ttl=ttl, **subject)

    _print(sign_in.as_agent(broker, files, ask, key=key), dpop_key, as_json=as_json)


@app.command()
def prove(
    *,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="The method of the request, such as GET.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="The whole URL of the request.")],
    token: Annotated[
        str | None, typer.Argument(metavar="[TOKEN|-]", help="The token; - or nothing reads it from standard input.")
    ] = None,
    dpop_key: Annotated[Path, typer.Option(metavar="FILE", help="The private key that the token is bound to.")],
    as_json: AsJson = False,
) -> None:
    """Print a proof for one request with a token that is bound to a key; it is good for a minute, once.

    Send it in the header DPoP, beside Authorization: DPoP TOKEN.
    Example: broker token prove GET https://crm.example.com/tickets/4711 "$TOKEN" --dpop-key agent.jwk
    """
    sent = token if token not in (None, _STANDARD_INPUT) else _from_standard_input()
    key, now = private_key_file.read(dpop_key), SystemClock().now().wall
    made = proof.make(key, method=method, url=url, now=now, token=sent)
    output.document({"proof": made}) if as_json else typer.echo(made)


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


def _print(token: Token, dpop_key: Path | None, *, as_json: bool) -> None:
    if as_json:
        details = {
            "token_type": "DPoP" if token.bound else "Bearer",
            "scope": token.scope,
            "expires": token.expires,
            "lease_id": token.lease_id,
            "task_id": token.task_id,
        }
        output.document({"access_token": token.text, **details})
        return
    typer.echo(token.text)
    output.say(f"{token.scope}, {token.lease_id} of {token.task_id}, expires {times.moment(token.expires)}")
    if dpop_key is not None:
        output.say(
            f"Bound to the key in {dpop_key}: `broker token prove METHOD URL --dpop-key {dpop_key}` makes a proof for each use."
        )


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
