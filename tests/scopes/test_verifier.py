import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scopes import (
    Denied,
    Expired,
    Grant,
    InvalidToken,
    ProofRequired,
    Revoked,
    Scope,
    Stale,
    Unavailable,
    VerificationError,
    Verifier,
)
from scopes.clock import SystemClock
from scopes.issuer_keys import HARD_AGE
from tests.scopes import vectors
from tests.scopes.clocks import MovableClock, eventually
from tests.scopes.issuer import JWKS, STREAM, Answer, Issuer
from tests.scopes.tokens import AUDIENCE, RESOURCE, new_key, of_scope

ROOT = Path(__file__).parents[2]


def read(verifier: Verifier, token: str, **request: Any) -> Grant:
    """Verify as a service does that was asked to show the ticket."""
    return verifier.verify(token, **({"action": "read", "resource": RESOURCE} | request))


def catch_up(verifier: Verifier, issuer: Issuer) -> None:
    """Wait until the verifier has heard all that the issuer said."""
    head = issuer.log.snapshot()
    eventually(lambda: (verifier.picture.id, verifier.picture.as_of) == (head.id, head.as_of))


def pass_time(verifier: Verifier, issuer: Issuer, clock: MovableClock, ms: int) -> None:
    """Let time pass while the issuer keeps beating."""
    clock.advance(ms)
    issuer.beat()
    catch_up(verifier, issuer)


@pytest.mark.parametrize("text", ["\udce9", "é.é.é", "a.b.c", "....", "\x00" * 100, "🔑", "a" * 1_000_000])
def test_whatever_a_caller_sends_as_a_token_is_an_invalid_token(verifier, text):
    with pytest.raises(InvalidToken):
        read(verifier, text)


# What a grant says


def test_a_grant_says_who_may_do_what_until_when(verifier, make_token, clock):
    token = make_token(sub="corp:jane", act={"sub": "spiffe://x.test/bot"}, lease={"user": True, "path": ["tsk_01", "tsk_02"]})
    assert read(verifier, token) == Grant(
        agent="support-bot",
        workload="spiffe://x.test/bot",
        user="corp:jane",
        task="tsk_02",
        lease="lse_01",
        scope=Scope.parse(f"{RESOURCE}#read[description,subject]"),
        level="read",
        expires=clock.seconds + 300,
    )


def test_a_grant_projects_a_record_to_its_fields(verifier, make_token):
    """The stored field list has to be enforced somewhere (TRAPS 14)."""
    grant = read(verifier, make_token())
    assert grant.fields == ("description", "subject")
    assert grant.project({"subject": "Help", "card_number": "4111", "email": "j@example.com"}) == {"subject": "Help"}


def test_a_grant_without_fields_gives_a_copy_of_the_whole_record(verifier, make_token):
    grant = read(verifier, make_token(**of_scope(f"{RESOURCE}#read")))
    record = {"title": "How to"}
    assert grant.project(record) == record
    assert grant.project(record) is not record


def test_a_text_for_a_list_of_fields_is_not_taken_for_its_letters(verifier, make_token):
    with pytest.raises(Denied):
        read(verifier, make_token(), fields="subject")


# Time


def test_a_token_is_over_at_the_second_it_names(verifier, make_token, issuer, clock):
    """Late is late: no leeway, also for a token seen before."""
    token = make_token(exp=clock.seconds + 20)
    pass_time(verifier, issuer, clock, 19_999)
    assert read(verifier, token)
    clock.advance(1)
    with pytest.raises(Expired):
        read(verifier, token)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_may_be_five_seconds_from_the_future(verifier, make_token, clock, claim):
    token = make_token(**{claim: clock.seconds + 6})
    with pytest.raises(InvalidToken, match="future"):
        read(verifier, token)
    clock.advance(1_000)
    assert read(verifier, token)


# Freshness


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
        with pytest.raises(Stale):
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


# What this verifier cannot enforce, it refuses


@pytest.mark.parametrize("lease", [{"single_use": True}, {"max_uses": 2}])
def test_a_token_to_be_consumed_is_denied(verifier, make_token, lease):
    with pytest.raises(Denied, match="consumed"):
        read(verifier, make_token(lease=lease))


@pytest.mark.parametrize("cnf", [{"jkt": "0ZcO"}, {"x5t#S256": "bwcK"}])
def test_a_bound_token_is_not_taken_as_a_bearer_token(verifier, make_token, cnf):
    """TRAPS 17."""
    with pytest.raises(ProofRequired):
        read(verifier, make_token(cnf=cnf))


# No waiting for the network


def test_verifying_never_touches_the_network(verifier, make_token, issuer, monkeypatch):
    """An issuer that is down ends nothing before the staleness bound does."""
    tokens = [make_token(jti=f"lse_{number}") for number in range(20)] + [make_token(key=new_key())]
    issuer.close()
    connections: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *_: connections.append(threading.current_thread()))
    assert [read(verifier, token).lease for token in tokens[:-1]] == [f"lse_{number}" for number in range(20)]
    with pytest.raises(InvalidToken):
        read(verifier, tokens[-1])
    assert threading.current_thread() not in connections


def test_invented_key_ids_cause_one_fetch_in_ten_seconds(verifier, make_token, issuer, clock):
    """TRAPS 5."""
    before = issuer.times_asked(JWKS)
    clock.advance(10_000)
    for number in range(50):
        with pytest.raises(InvalidToken):
            read(verifier, make_token(header={"kid": f"invented-{number}"}))
    eventually(lambda: issuer.times_asked(JWKS) == before + 1)
    for number in range(50):
        with pytest.raises(InvalidToken):
            read(verifier, make_token(header={"kid": f"another-{number}"}))
    verifier.close()
    assert issuer.times_asked(JWKS) == before + 1


def test_a_key_published_later_is_found(verifier, make_token, issuer, clock):
    """Rotation: prepare, activate, retire."""
    issuer.key = new_key()
    token = make_token()
    clock.advance(10_000)
    with pytest.raises(InvalidToken):
        read(verifier, token)
    eventually(lambda: is_granted(verifier, token))


def is_granted(verifier: Verifier, token: str) -> bool:
    try:
        read(verifier, token)
    except VerificationError:
        return False
    return True


def test_the_service_says_who_it_is_to_the_feed_and_to_nobody_else(issuer, clock):
    """Its identity may rotate, so it is asked for at each connection."""
    identities = iter(f"svid-{number}" for number in range(100))
    with Verifier(issuer.url, AUDIENCE, lambda: next(identities), clock=clock) as verifier:
        eventually(lambda: verifier.is_ready)
        issuer.cut()
        eventually(lambda: issuer.times_asked(STREAM) == 2)
    shown = {path: [request.authorization for request in issuer.requests if request.path == path] for path in (JWKS, STREAM)}
    assert shown == {JWKS: [None], STREAM: ["Bearer svid-0", "Bearer svid-1"]}


# Tokens seen before


def test_a_token_seen_before_is_not_read_again(verifier, make_token):
    """The second look costs microseconds."""
    token = make_token()
    assert read(verifier, token) is read(verifier, token)


def test_verified_tokens_are_remembered_up_to_a_bound(verifier, make_token, monkeypatch):
    """The oldest goes; whoever sends many tokens does not fill the memory."""
    monkeypatch.setattr("scopes.verifier.MAX_VERIFIED", 3)
    tokens = [make_token(jti=f"lse_{number}") for number in range(4)]
    grants = [read(verifier, token) for token in tokens]
    assert [read(verifier, token) is grant for token, grant in zip(tokens[1:], grants[1:], strict=True)] == [True] * 3
    assert read(verifier, tokens[0]) is not grants[0]


def test_threads_may_share_a_verifier_that_is_full(verifier, make_token, monkeypatch):
    """To find the oldest and to drop it must be one step, or a thread meets a dictionary that changed."""
    monkeypatch.setattr("scopes.verifier.MAX_VERIFIED", 8)
    tokens = [make_token(jti=f"lse_{number}") for number in range(40)]
    failures: list[BaseException] = []

    def verify_all() -> None:
        try:
            for _ in range(5):
                assert [read(verifier, token).lease for token in tokens] == [f"lse_{number}" for number in range(40)]
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=verify_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []


def test_a_token_is_forgotten_with_its_key(verifier, make_token, issuer, clock):
    """Removing a key from the key set ends its tokens, though they were verified before."""
    token = make_token()
    assert read(verifier, token)
    issuer.key = new_key()
    clock.advance(10_000)
    assert not is_granted(verifier, make_token())
    eventually(lambda: is_granted(verifier, make_token()))
    with pytest.raises(InvalidToken):
        read(verifier, token)


def test_another_key_under_a_known_id_does_not_vouch_for_earlier_tokens(verifier, make_token, issuer, clock):
    token, kid = make_token(), issuer.key.kid
    assert read(verifier, token)
    issuer.key = new_key()
    issuer.answers[JWKS] = Answer(200, vectors.as_json({"keys": [{**issuer.key.public_jwk, "kid": kid}]}))
    clock.advance(10_000)
    assert not is_granted(verifier, make_token())
    eventually(lambda: is_granted(verifier, make_token(header={"kid": kid})))
    with pytest.raises(InvalidToken):
        read(verifier, token)


# Life and death of the threads


def test_closing_is_quick_also_while_the_feed_waits_and_then_all_turns_stale(verifier, make_token, clock):
    token = make_token()
    assert read(verifier, token)
    verifier.close()
    assert not [thread for thread in threading.enumerate() if thread.name in {"revocation-feed", "issuer-keys"}]
    clock.advance(30_001)
    with pytest.raises(Stale):
        read(verifier, token)


def test_verifying_works_inside_an_event_loop(verifier, make_token):
    async def serve() -> Grant:
        return read(verifier, make_token())

    assert asyncio.run(serve()).agent == "support-bot"


class Beating:
    """Beats with the system's time, until it is told to stop."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(0.02):
            self._issuer.beat()


@pytest.fixture
def system_issuer() -> Iterator[Issuer]:
    issuer = Issuer(SystemClock())
    yield issuer
    issuer.close()


@pytest.mark.parametrize("mode", ["follow", "close"])
def test_a_forked_process_follows_by_itself_and_leaves_its_parents_stream_alone(system_issuer, mode):
    """A feed thread that does not exist after a fork (TRAPS 23c)."""
    with Beating(system_issuer):
        command = [sys.executable, "-m", "tests.scopes.fork_and_verify", system_issuer.url, AUDIENCE, mode]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    streams = [request.authorization for request in system_issuer.requests if request.path == STREAM]
    assert streams.count(streams[0]) == 1, "the parent followed one stream all the time"
    assert len(set(streams)) == 2 or mode == "close"


def test_every_refusal_has_a_code_and_a_status_of_its_kind():
    """`code` and `status` are what services answer with (RFC 6750 §3.1), and stay."""
    kinds = (InvalidToken, Expired, Revoked, ProofRequired, Denied, Stale, Unavailable)
    assert [(kind.code, kind.status) for kind in kinds] == [
        ("invalid_token", 401),
        ("token_expired", 401),
        ("token_revoked", 401),
        ("proof_required", 401),
        ("insufficient_scope", 403),
        ("revocation_state_stale", 503),
        ("keys_unavailable", 503),
    ]
