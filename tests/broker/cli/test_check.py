"""`broker check`: the whole configuration at once."""

from pathlib import Path

import pytest

from tests.broker.cli.served import make
from tests.broker.cli.typed import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "broker"
    make(made)
    return made


def check(folder: Path, *options: str):
    return run("check", "--config", str(folder / "broker.toml"), *options)


def test_a_configuration_that_is_right_is_said_to_be_with_what_is_loaded(folder):
    done = check(folder)
    assert done.code == 0
    assert "is fine" in done.out
    assert (done.fields["agents"], done.fields["store"]) == ("1", "embedded")


def test_programs_are_told_the_same_as_one_document(folder):
    document = check(folder, "--json").document
    policies = sum(path.read_text().count("@id(") for path in (folder / "policies").iterdir())
    assert document["valid"] is True
    assert (document["agents"], document["policies"], document["problems"]) == (1, policies, [])


def test_every_problem_of_every_file_is_named_in_one_run(folder):
    folder.joinpath("registry", "more.toml").write_text('[agents.broken]\nowner = "x"\nworkload = []\n')
    folder.joinpath("keys", "token.jwk").unlink()
    folder.joinpath("keys", "development", "bundle.json").write_text("{}")
    done = check(folder)
    assert done.code == 1
    for part in ("agents.broken", "did you mean 'workloads'", "token.jwk", "bundle.json"):
        assert part in done.err
    assert check(folder, "--json").document["valid"] is False


def test_a_policy_that_does_not_fit_the_registry_is_named(folder):
    folder.joinpath("policies", "mine.cedar").write_text('@id("mine") permit (principal is Nobody, action, resource);')
    done = check(folder)
    assert done.code == 1
    assert "mine" in done.err


def test_without_a_configuration_it_is_wrong_usage_and_names_what_makes_one(tmp_path):
    done = check(tmp_path / "nowhere")
    assert done.code == 2
    assert "broker init" in done.err


def test_the_configuration_can_be_named_by_the_environment(folder, monkeypatch):
    monkeypatch.setenv("BROKER_CONFIG", str(folder / "broker.toml"))
    assert run("check").code == 0


@pytest.mark.parametrize("url", ["redis://user:s3cret@store.example.com:6379/0", "redis://:s3cret@127.0.0.1:1/0"])
def test_the_password_of_the_store_is_not_printed(folder, monkeypatch, url):
    monkeypatch.setenv("BROKER_REDIS_URL", url)
    for options in ([], ["--json"]):
        done = check(folder, *options)
        assert done.code == 0
        assert "s3cret" not in done.out + done.err


def test_the_schema_of_the_registry_can_be_printed_for_those_who_write_policies(folder):
    config = ("--config", str(folder / "broker.toml"))
    text = run("policy", "schema", *config).out
    assert 'action "crm:ticket#read" in ["read"]' in text
    assert run("policy", "schema", *config, "--json").document == {"schema": text}


def test_a_schema_without_a_configuration_is_wrong_usage():
    done = run("policy", "schema")
    assert done.code == 2
    assert "broker init" in done.err
