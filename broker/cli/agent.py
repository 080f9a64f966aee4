"""`broker agent`: look at the registered agents, suspend, resume and retire them."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from broker import private_key_file
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
from broker.client import Operator
from broker.client.answers import AgentChange, AgentRecord
from scopes.scope import is_name

# What a verifier computes from the key itself.
_DERIVED = frozenset({"kid", "alg", "use"})

app = typer.Typer(no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The agent's name in the registry.")]
Instance = Annotated[
    str | None, typer.Option(metavar="ID", help="Only this instance of it: a SPIFFE id, or the name of a pod, a run or a key.")
]
Wait = Annotated[
    float | None,
    typer.Option(min=0, metavar="SECONDS", help="Wait until every verifier process refuses it; exit 4 where one may not yet."),
]


@app.command("list")
def list_agents(
    *,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """List the agents of the registry, and where they stand.

    Example: broker agent list
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        agents = list(client.agents())
    if as_json:
        output.document({"agents": agents})
        return
    columns = ("AGENT", "STATUS", "ENVIRONMENT", "OWNER", "ENDS", "REVIEW", "PURPOSE")
    rows = [_row(agent) for agent in agents]
    output.table(columns, rows, empty="The registry has no agents.")


@app.command()
def show(
    *,
    agent: Name,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Show one agent: what its record says, what it lacks, and how many leases it holds.

    Example: broker agent show support-bot
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        found = client.agent(agent)
    if as_json:
        output.document(found)
        return
    output.fields(
        {
            "agent": found.name,
            "status": _status(found),
            "lacks": ", ".join(found.missing),
            "owner": found.owner,
            "purpose": found.purpose,
            "environment": found.environment,
            "workloads": "\n".join(found.workloads),
            "task types": ", ".join(found.tasks),
            "ends": str(found.ends or ""),
            "review by": _review(found),
            "suspended": "\n".join(found.suspended_instances),
            "live leases": str(found.live_leases) if found.live_leases is not None else "",
        }
    )


@app.command()
def suspend(
    *,
    agent: Name,
    reason: Reason,
    instance: Instance = None,
    wait: Wait = None,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Suspend an agent or one instance of it: all it holds ends at once, and it gets nothing until it is resumed.

    Example: broker agent suspend support-bot --reason "behaves oddly" --wait 5
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        changed = client.change_agent(agent, "suspend", reason=reason, instance=instance)
        _say_and_wait(client, _spelled(agent, instance), changed, wait, as_json=as_json)


@app.command()
def resume(
    *,
    agent: Name,
    reason: Reason,
    instance: Instance = None,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Let a suspended agent or instance ask for tokens again; those it had stay ended.

    Example: broker agent resume support-bot --reason "prompt mended"
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        changed = client.change_agent(agent, "resume", reason=reason, instance=instance)
        _say_and_wait(client, _spelled(agent, instance), changed, None, as_json=as_json)


@app.command()
def retire(
    *,
    agent: Name,
    reason: Reason,
    wait: Wait = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before retiring it for good.")] = False,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Retire an agent for good: all it holds ends at once, and nobody of this name gets anything ever again.

    Example: broker agent retire support-bot --reason "replaced by desk-bot"
    """
    if not yes and sys.stdin.isatty():
        typer.confirm(f"{agent} is stopped for good, and its name with it. Retire it?", abort=True, err=True)
    with sign_in.operator(broker, operator, operator_key) as client:
        changed = client.change_agent(agent, "retire", reason=reason)
        _say_and_wait(client, agent, changed, wait, as_json=as_json)


_TOLD = {
    "suspended": "{who} is suspended, until it is resumed.",
    "active": "{who} is resumed: it may ask for new tokens.",
    "retired": "{who} is retired, for good.",
}
_TOLD_AGAIN = {
    "suspended": "{who} was suspended already, and stays so.",
    "active": "{who} was not suspended.",
    "retired": "{who} was retired already.",
}


def _say_and_wait(client: Operator, who: str, changed: AgentChange, wait: float | None, *, as_json: bool) -> None:
    with waiting.in_force(changed, as_json=as_json):
        if not as_json:
            output.text((_TOLD_AGAIN if changed.was == changed.status else _TOLD)[changed.status].format(who=who))
            output.say(f"{changed.id}, number {changed.seq} of epoch {changed.epoch}.")
        elif wait is None:
            output.document(changed)
        if wait is not None:
            waiting.wait(client, changed, wait, as_json=as_json)


def _spelled(agent: str, instance: str | None) -> str:
    return agent if instance is None else f"{instance} of {agent}"


def _row(agent: AgentRecord) -> tuple[str, ...]:
    ends = str(agent.ends or "–")
    return agent.name, _status(agent), agent.environment, agent.owner, ends, _review(agent) or "–", agent.purpose


def _review(agent: AgentRecord) -> str:
    return f"{agent.review_by or ''}{', overdue' if agent.review_overdue else ''}"


@app.command()
def key(
    *,
    agent: Annotated[str, typer.Argument(metavar="NAME", help="The agent's name in the registry.")],
    out: Annotated[Path, typer.Option("--output", metavar="FILE", help="Where the private key goes; made unless it is there.")],
    as_json: AsJson = False,
) -> None:
    """Make a private key for an agent without a platform, and print the line that its record in the registry needs.

    Run it where the agent runs: the key stays there. Example: broker agent key nightly-report --output agent.jwk
    """
    if not is_name(agent):
        raise typer.BadParameter("a name is a small letter and at most 62 of a-z, 0-9, _ and -", param_hint="NAME")
    made = private_key_file.create(out)
    public = {member: value for member, value in made.public_jwk.items() if member not in _DERIVED}
    if as_json:
        output.document({"agent": agent, "file": str(out), "kid": made.kid, "key": public})
        return
    members = ", ".join(f"{member} = {json.dumps(value)}" for member, value in public.items())
    typer.echo(f"keys = [{{ {members} }}]")
    output.say(f"Put this line into [agents.{agent}] of the registry; its instance is private-key:{agent}/{made.kid}")
    output.say(f"Use it with: export BROKER_AGENT={agent} BROKER_PRIVATE_KEY_FILE={out.resolve()}")


def _status(agent: AgentRecord) -> str:
    return f"{agent.status}, {agent.reduced}" if agent.reduced else agent.status
