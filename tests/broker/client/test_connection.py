"""How both clients speak: bounded patience, typed refusals, and no assertion in the clear."""

import httpx2
import msgspec
import pytest

from broker.client import Busy, ClientError, Misconfigured, NotAuthenticated, NotFound, Refused, UnexpectedAnswer, Unreachable
from broker.client.connection import Connection, SyncConnection
from tests.broker.client.answering import URL, Answering, Sleeper, busy, nobody, problem


class Done(msgspec.Struct):
    done: bool


GOOD = httpx2.Response(200, json={"done": True, "more": "of a later version"})


@pytest.fixture(params=["sync", "async"])
def ask(request):
    """Ask one of the two connections for something."""

    async def asked(answering: Answering, *, patience: float = 10, sleeper: Sleeper | None = None) -> Done:
        sleeper = sleeper or Sleeper()
        if request.param == "sync":
            connection = SyncConnection(
                URL, patience=patience, transport=answering.transport, clock=sleeper, sleep=sleeper.sleep
            )
            return connection.ask(lambda: connection.request("GET", "/x", assertion="mine"), Done)
        waiting = Connection(URL, patience=patience, transport=answering.transport, clock=sleeper, sleep=sleeper.asleep)
        return await waiting.ask(lambda: waiting.request("GET", "/x", assertion="mine"), Done)

    return asked


async def test_an_answer_is_typed_and_what_is_not_known_is_skipped(ask):
    answering = Answering(GOOD)
    assert (await ask(answering)).done
    assert answering.requests[0].headers["authorization"] == "Bearer mine"


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_broker_is_asked_again_when_it_said(ask, status):
    sleeper = Sleeper()
    assert (await ask(Answering(busy(status), busy(status), GOOD), sleeper=sleeper)).done
    assert len(sleeper.slept) == 2
    assert all(2.0 <= seconds <= 2.5 for seconds in sleeper.slept)


@pytest.mark.parametrize("retry_after", [None, "soon", "-1", "1.5"])
async def test_without_a_time_that_can_be_read_it_is_asked_again_after_a_second(ask, retry_after):
    sleeper = Sleeper()
    await ask(Answering(busy(retry_after=retry_after), GOOD), sleeper=sleeper)
    assert 1.0 <= sleeper.slept[0] <= 1.25


async def test_it_is_not_waited_for_longer_than_told(ask):
    sleeper = Sleeper()
    with pytest.raises(Busy) as raised:
        await ask(Answering(busy(retry_after="3")), patience=10, sleeper=sleeper)
    assert 2 <= len(sleeper.slept) <= 3
    assert sum(sleeper.slept) <= 10
    assert (raised.value.status, raised.value.retry_after, raised.value.code) == (503, 3.0, "temporarily_unavailable")


async def test_a_wait_that_would_take_too_long_is_not_begun(ask):
    sleeper = Sleeper()
    with pytest.raises(Busy):
        await ask(Answering(busy(retry_after="86400")), sleeper=sleeper)
    assert sleeper.slept == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(400, "access_denied", reason="forbidden", policies=["p"]), Refused),
        (problem(401, "invalid_client"), NotAuthenticated),
        (problem(404, "not_found"), NotFound),
        (httpx2.Response(400, json={"error": "access_denied", "error_description": "because"}), Refused),
    ],
)
async def test_a_refusal_has_a_class_of_its_own(ask, answer, kind):
    with pytest.raises(kind, match="because") as raised:
        await ask(Answering(answer))
    assert type(raised.value) is kind
    assert isinstance(raised.value, ClientError)
    assert raised.value.status == answer.status_code


async def test_a_refusal_says_which_rule_it_was(ask):
    with pytest.raises(Refused) as raised:
        await ask(Answering(problem(400, "access_denied", reason="forbidden", policies=["p"])))
    assert (raised.value.code, raised.value.reason, raised.value.policies) == ("access_denied", "forbidden", ("p",))


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<html>"),
        httpx2.Response(200, json={"done": "perhaps"}),
        httpx2.Response(404, text="no such page"),
        httpx2.Response(302, headers={"Location": "https://elsewhere.example.com"}),
        httpx2.Response(502, text="bad gateway"),
        problem(500, "server_error"),
    ],
)
async def test_what_does_not_answer_like_a_broker_is_none(ask, answer):
    """Also a redirect: an assertion is never carried elsewhere."""
    answering = Answering(answer)
    with pytest.raises(UnexpectedAnswer):
        await ask(answering)
    assert len(answering.requests) == 1


async def test_no_answer_is_said_to_be_none_and_quotes_no_assertion(ask):
    with pytest.raises(Unreachable) as raised:
        await ask(Answering(nobody))
    assert URL in str(raised.value)
    assert "mine" not in str(raised.value)


@pytest.mark.parametrize("url", ["", "broker", "ftp://h", "http://", "http://[::1", "http://host:port", "//host"])
def test_what_is_no_address_is_refused(url):
    for kind in (Connection, SyncConnection):
        with pytest.raises(Misconfigured, match="is not the URL"):
            kind(url)


@pytest.mark.parametrize("url", ["http://broker.example.com", "http://10.0.0.1:8750", "http://127.0.0.1.example.com"])
def test_an_assertion_is_not_sent_in_the_clear_beyond_this_machine(url):
    with pytest.raises(Misconfigured, match="https"):
        SyncConnection(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8750", "http://localhost", "http://[::1]:80", "https://broker.example.com"])
def test_these_addresses_are_spoken_to(url):
    assert SyncConnection(f"{url}/").address.url == url


def test_a_proxy_is_not_between_two_processes_of_one_machine():
    assert SyncConnection("http://127.0.0.1:1").address.options["trust_env"] is False
    assert SyncConnection("https://broker.example.com").address.options["trust_env"] is True


def test_sleeping_for_nothing_takes_no_time():
    connection = SyncConnection(URL, transport=Answering(busy(retry_after="0"), GOOD).transport)
    assert connection.ask(lambda: connection.request("GET", "/x"), Done).done
