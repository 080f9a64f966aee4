"""The last epoch this broker knew, kept beside its keys, so that a lost store never leads back to an earlier one."""

import os
import secrets
from pathlib import Path

from broker import ulid
from broker.errors import ConfigurationError


class EpochFile:
    """One line in one file. Safe against a crash: written aside, flushed to disk, then renamed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        """Return the epoch, or an empty text where none was ever known; raise `ConfigurationError` for anything else."""
        try:
            epoch = self._path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return ""
        if not ulid.is_id(epoch, ""):
            raise ConfigurationError([f"{self._path}: holds no epoch; restore it, or copy it from another replica"])
        return epoch

    def write(self, epoch: str) -> None:
        """Remember an epoch, unless a higher one is known: workers share the file, and one of them may lag."""
        if epoch <= self.read():
            return
        # A name of its own, for replicas that share the folder can have the same process id, each in its container.
        aside = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        with aside.open("w", encoding="ascii") as file:
            file.write(epoch + "\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._path)
