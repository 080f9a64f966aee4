"""Which parts of a record a list of fields names: a dot steps into what a field holds, and into each one where that is a list.

`customer.email` is the `email` of the object `customer`, or of every object in it. With a granted field goes all that it holds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scopes.errors import Denied
from scopes.scope import is_name

_NAME_TOLD = 64
_FIELDS_TOLD = 10

_Parts = dict[str, "_Parts"]
"""The granted parts of an object by name; a name with nothing below it is granted with all that it holds."""


def project(record: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Return the record with these fields only. What it lacks stays absent, and what cannot be stepped into is left out."""
    return _projected(record, _parts(fields))


def beyond(record: Mapping[str, Any], fields: Iterable[str]) -> list[str]:
    """Return what a record to be written has beyond these fields, by its path.

    Something else in the place of an object or a list that is granted in parts would replace the other parts: it is beyond.
    """
    return list(dict.fromkeys(_beyond(record, _parts(fields), "")))


def refuse(beyond: Sequence[str]) -> None:
    """Raise `Denied` for fields that a token does not grant, and name the first of them; return where there are none."""
    if beyond:
        more = f" and {len(beyond) - _FIELDS_TOLD} more" if len(beyond) > _FIELDS_TOLD else ""
        raise Denied(f"the token does not grant the fields {', '.join(beyond[:_FIELDS_TOLD])}{more}")


def _parts(fields: Iterable[str]) -> _Parts:
    parts: _Parts = {}
    for field in fields:
        inside = parts
        for name in field.split("."):
            inside = inside.setdefault(name, {})
    return parts


def _projected(record: Mapping[str, Any], parts: _Parts) -> dict[str, Any]:
    kept = {name: record[name] for name, below in parts.items() if name in record and not below}
    inside = {name: _inside(record[name], below) for name, below in parts.items() if name in record and below}
    return kept | {name: value for name, value in inside.items() if value is not None}


def _inside(value: Any, parts: _Parts) -> Any:
    if isinstance(value, Mapping):
        return _projected(value, parts)
    if isinstance(value, list | tuple):
        return [kept for kept in (_inside(each, parts) for each in value) if kept is not None]
    return None


def _beyond(record: Mapping[str, Any], parts: _Parts, path: str) -> Iterator[str]:
    for name, value in record.items():
        own = f"{path}{name if is_name(str(name)) else _foreign(name)}"
        if name not in parts:
            yield own
        elif parts[name]:
            yield from _beyond_inside(value, parts[name], own)


def _beyond_inside(value: Any, parts: _Parts, path: str) -> Iterator[str]:
    # Not by recursion: how deep lists are in one another is for whoever sends the record to say.
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            yield from _beyond(each, parts, f"{path}.")
        elif isinstance(each, list | tuple):
            waiting.extend(reversed(each))
        else:
            yield path


def _foreign(name: object) -> str:
    """Return what a sender calls a field so that it can be told: short, and in letters that forge no line."""
    return ascii(name)[:_NAME_TOLD]
