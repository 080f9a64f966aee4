"""The key folder: what it begins with, what it takes over, and what a passphrase keeps shut (`DESIGN.md` 3.10, 3.19)."""

import json
import logging
import shutil
import stat
from pathlib import Path

import pytest

from broker import keys
from broker.errors import ConfigurationError
from broker.keys import FEED_KEY, MIRROR, TOKEN_KEY, WRAPPING_KEY, FolderCustody, KeyFolder

NOW = 1_900_000_000_000
PASSPHRASE = b"correct horse"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.create(tmp_path / "keys")
    return tmp_path / "keys"


def signers(loaded: KeyFolder) -> dict[str, str]:
    """Unwrap every key, and name it by its use."""
    custody = FolderCustody(loaded.wrapping)
    return {key.use: custody.signer(key).kid for key in loaded.record.keys}


def settled(folder: Path, passphrase: bytes | None = None) -> KeyFolder:
    """Load the folder and mirror what is in it, as a broker does at its start."""
    loaded = KeyFolder.load(folder, passphrase)
    loaded.write(loaded.record)
    return loaded


def test_made_keys_are_two(folder: Path) -> None:
    assert len(set(signers(KeyFolder.load(folder)).values())) == 2


def test_making_keys_again_changes_none(folder: Path) -> None:
    before = signers(KeyFolder.load(folder))
    keys.create(folder)
    assert signers(KeyFolder.load(folder)) == before


def test_the_folder_and_what_is_secret_in_it_are_their_owners_only(folder: Path) -> None:
    settled(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in (TOKEN_KEY, FEED_KEY, WRAPPING_KEY, MIRROR):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_to_look_at_a_folder_changes_nothing_in_it(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    KeyFolder.load(folder, PASSPHRASE)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_keys_of_an_installation_without_a_record_are_taken_over(folder: Path) -> None:
    (folder / WRAPPING_KEY).unlink()
    before = signers(KeyFolder.load(folder))
    assert signers(settled(folder)) == before
    (folder / TOKEN_KEY).unlink()
    (folder / FEED_KEY).unlink()
    assert signers(KeyFolder.load(folder)) == before


def test_copies_of_an_old_folder_agree_on_their_wrapping_key(folder: Path, tmp_path: Path) -> None:
    """Each replica takes its own copy over, and they have one record in the store."""
    (folder / WRAPPING_KEY).unlink()
    shutil.copytree(folder, tmp_path / "copy")
    assert settled(folder).wrapping.id == settled(tmp_path / "copy").wrapping.id


def test_one_key_for_both_is_refused(folder: Path) -> None:
    """A stolen token key could then sign a feed, and blind verifiers to its own revocation."""
    shutil.copy(folder / TOKEN_KEY, folder / FEED_KEY)
    with pytest.raises(ConfigurationError, match="blind verifiers"):
        KeyFolder.load(folder)


@pytest.mark.parametrize("missing", [TOKEN_KEY, FEED_KEY])
def test_a_missing_key_is_refused_and_not_made(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ConfigurationError, match=missing):
        KeyFolder.load(folder)
    assert not (folder / missing).exists()


@pytest.mark.parametrize("missing", [WRAPPING_KEY, "its mode"])
def test_a_wrapping_key_that_is_missing_or_open_to_others_is_refused(folder: Path, missing: str) -> None:
    settled(folder)
    (folder / WRAPPING_KEY).unlink() if missing == WRAPPING_KEY else (folder / WRAPPING_KEY).chmod(0o644)
    with pytest.raises(ConfigurationError, match=WRAPPING_KEY):
        KeyFolder.load(folder)


@pytest.mark.parametrize("name", [WRAPPING_KEY, MIRROR])
@pytest.mark.parametrize(
    "content", [b"", b"{}", b"nonsense", b'{"key": "YQ=="}', b'{"key": "\xc3\xa4"}', b'{"wrapping": "other", "keys": []}']
)
def test_a_damaged_file_is_refused_and_left_as_it_is(folder: Path, name: str, content: bytes) -> None:
    settled(folder)
    (folder / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=name):
        KeyFolder.load(folder)
    assert (folder / name).read_bytes() == content


def test_with_a_passphrase_no_private_part_is_left_in_clear(folder: Path) -> None:
    private = [json.loads((folder / name).read_text())["d"].encode() for name in (TOKEN_KEY, FEED_KEY)]
    private.append(json.loads((folder / WRAPPING_KEY).read_text())["key"].encode())
    before = signers(settled(folder, PASSPHRASE))
    left = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    assert not any(part in left for part in private)
    assert signers(KeyFolder.load(folder, PASSPHRASE)) == before


@pytest.mark.parametrize("passphrase", [None, b"wrong", b"correct horse ", b"\x00"])
def test_a_wrong_passphrase_says_so_and_overwrites_nothing(folder: Path, passphrase: bytes | None) -> None:
    settled(folder, PASSPHRASE)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConfigurationError, match="passphrase") as refused:
        KeyFolder.load(folder, passphrase)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert PASSPHRASE.decode() not in str(refused.value)


def test_the_passphrase_can_be_changed_and_the_old_one_opens_nothing(folder: Path) -> None:
    loaded = settled(folder, PASSPHRASE)
    record = (folder / MIRROR).read_bytes()
    loaded.lock(b"another")
    with pytest.raises(ConfigurationError):
        KeyFolder.load(folder, PASSPHRASE)
    assert signers(KeyFolder.load(folder, b"another")) == signers(loaded)
    assert (folder / MIRROR).read_bytes() == record


def test_nothing_that_prints_itself_prints_a_secret(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = json.loads((folder / WRAPPING_KEY).read_text())["key"]
    loaded = settled(folder, PASSPHRASE)
    said = repr((loaded, loaded.wrapping, loaded.record, FolderCustody(loaded.wrapping))) + caplog.text
    for part in (secret, PASSPHRASE.decode(), *(key.private for key in loaded.record.keys)):
        assert part not in said
