"""`broker policy`: work on policies."""

import typer

from broker import settings as settings_file
from broker.cli import output
from broker.cli.options import DEFAULT_CONFIG, AsJson, Config
from broker.policy import schema_of
from broker.registry import files

app = typer.Typer(no_args_is_help=True, add_completion=False)


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
