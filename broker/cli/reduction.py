"""`broker reduce`, `broker restore`, `broker reduction list`: less access instead of none, and back."""

import sys
from typing import Annotated, Literal

import typer

from broker.cli import output, sign_in
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

app = typer.Typer(no_args_is_help=True, add_completion=False)

_PANEL = "Whose access: exactly one"

Agent = Annotated[str | None, typer.Option("--agent", metavar="NAME", rich_help_panel=_PANEL, help="This agent's.")]
Instance = Annotated[
    str | None, typer.Option("--instance", metavar="ID", rich_help_panel=_PANEL, help="This one workload's, by its SPIFFE id.")
]
Service = Annotated[str | None, typer.Option("--service", metavar="NAME", rich_help_panel=_PANEL, help="Everybody's here.")]
Everything = Annotated[bool, typer.Option("--all", rich_help_panel=_PANEL, help="Everybody's, everywhere.")]


def reduce(
    *,
    to: Annotated[
        Literal["read-only", "draft-only", "approval", "paused"],
        typer.Option(help="What is left: reading, reading and drafting, what a person approved, or nothing."),
    ],
    reason: Reason,
    agent: Agent = None,
    instance: Instance = None,
    service: Service = None,
    everything: Everything = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before reducing everything.")] = False,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Reduce access: at once for what is out, and for all that is asked for until it is restored.

    Example: broker reduce --agent support-bot --to read-only --reason "odd replies"
    """
    selector = _selector(agent, instance, service, everything=everything)
    if everything and not yes and sys.stdin.isatty():
        typer.confirm(f"Every agent is reduced to {to}. Reduce everything?", abort=True, err=True)
    with sign_in.operator(broker, operator, operator_key) as client:
        done = client.reduce(selector, to=to, reason=reason)
    if as_json:
        output.document(done)
        return
    output.text(f"Reduced to {to}, until it is restored.")
    output.say(f"{done.id}, number {done.seq} of epoch {done.epoch}; a verifier refuses what is beyond it once it hears of it.")


def restore(
    *,
    reason: Reason,
    agent: Agent = None,
    instance: Instance = None,
    service: Service = None,
    everything: Everything = False,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Lift the reduction of one selector; others go on counting, and tokens that it ended stay ended.

    Example: broker restore --agent support-bot --reason "prompt mended"
    """
    selector = _selector(agent, instance, service, everything=everything)
    with sign_in.operator(broker, operator, operator_key) as client:
        done = client.reduce(selector, to="none", reason=reason)
        left = list(client.reductions())
    if as_json:
        output.document(done)
        return
    output.text("Restored: agents may ask for new tokens.")
    if left:
        output.say(f"Still reduced: {'; '.join(f'{_spelled(each.selector)} to {each.to}' for each in left)}.")


@app.callback()
def reduction() -> None:
    """Make a group of what would otherwise be one command."""


@app.command("list")
def list_reductions(
    *,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """List every reduction in force, with who wanted it and why.

    Example: broker reduction list
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        reductions = list(client.reductions())
    if as_json:
        output.document({"reductions": reductions})
        return
    rows = [(_spelled(each.selector), each.to, each.by, each.said) for each in reductions]
    output.table(("REDUCED", "TO", "BY", "WHY"), rows, empty="Nothing is reduced.")


def _selector(agent: str | None, instance: str | None, service: str | None, *, everything: bool) -> dict[str, str | bool]:
    chosen: dict[str, str | bool | None] = {"agent": agent, "instance": instance, "service": service, "all": everything or None}
    selector = {name: value for name, value in chosen.items() if value is not None}
    if len(selector) != 1:
        raise typer.BadParameter("name exactly one of --agent, --instance, --service and --all")
    return selector


def _spelled(selector: dict[str, str | bool]) -> str:
    return " ".join("all" if value is True else f"{kind} {value}" for kind, value in selector.items())
