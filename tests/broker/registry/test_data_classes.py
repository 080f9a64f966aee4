"""Classes of data, purposes and limits: what the registry may say for policies and for counting."""

from pathlib import Path

import pytest

from broker.registry.records import Limits
from tests.broker.registry.catalogue import AGENT, SERVICE, TASK, WHOLE, load, problems
from tests.broker.registry.test_checks import NAME_RULE

CLASSES = """
[data_classes.pii]
description = "What is about a person"

[data_classes.public]
sensitive = false

[data_classes.payroll]
office_hours = true
"""


def test_classes_of_data_that_are_declared_are_known_with_what_is_said_of_them(tmp_path: Path) -> None:
    registry = load(tmp_path, WHOLE, CLASSES)
    known = {name: (one.sensitive, one.office_hours) for name, one in registry.content.data_classes.items()}
    assert known == {"pii": (True, False), "public": (False, False), "payroll": (True, True)}
    # Those that the catalogue speaks of: what nothing holds nobody can read.
    assert registry.data_classes == {"pii"}


def test_where_classes_are_declared_every_one_that_is_used_has_to_be(tmp_path: Path) -> None:
    """A misspelt class would be another one, and what is forbidden for the right one would be given."""
    text = SERVICE.replace('email = ["pii"]', 'email = ["pi"], phone = ["secret"]')
    assert problems(tmp_path, text, TASK, AGENT, CLASSES) == [
        "services.crm.resources.ticket: no data class 'pi' (did you mean 'pii'?)",
        "services.crm.resources.ticket: no data class 'secret'",
    ]


def test_where_none_is_declared_any_may_be_used(tmp_path: Path) -> None:
    assert problems(tmp_path, SERVICE.replace('email = ["pii"]', 'email = ["anything"]')) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[data_classes.PII]\n", f"data_classes.PII: {NAME_RULE}"),
        ("[data_classes.pii]\nsensitiv = false\n", "data_classes.pii"),
        ("[data_classes.pii]\nsensitive = 0\n", "data_classes.pii"),
        ("[data_classes]\npii = true\n", "data_classes.pii"),
    ],
    ids=["a name in capitals", "an unknown key", "a number for a truth", "no table"],
)
def test_a_class_of_data_that_says_something_else_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, text)
    assert problem in found


def test_a_class_of_data_that_is_declared_twice_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "[data_classes.pii]\n", "[data_classes.pii]\n")
    assert found.endswith("data_classes.pii: stands twice")


@pytest.mark.parametrize(("purpose_class", "is_good"), [("customer-care", True), ("Customer care", False), ("x" * 64, False)])
def test_a_purpose_class_is_a_name(tmp_path: Path, purpose_class: str, is_good: bool) -> None:
    """Policies compare it, so it has one spelling."""
    text = TASK.rstrip("\n") + f'\npurpose_class = "{purpose_class}"\n'
    expected = [] if is_good else [f"tasks.summarise.purpose_class: {NAME_RULE}"]
    assert problems(tmp_path, SERVICE, text) == expected


@pytest.mark.parametrize("key", ["limits", "limits_per_agent"])
@pytest.mark.parametrize("limit", ["leases_per_minute = 0", "live_leases = -1", "leases = 1.5", "leases = true", "lease = 1"])
def test_a_limit_is_a_number_of_one_at_least(tmp_path: Path, key: str, limit: str) -> None:
    """None is no limit; nought would be read as none."""
    (found,) = problems(tmp_path, SERVICE, TASK.rstrip("\n") + f"\n{key} = {{ {limit} }}\n")
    assert "tasks.summarise" in found
    assert key in found


@pytest.mark.parametrize("key", ["limits", "limits_per_agent"])
def test_a_task_type_may_have_every_limit(tmp_path: Path, key: str) -> None:
    limits = f"{key} = {{ leases_per_minute = 3, live_leases = 2, leases = 9 }}"
    task = load(tmp_path, SERVICE, TASK.rstrip("\n") + f"\n{limits}\n").task_type("summarise")
    assert task is not None
    assert getattr(task, key) == Limits(leases_per_minute=3, live_leases=2, leases=9)
