"""`broker agent`: look at the registered agents."""

from typing import Annotated

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
)
from broker.client.answers import AgentRecord

app = typer.Typer(no_args_is_help=True, add_completion=False)


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
    columns = ("AGENT", "STATUS", "ENVIRONMENT", "OWNER", "ENDS", "PURPOSE")
    rows = [
        (agent.name, _status(agent), agent.environment, agent.owner, str(agent.ends or "–"), agent.purpose) for agent in agents
    ]
    output.table(columns, rows, empty="The registry has no agents.")


@app.command()
def show(
    *,
    agent: Annotated[str, typer.Argument(metavar="NAME", help="The agent's name in the registry.")],
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
            "review by": str(found.review_by or ""),
            "live leases": str(found.live_leases) if found.live_leases is not None else "",
        }
    )


def _status(agent: AgentRecord) -> str:
    return f"{agent.status}, {agent.reduced}" if agent.reduced else agent.status
