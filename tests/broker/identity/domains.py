"""Trust domains with bundles in files, and JWT-SVIDs written by hand, so that hostile ones can be written too."""

import json
import os
from pathlib import Path
from typing import Any

from jwt import PyJWK
from jwt.algorithms import get_default_algorithms

from broker.identity import BundleFile, JwtSvids, TrustDomain
from scopes.keys import SigningKey
from tests.broker.clocks import StillClock
from tests.scopes.tokens import compact, new_key, private_jwk

ISSUER = "https://broker.test"
BOT = "spiffe://prod/ns/support/sa/bot"

PROD, PROD_NEXT, STAGE, STRANGER = new_key(), new_key(), new_key(), new_key()
"""Keys: of the domain `prod`, of its next bundle, of the domain `stage`, of nobody."""


class Authority:
    """A key that signs under an algorithm which SPIFFE allows and our own tokens do not have."""

    def __init__(self, alg: str) -> None:
        jwk = private_jwk(alg)
        self.alg, self.kid = alg, alg
        self.public_jwk = {name: jwk[name] for name in ("kty", "crv", "x", "y")} | {"kid": self.kid, "alg": alg}
        self._algorithm, self._key = get_default_algorithms()[alg], PyJWK(jwk, alg).key

    def sign(self, data: bytes) -> bytes:
        return bytes(self._algorithm.sign(data, self._key))


def authority(alg: str) -> Any:
    return new_key(alg) if alg in ("ES256", "RS256") else Authority(alg)


def bundle(*keys: SigningKey, **changes: Any) -> dict[str, Any]:
    """Write a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4); `changes` are to every key, `None` takes a member out."""
    jwks = [{**key.public_jwk, "use": "jwt-svid", **changes} for key in keys]
    return {"spiffe_sequence": 1, "keys": [{name: value for name, value in jwk.items() if value is not None} for jwk in jwks]}


class Domains:
    """The domains `prod` and `stage`, and whoever authenticates their workloads."""

    def __init__(self, folder: Path) -> None:
        self.clock = StillClock()
        self.folder = folder
        self._writes = 0
        self.write("prod", bundle(PROD))
        self.write("stage", bundle(STAGE))
        domains = [TrustDomain(name, BundleFile(self.path(name))) for name in ("prod", "stage")]
        self.identity = JwtSvids(domains, audience=ISSUER, clock=self.clock)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def write(self, name: str, document: object) -> None:
        """Replace a bundle; every file is newer than the one before, however coarse the clock of files is."""
        path = self.path(name)
        path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        self._writes += 1
        os.utime(path, (self._writes, self._writes))

    def claims(self, **changes: object) -> dict[str, object]:
        """Return the claims of a good SVID, changed; `None` takes a claim out."""
        now = self.clock.seconds
        claims = {"sub": BOT, "aud": [ISSUER], "iat": now, "exp": now + 300, **changes}
        return {name: value for name, value in claims.items() if value is not None}

    def svid(self, key: SigningKey = PROD, *, header: dict[str, object] | None = None, **changes: object) -> str:
        return compact({"alg": key.alg, "typ": "JWT", "kid": key.kid, **(header or {})}, self.claims(**changes), key)
