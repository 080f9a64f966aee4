"""A trust domain for a first run, whose keys lie in a folder: for development only, and refused anywhere else.

Whoever can read the folder can be any workload of the domain. The broker takes it only while it listens on loopback.
"""

import json
from pathlib import Path

import msgspec

from broker import private_key_file
from broker.errors import ConfigurationError
from broker.spiffe_id import trust_domain
from scopes import jose
from scopes.clock import Clock

DEVELOPMENT_DOMAIN = "development.test"
LIFETIME = 3600
"""The seconds a development SVID lives, unless asked otherwise."""

_AUTHORITY = "authority.jwk"
BUNDLE = "bundle.json"


def create(folder: Path) -> Path:
    """Make the domain's authority unless it is there, and return the path of its bundle."""
    bundle = folder / BUNDLE
    authority = private_key_file.create(folder / _AUTHORITY)
    if not bundle.exists():
        public = {**authority.public_jwk, "use": "jwt-svid"}
        bundle.write_text(json.dumps({"keys": [public], "spiffe_sequence": 1}), encoding="utf-8")
    return bundle


def sign_svid(folder: Path, workload: str, *, audience: str, clock: Clock, lifetime: int = LIFETIME) -> str:
    """Make a JWT-SVID of the development domain; raise `ConfigurationError` for another domain or without its keys."""
    if trust_domain(workload) != DEVELOPMENT_DOMAIN:
        raise ConfigurationError([f"{workload!a} is not a workload of spiffe://{DEVELOPMENT_DOMAIN}/"])
    key = private_key_file.read(folder / _AUTHORITY)
    now = clock.now().wall // 1000
    claims = {"sub": workload, "aud": [audience], "iat": now, "exp": now + lifetime}
    return jose.write(msgspec.json.encode(claims), type="JWT", key=key)
