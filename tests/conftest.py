"""What no test is about and all would pay for: disks that have written, texts that were parsed before, coverage twice."""

import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import pytest
from coverage import Coverage

from broker.policy import PolicyFolder, policies
from broker.registry import files
from broker.registry.registry import Registry


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    """Leave it to the system when it writes to disk, for no machine loses its power here; and parse what is new only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(files, "parse", _Registries().parse)
        patch.setattr(policies, "parse", _Policies().parse)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Function) -> Generator[None, object, object]:
    """Measure coverage by the rooms' own tests, and by their first run where they run again on a real Redis.

    Measuring takes as long as the tests themselves: all the code of others that runs meanwhile is slowed down as well.
    """
    measuring = Coverage.current() if not _is_measured(item) else None
    if measuring is None:
        return (yield)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()


def _is_measured(item: pytest.Function) -> bool:
    room = item.path.relative_to(Path(__file__).parent).parts[0]
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return room in {"scopes", "broker"} and parameters.get("backend") != "redis"


class _Registries:
    """Registries that were valid before are restored from their canonical form; each test gets an object of its own."""

    def __init__(self) -> None:
        self._parse = files.parse
        self._known: dict[object, bytes] = {}

    def parse(self, texts: Mapping[str, str], *, where: str) -> Registry:
        key = tuple(texts.items())
        if key not in self._known:
            self._known[key] = self._parse(texts, where=where).canonical
        return files.restore(self._known[key], where=where)


class _Policies:
    """Policies that were valid before, against the same registry, are not validated again."""

    def __init__(self) -> None:
        self._parse = policies.parse
        self._known: dict[object, PolicyFolder] = {}

    def parse(self, texts: Mapping[str, str], registry: Registry, *, where: str) -> PolicyFolder:
        key = (*texts.items(), registry.canonical)
        if key not in self._known:
            self._known[key] = self._parse(texts, registry, where=where)
        return self._known[key]
