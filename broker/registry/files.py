"""Reads a folder of TOML files into one registry, or says everything that is wrong with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from broker import toml_file
from broker.errors import ConfigurationError
from broker.registry.checks import problems_of
from broker.registry.records import AgentRecord, Content, DataClass, OperatorRecord, Service, TaskType
from broker.registry.registry import Registry

_TABLES: dict[str, Any] = {
    "data_classes": DataClass,
    "services": Service,
    "tasks": TaskType,
    "agents": AgentRecord,
    "operators": OperatorRecord,
}


def load(folder: Path) -> Registry:
    """Read and validate all `*.toml` of the folder as a whole; raise `ConfigurationError` with every problem found."""
    return parse(read(folder), where=str(folder))


def read(folder: Path) -> dict[str, str]:
    """Return the texts of all `*.toml` of the folder by name; raise `ConfigurationError` for one that cannot be read."""
    texts = {path.name: toml_file.text_of(path) for path in sorted(folder.glob("*.toml"))}
    if not texts:
        raise ConfigurationError([f"{folder}: no registry files (*.toml) here"])
    return texts


def parse(texts: Mapping[str, str], *, where: str) -> Registry:
    """Validate TOML files, given by name, as a whole; raise `ConfigurationError` with every problem found."""
    tables: dict[str, dict[str, Any]] = {name: {} for name in _TABLES}
    problems: list[str] = []
    for name, text in texts.items():
        problems += _merge(tables, text, f"{where}/{name}")
    if not problems:
        content = Content(**tables)
        problems = [f"{where}: {problem}" for problem in problems_of(content)]
    if problems:
        raise ConfigurationError(problems)
    return Registry(content)


def restore(canonical: bytes, *, where: str) -> Registry:
    """Validate what `Registry.canonical` wrote, once more; raise `ConfigurationError` with every problem found."""
    try:
        content = msgspec.json.decode(canonical, type=Content)
    except msgspec.MsgspecError as error:
        raise ConfigurationError([f"{where}: {error}"]) from None
    problems = [f"{where}: {problem}" for problem in problems_of(content)]
    if problems:
        raise ConfigurationError(problems)
    return Registry(content, canonical=canonical)


def _merge(tables: dict[str, dict[str, Any]], text: str, where: str) -> list[str]:
    try:
        document = toml_file.parse(text, where=where)
    except ConfigurationError as error:
        return error.problems
    problems = [
        f"{where}: unknown table {name!r}{toml_file.nearest(name, _TABLES)}" for name in document if name not in _TABLES
    ]
    for table in document.keys() & _TABLES.keys():
        problems += _merge_table(tables[table], document[table], _TABLES[table], f"{where}: {table}")
    return problems


def _merge_table(known: dict[str, Any], table: Any, type: Any, where: str) -> list[str]:
    if not isinstance(table, dict):
        return [f"{where}: has to be a table"]
    problems = []
    for name, record in table.items():
        if name in known:
            problems.append(f"{where}.{name}: stands twice")
        try:
            known[name] = toml_file.convert(record, type, where=f"{where}.{name}")
        except ConfigurationError as error:
            problems += error.problems
    return problems
