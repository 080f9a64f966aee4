"""A trust domain's bundle in a file, which is read again when it changes."""

import logging
from pathlib import Path

from broker import metrics
from broker.errors import ConfigurationError
from broker.identity.bundle import Bundle
from broker.identity.trust_domain import BundleState
from scopes.clock import Clock, SystemClock
from scopes.errors import InvalidDocument

_LOG = logging.getLogger(__name__)

Stamp = tuple[int, int, int]
"""What changes with a file: when it was written (ns), its size, and which file of that name it is."""


class BundleFile:
    """Holds the last good bundle. A changed file that cannot be used leaves it in force, and says so."""

    def __init__(self, file: Path, *, clock: Clock | None = None) -> None:
        """Read the bundle; raise `ConfigurationError` if it cannot be used."""
        self._file = file
        self._name = f"bundle in {file.name}"
        self._clock = clock or SystemClock()
        self._stamp = self._look()
        self._written = _written(self._stamp)
        self._problem = ""
        try:
            self._bundle = self._read()
        except (OSError, InvalidDocument) as error:
            raise ConfigurationError([f"{file}: not a usable bundle: {error}"]) from None

    @property
    def bundle(self) -> Bundle:
        """The bundle in force."""
        self._renew()
        return self._bundle

    @property
    def state(self) -> BundleState:
        """The age is how long ago the bundle in force was written."""
        self._renew()
        age = max(self._clock.now().wall / 1000 - self._written, 0.0)
        return BundleState(f"file {self._file}", age, self._problem)

    def start(self) -> None:
        """Do nothing: the file is looked at whenever somebody asks."""

    def wake(self) -> None:
        """Do nothing, for the same reason."""

    def refresh(self) -> None:
        """Do nothing, for the same reason."""

    def close(self) -> None:
        """Do nothing."""

    def _renew(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        try:
            found = self._read()
            found.follow(self._bundle)
        except OSError as error:
            # The file may be as good as ever, so it is tried again at once.
            self._failed(f"cannot be read: {error.strerror}")
            return
        except InvalidDocument as error:
            self._failed(str(error))
        else:
            self._bundle, self._problem, self._written = found, "", _written(stamp)
        self._stamp = stamp

    def _failed(self, problem: str) -> None:
        if problem != self._problem:
            metrics.IDENTITY_FAILURES.labels(self._name).inc()
            _LOG.warning("%s: %s", self._name, problem)
        self._problem = problem

    def _read(self) -> Bundle:
        bundle = Bundle.parse(self._file.read_bytes())
        if not bundle.has_authorities:
            # From an endpoint that would be the domain's own word; a file is empty because somebody is writing it.
            raise InvalidDocument("it has no key with use = jwt-svid or use = x509-svid")
        return bundle

    def _look(self) -> Stamp | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def _written(stamp: Stamp | None) -> float:
    return stamp[0] / 1e9 if stamp is not None else 0.0
