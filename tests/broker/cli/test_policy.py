"""`broker policy test` and `broker policy explain`, typed where nothing runs."""

from pathlib import Path

import pytest

from tests.broker.cli.served import make
from tests.broker.cli.typed import run

SUBJECT = "crm:ticket/4711#read[subject]"
FAILING = """
[[case]]
name   = "nobody reads"
agent  = "support-bot"
scope  = "crm:ticket/4711#read[subject]"
expect = "refused"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "broker")
    return tmp_path / "broker"


def policy(folder: Path, *arguments: str):
    return run("policy", *arguments, "--config", str(folder / "broker.toml"))


def test_the_starter_cases_pass_with_the_example_registry(folder):
    done = policy(folder, "test")
    assert (done.code, done.out) == (0, "4 cases: all as expected.\n")


def test_a_case_that_fails_is_named_with_what_was_expected_and_what_came(folder):
    (folder / "policies" / "more.toml").write_text(FAILING)
    done = policy(folder, "test")
    said = "failed: nobody reads: expected refused, got allowed by read-inside-own-environment"
    assert (done.code, done.out.splitlines()) == (1, [said, "5 cases: 1 failed."])
    document = policy(folder, "test", "--json").document
    assert document["failed"] == 1
    assert [case["name"] for case in document["cases"] if not case["passed"]] == ["nobody reads"]


def test_without_cases_nothing_was_tested(folder):
    """Empty means no."""
    (folder / "policies" / "agents.toml").unlink()
    done = policy(folder, "test")
    assert (done.code, "no cases (*.toml) here" in done.out) == (1, True)
    assert policy(folder, "test", "--json").document == {"cases": [], "failed": 0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[case]", "more.toml"),
        (FAILING.replace("expect", "expct"), "case 'nobody reads': unknown key 'expct' (did you mean 'expect'?)"),
        (FAILING.replace("support-bot", "support-bott"), "there is no agent 'support-bott' (did you mean 'support-bot'?)"),
    ],
)
def test_cases_that_cannot_be_run_are_wrong_usage(folder, text, said):
    (folder / "policies" / "more.toml").write_text(text)
    done = policy(folder, "test")
    assert (done.code, said in done.err, done.out) == (2, True, "")


def test_other_folders_can_be_tested_without_any_settings(folder, tmp_path):
    policies, registry = str(folder / "policies"), str(folder / "registry")
    assert run("policy", "test", "--policies", policies, "--registry", registry).code == 0
    assert run("policy", "test", "--policies", policies).code == 2


def test_it_is_said_why_a_request_is_refused_and_what_would_help(folder):
    (folder / "policies" / "own.cedar").write_text(
        '@id("with-proof") forbid (principal is Agent, action, resource is Record) when { context.proof == "none" };'
    )
    done = policy(folder, "explain", "support-bot", SUBJECT, "--proof", "none")
    assert done.code == 1
    assert done.out.splitlines()[0] == f"support-bot, {SUBJECT}: refused (proof_required) by with-proof"
    assert '@id("with-proof")' in done.out
    assert "It would be allowed\n  with a proof by DPoP\n" in done.out


def test_it_is_said_why_a_request_is_allowed_and_what_would_end_it(folder):
    (folder / "policies" / "own.cedar").write_text(
        '@id("untainted") forbid (principal is Agent, action, resource is Record) when { context.task.tainted };\n'
        '@id("maybe") @shadow forbid (principal is Agent, action, resource);'
    )
    draft = folder / "registry" / "example.toml"
    draft.write_text(draft.read_text().replace("untrusted    = true", "untrusted    = false"))
    done = policy(folder, "explain", "support-bot", SUBJECT)
    assert done.code == 0
    assert "allowed by read-inside-own-environment" in done.out
    assert "It ends when the task's tree reads what outsiders write." in done.out
    assert "In shadow mode maybe would have turned the answer." in done.out
    document = policy(folder, "explain", "support-bot", SUBJECT, "--json").document
    assert (document["allowed"], document["ends_on_taint"], document["shadow"]) == (True, True, ["maybe"])
    assert {"what": "in a tree that is tainted", "reason": "forbidden"}.items() <= document["changes"][0].items()


def test_what_the_ceiling_refuses_is_said_to_be_the_registrys(folder):
    done = policy(folder, "explain", "support-bot", "crm:ticket/4711#read[email]")
    assert (done.code, "refused (outside_fields)" in done.out) == (1, True)
    assert "The registry says so, before any policy is asked" in done.out
    document = policy(folder, "explain", "support-bot", "crm:ticket/4711#read[email]", "--json").document
    assert (document["decided_by"], document["texts"]) == ("ceiling", {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name an agent and a scope"),
        (["support-bot", SUBJECT, "--proof", "token"], "Invalid enum value 'token'"),
        (["support-bot", SUBJECT, "--at", "noon"], "a time is written like"),
        (["support-bot", SUBJECT, "--label", "pij"], "there is no class of data 'pij'"),
        (["support-bott", SUBJECT], "did you mean 'support-bot'"),
    ],
)
def test_a_request_that_nobody_could_make_is_wrong_usage(folder, arguments, said):
    done = policy(folder, "explain", *arguments)
    assert done.code == 2
    assert said in " ".join(done.err.replace("│", " ").split())


def test_every_option_of_a_request_is_taken(folder):
    """All that a decision can depend on can be said on the command line, by the names that it has in a case."""
    given = {
        "--task": "summarise-ticket",
        "--within": "summarise-ticket",
        "--proof": "mtls",
        "--at": "2027-01-04T10:00Z",
        "--ttl": "60",
        "--age": "90",
        "--recent-refusals": "2",
        "--label": "pii",
        "--reduction": "read-only",
        "--user": "corp:jane",
        "--group": "support",
        "--identity-source": "x509-svid",
        "--trust-domain": "other.test",
    }
    options = [part for pair in given.items() for part in pair]
    done = policy(folder, "explain", "support-bot", SUBJECT, *options, "--tainted", "--approved", "--json")
    assert done.document["request"] == {
        "agent": "support-bot",
        "scope": SUBJECT,
        "task": "summarise-ticket",
        "within": ["summarise-ticket"],
        "proof": "mtls",
        "at": "2027-01-04T10:00:00Z",
        "ttl": 60,
        "age": 90,
        "recent_refusals": 2,
        "labels": ["pii"],
        "tainted": True,
        "approved": True,
        "reductions": ["read-only"],
        "user": "corp:jane",
        "groups": ["support"],
        "identity_source": "x509-svid",
        "trust_domain": "other.test",
    }
