"""What no test is about and every test would pay for: a disk that has written, what was read before, coverage twice."""

import contextlib
import functools
import os
import ssl
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis.utils
from coverage import Coverage
from httpx2._transports import default as transports

from broker.policy import PolicyFolder, policies
from broker.registry import files
from broker.registry.registry import Registry

_BEGUN: set[tuple[Path, str]] = set()


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    """Leave it to the system when it writes to disk, for no machine loses its power here; read and parse what is new only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        # Each client would read every authority of this machine, which takes longer than most of what clients here do.
        patch.setattr(transports, "create_ssl_context", _Authorities().context)
        # Each connection would read what the installation says of its library.
        patch.setattr(redis.utils, "get_lib_version", functools.cache(redis.utils.get_lib_version))
        patch.setattr(files, "parse", _Registries().parse)
        patch.setattr(policies, "parse", _Policies().parse)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Function) -> Generator[None, object, object]:
    """Measure coverage by the rooms' own tests, and by their run on a real Redis where they run on both stores.

    Measuring takes as long as the tests themselves: all the code of others that runs meanwhile is slowed down as well,
    and fakeredis is very much of it. What is tried with a hundred examples is not measured a hundred times, nor is a test of
    the broker with all its cases: its floor leaves room for what the first does not reach.
    """
    with contextlib.nullcontext() if _is_measured(item) else _unmeasured():
        return (yield)


@contextlib.contextmanager
def _unmeasured() -> Iterator[None]:
    """Measure nothing: in a process of several there is a measuring beneath the one that counts, and it would go on."""
    stopped = []
    while (measuring := Coverage.current()) is not None:
        measuring.stop()
        stopped.append(measuring)
    try:
        yield
    finally:
        for measuring in reversed(stopped):
            measuring.start()


def _is_measured(item: pytest.Function) -> bool:
    room = item.path.relative_to(Path(__file__).parent).parts[0]
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if parameters.get("backend") == "fakeredis" or item.get_closest_marker("hypothesis") is not None:
        return False
    return room == "scopes" or (room == "broker" and _is_first(item))


def _is_first(item: pytest.Function) -> bool:
    """Tell whether no other case of the test has run in this process; from now on, one has."""
    test = item.path, item.originalname
    is_first = test not in _BEGUN
    _BEGUN.add(test)
    return is_first


class _Authorities:
    """Whom this machine believes is read once for each place where it is said."""

    def __init__(self) -> None:
        self._known: dict[object, ssl.SSLContext] = {}

    def context(self, verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is not True or cert is not None:
            return httpx2.create_ssl_context(verify, cert, trust_env)
        said = (trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        if said not in self._known:
            self._known[said] = httpx2.create_ssl_context(trust_env=trust_env)
        return self._known[said]


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
