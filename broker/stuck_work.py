"""House-keeping that failed: each piece apart, with its reason and the time of its next try, so that none stops the others."""

import logging

import msgspec

from scopes.clock import Clock

LONGEST_PAUSE = 60_000
"""The longest time between two tries, in milliseconds."""

_DOUBLINGS = 10
_LOG = logging.getLogger(__name__)


def pause_after(tries: int) -> int:
    """Return the milliseconds until the next try after so many that failed: each pause is twice the last one."""
    return min(500 << min(tries, _DOUBLINGS), LONGEST_PAUSE)


class Piece(msgspec.Struct, frozen=True):
    """One piece of work that could not be done; times are milliseconds."""

    id: str
    what: str
    since: int
    problem: str
    tries: int
    next_try: int


class StuckWork:
    """What one worker could not do yet. Kept in memory: whoever takes over tries the work itself, and finds the same."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pieces: dict[str, Piece] = {}

    def pieces(self) -> list[Piece]:
        """Return what is stuck, the oldest first."""
        return sorted(self._pieces.values(), key=lambda piece: piece.since)

    def may_try(self, id: str) -> bool:
        """Tell whether a piece of work is not stuck, or its next try is due."""
        piece = self._pieces.get(id)
        return piece is None or piece.next_try <= self._clock.now().wall

    def failed(self, id: str, what: str, error: Exception) -> None:
        """Note that a piece of work failed once more."""
        now, known = self._clock.now().wall, self._pieces.get(id)
        since, tries = (known.since, known.tries + 1) if known else (now, 1)
        # Only the kind of an unexpected error, for its text can quote anything.
        self._pieces[id] = Piece(id, what, since, type(error).__name__, tries, now + pause_after(tries))
        _LOG.error("%s (%s) is stuck and will be tried again: %s", what, id, type(error).__name__)

    def done(self, id: str) -> None:
        """Note that a piece of work is done, by whomever."""
        self._pieces.pop(id, None)

    def ids(self, what: str) -> list[str]:
        """Return the ids of the stuck pieces of one kind."""
        return [piece.id for piece in self._pieces.values() if piece.what == what]
