"""Sets of contexts as boxes are the sets that they stand for: compared with sets of points, one by one."""

import itertools
from collections.abc import Hashable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from broker.policy import boxes
from broker.policy.boxes import Box

DOMAINS = {"a": frozenset({1, 2, 3}), "b": frozenset({False, True}), "c": frozenset({"x", "y"})}
POINTS = [dict(zip(DOMAINS, values, strict=True)) for values in itertools.product(*DOMAINS.values())]

Points = set[tuple[tuple[str, Hashable], ...]]


def some_of(values: frozenset[Hashable]) -> st.SearchStrategy[frozenset[Hashable]]:
    return st.frozensets(st.sampled_from(sorted(values, key=str)), min_size=1)


BOX = st.fixed_dictionaries({}, optional={name: some_of(values) for name, values in DOMAINS.items()})
BOXES = st.lists(BOX, max_size=4)


def points(*found: Box) -> Points:
    """Return every point that is in one of the boxes."""
    return {
        tuple(point.items()) for point in POINTS for box in found if all(point[name] in values for name, values in box.items())
    }


@given(BOX, BOX)
def test_what_is_in_both(one: Box, other: Box) -> None:
    found = boxes.both(one, other)
    assert points(*([found] if found is not None else [])) == points(one) & points(other)


@given(BOX, BOX)
def test_what_is_in_one_and_not_in_the_other_is_told_once(one: Box, other: Box) -> None:
    pieces = boxes.without(one, other, DOMAINS)
    assert points(*pieces) == points(one) - points(other)
    assert sum(len(points(piece)) for piece in pieces) == len(points(*pieces))


@given(BOXES, BOXES)
def test_what_is_in_any_and_in_none(some: list[Box], others: list[Box]) -> None:
    assert points(*boxes.all_without(some, others, DOMAINS)) == points(*some) - points(*others)


@given(BOXES, BOXES)
def test_the_widest_boxes_say_the_same_and_none_can_be_wider_or_left_out(some: list[Box], free: list[Box]) -> None:
    whole = boxes.all_without(some, free, DOMAINS)
    found = boxes.widest(whole, DOMAINS, free=free)
    assert points(*found) - points(*free) == points(*whole)
    assert not any(points(wider) <= points(*whole, *free) for box in found for wider in wider_than(box))
    assert not any(points(box) <= points(*(other for other in found if other is not box), *free) for box in found)


@given(BOXES)
def test_without_a_dimension_any_of_its_values_will_do(some: list[Box]) -> None:
    without_a = {tuple(pair for pair in point if pair[0] != "a") for point in points(*some)}
    found = points(*boxes.projected(some, ["a"]))
    assert {tuple(pair for pair in point if pair[0] != "a") for point in found} == without_a


def test_nothing_is_no_box_and_everything_is_one_without_needs() -> None:
    """Empty means no."""
    assert boxes.widest([], DOMAINS) == []
    assert boxes.widest([{"b": frozenset({True})}, {"b": frozenset({False})}], DOMAINS) == [{}]


def wider_than(box: Box) -> Sequence[Box]:
    return [{**box, name: values | {value}} for name, values in box.items() for value in DOMAINS[name] if value not in values]
