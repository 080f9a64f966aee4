"""`broker development identity`: identities for trying things out."""

from pathlib import Path

import msgspec
import pytest

from scopes import jose
from tests.broker.cli.served import make
from tests.broker.cli.typed import run

BOT = "spiffe://development.test/agent/support-bot"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "broker"
    make(made)
    return made


def identity(folder: Path, *arguments: str):
    return run("development", "identity", *arguments, "--config", str(folder / "broker.toml"))


def claims(svid: str) -> dict[str, object]:
    return msgspec.json.decode(jose.read(svid.strip(), types=frozenset({"jwt"})).unverified_payload)


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("support-bot", BOT),
        ("crm", "spiffe://development.test/service/crm"),
        ("spiffe://development.test/anything/else", "spiffe://development.test/anything/else"),
    ],
)
def test_agents_and_services_are_named_as_the_registry_names_them_or_by_their_spiffe_id(folder, name, workload):
    done = identity(folder, name)
    assert done.code == 0
    assert claims(done.out)["sub"] == workload
    assert claims(done.out)["aud"] == ["http://127.0.0.1:8750"]


def test_it_lives_as_long_as_asked(folder):
    said = claims(identity(folder, "support-bot", "--lifetime", "60").out)
    assert int(str(said["exp"])) - int(str(said["iat"])) == 60


def test_a_file_is_for_its_owner_only_and_nothing_of_it_is_printed(folder, tmp_path):
    file = tmp_path / "bot.svid"
    file.write_text("old")
    file.chmod(0o644)
    done = identity(folder, "support-bot", "--output", str(file))
    assert done.out == ""
    assert "eyJ" not in done.err
    assert f"export BROKER_IDENTITY_FILE={file}" in done.err
    assert file.stat().st_mode & 0o777 == 0o600
    assert claims(file.read_text())["sub"] == BOT
    assert not list(tmp_path.glob("bot.svid.*"))


def test_programs_get_a_document(folder, tmp_path):
    document = identity(folder, "support-bot", "--json").document
    assert claims(document["svid"])["exp"] == document["expires"]
    file = str(tmp_path / "bot.svid")
    document = identity(folder, "support-bot", "--output", file, "--json").document
    assert (document["file"], document["spiffe_id"], "svid" in document) == (file, BOT, False)


def test_a_name_that_nobody_has_is_refused(folder):
    done = identity(folder, "nobody")
    assert done.code == 2
    assert "nobody" in done.err


@pytest.mark.parametrize(
    "workloads", ["", '{ spiffe = "spiffe://development.test/pod/*" }', '{ spiffe = "spiffe://prod.test/a" }']
)
def test_an_agent_without_a_workload_spelled_out_needs_a_spiffe_id(folder, workloads):
    folder.joinpath("registry", "more.toml").write_text(f"[agents.wide]\nworkloads = [{workloads}]\n")
    done = identity(folder, "wide")
    assert done.code == 2
    assert "name a SPIFFE id" in done.err


def test_another_domain_is_refused(folder):
    done = identity(folder, "spiffe://prod.example.com/agent/bot")
    assert done.code == 2
    assert "development.test" in done.err


def test_a_file_that_cannot_be_written_is_named(folder, tmp_path):
    done = identity(folder, "support-bot", "--output", str(tmp_path / "missing" / "bot.svid"))
    assert done.code == 2
    assert "missing" in done.err


def test_without_a_configuration_it_names_what_makes_one():
    done = run("development", "identity", "support-bot")
    assert done.code == 2
    assert "broker init" in done.err
