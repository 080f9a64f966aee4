"""Ids that sort by the time they were made."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopes import ulid

LAST_MILLISECOND = 2**48 - 1
SPELLING = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
MOMENTS = st.integers(0, LAST_MILLISECOND)


@given(MOMENTS)
def test_a_ulid_is_spelled_as_the_specification_says(now: int) -> None:
    assert SPELLING.fullmatch(ulid.new(now))


@given(MOMENTS, MOMENTS)
def test_ulids_sort_by_the_time_they_were_made(one: int, other: int) -> None:
    earlier, later = sorted((one, other))
    assert ulid.new(earlier)[:10] <= ulid.new(later)[:10]
    assert earlier == later or ulid.new(earlier) < ulid.new(later)


def test_the_time_is_in_the_first_ten_letters() -> None:
    """The example of the specification: 1469922850259 is 01ARZ3NDEK, in milliseconds."""
    assert ulid.new(1469922850259)[:10] == "01ARZ3NDEK"


@given(MOMENTS)
def test_the_time_comes_out_of_a_ulid_as_it_went_in(now: int) -> None:
    assert ulid.time_of(ulid.new(now)) == now


def test_the_time_is_read_as_the_specification_writes_it() -> None:
    assert ulid.time_of("01ARZ3NDEKTSV4RRFFQ69G5FAV") == 1469922850259


def test_two_ulids_of_one_millisecond_differ() -> None:
    assert len({ulid.new(1) for _ in range(100)}) == 100


@given(MOMENTS, MOMENTS)
def test_a_ulid_above_another_sorts_above_it_whatever_the_clock_says(known_at: int, now: int) -> None:
    """A new epoch is above all its maker knows, also behind a clock that went back."""
    known = ulid.new(known_at)
    assert ulid.above(known, now) > known


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_derived_ulid_is_one_and_belongs_to_its_seed_alone(one: bytes, other: bytes) -> None:
    assert SPELLING.fullmatch(ulid.derived(one))
    assert (ulid.derived(one) == ulid.derived(other)) is (one == other)


def test_above_nothing_is_a_ulid_of_its_time() -> None:
    assert ulid.above("", 1469922850259)[:10] == "01ARZ3NDEK"


def test_above_carries_into_the_next_letter() -> None:
    assert ulid.above("01ARZ3NDEKZZZZZZZZZZZZZZZZ", 0) == "01ARZ3NDEM0000000000000000"


def test_nothing_is_above_the_largest_ulid_and_no_text_that_is_none_comes_out() -> None:
    largest = "7" + "Z" * 25
    assert ulid.above(largest, 0) == largest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01ARZ3NDEK",
        "tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "01ARZ3NDEKTSV4RRFFQ69G5FA",
        "01ARZ3NDEKTSV4RRFFQ69G5FAVV",
        "01arz3ndektsv4rrffq69g5fav",
        "01ARZ3NDEKTSV4RRFFQ69G5FAU",
        "81ARZ3NDEKTSV4RRFFQ69G5FAV",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV\n",
        "\uff101ARZ3NDEKTSV4RRFFQ69G5FAV",
    ],
)
def test_what_is_no_ulid_was_made_at_no_time(text: str) -> None:
    """And not in 1970, nor ten thousand years from now."""
    with pytest.raises(ValueError, match="no ULID"):
        ulid.time_of(text)


@given(st.one_of(st.text(max_size=40), st.from_regex(re.compile(SPELLING.pattern, re.ASCII))))
def test_a_text_has_a_time_exactly_where_it_is_a_ulid(text: str) -> None:
    if SPELLING.fullmatch(text):
        assert 0 <= ulid.time_of(text) <= LAST_MILLISECOND
    else:
        with pytest.raises(ValueError, match="no ULID"):
            ulid.time_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tsk_",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "lse_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "tsk_01ARZ3NDEKTSV4RRFFQ69G5FA",
        "tsk_01ARZ3NDEKTSV4RRFFQ69G5FAVV",
        "tsk_01arz3ndektsv4rrffq69g5fav",
        "tsk_01ARZ3NDEKTSV4RRFFQ69G5FAU",
        "tsk_81ARZ3NDEKTSV4RRFFQ69G5FAV",
        "tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV\n",
        "tsk_tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "tsk_\uff1001ARZ3NDEKTSV4RRFFQ69G5FA",
    ],
)
def test_what_is_not_the_prefix_and_one_ulid_is_no_id(text: str) -> None:
    assert not ulid.is_id(text, "tsk_")


@given(MOMENTS)
def test_the_prefix_and_a_ulid_are_an_id(now: int) -> None:
    assert ulid.is_id(f"tsk_{ulid.new(now)}", "tsk_")
