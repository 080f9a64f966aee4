"""`broker demo`: plays every scene and exits with 0 only if each went as expected."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from broker.cli.demo.database import Database
from broker.cli.demo.scenes import SCENES, Line, play
from broker.cli.demo.stage import Stage

_TITLE_WIDTH = max(len(scene.title) for scene in SCENES)

RedisUrl = Annotated[str | None, typer.Option(help="Run on this Redis database, which has to be empty, instead of embedded.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line for each scene.")]


def demo(redis_url: RedisUrl = None, as_json: AsJson = False) -> None:
    """Show the whole loop on this machine: issue, refuse, revoke, expire, and a broker that is killed.

    Starts a broker, a ticket service that embeds the verifier, and an agent, all on loopback, and ends them again.
    Takes about twenty seconds. Example: broker demo --redis-url redis://127.0.0.1:6379/9
    """
    database = Database(redis_url) if redis_url is not None else None
    with tempfile.TemporaryDirectory(prefix="agent-broker-demo-") as folder:
        try:
            lines = _play_all(Path(folder), redis_url, database, as_json=as_json)
        finally:
            if database is not None:
                database.empty()
    raise typer.Exit(0 if lines and all(line.as_expected for line in lines) else 1)


def _play_all(folder: Path, redis_url: str | None, database: Database | None, *, as_json: bool) -> list[Line]:
    console = Console(stderr=as_json, highlight=False)
    lines = []
    starting = console.status("Starting a broker, a ticket service and an agent …")
    with starting as status, Stage(folder, redis_url=redis_url, database=database) as stage:
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
    expected = f"[dim]expected {escape(line.expected)}, happened[/] {escape(line.happened)}"
    console.print(f"{mark} {line.milliseconds:>5} ms  {line.title:<{_TITLE_WIDTH}}  {expected}", soft_wrap=True)


def _print_sum(lines: list[Line], console: Console) -> None:
    wrong = sum(not line.as_expected for line in lines)
    console.print(f"{len(lines) - wrong} of {len(lines)} as expected." if wrong else f"All {len(lines)} as expected.")
