"""Tells the issuer how far this process has come: up to which place of the log `verify` refuses what was ended.

It has a thread of its own, for a slow answer must not delay the picture. Nothing that `verify` decides depends on it.
"""

import contextlib
import functools
import logging
import os
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import httpx2

from scopes.background import Background
from scopes.clock import Clock, Instant
from scopes.constraints import Constraint
from scopes.issuer_keys import told
from scopes.revocations import Picture

SIGN_OF_LIFE = 2.0
"""The seconds between two acknowledgements while nothing happens."""

# An event is acknowledged within a fifth of a second, each process at a moment of its own: to enforce it comes first, and a
# hundred that tell so at once would be in the way of those who have not heard yet. Of a stream of events, the newest place is
# acknowledged twice a second.
SPREAD = 0.2
_LEAST_PAUSE = 0.5
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 8.0
_MOST_DOUBLINGS = 4
_TIMEOUT = 2.0
_PARTING = 1.0
_MOST_WAITED = 10_000
_DISTRIBUTION = "agent-broker"
_LOG = logging.getLogger(__name__)


class _Process:
    """What a forked child must not have from its parent: the name it is known by, its connection, and its failures."""

    def __init__(self, client: httpx2.Client) -> None:
        self.pid = os.getpid()
        self.id = secrets.token_urlsafe(16)
        self.client = client
        self.last: dict[str, Any] | None = None
        self.tried: Instant | None = None
        self.pause = 0.0
        self.failures = 0


class Acknowledgements:
    """Acknowledges the pictures of one audience: at most one at a time, and always the newest."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        client: Callable[[], httpx2.Client],
        headers: Callable[[], Mapping[str, str]],
        picture: Callable[[], Picture],
        enforces: Sequence[Constraint],
        clock: Clock,
    ) -> None:
        """Speak through a `client` of this process alone; `headers` say who it is, and are asked for each time.

        `enforces` are the constraints that it holds tokens to.
        """
        self._issuer = issuer
        self._audience = audience
        self._client = client
        self._headers = headers
        self._picture = picture
        self._enforces = list(enforces)
        self._clock = clock
        self._process: _Process | None = None
        self._moved = False
        self._moved_at = self._first_moved_at = clock.now()
        self._spread = 0.0
        self._background = Background("acknowledgements", self.acknowledge)

    def start(self) -> None:
        """Begin to acknowledge in the background."""
        self._background.start()

    def wake(self) -> None:
        """Ask for an acknowledgement soon, because the picture holds events that it did not hold before."""
        self._moved_at = self._clock.now()
        if not self._moved:
            self._spread = random.uniform(0.0, SPREAD)  # noqa: S311 - not a secret
            self._first_moved_at = self._moved_at
        self._moved = True
        self._background.wake()

    def close(self) -> None:
        """End the background thread, and tell the issuer that this process verifies nothing any more, if it can be told."""
        self._background.stop()
        self._background.join()
        process, self._process = self._process, None
        # A forked child that closes what it inherited was never heard of, and its parent goes on.
        if process is None or process.pid != os.getpid():
            return
        with contextlib.suppress(Exception), contextlib.closing(process.client):
            if process.last is not None and not process.failures:
                self._post(process, {**process.last, "leaving": True}, timeout=_PARTING)

    @property
    def was_tried(self) -> bool:
        """Tell whether this process was heard, or could not be, since it began."""
        process = self._process
        return process is not None and process.pid == os.getpid() and (process.last is not None or process.failures > 0)

    def acknowledge(self) -> float:
        """Acknowledge the picture that `verify` uses now; return the seconds until the next time."""
        process, now = self._own_process(), self._clock.now()
        wait = self._wait(process, now)
        if wait > 0:
            return wait
        moved, self._moved = self._moved, False
        picture = self._picture()
        if picture.needs_snapshot or picture.disputed:
            return SIGN_OF_LIFE
        process.tried = now
        try:
            self._tell(process, picture, waited=now.since(self._moved_at) if moved else 0)
        except Exception as error:  # whatever it was: it is worth a line in the log and never more
            return self._delay(process, error)
        process.failures, process.pause = 0, _LEAST_PAUSE if moved else 0.0
        return SIGN_OF_LIFE

    def _wait(self, process: _Process, now: Instant) -> float:
        """Return the seconds for which nothing is to be told yet. Who was never heard has nothing to wait for."""
        if process.tried is None:
            return 0.0
        pause = process.pause - now.since(process.tried) / 1000
        return max(pause, self._spread - now.since(self._first_moved_at) / 1000) if self._moved else pause

    def _own_process(self) -> _Process:
        process = self._process
        if process is None or process.pid != os.getpid():
            process = self._process = _Process(self._client())
        return process

    def _tell(self, process: _Process, picture: Picture, *, waited: int) -> None:
        said = {
            "verifier": process.id,
            "aud": self._audience,
            "epoch": picture.epoch,
            "seq": picture.seq,
            "id": picture.id,
            "as_of": picture.as_of,
            "version": _version(),
            "enforces": self._enforces,
            "waited": min(waited, _MOST_WAITED),
        }
        self._post(process, said, timeout=_TIMEOUT)
        process.last = said

    def _post(self, process: _Process, said: dict[str, Any], *, timeout: float) -> None:
        url = f"{self._issuer}/v1/feed/acknowledgements"
        process.client.post(url, json=said, headers=self._headers(), timeout=timeout).raise_for_status()

    def _delay(self, process: _Process, error: Exception) -> float:
        process.failures += 1
        # One that fails alone is repeated without a word: a replica that leaves takes its connections with it.
        if process.failures == 2 and not self._background.is_stopping:
            _LOG.warning("%s does not take the acknowledgements of this verifier: %s", self._issuer, told(error))
        longest = min(_FIRST_DELAY * 2 ** min(process.failures - 1, _MOST_DOUBLINGS), _LONGEST_DELAY)
        process.pause = random.uniform(longest / 2, longest)  # noqa: S311 - not a secret
        return process.pause


@functools.cache
def _version() -> str:
    """Return the version of this library, as it was installed."""
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
