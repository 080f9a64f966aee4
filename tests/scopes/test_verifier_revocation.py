"""What a verifier makes of revocations, and of knowing too little about them."""

import pytest

from scopes import Revoked, Stale, Unavailable, Verifier
from scopes.clock import SystemClock
from scopes.issuer_keys import HARD_AGE
from tests.scopes.asking import catch_up, pass_time, read
from tests.scopes.clocks import eventually
from tests.scopes.issuer import JWKS, STREAM, Answer
from tests.scopes.tokens import AUDIENCE


@pytest.mark.parametrize(("level", "bound"), [("trigger", 3), ("write", 10), ("draft", 15), ("read", 30)])
def test_a_token_is_refused_when_its_level_wants_fresher_news(verifier, make_token, issuer, clock, level, bound):
    """Feed cut: reading goes on for half a minute, what cannot be taken back for three seconds."""
    token = make_token(lease={"level": level, "max_staleness": bound})
    clock.advance(bound * 1000)
    assert read(verifier, token)
    clock.advance(1)
    with pytest.raises(Stale):
        read(verifier, token)
    pass_time(verifier, issuer, clock, 0)
    assert read(verifier, token)


def test_setting_the_wall_clock_back_gives_no_more_time(verifier, make_token, clock):
    """The boot clock went on (TRAPS 23c)."""
    token = make_token(iat=clock.seconds - 1000, nbf=clock.seconds - 1000, lease={"max_staleness": 3})
    clock.advance(3_001)
    clock.set_wall(-600_000)
    with pytest.raises(Stale):
        read(verifier, token)


def test_nothing_is_granted_before_the_first_snapshot(issuer, clock, make_token):
    issuer.answers[STREAM] = Answer(503)
    with Verifier(issuer.url, AUDIENCE, clock=clock) as verifier:
        eventually(lambda: issuer.times_asked(STREAM) > 1)
        assert not verifier.is_ready
        with pytest.raises(Stale, match="no revocations are known"):
            read(verifier, make_token())


def test_nothing_is_granted_before_the_first_keys(issuer, clock, make_token):
    issuer.answers[JWKS] = Answer(503)
    with Verifier(issuer.url, AUDIENCE, clock=clock) as verifier:
        eventually(lambda: not verifier.picture.needs_snapshot)
        assert not verifier.is_ready
        with pytest.raises(Unavailable):
            read(verifier, make_token())


def test_nothing_is_granted_with_keys_older_than_a_day(verifier, make_token, issuer, clock):
    """Though the token was seen before; meanwhile its key may have been withdrawn."""
    token = make_token(lease={"max_staleness": HARD_AGE})
    assert read(verifier, token)
    pass_time(verifier, issuer, clock, HARD_AGE + 1)
    with pytest.raises(Unavailable):
        read(verifier, token)


def test_waiting_until_ready_ends_with_stale_where_nobody_answers():
    with Verifier("http://127.0.0.1:1", AUDIENCE) as verifier, pytest.raises(Stale, match=r"within 0\.05 seconds"):
        verifier.wait_until_ready(timeout=0.05)


def test_waiting_until_ready_returns_when_keys_and_revocations_are_known(issuer):
    with Verifier(issuer.url, AUDIENCE, clock=SystemClock()) as verifier:
        verifier.wait_until_ready()
        assert verifier.is_ready


# Revocation


@pytest.mark.parametrize(
    ("kind", "value", "changes"),
    [
        ("lease", "lse_01", {}),
        ("task", "tsk_02", {"lease": {"path": ["tsk_01", "tsk_02", "tsk_03"]}}),
        ("taint", "tsk_01", {"lease": {"ends_on_taint": True}}),
        ("agent", "support-bot", {}),
        ("instance", "pod-1", {"lease": {"instance": "pod-1"}}),
        ("lease", "lse_00", {"lease": {"ends_with": ["lease lse_00"]}}),
        ("agent", "planner", {"lease": {"ends_with": ["lease lse_00", "agent planner"]}}),
        ("instance", "a b", {"lease": {"ends_with": ["instance a b"]}}),
        ("class", "above", {"lease": {"ends_with": ["class above"]}}),
        ("user", "corp:jane", {"sub": "corp:jane", "lease": {"user": True}}),
        ("resource", "crm", {}),
        ("resource", "crm:ticket/4711", {}),
        ("class", "class-1", {}),
        ("all", "", {}),
        ("a kind to come", "x", {}),
    ],
)
def test_a_revocation_ends_tokens_that_are_in_use(verifier, make_token, issuer, kind, value, changes):
    """Decided before it: refused, though seen and granted before. Decided after it: granted."""
    token = make_token(**changes)
    assert read(verifier, token)
    issuer.revoke(kind, value)
    catch_up(verifier, issuer)
    with pytest.raises(Revoked):
        read(verifier, token)
    lease = changes.get("lease", {}) | {"position": issuer.log.head.seq}
    assert read(verifier, make_token(**changes | {"lease": lease}))


def test_a_stolen_key_ends_whatever_position_it_signs(verifier, make_token, issuer):
    """TRAPS 6."""
    issuer.revoke("key", issuer.key.kid)
    catch_up(verifier, issuer)
    with pytest.raises(Revoked):
        read(verifier, make_token(lease={"position": 2**50}))


@pytest.mark.parametrize(
    ("kind", "value"), [("taint", "tsk_01"), ("resource", "crm:ticket/47"), ("agent", "support"), ("user", "support-bot")]
)
def test_a_revocation_of_something_else_ends_nothing(verifier, make_token, issuer, kind, value):
    token = make_token()
    issuer.revoke(kind, value)
    catch_up(verifier, issuer)
    assert read(verifier, token)


def test_a_reduction_ends_what_is_above_it(verifier, make_token, issuer):
    reading, writing = make_token(), make_token(lease={"level": "write"})
    issuer.revoke("agent", "support-bot", above="read")
    catch_up(verifier, issuer)
    assert read(verifier, reading)
    with pytest.raises(Revoked):
        read(verifier, writing)


def test_a_revocation_of_the_unapproved_spares_the_approved(verifier, make_token, issuer):
    approved, unapproved = make_token(lease={"approval": "apr_1"}), make_token()
    issuer.revoke("agent", "support-bot", unapproved=True)
    catch_up(verifier, issuer)
    assert read(verifier, approved)
    with pytest.raises(Revoked):
        read(verifier, unapproved)


def test_a_revocation_that_comes_before_the_token_holds(verifier, make_token, issuer):
    """TRAPS 23: the verifier never saw the token, and refuses it when it comes."""
    issuer.revoke("lease", "lse_unseen")
    catch_up(verifier, issuer)
    with pytest.raises(Revoked):
        read(verifier, make_token(jti="lse_unseen"))


def test_a_revoked_token_is_revoked_also_when_the_news_are_old(verifier, make_token, issuer, clock):
    issuer.revoke("lease", "lse_01")
    catch_up(verifier, issuer)
    clock.advance(200_000)
    with pytest.raises(Revoked):
        read(verifier, make_token())


def test_a_new_epoch_voids_earlier_tokens_and_grants_its_own(verifier, make_token, issuer):
    """Redis acknowledged a write and lost it at failover (TRAPS 20): nothing from before is believed."""
    token = make_token()
    assert read(verifier, token)
    issuer.log.begin_epoch("01JE0000000000000000000002")
    issuer.beat()
    catch_up(verifier, issuer)
    with pytest.raises(Revoked):
        read(verifier, token)
    assert read(verifier, make_token(lease={"epoch": issuer.log.epoch, "position": 0}))


def test_a_token_of_a_later_epoch_than_ours_is_stale(verifier, make_token):
    """We know less than who issued it; it may have been revoked already."""
    with pytest.raises(Stale):
        read(verifier, make_token(lease={"epoch": "01JE0000000000000000000002"}))


def test_a_disputed_feed_grants_nothing(verifier, make_token, issuer):
    """Two histories of one epoch: neither can be believed (TRAPS 21a)."""
    token = make_token()
    assert read(verifier, token)
    issuer.log.head = issuer.log.head.__class__(seq=issuer.log.head.seq, id="evt_of_another_history")
    issuer.beat()
    eventually(lambda: verifier.picture.disputed)
    with pytest.raises(Stale):
        read(verifier, token)


@pytest.mark.parametrize(
    ("lease", "value"),
    [({"ends_on_taint": True}, "tsk_01"), ({"ends_on_labels": ["health", "pii"]}, "tsk_01 pii")],
    ids=["what outsiders wrote", "a class of data"],
)
def test_a_token_that_does_not_survive_what_its_tree_reads_is_refused_from_then_on(verifier, make_token, issuer, lease, value):
    """TRAPS 15b: by the event alone, though nobody ended the token itself."""
    fatal, other = make_token(lease=lease), make_token()
    assert read(verifier, fatal)
    issuer.revoke("taint", value)
    catch_up(verifier, issuer)
    with pytest.raises(Revoked):
        read(verifier, fatal)
    assert read(verifier, other)
