"""A clock that stands still until the test moves it."""

import datetime

from scopes.clock import Instant


class StillClock:
    """Shows a moment in UTC."""

    def __init__(self, text: str = "2027-01-01T12:00:00") -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self._wall = int(datetime.datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)

    def advance(self, milliseconds: int) -> None:
        self._wall += milliseconds

    @property
    def seconds(self) -> int:
        return self._wall // 1000

    def now(self) -> Instant:
        return Instant(self._wall, self._wall)
