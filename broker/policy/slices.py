"""Asks Cedar no more than it takes: only policies that can say anything about a question, and no question twice.

Cedar looks at every policy of a set for every question. A policy whose head names another principal or another action never
decides and never errs, so to leave it out changes no answer: a thousand policies for other actions cost a question nothing.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import cedarpy
import msgspec

from broker.policy.entities import Asked, Uid, uid

MAX_SLICES = 2_000
"""How many sets of policies, and how many of entities, are kept made; beyond, they are made anew."""

MAX_ANSWERS = 20_000
"""How many answers, and for how many principals and actions the policies that they meet, are remembered."""

_ANY: Uid = ("", "")

Parsed = Mapping[str, Any]
"""A policy as Cedar writes it in JSON."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Numbers = Mapping[Uid, frozenset[int]]


class Answer(NamedTuple):
    """What Cedar said: allowed where there is no reason against it, by the policies of these ids."""

    reason: str
    policies: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """Tell whether the answer is yes."""
        return not self.reason and bool(self.policies)


class _Slice(NamedTuple):
    """Policies that are asked together; `number` is that of no other. `names_agents` where any of them names one, wherever."""

    number: int
    policies: cedarpy.PolicySet
    names_agents: bool


class Slices:
    """Policies, of which each question meets those whose head it matches. The same question has the same answer."""

    def __init__(self, policies: Sequence[Parsed]) -> None:
        self._texts = [as_text([policy]) for policy in policies]
        self._named = [any(entities_in(policy, "Agent")) for policy in policies]
        self._by_principal = _by_head(policy["principal"] for policy in policies)
        self._by_action = _by_head(policy["action"] for policy in policies)
        self._places: dict[tuple[Uid, Uid], tuple[int, ...]] = {}
        self._made: dict[tuple[int, ...], _Slice] = {}
        self._entities: dict[bytes, cedarpy.Entities] = {}
        self._answers: dict[tuple[int, bytes], Answer] = {}
        self._count = itertools.count()

    def ask(self, asked: Asked) -> Answer:
        """Return the answer. An error while a policy is evaluated means no, whatever the others say."""
        policies = self._of(asked)
        if not policies.names_agents:
            asked = asked.unnamed()
        entities, context = msgspec.json.encode(asked.entities), msgspec.json.encode(asked.context)
        named = msgspec.json.encode((asked.principal, asked.action, asked.resource))
        question = policies.number, hashlib.sha256(b"\n".join((named, entities, context))).digest()
        known = self._answers.get(question)
        if known is not None:
            return known
        answer = _answer(asked, context.decode(), policies.policies, self._known(entities))
        return keep(self._answers, question, answer, most=MAX_ANSWERS)

    def name_agents(self, asked: Asked) -> bool:
        """Tell whether any of the policies that meet the question names an agent, so that it matters which one asks."""
        return self._of(asked).names_agents

    def _of(self, asked: Asked) -> _Slice:
        place = asked.principal, asked.action
        numbers = self._places.get(place)
        if numbers is None:
            of_principal = _matching(self._by_principal, {asked.principal})
            of_action = _matching(self._by_action, {asked.action, *(("Action", group) for group in asked.groups)})
            numbers = keep(self._places, place, tuple(sorted(of_principal & of_action)), most=MAX_ANSWERS)
        return self._made.get(numbers) or self._make(numbers)

    def _make(self, numbers: tuple[int, ...]) -> _Slice:
        policies = cedarpy.PolicySet.from_str("\n".join(self._texts[number] for number in numbers))
        made = _Slice(next(self._count), policies, any(self._named[number] for number in numbers))
        return keep(self._made, numbers, made, most=MAX_SLICES)

    def _known(self, entities: bytes) -> cedarpy.Entities:
        known = self._entities.get(entities)
        if known is not None:
            return known
        return keep(self._entities, entities, cedarpy.Entities.from_json_str(entities.decode()), most=MAX_SLICES)


def as_text(policies: Sequence[Parsed]) -> str:
    """Write policies in Cedar's own notation."""
    named = {f"policy{number}": policy for number, policy in enumerate(policies)}
    whole = {"staticPolicies": named, "templates": {}, "templateLinks": []}
    return str(cedarpy.policies_from_json_str(msgspec.json.encode(whole).decode()))


def entities_in(part: Any, kind: str) -> Iterator[str]:
    """Yield the ids of entities of a kind that are named, wherever in what Cedar parsed: an id can be read in no other way."""
    if isinstance(part, Mapping):
        if part.get("type") == kind and isinstance(part.get("id"), str):
            yield part["id"]
        part = list(part.values())
    if isinstance(part, list):
        for member in part:
            yield from entities_in(member, kind)


def _answer(asked: Asked, context: str, policies: cedarpy.PolicySet, entities: cedarpy.Entities) -> Answer:
    named = {"principal": uid(asked.principal), "action": uid(asked.action), "resource": uid(asked.resource)}
    result = cedarpy.is_authorized({**named, "context": context}, policies, entities)
    ids = result.diagnostics.id_annotations_by_reason
    decided = tuple(sorted(ids[id] for id in result.diagnostics.reasons))
    if result.diagnostics.errors:
        return Answer("policy_error", decided)
    if result.allowed and decided:
        return Answer("", decided)
    return Answer("forbidden" if decided else "not_permitted", decided)


def keep(known: dict[_Key, _Value], key: _Key, value: _Value, *, most: int) -> _Value:
    """Remember a value and return it; where that would be more than `most`, all others are forgotten."""
    if len(known) >= most:
        known.clear()
    known[key] = value
    return value


def _by_head(heads: Iterable[Mapping[str, Any]]) -> _Numbers:
    """Return the numbers of the policies by what this part of their heads lets through: an entity, a kind, or anything."""
    found: dict[Uid, set[int]] = {}
    for number, head in enumerate(heads):
        for let_through in _let_through(head):
            found.setdefault(let_through, set()).add(number)
    return {let_through: frozenset(numbers) for let_through, numbers in found.items()}


def _let_through(head: Mapping[str, Any]) -> list[Uid]:
    """Return what lets an entity match this part of a head. In doubt it does."""
    if head["op"] == "is":
        return [(head["entity_type"], "")]
    if head["op"] not in ("==", "in"):
        return [_ANY]
    named = head["entities"] if "entities" in head else [head["entity"]]
    return [(entity["type"], entity["id"]) for entity in named]


def _matching(numbers: _Numbers, entities: set[Uid]) -> frozenset[int]:
    keys = {_ANY, *entities, *((kind, "") for kind, _ in entities)}
    return frozenset().union(*(numbers.get(key, frozenset()) for key in keys))
