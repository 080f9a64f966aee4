"""Makes cases from a seed: registries, policies and histories of requests, most of which just do or just do not fit."""

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tests.broker.privilege.oracle import CONDITIONS
from tests.broker.privilege.records import DATA_CLASSES, Action, Ask, Case, Kind, Open, Pattern, Rule, TaskType

Part = TypeVar("Part")

_PATHS = (("1",), ("11",), ("1", "x"), ("2",), ("1", "x", "1"))
_FITTING = {
    ("**",): _PATHS,
    ("*",): _PATHS[:2],
    ("1",): _PATHS[:2],
    ("1", "*"): _PATHS[2:3],
    ("1", "**"): _PATHS[2:],
    ("*", "x"): _PATHS[2:3],
}
"""Paths of patterns, each with some that it matches, or that look as if."""

_PREFIXES = ("crm", "kb", "crm:ticket", "crm:ticket/1", "crm:ticket/1/x", "kb:ticket/11", "crm:tick")
_LEVELS = {"read": "read", "list": "read", "draft": "draft", "edit": "write", "send": "trigger"}
_TYPES = ("outer", "inner", "other")
_TTLS = (None, None, 1, 15, 16, 60, 61, 400)
_CATALOGUES = ([("crm", "ticket")], [("crm", "ticket"), ("kb", "ticket")], [("crm", "ticket"), ("crm", "page")])
_EXPOSED = sorted(text for text in CONDITIONS if "tainted" in text or "labels" in text or "read_sensitive" in text)


def case(seed: str) -> Case:
    """Make the case of a seed, always the same one."""
    return _Maker(random.Random(seed)).case()


def smaller(case: Case) -> Iterator[Case]:
    """Yield cases that are this one without one of its requests, policies or patterns."""
    for number in range(len(case.asked)):
        yield case._replace(asked=_without(case.asked, number))
    for number in range(len(case.rules)):
        if len(case.rules) > 1:
            yield case._replace(rules=_without(case.rules, number))
    for place, type in enumerate(case.task_types):
        for number in range(len(type.patterns)):
            if len(type.patterns) > 1:
                less = type._replace(patterns=_without(type.patterns, number))
                yield case._replace(task_types=(*case.task_types[:place], less, *case.task_types[place + 1 :]))


def _without(parts: tuple[Part, ...], number: int) -> tuple[Part, ...]:
    return (*parts[:number], *parts[number + 1 :])


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def case(self) -> Case:
        kinds = tuple(self._kind(service, type) for service, type in self._one(_CATALOGUES))
        types = tuple(self._task_type(name, kinds) for name in _TYPES[: self._chance.randint(1, 3)])
        names = tuple(type.name for type in types)
        tasks = tuple(name for name in names if self._mostly(6)) or names[:1]
        opened = tuple(self._open(number, names) for number in range(self._chance.randint(1, 4)))
        asked = tuple(self._ask(kinds, types, len(opened)) for _ in range(self._chance.randint(6, 14)))
        return Case(kinds, types, self._rules(kinds), "prod" if self._mostly(4) else "test", tasks, opened, asked)

    def _kind(self, service: str, type: str) -> Kind:
        fields = tuple((name, self._data_classes()) for name in ("a", "b.a", "b.c")[: self._chance.randint(0, 3)])
        names = {"read", *self._some(sorted(_LEVELS))}
        actions = tuple(self._action(name, tuple(field for field, _ in fields)) for name in sorted(names))
        environment = "prod" if service == "crm" else "test"
        return Kind(service, environment, type, self._flag(), self._data_classes(), fields, actions)

    def _data_classes(self) -> tuple[str, ...]:
        return self._some(sorted(DATA_CLASSES))[:2] if self._flag() else ()

    def _action(self, name: str, fields: tuple[str, ...]) -> Action:
        default = self._some(fields) if fields and self._flag() else None
        return Action(name, _LEVELS[name], self._one((10, 60, 300, 3600)), default, self._flag(), self._flag())

    def _task_type(self, name: str, kinds: Sequence[Kind]) -> TaskType:
        patterns = tuple(self._pattern(kinds) for _ in range(self._chance.randint(2, 6)))
        return TaskType(name, self._one(("", "care")), self._one((130, 900)), patterns)

    def _pattern(self, kinds: Sequence[Kind]) -> Pattern:
        kind = self._one(kinds)
        action = self._one(kind.actions)
        is_named = kind.fields and (action.default_fields is None or self._flag())
        path = ("**",) if self._flag() else self._one(tuple(_FITTING))
        return Pattern(kind, path, action, self._some(kind.field_names) if is_named else None)

    def _rules(self, kinds: Sequence[Kind]) -> tuple[Rule, ...]:
        """Make policies: mostly there is one that permits everything, for others to take away from."""
        heads = [None, *(action.level for kind in kinds for action in kind.actions)]
        heads += [f"{kind.service}:{kind.type}#{action.name}" for kind in kinds for action in kind.actions]
        made = [Rule("all", True, None, ())] if self._mostly(6) else []
        for number in range(self._chance.randint(not made, 3)):
            said = [(self._one(sorted(CONDITIONS)), self._flag()) for _ in range(self._chance.randint(1, 2))]
            permits = not self._mostly(3)
            if self._mostly(3):
                # What a tree has read ends what was given before, so it is asked for more often than by chance.
                said, permits = [(self._one(_EXPOSED), True), *said[1:]], False
            made.append(Rule(f"rule-{number}", permits, self._one(heads), tuple(said)))
        return tuple(made)

    def _open(self, number: int, types: Sequence[str]) -> Open:
        parent = number - 1 if number and self._mostly(4) else None
        resources = tuple(sorted({self._one(_PREFIXES), self._one(_PREFIXES)})) if not self._mostly(3) else None
        return Open(parent, self._one(types), resources, self._one((None, None, 120, 5000)))

    def _ask(self, kinds: Sequence[Kind], types: Sequence[TaskType], tasks: int) -> Ask:
        """Make a request, mostly for what some pattern allows or for a little more."""
        wanted = self._one(self._one(types).patterns)
        kind, action, path = wanted.kind, wanted.action, self._one(_FITTING[wanted.path])
        if not self._mostly(8):
            kind, path = self._one(kinds), self._one(_PATHS)
            action = self._one(kind.actions)
        fields = self._some(kind.field_names) if kind.fields and self._flag() else None
        if kind == wanted.kind and kind.fields and self._mostly(4):
            fields = self._some(wanted.fields or wanted.action.default_fields or kind.field_names)
        task, is_bound, is_deaf = self._chance.randrange(tasks), self._mostly(3), not self._mostly(4)
        return Ask(task, kind, action, path, fields, self._one(_TTLS), is_bound, is_deaf)

    def _one(self, parts: Sequence[Part]) -> Part:
        return self._chance.choice(parts)

    def _some(self, names: Sequence[str]) -> tuple[str, ...]:
        """Choose some of the names, one at least, in order."""
        return tuple(sorted(self._chance.sample(names, self._chance.randint(1, len(names)))))

    def _flag(self) -> bool:
        return self._chance.random() < 0.5

    def _mostly(self, of: int) -> bool:
        """Say yes but for one time of so many."""
        return self._chance.randrange(of) > 0
