import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopes import jose
from scopes.claims import Claims
from scopes.clock import Instant
from scopes.errors import InvalidDocument
from scopes.keys import TOKEN_ALGORITHMS, KeySet, VerificationKey
from scopes.revocations import (
    MAX_MESSAGE_BYTES,
    MESSAGE_TYPE,
    SNAPSHOT_TYPE,
    Event,
    Message,
    Picture,
    Revocable,
    Snapshot,
    read_message,
    read_snapshot,
)
from scopes.scope import Scope, prefix_covers
from tests.scopes import vectors
from tests.scopes.clocks import MovableClock
from tests.scopes.feed_log import HOUR, FeedLog
from tests.scopes.revocables import KID, held, token
from tests.scopes.tokens import AUDIENCE, ISSUER, POSITION, new_key, of_scope

KEY = new_key()
KEYS = KeySet([VerificationKey(KEY.public_jwk, algorithms=TOKEN_ALGORITHMS)])


@pytest.fixture
def log(clock: MovableClock) -> FeedLog:
    return FeedLog(clock)


def started(log: FeedLog, clock: MovableClock) -> Picture:
    return Picture().adopt(log.snapshot(), clock.now())


@pytest.mark.parametrize("case", vectors.read("feed.json")["cases"], ids=lambda case: case["name"])
def test_what_a_picture_makes_of_the_feed(case):
    """Each case says why, and names its trap."""
    picture, now = Picture(), Instant(0, 0)
    for step in case["steps"]:
        now = Instant(step["wall"], step["boot"])
        if "snapshot" in step:
            picture = picture.adopt(msgspec.convert(step["snapshot"], Snapshot), now)
        else:
            picture = picture.apply(msgspec.convert(step["message"], Message), now)
    then = case["then"]
    known = {name: getattr(picture, name) for name in ("epoch", "seq", "needs_snapshot", "disputed")}
    assert known == {name: then[name] for name in known}
    assert [event.id for event in picture.events()] == then["held"]
    assert picture.age(now) == then["age"] or (then["age"] is None and picture.age(now) > 1_000 * HOUR)


def test_nothing_is_fresh_before_the_first_snapshot(clock):
    assert not Picture().is_fresh(clock.now(), bound=HOUR)


def test_a_picture_is_fresh_up_to_its_bound_and_not_a_millisecond_longer(log, clock):
    picture = started(log, clock)
    clock.advance(3_000)
    assert picture.is_fresh(clock.now(), bound=3_000)
    clock.advance(1)
    assert not picture.is_fresh(clock.now(), bound=3_000)


def test_what_is_disputed_is_not_fresh_however_young(log, clock):
    picture = started(log, clock).apply(msgspec.structs.replace(log.heartbeat(), epoch="02"), clock.now())
    assert picture.age(clock.now()) == 0
    assert not picture.is_fresh(clock.now(), bound=HOUR)


ENDING = [
    ("lease", "lse_01"),
    ("task", "tsk_01"),
    ("task", "tsk_02"),
    ("task", "tsk_03"),
    ("taint", "tsk_01"),
    ("agent", "support-bot"),
    ("instance", "spiffe://prod.example.com/bot"),
    ("instance", "pod-1"),
    ("user", "corp:jane"),
    ("resource", "crm"),
    ("resource", "crm:ticket"),
    ("resource", "crm:ticket/4711"),
    ("class", "class-1"),
    ("key", KID),
    ("all", ""),
    ("all", "whatever it says"),
    ("quarantine", "a kind that is not known"),
]


@pytest.mark.parametrize(("kind", "value"), ENDING)
def test_an_event_ends_the_tokens_it_names_that_were_decided_before_it(log, clock, kind, value):
    """By position: no clock decides it (TRAPS 23a), and a middle task reaches its grandchildren (TRAPS 23b)."""
    picture = started(log, clock).apply(log.commit(kind, value), clock.now())
    assert picture.ended_by(held()) == log.events[0]
    assert picture.ended_by(held(position=log.head.seq - 1)) is not None
    assert (picture.ended_by(held(position=log.head.seq)) is not None) == (kind == "key")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("lease", "lse_02"),
        ("task", "tsk_04"),
        ("taint", "tsk_02"),
        ("agent", "support-bot-2"),
        ("instance", "spiffe://prod.example.com/bot/2"),
        ("user", "corp:john"),
        ("user", "support-bot"),
        ("resource", "cr"),
        ("resource", "crm:tick"),
        ("resource", "crm:ticket/47"),
        ("resource", "crm:ticket/4711/1"),
        ("class", "class-2"),
        ("key", "kid-2"),
    ],
)
def test_an_event_ends_no_other_tokens(log, clock, kind, value):
    """Not even those whose name begins alike (TRAPS 16)."""
    assert started(log, clock).apply(log.commit(kind, value), clock.now()).ended_by(held()) is None


def test_a_key_that_was_stolen_signs_any_position_it_likes(log, clock):
    """So its end asks for none (TRAPS 6)."""
    picture = started(log, clock).apply(log.commit("key", KID), clock.now())
    assert picture.ended_by(held(position=2**50)) is not None


@pytest.mark.parametrize(
    ("kind", "value", "changes"),
    [
        ("taint", "tsk_01", {"lease": {"ends_on_taint": False}}),
        ("user", "corp:jane", {"sub": "corp:jane"}),
        ("class", "class-1", {"lease": {"class": None}}),
    ],
)
def test_an_event_needs_what_it_names_to_be_in_the_token(log, clock, kind, value, changes):
    """A taint ends only what said it ends on taint, and a subject that is a workload is no user."""
    picture = started(log, clock).apply(log.commit(kind, value), clock.now())
    assert picture.ended_by(token(**changes)[1]) is None


@pytest.mark.parametrize(
    ("above", "ended"),
    [
        ("read", ["draft", "write", "trigger"]),
        ("draft", ["write", "trigger"]),
        ("trigger", []),
        ("a level to come", ["read", "draft", "write", "trigger"]),
    ],
)
def test_a_reduction_ends_the_levels_above_it(log, clock, above, ended):
    picture = started(log, clock).apply(log.commit("agent", "support-bot", above=above), clock.now())
    assert [level for level in ("read", "draft", "write", "trigger") if picture.ended_by(held(level=level))] == ended


def test_an_event_for_the_unapproved_spares_the_approved(log, clock):
    picture = started(log, clock).apply(log.commit("agent", "support-bot", unapproved=True), clock.now())
    assert picture.ended_by(held()) is not None
    assert picture.ended_by(held(approval="apr_1")) is None


def test_a_member_that_a_later_version_adds_to_an_event_ends_more_and_not_less(log, clock):
    """It could only narrow the event."""
    text = msgspec.json.encode(log.commit("agent", "support-bot")).replace(b'"kind"', b'"only_in":"eu","kind"')
    message = read_message(jose.write(text, type=MESSAGE_TYPE, key=KEY), keys=KEYS, issuer=ISSUER, audience=AUDIENCE)
    assert Picture().adopt(FeedLog(clock).snapshot(), clock.now()).apply(message, clock.now()).ended_by(held()) is not None


def test_an_event_spares_what_it_narrows_but_a_wider_one_beside_it_does_not(log, clock):
    picture = started(log, clock).apply(log.commit("agent", "support-bot", above="read"), clock.now())
    assert picture.ended_by(held()) is None
    assert picture.apply(log.commit("agent", "support-bot"), clock.now()).ended_by(held()) is not None


def test_a_revocation_that_comes_before_the_token_holds_when_the_token_comes(log, clock):
    """TRAPS 23: a picture knows targets and not tokens."""
    picture = started(log, clock).apply(log.commit("lease", "lse_of_nobody_yet"), clock.now())
    assert picture.ended_by(token(jti="lse_of_nobody_yet")[1]) is not None


def test_events_are_forgotten_after_no_token_lives_that_they_could_hit(log, clock):
    """An index that is never pruned grows for ever (TRAPS 22); the issuer's time decides, not ours."""
    picture = started(log, clock)
    for number in range(2_000):
        picture = picture.apply(log.commit("lease", f"lse_{number}"), clock.now())
    assert len(picture.events()) == 2_000
    clock.advance(HOUR + 1)
    for number in range(2_000, 4_200):
        picture = picture.apply(log.commit("lease", f"lse_{number}"), clock.now())
    assert len(picture.events()) == 2_200
    assert picture.ended_by(token(jti="lse_2000")[1]) is not None


def test_an_event_is_kept_to_the_very_end_it_promises(log, clock):
    end = clock.now().wall + 5_000
    picture = started(log, clock).apply(log.commit("agent", "support-bot", until=end), clock.now())
    clock.advance(5_000)
    picture = picture.apply(log.commit("agent", "support-bot", above="trigger"), clock.now())
    assert picture.ended_by(held()) is not None
    clock.advance(1)
    assert picture.apply(log.commit("agent", "support-bot", above="trigger"), clock.now()).ended_by(held()) is None


def test_one_agent_suspended_daily_leaves_no_trail(log, clock):
    """Ended events of one target go when the next one comes (TRAPS 22)."""
    picture = started(log, clock)
    for _ in range(50):
        picture = picture.apply(log.commit("agent", "support-bot"), clock.now())
        clock.advance(24 * HOUR)
    assert len(picture.events()) == 1


def test_the_end_of_a_key_is_never_forgotten(log, clock):
    """A stolen key signs any `exp`, so no `until` bounds it, and keys are held for a day when they cannot be fetched."""
    picture = started(log, clock).apply(log.commit("key", KID), clock.now())
    clock.advance(24 * HOUR)
    for number in range(1_100):
        picture = picture.apply(log.commit("lease", f"lse_{number}"), clock.now())
    picture = picture.apply(log.commit("key", KID), clock.now())
    assert [event.seq for event in picture.events() if event.kind == "key"] == [POSITION + 1, log.head.seq]
    assert picture.ended_by(held(position=2**50)) is not None


def test_our_clock_alone_makes_nothing_forgotten(log, clock):
    """A clock that jumps forward revives nothing (TRAPS 24)."""
    picture = started(log, clock).apply(log.commit("agent", "support-bot"), clock.now())
    for number in range(1_100):
        picture = picture.apply(log.commit("lease", f"lse_{number}"), Instant(clock.now().wall + 1_000 * HOUR, 0))
    assert picture.ended_by(held()) is not None


def test_a_picture_is_a_moment_and_never_changes(log, clock):
    before = started(log, clock)
    after = before.apply(log.commit("agent", "support-bot"), clock.now())
    assert (before.ended_by(held()), before.seq) == (None, POSITION)
    assert after.ended_by(held()) is not None


# What one reader may take is decided before the picture sees it.


def message_of(said: Message | Snapshot, **signed: object) -> str:
    own = SNAPSHOT_TYPE if isinstance(said, Snapshot) else MESSAGE_TYPE
    return jose.write(msgspec.json.encode(said), **({"type": own, "key": KEY} | signed))  # type: ignore[arg-type]


NAMED = {"keys": KEYS, "issuer": ISSUER, "audience": AUDIENCE}


def test_what_the_issuer_signed_for_us_is_read(log):
    assert read_snapshot(message_of(log.snapshot()), **NAMED) == log.snapshot()
    assert read_message(message_of(log.commit("agent", "bot")), **NAMED).events == tuple(log.events)


def test_a_heartbeat_served_as_a_snapshot_is_refused(log):
    """It would give a restarted verifier an empty, fresh, signed state (TRAPS 21a)."""
    with pytest.raises(InvalidDocument, match="type"):
        read_snapshot(message_of(log.heartbeat()), **NAMED)


def test_a_snapshot_served_as_a_message_is_refused(log):
    with pytest.raises(InvalidDocument, match="type"):
        read_message(message_of(log.snapshot()), **NAMED)


@pytest.mark.parametrize("typ", ["at+jwt", "JWT", "application/revocations+jwt"])
def test_what_has_another_type_is_not_of_the_feed(log, typ):
    """TRAPS 1."""
    with pytest.raises(InvalidDocument, match="type"):
        read_message(message_of(log.heartbeat(), type=typ), **NAMED)


@pytest.mark.parametrize(
    "changes", [{"iss": "http://broker.test/"}, {"iss": "http://other.test"}, {"aud": "https://other.example.com"}, {"aud": ""}]
)
def test_what_is_said_by_another_issuer_or_to_another_service_is_refused(log, changes):
    with pytest.raises(InvalidDocument, match="audience"):
        read_message(message_of(msgspec.structs.replace(log.heartbeat(), **changes)), **NAMED)
    with pytest.raises(InvalidDocument, match="audience"):
        read_snapshot(message_of(msgspec.structs.replace(log.snapshot(), **changes)), **NAMED)


def test_what_another_key_signed_is_refused(log):
    """A stolen token key cannot blind verifiers: the feed's keys are its own (`DESIGN.md` 3.10)."""
    stranger = new_key()
    with pytest.raises(InvalidDocument, match="not known"):
        read_message(message_of(log.heartbeat(), key=stranger), **NAMED)
    with pytest.raises(InvalidDocument, match="not known"):
        read_snapshot(message_of(log.snapshot(), key=stranger), **NAMED)


@pytest.mark.parametrize("name", ["iss", "aud", "epoch", "seq", "id", "prev", "as_of"])
def test_a_message_that_lacks_a_member_is_refused(log, name):
    said = msgspec.to_builtins(log.heartbeat())
    del said[name]
    with pytest.raises(InvalidDocument):
        read_message(jose.write(msgspec.json.encode(said), type=MESSAGE_TYPE, key=KEY), **NAMED)


@pytest.mark.parametrize(
    "changes", [{"seq": True}, {"seq": 1.0}, {"as_of": "1795318537000"}, {"as_of": 1.5}, {"events": None}, {"prev": None}]
)
def test_a_message_of_other_types_is_refused(log, changes):
    """TRAPS 4."""
    said = msgspec.to_builtins(log.heartbeat()) | changes
    with pytest.raises(InvalidDocument):
        read_message(jose.write(msgspec.json.encode(said), type=MESSAGE_TYPE, key=KEY), **NAMED)


def test_a_member_twice_in_an_event_is_refused(log):
    text = msgspec.json.encode(log.commit("agent", "support-bot")).replace(b'"kind"', b'"kind":"lease","kind"')
    with pytest.raises(InvalidDocument, match="twice"):
        read_message(jose.write(text, type=MESSAGE_TYPE, key=KEY), **NAMED)


def test_a_message_of_more_than_a_mebibyte_is_refused_and_a_snapshot_is_not(log):
    log.events += [Event(seq=1, id="evt", kind="lease", value="x" * 1000, until=1) for _ in range(MAX_MESSAGE_BYTES // 1000)]
    large = msgspec.structs.replace(log.heartbeat(), events=tuple(log.events))
    with pytest.raises(InvalidDocument, match="larger"):
        read_message(message_of(large), **NAMED)
    assert len(read_snapshot(message_of(log.snapshot()), **NAMED).events) == len(log.events)


# The whole against a naive reading of the contract: an event ends what it names and what was decided before it.

names = st.sampled_from(["1", "2"])
kinds = st.sampled_from(
    ["lease", "task", "taint", "agent", "instance", "user", "resource", "class", "key", "all", "new", "label"]
)
narrowings = st.fixed_dictionaries({}, optional={"above": st.sampled_from(["read", "write", "?"]), "unapproved": st.booleans()})


def naively_ends(event: Event, claims: Claims) -> bool:
    """Say in plain words what `WIRE.md` says of kinds."""
    lease = claims.lease
    matches = {
        "lease": event.value == claims.jti,
        "task": event.value in lease.path,
        "taint": event.value == claims.txn and lease.ends_on_taint,
        "agent": event.value == claims.client_id,
        "instance": event.value in (claims.workload, lease.instance),
        "user": lease.user and event.value == claims.sub,
        "class": event.value == lease.class_,
        "key": event.value == KID,
        "resource": prefix_covers(event.value, Scope.parse(claims.scope).resource),
        "label": False,
    }
    above = f"{event.kind} {event.value}" in lease.ends_with
    levels = ["read", "draft", "write", "trigger"]
    below = event.above in levels and levels.index(lease.level) <= levels.index(event.above)
    spared = below or (event.unapproved and lease.approval is not None)
    return (matches.get(event.kind, True) or above) and (event.kind == "key" or lease.position < event.seq) and not spared


@st.composite
def tokens(draw: st.DrawFn) -> tuple[Claims, Revocable]:
    above = st.builds("{} {}".format, st.sampled_from(["lease", "agent", "instance", "class", "taint", "key"]), names)
    optional = {"instance": names, "approval": names, "ends_on_taint": st.booleans(), "user": st.booleans()}
    optional |= {"ends_with": st.lists(above, max_size=3)}
    lease = draw(st.fixed_dictionaries({}, optional=optional))
    root = draw(names)
    lease |= {
        "path": [root, *draw(st.lists(names, max_size=2))],
        "position": POSITION + draw(st.integers(0, 12)),
        "class": draw(names),
    }
    lease |= {"level": draw(st.sampled_from(["read", "draft", "write", "trigger"]))}
    scope = of_scope(f"crm:ticket/{draw(names)}/{draw(names)}#read")
    return token(jti=draw(names), txn=root, client_id=draw(names), sub=draw(names), lease=lease, **scope)


@given(st.lists(st.none() | st.tuples(kinds, narrowings, st.data()), max_size=12), st.lists(tokens(), min_size=1, max_size=5))
def test_a_stream_taken_in_order_answers_as_the_whole_log_would(steps, held_tokens):
    """Also where events of others leave gaps in the numbers: `prev` still proves that nothing is missing."""
    clock = MovableClock()
    log = FeedLog(clock)
    picture = started(log, clock)
    for step in steps:
        clock.advance(700)
        if step is None:
            message = log.skip()
        else:
            kind, narrowing, data = step
            values = {"resource": ["crm", "crm:ticket/1", "crm:ticket/1/2"], "key": [KID, "2"]}.get(kind, ["1", "2"])
            message = log.commit(kind, data.draw(st.sampled_from(values)), **narrowing)
        picture = picture.apply(message, clock.now())
        assert (picture.seq, picture.id, picture.age(clock.now()), picture.needs_snapshot) == (
            log.head.seq,
            log.head.id,
            0,
            False,
        )
        for claims, known in held_tokens:
            assert (picture.ended_by(known) is not None) == any(naively_ends(event, claims) for event in log.events)
