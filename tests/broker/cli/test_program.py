"""The program as a whole: what it imports, what it says of mistakes, and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from broker.cli import program
from broker.cli.program import COMMANDS
from tests.broker.cli.typed import run, start, surroundings

HEAVY = ("litestar", "cedarpy", "fakeredis", "granian", "apscheduler", "redis")
SERVER_SIDE = {"activate", "serve", "check", "doctor", "demo", "policy", "report"}


def test_help_names_every_command():
    done = run("--help")
    assert done.code == 0
    assert all(name in done.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name):
    help = run(name, "--help")
    assert help.code == 0
    group = program.command(name)
    for verb in getattr(group, "commands", {}):
        text = run(name, verb, "--help").out
        assert f"Example: broker {name} {verb}" in " ".join(text.split()) or "Example: broker" in text
    if not hasattr(group, "commands"):
        assert "Example: broker" in help.out


IMPORTS = """
import contextlib, io, sys
from broker.cli import main
for name in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([*name.split(), "--help"])
    print(name, *{module.partition(".")[0] for module in sys.modules})
"""


def imported_by(*names):
    """Return what had been imported when each of the commands was known, one after the other in one process."""
    command = [sys.executable, "-c", IMPORTS, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings())
    return [set(line.split(" ")) for line in done.stdout.splitlines()]


def test_a_command_that_needs_no_server_imports_none():
    light = ["", *(name for name in COMMANDS if name not in SERVER_SIDE)]
    imported = imported_by(*light)
    assert len(imported) == len(light)
    assert [name for name, modules in zip(light, imported, strict=True) if modules & set(HEAVY)] == []


def test_a_broker_with_a_redis_starts_without_the_embedded_store():
    (imported,) = imported_by("serve")
    assert "granian" in imported
    assert not imported & {"fakeredis", "lupa"}


def test_a_misspelled_command_is_wrong_usage_and_the_nearest_is_named():
    done = run("leas", "list")
    assert done.code == 2
    assert "Did you mean 'lease'" in done.err
    assert done.out == ""


def test_a_group_without_a_verb_shows_its_help():
    assert "list" in run("lease").err + run("lease").out


def test_a_fault_of_ours_is_one_sentence_and_no_stack_trace(monkeypatch):
    def fail() -> None:
        raise ZeroDivisionError("with a secret in it")

    done = run_instead_of_check(fail, monkeypatch)
    assert done.code == 1
    assert "ZeroDivisionError at test_program.py:" in done.err
    assert "Traceback" not in done.err
    assert "secret" not in done.err


def test_a_file_that_cannot_be_used_is_named(monkeypatch):
    def fail() -> None:
        Path("missing/file").read_text()

    done = run_instead_of_check(fail, monkeypatch)
    assert (done.code, done.err) == (1, "error: missing/file: No such file or directory\n")


def run_instead_of_check(command, monkeypatch):
    real = program._imported
    monkeypatch.setattr(program, "_imported", lambda where: command if where == COMMANDS["check"].where else real(where))
    return run("check")


def test_completion_is_there_for_the_usual_shells():
    # Asked for by name: which shell somebody uses is looked up among the parents, and a test may have none.
    process = start([], environment={"_BROKER_COMPLETE": "source_bash"})
    assert "_broker_completion" in process.communicate(timeout=30)[0]
