"""The last epoch this broker knew, kept beside its keys, so that a lost store never leads back to an earlier one."""

from pathlib import Path

from broker import durable_file
from broker.errors import ConfigurationError
from scopes import ulid


class EpochFile:
    """One line in one file."""

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
        durable_file.write(self._path, f"{epoch}\n".encode())
