"""The only place that asks what time it is."""

import time
from typing import NamedTuple, Protocol


class Instant(NamedTuple):
    """One moment on two clocks, in milliseconds.

    `wall` counts from the Unix epoch and may be set forward or back; `boot` never goes back and counts on while the
    machine sleeps, which a monotonic clock does not on Linux.
    """

    wall: int
    boot: int

    def since(self, earlier: "Instant") -> int:
        """Return the milliseconds passed since `earlier`: the greater of what both clocks say, never below zero."""
        return max(self.wall - earlier.wall, self.boot - earlier.boot, 0)


class Clock(Protocol):
    """Where the time comes from; tests give one that they move."""

    def now(self) -> Instant:
        """Return this moment."""
        ...


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> Instant:
        """Return this moment."""
        return Instant(time.time_ns() // 1_000_000, time.clock_gettime_ns(_BOOT_CLOCK) // 1_000_000)
