"""`broker agent suspend`, `resume`, `retire`, and what is shown of agents, at a real broker."""

from collections.abc import Iterator

import pytest

from broker.cli import agent
from broker.client import Operator
from tests.broker.cli.served import Served
from tests.broker.cli.typed import Terminal, run

SUBJECT = "crm:ticket/4711#read[subject]"
BOT = "spiffe://development.test/agent/support-bot"
WHY = ("--reason", "a drill")
SPARE = """
[agents.spare]
owner       = "joe@example.com"
purpose     = "To be retired"
environment = "prod"
workloads   = [{ spiffe = "spiffe://development.test/agent/spare" }]
tasks       = ["summarise-ticket"]
ends        = 2099-06-30
review_by   = 2020-01-01
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A broker of one worker, with an agent to spare."""
    broker = Served(tmp_path_factory.mktemp("site"))
    (broker.folder / "registry" / "spare.toml").write_text(SPARE)
    yield broker.started()
    broker.end()


@pytest.fixture(autouse=True)
def resumed(site: Served) -> Iterator[None]:
    """Nothing stays suspended after a test."""
    yield
    for instance in ((), ("--instance", BOT)):
        assert site.operate("agent", "resume", "support-bot", *instance, *WHY).code == 0


def test_a_suspended_agent_gets_nothing_until_it_is_resumed(site):
    done = site.operate("agent", "suspend", "support-bot", *WHY)
    assert (done.code, done.out) == (0, "support-bot is suspended, until it is resumed.\n")
    refused = site.act("token", "request", SUBJECT)
    assert refused.code == 1
    assert "agent_suspended" in refused.err
    done = site.operate("agent", "resume", "support-bot", *WHY)
    assert (done.code, done.out) == (0, "support-bot is resumed: it may ask for new tokens.\n")
    assert site.act("token", "request", SUBJECT).code == 0


def test_one_instance_is_suspended_and_shown(site):
    done = site.operate("agent", "suspend", "support-bot", "--instance", BOT, *WHY)
    assert done.out == f"{BOT} of support-bot is suspended, until it is resumed.\n"
    shown = site.operate("agent", "show", "support-bot").fields
    assert (shown["status"], shown["suspended"]) == ("active", BOT)
    assert "instance_suspended" in site.act("token", "request", SUBJECT).err
    done = site.operate("agent", "resume", "support-bot", "--instance", BOT, *WHY)
    assert done.out == f"{BOT} of support-bot is resumed: it may ask for new tokens.\n"
    assert "suspended" not in site.operate("agent", "show", "support-bot").fields


def test_to_do_it_twice_says_so_and_is_no_error(site):
    for verb, said in (("resume", "was not suspended"), ("suspend", "is suspended"), ("suspend", "was suspended already")):
        done = site.operate("agent", verb, "support-bot", *WHY)
        assert done.code == 0
        assert said in done.out


def test_agents_are_listed_with_where_they_stand(site):
    site.operate("agent", "suspend", "support-bot", *WHY)
    site.operate("reduce", "--agent", "support-bot", "--to", "read-only", *WHY)
    listed = site.operate("agent", "list")
    site.operate("restore", "--agent", "support-bot", *WHY)
    assert "suspended, read-only" in listed.out
    assert "2020-01-01, overdue" in listed.out
    assert site.operate("agent", "show", "spare").fields["review by"] == "2020-01-01, overdue"


def test_programs_are_told_in_json(site):
    document = site.operate("agent", "suspend", "support-bot", *WHY, "--json").document
    assert set(document) == {"id", "epoch", "seq", "status", "was"}
    assert (document["status"], document["was"]) == ("suspended", "active")


def test_whoever_waits_is_told_which_verifiers_refuse_it_and_when_nobody_is_known(site):
    done = site.operate("agent", "suspend", "support-bot", "--wait", "0", *WHY)
    assert done.code == 4
    assert "support-bot is suspended" in done.out
    assert "Not every verifier process of crm is known" in done.err
    done = site.operate("agent", "suspend", "support-bot", "--wait", "0", *WHY, "--json")
    assert (done.code, done.document["confirmed"], done.document["status"]) == (4, False, "suspended")


def test_a_name_that_is_nobodys_stops_nothing_and_says_so(site):
    done = site.operate("agent", "suspend", "suport-bot", *WHY)
    assert (done.code, done.out) == (1, "")
    assert "no agent" in done.err


@pytest.mark.parametrize("verb", ["suspend", "resume", "retire"])
def test_a_reason_is_needed(site, verb):
    assert site.operate("agent", verb, "support-bot").code == 2


def test_a_retired_agent_stays_so(site):
    done = site.operate("agent", "retire", "spare", *WHY)
    assert (done.code, done.out) == (0, "spare is retired, for good.\n")
    assert site.operate("agent", "retire", "spare", "--yes", *WHY).out == "spare was retired already.\n"
    for verb in ("resume", "suspend"):
        refused = site.operate("agent", verb, "spare", *WHY)
        assert refused.code == 1
        assert "agent_retired" in refused.err
    assert site.operate("agent", "show", "spare").fields["status"] == "retired"


def test_at_a_terminal_a_retirement_is_asked_for_first(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(agent.sign_in, "operator", lambda *_: pytest.fail("signed in"))
        done = run("agent", "retire", "spare", *WHY, entered=Terminal("n\n"))
    assert done.code == 1
    assert "Retire it?" in done.err


def test_ctrl_c_leaves_a_suspension_in_force_and_says_so(site, monkeypatch):
    def broken_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Operator, "revocation", broken_off)
        done = site.operate("agent", "suspend", "support-bot", "--wait", "5", *WHY)
    assert done.code == 130
    assert "is in force" in done.err
