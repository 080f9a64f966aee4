"""Tokens that are bound to a key: honoured for whoever proves to hold it, in this request, once."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scopes import (
    Denied,
    Expired,
    Grant,
    InvalidProof,
    ProofRequired,
    ReplayUnknown,
    Revoked,
    Stale,
    VerificationError,
    Verifier,
)
from scopes import proof as proofs
from scopes.keys import SigningKey
from tests.scopes.asking import catch_up, read
from tests.scopes.clocks import MovableClock, eventually
from tests.scopes.issuer import Issuer
from tests.scopes.proofs import HOSTILE, HOSTILE_WITH_A_TOKEN, Call
from tests.scopes.proofs import proof as written
from tests.scopes.tokens import AUDIENCE, new_key

URL = "https://crm.example.com/tickets/4711"
KEY = new_key()
BOUND = {"cnf": {"jkt": KEY.kid}}


class Holder:
    """Holds a key, and proves it for the tokens that it is given."""

    def __init__(self, verifier: Verifier, clock: MovableClock, key: SigningKey = KEY) -> None:
        self._verifier = verifier
        self._clock = clock
        self.key = key

    def prove(self, token: str, *, method: str = "GET", url: str = URL) -> str:
        return proofs.make(self.key, method=method, url=url, now=self._clock.now().wall, token=token)

    def read(self, token: str, **request: Any) -> Grant:
        shown = {"method": "GET", "url": URL} | request
        return read(self._verifier, token, **({"proof": self.prove(token)} | shown))


@pytest.fixture
def holder(verifier: Verifier, clock: MovableClock) -> Holder:
    return Holder(verifier, clock)


def test_whoever_proves_to_hold_the_key_is_granted(holder, make_token):
    token = make_token(**BOUND)
    assert holder.read(token).lease == "lse_01"
    assert holder.read(token, url=f"{URL}?page=2").lease == "lse_01"


def test_a_bound_token_as_a_plain_bearer_token_is_refused(verifier, holder, make_token):
    """Trap 17; RFC 9449 §7.2."""
    token = make_token(**BOUND)
    holder.read(token)
    with pytest.raises(ProofRequired):
        read(verifier, token)


def test_a_token_that_is_bound_to_nothing_does_not_go_with_a_proof(holder, make_token):
    """RFC 9449 §7.1: the key of the proof has to be the one the token is bound to, and there is none."""
    with pytest.raises(InvalidProof, match="no key"):
        holder.read(make_token())


def test_another_keys_proof_is_refused(holder, make_token, clock, verifier):
    with pytest.raises(InvalidProof, match="another key"):
        Holder(verifier, clock, new_key()).read(make_token(**BOUND))


@pytest.mark.parametrize("hostile", [*HOSTILE, *HOSTILE_WITH_A_TOKEN], ids=lambda hostile: hostile.name)
def test_a_hostile_proof_is_refused(verifier, make_token, clock, hostile):
    """Each names the rule it breaks."""
    token = make_token(**BOUND)
    call = Call(KEY, "GET", URL, clock.seconds, ath=proofs.hash_of(token))
    with pytest.raises(InvalidProof) as refusal:
        read(verifier, token, proof=hostile.write(call), method="GET", url=URL)
    assert (refusal.value.code, refusal.value.status) == ("invalid_dpop_proof", 401)
    assert read(verifier, token, proof=written(call), method="GET", url=URL)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"method": "PUT"}, "invalid_dpop_proof", id="another method"),
        pytest.param({"url": URL + "2"}, "invalid_dpop_proof", id="another URL"),
        pytest.param({"method": ""}, "invalid_dpop_proof", id="a service that does not say the method"),
        pytest.param({"url": ""}, "invalid_dpop_proof", id="a service that does not say the URL"),
        pytest.param({"proof": ""}, "invalid_dpop_proof", id="an empty proof"),
        pytest.param({"proof": None}, "proof_required", id="no proof"),
        pytest.param({"action": "write"}, "insufficient_scope", id="another action, with a good proof"),
    ],
)
def test_a_request_that_is_not_the_proofs_own_is_refused(holder, make_token, change, code):
    with pytest.raises(VerificationError) as refusal:
        holder.read(make_token(**BOUND), **change)
    assert refusal.value.code == code


def test_a_proof_is_for_one_token(holder, make_token):
    """RFC 9449 §4.3 (12)."""
    one, another = make_token(**BOUND), make_token(**BOUND, jti="lse_02")
    with pytest.raises(InvalidProof, match="ath"):
        holder.read(another, proof=holder.prove(one))


def test_a_proof_is_taken_once(holder, make_token):
    """RFC 9449 §11.1, trap 17."""
    token = make_token(**BOUND)
    proof = holder.prove(token)
    holder.read(token, proof=proof)
    with pytest.raises(InvalidProof, match="used before"):
        holder.read(token, proof=proof)


def test_a_proof_stays_used_for_as_long_as_it_could_be_accepted(holder, make_token, clock, issuer, verifier):
    """Trap 7: from five seconds before it was made to a minute after."""
    token = make_token(**BOUND)
    proof = written(Call(KEY, "GET", URL, clock.seconds + 5, ath=proofs.hash_of(token)))
    holder.read(token, proof=proof)
    for _ in range(65):
        clock.advance(1_000)
        issuer.beat()
        catch_up(verifier, issuer)
        with pytest.raises(InvalidProof, match="used before"):
            holder.read(token, proof=proof)
    clock.advance(1_000)
    with pytest.raises(InvalidProof, match="too long ago"):
        holder.read(token, proof=proof)


@pytest.mark.parametrize(("seconds", "accepted"), [(-61, False), (-60, True), (5, True), (6, False)], ids=str)
def test_the_clocks_of_holder_and_service_may_differ_by_a_little(verifier, make_token, clock, seconds, accepted):
    token = make_token(**BOUND)
    proof = written(Call(KEY, "GET", URL, clock.seconds + seconds, ath=proofs.hash_of(token)))
    try:
        read(verifier, token, proof=proof, method="GET", url=URL)
    except InvalidProof:
        assert not accepted
    else:
        assert accepted


def test_a_good_proof_does_not_help_a_token_that_is_over(holder, make_token, clock, issuer, verifier):
    token = make_token(**BOUND)
    holder.read(token)
    issuer.revoke("lease", "lse_01")
    catch_up(verifier, issuer)
    with pytest.raises(Revoked):
        holder.read(token)
    with pytest.raises(Expired):
        holder.read(make_token(**BOUND, exp=clock.seconds))
    clock.advance(31_000)
    with pytest.raises(Stale):
        holder.read(make_token(**BOUND, jti="lse_02"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(
    method=st.sampled_from(["GET", "POST", "get", ""]),
    url=st.sampled_from([URL, URL + "?page=2", URL + "/", URL.upper(), "https://evil.example/tickets/4711", ""]),
    own_token=st.booleans(),
    own_key=st.booleans(),
    seconds=st.integers(-120, 120),
    again=st.booleans(),
)
def test_any_change_of_the_request_is_refused(verifier, make_token, clock, method, url, own_token, own_key, seconds, again):
    """Method, URL, token, key, time and novelty: the proof's own, or nothing."""
    token, another = make_token(**BOUND), make_token(**BOUND, jti="lse_02")
    made = proofs.make(
        KEY if own_key else ANOTHER,
        method="GET",
        url=URL,
        now=(clock.seconds + seconds) * 1000,
        token=token if own_token else another,
    )
    wanted = method == "GET" and url in (URL, URL + "?page=2") and own_token and own_key and -60 <= seconds <= 5
    assert is_honoured(verifier, token, made, method, url) is wanted
    if again:
        assert not is_honoured(verifier, token, made, "GET", URL) or not wanted


ANOTHER = new_key()


def is_honoured(verifier: Verifier, token: str, proof: str, method: str, url: str) -> bool:
    try:
        read(verifier, token, proof=proof, method=method, url=url)
    except InvalidProof:
        return False
    return True


class Shared:
    """A store that the processes of a service share."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.answer: object = None

    async def spend(self, id: str, until: int) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        if callable(self.answer):
            self.answer()
        if id in self.known:
            return False
        self.known[id] = until
        return True


class Processes:
    """Two processes of one service, with a store between them."""

    def __init__(self, issuer: Issuer, clock: MovableClock) -> None:
        self.store = Shared()
        self.one, self.other = (Verifier(issuer.url, AUDIENCE, clock=clock, replay_store=self.store) for _ in range(2))
        eventually(lambda: self.one.is_ready and self.other.is_ready)

    def close(self) -> None:
        self.one.close()
        self.other.close()


@pytest.fixture
def processes(issuer, clock):
    made = Processes(issuer, clock)
    yield made
    made.close()


async def once(verifier: Verifier, token: str, proof: str | None) -> Grant:
    asked = {"action": "read", "resource": "crm:ticket/4711", "method": "GET", "url": URL}
    return await verifier.verify_once(token, **asked, proof=proof)


async def test_across_processes_a_proof_is_taken_once(processes, make_token, clock):
    """Trap 17: a replayed proof is refused by the second worker."""
    token = make_token(**BOUND)
    proof = Holder(processes.one, clock).prove(token)
    assert (await once(processes.one, token, proof)).lease == "lse_01"
    for verifier in (processes.one, processes.other):
        with pytest.raises(InvalidProof, match="used before"):
            await once(verifier, token, proof)
    assert len(processes.store.known) == 1
    assert set(processes.store.known.values()) == {clock.seconds * 1000 + 60_000 + 60_000}


async def test_tokens_that_are_bound_to_nothing_ask_no_store(processes, make_token):
    processes.store.answer = OSError("gone")
    assert (await once(processes.one, make_token(), None)).lease == "lse_01"


@pytest.mark.parametrize("answer", [OSError("gone"), TimeoutError(), KeyError("odd")], ids=repr)
async def test_a_store_that_does_not_answer_means_no(processes, make_token, clock, answer):
    token = make_token(**BOUND)
    processes.store.answer = answer
    with pytest.raises(ReplayUnknown) as refusal:
        await once(processes.one, token, Holder(processes.one, clock).prove(token))
    assert (refusal.value.status, refusal.value.code) == (503, "proof_replay_unknown")
    assert "gone" not in str(refusal.value)


async def test_a_revocation_that_comes_while_the_store_is_asked_holds(processes, make_token, clock, issuer):
    token = make_token(**BOUND)

    def revoke() -> None:
        issuer.revoke("lease", "lse_01")
        catch_up(processes.one, issuer)

    processes.store.answer = revoke
    with pytest.raises(Revoked):
        await once(processes.one, token, Holder(processes.one, clock).prove(token))


def test_with_a_store_the_synchronous_way_refuses_bound_tokens(processes, make_token, clock):
    """It could not ask the store, so it would take a proof twice."""
    with pytest.raises(ReplayUnknown, match="verify_once"):
        Holder(processes.one, clock).read(make_token(**BOUND))
    assert read(processes.one, make_token(jti="lse_02")).lease == "lse_02"


async def test_without_a_store_both_ways_are_the_same(verifier, holder, make_token):
    token = make_token(**BOUND)
    proof = holder.prove(token)
    assert (await once(verifier, token, proof)).lease == "lse_01"
    with pytest.raises(InvalidProof):
        holder.read(token, proof=proof)
    with pytest.raises(Denied):
        await verifier.verify_once(
            token, action="write", resource="crm:ticket/4711", proof=holder.prove(token), method="GET", url=URL
        )
