"""What may be given, as the documentation says it and in as few words as possible; nothing of the broker is imported here.

`docs/operate/registry.md` and `docs/scopes.md` for the ceiling, `docs/operate/policies.md` for what policies see.
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from tests.broker.privilege.records import DATA_CLASSES, Ask, Case, Kind, Open, Pattern, Rule, TaskType

LONGEST = 900
"""The longest life of any token, in seconds, where the settings say nothing else."""

DEEPEST = 4
_BANDS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600)


class Exposed(NamedTuple):
    """What a tree of tasks was given to read."""

    tainted: bool = False
    labels: frozenset[str] = frozenset()

    def reading(self, given: "Given") -> "Exposed":
        """Return what the tree was given to read with this."""
        if given.ask.action.level != "read":
            return self
        return Exposed(self.tainted or given.ask.kind.untrusted, self.labels | given.ask.kind.classes_of(given.fields))


class Given(NamedTuple):
    """The most that may be given for a request: these fields, for so many seconds."""

    ask: Ask
    path: tuple[Open, ...]
    environment: str
    fields: tuple[str, ...]
    ttl: int


def may_open(case: Case, path: Sequence[Open]) -> bool:
    """Tell whether the last task of a path may be declared below the others."""
    return len(path) <= DEEPEST and path[-1].type in case.tasks


def most(case: Case, path: Sequence[Open], ask: Ask) -> Given | None:
    """Return what may be given for a request at most, whatever policies say; `None` for nothing."""
    fields = _fields(ask)
    types = {type.name: type for type in case.task_types}
    if fields is None or not all(_allows(types[task.type], ask, fields) for task in path):
        return None
    if not all(task.resources is None or any(_is_below(ask, prefix) for prefix in task.resources) for task in path):
        return None
    ttl = min(ask.action.max_ttl, LONGEST, ask.ttl or LONGEST)
    return Given(ask, tuple(path), case.environment, tuple(sorted(fields)), ttl)


def permits(case: Case, given: Given, exposed: Exposed) -> bool:
    """Tell whether the policies give it to a tree that was exposed to so much, itself included."""
    exposed = exposed.reading(given)
    applying = [rule for rule in case.rules if _applies(rule, case, given, exposed)]
    return any(rule.permits for rule in applying) and all(rule.permits for rule in applying)


def _fields(ask: Ask) -> tuple[str, ...] | None:
    """Return the fields that are asked for; `None` where they have to be named and are not."""
    if ask.fields is not None:
        return ask.fields
    return ask.action.default_fields if ask.kind.fields else ()


def _allows(type: TaskType, ask: Ask, fields: tuple[str, ...]) -> bool:
    """Tell whether the patterns of a task type that match allow all fields together, and whether any matches."""
    matching = [pattern for pattern in type.patterns if _matches(pattern, ask)]
    allowed: set[str] = set()
    for pattern in matching:
        allowed |= set(pattern.fields if pattern.fields is not None else pattern.action.default_fields or ())
    return bool(matching) and set(fields) <= allowed


def _matches(pattern: Pattern, ask: Ask) -> bool:
    names = (pattern.kind.service, pattern.kind.type, pattern.action.name)
    if names != (ask.kind.service, ask.kind.type, ask.action.name):
        return False
    for number, (part, own) in enumerate(zip_longest(pattern.path, ask.path)):
        if part == "**" and own is not None and number == len(pattern.path) - 1:
            return True
        if own is None or part not in ("*", own):
            return False
    return True


def _is_below(ask: Ask, prefix: str) -> bool:
    """Tell whether a resource is the prefix or below it, by whole segments."""
    whole = f"{ask.kind.service}:{ask.kind.type}/{'/'.join(ask.path)}"
    return whole == prefix or whole.startswith((f"{prefix}:", f"{prefix}/"))


def _applies(rule: Rule, case: Case, given: Given, exposed: Exposed) -> bool:
    kind, action = given.ask.kind, given.ask.action
    if rule.action not in (None, action.level, f"{kind.service}:{kind.type}#{action.name}"):
        return False
    seen = Seen(case, given, exposed)
    return all(CONDITIONS[text](seen) is holds for text, holds in rule.conditions)


class Seen(NamedTuple):
    """What a policy sees."""

    case: Case
    given: Given
    exposed: Exposed

    @property
    def kind(self) -> Kind:
        """The kind of record."""
        return self.given.ask.kind

    @property
    def type(self) -> TaskType:
        """The type of the task."""
        return next(type for type in self.case.task_types if type.name == self.given.path[-1].type)

    @property
    def record(self) -> str:
        """The record by its name."""
        return f"{self.kind.service}:{self.kind.type}/{'/'.join(self.given.ask.path)}"

    @property
    def own_classes(self) -> frozenset[str]:
        """The classes of the fields alone."""
        return frozenset(name for field, classes in self.kind.fields if field in self.given.fields for name in classes)


CONDITIONS: dict[str, Callable[[Seen], bool]] = {
    "context.ttl <= 60": lambda seen: next(band for band in _BANDS if band >= seen.given.ttl) <= 60,
    "context.task.depth == 0": lambda seen: len(seen.given.path) == 1,
    'context.task.type == "outer"': lambda seen: seen.given.path[-1].type == "outer",
    'context.task.purpose_class == "care"': lambda seen: seen.type.purpose_class == "care",
    "context.task.tainted": lambda seen: seen.exposed.tainted,
    'context.task.labels.contains("pii")': lambda seen: "pii" in seen.exposed.labels,
    'context.task.labels.contains("financial")': lambda seen: "financial" in seen.exposed.labels,
    "context.task.read_sensitive": lambda seen: any(DATA_CLASSES[label] for label in seen.exposed.labels),
    'context.fields.contains("a")': lambda seen: "a" in seen.given.fields,
    'context.data_classes.contains("pii")': lambda seen: "pii" in seen.own_classes,
    "context.sensitive": lambda seen: any(DATA_CLASSES[name] for name in seen.kind.classes_of(seen.given.fields)),
    'context.proof == "dpop"': lambda seen: seen.given.ask.is_bound,
    'context.level == "read"': lambda seen: seen.given.ask.action.level == "read",
    "context.reversible": lambda seen: seen.given.ask.action.reversible,
    "context.external": lambda seen: seen.given.ask.action.external,
    "context.approved": lambda seen: False,
    "context has user": lambda seen: False,
    "resource.untrusted": lambda seen: seen.kind.untrusted,
    'resource.service == "crm"': lambda seen: seen.kind.service == "crm",
    'resource.data_classes.contains("pii")': lambda seen: "pii" in seen.kind.classes,
    'resource == Record::"crm:ticket/1"': lambda seen: seen.record == "crm:ticket/1",
    "principal.environment == resource.environment": lambda seen: seen.given.environment == seen.kind.environment,
}
"""What policies of a case ask, in Cedar and as it is meant."""
