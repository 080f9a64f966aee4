"""Private keys as files: made once, readable by their owner only, never overwritten."""

import json
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from broker.errors import ConfigurationError
from scopes import strict_json
from scopes.errors import InvalidDocument
from scopes.keys import SigningKey

_MAX_BYTES = 16 * 1024


def create(path: Path) -> SigningKey:
    """Make a P-256 key in a new file, unless there is one; return the key that is there."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, json.dumps(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)))
    return read(path)


def read(path: Path) -> SigningKey:
    """Read a private key; raise `ConfigurationError` if it is missing, unusable, or readable by others."""
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError([f"{path}: others can read this private key; run chmod 600 on it"])
        return SigningKey(strict_json.decode(path.read_bytes(), type=dict[str, Any], max_bytes=_MAX_BYTES))
    except (OSError, InvalidDocument):
        raise ConfigurationError([f"{path}: not there or not a private key; `broker init` makes one"]) from None


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
