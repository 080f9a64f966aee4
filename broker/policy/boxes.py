"""Sets of contexts as boxes: for each dimension the values that it may have. A dimension that is not named may have any.

A union of boxes says exactly which contexts there are, however many: nothing is enumerated but what one policy looks at.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

Box = Mapping[str, frozenset[Hashable]]
Domains = Mapping[str, frozenset[Hashable]]
"""All values that each dimension can have."""


def ordered(values: Iterable[Hashable]) -> list[Any]:
    """Return the values of one dimension in their order: they are all of one kind."""
    return sorted(cast("Iterable[Any]", values))


def both(one: Box, other: Box) -> Box | None:
    """Return what is in both boxes, or `None` where that is nothing."""
    found = {**one, **{name: values & one.get(name, values) for name, values in other.items()}}
    return found if all(found.values()) else None


def without(one: Box, other: Box, domains: Domains) -> list[Box]:
    """Return what is in one box and not in the other, as boxes that have nothing in common."""
    if both(one, other) is None:
        return [one]
    pieces: list[Box] = []
    rest = dict(one)
    for name, values in other.items():
        own = rest.get(name, domains[name])
        if own - values:
            pieces.append({**rest, name: own - values})
        rest[name] = own & values
    return pieces


def all_without(boxes: Iterable[Box], others: Iterable[Box], domains: Domains) -> list[Box]:
    """Return what is in any of the boxes and in none of the others."""
    left = list(boxes)
    for other in others:
        left = [piece for box in left for piece in without(box, other, domains)]
    return left


def widest(boxes: Sequence[Box], domains: Domains, *, free: Sequence[Box] = ()) -> list[Box]:
    """Return the same set as few boxes, none of which can be made wider; those that ask for least come first.

    They may take in what is `free`, where nothing is ever found.
    """
    grown: list[Box] = []
    whole = [*boxes, *free]
    for box in boxes:
        if not _is_inside(box, grown, domains):
            grown.append(_grown(box, whole, domains))
    for box in sorted(grown, key=len, reverse=True):
        others = [other for other in grown if other is not box]
        if _is_inside(box, [*others, *free], domains):
            grown = others
    return sorted(grown, key=lambda box: (len(box), sorted((name, sorted(map(repr, values))) for name, values in box.items())))


def projected(boxes: Iterable[Box], names: Iterable[str]) -> list[Box]:
    """Return the boxes without these dimensions: some value of each of them will do."""
    gone = set(names)
    return [{name: values for name, values in box.items() if name not in gone} for box in boxes]


def _grown(box: Box, whole: Sequence[Box], domains: Domains) -> Box:
    for name in list(box):
        wider = {other: values for other, values in box.items() if other != name}
        free = _is_inside(wider, whole, domains)
        box = wider if free else {**box, name: frozenset(_values(box, name, whole, domains))}
    return box


def _values(box: Box, name: str, whole: Sequence[Box], domains: Domains) -> Iterator[Hashable]:
    """Yield the values that one dimension can have besides, as long as the others stay as they are."""
    for value in domains[name]:
        if value in box[name] or _is_inside({**box, name: frozenset({value})}, whole, domains):
            yield value


def _is_inside(box: Box, others: Sequence[Box], domains: Domains) -> bool:
    return not all_without([box], others, domains)
