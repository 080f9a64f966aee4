"""`broker key`: look at the broker's keys and rotate them, at a real broker on a real Redis; change the passphrase."""

from collections.abc import Iterator

import pytest

from broker.keys import KeyFolder
from tests.broker.cli.conftest import two_workers
from tests.broker.cli.served import Served
from tests.broker.cli.typed import run
from tests.scopes.clocks import eventually

SUBJECT = "crm:ticket/4711#read[subject]"
WHY = ("--reason", "a drill")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A broker of this file alone, for its keys do not stay as they are."""
    yield from two_workers(tmp_path_factory)


def keys(served, state):
    return {key["use"]: key["kid"] for key in served.operate("key", "list", "--json").document["keys"] if key["state"] == state}


def test_keys_are_listed_with_what_they_sign_and_what_comes_next(served):
    listed = served.operate("key", "list").out
    assert all(word in listed for word in ("token", "feed", "active", "folder"))
    assert set(keys(served, "active")) == {"token", "feed"}


@pytest.mark.parametrize(("options", "use"), [((), "token"), (("--feed",), "feed")])
def test_the_next_key_is_published_and_signs_later(served, options, use):
    done = served.operate("key", "rotate", *options, *WHY)
    assert "is published, and signs from" in done.out
    # Listed by the other worker perhaps, which hears of it with its next beat.
    eventually(lambda: keys(served, "prepared").get(use, "nothing yet") in done.out)


def test_with_now_it_signs_at_once_and_tokens_are_issued(served):
    before = keys(served, "active")["token"]
    assert "signs now" in served.operate("key", "rotate", "--now", *WHY).out
    eventually(lambda: keys(served, "active")["token"] != before)
    assert served.act("token", "request", SUBJECT).code == 0


def test_a_stolen_key_is_replaced_and_what_it_signed_is_said_to_end(served):
    stolen = keys(served, "active")["token"]
    done = served.operate("key", "rotate", "--revoke", stolen, *WHY)
    assert f"{stolen} is revoked (evt_" in done.err
    eventually(lambda: keys(served, "revoked") == {"token": stolen})
    assert served.act("token", "request", SUBJECT).code == 0


def test_programs_are_told_which_key_it_is(served):
    assert served.operate("key", "rotate", "--feed", "--json", *WHY).document["key"]["use"] == "feed"


def test_the_passphrase_is_changed_and_a_wrong_one_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run("init", str(tmp_path / "broker"))
    config, folder, new = ("--config", str(tmp_path / "broker" / "broker.toml")), tmp_path / "broker" / "keys", tmp_path / "new"
    new.write_text("one\n")
    assert run("key", "passphrase", "--new", str(new), *config).code == 0
    refused = run("check", *config)
    assert (refused.code, "BROKER_KEY_PASSPHRASE" in refused.err) == (1, True)
    monkeypatch.setenv("BROKER_KEY_PASSPHRASE", "one")
    assert run("check", *config).code == 0
    new.write_text("two\n")
    assert run("key", "passphrase", "--new", str(new), "--json", *config).document == {"changed": True}
    before = (folder / "wrapping.key").read_bytes()
    assert run("key", "passphrase", "--new", str(new), *config).code == 2
    assert (folder / "wrapping.key").read_bytes() == before
    assert KeyFolder.load(folder, b"two").record


def test_an_empty_passphrase_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run("init", str(tmp_path / "broker"))
    (tmp_path / "empty").write_text("\n")
    done = run("key", "passphrase", "--new", str(tmp_path / "empty"), "--config", str(tmp_path / "broker" / "broker.toml"))
    assert (done.code, "empty" in done.err) == (2, True)
