"""Commands that act for a user, or for another agent, with their tokens in files."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scopes.clock import SystemClock
from tests.broker.cli.served import Served
from tests.broker.cli.typed import Ran, run
from tests.broker.front import claims_of
from tests.broker.identity import user_tokens
from tests.broker.identity.platform_tokens import jwks_file

WHOLE, PART = "crm:ticket/4711#read[description,subject]", "crm:ticket/4711#read[subject]"
_BINDING = """[agents.support-bot]
users = [{ issuer = "corp", clients = ["support-portal"] }]
delegates_to = ["helper"]
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A broker whose agent acts for users of one provider, and delegates to another agent."""
    broker = Served(tmp_path_factory.mktemp("delegating"))
    example = broker.folder / "registry" / "example.toml"
    text = example.read_text().replace("[agents.support-bot]\n", _BINDING)
    helper = (
        text[text.index("[agents.support-bot]") :].replace("support-bot", "helper").replace(_BINDING.partition("\n")[2], "")
    )
    example.write_text(text + helper.replace('users = [{ issuer = "corp", clients = ["support-portal"] }]', ""))
    jwks_file(broker.folder, "corp", user_tokens.KEY)
    settings = broker.folder / "broker.toml"
    trust = f'\n[[trust.users]]\nname = "corp"\nissuer = "{user_tokens.IDP}"\naudience = "{user_tokens.AUDIENCE}"\n'
    settings.write_text(
        settings.read_text().partition("# Where the broker's own keys are made")[0] + trust + 'jwks = "corp.json"\n'
    )
    yield broker.started()
    broker.end()


@pytest.fixture
def jane(tmp_path: Path) -> Path:
    file = tmp_path / "jane.jwt"
    file.write_text(user_tokens.user_token(SystemClock().now().wall // 1000) + "\n")
    return file


@pytest.fixture
def helper(served: Served, tmp_path: Path) -> Path:
    file = tmp_path / "helper.svid"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROKER_ISSUER", served.url)
        done = run("development", "identity", "helper", "--output", str(file), *served.config)
    assert done.code == 0, done.err
    return file


def as_helper(served: Served, helper: Path, *arguments: str) -> Ran:
    return run(*arguments, "--broker", served.url, "--identity", str(helper))


def test_a_token_is_asked_for_a_user(served: Served, jane: Path) -> None:
    done = served.act("token", "request", PART, "--user-token", str(jane))
    assert done.code == 0, done.err
    assert claims_of(done.out.strip())["sub"] == "corp:jane"


def test_a_task_is_declared_for_a_user_and_shows_them(served: Served, jane: Path) -> None:
    done = served.act("task", "declare", "summarise-ticket", "--user-token", str(jane))
    assert done.fields["user"] == "corp:jane"
    issued = served.act("token", "request", PART, "--task", done.fields["task"], "--json").document
    assert claims_of(issued["access_token"])["sub"] == "corp:jane"
    assert served.operate("lease", "show", issued["lease_id"]).fields["user"] == "corp:jane"
    revoked = served.operate("revoke", "--user", "corp:jane", "--reason", "a test")
    assert revoked.code == 0, revoked.err


def test_a_token_is_asked_for_below_another_agents(served: Served, helper: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent.jwt"
    parent.write_text(served.act("token", "request", WHOLE).out)
    done = as_helper(served, helper, "token", "request", PART, "--parent-token", str(parent), "--json")
    assert done.code == 0, done.err
    assert claims_of(done.document["access_token"])["client_id"] == "helper"
    task = as_helper(served, helper, "task", "declare", "summarise-ticket", "--parent-token", str(parent))
    assert task.fields["part of"] == claims_of(parent.read_text().strip())["txn"]
    wider = as_helper(served, helper, "token", "request", "crm:ticket/1#read[subject]", "--parent-token", str(parent))
    assert (wider.code, wider.out) == (1, "")
    assert "outside_delegation" in wider.err


def test_who_has_nothing_to_do_with_the_token_is_told_where_that_is_said(served: Served, helper: Path, jane: Path) -> None:
    done = as_helper(served, helper, "token", "request", PART, "--user-token", str(jane))
    assert (done.code, done.out) == (1, "")
    assert "not_delegated" in done.err
    assert "users and delegates_to" in done.err
    assert jane.read_text().split(".")[1] not in done.err


def test_one_token_says_for_whom(served: Served, jane: Path, tmp_path: Path) -> None:
    for verb in (("token", "request", PART), ("task", "declare", "summarise-ticket")):
        both = served.act(*verb, "--user-token", str(jane), "--parent-token", str(jane))
        assert both.code == 2
        assert "--user-token or --parent-token" in " ".join(both.err.split())
        none = served.act(*verb, "--user-token", str(tmp_path / "none"))
        assert (none.code, "holds no token" in none.err) == (2, True)


def test_what_is_configured_for_users_is_checked(served: Served) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in served.environment.items():
            patch.setenv(name, value)
        assert run("check", *served.config).code == 0
        file = served.folder / "corp.json"
        good = file.read_text()
        file.write_text("{")
        broken = run("check", *served.config)
        file.write_text(good)
    assert (broken.code, "not a usable JWKS" in broken.err) == (1, True)
    assert json.loads(good)["keys"]
