"""A clock that tests move, and waiting for what another thread does."""

import threading
from collections.abc import Callable

from scopes.clock import Instant

START = 1_795_318_537_000
"""The moment at which tests begin, in milliseconds."""


class MovableClock:
    """Both clocks of a machine, standing still until they are moved."""

    def __init__(self, wall: int = START, boot: int = 50_000) -> None:
        self._instant = Instant(wall, boot)

    def now(self) -> Instant:
        return self._instant

    @property
    def seconds(self) -> int:
        return self._instant.wall // 1000

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self._instant = Instant(self._instant.wall + ms, self._instant.boot + ms)

    def set_wall(self, by: int) -> None:
        """Set the wall clock forward or back, as an operator or a time server does."""
        self._instant = self._instant._replace(wall=self._instant.wall + by)

    def set_boot(self, by: int) -> None:
        """Move the boot clock alone."""
        self._instant = self._instant._replace(boot=self._instant.boot + by)


def eventually(condition: Callable[[], bool], *, within: float = 30.0) -> None:
    """Wait until another thread has made the condition true; fail if it does not, also on a machine that is busy."""
    for _ in range(int(within / 0.005)):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not happen in time")
