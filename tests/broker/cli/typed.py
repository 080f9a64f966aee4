"""Commands as a user types them: in this process where that is enough, in one of their own where signals or speed matter."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from broker.cli import main

PROGRAM = [sys.executable, "-m", "broker.cli"]
ROOT = Path(__file__).parents[3]


class Ran(NamedTuple):
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return msgspec.json.decode(self.out)

    @property
    def fields(self) -> dict[str, str]:
        """What stands on standard output as names and values, one under the other."""
        pairs = (line.split("  ", 1) for line in self.out.splitlines())
        return {pair[0].strip(): pair[-1].strip() for pair in pairs}

    @property
    def lines(self) -> list[Any]:
        """The JSON lines on standard output."""
        return [msgspec.json.decode(line) for line in self.out.splitlines()]


class Terminal(io.StringIO):
    """A standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


def run(*arguments: str, entered: str | io.StringIO = "") -> Ran:
    """Run a command in this process; `entered` is its standard input, which is no terminal unless it is a `Terminal`."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "stdin", io.StringIO(entered) if isinstance(entered, str) else entered)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
    code = ended.value.code
    return Ran(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


def start(arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a command in a process of its own; its output has to be read."""
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=surroundings(environment),
        # Whoever starts the suite in the background has it ignore Ctrl-C, and what it starts inherits that.
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 - it changes nothing that a thread could hold
    )


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def surroundings(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that finds the project wherever it is started."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
