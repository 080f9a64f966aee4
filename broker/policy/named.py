"""What policies compare things with, so that trying these values, and any other, is trying all there are.

A policy tells two values of an attribute apart only by what it holds them against. What it was parsed to says what that is.
"""

import functools
from collections.abc import Iterator
from typing import Any

import msgspec

from broker.policy.policies import takes_whole

Policies = tuple[str, ...]
"""What each policy was parsed to, as `policies.each` writes it."""

# Asked for each of thousands of places, about the same policies.
_remembered = functools.lru_cache(maxsize=64)

_RELATIONS = frozenset({"==", "!=", "in", "contains", "containsAll", "containsAny"})
_ORDERS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_ARITHMETIC = frozenset({"+", "-", "*", "neg"})


@_remembered
def texts(policies: Policies, attribute: str) -> frozenset[str]:
    """Return the texts that policies hold the attribute against."""
    return frozenset(text for policy in policies for text in _texts(msgspec.json.decode(policy), attribute))


@_remembered
def attributes(policies: Policies, attribute: str) -> frozenset[str]:
    """Return the other attributes that policies hold the attribute against."""
    found = (name for policy in policies for name in _attributes(msgspec.json.decode(policy), attribute))
    return frozenset(found) - {attribute}


@_remembered
def has_patterns(policies: Policies, attribute: str) -> bool:
    """Tell whether a policy holds the attribute against a pattern (`like`): then its values cannot be counted."""
    return any(_is_liked(msgspec.json.decode(policy), attribute) for policy in policies)


@_remembered
def has_whole(policies: Policies) -> bool:
    """Tell whether a policy compares the context, or a record in it, as a whole: then nothing says what it is held against."""
    return any(takes_whole(msgspec.json.decode(policy)["conditions"]) for policy in policies)


def bounds(policy: str) -> frozenset[int] | None:
    """Return the numbers that a policy holds anything against; `None` where it calculates, or holds numbers against others."""
    parsed = msgspec.json.decode(policy)
    return None if _calculates(parsed) else frozenset(_numbers(parsed))


def _texts(part: Any, attribute: str) -> Iterator[str]:
    for _, left, right in _pairs(part, _RELATIONS):
        for one, other in ((left, right), (right, left)):
            if _mentions(one, attribute):
                yield from _literals(other, str)
    for kind, member in _members(part):
        if kind == "like" and _mentions(member["left"], attribute):
            yield "".join(piece["Literal"] for piece in member["pattern"] if piece != "Wildcard")
    for member in _inside(part):
        yield from _texts(member, attribute)


def _attributes(part: Any, attribute: str) -> Iterator[str]:
    for _, left, right in _pairs(part, _RELATIONS):
        for one, other in ((left, right), (right, left)):
            if _mentions(one, attribute):
                yield from _names(other)
    for member in _inside(part):
        yield from _attributes(member, attribute)


def _is_liked(part: Any, attribute: str) -> bool:
    liked = (kind == "like" and _mentions(member["left"], attribute) for kind, member in _members(part))
    return any(liked) or any(_is_liked(member, attribute) for member in _inside(part))


def _calculates(part: Any) -> bool:
    if any(kind in _ARITHMETIC for kind, _ in _members(part)):
        return True
    held = (bool(set(_names(left)) and set(_names(right))) for _, left, right in _pairs(part, _ORDERS))
    return any(held) or any(map(_calculates, _inside(part)))


def _numbers(part: Any) -> Iterator[int]:
    yield from _literals(part, int)


def _literals(part: Any, type: type[Any]) -> Iterator[Any]:
    for kind, member in _members(part):
        if kind == "Value" and isinstance(member, type) and not isinstance(member, bool):
            yield member
    for member in _inside(part):
        yield from _literals(member, type)


def _names(part: Any) -> Iterator[str]:
    for kind, member in _members(part):
        if kind in (".", "has"):
            yield member["attr"]
    for member in _inside(part):
        yield from _names(member)


def _mentions(part: Any, attribute: str) -> bool:
    return attribute in _names(part)


def _pairs(part: Any, kinds: frozenset[str]) -> Iterator[tuple[str, Any, Any]]:
    for kind, member in _members(part):
        if kind in kinds and isinstance(member, dict) and {"left", "right"} <= member.keys():
            yield kind, member["left"], member["right"]


def _members(part: Any) -> Iterator[tuple[str, Any]]:
    return iter(part.items()) if isinstance(part, dict) else iter(())


def _inside(part: Any) -> Iterator[Any]:
    if isinstance(part, dict):
        yield from part.values()
    elif isinstance(part, list):
        yield from part
