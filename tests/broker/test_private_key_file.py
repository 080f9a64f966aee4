"""Private keys as files."""

import json
import os
import stat
from pathlib import Path

import pytest

from broker import private_key_file
from broker.errors import ConfigurationError
from scopes import jose
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from tests.scopes.tokens import private_jwk


def written(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "key.jwk"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def test_a_new_key_signs_what_its_public_part_verifies(tmp_path: Path) -> None:
    key = private_key_file.create(tmp_path / "key.jwk")
    keys = KeySet.parse(json.dumps({"keys": [key.public_jwk]}).encode(), algorithms=TOKEN_ALGORITHMS)
    token = jose.write(b"{}", type="JWT", key=key)
    assert jose.read(token, types=frozenset({"jwt"})).verified_payload(keys) == b"{}"


def test_a_key_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    first = private_key_file.create(tmp_path / "key.jwk")
    text = (tmp_path / "key.jwk").read_text()
    assert private_key_file.create(tmp_path / "key.jwk").kid == first.kid
    assert (tmp_path / "key.jwk").read_text() == text


def test_only_its_owner_can_read_a_new_key_and_enter_its_folder(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_key_file.create(tmp_path / "keys" / "key.jwk")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys" / "key.jwk").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, json.dumps(private_jwk("ES256")), mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        private_key_file.read(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="an empty file"),
        pytest.param("-----BEGIN PRIVATE KEY-----", id="a PEM file"),
        pytest.param(b"\xff\xfe", id="bytes that are no text"),
        pytest.param("[]", id="a list"),
        pytest.param("5", id="a number"),
        pytest.param('"d"', id="a text"),
        pytest.param("{}", id="nothing in it"),
        pytest.param('{"kty": "oct", "k": "c2VjcmV0", "d": "x"}', id="a symmetric key"),
        pytest.param('{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AA"}', id="a point that is on no curve"),
        pytest.param('{"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "d": "AA"}', id="a curve nobody signs tokens on"),
    ],
)
def test_what_is_not_a_private_key_is_refused_without_being_quoted(tmp_path: Path, content: str | bytes) -> None:
    """I7: no part of a key is ever in an error."""
    path = written(tmp_path, content)
    with pytest.raises(ConfigurationError) as refused:
        private_key_file.read(path)
    assert refused.value.problems == [f"{path}: not there or not a private key; `broker init` makes one"]


def test_a_public_key_signs_nothing(tmp_path: Path) -> None:
    public = private_key_file.create(tmp_path / "made.jwk").public_jwk
    with pytest.raises(ConfigurationError, match="not a private key"):
        private_key_file.read(written(tmp_path, json.dumps(dict(public))))


def test_a_key_with_a_member_twice_is_refused(tmp_path: Path) -> None:
    text = json.dumps(private_jwk("ES256"))
    with pytest.raises(ConfigurationError, match="not a private key"):
        private_key_file.read(written(tmp_path, text[:-1] + ', "d": "AA"}'))


def test_a_missing_key_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="broker init"):
        private_key_file.read(tmp_path / "key.jwk")
