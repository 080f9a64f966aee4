"""Who can reach what, by registry and policies alone: for each agent, type of task and pattern, in which contexts it is given.

Nothing is sampled. Each policy is asked about every combination of what it looks at, and of nothing else; what all of them say
together is computed from that, as boxes (`boxes`). A request speaks of the fields of one pattern.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from broker.policy import boxes
from broker.policy.boxes import Box, Domains
from broker.policy.dimensions import Dimensions, Place
from broker.policy.policies import PolicyFolder, each, parse
from broker.policy.slices import as_text
from broker.policy.trials import Trials
from broker.registry.registry import Registry
from scopes.scope import ScopePattern


class Reached(NamedTuple):
    """What an agent can be given of a pattern in tasks of a type, and in which contexts (`ways`): never, where there are none.

    `environment` is the service's, `data_classes` are those of the fields and of the record. `fields` can each be had in these
    contexts, if need be together with others. Not `is_exact` where a policy holds users against something that cannot be
    counted, or a record as a whole: there may be contexts beside these, to which something else applies.
    """

    agent: str
    task_type: str
    pattern: str
    level: str
    environment: str
    fields: tuple[str, ...]
    data_classes: tuple[str, ...]
    ways: tuple[Box, ...]
    domains: Domains
    is_exact: bool


class _Single(NamedTuple):
    """One policy by itself, as if it permitted: what it applies to is then what is allowed. `head` has no conditions."""

    id: str
    text: str
    forbids: bool
    whole: Trials
    head: Trials


class Reach:
    """Computes what can be reached by these policies and this registry."""

    def __init__(self, trials: Trials) -> None:
        self._registry = trials.registry
        self._folder = trials.folder
        self._max_ttl = trials.max_ttl
        # What is in shadow mode, or about something else, has no say in it.
        shadow, policies = trials.folder.shadow, each(trials.folder)
        texts = {id: text for id, text in policies.items() if id not in shadow and _can_be_of_token(text)}
        self._texts = tuple(texts.values())
        self._singles = [self._single(id, text) for id, text in texts.items()]

    def rows(self, *, agent: str | None = None) -> Iterator[Reached]:
        """Yield what each agent, or one, can reach; nothing for agents that are only declared."""
        for name, record in sorted(self._registry.content.agents.items()):
            if agent in (None, name) and not record.missing:
                for type in record.tasks:
                    for pattern in self._registry.patterns(type):
                        yield from self._of_pattern(name, type, pattern)

    def _of_pattern(self, agent: str, type: str, pattern: ScopePattern) -> Iterator[Reached]:
        place = Place(agent, type, pattern, self._registry)
        dimensions = Dimensions(place, self._texts, self._folder, max_ttl=self._max_ttl)
        allowed = self._allowed(dimensions)
        by_ways: dict[tuple[str, ...], tuple[list[str], list[Box]]] = {}
        for fields, ways in dimensions.by_field(allowed):
            spelled = tuple(map(repr, map(_spelled, ways)))
            by_ways.setdefault(spelled, ([], ways))[0].extend(fields)
        for names, found in by_ways.values():
            yield Reached(
                agent=agent,
                task_type=type,
                pattern=str(pattern),
                level=place.entry.action.level,
                environment=place.entry.service.environment,
                fields=tuple(sorted(names)),
                data_classes=tuple(sorted(place.entry.resource_type.classes_of(names))),
                ways=tuple(found),
                domains=dimensions.domains,
                is_exact=dimensions.is_exact,
            )

    def _allowed(self, dimensions: Dimensions) -> list[Box]:
        """Return where a policy permits, none forbids, and none errs."""
        permitted: list[Box] = []
        forbidden: list[Box] = [*dimensions.impossible]
        for single in self._singles:
            applies, errs = _where(single, dimensions)
            (forbidden if single.forbids else permitted).extend(applies)
            forbidden += errs
        return boxes.all_without(permitted, forbidden, dimensions.domains)

    def _single(self, id: str, text: str) -> _Single:
        parsed = msgspec.json.decode(text)
        permitting = {**parsed, "effect": "permit", "annotations": {"id": id}}
        whole, head = (
            Trials(_folder_of(policy, self._registry), self._registry, max_ttl=self._max_ttl)
            for policy in (permitting, {**permitting, "conditions": []})
        )
        return _Single(id, text, parsed["effect"] == "forbid", whole, head)


def _where(single: _Single, dimensions: Dimensions) -> tuple[list[Box], list[Box]]:
    """Return where a policy applies, and where it errs."""
    if not any(single.head.decide(dimensions.trial({"record": record})).allowed for record in dimensions.records):
        return [], []
    applies: list[Box] = []
    errs: list[Box] = []
    for point in dimensions.points(single.whole.folder, single.text):
        verdict = single.whole.decide(dimensions.trial({name: min(values, key=repr) for name, values in point.items()}))
        if verdict.allowed:
            applies.append(point)
        elif verdict.reason == "policy_error":
            errs.append(point)
    return boxes.widest(applies, dimensions.domains), boxes.widest(errs, dimensions.domains)


def _folder_of(policy: Mapping[str, object], registry: Registry) -> PolicyFolder:
    return parse({"one.cedar": as_text([policy])}, registry, where="one policy")


def _can_be_of_token(text: str) -> bool:
    """Tell whether a policy can be about a request for a token, by the kind of resource in its head."""
    resource = msgspec.json.decode(text)["resource"]
    kind = resource.get("entity_type") or resource.get("entity", {}).get("type")
    return kind in (None, "Record")


def _spelled(box: Box) -> list[tuple[str, list[str]]]:
    return sorted((name, sorted(map(repr, values))) for name, values in box.items())
