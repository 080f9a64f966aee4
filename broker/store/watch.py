"""Asks every second what the servers are, for what held at the start can change: memory, role, replicas, eviction."""

import redis

from broker.errors import ConfigurationError, Unavailable
from broker.store import masters, preconditions
from scopes.background import Background
from scopes.clock import Clock, Instant

EVERY = 1.0
"""The seconds between two looks."""

UNKNOWN_AFTER = 5_000
"""The milliseconds after which an old answer is none: unknown is not good."""


class Watch:
    """Says what keeps this worker from issuing. Taking away needs nothing of it, and goes on."""

    def __init__(self, url: str | None, *, clock: Clock, replicas_required: int = 0) -> None:
        """Watch what `url` names; `None` is the embedded store, of which there is nothing to say."""
        self._url = url
        self._clock = clock
        self._replicas_required = replicas_required
        self._clients: list[redis.Redis] = []
        self._problems = ["the store has not been looked at yet"]
        self._answered: Instant | None = None
        self._background = Background("store-watch", self.step)

    def start(self) -> None:
        """Begin to look, in the background."""
        if self._url is not None:
            self._background.start()

    def close(self) -> None:
        """End the background thread and its connections."""
        self._background.stop()
        self._background.join()
        self._forget_clients()

    def problem(self) -> str:
        """Name what is wrong now; empty where nothing is."""
        if self._url is None:
            return ""
        if self._answered is not None and self._clock.now().since(self._answered) > UNKNOWN_AFTER:
            return "the store has not said for seconds how it is"
        return "; ".join(self._problems)

    def check(self) -> None:
        """Raise `Unavailable` while there is a problem. Its words are for operators, and callers may be strangers."""
        if self.problem():
            raise Unavailable("nothing is issued while the store has a problem; /readyz names it", retry_after=1)

    def step(self) -> float:
        """Look once; return the seconds until the next look."""
        try:
            self._look()
        except (redis.exceptions.RedisError, OSError, ConfigurationError):
            # What was known stays so until it is too old.
            self._forget_clients()
        return EVERY

    def _look(self) -> None:
        assert self._url is not None
        if not self._clients:
            self._clients = masters.clients(self._url)
        told = [preconditions.told_by(client) for client in self._clients]
        required = self._replicas_required
        self._problems = [
            problem
            for info in told
            for problem in (*preconditions.unfit(info), *preconditions.short_of(info, replicas_required=required))
        ]
        self._answered = self._clock.now()
        if self._problems:
            # There may be another master by now.
            self._forget_clients()

    def _forget_clients(self) -> None:
        masters.close(self._clients)
        self._clients = []
