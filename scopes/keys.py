"""Keys: what may verify, what may sign, and under which single algorithm.

Parsing a JWK and the primitives are PyJWT's; what PyJWT accepts and must not be accepted is refused here first.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import jwt
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from jwt.algorithms import ECAlgorithm, get_default_algorithms

from scopes import strict_json
from scopes.errors import InvalidDocument

MAX_JWKS_BYTES = 256 * 1024

TOKEN_ALGORITHMS = frozenset({"ES256", "EdDSA", "RS256"})
"""What this issuer's own keys sign with (`DESIGN.md` 3.3)."""

SVID_ALGORITHMS = frozenset({"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
"""What the SPIFFE JWT-SVID standard allows (§2.1 "Algorithm")."""

PROOF_ALGORITHMS = frozenset({"ES256", "ES384", "EdDSA", "PS256", "RS256"})
"""What a DPoP proof may be signed with: asymmetric, and what clients in the field use (RFC 9449 §4.2)."""

MIN_RSA_BITS = 2048

# A key that comes with the message is its sender's own, so its size decides what looking at it costs us.
MAX_EMBEDDED_RSA_BITS = 4096
_USUAL_EXPONENT = 65537

# A key without `alg` gets the one algorithm of its type and curve, so that no key is ever accepted under two.
_ALGORITHM_OF = {
    ("EC", "P-256"): "ES256",
    ("EC", "P-384"): "ES384",
    ("EC", "P-521"): "ES512",
    ("OKP", "Ed25519"): "EdDSA",
    ("RSA", None): "RS256",
}
_KIND_OF = {"ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"), "EdDSA": ("OKP", "Ed25519")}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# RFC 7638 §3.2: the members that make up a thumbprint, in lexicographic order.
_THUMBPRINT_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}

Jwk = Mapping[str, Any]
"""A JSON Web Key as decoded JSON (RFC 7517 §4)."""


class _Jwks(msgspec.Struct, frozen=True, omit_defaults=True):
    keys: list[dict[str, Any]]


class _Es256:
    """ES256 straight on the primitive: PyJWT's way round costs a fifth of the signature itself, on every token."""

    _HASH = ec.ECDSA(hashes.SHA256())
    _HALF = 32

    def sign(self, data: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
        """Write R and S as RFC 7518 §3.4 does: 32 octets each."""
        r, s = decode_dss_signature(key.sign(data, self._HASH))
        return r.to_bytes(self._HALF) + s.to_bytes(self._HALF)

    def verify(self, data: bytes, key: ec.EllipticCurvePublicKey, signature: bytes) -> bool:
        """Check R and S as RFC 7518 §3.4 writes them: 32 octets each."""
        if len(signature) != 2 * self._HALF:
            return False
        r, s = int.from_bytes(signature[: self._HALF]), int.from_bytes(signature[self._HALF :])
        try:
            key.verify(encode_dss_signature(r, s), data, self._HASH)
        except InvalidSignature:
            return False
        return True


class VerificationKey:
    """One public key under one algorithm."""

    __slots__ = ("_algorithm", "_key", "alg", "kid")

    def __init__(self, jwk: Jwk, *, algorithms: frozenset[str]) -> None:
        """Read a public JWK; raise `InvalidDocument` if it is private, weak, or not for one of the algorithms."""
        _check_public(jwk)
        self.alg = _algorithm(jwk, algorithms)
        self.kid = _key_id(jwk)
        self._algorithm = _implementation(self.alg)
        self._key = _loaded(jwk, self.alg)

    @classmethod
    def embedded(cls, jwk: Jwk, alg: str, *, algorithms: frozenset[str]) -> "VerificationKey":
        """Read the public key that a message brings along, under the algorithm that its header names (RFC 7515 §4.1.3).

        Its `kid` is its thumbprint, whatever it calls itself. Raises `InvalidDocument` as well for a key that says it is for
        another use or algorithm, and for one that is dear to verify with.
        """
        _check_public(jwk)
        if jwk.get("alg", alg) != alg or not _is_for({**jwk, "alg": alg}, algorithms, "sig"):
            raise InvalidDocument("the key is not for verifying under the algorithm of the header")
        key = cls({**bare(jwk), "alg": alg, "kid": thumbprint(jwk)}, algorithms=algorithms)
        if jwk["kty"] == "RSA" and not _is_cheap(key._key):
            raise InvalidDocument(f"an RSA key has at most {MAX_EMBEDDED_RSA_BITS} bits here, and the exponent that all have")
        return key

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Tell whether the signature over `data` was made with this key's private part."""
        return bool(self._algorithm.verify(data, self._key, signature))


class Signer(Protocol):
    """What signs under one algorithm: a key of this process, or one that never leaves the device it is in."""

    @property
    def alg(self) -> str:
        """The one algorithm."""

    @property
    def kid(self) -> str:
        """The key id that what is signed names."""

    @property
    def public_jwk(self) -> Jwk:
        """The public part."""

    def sign(self, data: bytes) -> bytes:
        """Return the JWS signature over `data` (RFC 7518 §3)."""


class SigningKey:
    """One private key under one algorithm; `kid` is its RFC 7638 thumbprint. Prints nothing of itself."""

    __slots__ = ("_algorithm", "_key", "alg", "kid", "public_jwk")

    def __init__(self, jwk: Jwk) -> None:
        """Read a private JWK; raise `InvalidDocument` if it is not one of ours."""
        if "d" not in jwk:
            raise InvalidDocument("not a private key")
        self.alg = _algorithm(jwk, TOKEN_ALGORITHMS)
        self.kid = thumbprint(jwk)
        # What makes the key and nothing else: a `key_ops` of the private part would have verifiers pass the public one over.
        self.public_jwk: Jwk = {**bare(jwk), "kid": self.kid, "alg": self.alg, "use": "sig"}
        self._algorithm = _implementation(self.alg)
        self._key = _loaded(jwk, self.alg)

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a new P-256 key, which is kept nowhere."""
        return cls(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True))

    def sign(self, data: bytes) -> bytes:
        """Return the JWS signature over `data` (RFC 7518 §3: raw R and S for ECDSA)."""
        return bytes(self._algorithm.sign(data, self._key))


class KeySet:
    """The keys of one issuer at one moment, by key id. An empty set verifies nothing."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[VerificationKey] = ()) -> None:
        self._keys = {key.kid: key for key in keys}

    @classmethod
    def parse(cls, document: bytes, *, algorithms: frozenset[str], use: str = "sig") -> "KeySet":
        """Read a JWKS; raise `InvalidDocument` if it is not one, holds a private key, or a key id twice.

        Keys of another `use`, type or algorithm are left out (RFC 7517 §5); `use` has to be given by SPIFFE bundles.
        """
        jwks = strict_json.decode(document, type=_Jwks, max_bytes=MAX_JWKS_BYTES)
        for jwk in jwks.keys:
            _check_public(jwk)
        keys = [VerificationKey(jwk, algorithms=algorithms) for jwk in jwks.keys if _is_for(jwk, algorithms, use)]
        if len({key.kid for key in keys}) != len(keys):
            raise InvalidDocument("the key set names a key id twice")
        return cls(keys)

    def get(self, kid: str) -> VerificationKey | None:
        """Return the key of this id, if it is in the set."""
        return self._keys.get(kid)

    def __len__(self) -> int:
        return len(self._keys)


def thumbprint(jwk: Jwk) -> str:
    """Return the SHA-256 thumbprint of a key (RFC 7638 §3), which is the `kid` of all our keys."""
    canonical = msgspec.json.encode(bare(jwk))
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()


def bare(jwk: Jwk) -> Jwk:
    """Return what makes up a public key and nothing else (RFC 7638 §3.2); raise `InvalidDocument` if it lacks any of it."""
    members = _THUMBPRINT_MEMBERS.get(_text(jwk, "kty"), ())
    if not members or not all(isinstance(jwk.get(name), str) for name in members):
        raise InvalidDocument("the key lacks a member that its type requires")
    return {name: jwk[name] for name in members}


def _check_public(jwk: Jwk) -> None:
    if _PRIVATE_MEMBERS & jwk.keys():
        raise InvalidDocument("private or symmetric key material, which nobody sends")


def _is_cheap(key: Any) -> bool:
    return bool(key.key_size <= MAX_EMBEDDED_RSA_BITS and key.public_numbers().e == _USUAL_EXPONENT)


def _is_for(jwk: Jwk, algorithms: frozenset[str], use: str) -> bool:
    # SPIFFE demands `use` on every key of a bundle; elsewhere it is optional (RFC 7517 §4.2).
    same_use = jwk.get("use") == use or (use == "sig" and "use" not in jwk)
    operations = jwk.get("key_ops", ["verify"])
    may_verify = isinstance(operations, list) and "verify" in operations
    return same_use and may_verify and _algorithm_or_none(jwk) in algorithms


def _implementation(alg: str) -> Any:
    """Return what signs and verifies under an algorithm."""
    return _Es256() if alg == "ES256" else get_default_algorithms()[alg]


def _algorithm(jwk: Jwk, algorithms: frozenset[str]) -> str:
    algorithm = _algorithm_or_none(jwk)
    if algorithm is None or algorithm not in algorithms:
        raise InvalidDocument(f"the key is for none of {', '.join(sorted(algorithms))}")
    return algorithm


def _algorithm_or_none(jwk: Jwk) -> str | None:
    kind = (_text(jwk, "kty"), _text(jwk, "crv") if "crv" in jwk else None)
    algorithm = _text(jwk, "alg") if "alg" in jwk else _ALGORITHM_OF.get(kind, "")
    return algorithm if algorithm and _KIND_OF.get(algorithm, ("RSA", None)) == kind else None


def _text(jwk: Jwk, name: str) -> str:
    value = jwk.get(name)
    return value if isinstance(value, str) else ""


def _key_id(jwk: Jwk) -> str:
    kid = _text(jwk, "kid")
    if not kid:
        raise InvalidDocument("a key has no kid")
    return kid


def _loaded(jwk: Jwk, algorithm: str) -> Any:
    try:
        key = jwt.PyJWK(dict(jwk), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        # Without the library's message: it quotes the key.
        raise InvalidDocument(f"not a usable {algorithm} key") from None
    if jwk["kty"] == "RSA" and key.key_size < MIN_RSA_BITS:
        raise InvalidDocument(f"an RSA key has at least {MIN_RSA_BITS} bits")
    return key
