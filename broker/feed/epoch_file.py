"""The last epoch this broker knew, kept beside its keys, so that a lost store never leads back to an earlier one."""

import os
from pathlib import Path


class EpochFile:
    """One line in one file. Safe against a crash: written aside, flushed to disk, then renamed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        """Return the epoch, or an empty text where none was ever known."""
        try:
            return self._path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""

    def write(self, epoch: str) -> None:
        """Remember an epoch."""
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with aside.open("w", encoding="ascii") as file:
            file.write(epoch + "\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._path)
