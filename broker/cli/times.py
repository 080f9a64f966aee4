"""Times as people read them: by their own clock, and how far away."""

import datetime
import re

from scopes.clock import SystemClock

_SPAN = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def now() -> int:
    """Return this second."""
    return SystemClock().now().wall // 1000


def moment(seconds: int, *, at: int | None = None) -> str:
    """Write a time (seconds since the Unix epoch), seen from the second `at`: `14:03:22, in 4m`."""
    seen_from = now() if at is None else at
    return f"{clock(seconds, at=seen_from)}, {distance(seconds - seen_from)}"


def clock(seconds: int, *, at: int | None = None) -> str:
    """Write a time in the local time zone, with its date where that is not today's."""
    local, today = _local(seconds), _local(now() if at is None else at).date()
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M")


def distance(seconds: int) -> str:
    """Write how far away something is: `in 4m`, `4m ago`, `now`."""
    if seconds == 0:
        return "now"
    size, unit = next(unit for unit in _UNITS if abs(seconds) >= unit[0])
    away = f"{abs(seconds) // size}{unit}"
    return f"in {away}" if seconds > 0 else f"{away} ago"


def span(text: str) -> int:
    """Read a span of time like `90s`, `30m`, `24h` or `7d` and return its seconds; raise `ValueError` for anything else."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!a} is not a span of time like 90s, 30m, 24h or 7d")
    return int(match[1]) * next(size for size, unit in _UNITS if unit == match[2])


def _local(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).astimezone()
