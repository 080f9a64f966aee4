"""Where the keys of an OpenID issuer come from: a file, an address, or what the issuer says of itself."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import httpx2
import msgspec

from broker.errors import ConfigurationError
from broker.identity.refreshed import Refreshed
from broker.outbound import MAX_BYTES, Outbound
from scopes import strict_json
from scopes.clock import Clock
from scopes.errors import InvalidDocument
from scopes.keys import SVID_ALGORITHMS, TOKEN_ALGORITHMS, KeySet

ALGORITHMS = SVID_ALGORITHMS | TOKEN_ALGORITHMS
"""What issuers of workload tokens sign with: asymmetric, all of them."""

Stamp = tuple[int, int, int]


class KeySource(Protocol):
    """Where keys come from. Whoever asks it never waits for a network."""

    @property
    def keys(self) -> KeySet:
        """The keys in force; none where none are known, or they are too old."""
        ...

    @property
    def problem(self) -> str:
        """What is wrong now, empty for nothing."""
        ...

    def start(self) -> None:
        """Begin to follow it."""
        ...

    def wake(self) -> None:
        """Look again soon, for somebody shows what a key signed that is not known."""
        ...

    def close(self) -> None:
        """End following it."""
        ...


class JwksFile:
    """A JWKS in a file, read again when it changes. A changed file that cannot be used leaves the last good keys."""

    def __init__(self, file: Path) -> None:
        """Read the keys; raise `ConfigurationError` if they cannot be used."""
        self._file = file
        self._stamp = self._look()
        self.problem = ""
        try:
            self._keys = _parsed(file.read_bytes())
        except (OSError, InvalidDocument) as error:
            raise ConfigurationError([f"{file}: not a usable JWKS: {error}"]) from None

    @property
    def keys(self) -> KeySet:
        """The keys in force."""
        stamp = self._look()
        if stamp != self._stamp:
            try:
                self._keys, self.problem = _parsed(self._file.read_bytes()), ""
            except (OSError, InvalidDocument) as error:
                self.problem = f"{self._file}: {error}"
            else:
                self._stamp = stamp
        return self._keys

    def start(self) -> None:
        """Do nothing: the file is looked at whenever somebody asks."""

    def wake(self) -> None:
        """Do nothing, for the same reason."""

    def close(self) -> None:
        """Do nothing."""

    def _look(self) -> Stamp | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)


class FetchedKeys(Refreshed[KeySet]):
    """A JWKS that is fetched in the background, and kept through failures up to an age."""

    def __init__(self, name: str, fetch: Callable[[], KeySet], *, clock: Clock) -> None:
        super().__init__(f"keys of {name}", fetch, clock=clock)

    @property
    def keys(self) -> KeySet:
        """The keys in force."""
        return self.value or KeySet()


class FollowedKeys:
    """The keys of several issuers by the names of their trusts, followed together."""

    def __init__(self, sources: Iterable[tuple[str, KeySource]]) -> None:
        self._sources = tuple(sources)

    @property
    def notice(self) -> str:
        """What is wrong with the keys of any issuer; empty if nothing is."""
        problems = [(name, source.problem) for name, source in self._sources]
        return "; ".join(f"keys of {name}: {problem}" for name, problem in problems if problem)

    @property
    def are_unknown(self) -> bool:
        """Tell whether no issuer's keys are known, so that no token proves anything now."""
        return not any(len(source.keys) for _, source in self._sources)

    def start(self) -> None:
        """Begin to follow the keys of every issuer."""
        for _, source in self._sources:
            source.start()

    def close(self) -> None:
        """End following them."""
        for _, source in self._sources:
            source.close()


class _Discovery(msgspec.Struct, frozen=True):
    """What is read of an OpenID provider's configuration (OpenID Connect Discovery §3)."""

    issuer: str
    jwks_uri: str


def at(url: str, outbound: Outbound) -> Callable[[], KeySet]:
    """Return what fetches the keys at an address."""
    return lambda: _parsed(outbound.get(url))


def discovered(issuer: str, outbound: Outbound) -> Callable[[], KeySet]:
    """Return what asks the issuer where its keys are, and fetches them from there (OpenID Connect Discovery §4.3)."""

    def fetch() -> KeySet:
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        found = strict_json.decode(outbound.get(url), type=_Discovery, max_bytes=MAX_BYTES)
        if found.issuer != issuer:
            raise InvalidDocument("the issuer calls itself by another name")
        if not _same_host(found.jwks_uri, issuer):
            raise InvalidDocument("the issuer's keys are on another host; set jwks_uri if that is meant")
        return _parsed(outbound.get(found.jwks_uri))

    return fetch


def _same_host(unverified_url: str, issuer: str) -> bool:
    try:
        found, own = httpx2.URL(unverified_url), httpx2.URL(issuer)
    except httpx2.InvalidURL:
        return False
    return (found.scheme, found.host, found.port) == (own.scheme, own.host, own.port)


def _parsed(document: bytes) -> KeySet:
    keys = KeySet.parse(document, algorithms=ALGORITHMS)
    if not len(keys):
        raise InvalidDocument("it has no key for signatures")
    return keys
