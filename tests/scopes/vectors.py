"""Reads the cases that stand as data in `tests/vectors/`."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "vectors"


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return document


def as_json(document: object) -> bytes:
    return json.dumps(document).encode()
