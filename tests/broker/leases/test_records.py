"""A lease as it is shown: what it says of itself, seen against what the worker knows has ended."""

import json

import msgspec
import pytest

from broker.leases import DecisionClass, LeaseRecord, Times
from broker.leases.records import parse
from scopes.clock import Instant
from scopes.revocations import Event, Picture, Snapshot

EPOCH = "01JE0000000000000000000005"
EARLIER = "01JE0000000000000000000004"
LATER = "01JE0000000000000000000006"
NOW = 1_795_318_537_000
LEASE = "lse_01JE0000000000000000000007"
CLASS = "q7Xk2wT0rX5m9dUe3Hc1Bg"
WORKLOAD = "spiffe://development.test/agent/support-bot"


def entry(
    *,
    epoch: str = EPOCH,
    position: int = 10,
    status: str = "live",
    expires: int = NOW // 1000 + 300,
    level: str = "read",
    instance: str | None = None,
    user: str = "",
    ends_with: tuple[str, ...] = (),
    **decided: object,
):
    kept = {
        "facts": msgspec.Raw(b"{}"),
        "types": ("some",),
        "patterns": ((),),
        "audience": "https://crm.test",
        "max_staleness": 30,
    }
    of = DecisionClass(epoch=epoch, level=level, **(kept | decided))
    record = LeaseRecord("tsk_2", of.id, position, "crm:ticket/4711/note/1#read", instance=instance)
    text = f"{NOW // 1000} {expires - NOW // 1000} {status} {record.text}".encode()
    path = b'["tsk_1","tsk_2"]'
    delegation = json.dumps({"lease": "lse_1", "ends_with": ends_with} if ends_with else None).encode()
    return (LEASE.encode(), text, b"support-bot", WORKLOAD.encode(), path, user.encode(), delegation, of.text.encode())


def picture(*events: Event) -> Picture:
    snapshot = Snapshot(iss="", aud="", epoch=EPOCH, seq=100, id="evt_100", as_of=NOW, events=events)
    return Picture().adopt(snapshot, Instant(NOW, 0))


def event(kind: str, value: str = "", *, seq: int = 50, **narrowed: object) -> Event:
    return Event(seq=seq, id=f"evt_{seq}", kind=kind, until=NOW + 60_000, value=value, **narrowed)


def status(*events: Event, **changes) -> str:
    return parse(entry(**changes), now=NOW, picture=picture(*events)).status


def test_a_lease_reads_back_as_it_was_written():
    lease = parse(entry(), now=NOW, picture=picture())
    assert (lease.id, lease.agent, lease.workload, lease.path) == (LEASE, "support-bot", WORKLOAD, ("tsk_1", "tsk_2"))
    assert lease.times == Times(NOW // 1000, NOW // 1000 + 300)
    assert str(lease.scope) == "crm:ticket/4711/note/1#read"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("all", ""),
        ("lease", LEASE),
        ("agent", "support-bot"),
        ("instance", WORKLOAD),
        ("task", "tsk_1"),
        ("task", "tsk_2"),
        ("resource", "crm"),
        ("resource", "crm:ticket"),
        ("resource", "crm:ticket/4711"),
        ("resource", "crm:ticket/4711/note/1"),
    ],
)
def test_whatever_hits_the_token_shows_the_lease_as_revoked(kind, value):
    """Ending a middle task reaches those that name only themselves and the root (TRAPS 23b)."""
    assert status(event(kind, value)) == "revoked"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("lease", "lse_01JE0000000000000000000008"),
        ("agent", "support-bot-2"),
        ("task", "tsk_3"),
        ("resource", "crm:ticket/47"),
        ("resource", "crm:tick"),
        ("resource", "kb"),
    ],
)
def test_what_hits_another_token_leaves_the_lease_alone(kind, value):
    """`ticket/47` is not above `ticket/4711` (TRAPS 16)."""
    assert status(event(kind, value)) == "live"


def test_order_is_by_position_never_by_time():
    """Seconds against milliseconds kill what came after or spare what came before (TRAPS 23a)."""
    assert status(event("agent", "support-bot", seq=50), position=49) == "revoked"
    assert status(event("agent", "support-bot", seq=50), position=50) == "live"


def test_an_event_above_a_level_spares_the_levels_below():
    assert status(event("all", above="read")) == "live"
    assert status(event("all", above="read"), level="trigger") == "revoked"


def test_a_lease_past_its_time_is_expired_at_that_very_millisecond():
    assert status(expires=NOW // 1000 + 1) == "live"
    assert status(expires=NOW // 1000) == "expired"


def test_a_lease_of_an_earlier_epoch_is_revoked():
    assert status(epoch=EARLIER) == "revoked"


def test_a_lease_of_a_later_epoch_than_the_reader_knows_is_not_called_revoked():
    """A worker that lags behind a new epoch knows nothing of its leases: it must neither mark nor skip them as ended."""
    assert status(epoch=LATER) == "live"
    assert status(epoch=LATER, expires=NOW // 1000) == "expired"
    assert status(event("all"), epoch=LATER) == "live"


@pytest.mark.parametrize("instance", [None, "pod-4711", "run 7 of 9", "-", "100%", "käse", " "])
@pytest.mark.parametrize("workload", [None, WORKLOAD, "corp:repo:a/b:ref:refs/heads/main", "corp:a b"])
def test_what_is_kept_of_a_lease_reads_back_as_it_was_written(workload, instance):
    record = LeaseRecord("tsk_1", CLASS, 7, "crm:ticket/4711#read[a,b]", workload, instance)
    assert LeaseRecord.read(record.text) == record


def test_a_lease_that_needs_no_names_has_none():
    """A million of them are kept at once."""
    record = LeaseRecord("tsk_1", CLASS, 7, "crm:ticket/4711#read[a,b]")
    assert record.text == f"tsk_1 {CLASS} 7 crm:ticket/4711#read[a,b]"
    assert WORKLOAD in LeaseRecord("tsk_1", CLASS, 7, "crm:ticket/4711#read", WORKLOAD).text


@pytest.mark.parametrize(("instance", "expected"), [("pod-1", "revoked"), ("pod-2", "live"), (None, "live")])
def test_the_end_of_an_instance_ends_what_that_one_holds(instance, expected):
    """TRAPS 25."""
    assert status(event("instance", "pod-1"), instance=instance) == expected


@pytest.mark.parametrize(("user", "expected"), [("corp:jane", "revoked"), ("corp:joe", "live"), ("", "live")])
def test_the_end_of_a_user_ends_what_is_done_for_them(user, expected):
    assert status(event("user", "corp:jane"), user=user) == expected


@pytest.mark.parametrize("kind", ["lease", "agent", "instance", "class", "taint", "key"])
def test_what_ends_the_lease_above_ends_what_was_delegated_by_it(kind):
    """TRAPS 13: a child that outlives its parent."""
    assert status(event(kind, "above"), ends_with=("lease lse_1", f"{kind} above")) == "revoked"
    assert status(event(kind, "above"), ends_with=("lease lse_1", f"{kind} beside")) == "live"


@pytest.mark.parametrize("how", ["revoked", "undone"])
def test_what_has_ended_stays_as_it_ended(how):
    assert status(event("all"), status=how, epoch=EARLIER, expires=0) == how


def test_the_end_of_a_class_ends_what_was_decided_alike():
    own = parse(entry(), now=NOW, picture=picture()).record.decision_class
    assert status(event("class", own)) == "revoked"
    assert status(event("class", CLASS)) == "live"


@pytest.mark.parametrize(
    ("told", "decided", "expected"),
    [
        ("tsk_1", {"ends_on_taint": True}, "revoked"),
        ("tsk_1", {}, "live"),
        ("tsk_2", {"ends_on_taint": True}, "live"),
        ("tsk_1 pii", {"ends_on_labels": ("health", "pii")}, "revoked"),
        ("tsk_1 pii", {"ends_on_labels": ("health",), "ends_on_taint": True}, "live"),
    ],
)
def test_what_a_tree_is_exposed_to_ends_what_would_not_have_been_given_after_it(told, decided, expected):
    assert status(event("taint", told), **decided) == expected


def test_a_class_reads_back_as_it_was_written_and_has_its_name_from_what_it_says():
    made = [DecisionClass.read(entry(level=level)[7].decode()) for level in ("read", "draft", "read")]
    assert made[0].text == entry()[7].decode()
    assert made[0].id == made[2].id != made[1].id
    assert len(made[0].id) == 22
