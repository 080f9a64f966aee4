"""`broker policy`: work on policies."""

import typer

from broker import settings as settings_file
from broker.cli import output, refusals, trying
from broker.cli.explanation import explain
from broker.cli.options import DEFAULT_CONFIG, AsJson, Config
from broker.cli.simulation import simulate
from broker.cli.trying import Policies, RegistryFolder
from broker.policy import schema_of
from broker.policy.cases import Result
from broker.registry import files

app = typer.Typer(no_args_is_help=True, add_completion=False)


app.command()(explain)
app.command()(simulate)


@app.callback()
def policy() -> None:
    """Make a group of what would otherwise be one command."""


@app.command()
def schema(*, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Print the Cedar schema of the configured registry: everything that a policy can speak of.

    Example: broker policy schema > broker.cedarschema
    """
    settings = settings_file.load(config)
    text = schema_of(files.load(settings.path(settings.registry)))
    if as_json:
        output.document({"schema": text})
    else:
        typer.echo(text, nl=False)


@app.command("test")
def run_cases(
    *,
    policies: Policies = None,
    registry: RegistryFolder = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Run the cases beside the policies (*.toml), and name those that come out otherwise than expected.

    Ends with 1 where one does, or where there are none. Example: broker policy test --policies policies --registry registry
    """
    tried = trying.read(config, policies, registry)
    results = tried.results()
    lines = trying.failing(results)
    if as_json:
        output.document({"cases": [_told(result) for result in results], "failed": len(lines)})
    else:
        for line in lines:
            output.text(line)
        output.text(_summary(len(results), len(lines)) if results else f"{tried.folder}: no cases (*.toml) here")
    if lines or not results:
        raise typer.Exit(refusals.REFUSED)


def _told(result: Result) -> dict[str, object]:
    verdict = result.verdict
    return {
        "name": result.case.name,
        "passed": not result.strays,
        "strays": result.strays,
        "allowed": verdict.allowed,
        "reason": verdict.reason,
        "policies": verdict.policies,
        "ends_on_taint": verdict.ends_on_taint,
        "ends_on_labels": verdict.ends_on_labels,
    }


def _summary(count: int, failed: int) -> str:
    what = "1 case" if count == 1 else f"{count} cases"
    return f"{what}: {failed} failed." if failed else f"{what}: all as expected."
