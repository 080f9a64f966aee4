"""A thread that repeats one step, survives the step's failures, is made anew after a fork, and ends when told to."""

import logging
import threading
from collections.abc import Callable

from scopes.forks import renew_in_child

_LOG = logging.getLogger(__name__)
_AFTER_FAILURE = 1.0
_JOIN_TIMEOUT = 5.0


class Background:
    """Repeats `step` in a daemon thread. The step returns the seconds to wait before it is wanted again."""

    def __init__(self, name: str, step: Callable[[], float]) -> None:
        self._name = name
        self._step = step
        self._stopping = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        renew_in_child(self)

    def start(self) -> None:
        """Start the thread, with nothing that another process's thread may have left locked."""
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Ask for the next step now."""
        self._wake.set()

    @property
    def is_stopping(self) -> bool:
        """Tell a long step that it should return."""
        return self._stopping

    def stop(self) -> None:
        """Ask the thread to end, without waiting for it."""
        self._stopping = True
        self._wake.set()

    def join(self) -> None:
        """Wait a few seconds for the thread to end; a thread cannot wait for itself, so from inside this returns at once."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_TIMEOUT)

    def renew(self) -> None:
        """Start again in a forked child, if this was running in the parent."""
        if self._thread is not None and not self._stopping:
            self.start()

    def _repeat(self) -> None:
        while not self._stopping:
            self._wake.wait(self._attempt())
            self._wake.clear()

    def _attempt(self) -> float:
        try:
            return self._step()
        except Exception:  # whatever it was: without this thread a verifier would know nothing new, ever again
            _LOG.exception("%s failed and goes on", self._name)
            return _AFTER_FAILURE
