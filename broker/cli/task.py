"""`broker task`: declare, look at and end tasks."""

from pathlib import Path
from typing import Annotated

import typer

from broker.cli import output, sign_in, times
from broker.cli.options import (
    DEFAULT_BROKER,
    DEFAULT_OPERATOR,
    DEFAULT_OPERATOR_KEY,
    AsJson,
    Broker,
    Certificate,
    CertificateKey,
    Identity,
    OperatorKey,
    OperatorName,
    ParentTokenFile,
    UserTokenFile,
)
from broker.cli.sign_in import AgentFiles
from broker.client.agent import CANCEL, COMPLETE, FAIL, Declaration
from broker.client.answers import TaskRecord

app = typer.Typer(no_args_is_help=True, add_completion=False)

TaskId = Annotated[str, typer.Argument(metavar="TASK", help="The task's id, like tsk_….")]


@app.command()
def declare(
    *,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="A task type that the registry allows this agent.")],
    purpose: Annotated[str, typer.Option(metavar="TEXT", help="What the task is for; kept in the audit record.")] = "",
    resource: Annotated[
        list[str] | None, typer.Option(metavar="PREFIX", help="Narrow the task to resources below this; may be repeated.")
    ] = None,
    max_duration: Annotated[int | None, typer.Option(min=1, metavar="SECONDS", help="End the task after so long.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="TASK", help="Make it a part of this task.")] = None,
    user_token: UserTokenFile = None,
    parent_token: ParentTokenFile = None,
    identity: Identity = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Declare a task, as an agent: tokens are asked for it, and end with it.

    With --user-token it is done for that user; with --parent-token it is part of another agent's task.
    Example: broker task declare summarise-ticket --purpose "Ticket 4711" --resource crm:ticket/4711
    """
    declaration = Declaration(type, purpose, resource or None, max_duration, parent)
    subject = sign_in.for_whom(user_token, parent_token)
    files = AgentFiles(identity, certificate, certificate_key)
    _show(sign_in.as_agent(broker, files, lambda agent: agent.declare(declaration, **subject)), as_json=as_json)


@app.command()
def show(
    *,
    task: TaskId,
    identity: Identity = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Show one task; as its agent where an identity or a certificate is given, else as an operator.

    Example: broker task show tsk_01JE…
    """
    files = AgentFiles(identity, certificate, certificate_key)
    if files.are_given:
        record = sign_in.as_agent(broker, files, lambda agent: agent.show_task(task))
    else:
        with sign_in.operator(broker, operator, operator_key) as client:
            record = client.show_task(task)
    _show(record, as_json=as_json)


@app.command("list")
def list_tasks(
    *,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only tasks of this agent.")] = None,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """List the tasks that are open.

    Example: broker task list --agent support-bot
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        tasks = list(client.tasks(agent))
    if as_json:
        output.document({"tasks": tasks})
        return
    columns = ("TASK", "AGENT", "TYPE", "STATUS", "ENDS", "PURPOSE")
    rows = [(task.id, task.agent, task.type, task.status, times.moment(task.ends), task.purpose) for task in tasks]
    output.table(columns, rows, empty="No task is open.")


@app.command()
def complete(
    *,
    task: TaskId,
    identity: Identity = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Say that a task is done; its tokens and sub-tasks end with it.

    As its agent where an identity or a certificate is given, else as an operator. Example: broker task complete tsk_01JE…
    """
    files = AgentFiles(identity, certificate, certificate_key)
    _end((task, COMPLETE), files, (broker, operator, operator_key), as_json=as_json)


@app.command()
def fail(
    *,
    task: TaskId,
    identity: Identity = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Say that a task failed; its tokens and sub-tasks end with it.

    As its agent where an identity or a certificate is given, else as an operator. Example: broker task fail tsk_01JE…
    """
    files = AgentFiles(identity, certificate, certificate_key)
    _end((task, FAIL), files, (broker, operator, operator_key), as_json=as_json)


@app.command()
def cancel(
    *,
    task: TaskId,
    identity: Identity = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Call a task off; its tokens and sub-tasks end with it.

    As its agent where an identity or a certificate is given, else as an operator. Example: broker task cancel tsk_01JE…
    """
    files = AgentFiles(identity, certificate, certificate_key)
    _end((task, CANCEL), files, (broker, operator, operator_key), as_json=as_json)


def _end(what: tuple[str, str], files: AgentFiles, signed_in: tuple[str, str, Path], *, as_json: bool) -> None:
    if files.are_given:
        record = sign_in.as_agent(signed_in[0], files, lambda agent: agent.end_task(*what))
    else:
        with sign_in.operator(*signed_in) as client:
            record = client.end_task(*what)
    _show(record, as_json=as_json)


def _show(task: TaskRecord, *, as_json: bool) -> None:
    if as_json:
        output.document(task)
        return
    output.fields(
        {
            "task": task.id,
            "status": task.status,
            "type": task.type,
            "agent": task.agent,
            "workload": task.workload,
            "user": task.user or "",
            "purpose": task.purpose,
            "resources": ", ".join(task.resources or ()),
            "part of": task.path[-2] if len(task.path) > 1 else "",
            "created": times.moment(task.created),
            "ends": times.moment(task.ends) if task.status == "open" else "",
        }
    )
