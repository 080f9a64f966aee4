"""Files that a crash leaves whole: as they were, or as they were written."""

import os
import secrets
from pathlib import Path


def write(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace the file, and come back when content and name are on disk; raise `OSError` where that cannot be done.

    Written aside first, under a hidden name of its own: replicas that share the folder can have the same process id, each in
    its container. `mode` is the file's, less what the process's umask takes away.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
