"""`broker agent key`: a key for an agent without a platform, and the line that its record needs."""

import stat
from pathlib import Path

from broker import private_key_file
from tests.broker.cli.typed import run
from tests.broker.registry.catalogue import AGENT, SERVICE, TASK, load


def test_the_line_that_is_printed_is_what_the_registry_needs(tmp_path: Path) -> None:
    file = tmp_path / "agent.jwk"
    done = run("agent", "key", "bot", "--output", str(file))
    assert done.code == 0
    (tmp_path / "registry").mkdir()
    registry = load(tmp_path / "registry", SERVICE, TASK, AGENT + done.out)
    kid = private_key_file.read(file).kid
    assert registry.workload_keys("bot").get(kid) is not None
    assert f"private-key:bot/{kid}" in done.err
    assert "BROKER_PRIVATE_KEY_FILE" in done.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_that_is_there_stays_and_nothing_private_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "agent.jwk"
    first, second = (run("agent", "key", "bot", "--output", str(file), "--json") for _ in range(2))
    assert first.document == second.document
    assert first.document["key"].keys() == {"kty", "crv", "x", "y"}
    secret = file.read_text().partition('"d": "')[2].partition('"')[0]
    assert secret
    assert secret not in first.out + first.err


def test_a_name_that_no_agent_can_have_is_wrong_usage(tmp_path: Path) -> None:
    done = run("agent", "key", "Bot!", "--output", str(tmp_path / "agent.jwk"))
    assert done.code == 2
    assert not (tmp_path / "agent.jwk").exists()
