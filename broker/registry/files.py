"""Reads a folder of TOML files into one registry, or says everything that is wrong with it."""

from pathlib import Path
from typing import Any

from broker import toml_file
from broker.errors import ConfigurationError
from broker.registry.checks import problems_of
from broker.registry.records import AgentRecord, Content, OperatorRecord, Service, TaskType
from broker.registry.registry import Registry

_TABLES: dict[str, Any] = {"services": Service, "tasks": TaskType, "agents": AgentRecord, "operators": OperatorRecord}


def load(folder: Path) -> Registry:
    """Read and validate all `*.toml` of the folder as a whole; raise `ConfigurationError` with every problem found."""
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise ConfigurationError([f"{folder}: no registry files (*.toml) here"])
    tables: dict[str, dict[str, Any]] = {name: {} for name in _TABLES}
    problems: list[str] = []
    for path in paths:
        problems += _merge(tables, path)
    if not problems:
        content = Content(**tables)
        problems = [f"{folder}: {problem}" for problem in problems_of(content)]
    if problems:
        raise ConfigurationError(problems)
    return Registry(content)


def _merge(tables: dict[str, dict[str, Any]], path: Path) -> list[str]:
    try:
        document = toml_file.read(path)
    except ConfigurationError as error:
        return error.problems
    problems = [f"{path}: unknown table {name!r}{toml_file.nearest(name, _TABLES)}" for name in document if name not in _TABLES]
    for table in document.keys() & _TABLES.keys():
        problems += _merge_table(tables[table], document[table], _TABLES[table], f"{path}: {table}")
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
