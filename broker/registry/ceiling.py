"""The first of two locks: what a task type allows at most, whatever policy would say (`DESIGN.md` 3.2)."""

from collections.abc import Iterable

from broker.errors import AccessDenied, InvalidScope
from broker.registry.registry import Entry, Registry
from scopes.scope import Scope, ScopePattern


def resolve_fields(scope: Scope, entry: Entry) -> Scope:
    """Make the field list explicit; raise `InvalidScope` for unknown fields and for a list that has to be named."""
    known = entry.resource_type.fields
    unknown = sorted(set(scope.fields or ()) - known.keys())
    if unknown:
        raise InvalidScope(f"{scope.resource.service}:{scope.resource.type} has no field {', '.join(unknown)}")
    if scope.fields is not None or not known:
        return scope
    if entry.action.default_fields is None:
        raise InvalidScope(f"name the fields, as in {scope}[{','.join(sorted(known)[:2])}]")
    return scope._replace(fields=tuple(sorted(entry.action.default_fields)))


def check(scope: Scope, task_type: str, entry: Entry, registry: Registry) -> tuple[str, ...]:
    """Return the patterns of the task type that, taken together, allow every field of the scope; raise `AccessDenied`."""
    matching = [pattern for pattern in registry.patterns(task_type) if pattern.matches(scope)]
    if not matching:
        raise AccessDenied(f"a {task_type} task may not have {scope}", reason="outside_task_type")
    beyond = beyond_patterns(scope.fields, matching, entry)
    if beyond:
        raise AccessDenied(f"a {task_type} task may not have the fields {', '.join(beyond)}", reason="outside_fields")
    return tuple(map(str, matching))


def beyond_patterns(fields: tuple[str, ...] | None, patterns: Iterable[ScopePattern], entry: Entry) -> list[str]:
    """Return those of the fields that none of the patterns allows."""
    allowed = {field for pattern in patterns for field in pattern.fields or entry.action.default_fields or ()}
    return sorted(set(fields or ()) - allowed)
