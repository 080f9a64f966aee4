"""Reads reviewed TOML into frozen types: every problem is named by file, key and nearest valid name."""

import difflib
import functools
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from broker.errors import ConfigurationError

T = TypeVar("T")


def read(path: Path) -> dict[str, Any]:
    """Read one TOML file; raise `ConfigurationError` if it is missing, unreadable or not TOML."""
    return parse(text_of(path), where=str(path))


def text_of(path: Path) -> str:
    """Read a text file; raise `ConfigurationError` if it is missing, unreadable or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError([f"{path}: no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: {error}"]) from None


def parse(text: str, *, where: str) -> dict[str, Any]:
    """Parse TOML; raise `ConfigurationError` if it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{where}: {error}"]) from None


def convert(value: Any, type: type[T], *, where: str) -> T:
    """Convert parsed TOML to a struct without leniency; raise `ConfigurationError` naming what is wrong under `where`."""
    problems = list(unknown_keys(value, type, where))
    if problems:
        raise ConfigurationError(problems)
    try:
        return msgspec.convert(value, type, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError([f"{where}: {error}"]) from None


def unknown_keys(value: Any, type: Any, where: str) -> Iterable[str]:
    """Name every key that the type does not have, with the nearest one it has."""
    if isinstance(value, Mapping) and _is_struct(type):
        hints = _hints_of(type)
        for key, member in value.items():
            if key not in hints:
                yield f"{where}: unknown key {key!r}{nearest(key, hints)}"
            else:
                yield from unknown_keys(member, hints[key], f"{where}.{key}")
    elif isinstance(value, list):
        for member in value:
            yield from unknown_keys(member, _struct_inside(type), where)
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from unknown_keys(member, _struct_inside(type), f"{where}.{key}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean …?)` for the nearest known name, or nothing where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


# Asked for each record of thousands, and found out anew each time.
_hints_of = functools.cache(typing.get_type_hints)


def _is_struct(type: Any) -> bool:
    return isinstance(type, msgspec.StructMeta)


def _struct_inside(type: Any) -> Any:
    inside = [argument for argument in typing.get_args(type) if _is_struct(argument)]
    return inside[0] if inside else None
