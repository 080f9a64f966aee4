"""What the store and the key folder keep of the configuration in force: a signed text, and where it stands (`DESIGN.md` 3.17).

Nothing of it is believed here. Whoever works from it verifies the text first, and that it says the rest.
"""

from pathlib import Path
from typing import Protocol

import msgspec

from broker import durable_file


class Activated(msgspec.Struct, frozen=True):
    """One activation. `origin` is the epoch in which it was wanted; empty for one that a worker began with by itself.

    `epoch` and `seq` are where it came into force in the present log; `text` is the signed bundle.
    """

    id: str
    origin: str
    digest: str
    text: str
    epoch: str = ""
    seq: int = 0

    @property
    def order(self) -> tuple[str, str]:
        """By this, the greater of two is the later: each id is made above the one before it."""
        return self.origin, self.id


class Configurations(Protocol):
    """What a worker knows of configurations, apart from the store."""

    @property
    def latest(self) -> Activated | None:
        """The latest one that was verified."""

    @property
    def in_force(self) -> str:
        """The id of the one that this worker decides by; empty for none."""

    def first(self) -> Activated | None:
        """Return what is put into force where there never was anything; `None` where this worker has nothing fit for it."""

    def heard(self, activated: Activated | None) -> None:
        """Hear which one is in force. Called by the thread that follows, so it comes back soon."""


def latest_of(*known: Activated | None) -> Activated | None:
    """Return the latest of those that there are."""
    return max((activated for activated in known if activated is not None), key=lambda each: each.order, default=None)


class Mirror:
    """The configuration in force, in a file beside the keys: it outlives the store."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Activated | None:
        """Return what is kept, nothing where there is no file or none that can be read: it is verified anyway."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Activated)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def write(self, activated: Activated) -> None:
        """Keep it, flushed to disk, unless a later one is kept; raise `OSError`."""
        if latest_of(activated, self.read()) == activated:
            durable_file.write(self._path, msgspec.json.encode(activated))
