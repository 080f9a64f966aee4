"""The broker's own keys: two kinds, and neither signs what the other does (`DESIGN.md` 3.10)."""

import json
import shutil
import stat
from pathlib import Path

import pytest

from broker import keys
from broker.errors import ConfigurationError
from broker.keys import FEED_KEY, TOKEN_KEY, Keys

PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.create(tmp_path / "keys")
    return tmp_path / "keys"


def test_made_keys_are_two(folder: Path) -> None:
    loaded = Keys.load(folder)
    assert loaded.token.kid != loaded.feed.kid


def test_making_keys_again_changes_none(folder: Path) -> None:
    before = Keys.load(folder)
    keys.create(folder)
    after = Keys.load(folder)
    assert (before.token.kid, before.feed.kid) == (after.token.kid, after.feed.kid)


def test_the_folder_is_its_owners_only(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_each_key_set_publishes_its_own_key_and_nothing_private(folder: Path) -> None:
    loaded = Keys.load(folder)
    for document, kid in ((loaded.token_jwks, loaded.token.kid), (loaded.feed_jwks, loaded.feed.kid)):
        (jwk,) = json.loads(document)["keys"]
        assert jwk["kid"] == kid
        assert jwk["use"] == "sig"
        assert not PRIVATE & jwk.keys()


def test_one_key_for_both_is_refused(folder: Path) -> None:
    """A stolen token key could then sign a feed, and blind verifiers to its own revocation."""
    shutil.copy(folder / TOKEN_KEY, folder / FEED_KEY)
    with pytest.raises(ConfigurationError, match="blind verifiers"):
        Keys.load(folder)


@pytest.mark.parametrize("missing", [TOKEN_KEY, FEED_KEY])
def test_a_missing_key_is_refused_and_not_made(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ConfigurationError, match=missing):
        Keys.load(folder)
    assert not (folder / missing).exists()
