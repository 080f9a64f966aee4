"""`broker lease`: look at what is out, and take one back."""

from typing import Annotated, Literal

import typer

from broker.cli import output, sign_in, times
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
from broker.cli.revoke import report

app = typer.Typer(no_args_is_help=True, add_completion=False)

LeaseId = Annotated[str, typer.Argument(metavar="LEASE", help="The lease's id, like lse_….")]


@app.command("list")
def list_leases(
    *,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only leases of this agent.")] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="Only leases of this task and its sub-tasks.")] = None,
    resource: Annotated[str | None, typer.Option(metavar="PREFIX", help="Only leases on resources below this.")] = None,
    instance: Annotated[
        str | None, typer.Option(metavar="ID", help="Only leases of this one workload, pod, run or key.")
    ] = None,
    status: Annotated[Literal["live", "expired", "revoked"], typer.Option(help="Which leases.")] = "live",
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """List leases: what is out now, or what ended in the last ten minutes.

    Example: broker lease list --agent support-bot --resource crm:ticket
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        leases = list(client.leases(agent=agent, task=task, resource=resource, instance=instance, status=status))
    if as_json:
        output.document({"leases": leases})
        return
    columns = ("LEASE", "AGENT", "SCOPE", "LEVEL", "STATUS", "EXPIRES")
    rows = [(lease.id, lease.agent, lease.scope, lease.level, lease.status, times.moment(lease.expires)) for lease in leases]
    output.table(columns, rows, empty=f"No lease is {status}.")


@app.command()
def show(
    *,
    lease: LeaseId,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Show one lease; its token is nowhere but with its holder.

    Example: broker lease show lse_01JE…
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        found = client.lease(lease)
    if as_json:
        output.document(found)
        return
    output.fields(
        {
            "lease": found.id,
            "status": found.status,
            "scope": found.scope,
            "level": found.level,
            "agent": found.agent,
            "workload": found.workload,
            "instance": found.instance or "",
            "user": found.user or "",
            "task": " › ".join(found.path),
            "issued": times.moment(found.issued),
            "expires": times.moment(found.expires),
            "decided at": f"{found.position} of epoch {found.epoch}",
        }
    )


@app.command()
def revoke(
    *,
    lease: LeaseId,
    reason: Reason,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Take one lease back; its token is refused everywhere within a moment.

    Example: broker lease revoke lse_01JE… --reason "sent to the wrong customer"
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        report(client.revoke({"lease": lease}, reason=reason), as_json=as_json)
