"""What is fetched in the background again and again: kept through failures, up to an age at which it counts as absent."""

import logging
import random
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from broker import metrics
from broker.errors import BrokerError
from scopes.background import Background
from scopes.clock import Clock, Instant
from scopes.errors import ScopesError

INTERVAL = 300.0
"""The seconds between two fetches, where what was fetched says nothing else."""

MIN_INTERVAL = 10.0
"""The least seconds between two fetches, whoever asks: a server that is asked for unknown keys must not pass that on."""

MAX_INTERVAL = 3600.0
"""The most seconds between two fetches: what was taken back at the source is believed no longer than this when all is well."""

HARD_AGE = 24 * 3600.0
"""The seconds after which what could not be fetched again counts as absent."""

_FIRST_PAUSE = 1.0
_DOUBLINGS = 10
_LONGEST_PAUSE = 60.0

# Workers that were started together, or failed together, do not fetch together for ever.
_SPREAD = 0.1

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


class _Fetched(NamedTuple, Generic[T]):
    value: T
    at: Instant


class Refreshed(Generic[T]):
    """Holds the newest value that could be fetched. Reading it never waits."""

    def __init__(
        self,
        name: str,
        fetch: Callable[[], T],
        *,
        clock: Clock,
        interval: Callable[[T], float | None] = lambda _: None,
        min_interval: float = MIN_INTERVAL,
        hard_age: float = HARD_AGE,
    ) -> None:
        """Fetch by `fetch`, which raises a `BrokerError` or `ScopesError` that says why it failed and holds no secret.

        `name` stands in logs and metrics, as in `bundle of prod.example.com`. `min_interval` and `hard_age` are in seconds.

        `interval` reads from a value when its source wants to be asked again (seconds); it is kept within sane bounds.
        """
        self._name = name
        self._fetch = fetch
        self._clock = clock
        self._interval = interval
        self._min_interval = min_interval
        self._hard_age = hard_age
        self._fetched: _Fetched[T] | None = None
        self._attempted: Instant | None = None
        self._pause = 0.0
        self._failed = 0
        self._problem = ""
        self._background = Background(name, self.refresh)

    def start(self) -> None:
        """Begin to fetch in the background."""
        self._background.start()

    def close(self) -> None:
        """End the background thread."""
        self._background.stop()
        self._background.join()

    def wake(self) -> None:
        """Ask for a fetch before its time; it comes when the last one is long enough ago."""
        self._background.wake()

    @property
    def value(self) -> T | None:
        """The newest value; `None` before the first fetch, and when it has reached its hard age."""
        fetched = self._fetched
        if fetched is None or self._clock.now().since(fetched.at) >= self._hard_age * 1000:
            return None
        return fetched.value

    @property
    def age(self) -> float | None:
        """The seconds since the last fetch that succeeded, `None` if none has."""
        fetched = self._fetched
        return None if fetched is None else self._clock.now().since(fetched.at) / 1000

    @property
    def problem(self) -> str:
        """What is wrong now; empty if the last fetch succeeded."""
        if self._fetched is None:
            return self._problem or "not fetched yet"
        return self._problem

    def refresh(self) -> float:
        """Fetch, if the last attempt is long enough ago; return the seconds until the next one is wanted."""
        now = self._clock.now()
        if self._attempted is not None:
            passed = now.since(self._attempted) / 1000
            if passed < self._pause:
                return self._pause - passed
        self._attempted = now
        # Whatever happens now, also what nobody foresaw: the next attempt comes after this pause.
        self._failed, self._pause = self._failed + 1, self._after_failure()
        try:
            value = self._fetch()
        except (BrokerError, ScopesError) as error:
            return self._note(str(error))
        except Exception as error:  # whatever it was: it is seen as a problem of this source, and raised
            self._note(type(error).__name__)
            raise
        return self._keep(value, now)

    def _keep(self, value: T, now: Instant) -> float:
        # The age counts from before the fetch: what was true while it was answered is not newer than that.
        self._fetched = _Fetched(value, now)
        self._failed, self._problem, self._pause = 0, "", self._min_interval
        wanted = self._interval(value)
        return min(max(INTERVAL if wanted is None else wanted, self._min_interval), MAX_INTERVAL) * _spread()

    def _note(self, problem: str) -> float:
        metrics.IDENTITY_FAILURES.labels(self._name).inc()
        self._problem = problem
        _LOG.warning("%s: %s", self._name, problem)
        return self._pause

    def _after_failure(self) -> float:
        least = _FIRST_PAUSE if self._fetched is None else self._min_interval
        doubled = _FIRST_PAUSE * (1 << min(self._failed, _DOUBLINGS))
        return min(max(doubled, least), _LONGEST_PAUSE) * (2 - _spread())


def _spread() -> float:
    return random.uniform(1.0 - _SPREAD, 1.0)  # noqa: S311 - not a secret
