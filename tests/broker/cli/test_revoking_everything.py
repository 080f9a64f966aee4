"""`broker revoke --all` at a terminal."""

import pytest

from broker.cli import revoke
from tests.broker.cli.typed import Terminal, run

ALL = ("revoke", "--all", "--reason", "test")


@pytest.fixture(autouse=True)
def nobody_signs_in(monkeypatch):
    """Whoever gets as far as signing in would revoke."""

    class SignedIn(Exception):
        pass

    def sign_in(*_: object) -> None:
        raise SignedIn

    monkeypatch.setattr(revoke.sign_in, "operator", sign_in)


def test_it_is_asked_for_and_a_no_revokes_nothing():
    done = run(*ALL, entered=Terminal("n\n"))
    assert done.code == 1
    assert "Revoke everything?" in done.err
    assert "SignedIn" not in done.err


@pytest.mark.parametrize(("answer", "options"), [("y\n", ()), ("", ("--yes",))])
def test_a_yes_goes_on(answer, options):
    assert "SignedIn" in run(*ALL, *options, entered=Terminal(answer)).err


def test_a_script_is_not_asked():
    assert "SignedIn" in run(*ALL).err
