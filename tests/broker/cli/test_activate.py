"""`broker activate`, at a real broker with two workers on a real Redis, and `broker doctor` beside it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.cli import activate as command
from broker.client.answers import ActivationRecord, ConfigurationRecord, WorkerRecord
from tests.broker.cli.conftest import two_workers
from tests.broker.cli.served import Served
from tests.broker.cli.typed import run
from tests.scopes.clocks import eventually

SUBJECT = "crm:ticket/4711#read[subject]"
FORBID = '@id("nothing-goes") forbid (principal is Agent, action, resource is Record);'
WHY = ("--reason", "a drill")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A broker of its own, for what is in force is everybody's."""
    yield from two_workers(tmp_path_factory)


@pytest.fixture
def pipeline(served: Served, tmp_path: Path) -> Iterator[Path]:
    """A copy of the files, as a pipeline has it; what it did is undone afterwards."""
    folder = tmp_path / "pipeline"
    for name in ("registry", "policies"):
        shutil.copytree(served.folder / name, folder / name)
    shutil.copy(served.folder / "broker.toml", folder / "broker.toml")
    yield folder
    undone = served.operate("activate", *served.config, *WHY, "--wait", "20")
    assert undone.code == 0, undone.err


def activate(served: Served, folder: Path, *options: str):
    return served.operate("activate", "--config", str(folder / "broker.toml"), *WHY, *options)


def test_what_is_sent_is_in_force_on_every_worker(served, pipeline):
    (pipeline / "policies" / "forbid.cedar").write_text(FORBID)
    (pipeline / "policies" / "agents.toml").unlink()
    done = activate(served, pipeline, "--wait", "20")
    assert (done.code, done.out.splitlines()[-1]) == (0, "In force.")
    assert "added  policy  nothing-goes" in done.out
    for _ in range(6):
        refused = served.act("token", "request", SUBJECT)
        assert (refused.code, "nothing-goes" in refused.err) == (1, True)


def test_policies_whose_cases_fail_are_not_sent(served, pipeline):
    (pipeline / "policies" / "forbid.cedar").write_text(FORBID)
    case = '[[case]]\nname = "it reads"\nagent = "support-bot"\nscope = "crm:ticket/1#read[subject]"\nexpect = "allowed"\n'
    (pipeline / "policies" / "own.toml").write_text(case)
    done = activate(served, pipeline)
    assert (done.code, done.out) == (1, "")
    assert "failed: it reads: expected allowed, got refused (forbidden) by nothing-goes" in done.err
    assert "Nothing was sent." in done.err
    assert served.act("token", "request", SUBJECT).code == 0
    (pipeline / "policies" / "own.toml").write_text("[[case]")
    assert activate(served, pipeline).code == 2


def test_policies_whose_cases_fail_are_sent_where_somebody_insists(served, pipeline):
    (pipeline / "policies" / "forbid.cedar").write_text(FORBID)
    done = activate(served, pipeline, "--untested", "--wait", "20")
    assert (done.code, done.out.splitlines()[-1]) == (0, "In force.")
    assert served.act("token", "request", SUBJECT).code == 1


def test_to_try_changes_nothing_and_says_what_would_change(served, pipeline):
    registry = pipeline / "registry"
    (registry / "more.toml").write_text('[agents.new-bot]\nowner = "jane@example.com"\n')
    done = activate(served, pipeline, "--dry-run")
    assert (done.code, done.out.splitlines()[-1]) == (0, "Nothing was changed.")
    assert "added  agent  new-bot" in done.out
    assert "new-bot" not in served.operate("agent", "list").out


def test_what_is_in_force_already_is_told_as_such(served, pipeline):
    assert activate(served, pipeline).out == "Already in force.\n"
    assert activate(served, pipeline, "--dry-run").out == "Nothing would change: this is in force.\n"


def test_programs_are_told_in_json(served, pipeline):
    (pipeline / "policies" / "forbid.cedar").write_text(FORBID)
    (pipeline / "policies" / "agents.toml").unlink()
    document = activate(served, pipeline, "--wait", "20", "--json").document
    assert (document["new"], document["behind"]) == (True, 0)
    assert document["changes"] == [{"what": "policy", "name": "nothing-goes", "how": "added"}]
    assert "behind" not in activate(served, pipeline, "--json").document


def test_files_with_a_problem_are_not_sent(served, pipeline):
    (pipeline / "registry" / "more.toml").write_text("[agents")
    done = activate(served, pipeline)
    assert (done.code, done.out) == (2, "")
    assert str(pipeline / "registry" / "more.toml") in done.err


def test_a_reason_is_wanted(served):
    assert served.operate("activate", *served.config).code == 2


def test_the_folder_of_a_running_broker_is_watched_and_broken_files_are_named_by_doctor(served, monkeypatch):
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    more = served.folder / "registry" / "more.toml"
    more.write_text("[agents")
    try:
        done = run("doctor", *served.config)
        assert (done.code, str(more) in done.out) == (1, True)
        eventually(lambda: "broken" in served.ready().get("problem", ""))
        more.write_text('[agents.new-bot]\nowner = "jane@example.com"\n')
        eventually(lambda: "new-bot" in served.operate("agent", "list").out)
    finally:
        more.unlink()
    eventually(lambda: "new-bot" not in served.operate("agent", "list").out)
    assert run("doctor", *served.config).code == 0


class Slow:
    """A client of a broker whose workers swap one after the other."""

    def __init__(self, *states: tuple[str, ...]) -> None:
        self._states = list(states)

    def configuration(self) -> ConfigurationRecord:
        states = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        workers = tuple(WorkerRecord(id="w", silent_ms=0, state=state) for state in states)
        return ConfigurationRecord(
            digest="new" if states else "old", files="same", file_problems=(), problem="", workers=workers
        )


@pytest.mark.parametrize(
    ("states", "behind"),
    [
        pytest.param([(), ("behind", "current"), ("current", "current")], 0, id="they swap in time"),
        pytest.param([("current", "silent")], 0, id="one is not heard, and issues nothing"),
        pytest.param([("behind", "behind", "current")], 2, id="two do not"),
        pytest.param([()], 1, id="nobody has heard"),
    ],
)
def test_it_is_waited_for_every_worker_that_is_heard(states, behind):
    done = ActivationRecord(digest="new", new=True, changes=())
    assert command._behind_after(Slow(*states), done, 0.5) == behind


def test_workers_that_are_behind_are_told_with_exit_code_4(served, pipeline, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(command, "_behind", lambda *_: 1)
        done = activate(served, pipeline, "--wait", "0")
    assert done.code == 4
    assert "1 worker has not swapped yet" in done.err
