"""What commands print: tables for people or JSON for programs on standard output, everything else on standard error."""

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNBOUNDED = 400
"""The width where there is no terminal: lines are for a program then, and not to be folded."""


def document(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(_json(value, indent=2))


def line(value: Any) -> None:
    """Print one line of JSON, at once."""
    typer.echo(_json(value, indent=None))
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print rows under their columns, or the sentence `empty` where there are none. First columns are never folded."""
    known = list(rows)
    if not known:
        say(empty)
        return
    printed = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        printed.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in known:
        printed.add_row(*(Text(plain(cell)) for cell in row))
    _print(printed)


def fields(pairs: Mapping[str, str]) -> None:
    """Print names and values, one under the other; those without a value are left out."""
    printed = Table.grid(padding=(0, 2, 0, 0))
    printed.add_column(style="bold", no_wrap=True)
    printed.add_column(overflow="fold")
    for name, value in pairs.items():
        if value:
            printed.add_row(name, Text("\n".join(map(plain, value.splitlines()))))
    _print(printed)


def text(sentence: str) -> None:
    """Print one line for people, at once."""
    typer.echo(plain(sentence))
    sys.stdout.flush()


def say(message: str) -> None:
    """Tell the user something that is not the answer."""
    typer.echo("\n".join(map(plain, message.splitlines())), err=True)


def progress(message: str) -> None:
    """Show how far something is, in place of what was shown before; only where somebody looks."""
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{plain(message)}", err=True, nl=False)


def plain(unverified_text: str) -> str:
    """Spell out what would move a terminal's cursor, colour it, or turn the direction of writing: agents write purposes."""
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter)[0] == "C" else letter
        for letter in unverified_text
    )


def _json(value: Any, *, indent: int | None) -> str:
    # In ASCII, for the same reason as in `plain`: JSON is looked at on terminals, too.
    return json.dumps(msgspec.to_builtins(value), indent=indent)


def _print(table: Table) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _UNBOUNDED
    with console.capture() as captured:
        console.print(table)
    # Without the spaces that fill the last column: they are nobody's.
    typer.echo("\n".join(row.rstrip() for row in captured.get().splitlines()))
