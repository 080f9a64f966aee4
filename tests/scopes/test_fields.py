"""Which parts of a record fields name, in objects and lists as well: nothing else is shown, nothing else is written."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopes.fields import beyond, project

TICKET = {
    "subject": "Help",
    "customer": {"name": "Jane", "email": "jane@example.com", "address": {"city": "Berlin", "street": "Ring 1"}},
    "comments": [{"text": "One", "author": "joe"}, {"text": "Two", "author": "eve", "internal": True}],
    "tags": ["new", "urgent"],
    "closed": None,
}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (("subject",), {"subject": "Help"}),
        (("customer.name",), {"customer": {"name": "Jane"}}),
        (("customer.address.city", "customer.name"), {"customer": {"address": {"city": "Berlin"}, "name": "Jane"}}),
        (("customer.address",), {"customer": {"address": {"city": "Berlin", "street": "Ring 1"}}}),
        (("comments.text",), {"comments": [{"text": "One"}, {"text": "Two"}]}),
        (("comments.internal",), {"comments": [{}, {"internal": True}]}),
        (("tags",), {"tags": ["new", "urgent"]}),
        (("closed",), {"closed": None}),
        (("nothing", "customer.nothing"), {"customer": {}}),
        (("tags.name", "subject.text", "closed.by"), {"tags": []}),
    ],
)
def test_only_the_fields_that_are_named_are_shown(fields: tuple[str, ...], shown: dict[str, Any]) -> None:
    assert project(TICKET, fields) == shown


@pytest.mark.parametrize(
    ("record", "names"),
    [
        ({"subject": "Help"}, []),
        ({}, []),
        ({"customer": {"name": "Jane"}}, []),
        ({"comments": [{"text": "One"}, {"text": "Two"}]}, []),
        ({"comments": []}, []),
        ({"card_number": "4111"}, ["card_number"]),
        ({"customer": {"name": "Jane", "email": "jane@example.com"}}, ["customer.email"]),
        ({"comments": [{"text": "One"}, {"author": "eve"}, {"author": "joe"}]}, ["comments.author"]),
        ({"comments": [[{"author": "eve"}]]}, ["comments.author"]),
        ({"comments": ({"author": "eve"}, {"text": "One"})}, ["comments.author"]),
    ],
)
def test_what_is_written_beyond_the_fields_is_named_by_its_path(record: dict[str, Any], names: list[str]) -> None:
    assert beyond(record, ("comments.text", "customer.name", "subject")) == names


@pytest.mark.parametrize("value", [None, "Jane", 5, [None], ["Jane"], [{"name": "Jane"}, "Jane"]])
def test_what_stands_in_the_place_of_an_object_granted_in_parts_would_replace_the_other_parts(value: object) -> None:
    assert beyond({"customer": value}, ("customer.name",)) == ["customer"]


@pytest.mark.parametrize(
    "name", ["Subject", "ｓubject", "subject\n", "a.b", "customer.name", "$where", "", 5, None, "subject]"]
)
def test_a_name_that_no_field_has_is_beyond_and_told_in_letters_that_forge_nothing(name: object) -> None:
    """TRAPS 14, 16, 26: what a sender calls a field is not a line of a log."""
    (told,) = beyond({name: "x"}, ("subject", "customer.name"))  # type: ignore[dict-item]
    assert told.isascii()
    assert told.isprintable()


def test_lists_in_lists_without_end_are_refused_like_anything_else() -> None:
    """A sender that nests them deeper than a program can call itself gets an answer, and no fault of ours."""
    nested: Any = "x"
    for _ in range(100_000):
        nested = [nested]
    assert beyond({"customer": nested}, ("customer.name",)) == ["customer"]


def test_a_tuple_is_a_list_of_what_it_holds() -> None:
    assert project({"comments": ({"text": "One", "author": "joe"},)}, ("comments.text",)) == {"comments": [{"text": "One"}]}


names = st.sampled_from("abc")
records = st.recursive(
    st.none() | st.integers(0, 3),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(names, inside, max_size=3),
    max_leaves=12,
)
whole = st.dictionaries(names, records, max_size=3)
paths = st.lists(names, min_size=1, max_size=3).map(".".join)


def apart(fields: set[str]) -> bool:
    """Tell whether no field is inside another, as in the catalogue."""
    return not any(one != other and f"{other}.".startswith(f"{one}.") for one in fields for other in fields)


some_fields = st.sets(paths, min_size=1, max_size=4).filter(apart).map(sorted)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what stands at the ends of a record, with its path; which of a list it is in makes no difference."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from leaves(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for part in value:
            yield from leaves(part, path)
    else:
        yield path, value


def is_granted(path: str, fields: list[str]) -> bool:
    return any(f"{path}.".startswith(f"{field}.") for field in fields)


@given(whole, some_fields)
def test_what_is_shown_is_what_stands_at_or_inside_a_field(record: dict[str, Any], fields: list[str]) -> None:
    shown, there = (
        sorted(repr(leaf) for leaf in leaves(each) if is_granted(leaf[0], fields)) for each in (project(record, fields), record)
    )
    assert shown == there
    assert all(value in ({}, []) for path, value in leaves(project(record, fields)) if not is_granted(path, fields))


@given(whole, some_fields)
def test_what_is_shown_may_be_written_and_is_shown_again(record: dict[str, Any], fields: list[str]) -> None:
    shown = project(record, fields)
    assert beyond(shown, fields) == []
    assert project(shown, fields) == shown


@given(whole, some_fields)
def test_a_record_with_nothing_beyond_is_shown_as_it_is(record: dict[str, Any], fields: list[str]) -> None:
    assert (beyond(record, fields) == []) == (project(record, fields) == record)
