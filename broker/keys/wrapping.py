"""Private parts at rest: AES-256-GCM under a wrapping key, and that under a passphrase where there is one."""

import base64
import hashlib
import os
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from scopes.errors import InvalidDocument

KEY_BYTES = 32
_NONCE_BYTES = 12
_SALT_BYTES = 16
# 64 MiB and about a quarter of a second, once at each start (RFC 7914 §2; the parameters are OWASP's for N = 2^16).
_COST, _BLOCK, _PARALLEL = 2**16, 8, 2
_WRAPPING_LABEL = "wrapping key"


class Wrapping:
    """Wraps private keys. Every wrapped key is bound to its use and id, so that none can be put in another's place."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        # Says which wrapping key it is, and nothing about it.
        self.id = _text(hashlib.sha256(b"agent-broker wrapping key id\0" + secret).digest()[:9])

    def __repr__(self) -> str:
        return f"Wrapping({self.id!r})"

    def wrap(self, jwk: dict[str, Any], label: str) -> str:
        """Return a private JWK as text that only this wrapping key opens, under the same label."""
        return _sealed(self._secret, msgspec.json.encode(jwk), label)

    def unwrap(self, text: str, label: str) -> dict[str, Any]:
        """Return the private JWK; raise `InvalidDocument` if it is not one that was wrapped under this label."""
        document: dict[str, Any] = msgspec.json.decode(_opened(self._secret, text, label))
        return document

    def locked(self, passphrase: bytes | None) -> bytes:
        """Return the wrapping key as its file holds it: under the passphrase, or open where there is none."""
        if passphrase is None:
            return msgspec.json.encode(_File(key=_text(self._secret)))
        salt = os.urandom(_SALT_BYTES)
        return msgspec.json.encode(
            _File(salt=_text(salt), sealed=_sealed(_derived(passphrase, salt), self._secret, _WRAPPING_LABEL))
        )


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    key: str | None = None
    salt: str | None = None
    sealed: str | None = None

    def __repr__(self) -> str:
        return "_File()"


def is_locked(document: bytes) -> bool:
    """Tell whether the wrapping key in a file is under a passphrase; raise `InvalidDocument` if it is no such file."""
    return _file(document).sealed is not None


def unlocked(document: bytes, passphrase: bytes | None) -> Wrapping:
    """Return the wrapping key of a file; raise `InvalidDocument` if the passphrase is not its."""
    file = _file(document)
    if file.key is not None:
        return Wrapping(_bytes(file.key))
    if passphrase is None or file.sealed is None or file.salt is None:
        raise InvalidDocument("the wrapping key is under a passphrase")
    return Wrapping(_opened(_derived(passphrase, _bytes(file.salt)), file.sealed, _WRAPPING_LABEL))


def _file(document: bytes) -> _File:
    try:
        file = msgspec.json.decode(document, type=_File)
    except msgspec.MsgspecError:
        raise InvalidDocument("not a wrapping key") from None
    if (file.key is None) == (file.sealed is None) or (file.key is not None and len(_bytes(file.key)) != KEY_BYTES):
        raise InvalidDocument("not a wrapping key")
    return file


def _derived(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=_COST, r=_BLOCK, p=_PARALLEL).derive(passphrase)


def _sealed(secret: bytes, data: bytes, label: str) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    return _text(nonce + AESGCM(secret).encrypt(nonce, data, label.encode()))


def _opened(secret: bytes, text: str, label: str) -> bytes:
    data = _bytes(text)
    try:
        return AESGCM(secret).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], label.encode())
    except (InvalidTag, ValueError):
        raise InvalidDocument("wrapped under another key, or damaged") from None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text)
    except ValueError:
        raise InvalidDocument("not base64url") from None
