"""What every keeper of the broker's keys does, whether it is the key folder or an HSM (here SoftHSM2)."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pkcs11 import Attribute, AttributeSensitive, ObjectClass

from broker.errors import ConfigurationError, Unavailable
from broker.keys import Custody, FolderCustody, Key
from broker.keys.pkcs11 import Pkcs11Custody
from broker.keys.wrapping import KEY_BYTES, Wrapping
from broker.settings import KeyStore
from scopes import jose
from scopes.keys import TOKEN_ALGORITHMS, KeySet, VerificationKey
from tests.broker.world import World, fake_backend

PIN = "271828"
LABEL = "broker-test"
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k"}


@pytest.fixture(scope="session")
def module() -> str:
    """The library of SoftHSM2, which `deploy/test` installs."""
    found = [path for folder in ("/usr/lib", "/usr/local/lib", "/opt") for path in Path(folder).rglob("libsofthsm2.so")]
    assert found, "SoftHSM2 is not installed"
    return str(found[0])


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory, module: str) -> Iterator[KeyStore]:
    """A token of this run alone. One for all tests, for a process reads where its tokens are only once."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    (folder / "pin").write_text(f"{PIN}\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    options = ["--free", "--label", LABEL, "--pin", PIN, "--so-pin", "31415926"]
    subprocess.run(["softhsm2-util", "--init-token", *options], check=True, capture_output=True, timeout=30)
    yield KeyStore(kind="pkcs11", module=module, token_label=LABEL, pin_file=str(folder / "pin"))
    os.environ.pop("SOFTHSM2_CONF")
    if before is not None:
        os.environ["SOFTHSM2_CONF"] = before


def hsm(store: KeyStore, **changes: Any) -> Pkcs11Custody:
    named = {"module": store.module, "token_label": store.token_label, "pin_file": Path(store.pin_file), **changes}
    return Pkcs11Custody(**named)


@pytest.fixture(params=["folder", "pkcs11"])
def custody(request: pytest.FixtureRequest, softhsm: KeyStore) -> Iterator[Custody]:
    made = FolderCustody(Wrapping(bytes(KEY_BYTES))) if request.param == "folder" else hsm(softhsm)
    yield made
    made.close()


def made_in(custody: Custody, use: Any = "token") -> Key:
    made = custody.make(use)
    return Key(made.public["kid"], use, made.public["alg"], made.public, custody.name, made.private, 0, 0)


def test_what_it_signs_verifies_with_the_public_part_under_its_one_algorithm(custody: Custody) -> None:
    key = made_in(custody)
    signer = custody.signer(key)
    token = jose.write(b"{}", type="at+jwt", key=signer)
    keys = KeySet([VerificationKey(key.public, algorithms=TOKEN_ALGORITHMS)])
    assert jose.read(token, types=frozenset({"at+jwt"})).verified_payload(keys) == b"{}"
    assert (signer.kid, signer.alg, dict(signer.public_jwk)) == (key.kid, "ES256", key.public)


def test_every_key_is_another_and_none_shows_its_private_part(custody: Custody) -> None:
    keys = [made_in(custody) for _ in range(3)]
    assert len({key.kid for key in keys}) == 3
    for key in keys:
        assert not PRIVATE & key.public.keys()
        assert (key.public["use"], key.public["alg"]) == ("sig", "ES256")
        assert PIN not in repr((key, custody, custody.signer(key)))


def test_several_threads_sign_at_once_and_every_signature_is_right(custody: Custody) -> None:
    """The event loop signs tokens, and the follower's thread the feed."""
    keys = [made_in(custody), made_in(custody, "feed")]
    texts = [f"{number}".encode() for number in range(60)]
    with ThreadPoolExecutor(6) as threads:
        signed = list(threads.map(lambda text: custody.signer(keys[len(text) % 2]).sign(text), texts))
    for text, signature in zip(texts, signed, strict=True):
        assert VerificationKey(keys[len(text) % 2].public, algorithms=TOKEN_ALGORITHMS).verify(signature, text)


def test_what_is_discarded_may_be_discarded_again(custody: Custody) -> None:
    key = made_in(custody)
    custody.discard(key.private)
    custody.discard(key.private)


def test_a_private_part_that_is_not_its_own_signs_nothing(custody: Custody) -> None:
    strange = msgspec.structs.replace(made_in(custody), private="ab" * 16)
    with pytest.raises(Unavailable):
        custody.signer(strange).sign(b"text")


# The HSM


def test_a_key_of_the_hsm_is_gone_when_it_is_discarded(softhsm: KeyStore) -> None:
    custody = hsm(softhsm)
    key = made_in(custody)
    signer = custody.signer(key)
    assert signer.sign(b"text")
    custody.discard(key.private)
    with pytest.raises(Unavailable, match="NoSuchKey"):
        signer.sign(b"text")
    custody.close()


def test_a_session_that_was_lost_is_opened_again(softhsm: KeyStore) -> None:
    custody = hsm(softhsm)
    signer = custody.signer(made_in(custody))
    signer.sign(b"text")
    custody._session.close()
    assert signer.sign(b"text")
    custody.close()
    assert signer.sign(b"text")
    custody.close()


def test_a_private_key_cannot_be_read_out_of_the_hsm(softhsm: KeyStore) -> None:
    custody = hsm(softhsm)
    key = made_in(custody)
    private = custody._session.get_key(object_class=ObjectClass.PRIVATE_KEY, id=bytes.fromhex(key.private))
    assert (private[Attribute.EXTRACTABLE], private[Attribute.SENSITIVE]) == (False, True)
    with pytest.raises(AttributeSensitive):
        private[Attribute.VALUE]
    custody.close()


@pytest.mark.parametrize("wrong", ["no such token", "no such module", "wrong PIN"])
def test_an_hsm_that_cannot_be_reached_is_unavailable_and_says_no_secret(softhsm: KeyStore, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "pin").write_text("999999")
    changes: dict[str, Any] = {
        "no such token": {"token_label": "nobody"},
        "no such module": {"module": str(tmp_path / "none.so")},
        "wrong PIN": {"pin_file": tmp_path / "pin"},
    }[wrong]
    with pytest.raises(Unavailable) as refused:
        hsm(softhsm, **changes).make("token")
    assert "999999" not in str(refused.value)


def test_without_a_pin_nothing_starts(softhsm: KeyStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pin"):
        hsm(softhsm, pin_file=tmp_path / "pin")


async def test_a_broker_moves_to_its_hsm_and_issues_with_it(softhsm: KeyStore, tmp_path: Path) -> None:
    """What is kept elsewhere is followed at once, published first like any other key; an HSM that fails gives no token."""
    backend = fake_backend()
    world = World(tmp_path, backend, changes={"key_store": softhsm})
    world.follow()
    old = world.broker.keys.token.kid
    await world.broker.rotation.keep()
    assert world.broker.keys.token.kid == old
    world.advance(8 * 60_000)
    kept = {key.kept for key in world.broker.keys.record.keys if key.state(world.clock.now().wall) == "active"}
    assert kept == {f"pkcs11:{LABEL}"}
    issued = await world.issue()
    keys = KeySet.parse(world.broker.keys.token_jwks, algorithms=TOKEN_ALGORITHMS)
    assert jose.read(issued.access_token, types=frozenset({"at+jwt"})).verified_payload(keys)
    private = world.broker.keys.record.get(world.broker.keys.token.kid)
    assert private is not None
    world.broker.keys.discard(private)
    with pytest.raises(Unavailable):
        await world.issue()
    assert await world.broker.leases.count_live(world.broker.streams.picture.epoch, "support-bot") == 1
    world.broker.keys.close()
    await backend.close()
