"""The scope grammar, `<service>:<type>/<id>[/<id>…]#<action>[<field>,…]`: parse, print, cover, narrow.

Nothing else in the project takes a scope text apart. Matching is by whole segments of an ASCII alphabet that has neither
`%` nor letters that look like others, so `ticket/47` never covers `ticket/4711` and nothing needs decoding.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from scopes.errors import InvalidScope

MAX_SCOPE_BYTES = 512

_NAME = r"[a-z][a-z0-9_-]{0,62}"
_SEGMENT = r"[A-Za-z0-9._~@+=-]{1,128}"
_FIELD = rf"{_NAME}(?:\.{_NAME}){{0,3}}"
_NAME_ONLY = re.compile(_NAME)
_FIELD_ONLY = re.compile(_FIELD)
_SCOPE = re.compile(
    rf"(?P<service>{_NAME}):(?P<type>{_NAME})/(?P<path>{_SEGMENT}(?:/{_SEGMENT})*)"
    rf"#(?P<action>{_NAME})(?:\[(?P<fields>{_FIELD}(?:,{_FIELD})*)\])?"
)
_PATTERN_SEGMENT = rf"(?:{_SEGMENT}|\*)"
_PATTERN = re.compile(
    rf"(?P<service>{_NAME}):(?P<type>{_NAME})/(?P<path>(?:{_PATTERN_SEGMENT}/)*(?:{_PATTERN_SEGMENT}|\*\*))"
    rf"#(?P<action>{_NAME})(?:\[(?P<fields>{_FIELD}(?:,{_FIELD})*)\])?"
)
_RESOURCE = re.compile(rf"(?P<service>{_NAME}):(?P<type>{_NAME})/(?P<path>{_SEGMENT}(?:/{_SEGMENT})*)")
_PREFIX = re.compile(rf"(?P<service>{_NAME})(?::(?P<type>{_NAME})(?:/(?P<path>{_SEGMENT}(?:/{_SEGMENT})*))?)?")


class Resource(NamedTuple):
    """One record of one type of one service."""

    service: str
    type: str
    path: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Resource":
        """Read `crm:ticket/4711`; raise `InvalidScope` for anything else."""
        match = _matched(_RESOURCE, text, "a resource like crm:ticket/4711")
        return cls(match["service"], match["type"], _path(match["path"], text))

    def __str__(self) -> str:
        return f"{self.service}:{self.type}/{'/'.join(self.path)}"

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Every prefix that selects this resource, from its service down to itself."""
        prefix = f"{self.service}:{self.type}"
        found = [self.service, prefix]
        for segment in self.path:
            prefix = f"{prefix}/{segment}"
            found.append(prefix)
        return tuple(found)


class Scope(NamedTuple):
    """One action on one resource, and for resource types with fields, on which of them.

    `fields` is `None` where the text has no list: what that means is the catalogue's to say, never "everything".
    """

    resource: Resource
    action: str
    fields: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> "Scope":
        """Read a scope text, fields in any order; raise `InvalidScope` for a wildcard, a field twice, or anything else."""
        return _scope(text)

    def __str__(self) -> str:
        return f"{self.resource}#{self.action}{_field_text(self.fields)}"

    def covers(self, other: "Scope") -> bool:
        """Tell whether all that `other` says is said by this scope.

        A scope without a field list covers only one without; the two are of different resource types otherwise.
        """
        return self.resource == other.resource and self.action == other.action and _fields_cover(self.fields, other.fields)

    def narrow(self, fields: Iterable[str]) -> "Scope":
        """Return this scope for those of its fields only; raise `InvalidScope` where that is not less, or nothing."""
        wanted = tuple(sorted(set(fields)))
        if not wanted or not _fields_cover(self.fields, wanted):
            raise InvalidScope(f"{self} cannot be narrowed to the fields [{','.join(wanted)}]")
        return self._replace(fields=wanted)


class ScopePattern(NamedTuple):
    """A scope of the registry, where `*` stands for one path segment and a last `**` for one or more."""

    service: str
    type: str
    path: tuple[str, ...]
    action: str
    fields: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> "ScopePattern":
        """Read a pattern like `crm:ticket/*#read[subject]`; raise `InvalidScope` for anything else."""
        return _pattern(text)

    def __str__(self) -> str:
        return f"{self.service}:{self.type}/{'/'.join(self.path)}#{self.action}{_field_text(self.fields)}"

    def matches(self, scope: Scope) -> bool:
        """Tell whether the scope's resource and action are inside the pattern, whatever its fields."""
        resource = scope.resource
        named = (self.service, self.type, self.action) == (resource.service, resource.type, scope.action)
        return named and _path_matches(self.path, resource.path)


# What is asked for is read again from what was signed, and by a verifier from each use of a token.
@lru_cache(maxsize=1024)
def _scope(text: str) -> Scope:
    match = _matched(_SCOPE, text, "a scope like crm:ticket/4711#read[subject]")
    resource = Resource(match["service"], match["type"], _path(match["path"], text))
    return Scope(resource, match["action"], _fields(match["fields"], text))


@lru_cache(maxsize=1024)
def _pattern(text: str) -> ScopePattern:
    match = _matched(_PATTERN, text, "a pattern like crm:ticket/*#read[subject]")
    path = _path(match["path"], text)
    return ScopePattern(match["service"], match["type"], path, match["action"], _fields(match["fields"], text))


def is_name(text: str) -> bool:
    """Tell whether the text can name a service, a type or an action."""
    return _NAME_ONLY.fullmatch(text) is not None


def is_field(text: str) -> bool:
    """Tell whether the text can name a field: up to four names, each of what is inside the one before."""
    return _FIELD_ONLY.fullmatch(text) is not None


def one_inside_another(fields: Iterable[str]) -> tuple[str, str] | None:
    """Return a field and one that is inside it, where there are such: what the one says, the other says as well."""
    ordered = sorted(field.split(".") for field in fields)
    for outer, inner in pairwise(ordered):
        if inner[: len(outer)] == outer:
            return ".".join(outer), ".".join(inner)
    return None


def canonical_prefix(text: str) -> str:
    """Check a resource prefix (`crm`, `crm:ticket`, `crm:ticket/4711`) and return it; raise `InvalidScope` otherwise."""
    match = _matched(_PREFIX, text, "a resource prefix like crm, crm:ticket or crm:ticket/4711")
    if match["path"]:
        _path(match["path"], text)
    return text


def prefix_covers(prefix: str, resource: Resource) -> bool:
    """Tell whether a canonical prefix selects the resource; its boundary is a whole segment."""
    return prefix in resource.prefixes


def _matched(grammar: re.Pattern[str], text: str, wanted: str) -> re.Match[str]:
    if len(text) > MAX_SCOPE_BYTES:
        raise InvalidScope(f"longer than {MAX_SCOPE_BYTES} bytes")
    match = grammar.fullmatch(text)
    if match is None:
        raise InvalidScope(f"{text!a} is not {wanted}")
    return match


def _path(text: str, whole: str) -> tuple[str, ...]:
    segments = tuple(text.split("/"))
    if "." in segments or ".." in segments:
        raise InvalidScope(f"{whole!a} has a dot segment")
    return segments


def _fields(text: str | None, whole: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    fields = tuple(sorted(text.split(",")))
    if len(set(fields)) != len(fields):
        raise InvalidScope(f"{whole!a} names a field twice")
    if one_inside_another(fields) is not None:
        raise InvalidScope(f"{whole!a} names a field and one that is inside it")
    return fields


def _field_text(fields: tuple[str, ...] | None) -> str:
    return "" if fields is None else f"[{','.join(fields)}]"


def _fields_cover(granted: tuple[str, ...] | None, wanted: tuple[str, ...] | None) -> bool:
    if granted is None or wanted is None:
        return granted is wanted
    return set(wanted) <= set(granted)


def _path_matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    if pattern[-1] == "**":
        pattern, path = pattern[:-1], path[: len(pattern) - 1] if len(path) >= len(pattern) else ()
    return len(pattern) == len(path) and all(part in ("*", own) for part, own in zip(pattern, path, strict=True))
