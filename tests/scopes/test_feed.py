import threading
from collections.abc import Iterator

import httpx2
import msgspec
import pytest

from scopes import jose
from scopes.feed import Feed
from scopes.keys import MAX_JWKS_BYTES
from scopes.revocations import MESSAGE_TYPE, SNAPSHOT_TYPE
from tests.scopes.clocks import MovableClock, eventually
from tests.scopes.issuer import EVENT_STREAM, FEED_KEYS, STREAM, Answer, Issuer
from tests.scopes.tokens import AUDIENCE, POSITION, new_key


@pytest.fixture
def idle(issuer: Issuer, clock: MovableClock) -> Feed:
    """A feed whose steps the test takes itself."""
    return Feed(issuer=issuer.url, audience=AUDIENCE, client=httpx2.Client, clock=clock)


@pytest.fixture
def feed(idle: Feed) -> Iterator[Feed]:
    """A feed that follows, and has its first snapshot."""
    idle.start()
    eventually(lambda: not idle.picture.needs_snapshot)
    yield idle
    idle.close()


def event_text(name: str, jws: str) -> bytes:
    return f"event: {name}\ndata: {jws}\n\n".encode()


def snapshot_text(issuer: Issuer) -> bytes:
    return event_text(
        "snapshot", jose.write(msgspec.json.encode(issuer.log.snapshot()), type=SNAPSHOT_TYPE, key=issuer.feed_key)
    )


def message_text(issuer: Issuer) -> bytes:
    return event_text(
        "message", jose.write(msgspec.json.encode(issuer.log.heartbeat()), type=MESSAGE_TYPE, key=issuer.feed_key)
    )


def is_at_head(feed: Feed, issuer: Issuer) -> bool:
    return feed.picture.id == issuer.log.head.id


def test_a_feed_starts_with_the_snapshot_and_follows_the_stream(feed, issuer):
    issuer.revoke("agent", "support-bot")
    issuer.revoke("lease", "lse_01")
    eventually(lambda: is_at_head(feed, issuer))
    assert [event.kind for event in feed.picture.events()] == ["agent", "lease"]


def test_a_feed_asks_for_its_own_audience(feed, issuer):
    asked = [request for request in issuer.requests if request.path == STREAM]
    assert [httpx2.QueryParams(request.query).get("aud") for request in asked] == [AUDIENCE]


def test_a_heartbeat_refreshes(feed, issuer, clock):
    clock.advance(20_000)
    assert not feed.picture.is_fresh(clock.now(), bound=3_000)
    issuer.beat()
    eventually(lambda: feed.picture.is_fresh(clock.now(), bound=3_000))


def test_a_broken_stream_is_connected_again_and_nothing_is_missed(feed, issuer):
    issuer.cut()
    issuer.revoke("agent", "support-bot")
    eventually(lambda: is_at_head(feed, issuer))
    assert len(feed.picture.events()) == 1


def test_a_gap_is_mended_by_a_new_stream(feed, issuer):
    """At once, and not when the network gives the old stream up after five seconds."""
    issuer.log.commit("agent", "told-to-nobody")
    issuer.revoke("agent", "support-bot")
    eventually(lambda: is_at_head(feed, issuer), within=3)
    assert [event.value for event in feed.picture.events()] == ["told-to-nobody", "support-bot"]


def test_a_new_epoch_is_taken_with_its_snapshot(feed, issuer):
    """Redis was restarted, promoted, restored or lost (TRAPS 20)."""
    issuer.log.begin_epoch("01JE0000000000000000000002")
    issuer.beat()
    eventually(lambda: feed.picture.epoch == "01JE0000000000000000000002", within=3)
    assert not feed.picture.disputed


@pytest.mark.parametrize(
    "signed", [{"key": new_key()}, {"type": SNAPSHOT_TYPE}, {"type": "at+jwt"}], ids=["another key", "a snapshot", "a token"]
)
def test_a_forged_message_is_not_taken(feed, issuer, clock, signed):
    """The stream breaks, and another one begins with the truth."""
    forged = msgspec.structs.replace(issuer.log.heartbeat(), seq=POSITION + 50)
    issuer.send(forged, **signed)
    eventually(lambda: issuer.times_asked(STREAM) == 2)
    issuer.revoke("agent", "support-bot")
    eventually(lambda: is_at_head(feed, issuer))
    assert feed.picture.seq == POSITION + 1


def test_a_token_key_signs_nothing_of_the_feed(feed, issuer):
    """A stolen token key cannot blind verifiers (`DESIGN.md` 3.10)."""
    issuer.send(msgspec.structs.replace(issuer.log.heartbeat(), seq=POSITION + 50), key=issuer.key)
    eventually(lambda: issuer.times_asked(STREAM) == 2)
    assert feed.picture.seq == POSITION


def test_an_event_of_another_name_is_skipped(idle, issuer):
    issuer.answers[STREAM] = Answer(
        200, snapshot_text(issuer) + event_text("weather", "sunny") + message_text(issuer), EVENT_STREAM
    )
    idle.follow()
    assert is_at_head(idle, issuer)


@pytest.mark.parametrize(
    ("path", "failure"),
    [
        pytest.param(FEED_KEYS, Answer(500), id="no keys"),
        pytest.param(FEED_KEYS, Answer(200, b"[]"), id="keys that are none"),
        pytest.param(FEED_KEYS, Answer(200, b" " * (MAX_JWKS_BYTES + 1)), id="keys too large"),
        pytest.param(FEED_KEYS, Answer(302, b"", (("Location", "/elsewhere"),)), id="keys elsewhere"),
        pytest.param(STREAM, Answer(401), id="not allowed"),
        pytest.param(STREAM, Answer(503), id="not now"),
        pytest.param(STREAM, Answer(302, b"", (("Location", "/elsewhere"),)), id="a stream elsewhere"),
        pytest.param(STREAM, Answer(200, b"<html>", (("Content-Type", "text/html"),)), id="a page instead of a stream"),
        pytest.param(STREAM, Answer(200, b"", EVENT_STREAM), id="an empty stream"),
        pytest.param(STREAM, Answer(200, b"event: snapshot\ndata: x\n\n", EVENT_STREAM), id="a snapshot that is none"),
    ],
)
def test_a_feed_that_cannot_be_followed_says_nothing_and_waits(idle, issuer, path, failure):
    issuer.answers[path] = failure
    assert idle.follow() == 0.0
    assert idle.picture.epoch == ""
    assert 0.1 <= idle.follow() <= 0.2
    assert issuer.times_asked("/elsewhere") == 0


def test_what_an_error_says_is_not_taken_for_the_feed(idle, issuer):
    issuer.answers[STREAM] = Answer(403, snapshot_text(issuer), EVENT_STREAM)
    idle.follow()
    assert idle.picture.epoch == ""


def test_the_pauses_grow_and_stay_bounded(clock):
    """Below the shortest staleness bound, three seconds; also after days, where doubling must not end in an overflow."""

    def nobody() -> httpx2.Client:
        raise httpx2.ConnectError("nobody is there")

    feed = Feed(issuer="http://broker.test", audience=AUDIENCE, client=nobody, clock=clock)
    pauses = [feed.follow() for _ in range(1_100)]
    assert pauses[0] == 0.0
    assert all(1.0 <= pause < 3.0 for pause in pauses[7:])
    assert len(set(pauses[7:])) > 1_000


@pytest.mark.parametrize("ahead", [0, 60_000], ids=["streams break after the snapshot", "our clock is behind the snapshot"])
def test_an_issuer_that_only_ever_sends_snapshots_is_not_asked_without_pause(idle, issuer, clock, ahead):
    """TRAPS 4: a clock behind the feed makes every snapshot unbelievable, which must not become a flood."""
    clock.set_wall(ahead)
    issuer.answers[STREAM] = Answer(200, snapshot_text(issuer), EVENT_STREAM)
    clock.set_wall(-ahead)
    pauses = [idle.follow() for _ in range(8)]
    assert pauses[-1] >= 1.0
    assert idle.picture.needs_snapshot == (ahead > 0)


def test_a_stream_that_worked_is_connected_again_at_once(idle, issuer):
    """A broker that restarts or leaves is the usual case."""
    whole, issuer.answers[STREAM] = Answer(200, snapshot_text(issuer) + message_text(issuer), EVENT_STREAM), Answer(503)
    assert idle.follow() == 0.0
    assert idle.follow() > 0.0
    issuer.answers[STREAM] = whole
    assert idle.follow() == 0.0


LEAVING = b"event: leaving\ndata: {}\n\n"


def test_a_replica_that_leaves_is_left_at_once_and_without_a_word(idle, issuer, caplog):
    whole = snapshot_text(issuer) + message_text(issuer) + LEAVING
    issuer.answers[STREAM] = Answer(200, whole + event_text("message", "nobody reads this"), EVENT_STREAM)
    assert idle.follow() == 0.0
    assert is_at_head(idle, issuer)
    assert caplog.text == ""


def test_a_replica_that_leaves_after_failures_is_left_after_the_shortest_pause(idle, issuer):
    """However often it is found again while it closes, it is never asked without a pause."""
    issuer.answers[STREAM] = Answer(503)
    assert [idle.follow() for _ in range(6)][-1] > 1.0
    issuer.answers[STREAM] = Answer(200, snapshot_text(issuer) + LEAVING, EVENT_STREAM)
    assert all(0.1 <= idle.follow() <= 0.2 for _ in range(3))


def test_closing_ends_the_thread_though_it_waits_for_the_network(feed):
    feed.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "revocation-feed"]


def test_closing_in_the_moment_of_connecting_ends_the_stream_at_once(idle, issuer, clock):
    """There is no connection to end yet when `close` looks for one."""
    reached, go_on = threading.Event(), threading.Event()

    def answer() -> Answer:
        reached.set()
        go_on.wait(5)
        return Answer(200, snapshot_text(issuer), EVENT_STREAM)

    issuer.answers[STREAM] = answer
    idle.start()
    assert reached.wait(5)
    closing = threading.Thread(target=idle.close)
    closing.start()
    go_on.set()
    closing.join()
    assert idle.picture.epoch == ""


def test_closing_twice_or_before_starting_does_nothing(feed, idle):
    feed.close()
    feed.close()
    Feed(issuer="http://127.0.0.1:1", audience=AUDIENCE, client=httpx2.Client, clock=MovableClock()).close()
    assert feed.picture.epoch != ""


def test_a_stream_that_breaks_while_closing_is_no_news(feed, caplog):
    feed.close()
    assert "broke off" not in caplog.text


def test_an_identity_that_cannot_be_sent_is_not_written_to_the_log(issuer, clock, caplog):
    """An error of the HTTP library quotes the header it refuses, and with it the service's own assertion (I7)."""
    secret = "eyJ-the-identity"

    def client() -> httpx2.Client:
        return httpx2.Client(headers={"Authorization": f"Bearer {secret}\n"})

    feed = Feed(issuer=issuer.url, audience=AUDIENCE, client=client, clock=clock)
    feed.follow()
    assert "broke off" in caplog.text
    assert secret not in caplog.text
