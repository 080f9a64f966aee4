"""`broker revoke --all` at a terminal."""

import io
import sys

import pytest

from broker.cli import main, revoke


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class NobodyAsked(Exception):
    pass


@pytest.fixture
def asked(monkeypatch):
    """Whoever gets as far as signing in would revoke."""

    def sign_in(*_: object) -> None:
        raise NobodyAsked

    monkeypatch.setattr(revoke.sign_in, "operator", sign_in)

    def at_a_terminal(answer: str, *options: str) -> int:
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        with pytest.raises(SystemExit) as ended:
            main(["revoke", "--all", "--reason", "test", *options])
        return int(ended.value.code)

    return at_a_terminal


def test_it_is_asked_for_and_a_no_revokes_nothing(asked, capsys):
    assert asked("n\n") == 1
    captured = capsys.readouterr()
    assert "Revoke everything?" in captured.err
    assert "NobodyAsked" not in captured.err


@pytest.mark.parametrize(("answer", "options"), [("y\n", ()), ("", ("--yes",))])
def test_a_yes_goes_on(asked, capsys, answer, options):
    asked(answer, *options)
    assert "NobodyAsked" in capsys.readouterr().err
