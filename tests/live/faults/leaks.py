"""Whether anything secret stands where somebody might read it (`DESIGN.md` I7)."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_LONG_WORD = re.compile(r"[A-Za-z0-9_-]{40,}")


def found(secrets: Iterable[str], logs: Path, texts: Iterable[str]) -> Iterator[str]:
    """Name each log, and the audit, in which a claim set or a signature of any of these tokens or assertions stands."""
    parts = {part for secret in secrets for part in secret.split(".")[1:]}
    for path in sorted(logs.iterdir()):
        if parts.intersection(_LONG_WORD.findall(path.read_text(errors="replace"))):
            yield path.name
    if any(parts.intersection(_LONG_WORD.findall(text)) for text in texts):
        yield "the audit"
