"""What one history of requests is about, as plain data: a catalogue, task types, policies, and what an agent asks for.

It knows nothing of the broker but how files are written, so that what is expected of a history can be said without its help.
"""

from typing import NamedTuple

DATA_CLASSES = {"pii": True, "financial": True, "public": False}
"""The classes of data, and whether each is sensitive."""


class Action(NamedTuple):
    """One action of a kind of record. `default_fields` is `None` where a request has to name its fields."""

    name: str
    level: str
    max_ttl: int
    default_fields: tuple[str, ...] | None
    reversible: bool
    external: bool

    @property
    def text(self) -> str:
        """Write it for the registry."""
        fields = f", default_fields = {_list(self.default_fields)}" if self.default_fields is not None else ""
        flags = f"reversible = {_flag(self.reversible)}, external = {_flag(self.external)}"
        return f'{self.name} = {{ level = "{self.level}", max_ttl = {self.max_ttl}, {flags}{fields} }}'


class Kind(NamedTuple):
    """One resource type of one service; `fields` are names with their classes of data."""

    service: str
    environment: str
    type: str
    untrusted: bool
    classes: tuple[str, ...]
    fields: tuple[tuple[str, tuple[str, ...]], ...]
    actions: tuple[Action, ...]

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of its fields."""
        return tuple(name for name, _ in self.fields)

    def classes_of(self, fields: tuple[str, ...]) -> frozenset[str]:
        """Return the classes of data of the record and of these fields."""
        return frozenset(self.classes).union(*(classes for name, classes in self.fields if name in fields))

    @property
    def text(self) -> str:
        """Write it for the registry."""
        fields = ", ".join(f'"{name}" = {_list(classes)}' for name, classes in self.fields)
        return "\n".join(
            [
                f"[services.{self.service}.resources.{self.type}]",
                f"data_classes = {_list(self.classes)}",
                f"untrusted = {_flag(self.untrusted)}",
                f"fields = {{ {fields} }}",
                f"[services.{self.service}.resources.{self.type}.actions]",
                *(action.text for action in self.actions),
            ]
        )


class Pattern(NamedTuple):
    """What a task type allows; `fields` is `None` where the pattern names none."""

    kind: Kind
    path: tuple[str, ...]
    action: Action
    fields: tuple[str, ...] | None

    @property
    def text(self) -> str:
        """Write it for the registry."""
        return scope_text(self.kind, self.path, self.action.name, self.fields)


class TaskType(NamedTuple):
    """A kind of task."""

    name: str
    purpose_class: str
    max_duration: int
    patterns: tuple[Pattern, ...]

    @property
    def text(self) -> str:
        """Write it for the registry."""
        scopes = ", ".join(f'"{pattern.text}"' for pattern in self.patterns)
        return "\n".join(
            [
                f"[tasks.{self.name}]",
                'purpose = "generated"',
                f'purpose_class = "{self.purpose_class}"',
                f"max_duration = {self.max_duration}",
                f"scopes = [{scopes}]",
            ]
        )


class Rule(NamedTuple):
    """A policy: `action` is `None`, a level, or an action of the catalogue; all conditions have to be as they are said here."""

    id: str
    permits: bool
    action: str | None
    conditions: tuple[tuple[str, bool], ...]

    @property
    def text(self) -> str:
        """Write it in Cedar."""
        head = "action" if self.action is None else f'action {"==" if "#" in self.action else "in"} Action::"{self.action}"'
        conditions = "".join(f" {'when' if holds else 'unless'} {{ {text} }}" for text, holds in self.conditions)
        effect = "permit" if self.permits else "forbid"
        return f'@id("{self.id}") {effect} (principal is Agent, {head}, resource is Record){conditions};'


class Open(NamedTuple):
    """An agent declares a task; `parent` is the number of an earlier one."""

    parent: int | None
    type: str
    resources: tuple[str, ...] | None
    max_duration: int | None


class Ask(NamedTuple):
    """An agent asks for a token, of a worker that has heard all that happened, or that `is_deaf` since the last request."""

    task: int
    kind: Kind
    action: Action
    path: tuple[str, ...]
    fields: tuple[str, ...] | None
    ttl: int | None
    is_bound: bool
    is_deaf: bool

    @property
    def text(self) -> str:
        """Write the scope that is asked for."""
        return scope_text(self.kind, self.path, self.action.name, self.fields)


class Case(NamedTuple):
    """A registry, policies, and what an agent of `environment` that runs `tasks` does one after the other."""

    kinds: tuple[Kind, ...]
    task_types: tuple[TaskType, ...]
    rules: tuple[Rule, ...]
    environment: str
    tasks: tuple[str, ...]
    opened: tuple[Open, ...]
    asked: tuple[Ask, ...]


def scope_text(kind: Kind, path: tuple[str, ...], action: str, fields: tuple[str, ...] | None) -> str:
    """Write a scope, or a pattern of scopes."""
    listed = f"[{','.join(fields)}]" if fields is not None else ""
    return f"{kind.service}:{kind.type}/{'/'.join(path)}#{action}{listed}"


def registry_text(case: Case, *, agent: str, workload: str) -> str:
    """Write the registry of a case."""
    services = {
        kind.service: "\n".join(
            [
                f"[services.{kind.service}]",
                f'audience = "{audience(kind)}"',
                f'environment = "{kind.environment}"',
                'owner = "o"',
                # Whether somebody holds a token to it is another question.
                'enforces = ["fields", "proof", "certificate", "single_use"]',
            ]
        )
        for kind in case.kinds
    }
    classes = ["[data_classes]", *(f"{name} = {{ sensitive = {_flag(is_so)} }}" for name, is_so in DATA_CLASSES.items())]
    agents = [
        f"[agents.{agent}]",
        *('owner = "jane"', 'purpose = "p"', f'environment = "{case.environment}"', "ends = 2099-06-30"),
        f'workloads = [{{ spiffe = "{workload}" }}]',
        f"tasks = {_list(case.tasks)}",
    ]
    parts = [*classes, *services.values(), *(kind.text for kind in case.kinds), *(type.text for type in case.task_types)]
    return "\n".join([*parts, *agents]) + "\n"


def policies_text(case: Case) -> str:
    """Write the policies of a case."""
    return "\n".join(rule.text for rule in case.rules) + "\n"


def audience(kind: Kind) -> str:
    """Return the audience of the service."""
    return f"https://{kind.service}.test"


def _list(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _flag(is_so: bool) -> str:
    return "true" if is_so else "false"
