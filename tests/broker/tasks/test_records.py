"""What can be declared, and what a task allows."""

import pytest

from broker.errors import InvalidRequest
from broker.tasks import Declaration, Task
from broker.tasks.records import MAX_PURPOSE, MAX_RESOURCES
from scopes.scope import Scope


def task(*envelope: tuple[str, ...], status: str = "open") -> Task:
    return Task(
        id="tsk_1",
        agent="support-bot",
        workload="w",
        subject="w",
        type="summarise-ticket",
        types=("summarise-ticket",),
        purpose="",
        status=status,
        created=0,
        ends=0,
        path=("tsk_1",),
        envelope=envelope,
    )


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"purpose": "x" * MAX_PURPOSE},
        {"max_duration": 1},
        {"resources": ("crm",)},
        {"resources": ("crm:ticket/4711", "kb:article")},
        {"resources": tuple(f"crm:ticket/{number}" for number in range(MAX_RESOURCES))},
    ],
)
def test_what_a_task_can_be_passes(declared):
    assert Declaration(type="summarise-ticket", **declared).check() is None


@pytest.mark.parametrize(
    "declared",
    [
        {"purpose": "x" * (MAX_PURPOSE + 1)},
        {"max_duration": 0},
        {"max_duration": -1},
        {"resources": ()},
        {"resources": tuple(f"crm:ticket/{number}" for number in range(MAX_RESOURCES + 1))},
        {"resources": ("",)},
        {"resources": ("crm:ticket/*",)},
        {"resources": ("crm:ticket/..",)},
        {"resources": ("crm:ticket/%2e%2e",)},
        {"resources": ("CRM",)},
        {"resources": ("crm:ticket/4711", "crm:ticket/")},
    ],
)
def test_what_no_task_can_be_is_refused(declared):
    """An empty list of resources is nothing, not everything; a prefix is written out, without patterns (TRAPS 16)."""
    with pytest.raises(InvalidRequest):
        Declaration(type="summarise-ticket", **declared).check()


def test_a_task_without_declared_resources_leaves_it_to_its_type():
    assert task().allows(Scope.parse("crm:ticket/4711#read"))


@pytest.mark.parametrize("resource", ["crm:ticket/4711", "crm:ticket/4711/note/1"])
def test_a_task_allows_what_it_declared_and_below(resource):
    assert task(("kb", "crm:ticket/4711")).allows(Scope.parse(f"{resource}#read"))


@pytest.mark.parametrize("resource", ["crm:ticket/4712", "crm:ticket/47", "crm:ticket/47110", "crm:note/4711", "kbx:article/1"])
def test_a_task_allows_nothing_else(resource):
    """A prefix ends at a segment: `ticket/47` is not above `ticket/4711` (TRAPS 16)."""
    assert not task(("kb", "crm:ticket/4711")).allows(Scope.parse(f"{resource}#read"))


def test_a_child_allows_only_what_every_task_above_it_declared():
    child = task(("crm:ticket/4711", "crm:ticket/4712"), ("crm:ticket/4712", "crm:ticket/4713"))
    allowed = [number for number in (4711, 4712, 4713) if child.allows(Scope.parse(f"crm:ticket/{number}#read"))]
    assert allowed == [4712]


@pytest.mark.parametrize("status", ["ending", "completed", "failed", "cancelled", "timed_out", "", "unheard-of"])
def test_only_an_open_task_is_open(status):
    assert task().is_open
    assert not task(status=status).is_open
