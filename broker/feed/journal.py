"""The journal: standing acts kept beside the keys, so that what an operator stopped stays so when the store is lost.

Shared by the workers of a replica. What is added is on disk before anything is answered, and an act once known is never
replaced by an earlier one.
"""

import fcntl
from collections.abc import Iterable
from pathlib import Path

import msgspec

from broker import durable_file
from broker.errors import ConfigurationError
from broker.feed import acts
from broker.feed.acts import Act


class Memory(msgspec.Struct, frozen=True):
    """What a journal holds: every standing act known, and the last epoch of which it knows them."""

    epoch: str = ""
    acts: tuple[Act, ...] = ()


class Journal:
    """One file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Memory:
        """Return what is known, nothing where there is no file; raise `ConfigurationError` for a file that is broken."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Memory)
        except FileNotFoundError:
            return Memory()
        except msgspec.MsgspecError:
            what = "copy it from another replica, or remove it: everything then starts paused if the store is lost as well"
            raise ConfigurationError([f"{self._path}: is no journal; {what}"]) from None

    def add(self, epoch: str, news: Iterable[Act]) -> None:
        """Add acts that were heard of in an epoch, flushed to disk; nothing is written where all of it is known."""
        with self._path.with_name(f"{self._path.name}.lock").open("w") as lock:
            # Across the workers of the replica: each reads what the others wrote before it writes.
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.read()
            holding = acts.merged(before.acts, news)
            after = Memory(max(before.epoch, epoch), tuple(holding[target] for target in sorted(holding)))
            if after != before:
                durable_file.write(self._path, msgspec.json.encode(after))
