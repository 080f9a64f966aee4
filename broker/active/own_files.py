"""The files of this replica: watched while it runs, and read when somebody has changed them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from broker import policy as policies
from broker.active.sources import Objections, Validated, check_suits
from broker.errors import ConfigurationError
from broker.registry import files

Look = frozenset[tuple[str, int, int, int]]
"""What shows that files changed: of each its path, size, time of change and place on disk."""


class Folders(NamedTuple):
    """The two folders in which an operator keeps the files."""

    registry: Path
    policies: Path

    def look(self) -> Look:
        """Look at the files without reading them."""
        return frozenset(_looks([*self.registry.glob("*.toml"), *self.policies.glob("*.cedar")]))

    def read(self, objections: Objections) -> Validated:
        """Read and validate the files as a whole; raise `ConfigurationError` with every problem found."""
        registry = files.load(self.registry)
        check_suits(registry, objections, where=str(self.registry))
        return Validated(registry, policies.load(self.policies, registry))


class Found(NamedTuple):
    """What the files say: content that can be used, or what is wrong with them."""

    content: Validated | None
    problems: tuple[str, ...]


class OwnFiles:
    """What the files said when they could last be used, in `content`, and the `problems` that they have now."""

    def __init__(self, folders: Folders, objections: Objections) -> None:
        """Read the files as they are at the start; `objections` are those of the settings."""
        self._folders = folders
        self.objections = objections
        self._dealt_with = self._seen = folders.look()
        self.content, self.problems = self._found()

    @property
    def digest(self) -> str:
        """The digest of what they said when they could last be used; empty where they never could."""
        return self.content.digest if self.content is not None else ""

    @property
    def change(self) -> str:
        """Name what was last looked at: the same for all workers that share the folders."""
        return hashlib.sha256(repr(sorted(self._seen)).encode()).hexdigest()

    def has_changed(self) -> bool:
        """Look once; tell whether the files are others than those that were dealt with, and the same as at the last look.

        A file that is being written changes from look to look, so nobody reads half of it.
        """
        last, self._seen = self._seen, self._folders.look()
        return self._seen != self._dealt_with and self._seen == last

    def read(self) -> Found | None:
        """Read the files that were last looked at; `None` where they changed meanwhile."""
        found = self._found()
        if self._folders.look() != self._seen:
            return None
        self.problems = found.problems
        return found

    def deal_with(self, found: Found) -> None:
        """Note that there is nothing more to do about what was found."""
        self.content = found.content or self.content
        self._dealt_with = self._seen

    def _found(self) -> Found:
        try:
            return Found(self._folders.read(self.objections), ())
        except ConfigurationError as error:
            return Found(None, tuple(error.problems))


def _looks(paths: list[Path]) -> Iterator[tuple[str, int, int, int]]:
    for path in paths:
        try:
            found = path.stat()
        except FileNotFoundError:
            # It went away since the folder was listed, and the next look does not list it.
            continue
        yield str(path), found.st_size, found.st_mtime_ns, found.st_ino
