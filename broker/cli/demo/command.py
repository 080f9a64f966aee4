"""`broker demo`: plays every scene and exits with 0 only if each went as expected."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from broker.cli.demo.database import Database
from broker.cli.demo.scenes import SCENES, Line, play
from broker.cli.demo.stage import Stage
from broker.errors import ConfigurationError

RedisUrl = Annotated[str | None, typer.Option(help="Run on this Redis database, which has to be empty, instead of embedded.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line for each scene.")]


def demo(redis_url: RedisUrl = None, as_json: AsJson = False) -> None:
    """Show the whole loop on this machine: issue, refuse, revoke, expire, and a broker that is killed.

    Starts a broker, a ticket service that embeds the verifier, and an agent, all on loopback, and ends them again.
    Takes about twenty seconds. Example: broker demo --redis-url redis://127.0.0.1:6379/9
    """
    try:
        database = Database(redis_url) if redis_url is not None else None
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    with tempfile.TemporaryDirectory(prefix="agent-broker-demo-") as folder:
        try:
            lines = _play_all(Path(folder), redis_url, database, as_json=as_json)
        finally:
            if database is not None:
                database.empty()
    raise typer.Exit(0 if lines and all(line.as_expected for line in lines) else 1)


def _play_all(folder: Path, redis_url: str | None, database: Database | None, *, as_json: bool) -> list[Line]:
    console = Console(stderr=as_json, highlight=False)
    with console.status("Starting a broker, a ticket service and an agent …") as status:
        with Stage(folder, redis_url=redis_url, database=database) as stage:
            lines = []
            for scene in SCENES:
                status.update(f"{scene.title} …")
                lines.append(play(scene, stage))
                _print(lines[-1], console, as_json=as_json)
    _print_sum(lines, console)
    return lines


def _print(line: Line, console: Console, *, as_json: bool) -> None:
    if as_json:
        document = {**line._asdict(), "as_expected": line.as_expected}
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
        sys.stdout.flush()
        return
    mark = "[green]✓[/]" if line.as_expected else "[red]✗[/]"
    row = Table.grid(padding=(0, 2))
    row.add_column(width=1)
    row.add_column(width=52)
    row.add_column(width=42)
    row.add_column(justify="right", width=8)
    happened = line.happened if line.as_expected else f"{line.happened}, expected {line.expected}"
    row.add_row(mark, line.title, happened, f"{line.milliseconds} ms")
    console.print(row)


def _print_sum(lines: list[Line], console: Console) -> None:
    wrong = sum(not line.as_expected for line in lines)
    console.print(f"{len(lines) - wrong} of {len(lines)} as expected." if wrong else f"All {len(lines)} as expected.")
