import random
from collections.abc import Iterator

import httpx2
import pytest

from scopes.errors import InvalidDocument
from scopes.issuer_keys import HARD_AGE, MIN_INTERVAL, REFRESH_INTERVAL, IssuerKeys, read_bounded
from scopes.keys import MAX_JWKS_BYTES
from tests.scopes.clocks import MovableClock, eventually
from tests.scopes.issuer import JWKS, Answer, Issuer
from tests.scopes.tokens import new_key


@pytest.fixture
def keys(issuer: Issuer, clock: MovableClock) -> Iterator[IssuerKeys]:
    """Keys whose steps the test takes itself, unless it starts them."""
    keys = IssuerKeys(url=f"{issuer.url}{JWKS}", client=httpx2.Client, clock=clock)
    yield keys
    keys.close()


FAILURES = [
    pytest.param(Answer(500), id="an error"),
    pytest.param(Answer(404), id="not found"),
    pytest.param(Answer(200, b"not json"), id="not JSON"),
    pytest.param(Answer(200, b'{"keys":5}'), id="not a key set"),
    pytest.param(Answer(200, b""), id="nothing"),
    pytest.param(Answer(200, b" " * (MAX_JWKS_BYTES + 1)), id="too large (TRAPS 5)"),
    pytest.param(Answer(200, b"{}", (("Content-Length", "99"),)), id="cut off"),
    pytest.param(Answer(302, b"", (("Location", "/elsewhere"),)), id="a redirect (TRAPS 5)"),
    pytest.param(
        Answer(301, b'{"keys":[]}', (("Location", "http://169.254.169.254/"),)),
        id="a redirect into a private network (TRAPS 5)",
    ),
]


def test_no_key_is_known_before_the_first_fetch(keys, clock, issuer):
    assert not keys.is_usable(clock.now())
    assert keys.find(issuer.key.kid) is None


def test_the_keys_of_the_issuer_are_fetched(keys, clock, issuer):
    assert 0.9 * REFRESH_INTERVAL <= keys.refresh() <= REFRESH_INTERVAL
    assert keys.is_usable(clock.now())
    assert keys.find(issuer.key.kid).kid == issuer.key.kid
    assert len(keys.keys) == 1


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_fetch_keeps_the_keys_that_are_known(keys, clock, issuer, failure):
    """One failed fetch must not cause an outage (TRAPS 5)."""
    keys.refresh()
    issuer.answers[JWKS] = failure
    clock.advance(300_000)
    assert MIN_INTERVAL <= keys.refresh() <= 1.5 * MIN_INTERVAL
    assert keys.is_usable(clock.now())
    assert keys.find(issuer.key.kid) is not None


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_first_fetch_is_tried_again_soon(keys, clock, issuer, failure):
    issuer.answers[JWKS] = failure
    assert 0.1 <= keys.refresh() <= 0.5
    assert not keys.is_usable(clock.now())
    del issuer.answers[JWKS]
    keys.refresh()
    assert keys.is_usable(clock.now())


def test_a_redirect_is_not_followed(keys, issuer):
    """Neither to another path nor to another host (TRAPS 5, 29)."""
    issuer.answers[JWKS] = Answer(302, b"", (("Location", f"{issuer.url}/elsewhere"),))
    keys.refresh()
    assert issuer.times_asked("/elsewhere") == 0


def test_an_answer_without_end_is_not_read_to_its_end():
    """TRAPS 5: a response of unlimited size."""
    chunks = iter([bytes(1024)] * 1000)
    with pytest.raises(InvalidDocument, match="larger than 4096"):
        read_bounded(httpx2.Response(200, content=chunks), 4096)
    assert len(list(chunks)) > 900


def test_an_issuer_that_is_not_there_leaves_what_is_known(keys, clock, issuer):
    keys.refresh()
    issuer.close()
    clock.advance(300_000)
    assert MIN_INTERVAL <= keys.refresh() <= 1.5 * MIN_INTERVAL
    assert keys.is_usable(clock.now())


def test_keys_are_trusted_up_to_their_hard_age_and_not_longer(keys, clock, issuer):
    """Then a key that was withdrawn meanwhile must not verify any more."""
    keys.refresh()
    issuer.answers[JWKS] = Answer(500)
    clock.advance(HARD_AGE)
    keys.refresh()
    assert keys.is_usable(clock.now())
    clock.advance(1)
    assert not keys.is_usable(clock.now())


def test_setting_the_wall_clock_back_does_not_make_keys_younger(keys, clock):
    keys.refresh()
    clock.advance(HARD_AGE + 1)
    clock.set_wall(-HARD_AGE)
    assert not keys.is_usable(clock.now())


def test_a_key_that_was_withdrawn_is_gone_with_the_next_fetch(keys, clock, issuer):
    keys.refresh()
    old, issuer.key = issuer.key, new_key()
    clock.advance(300_000)
    keys.refresh()
    assert keys.find(old.kid) is None
    assert keys.find(issuer.key.kid) is not None


def test_an_issuer_is_asked_once_in_ten_seconds_whoever_asks(keys, clock, issuer):
    """TRAPS 5."""
    keys.refresh()
    clock.advance(4_000)
    assert keys.refresh() == pytest.approx(6.0)
    assert issuer.times_asked(JWKS) == 1
    clock.advance(6_000)
    keys.refresh()
    assert issuer.times_asked(JWKS) == 2


def test_invented_key_ids_cause_one_fetch_in_ten_seconds(keys, clock, issuer):
    """Requests with invented key ids must not become requests to the issuer (TRAPS 5)."""
    keys.start()
    eventually(lambda: keys.is_usable(clock.now()))
    clock.advance(10_000)
    for number in range(200):
        assert keys.find(f"invented-{number}") is None
    eventually(lambda: issuer.times_asked(JWKS) == 2)
    for number in range(200):
        assert keys.find(f"invented-{number}") is None
    keys.close()
    assert issuer.times_asked(JWKS) == 2


def test_a_new_key_is_found_soon_after_somebody_asks_for_it(keys, clock, issuer):
    keys.start()
    eventually(lambda: keys.is_usable(clock.now()))
    issuer.key = new_key()
    clock.advance(10_000)
    assert keys.find(issuer.key.kid) is None
    eventually(lambda: keys.find(issuer.key.kid) is not None)


def test_verifiers_started_together_do_not_fetch_together(issuer, clock):
    """TRAPS 5: all refetch at the same second after a rotation."""
    waits = {IssuerKeys(url=f"{issuer.url}{JWKS}", client=httpx2.Client, clock=clock).refresh() for _ in range(5)}
    assert len(waits) == 5


def test_verifiers_that_meet_a_new_key_at_once_do_not_fetch_at_once(issuer, clock, monkeypatch):
    """TRAPS 5: all refetch at the same second after a rotation."""
    monkeypatch.setattr("scopes.issuer_keys.SPREAD", 2.0)
    random.seed(8)
    verifiers = [IssuerKeys(url=f"{issuer.url}{JWKS}", client=httpx2.Client, clock=clock) for _ in range(10)]
    for keys in verifiers:
        keys.refresh()
    issuer.key = new_key()
    clock.advance(60_000)
    waits = {}
    for keys in verifiers:
        assert keys.find(issuer.key.kid) is None
        waits[keys] = keys.refresh()
        assert keys.refresh() == waits[keys]
    assert issuer.times_asked(JWKS) == 10
    assert all(0 < wait <= 2.0 for wait in waits.values())
    assert max(waits.values()) - min(waits.values()) > 1.0
    clock.advance(2_000)
    for keys in verifiers:
        keys.refresh()
        assert keys.find(issuer.key.kid) is not None
    assert issuer.times_asked(JWKS) == 20


def test_failed_fetches_are_repeated_at_different_moments(issuer, clock):
    verifiers = [IssuerKeys(url=f"{issuer.url}{JWKS}", client=httpx2.Client, clock=clock) for _ in range(5)]
    for keys in verifiers:
        keys.refresh()
    issuer.answers[JWKS] = Answer(500)
    clock.advance(300_000)
    assert len({keys.refresh() for keys in verifiers}) == 5
