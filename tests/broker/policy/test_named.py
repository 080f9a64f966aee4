"""What policies compare things with, found wherever it stands in them."""

import msgspec
import pytest

from broker.policy import named
from broker.policy.policies import _parsed


def parsed(condition: str) -> tuple[str, ...]:
    text = f'@id("x") permit (principal, action, resource) when {{ {condition} }};'
    return tuple(msgspec.json.encode(policy).decode() for policy in _parsed({"x": text}))


@pytest.mark.parametrize(
    ("condition", "texts"),
    [
        ('context.user.id == "a"', {"a"}),
        ('"a" == context.user.id', {"a"}),
        ('!(context.user.id != "a" || context.user.id == "b")', {"a", "b"}),
        ('["a", "b"].contains(context.user.id)', {"a", "b"}),
        ('context.user.id like "corp:*"', {"corp:"}),
        ('(if context.approved then context.user.id else "z") == "a"', {"a"}),
        ('if context.user.id == "a" then true else false', {"a"}),
        ('context.user.groups.contains("a")', set()),
        ('context.level == "read"', set()),
        ("context has user", set()),
    ],
)
def test_texts_that_an_attribute_is_held_against(condition: str, texts: set[str]) -> None:
    assert named.texts(parsed(condition), "id") == texts


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("context.user.id == principal.owner", {"owner", "user"}),
        ("context.task.labels.containsAny(context.data_classes)", set()),
        ('context.user.id == "a"', {"user"}),
    ],
)
def test_attributes_that_an_attribute_is_held_against(condition: str, names: set[str]) -> None:
    assert named.attributes(parsed(condition), "id") | {"user"} == names | {"user"}


def test_a_pattern_cannot_be_counted() -> None:
    assert named.has_patterns(parsed('context.user.id like "corp:*"'), "id")
    assert not named.has_patterns(parsed('principal.owner like "*@example.com"'), "id")


@pytest.mark.parametrize(
    ("condition", "bounds"),
    [
        ("context.hour >= 8 && context.hour < 18", {8, 18}),
        ("5 < context.weekday", {5}),
        ("context.approved", set()),
        ("context.hour + 1 < 5", None),
        ("context.hour * 2 < 5", None),
        ("context.hour < -1", {-1}),
        ("context.hour < context.weekday", None),
        ("context.hour == context.weekday", None),
    ],
)
def test_numbers_are_bounds_only_where_nothing_is_calculated(condition: str, bounds: set[int] | None) -> None:
    assert named.bounds(*parsed(condition)) == bounds
