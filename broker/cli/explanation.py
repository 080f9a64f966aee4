"""`broker policy explain`: why a request is answered as it is, and what would turn the answer."""

import datetime
from typing import Annotated, Any

import msgspec
import typer

from broker.cli import output, recorded, refusals, sign_in, times, trying
from broker.cli.options import (
    DEFAULT_BROKER,
    DEFAULT_CONFIG,
    DEFAULT_OPERATOR,
    DEFAULT_OPERATOR_KEY,
    AsJson,
    Broker,
    Config,
    OperatorKey,
    OperatorName,
)
from broker.cli.trying import Policies, RegistryFolder
from broker.client import NotFound
from broker.client.answers import AuditRecord
from broker.errors import ConfigurationError
from broker.policy import explanation
from broker.policy.explanation import Explanation
from broker.policy.replay import trial_of
from broker.policy.trials import Trial, Trials, Verdict


def _time(text: str) -> datetime.datetime:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("a time is written like 2027-01-04T10:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)


_Many = list[str] | None


def explain(
    *,
    context: typer.Context,
    agent: Annotated[str | None, typer.Argument(metavar="AGENT", help="Who asks.")] = None,
    scope: Annotated[str | None, typer.Argument(metavar="SCOPE", help="For what.")] = None,
    event: Annotated[
        str | None, typer.Option(metavar="ID", help="Explain the decision of this audit record of a running broker instead.")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="TYPE", help="The task's type, by default the agent's.")] = None,
    within: Annotated[_Many, typer.Option(metavar="TYPE", help="The type of a task above it, the root's first.")] = None,
    proof: Annotated[str | None, typer.Option(metavar="PROOF", help="none, dpop (the default) or mtls.")] = None,
    at: Annotated[
        datetime.datetime | None, typer.Option(parser=_time, metavar="TIME", help="When, by default now; UTC unless it says.")
    ] = None,
    ttl: Annotated[int | None, typer.Option(metavar="SECONDS", help="For how long, by default as long as there is.")] = None,
    age: Annotated[int | None, typer.Option(metavar="SECONDS", help="How old the task is.")] = None,
    recent_refusals: Annotated[int | None, typer.Option(metavar="N", help="How often the agent was refused lately.")] = None,
    tainted: Annotated[bool, typer.Option("--tainted", help="The task has read what outsiders write.")] = False,
    labels: Annotated[_Many, typer.Option("--label", metavar="CLASS", help="A class of data that the task has read.")] = None,
    approved: Annotated[bool, typer.Option("--approved", help="A person said yes.")] = False,
    reductions: Annotated[_Many, typer.Option("--reduction", metavar="TO", help="A reduction that is in force.")] = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="For whom the task is done.")] = None,
    groups: Annotated[_Many, typer.Option("--group", metavar="GROUP", help="A group that the user is in.")] = None,
    identity_source: Annotated[str | None, typer.Option(metavar="SOURCE", help="How the agent proves who it is.")] = None,
    trust_domain: Annotated[str | None, typer.Option(metavar="NAME", help="Who vouches for it.")] = None,
    policies: Policies = None,
    registry: RegistryFolder = None,
    config: Config = DEFAULT_CONFIG,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Say what a request for a token would be answered, by which policies, and what would turn the answer.

    Ends with 1 where it is refused. Example: broker policy explain support-bot 'crm:ticket/4711#read[subject]' --tainted
    """
    trials = trying.read(config, policies, registry).trials
    record = None
    if event is not None:
        with sign_in.operator(broker, operator, operator_key) as client:
            record = recorded.find(client, event)
    trial = _recorded(record) if record is not None else _written(context.params, trials)
    found = explanation.explain(trial, trials)
    if as_json:
        output.document(_told(trial, found, record))
    else:
        _report(trial, found, record, trials)
    if not found.verdict.allowed:
        raise typer.Exit(refusals.REFUSED)


def _recorded(record: AuditRecord) -> Trial:
    taken = recorded.taken(record)
    if taken is None:
        said = f"{record.id} was refused before policies were asked, with reason {record.reason}: there is nothing to explain"
        raise NotFound(said, code="nothing_decided")
    return trial_of(taken)


def _written(params: dict[str, Any], trials: Trials) -> Trial:
    given = {name: value for name, value in params.items() if name in Trial.__struct_fields__ and value not in (None, [], ())}
    if not {"agent", "scope"} <= given.keys():
        raise typer.BadParameter("name an agent and a scope, or a decision with --event")
    now = datetime.datetime.fromtimestamp(times.now(), tz=datetime.UTC)
    try:
        trial = msgspec.convert({"at": now, **given}, Trial)
    except msgspec.ValidationError as error:
        raise typer.BadParameter(str(error)) from None
    problems = trials.problems(trial)
    if problems:
        raise ConfigurationError(problems)
    return trial


def _told(trial: Trial, found: Explanation, record: AuditRecord | None) -> dict[str, object]:
    recorded_as = {"recorded": _recorded_answer(record)} if record is not None else {}
    return {
        "request": trial,
        **_answer(found.verdict),
        "shadow": found.shadow,
        "texts": found.texts,
        "changes": [{"what": change.what, **_answer(change.verdict)} for change in found.changes],
        **recorded_as,
    }


def _answer(verdict: Verdict) -> dict[str, object]:
    return {
        "allowed": verdict.allowed,
        "reason": verdict.reason,
        "policies": verdict.policies,
        "decided_by": "policies" if verdict.decision is not None else "ceiling",
        "said": verdict.said,
        "ends_on_taint": verdict.ends_on_taint,
        "ends_on_labels": verdict.ends_on_labels,
    }


def _recorded_answer(record: AuditRecord) -> dict[str, object]:
    allowed = record.kind == "token.issued"
    version = record.policy_version
    return {"allowed": allowed, "reason": record.reason or "", "policies": record.policies, "policy_version": version}


def _report(trial: Trial, found: Explanation, record: AuditRecord | None, trials: Trials) -> None:
    verdict = found.verdict
    output.text(f"{trial.agent}, {trial.scope}: {verdict.answer}")
    if verdict.said:
        output.text(f"The registry says so, before any policy is asked: {verdict.said}.")
    for text in found.texts.values():
        output.text("")
        for line in text.splitlines():
            output.text(f"  {line}")
    output.text("")
    for sentence in _ends(verdict):
        output.text(sentence)
    if found.shadow:
        output.text(f"In shadow mode {', '.join(found.shadow)} would have turned the answer.")
    _report_changes(found, allowed=verdict.allowed)
    if record is not None and record.policy_version != trials.folder.version:
        was = "allowed" if record.kind == "token.issued" else f"refused ({record.reason})"
        output.say(f"It was {was} then, by other policies or another registry than these.")


def _ends(verdict: Verdict) -> list[str]:
    said = []
    if verdict.ends_on_taint:
        said.append("It ends when the task's tree reads what outsiders write.")
    if verdict.ends_on_labels:
        said.append(f"It ends when the task's tree reads {', '.join(verdict.ends_on_labels)}.")
    return said


def _report_changes(found: Explanation, *, allowed: bool) -> None:
    answer = "refused" if allowed else "allowed"
    if not found.changes:
        output.text(f"No single change would have it {answer}.")
        return
    output.text(f"It would be {answer}")
    for change in found.changes:
        because = f" ({change.verdict.reason})" if change.verdict.reason else ""
        output.text(f"  {change.what}{because}")
