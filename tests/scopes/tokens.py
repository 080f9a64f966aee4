"""Keys, and tokens written by hand: nothing of the code under test shapes their bytes, so hostile ones can be written too."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from scopes.keys import SigningKey

ISSUER = "http://broker.test"
AUDIENCE = "https://crm.example.com"
RESOURCE = "crm:ticket/4711"
EPOCH = "01JE0000000000000000000001"
POSITION = 1000
"""Where in the log the decisions behind the tokens stood."""


def private_jwk(alg: str) -> dict[str, Any]:
    """Make a private key for the algorithm."""
    if alg.startswith("ES"):
        curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[alg]()
        return ECAlgorithm.to_jwk(ec.generate_private_key(curve), as_dict=True)
    if alg == "EdDSA":
        return OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True)
    return RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048), as_dict=True)


def new_key(alg: str = "ES256") -> SigningKey:
    return SigningKey(private_jwk(alg))


def key_set(*keys: SigningKey) -> dict[str, Any]:
    return {"keys": [key.public_jwk for key in keys]}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(header: object, payload: object, key: SigningKey) -> str:
    """Sign whatever is given: bytes as they are, anything else as JSON."""
    parts = [
        part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode() for part in (header, payload)
    ]
    signing_input = ".".join(b64(part) for part in parts)
    return f"{signing_input}.{b64(key.sign(signing_input.encode()))}"


def header_of(key: SigningKey, **changes: object) -> dict[str, object]:
    return {"alg": key.alg, "typ": "at+jwt", "kid": key.kid} | changes


def members(*, now: int, issuer: str = ISSUER, lease: dict[str, object] | None = None, **changes: object) -> dict[str, Any]:
    """Return the claims of a good token of `now` (seconds), changed; `lease` changes members of the lease."""
    scope = f"{RESOURCE}#read[description,subject]"
    good: dict[str, object] = {
        "iss": issuer,
        "sub": "spiffe://prod.example.com/ns/support/sa/bot",
        "client_id": "support-bot",
        "aud": AUDIENCE,
        "iat": now,
        "nbf": now,
        "exp": now + 300,
        "jti": "lse_01",
        "txn": "tsk_01",
        "scope": scope,
        "authorization_details": [detail(scope)],
    }
    return good | changes | {"lease": lease_members() | (lease or {})}


def lease_members() -> dict[str, object]:
    return {"epoch": EPOCH, "position": POSITION, "path": ["tsk_01"], "class": "class-1", "level": "read", "max_staleness": 30}


def detail(scope: str) -> dict[str, object]:
    """Say a scope text as the one object of `authorization_details`."""
    identifier, _, rest = scope.partition("#")
    action, _, fields = rest.rstrip("]").partition("[")
    said: dict[str, object] = {
        "type": "agent_broker_scope",
        "locations": [AUDIENCE],
        "identifier": identifier,
        "actions": [action],
    }
    return said | ({"datatypes": fields.split(",")} if fields else {})


def of_scope(scope: str) -> dict[str, object]:
    """Return the two claims in which a token says its scope."""
    return {"scope": scope, "authorization_details": [detail(scope)]}


def without(claims: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if name not in names}
