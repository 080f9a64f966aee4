"""The operator's client: every request signed by itself, for the broker it goes to, and nobody else."""

import httpx2
import msgspec
import pytest

from broker import private_key_file
from broker.client import Operator, Published, UnexpectedAnswer
from scopes import jose
from scopes.revocations import MESSAGE_TYPE, SNAPSHOT_TYPE, Message, Snapshot
from tests.broker.client.answering import URL, Answering, Sleeper, busy, metadata

AUDIENCE = "https://crm.test"
LEASE = {
    **dict.fromkeys(("id", "agent", "workload", "task", "scope", "level", "status", "epoch"), "x"),
    "path": ["x"],
    "issued": 1,
    "expires": 2,
    "position": 3,
}


@pytest.fixture
def key(tmp_path):
    return private_key_file.create(tmp_path / "operator.jwk")


@pytest.fixture
def operator(key):
    def made(answering: Answering, url: str = URL) -> Operator:
        sleeper = Sleeper()
        return Operator(url, "admin", key, transport=answering.transport, clock=sleeper, sleep=sleeper.sleep)

    return made


def assertion(request: httpx2.Request) -> dict[str, object]:
    text = request.headers["authorization"].removeprefix("Bearer ")
    return msgspec.json.decode(jose.read(text, types=frozenset({"jwt"})).unverified_payload)


def test_the_broker_is_asked_for_its_name_once_and_every_assertion_is_for_that_name(operator):
    answering = Answering(metadata("https://broker.example.com"), httpx2.Response(200, json={"events": []}))
    with operator(answering) as client:
        client.audit()
        client.audit("1-0.0")
    assert [request.url.path for request in answering.requests] == [
        "/.well-known/oauth-authorization-server",
        "/v1/audit/events",
        "/v1/audit/events",
    ]
    assert "authorization" not in answering.requests[0].headers
    claims = [assertion(request) for request in answering.requests[1:]]
    assert all((said["iss"], said["sub"], said["aud"]) == ("admin", "admin", "https://broker.example.com") for said in claims)
    assert all(said["exp"] - said["iat"] == 60 for said in claims)
    assert claims[0]["jti"] != claims[1]["jti"]


def test_a_request_that_is_made_again_is_signed_again(operator):
    """An assertion is spent by the first attempt, whatever came of it."""
    answering = Answering(metadata(), busy(), httpx2.Response(200, json={"events": []}))
    operator(answering).audit()
    ids = [assertion(request)["jti"] for request in answering.requests[1:]]
    assert len(set(ids)) == 2


def test_a_broker_that_goes_by_another_name_than_its_address_gets_no_assertion(operator):
    """It could pass the assertion on to the broker whose name it uses (RFC 8414 §3.3)."""
    answering = Answering(metadata("https://broker.example.com"))
    with pytest.raises(UnexpectedAnswer, match="use that address") as raised:
        operator(answering, "https://other.example.com").audit()
    assert raised.value.code == "wrong_issuer"
    assert len(answering.requests) == 1


def test_pages_are_read_to_their_end(operator):
    pages = [{"leases": [LEASE, LEASE], "cursor": "0.2"}, {"leases": [], "cursor": "1.0"}, {"leases": [LEASE]}]
    answering = Answering(metadata(), *(httpx2.Response(200, json=page) for page in pages))
    leases = list(operator(answering).leases(agent="bot", status="live"))
    assert len(leases) == 3
    assert [dict(request.url.params) for request in answering.requests[1:]] == [
        {"agent": "bot", "status": "live"},
        {"agent": "bot", "status": "live", "cursor": "0.2"},
        {"agent": "bot", "status": "live", "cursor": "1.0"},
    ]


@pytest.mark.parametrize(("id", "path"), [("../agents", b"/v1/leases/..%2Fagents"), ("a?b#c", b"/v1/leases/a%3Fb%23c")])
def test_an_id_is_one_segment_whatever_is_typed(operator, id, path):
    answering = Answering(metadata(), httpx2.Response(200, json=LEASE))
    operator(answering).lease(id)
    assert answering.requests[1].url.raw_path == path


@pytest.mark.parametrize("selector", [{"agent": "bot"}, {"all": True}])
def test_a_selector_is_sent_as_it_is(operator, selector):
    answering = Answering(metadata(), httpx2.Response(202, json={"id": "evt_1", "epoch": "e", "seq": 1, "matched": None}))
    assert operator(answering).revoke(selector, reason="test").seq == 1
    assert msgspec.json.decode(answering.requests[1].content) == {"selector": selector, "reason": "test"}


def test_how_far_a_revocation_has_come_is_asked_by_its_id(operator):
    process = {"service": "crm", "audience": AUDIENCE, "state": "enforced", "workload": "w", "process": "p", "delay_ms": 7}
    shown = {"id": "evt_1", "epoch": "e", "seq": 1, "kind": "all", "value": "", "committed": 1}
    answering = Answering(
        metadata(), httpx2.Response(200, json={**shown, "verifiers": [process, {**process, "process": None}]})
    )
    known, unknown = operator(answering).revocation("evt_1/..").verifiers
    assert answering.requests[1].url.raw_path == b"/v1/revocations/evt_1%2F.."
    assert (known.state, known.delay_ms, known.fenced_at, unknown.process) == ("enforced", 7, None, None)


def test_verifiers_are_listed_with_the_head(operator):
    process = {"service": "crm", "audience": AUDIENCE, "workload": "w", "process": "p", "authenticated": True, "version": "1"}
    process["enforces"] = ["fields"]
    listed = {"epoch": "e", "seq": 3, "verifiers": [{**process, "epoch": "e", "seq": 1, "lag": 2, "age_ms": 5, "heard_ms": 9}]}
    answering = Answering(metadata(), httpx2.Response(200, json=listed))
    found = operator(answering).verifiers()
    (one,) = found.verifiers
    assert (found.seq, one.lag, one.heard_ms, one.enforces) == (3, 2, 9, ("fields",))


# The feed


class Feed:
    """A broker whose feed says what a test wrote, signed with the key of a test."""

    def __init__(self, key, *frames: str, trusted=None) -> None:
        self.frames = frames
        self.keys = {"keys": [(trusted or key).public_jwk]}
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.url.path == "/v1/feed/keys":
            return httpx2.Response(200, json=self.keys)
        if request.url.path == "/v1/feed/stream":
            return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, text="".join(self.frames))
        return metadata()


def frame(key, event: str, type: str, what: Snapshot | Message) -> str:
    return f"event: {event}\ndata: {jose.write(msgspec.json.encode(what), type=type, key=key)}\n\n"


SNAPSHOT = Snapshot(iss=URL, aud=AUDIENCE, epoch="e", seq=0, id="evt_0", as_of=1)
MESSAGE = msgspec.convert(
    {**msgspec.to_builtins(SNAPSHOT), "seq": 1, "id": "evt_1", "prev": {"seq": 0, "id": "evt_0"}, "events": []}, Message
)


def test_a_stream_is_read_to_its_end_and_unknown_events_are_skipped(key):
    frames = [
        frame(key, "snapshot", SNAPSHOT_TYPE, SNAPSHOT),
        "event: news\ndata: x\n\n",
        frame(key, "message", MESSAGE_TYPE, MESSAGE),
    ]
    feed = Feed(key, *frames)
    with Operator(URL, "admin", key, transport=httpx2.MockTransport(feed)) as operator:
        assert list(operator.feed(AUDIENCE)) == [SNAPSHOT, MESSAGE]
    assert assertion(feed.requests[-1])["aud"] == URL


def test_anybody_reads_a_feed_that_anybody_may_read(key):
    feed = Feed(key, frame(key, "snapshot", SNAPSHOT_TYPE, SNAPSHOT))
    with Published(URL, transport=httpx2.MockTransport(feed)) as published:
        assert list(published.feed(AUDIENCE)) == [SNAPSHOT]
        assert len(published.feed_keys()) == 1
    assert all("authorization" not in request.headers for request in feed.requests)


def test_what_the_feeds_keys_did_not_sign_is_not_believed(key, tmp_path):
    other = private_key_file.create(tmp_path / "other.jwk")
    feed = Feed(other, frame(other, "snapshot", SNAPSHOT_TYPE, SNAPSHOT), trusted=key)
    with Published(URL, transport=httpx2.MockTransport(feed)) as published, pytest.raises(UnexpectedAnswer, match="believed"):
        list(published.feed(AUDIENCE))


@pytest.mark.parametrize(
    "what",
    [msgspec.structs.replace(SNAPSHOT, aud="https://kb.test"), msgspec.structs.replace(SNAPSHOT, iss="https://other.test")],
)
def test_a_frame_for_somebody_else_is_not_believed(key, what):
    feed = Feed(key, frame(key, "snapshot", SNAPSHOT_TYPE, what))
    with Published(URL, transport=httpx2.MockTransport(feed)) as published, pytest.raises(UnexpectedAnswer):
        list(published.feed(AUDIENCE))


def test_an_answer_that_is_no_stream_is_a_broker_that_does_not_answer(key):
    class NoStream(Feed):
        def __call__(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path == "/v1/feed/stream":
                return httpx2.Response(200, text="hello")
            return super().__call__(request)

    with (
        Published(URL, transport=httpx2.MockTransport(NoStream(key))) as published,
        pytest.raises(Exception, match="no answer"),
    ):
        list(published.feed(AUDIENCE))
