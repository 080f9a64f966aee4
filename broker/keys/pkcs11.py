"""Keys in an HSM, through PKCS #11: made there, signing there, and never out of it."""

import hashlib
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from broker import toml_file
from broker.errors import Unavailable
from broker.keys.custody import Made
from broker.keys.record import Key, Use
from scopes.keys import Jwk, Signer, thumbprint

_ID_BYTES = 16
_POINT_BYTES = 65
T = TypeVar("T")


class Pkcs11Custody:
    """One token of an HSM. Opened where it is first used, so in the worker and not before it was forked.

    One session, used by one thread at a time; where it is lost, it is opened again once for each call.
    """

    def __init__(self, *, module: str, token_label: str, pin_file: Path) -> None:
        """Name the token; raise `ConfigurationError` if there is no PIN to read."""
        self.name = f"pkcs11:{token_label}"
        self._module = module
        self._label = token_label
        self._pin_file = pin_file
        self._lock = threading.Lock()
        self._session: Any = None
        # By CKA_ID, of this session: to search for a key costs as much as to sign with it.
        self._found: dict[bytes, Any] = {}
        self._pin()

    def make(self, use: Use) -> Made:
        """Make a P-256 key that signs and cannot be read; what the record says of it is its CKA_ID."""
        id = secrets.token_bytes(_ID_BYTES)
        return Made(self._with_session(lambda session: _made(session, id, f"agent-broker {use} key")), id.hex())

    def signer(self, key: Key) -> Signer:
        """Return what has the HSM sign."""
        return _Pkcs11Signer(key, self._sign)

    def discard(self, private: str) -> None:
        """Destroy both halves of a key."""

        def destroy(session: Any) -> None:
            for half in list(session.get_objects({Attribute.ID: bytes.fromhex(private)})):
                half.destroy()
            self._found.pop(bytes.fromhex(private), None)

        self._with_session(destroy)

    def close(self) -> None:
        """Close the session."""
        with self._lock:
            self._close()

    def _sign(self, id: bytes, data: bytes) -> bytes:
        digest = hashlib.sha256(data).digest()

        def sign(session: Any) -> bytes:
            if id not in self._found:
                self._found[id] = session.get_key(object_class=ObjectClass.PRIVATE_KEY, id=id)
            # R and S of 32 octets each, as RFC 7518 §3.4 wants them.
            return bytes(self._found[id].sign(digest, mechanism=Mechanism.ECDSA))

        return self._with_session(sign)

    def _with_session(self, act: Callable[[Any], T]) -> T:
        """Act in the session; raise `Unavailable` where the HSM cannot be reached, or does not have the key."""
        with self._lock:
            is_new = self._session is None
            try:
                return self._act(act)
            except Unavailable:
                if is_new:
                    raise
            # The session may be from before the HSM was restarted.
            return self._act(act)

    def _act(self, act: Callable[[Any], T]) -> T:
        try:
            if self._session is None:
                self._session = _library(self._module).get_token(token_label=self._label).open(rw=True, user_pin=self._pin())
            return act(self._session)
        except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
            self._close()
            # Only the kind of error: the text of some names what was asked for.
            raise Unavailable(f"the HSM did not answer as it should ({type(error).__name__})", retry_after=5) from None

    def _close(self) -> None:
        session, self._session = self._session, None
        self._found.clear()
        try:
            if session is not None:
                session.close()
        except (pkcs11.PKCS11Error, RuntimeError):
            # It was lost already, which is why it is closed.
            return

    def _pin(self) -> str:
        return toml_file.text_of(self._pin_file).rstrip("\r\n")


class _Pkcs11Signer:
    """One key of the HSM."""

    def __init__(self, key: Key, sign: Callable[[bytes, bytes], bytes]) -> None:
        self.alg = key.alg
        self.kid = key.kid
        self.public_jwk: Jwk = key.public
        self._id = bytes.fromhex(key.private)
        self._sign = sign

    def sign(self, data: bytes) -> bytes:
        """Return the JWS signature over `data`; raise `Unavailable` where the HSM does not make it."""
        return self._sign(self._id, data)


def _made(session: Any, id: bytes, label: str) -> dict[str, Any]:
    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
    template = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
    public, _ = parameters.generate_keypair(
        mechanism=Mechanism.EC_KEY_PAIR_GEN, id=id, label=label, store=True, private_template=template
    )
    # In a DER octet string (PKCS #11 v3.0 §2.3.3), which some devices leave away: the point itself is what it ends with.
    return _jwk(bytes(public[Attribute.EC_POINT])[-_POINT_BYTES:])


def _jwk(point: bytes) -> dict[str, Any]:
    jwk = ECAlgorithm.to_jwk(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point), as_dict=True)
    public = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return {**public, "kid": thumbprint(public), "alg": "ES256", "use": "sig"}


def _library(module: str) -> Any:
    return pkcs11.lib(module)
