"""`broker init`: a folder that works, and nothing in it ever overwritten."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from broker import app, settings
from broker.cli import init
from broker.settings import Settings
from tests.broker.cli.typed import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "my-broker"


def test_what_is_made_is_a_configuration_that_serves(folder):
    assert run("init", str(folder)).code == 0
    configuration = app.configure(settings.load(folder / "broker.toml", environment={}))
    assert set(configuration.registry.content.operators) == {"admin"}
    assert configuration.registry.content.agents["support-bot"].missing == ()


def test_keys_are_for_their_owner_only_and_kept_out_of_version_control(folder, home):
    run("init", str(folder))
    assert folder.joinpath("keys").stat().st_mode & 0o777 == 0o700
    for key in (folder / "keys" / "token.jwk", folder / "keys" / "feed.jwk", home / ".config/agent-broker/operator.jwk"):
        assert key.stat().st_mode & 0o777 == 0o600
    assert folder.joinpath("keys", ".gitignore").read_text().splitlines()[-1] == "*"


def test_it_says_what_it_made_and_what_to_do_next(folder):
    done = run("init", str(folder))
    assert f"made   {folder / 'broker.toml'}" in done.out
    assert "broker serve" in done.err
    assert "export BROKER_IDENTITY_FILE" in done.err


def test_a_second_run_changes_nothing_and_says_what_was_there(folder, home):
    run("init", str(folder))
    before = {path: path.read_bytes() for path in (*folder.rglob("*"), *home.rglob("*")) if path.is_file()}
    done = run("init", str(folder))
    assert {path: path.read_bytes() for path in (*folder.rglob("*"), *home.rglob("*")) if path.is_file()} == before
    assert done.code == 0
    assert "made" not in done.out
    assert f"there  {folder / 'broker.toml'}" in done.out


def test_a_file_that_was_changed_stays_and_one_that_is_missing_is_made(folder):
    run("init", str(folder))
    folder.joinpath("broker.toml").write_text("# mine\n")
    folder.joinpath("policies", "agents.cedar").unlink()
    done = run("init", str(folder), "--json").document
    assert folder.joinpath("broker.toml").read_text() == "# mine\n"
    assert done["made"] == [str(folder / "policies" / "agents.cedar")]


def test_an_operator_whom_the_registry_does_not_know_is_told_what_to_add(folder, tmp_path):
    run("init", str(folder))
    done = run("init", str(folder), "--operator", "jane", "--operator-key", str(tmp_path / "jane.jwk"))
    assert "does not know the key" in done.err
    snippet = done.err[done.err.index("[operators.jane]") :]
    folder.joinpath("registry", "jane.toml").write_text(snippet)
    configuration = app.configure(settings.load(folder / "broker.toml", environment={}))
    assert set(configuration.registry.content.operators) == {"admin", "jane"}


def test_another_name_or_key_than_usual_is_part_of_the_next_steps(folder, tmp_path):
    done = run("init", str(folder), "--operator", "jane", "--operator-key", str(tmp_path / "jane.jwk"))
    assert "export BROKER_OPERATOR=jane" in done.err
    assert f"export BROKER_OPERATOR_KEY={tmp_path / 'jane.jwk'}" in done.err


def test_a_name_that_no_operator_can_have_is_wrong_usage(folder):
    assert run("init", str(folder), "--operator", "Jane Doe").code == 2
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    tmp_path.joinpath("file").write_text("")
    done = run("init", str(tmp_path / "file"))
    assert done.code == 1
    assert str(tmp_path / "file") in done.err
    assert "Traceback" not in done.err


def test_the_settings_file_explains_every_key_with_its_default():
    text = init._read(init._STARTER.joinpath("broker.toml"))
    shown = tomllib.loads("\n".join(line.removeprefix("# ") if " = " in line else line for line in text.splitlines()))
    fields = {
        field.name: field.default
        for field in msgspec.structs.fields(Settings)
        if field.name not in ("folder", "replicas", "key_store")
    }
    assert set(fields) <= set(shown)
    for name in ("issuer", "listen", "registry", "policies", "keys", "max_ttl"):
        assert shown[name] == fields[name]
