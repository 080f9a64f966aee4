"""Proofs written by hand, good ones and hostile ones, for whoever has to tell them apart."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import HMACAlgorithm, RSAAlgorithm

from scopes.keys import SigningKey, bare
from tests.scopes.tokens import b64, compact, new_key, private_jwk, without


class Call(NamedTuple):
    """The request that a proof is for. `now` is seconds; `ath` and `nonce` are there where the proof has to have them."""

    key: SigningKey
    method: str
    url: str
    now: int
    ath: str | None = None
    nonce: str | None = None


class Hostile(NamedTuple):
    """A proof that must not be accepted, and what it tries."""

    name: str
    write: Callable[[Call], str]


def header(key: SigningKey, **changes: object) -> dict[str, Any]:
    return {"typ": "dpop+jwt", "alg": key.alg, "jwk": dict(bare(key.public_jwk))} | changes


def claims(call: Call, **changes: object) -> dict[str, Any]:
    known: dict[str, object] = {"jti": "-BwC3ESc6acc2lTc", "htm": call.method, "htu": call.url, "iat": call.now}
    known |= {"ath": call.ath} if call.ath is not None else {}
    known |= {"nonce": call.nonce} if call.nonce is not None else {}
    return known | changes


def proof(call: Call, **changes: object) -> str:
    """Write a good proof of the call, with some claims changed."""
    return compact(header(call.key), claims(call, **changes), call.key)


def lacking(call: Call, name: str) -> str:
    return compact(header(call.key), without(claims(call), name), call.key)


def with_header(call: Call, **changes: object) -> str:
    return compact(header(call.key, **changes), claims(call), call.key)


def with_jwk(call: Call, **changes: object) -> str:
    return with_header(call, jwk=dict(bare(call.key.public_jwk)) | changes)


def with_raw_header(call: Call, edit: Callable[[str], str]) -> str:
    return compact(edit(json.dumps(header(call.key))).encode(), claims(call), call.key)


def _private(call: Call) -> str:
    jwk = private_jwk("ES256")
    key = SigningKey(jwk)
    return compact(header(key, jwk={name: jwk[name] for name in ("kty", "crv", "x", "y", "d")}), claims(call), key)


def _symmetric(call: Call) -> str:
    jwk = {"kty": "oct", "k": b64(b"secret" * 8)}
    signing_input = ".".join(b64(json.dumps(part).encode()) for part in (_hs256(jwk), claims(call)))
    return f"{signing_input}.{b64(HMACAlgorithm(HMACAlgorithm.SHA256).sign(signing_input.encode(), b'secret' * 8))}"


def _hs256(jwk: dict[str, Any]) -> dict[str, Any]:
    return {"typ": "dpop+jwt", "alg": "HS256", "jwk": jwk}


def _keyed_with_the_public_key(call: Call) -> str:
    jwk = dict(bare(call.key.public_jwk))
    signing_input = ".".join(b64(json.dumps(part).encode()) for part in (_hs256(jwk), claims(call)))
    return f"{signing_input}.{b64(HMACAlgorithm(HMACAlgorithm.SHA256).sign(signing_input.encode(), jwk['x'].encode()))}"


@cache
def _rsa(bits: int, exponent: int = 65537) -> Any:
    return rsa.generate_private_key(exponent, bits)


def _by_rsa(call: Call, private: Any) -> str:
    jwk = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    head = {"typ": "dpop+jwt", "alg": "RS256", "jwk": {name: jwk[name] for name in ("kty", "n", "e")}}
    signing_input = ".".join(b64(json.dumps(part).encode()) for part in (head, claims(call)))
    return f"{signing_input}.{b64(RSAAlgorithm(RSAAlgorithm.SHA256).sign(signing_input.encode(), private))}"


def _unsigned(call: Call) -> str:
    good = proof(call).split(".")
    return f"{b64(json.dumps(header(call.key, alg='none')).encode())}.{good[1]}."


def _by_another_key(call: Call) -> str:
    return compact(header(call.key), claims(call), new_key())


def _off_the_curve(call: Call) -> str:
    return with_jwk(call, y=bare(call.key.public_jwk)["x"])


def _changed_after_signing(call: Call) -> str:
    head, _, signature = proof(call).split(".")
    return f"{head}.{b64(json.dumps(claims(call, jti='another')).encode())}.{signature}"


def _other_case_of_the_path(call: Call) -> str:
    return proof(call, htu=call.url.removesuffix(_path(call)) + _path(call).upper())


HOSTILE = [
    Hostile("RFC 9449 §4.3 (1): two proofs in one field", lambda call: f"{proof(call)}, {proof(call, jti='two')}"),
    Hostile("RFC 9449 §4.3 (2): not a JWT", lambda _: "not.a.proof"),
    Hostile("RFC 9449 §4.3 (2): nothing", lambda _: ""),
    Hostile("RFC 9449 §4.3 (2): a claim twice", lambda call: compact(header(call.key), _twice(call), call.key)),
    Hostile("RFC 9449 §4.3 (3): without jti", lambda call: lacking(call, "jti")),
    Hostile("RFC 9449 §4.3 (3): without htm", lambda call: lacking(call, "htm")),
    Hostile("RFC 9449 §4.3 (3): without htu", lambda call: lacking(call, "htu")),
    Hostile("RFC 9449 §4.3 (3): without iat", lambda call: lacking(call, "iat")),
    Hostile("RFC 9449 §4.3 (4): typ JWT", lambda call: with_header(call, typ="JWT")),
    Hostile("RFC 9449 §4.3 (4): typ of an access token (trap 1)", lambda call: with_header(call, typ="at+jwt")),
    Hostile("RFC 9449 §4.3 (4): without typ", lambda call: with_header(call, typ=None)),
    Hostile("RFC 9449 §4.3 (5): alg none (trap 3)", _unsigned),
    Hostile("RFC 9449 §4.3 (5): a symmetric key", _symmetric),
    Hostile("RFC 9449 §4.3 (5): HS256 keyed with the public key (trap 3)", _keyed_with_the_public_key),
    Hostile("RFC 9449 §4.3 (5): an alg in lower case", lambda call: with_header(call, alg="es256")),
    Hostile("RFC 9449 §4.3 (5): an alg of another key", lambda call: with_header(call, alg="ES384")),
    Hostile("RFC 9449 §4.3 (6): signed by another key than its own", _by_another_key),
    Hostile("RFC 9449 §4.3 (6): changed after it was signed", _changed_after_signing),
    Hostile("RFC 9449 §4.3 (7): its jwk holds the private key (trap 17)", _private),
    Hostile("RFC 9449 §4.2: without jwk", lambda call: with_header(call, jwk=None)),
    Hostile("RFC 9449 §4.2: jwk twice", lambda call: with_raw_header(call, lambda text: text[:-1] + ', "jwk": {}}')),
    Hostile("RFC 9449 §4.2: a list of keys", lambda call: with_header(call, jwk=[dict(bare(call.key.public_jwk))])),
    Hostile("RFC 9449 §4.2: a kid in the place of the key", lambda call: with_header(call, jwk=None, kid=call.key.kid)),
    Hostile("RFC 7515 §4.1.11: a critical header", lambda call: with_header(call, crit=["exp"])),
    Hostile("RFC 7517 §4.2: a key for encryption", lambda call: with_jwk(call, use="enc")),
    Hostile("RFC 7517 §4.3: a key that may not verify", lambda call: with_jwk(call, key_ops=["encrypt"])),
    Hostile("RFC 7517 §4.4: a key for another alg", lambda call: with_jwk(call, alg="ES384")),
    Hostile("RFC 7518 §6.2: a key of another curve (trap 3)", lambda call: with_jwk(call, crv="P-384")),
    Hostile("RFC 7518 §6.2: a point that is not on the curve", _off_the_curve),
    Hostile("RFC 7518 §3.3: an RSA key of 1,024 bits", lambda call: _by_rsa(call, _rsa(1024))),
    Hostile("an RSA key that is dear to verify with", lambda call: _by_rsa(call, _rsa(2048, 3))),
    Hostile("RFC 9449 §4.3 (8): another method", lambda call: proof(call, htm="DELETE")),
    Hostile("RFC 9449 §4.3 (8): the method in lower case", lambda call: proof(call, htm=call.method.lower())),
    Hostile("RFC 9449 §4.3 (9): another host", lambda call: proof(call, htu="https://evil.example" + _path(call))),
    Hostile("RFC 9449 §4.3 (9): another path", lambda call: proof(call, htu=call.url + "/more")),
    Hostile("RFC 9449 §4.3 (9): another port (trap 17)", lambda call: proof(call, htu=_on_port(call, 4444))),
    Hostile("RFC 9449 §4.3 (9): another case of the path (trap 17)", _other_case_of_the_path),
    Hostile("RFC 9449 §4.2: htu with a query (trap 17)", lambda call: proof(call, htu=call.url + "?all=true")),
    Hostile("RFC 9449 §4.2: htu with a fragment", lambda call: proof(call, htu=call.url + "#part")),
    Hostile("RFC 9449 §4.2: htu that is no absolute URL", lambda call: proof(call, htu=_path(call))),
    Hostile("RFC 9449 §4.3 (11): a minute and a second old", lambda call: proof(call, iat=call.now - 61)),
    Hostile("RFC 9449 §4.3 (11): six seconds from the future", lambda call: proof(call, iat=call.now + 6)),
    Hostile("RFC 9449 §11.1: made for years to come", lambda call: proof(call, iat=2**40)),
    Hostile("an iat below zero (trap 4)", lambda call: proof(call, iat=-1)),
    Hostile("an iat that is true (trap 4)", lambda call: proof(call, iat=True)),
    Hostile("an iat as text (trap 4)", lambda call: proof(call, iat=str(call.now))),
    Hostile("an empty jti", lambda call: proof(call, jti="")),
    Hostile("a jti longer than is remembered", lambda call: proof(call, jti="x" * 257)),
    Hostile("a proof without end", lambda call: proof(call, more="x" * 5000)),
]
"""What no server accepts, whether or not a token comes with it."""

HOSTILE_WITH_A_TOKEN = [
    Hostile("RFC 9449 §4.3 (12): without ath (trap 17)", lambda call: lacking(call, "ath")),
    Hostile(
        "RFC 9449 §4.3 (12): the hash of another token",
        lambda call: proof(call, ath="fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"),
    ),
    Hostile("RFC 9449 §4.3 (12): an ath with padding", lambda call: proof(call, ath=f"{call.ath}=")),
]
"""What no server accepts with a token."""


def _twice(call: Call) -> bytes:
    return json.dumps(claims(call)).replace("{", f'{{"htm": "{call.method}", ', 1).encode()


def _path(call: Call) -> str:
    return "/" + call.url.split("/", 3)[3]


def _on_port(call: Call, port: int) -> str:
    scheme, _, rest = call.url.partition("://")
    return f"{scheme}://{rest.split('/')[0].split(':')[0]}:{port}{_path(call)}"
