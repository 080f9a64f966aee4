"""What a configuration is made from, validated as a whole: files of a registry, and files of policies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from broker import policy as policies
from broker.errors import ConfigurationError
from broker.policy import PolicyFolder
from broker.registry import files
from broker.registry.registry import Registry

Objections = Callable[[Registry], Sequence[str]]
"""Names what the settings of this replica have against a registry; nothing where they go together."""


class Sources(NamedTuple):
    """The texts of the files, by their names."""

    registry: Mapping[str, str]
    policies: Mapping[str, str]


class Validated(NamedTuple):
    """A registry and policies that go together."""

    registry: Registry
    policies: PolicyFolder

    @property
    def digest(self) -> str:
        """The SHA-256 of all of it: what decisions, records and activations name it by."""
        return self.policies.version


def validated(sources: Sources, objections: Objections) -> Validated:
    """Validate what was sent; raise `ConfigurationError` with every problem found."""
    registry = files.parse(sources.registry, where="registry")
    check_suits(registry, objections, where="registry")
    return Validated(registry, policies.parse(sources.policies, registry, where="policies"))


def restored(canonical: bytes, policy_texts: Mapping[str, str], objections: Objections) -> Validated:
    """Validate what was activated once more; raise `ConfigurationError` with every problem found."""
    registry = files.restore(canonical, where="registry")
    check_suits(registry, objections, where="registry")
    return Validated(registry, policies.parse(policy_texts, registry, where="policies"))


def check_suits(registry: Registry, objections: Objections, *, where: str) -> None:
    """Raise `ConfigurationError` where the settings of this replica have something against the registry."""
    problems = [f"{where}: {problem}" for problem in objections(registry)]
    if problems:
        raise ConfigurationError(problems)


def changes(before: Validated, after: Validated) -> list[tuple[str, str, str]]:
    """Return what another configuration would change: of each record or policy what it is, its name, and what happens to it."""
    old, new = _tables(before), _tables(after)
    return [(kind, name, how) for kind in old for name, how in _changed(old[kind], new[kind])]


def _tables(known: Validated) -> dict[str, Mapping[str, Any]]:
    content = known.registry.content
    return {
        "service": content.services,
        "task type": content.tasks,
        "agent": content.agents,
        "operator": content.operators,
        "policy": policies.each(known.policies),
    }


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield name, "added"
        elif name not in new:
            yield name, "removed"
        elif old[name] != new[name]:
            yield name, "changed"
