import socket
import sys
import threading

import pytest

from scopes import (
    AlreadyUsed,
    Denied,
    Expired,
    Grant,
    InvalidProof,
    InvalidToken,
    ProofRequired,
    ReplayUnknown,
    Revoked,
    Scope,
    Stale,
    Unavailable,
    Unconfirmed,
    Verifier,
)
from tests.scopes import vectors
from tests.scopes.asking import is_granted, pass_time, read
from tests.scopes.clocks import eventually
from tests.scopes.issuer import JWKS, STREAM, Answer
from tests.scopes.tokens import AUDIENCE, RESOURCE, new_key, of_scope


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


def test_a_grant_refuses_to_write_what_it_has_no_field_for(verifier, make_token):
    """TRAPS 14."""
    grant = read(verifier, make_token(**of_scope(f"{RESOURCE}#read[customer.name,subject]")))
    grant.check({"subject": "Help", "customer": {"name": "Jane"}})
    with pytest.raises(Denied, match=r"grant the fields customer\.email, number$"):
        grant.check({"customer": {"name": "Jane", "email": "jane@example.com"}, "number": 17})
    read(verifier, make_token(**of_scope(f"{RESOURCE}#read"))).check({"number": 17})


def test_a_refusal_of_very_many_fields_stays_short(verifier, make_token):
    grant = read(verifier, make_token())
    with pytest.raises(Denied, match=r" and 99990 more$") as denied:
        grant.check({f"{number:x<1000}": 1 for number in range(100_000)})
    assert len(str(denied.value)) < 1000


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


# What this verifier cannot enforce, it refuses


LIMITED = [
    pytest.param("fields", {}, id="fields"),
    pytest.param("proof", {"cnf": {"jkt": "0ZcO"}}, id="proof"),
    pytest.param("certificate", {"cnf": {"x5t#S256": "bwcK"}}, id="certificate"),
    pytest.param("single_use", {"lease": {"single_use": True}}, id="single use"),
    pytest.param("max_uses", {"lease": {"max_uses": 2}}, id="counted"),
]


@pytest.mark.parametrize(("constraint", "claims"), LIMITED)
def test_a_token_with_a_constraint_that_the_service_does_not_enforce_is_denied(issuer, clock, make_token, constraint, claims):
    """D7: honoured more widely than it says, it would silently not be limited."""
    with Verifier(issuer.url, AUDIENCE, lambda: "svid", without=[constraint], clock=clock) as verifier:
        eventually(lambda: verifier.is_ready)
        with pytest.raises(Denied, match=rf"limited by {constraint}, which this service does not enforce"):
            read(verifier, make_token(**claims))
        assert read(verifier, make_token(**of_scope(f"{RESOURCE}#read")))


@pytest.mark.parametrize("lease", [{"single_use": True}, {"max_uses": 2}])
def test_a_token_to_be_consumed_is_denied_by_who_has_no_identity_to_ask_the_issuer_with(verifier, make_token, lease):
    with pytest.raises(Denied, match="does not enforce"):
        read(verifier, make_token(lease=lease))


@pytest.mark.parametrize("without", [["singel_use"], "proof", ["proof", ""]], ids=str)
def test_a_constraint_that_is_misspelt_is_not_told_to_be_enforced(issuer, clock, without):
    with pytest.raises(ValueError, match="no constraint"):
        Verifier(issuer.url, AUDIENCE, without=without, clock=clock)
    assert issuer.requests == []


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


def test_the_service_says_who_it_is_to_the_feed_and_to_nobody_else(issuer, clock):
    """Its identity may rotate, so it is asked for at each connection."""
    identities = iter(f"svid-{number}" for number in range(100))
    with Verifier(issuer.url, AUDIENCE, lambda: next(identities), clock=clock) as verifier:
        eventually(lambda: verifier.is_ready)
        issuer.cut()
        eventually(lambda: issuer.times_asked(STREAM) == 2)
    shown = {path: [request.authorization for request in issuer.requests if request.path == path] for path in (JWKS, STREAM)}
    assert shown[JWKS] == [None]
    assert shown[STREAM][0] == "Bearer svid-0"
    assert len(set(shown[STREAM]) - {None}) == 2


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
        except BaseException as error:  # whatever a thread met is the answer of this test
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


def test_every_refusal_has_a_code_and_a_status_of_its_kind():
    """`code` and `status` are what services answer with (RFC 6750 §3.1), and stay."""
    kinds = (InvalidToken, Expired, Revoked, AlreadyUsed, ProofRequired, InvalidProof, Denied)
    kinds += (Stale, Unavailable, ReplayUnknown, Unconfirmed)
    assert [(kind.code, kind.status) for kind in kinds] == [
        ("invalid_token", 401),
        ("token_expired", 401),
        ("token_revoked", 401),
        ("already_used", 401),
        ("proof_required", 401),
        ("invalid_dpop_proof", 401),
        ("insufficient_scope", 403),
        ("revocation_state_stale", 503),
        ("keys_unavailable", 503),
        ("proof_replay_unknown", 503),
        ("use_unconfirmed", 503),
    ]


def test_ten_thousand_requests_with_unknown_keys_cause_one_fetch_in_ten_seconds(verifier, clock, issuer, make_token):
    """TRAPS 5: unknown `kid` causes a fetch per request."""
    for seconds in range(21):
        eventually(lambda wanted=1 + seconds // 10: issuer.times_asked(JWKS) == wanted)
        for number in range(500):
            with pytest.raises(InvalidToken):
                read(verifier, make_token(header={"kid": f"invented {seconds} {number}"}))
        clock.advance(1_000)
    assert issuer.times_asked(JWKS) <= 3


def test_a_remembered_token_is_refused_once_its_key_is_published_no_more(verifier, clock, issuer, make_token):
    token = make_token()
    assert is_granted(verifier, token)
    issuer.key = new_key()
    pass_time(verifier, issuer, clock, 10_000)
    assert is_granted(verifier, token)
    assert not is_granted(verifier, make_token())
    eventually(lambda: issuer.times_asked(JWKS) == 2)
    eventually(lambda: not is_granted(verifier, token))
    assert is_granted(verifier, make_token())
