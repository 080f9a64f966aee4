"""What a task is given to read by an answer, and with what it is decided."""

from pathlib import Path

import pytest

from broker.policy import asking
from broker.tasks import Exposure
from tests.broker.policy.questions import PERMIT_ALL, REGISTRY, Asker

OF_NOBODY = REGISTRY.replace('data_classes = ["pii"]\nuntrusted    = true\n', "")


@pytest.fixture
def asker(tmp_path: Path) -> Asker:
    return Asker(tmp_path, PERMIT_ALL, registry_text=OF_NOBODY)


def exposure(*labels: str, tainted: bool = False) -> Exposure:
    return Exposure(tainted, frozenset(labels))


@pytest.mark.parametrize(
    ("scope", "labels"),
    [
        ("crm:ticket/1#read[subject]", set()),
        ("crm:ticket/1#read[email]", {"pii"}),
        ("crm:ticket/1#read[email,subject]", {"pii"}),
        ("crm:ticket/1#read[card_number]", {"financial", "pii"}),
        ("lab:sample/1#read", set()),
    ],
)
def test_who_reads_fields_is_given_the_classes_of_their_data(asker: Asker, scope: str, labels: set[str]) -> None:
    assert asking.gained(asker.question(scope)) == exposure(*labels)


def test_what_a_record_is_of_whoever_reads_any_of_its_fields_is_given(tmp_path: Path) -> None:
    assert asking.gained(Asker(tmp_path, PERMIT_ALL).question()) == exposure("pii", tainted=True)


@pytest.mark.parametrize("action", ["draft", "edit", "reply"])
def test_what_is_only_written_tells_a_task_nothing(tmp_path: Path, action: str) -> None:
    """Otherwise the first answer to a customer would taint the tree, and the second be refused."""
    question = Asker(tmp_path, PERMIT_ALL).question(f"crm:ticket/1#{action}[card_number]")
    assert asking.gained(question) == Exposure()
    known = exposure("financial", tainted=True)
    assert asking.as_read(question, known).exposure == known


def test_it_is_decided_with_what_was_read_before_and_what_is_read_now(asker: Asker) -> None:
    question = asker.question("crm:ticket/1#read[email]")
    assert asking.as_read(question, exposure("financial", tainted=True)).exposure == exposure("financial", "pii", tainted=True)
