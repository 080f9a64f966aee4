"""What no test is about and every test would pay for: a disk that has written, and texts that were parsed before."""

import os
from collections.abc import Iterator, Mapping

import pytest

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
