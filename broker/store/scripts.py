"""Lua scripts: read from beside the room that owns them, the clock put before each."""

import hashlib
from importlib.resources import files

CLOCK = files("broker.store").joinpath("clock.lua").read_text()


class Script:
    """One atomic step on Redis. All its keys are in one slot."""

    def __init__(self, package: str, name: str, *, clock: str) -> None:
        """Read `name`.lua of `package` and put the clock's text before it."""
        self.name = name
        self.text = clock + files(package).joinpath(f"{name}.lua").read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
