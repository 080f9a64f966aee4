"""Which policies can say anything about a question, by their heads alone: a thousand for other actions cost it nothing.

Cedar looks at every policy of a set for every question. A policy whose head names another principal or another action never
decides and never errs, so to leave it out changes no answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cedarpy
import msgspec

from broker.policy.entities import Asked, Uid

MAX_SLICES = 2_000
"""How many sets are kept made; beyond, they are made anew."""

Parsed = Mapping[str, Any]
"""A policy as Cedar writes it in JSON."""


class Slices:
    """Policies that are asked together, of which each question meets those whose head it matches."""

    def __init__(self, policies: Sequence[Parsed]) -> None:
        self._policies = tuple(policies)
        self._places: dict[tuple[Uid, Uid], tuple[int, ...]] = {}
        self._made: dict[tuple[int, ...], cedarpy.PolicySet] = {}

    def of(self, asked: Asked) -> cedarpy.PolicySet:
        """Return the policies that the question has to meet."""
        place = asked.principal, asked.action
        known = self._places.get(place)
        if known is None:
            known = self._places[place] = tuple(
                number for number, policy in enumerate(self._policies) if _can_apply(policy, asked)
            )
        return self._made.get(known) or self._make(known)

    def _make(self, numbers: tuple[int, ...]) -> cedarpy.PolicySet:
        if len(self._made) >= MAX_SLICES:
            self._made.clear()
            self._places.clear()
        text = as_text([self._policies[number] for number in numbers])
        return self._made.setdefault(numbers, cedarpy.PolicySet.from_str(text))


def as_text(policies: Sequence[Parsed]) -> str:
    """Write policies in Cedar's own notation."""
    named = {f"policy{number}": policy for number, policy in enumerate(policies)}
    whole = {"staticPolicies": named, "templates": {}, "templateLinks": []}
    return str(cedarpy.policies_from_json_str(msgspec.json.encode(whole).decode()))


def _can_apply(policy: Parsed, asked: Asked) -> bool:
    actions = {asked.action, *(("Action", group) for group in asked.groups)}
    return _is_of(policy["principal"], {asked.principal}) and _is_of(policy["action"], actions)


def _is_of(head: Mapping[str, Any], entities: set[Uid]) -> bool:
    """Tell whether this part of a head lets any of the entities through. In doubt it does."""
    kinds = {kind for kind, _ in entities}
    if head["op"] == "is" and head["entity_type"] not in kinds:
        return False
    if head["op"] not in ("==", "in"):
        return True
    named = head["entities"] if "entities" in head else [head["entity"]]
    return any((entity["type"], entity["id"]) in entities for entity in named)
