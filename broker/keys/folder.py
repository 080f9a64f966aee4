"""The key folder: the wrapping key, a mirror of the record of keys, and what a new or an old installation begins with."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker import durable_file, private_key_file
from broker.errors import ConfigurationError
from broker.keys import record as records
from broker.keys import wrapping
from broker.keys.custody import IN_FOLDER, label_of
from broker.keys.record import Key, KeyRecord, Use
from broker.keys.wrapping import KEY_BYTES, Wrapping
from scopes.errors import InvalidDocument

TOKEN_KEY = "token.jwk"  # noqa: S105 - a file name
FEED_KEY = "feed.jwk"
WRAPPING_KEY = "wrapping.key"
MIRROR = "keys.json"
_LOCK = ".keys.lock"
_FIRST: dict[Use, str] = {"token": TOKEN_KEY, "feed": FEED_KEY}
_LOG = logging.getLogger(__name__)


class KeyFolder:
    """What the folder holds, read once. All replicas of an issuer share one folder, or copies of it.

    `record` are the keys as the folder knows them; where it has no record yet, they are the two of `broker init`.
    """

    def __init__(self, folder: Path, *, wrapping: Wrapping, record: KeyRecord, passphrase: bytes | None) -> None:
        self.path = folder
        self.wrapping = wrapping
        self.record = record
        self._passphrase = passphrase

    @classmethod
    def load(cls, folder: Path, passphrase: bytes | None = None) -> "KeyFolder":
        """Read the folder and change nothing; raise `ConfigurationError` if a key is missing, unusable, or used for both."""
        mirror = folder / MIRROR
        opened = _wrapping(folder, passphrase)
        record = _mirrored(mirror) if mirror.exists() else _first(folder, opened)
        if record.wrapping != opened.id:
            raise ConfigurationError([f"{mirror}: wrapped under another key than {folder / WRAPPING_KEY}; copy both together"])
        return cls(folder, wrapping=opened, record=record, passphrase=passphrase)

    def write(self, record: KeyRecord) -> None:
        """Mirror the record, with what another worker mirrored meanwhile; raise `OSError` where it cannot be written.

        The first time, the wrapping key is put under the passphrase, and with one no key is left in the folder in clear.
        """
        with _locked(self.path):
            self._write_wrapping_key()
            mirror = self.path / MIRROR
            known = records.merged(record, _mirrored(mirror)) if mirror.exists() else record
            # Of both, what neither the store nor this worker knows any more has been forgotten, not lost.
            kept = msgspec.structs.replace(known, keys=tuple(key for key in known.keys if record.get(key.kid) is not None))
            _write(mirror, records.encode(kept))
            if self._passphrase is not None:
                for name in _FIRST.values():
                    (self.path / name).unlink(missing_ok=True)

    def lock(self, passphrase: bytes) -> None:
        """Put the wrapping key under another passphrase; what it wraps, here and in the store, stays as it is."""
        with _locked(self.path):
            _write(self.path / WRAPPING_KEY, self.wrapping.locked(passphrase))
        self._passphrase = passphrase

    def _write_wrapping_key(self) -> None:
        file = self.path / WRAPPING_KEY
        is_open = not file.exists() or not wrapping.is_locked(file.read_bytes())
        if not file.exists() or (is_open and self._passphrase is not None):
            _write(file, self.wrapping.locked(self._passphrase))


def create(folder: Path) -> None:
    """Make the folder and every key that is not in it yet."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (folder / MIRROR).exists():
        return
    for name in _FIRST.values():
        private_key_file.create(folder / name)
    if not (folder / WRAPPING_KEY).exists():
        _write(folder / WRAPPING_KEY, Wrapping(os.urandom(KEY_BYTES)).locked(None))


def files(folder: Path) -> list[Path]:
    """Name the files of keys that the folder has, or that `create` makes in it."""
    names = (MIRROR,) if (folder / MIRROR).exists() else _FIRST.values()
    return [folder / name for name in (*names, WRAPPING_KEY)]


def _wrapping(folder: Path, passphrase: bytes | None) -> Wrapping:
    file = folder / WRAPPING_KEY
    if not file.exists() and not (folder / MIRROR).exists():
        return _derived(folder)
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigurationError([f"{file}: others can read this key; run chmod 600 on it"])
        document = file.read_bytes()
        if passphrase is None and wrapping.is_locked(document):
            raise ConfigurationError([f"{file}: under a passphrase; set key_passphrase_file or BROKER_KEY_PASSPHRASE"])
        return wrapping.unlocked(document, passphrase)
    except OSError:
        raise ConfigurationError([f"{file}: not there; copy it from a backup or another replica"]) from None
    except InvalidDocument:
        problem = f"{file}: this is not its passphrase, or the file is damaged; nothing was changed"
        raise ConfigurationError([problem]) from None


def _derived(folder: Path) -> Wrapping:
    """Return the wrapping key of a folder made before there were any: from its keys, so that all copies get the same one."""
    both = b"".join((folder / name).read_bytes() for name in _FIRST.values() if (folder / name).exists())
    return Wrapping(HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"agent-broker wrapping key").derive(both))


def _first(folder: Path, wrapping: Wrapping) -> KeyRecord:
    """Take the two keys of the folder over. They are as old as their files, and may sign at once: nobody knows another."""
    problems: list[str] = []
    keys: list[Key] = []
    for use, name in _FIRST.items():
        try:
            signer = private_key_file.read(folder / name)
            prepared = int((folder / name).stat().st_mtime * 1000)
            jwk = msgspec.json.decode((folder / name).read_bytes(), type=dict[str, str])
        except ConfigurationError as error:
            problems += error.problems
            continue
        private = wrapping.wrap(jwk, label_of(use, signer.kid))
        keys.append(Key(signer.kid, use, signer.alg, dict(signer.public_jwk), IN_FOLDER, private, prepared, 0))
    if len({key.kid for key in keys}) != len(keys):
        problems.append(f"{folder}: the feed has the token key; a stolen token key could then blind verifiers")
    if problems:
        raise ConfigurationError(problems)
    return KeyRecord(wrapping.id, tuple(keys))


def _mirrored(mirror: Path) -> KeyRecord:
    try:
        return records.decode(mirror.read_bytes())
    except (OSError, msgspec.MsgspecError):
        raise ConfigurationError([f"{mirror}: cannot be read as a record of keys; restore it from a backup"]) from None


def _write(path: Path, content: bytes) -> None:
    durable_file.write(path, content, mode=0o600)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
