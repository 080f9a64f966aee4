"""What was asked to end and is not committed yet: kept on disk beside the keys, so that it is seen, and tried again.

Shared by the workers of a replica; one of them at a time tries an order.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from broker import durable_file
from broker.feed.event import NewEvent
from broker.stuck_work import pause_after


class Order(msgspec.Struct, frozen=True):
    """Events to be committed and the audit record that goes with them; times are milliseconds."""

    id: str
    what: str
    events: tuple[NewEvent, ...]
    operator: str
    record: bytes
    since: int
    problem: str
    tries: int
    next_try: int

    def failed(self, problem: str, *, now: int) -> "Order":
        """Return the order after another try that failed."""
        tries = self.tries + 1
        return msgspec.structs.replace(self, problem=problem, tries=tries, next_try=now + pause_after(tries))


class Outbox:
    """A folder with a file for each order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, order: Order) -> None:
        """Write an order, flushed to disk; raise `OSError` where that cannot be done."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        durable_file.write(self._path(order.id), msgspec.json.encode(order))

    def orders(self) -> list[Order]:
        """Return every order, the oldest first."""
        found = [self._read(path) for path in sorted(self._folder.glob("evt_*"))]
        return [order for order in found if order is not None]

    @contextmanager
    def claimed(self, id: str) -> Iterator[Order | None]:
        """Give the order to one worker at a time; `None` where another has it, or it is done."""
        try:
            file = self._path(id).open("rb")
        except FileNotFoundError:
            yield None
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            # Read after the lock: whoever had it may have written it anew, and this file is then nobody's any more.
            yield self._read(self._path(id)) if _is_same(file.fileno(), self._path(id)) else None

    def done(self, id: str) -> None:
        """Forget an order."""
        self._path(id).unlink(missing_ok=True)

    def _path(self, id: str) -> Path:
        return self._folder / id

    def _read(self, path: Path) -> Order | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Order)
        except FileNotFoundError:
            return None


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
