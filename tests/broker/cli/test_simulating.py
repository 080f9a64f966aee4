"""`broker policy simulate`, `explain --event` and `report shadow`, about what a real broker with two workers decided."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.cli.served import Served
from tests.broker.cli.typed import run

SUBJECT = "crm:ticket/4711#read[subject]"
BOTH = "crm:ticket/4711#read[description,subject]"
EMAIL = "crm:ticket/4711#read[email]"
DESCRIPTIONS = '(principal is Agent, action, resource is Record) when { context.fields.contains("description") };'
NOTHING_BOTH = f'@id("one-field") forbid {DESCRIPTIONS}'
SHADOW = f'@id("maybe") @shadow forbid {DESCRIPTIONS}'


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A broker that has allowed two requests, and refused one before policies were asked; with a policy in shadow mode."""
    folder = tmp_path_factory.mktemp("asked")
    broker = Served(folder)
    (folder / "policies" / "shadow.cedar").write_text(SHADOW)
    broker.started()
    for scope, code in ((SUBJECT, 0), (BOTH, 0), (EMAIL, 1)):
        assert broker.act("token", "request", scope).code == code
    # The audit leaves out the present millisecond.
    threading.Event().wait(0.01)
    yield broker
    broker.end()


@pytest.fixture
def policies(asked: Served, tmp_path: Path) -> Path:
    return Path(shutil.copytree(asked.folder / "policies", tmp_path / "new"))


def simulate(asked: Served, policies: Path, *options: str):
    return asked.operate("policy", "simulate", "--policies", str(policies), *asked.config, *options)


def test_the_policies_in_force_change_nothing(asked, policies):
    done = simulate(asked, policies)
    assert (done.code, done.out) == (0, "")
    assert "No answer would be another." in done.err
    assert "2 decisions: 0 would be others." in done.err
    assert "1 were refused before policies were asked" in done.err


def test_what_would_be_refused_is_said_by_agent_and_policy(asked, policies):
    (policies / "own.cedar").write_text(NOTHING_BOTH)
    done = simulate(asked, policies)
    assert done.code == 1
    assert done.out.splitlines()[1].split() == [
        "support-bot", "summarise-ticket", "crm:ticket#read", "allowed", "forbidden", "one-field", "1",
    ]  # fmt: skip
    document = simulate(asked, policies, "--json").document
    assert (document["decided"], document["changed"], document["uncertain"]) == (2, 1, 0)
    assert document["refused_before"] == {"outside_fields": 1}


def test_what_happened_before_the_span_is_left_out(asked, policies):
    (policies / "own.cedar").write_text(NOTHING_BOTH)
    assert simulate(asked, policies, "--since", "0s", "--json").document["decided"] == 0
    assert simulate(asked, policies, "--since", "soon").code == 2


def test_another_registry_can_be_tried_as_well(asked, policies, tmp_path):
    registry = Path(shutil.copytree(asked.folder / "registry", tmp_path / "registry"))
    example = registry / "example.toml"
    example.write_text(example.read_text().replace("#read[subject,description]", "#read[subject]"))
    document = simulate(asked, policies, "--registry", str(registry), "--json").document
    assert [(row["was"], row["now"]) for row in document["changes"]] == [("", "outside_fields")]


def test_a_recorded_decision_is_explained(asked, policies):
    records = asked.operate("audit", "tail", "--json").lines
    issued = [record for record in records if record["kind"] == "token.issued"]
    (policies / "own.cedar").write_text(NOTHING_BOTH)
    done = asked.operate("policy", "explain", "--event", issued[-1]["id"], *asked.config, "--json")
    assert (done.code, done.document["allowed"], done.document["shadow"]) == (0, True, ["maybe"])
    assert done.document["request"]["scope"] == BOTH
    assert done.document["recorded"]["allowed"]
    other = asked.operate("policy", "explain", "--event", issued[-1]["id"], "--policies", str(policies), *asked.config)
    assert (other.code, "refused (forbidden) by one-field" in other.out) == (1, True)
    assert "It was allowed then, by other policies or another registry than these." in other.err


def test_what_policies_did_not_decide_is_not_explained(asked):
    records = asked.operate("audit", "tail", "--json").lines
    (refused,) = [record for record in records if record["kind"] == "token.refused"]
    done = asked.operate("policy", "explain", "--event", refused["id"], *asked.config)
    assert (done.code, "before policies were asked, with reason outside_fields" in done.err) == (1, True)
    unknown = asked.operate("policy", "explain", "--event", f"evt_{'0' * 26}", *asked.config)
    assert (unknown.code, "there is no decision" in unknown.err) == (1, True)
    assert asked.operate("policy", "explain", "--event", "lse_1", *asked.config).code == 2


def test_what_policies_in_shadow_mode_would_have_done_is_reported(asked):
    done = asked.operate("report", "shadow", "--since", "1h")
    assert done.code == 0
    assert done.out.splitlines()[1].split() == ["maybe", "support-bot", "crm:ticket#read", "refused", "it", "1"]
    document = asked.operate("report", "shadow", "--json").document
    assert (document["decided"], document["shadow"][0]["would"]) == (2, "refused it")
    assert "shadow: maybe" in asked.operate("audit", "tail").out


def test_whoever_may_not_read_the_audit_simulates_nothing(asked, policies, tmp_path):
    run("init", str(tmp_path / "other"), "--operator-key", str(tmp_path / "other.jwk"))
    done = run(
        "policy", "simulate", "--policies", str(policies), *asked.config,
        "--broker", asked.url, "--operator-key", str(tmp_path / "other.jwk"),
    )  # fmt: skip
    assert (done.code, done.out) == (1, "")
