"""`broker report reach`, typed where nothing runs."""

from pathlib import Path

import pytest

from tests.broker.cli.served import make
from tests.broker.cli.typed import run

MORE = """
[agents.night-bot]
owner       = "joe@example.com"
purpose     = "Something else"
environment = "test"
workloads   = [{ spiffe = "spiffe://development.test/agent/night-bot" }]
tasks       = ["summarise-ticket"]
ends        = 2020-01-01

[agents.half-bot]
tasks = ["summarise-ticket"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "broker")
    (tmp_path / "broker" / "registry" / "more.toml").write_text(MORE)
    return tmp_path / "broker"


def reach(folder: Path, *options: str):
    return run("report", "reach", *options, "--config", str(folder / "broker.toml"))


def test_it_says_who_can_reach_what_and_what_it_takes(folder):
    (folder / "policies" / "own.cedar").write_text(
        '@id("with-proof") forbid (principal is Agent, action, resource is Record) when { context.proof == "none" };'
    )
    done = reach(folder)
    assert done.code == 0
    header, row = done.out.splitlines()
    assert header.split() == ["AGENT", "TASK", "SCOPE", "FIELDS", "DATA", "CLASSES", "NEEDS"]
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == [
        "support-bot", "summarise-ticket", "crm:ticket/*#read", "description, subject", "pii", "a proof",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "is_exact"),
    [
        ('context.user.id == "corp:jane"', True),
        ('context.user.id like "corp:*"', False),
        ("context.user.groups.contains(context.user.id)", False),
        ('context.user == {id: "corp:jane", groups: ["support"]}', False),
    ],
)
def test_a_report_that_cannot_be_exact_says_so(folder, condition, is_exact):
    """In the JSON and beside the table."""
    text = f'@id("own") forbid (principal is Agent, action, resource is Record) when {{ context has user && {condition} }};'
    (folder / "policies" / "own.cedar").write_text(text)
    assert [row["exact"] for row in reach(folder, "--json").document["reach"]] == [is_exact]
    done = reach(folder)
    assert done.code == 0
    assert ("may need something else" in done.err) is not is_exact


def test_agents_that_get_nothing_today_are_named(folder):
    done = reach(folder)
    assert "half-bot is declared, and gets nothing" in done.err
    assert "night-bot is ended, and gets nothing" in done.err
    assert reach(folder, "--json").document["inactive"] == {"half-bot": "declared", "night-bot": "ended"}


def test_what_can_be_asked_for_and_is_never_given_is_listed_by_itself(folder):
    done = reach(folder, "--unreachable", "--json").document
    assert [(row["agent"], row["fields"], row["ways"]) for row in done["reach"]] == [
        ("night-bot", ["description", "subject"], [])
    ]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--agent", "support-bot"], 1),
        (["--agent", "night-bot"], 0),
        (["--resource", "crm"], 1),
        (["--resource", "crm:ticket/4711"], 1),
        (["--resource", "crm:ticket/4711/1"], 0),
        (["--resource", "crm:tick"], 0),
        (["--resource", "kb"], 0),
        (["--data-class", "pii"], 1),
        (["--level", "read"], 1),
        (["--level", "trigger"], 0),
    ],
)
def test_it_can_be_asked_by_agent_resource_class_and_level(folder, options, found):
    assert len(reach(folder, *options, "--json").document["reach"]) == found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--agent", "support-bott"], "did you mean 'support-bot'"),
        (["--data-class", "pij"], "did you mean 'pii'"),
        (["--level", "reed"], "did you mean 'read'"),
        (["--resource", "crm:"], "is not a resource prefix"),
    ],
)
def test_a_name_that_is_not_there_is_no_empty_report(folder, options, said):
    """Nobody is to believe that nobody reaches what is only misspelt."""
    done = reach(folder, *options)
    assert (done.code, done.out) == (2, "")
    assert said in " ".join(done.err.replace("│", " ").split())
