"""Where private parts are kept, behind one small protocol: in the folder's wrapping, in an HSM, or in what else keeps keys."""

from typing import Any, NamedTuple, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from broker.errors import Unavailable
from broker.keys.record import Key, Use
from broker.keys.wrapping import Wrapping
from scopes.errors import InvalidDocument
from scopes.keys import Signer, SigningKey

IN_FOLDER = "folder"


class Made(NamedTuple):
    """A key that was made: its public JWK, and what the record says of the private part."""

    public: dict[str, Any]
    private: str


class Custody(Protocol):
    """Keeps private keys. Every method raises `Unavailable` where the keys cannot be reached, and then nothing was signed."""

    name: str
    """What a record says of keys that are kept here."""

    def make(self, use: Use) -> Made:
        """Make a key."""

    def signer(self, key: Key) -> Signer:
        """Return what signs with a key of the record."""

    def discard(self, private: str) -> None:
        """Forget a key that nobody needs; one that is gone already is no error."""

    def close(self) -> None:
        """Let go of what is open."""


class FolderCustody:
    """Private keys in the record itself, wrapped under the key of the key folder."""

    name = IN_FOLDER

    def __init__(self, wrapping: Wrapping) -> None:
        self._wrapping = wrapping

    def make(self, use: Use) -> Made:
        """Make a P-256 key (`DESIGN.md` 3.3)."""
        jwk = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
        signer = SigningKey(jwk)
        return Made(dict(signer.public_jwk), self._wrapping.wrap(jwk, label_of(use, signer.kid)))

    def signer(self, key: Key) -> Signer:
        """Unwrap the key."""
        try:
            return SigningKey(self._wrapping.unwrap(key.private, label_of(key.use, key.kid)))
        except InvalidDocument as error:
            raise Unavailable(f"the key {key.kid} cannot be used: {error}", retry_after=30) from None

    def discard(self, private: str) -> None:
        """Nothing is kept but in the record."""

    def close(self) -> None:
        """Nothing is open."""


def label_of(use: Use, kid: str) -> str:
    """Say what a wrapped key is bound to."""
    return f"{use} {kid}"
