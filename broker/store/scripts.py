"""Lua scripts: read from beside the room that owns them, the clock put before each."""

import functools
import hashlib
import re
from importlib.resources import files

from broker.store.command import READS

CLOCK = files("broker.store").joinpath("clock.lua").read_text()


# Redis refuses a script that writes once its memory is full, unless the script says that it may go on (Redis 7.0).
_EVEN_WHEN_FULL = "#!lua flags=allow-oom\n"


class Script:
    """One atomic step on Redis. All its keys are in one slot."""

    def __init__(self, package: str, name: str, *, clock: str, even_when_full: bool = False) -> None:
        """Read `name`.lua of `package` and put the clock's text before it."""
        self.name = name
        flags = _EVEN_WHEN_FULL if even_when_full else ""
        self.text = flags + clock + _read(package, name)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        self.writes = _writes(self.text)


@functools.cache
def _read(package: str, name: str) -> str:
    return files(package).joinpath(f"{name}.lua").read_text()


@functools.cache
def _writes(text: str) -> bool:
    """Tell whether a script may write: it does, unless every call in it names a command that only reads."""
    calls, named = re.findall(r"redis\.p?call\b", text), re.findall(r"redis\.p?call\('(\w+)'", text)
    return len(calls) != len(named) or not READS.issuperset(named)
