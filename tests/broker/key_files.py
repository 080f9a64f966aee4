"""The keys of the brokers under test: made once in a run, and the same for all of them."""

import functools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from broker import keys, private_key_file
from broker.identity import development

OPERATORS = ("admin", "watcher", "olga")


def write(folder: Path) -> None:
    """Write all the keys that a broker and its operators have; those that are there stay."""
    has_record = (folder / "keys" / keys.MIRROR).exists()
    for name, content in _made().items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A broker's own are in its record, once it has one.
        if not path.exists() and not (has_record and path.parent.name == "keys"):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)


@functools.cache
def _made() -> Mapping[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys.create(folder / "keys")
        development.create(folder / "keys" / "development")
        for operator in OPERATORS:
            private_key_file.create(folder / f"{operator}.jwk")
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
