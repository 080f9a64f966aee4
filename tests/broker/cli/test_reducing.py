"""`broker reduce`, `broker restore`, `broker reduction list`, at a real broker on a real Redis."""

import pytest

from broker.cli import reduction
from tests.broker.cli.typed import Terminal, run

SUBJECT = "crm:ticket/4711#read[subject]"
WHY = ("--reason", "a drill")


@pytest.fixture(autouse=True)
def restored(served):
    """Nothing stays reduced after a test."""
    yield
    for selector in (("--agent", "support-bot"), ("--service", "crm"), ("--all",)):
        assert served.operate("restore", *selector, *WHY).code == 0


def test_a_paused_agent_gets_nothing_until_it_is_restored(served):
    done = served.operate("reduce", "--agent", "support-bot", "--to", "paused", *WHY)
    assert (done.code, done.out) == (0, "Reduced to paused, until it is restored.\n")
    refused = served.act("token", "request", SUBJECT)
    assert refused.code == 1
    assert "paused until an operator restores it" in refused.err
    assert served.operate("restore", "--agent", "support-bot", *WHY).code == 0
    assert served.act("token", "request", SUBJECT).code == 0


def test_what_is_reduced_is_listed_with_who_and_why(served):
    assert served.operate("reduction", "list").err == "Nothing is reduced.\n"
    served.operate("reduce", "--service", "crm", "--to", "read-only", *WHY)
    listed = served.operate("reduction", "list").out
    assert all(word in listed for word in ("service crm", "read-only", "admin", "a drill"))
    (record,) = served.operate("reduction", "list", "--json").document["reductions"]
    assert (record["selector"], record["to"]) == ({"service": "crm"}, "read-only")


def test_an_agent_that_is_reduced_shows_it(served):
    served.operate("reduce", "--agent", "support-bot", "--to", "paused", *WHY)
    assert "active, paused" in served.operate("agent", "list").out
    assert "active, paused" in served.operate("agent", "show", "support-bot").out
    assert served.operate("agent", "show", "support-bot", "--json").document["reduced"] == "paused"


def test_to_restore_names_what_is_still_reduced(served):
    served.operate("reduce", "--all", "--to", "draft-only", *WHY)
    served.operate("reduce", "--agent", "support-bot", "--to", "paused", *WHY)
    done = served.operate("restore", "--agent", "support-bot", *WHY)
    assert "Still reduced: all to draft-only." in done.err


def test_programs_are_told_in_json(served):
    for command in (("reduce", "--to", "paused"), ("restore",)):
        document = served.operate(*command, "--agent", "support-bot", *WHY, "--json").document
        assert document["id"].startswith("evt_")


def test_a_name_that_is_nobodys_stops_nothing_and_says_so(served):
    done = served.operate("reduce", "--agent", "suport-bot", "--to", "paused", *WHY)
    assert (done.code, done.out) == (1, "")
    assert "no agent" in done.err


@pytest.mark.parametrize("selector", [(), ("--agent", "support-bot", "--all")])
def test_exactly_one_is_named(served, selector):
    assert served.operate("reduce", *selector, "--to", "paused", *WHY).code == 2


@pytest.mark.parametrize("to", [(), ("--to", "stopped")])
def test_how_far_is_said_and_known(served, to):
    assert served.operate("reduce", "--agent", "support-bot", *to, *WHY).code == 2


def test_at_a_terminal_everything_is_asked_for_first(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(reduction.sign_in, "operator", lambda *_: pytest.fail("signed in"))
        done = run("reduce", "--all", "--to", "paused", *WHY, entered=Terminal("n\n"))
    assert done.code == 1
    assert "Reduce everything?" in done.err
