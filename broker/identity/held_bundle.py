"""A trust domain's bundle that is read in the background, wherever it comes from."""

from broker.identity.bundle import UNKNOWN, Bundle
from broker.identity.refreshed import Refreshed
from broker.identity.trust_domain import BundleState


class HeldBundle:
    """Holds the newest bundle that could be read; sources say from which place, and how."""

    def __init__(self, place: str, held: Refreshed[Bundle]) -> None:
        self._place = place
        self._held = held

    @property
    def bundle(self) -> Bundle:
        """The bundle in force; `UNKNOWN` before the first reading, and when none has succeeded for too long."""
        return self._held.value or UNKNOWN

    @property
    def state(self) -> BundleState:
        """The age is that of the last reading."""
        return BundleState(self._place, self._held.age, self._held.problem)

    def start(self) -> None:
        """Begin to read in the background."""
        self._held.start()

    def wake(self) -> None:
        """Read soon."""
        self._held.wake()

    def refresh(self) -> None:
        """Read, and wait for it."""
        self._held.refresh()

    def close(self) -> None:
        """End the background thread."""
        self._held.close()
