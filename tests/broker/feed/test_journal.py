"""The journal: acts on disk, shared by the workers of a replica, never replaced by earlier ones."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.feed.acts import Act
from broker.feed.event import LIFT, new_event
from broker.feed.journal import Journal
from tests.broker.feed.test_acts import EPOCHS, reducing


def act(seq: int, value: str = "support-bot", *, epoch: str = EPOCHS[0]) -> Act:
    return Act(epoch, seq, reducing("paused", value=value))


def test_there_is_nothing_in_a_journal_that_is_not_there(tmp_path: Path) -> None:
    memory = Journal(tmp_path / "journal").read()
    assert (memory.epoch, memory.acts) == ("", ())


def test_what_is_added_is_read_by_the_next_process(tmp_path: Path) -> None:
    Journal(tmp_path / "journal").add(EPOCHS[0], [act(1)])
    memory = Journal(tmp_path / "journal").read()
    assert (memory.epoch, [each.order for each in memory.acts]) == (EPOCHS[0], [act(1).order])


def test_an_earlier_act_replaces_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    lifted = Act(EPOCHS[0], 7, new_event(LIFT, "agent support-bot", now=1))
    journal.add(EPOCHS[1], [lifted])
    journal.add(EPOCHS[0], [act(3)])
    memory = journal.read()
    assert (memory.epoch, memory.acts) == (EPOCHS[1], (lifted,))


def test_that_there_was_nothing_is_known_as_well(tmp_path: Path) -> None:
    """Or an epoch in which nothing was stopped could not be told from one of which nothing is known."""
    Journal(tmp_path / "journal").add(EPOCHS[0], [])
    assert Journal(tmp_path / "journal").read().epoch == EPOCHS[0]


def test_workers_that_write_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda n: Journal(tmp_path / "journal").add(EPOCHS[0], [act(n, f"bot-{n}")]), range(1, 41)))
    assert {each.event.value for each in Journal(tmp_path / "journal").read().acts} == {f"bot-{n}" for n in range(1, 41)}
    assert {path.name for path in tmp_path.iterdir()} == {"journal", "journal.lock"}


def test_what_is_known_already_is_not_written_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add(EPOCHS[0], [act(1)])
    first = (tmp_path / "journal").stat().st_ino
    journal.add(EPOCHS[0], [act(1)])
    assert (tmp_path / "journal").stat().st_ino == first


@pytest.mark.parametrize("content", [b"", b"{", b'{"epoch":1}', b"[]", b'{"acts":[{}]}'])
def test_a_journal_that_is_none_says_what_to_do_with_it(tmp_path: Path, content: bytes) -> None:
    """To read it as empty would start what an operator has stopped."""
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(ConfigurationError, match="copy it from another replica"):
        Journal(tmp_path / "journal").read()
