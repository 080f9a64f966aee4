"""Having a use counted: once, under one id, also where answers are lost; and the token seen by nobody but its issuer."""

import asyncio
import copy
import json
import pickle
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import msgspec
import pytest

from scopes import (
    AlreadyUsed,
    Denied,
    Expired,
    Grant,
    InvalidToken,
    Revoked,
    Stale,
    Unconfirmed,
    VerificationError,
    Verifier,
    ulid,
)
from scopes.clock import Instant
from scopes.consumption import PATIENCE, Consumable, Consumption
from tests.scopes.asking import catch_up, read
from tests.scopes.clocks import MovableClock
from tests.scopes.issuer import CONSUME, Answer, Issuer

ONCE = {"lease": {"single_use": True}}
# Always the same, for tests have their names from it.
USE = "01M815EF5360ZZ20PMVF6XQF3K"
LOST = Answer(0)


def asked(issuer: Issuer) -> list[dict[str, Any]]:
    """Return what was asked to be counted, in the order in which it came."""
    return [json.loads(request.body) for request in issuer.requests if request.path == CONSUME]


def counted(issuer: Issuer) -> Answer:
    return Answer(200, json.dumps({"lease": "lse_01", "use": asked(issuer)[-1]["use"]}).encode())


def problem(status: int, code: str, **headers: str) -> Answer:
    return Answer(status, json.dumps({"status": status, "code": code}).encode(), tuple(headers.items()))


def answer_in_turn(issuer: Issuer, *answers: Answer | None) -> None:
    """Give these answers one after the other, the last of them for ever; `None` is that it was counted."""
    left = list(answers)

    def next_answer() -> Answer:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer if answer is not None else counted(issuer)

    issuer.answers[CONSUME] = next_answer


class Asker:
    """Asks an issuer, with pauses that only move the clock."""

    def __init__(self, issuer: Issuer, clock: MovableClock) -> None:
        self.pauses: list[float] = []
        self.identities = iter(f"svid-{number}" for number in range(100))
        self._clock = clock
        self._consumption = Consumption(
            issuer=issuer.url,
            client=httpx2.AsyncClient,
            headers=lambda: {"Authorization": f"Bearer {next(self.identities)}"},
            clock=clock,
            sleep=self._pause,
        )

    def ask(self, use: str = USE) -> None:
        asyncio.run(self._consumption("the-token", lease="lse_01", use=use))

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._clock.advance(int(seconds * 1000))


@pytest.fixture
def asker(issuer: Issuer, clock: MovableClock) -> Asker:
    return Asker(issuer, clock)


def consume(verifier: Verifier, grant: Grant, use: str | None = None) -> None:
    asyncio.run(verifier.consume(grant, use))


# What is asked


def test_a_use_is_counted_under_the_id_that_the_service_chose(consumer, issuer, make_token):
    token = make_token(**ONCE)
    answer_in_turn(issuer, None)
    consume(consumer, read(consumer, token), USE)
    assert asked(issuer) == [{"token": token, "use": USE}]
    assert [request.authorization for request in issuer.requests if request.path == CONSUME] == ["Bearer svid"]


def test_without_an_id_each_call_is_a_use_of_its_own(consumer, issuer, make_token):
    grant = read(consumer, make_token(lease={"max_uses": 2}))
    answer_in_turn(issuer, None)
    consume(consumer, grant)
    consume(consumer, grant)
    uses = [one["use"] for one in asked(issuer)]
    assert all(ulid.is_id(use, "") for use in uses)
    assert len(set(uses)) == 2


def test_what_needs_no_consuming_is_consumed_without_a_word(consumer, issuer, make_token):
    grant = read(consumer, make_token())
    assert grant.consumable is None
    consume(consumer, grant)
    assert asked(issuer) == []


@pytest.mark.parametrize("use", ["", "payment-17", "01arz3ndektsv4rrffq69g5fav", f"lse_{USE}", USE + "\n"])
def test_an_id_that_is_no_ulid_is_a_mistake_of_the_service(consumer, issuer, make_token, use):
    with pytest.raises(ValueError, match="ULID"):
        consume(consumer, read(consumer, make_token(**ONCE)), use)
    assert asked(issuer) == []


def test_the_issuer_is_not_asked_about_what_it_has_ended(consumer, issuer, make_token):
    """No use is spent on a token that would be refused."""
    grant = read(consumer, make_token(**ONCE))
    issuer.revoke("lease", "lse_01")
    catch_up(consumer, issuer)
    with pytest.raises(Revoked):
        consume(consumer, grant)
    assert asked(issuer) == []


def test_a_token_that_ends_while_it_is_counted_is_refused(consumer, issuer, make_token):
    """The answer may take a while; the picture is looked at once more."""
    grant = read(consumer, make_token(**ONCE))

    def revoked_meanwhile() -> Answer:
        issuer.revoke("agent", "support-bot")
        catch_up(consumer, issuer)
        return counted(issuer)

    issuer.answers[CONSUME] = revoked_meanwhile
    with pytest.raises(Revoked):
        consume(consumer, grant)


def test_a_verifier_that_is_closed_consumes_nothing(consumer, issuer, make_token):
    grant = read(consumer, make_token(**ONCE))
    consumer.close()
    with pytest.raises(Stale):
        consume(consumer, grant)
    assert asked(issuer) == []


def test_another_issuers_grant_is_not_sent_to_this_one(consumer, issuer, clock, make_token):
    """What was verified elsewhere is nothing here, and a token is shown to nobody but its issuer."""
    grant = read(consumer, make_token(**ONCE))
    other = Issuer(clock)
    with Verifier(other.url, "https://crm.example.com", lambda: "svid", clock=clock) as elsewhere:
        elsewhere.wait_until_ready()
        with pytest.raises(InvalidToken):
            consume(elsewhere, grant)
    other.close()
    assert asked(other) == []


# What is answered


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (problem(409, "already_used"), AlreadyUsed),
        (problem(410, "revoked"), Revoked),
        (problem(410, "expired"), Expired),
        (problem(403, "access_denied"), Denied),
        (problem(404, "not_found"), InvalidToken),
        (problem(400, "invalid_request"), Unconfirmed),
        (problem(401, "invalid_client"), Unconfirmed),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value.status),
)
def test_a_refusal_has_a_class_of_its_kind_and_is_asked_for_once(asker, issuer, answer, refusal):
    answer_in_turn(issuer, answer)
    with pytest.raises(VerificationError) as refused:
        asker.ask()
    assert type(refused.value) is refusal
    assert len(asked(issuer)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>Welcome to our hotel"),
        Answer(200, b""),
        Answer(200, json.dumps({"lease": "lse_02", "use": USE}).encode()),
        Answer(200, json.dumps({"lease": "lse_01", "use": ulid.new(1)}).encode()),
        Answer(200, b" " * 100_000 + json.dumps({"lease": "lse_01", "use": USE}).encode()),
        Answer(204),
        Answer(302, b"", (("Location", "/elsewhere"),)),
        Answer(403, b"blocked by the firewall"),
        Answer(409, b"{}"),
        problem(410, "already_used"),
    ],
    ids=["a portal", "nothing", "another lease", "another use", "too much", "204", "302", "a firewall", "no code", "a mix"],
)
def test_what_is_not_the_issuers_word_is_no_yes_and_no_final_no(asker, issuer, answer):
    answer_in_turn(issuer, answer)
    with pytest.raises(Unconfirmed):
        asker.ask()


def test_a_use_whose_answer_was_lost_is_asked_for_again_under_the_same_id(asker, issuer):
    """TRAPS 15a: else the payment neither runs nor can run."""
    answer_in_turn(issuer, LOST, LOST, problem(503, "temporarily_unavailable"), None)
    asker.ask()
    assert [one["use"] for one in asked(issuer)] == [USE] * 4
    assert len(asker.pauses) == 3


def test_the_identity_is_asked_for_each_time_for_it_may_rotate(asker, issuer):
    answer_in_turn(issuer, LOST, None)
    asker.ask()
    assert [request.authorization for request in issuer.requests] == ["Bearer svid-0", "Bearer svid-1"]


@pytest.mark.parametrize("answer", [LOST, Answer(500), Answer(502), problem(503, "temporarily_unavailable"), Answer(429)])
def test_an_issuer_that_does_not_answer_is_asked_for_seconds_and_no_longer(asker, issuer, clock, answer):
    began = clock.now()
    answer_in_turn(issuer, answer)
    with pytest.raises(Unconfirmed) as refused:
        asker.ask()
    assert (refused.value.code, refused.value.status) == ("use_unconfirmed", 503)
    assert 0 < clock.now().since(began) <= PATIENCE
    assert 4 <= len(asked(issuer)) <= 15


def test_an_issuer_that_says_when_to_come_back_is_not_asked_before(asker, issuer):
    answer_in_turn(issuer, problem(503, "temporarily_unavailable", **{"Retry-After": "2"}), None)
    asker.ask()
    (pause,) = asker.pauses
    assert 2.0 <= pause <= 2.5


@pytest.mark.parametrize("seconds", ["60", "9" * 400])
def test_an_issuer_that_says_to_come_back_later_than_anybody_waits_is_not_waited_for(asker, issuer, seconds):
    answer_in_turn(issuer, problem(503, "temporarily_unavailable", **{"Retry-After": seconds}))
    with pytest.raises(Unconfirmed):
        asker.ask()
    assert asker.pauses == []


@pytest.mark.parametrize("said", ["0", "-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_pause_that_is_none_hammers_nobody(asker, issuer, said):
    answer_in_turn(issuer, problem(503, "temporarily_unavailable", **{"Retry-After": said}))
    with pytest.raises(Unconfirmed):
        asker.ask()
    assert min(asker.pauses) >= 0.05


def test_an_issuer_that_is_gone_confirms_nothing(asker, issuer):
    issuer.close()
    with pytest.raises(Unconfirmed, match="no answer"):
        asker.ask()


def test_an_identity_that_cannot_be_had_confirms_nothing_and_is_not_in_the_refusal(asker, issuer):
    """I7: what went wrong is told by its kind, for its text may quote a secret."""

    def headers() -> dict[str, str]:
        raise RuntimeError("eyJ-the-identity")

    asker._consumption._headers = headers
    with pytest.raises(Unconfirmed, match="RuntimeError") as refused:
        asker.ask()
    assert "eyJ" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert asked(issuer) == []


def test_whoever_does_not_wait_any_longer_is_not_held(asker, issuer):
    reached, go_on = threading.Event(), threading.Event()

    def answer() -> Answer:
        reached.set()
        go_on.wait(5)
        return counted(issuer)

    issuer.answers[CONSUME] = answer

    async def give_up() -> None:
        asking = asyncio.create_task(asker._consumption("the-token", lease="lse_01", use=USE))
        await asyncio.to_thread(reached.wait, 5)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(give_up())
    go_on.set()


def test_threads_and_event_loops_share_a_verifier(consumer, issuer, make_token):
    """Each call has a connection of its own, so it may run on any loop."""
    grant = read(consumer, make_token(lease={"max_uses": 8}))
    issuer.answers[CONSUME] = lambda: Answer(409, b'{"code": "already_used"}')
    refusals: list[str] = []

    def use_it() -> None:
        try:
            consume(consumer, grant)
        except VerificationError as error:
            refusals.append(error.code)

    threads = [threading.Thread(target=use_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refusals == ["already_used"] * 8


# The token in a grant


COPIES: dict[str, Callable[[Grant], Grant]] = {
    "copied": copy.copy,
    "copied deeply": copy.deepcopy,
    "replaced": lambda grant: msgspec.structs.replace(grant, user="jane"),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_grant_that_is_copied_in_the_process_can_be_consumed(consumer, issuer, make_token, how):
    answer_in_turn(issuer, None)
    consume(consumer, COPIES[how](read(consumer, make_token(**ONCE))))
    assert len(asked(issuer)) == 1


def test_nothing_that_a_grant_is_written_as_holds_the_token(consumer, make_token):
    """I7."""
    token = make_token(**ONCE)
    grant = read(consumer, token)
    written = [repr(grant), str(grant), f"{grant}", f"{grant.consumable!s}", repr(vars(type(grant.consumable)))]
    written += [repr(pickle.dumps(grant, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    written.append(msgspec.json.encode(grant, enc_hook=str).decode())
    with pytest.raises(TypeError) as refused:
        msgspec.json.encode(grant)
    written.append(str(refused.value))
    assert not any(part in text for part in token.split(".") for text in written)


def test_a_grant_that_was_pickled_cannot_be_consumed_and_is_not_taken_for_one_that_needs_it_not(consumer, issuer, make_token):
    grant = pickle.loads(pickle.dumps(read(consumer, make_token(**ONCE))))
    with pytest.raises(Unconfirmed, match="pickled"):
        consume(consumer, grant)
    assert asked(issuer) == []


def test_grants_are_compared_by_what_they_say_and_not_by_their_tokens(consumer, make_token):
    """A comparison that looks at a secret can tell of it by the time it takes."""
    one, same = read(consumer, make_token(**ONCE)), read(consumer, make_token(**ONCE))
    assert one == same
    assert hash(one.consumable) == hash(same.consumable)
    assert one != read(consumer, make_token(jti="lse_02", **ONCE))
    assert one != msgspec.structs.replace(one, consumable=None)
    assert Consumable("a") != "a"


# The time it may take


def test_a_clock_that_goes_back_gives_no_more_time(asker, issuer, clock, monkeypatch):
    """The greater of what both clocks say (TRAPS 23c)."""
    answer_in_turn(issuer, problem(503, "temporarily_unavailable", **{"Retry-After": "1"}))
    pause: Callable[[float], Awaitable[None]] = asker._consumption._sleep

    async def set_back(seconds: float) -> None:
        await pause(seconds)
        clock.set_wall(-60_000)

    asker._consumption._sleep = set_back
    with pytest.raises(Unconfirmed):
        asker.ask()
    assert isinstance(clock.now(), Instant)
    assert len(asked(issuer)) <= 5
