"""The index of events: what is added is there, in every layer, and as it was said; small, and cheap to add to."""

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopes import ulid
from scopes.clock import Instant
from scopes.event_index import Event, Index, identity
from scopes.revocations import Picture, Revocable, Snapshot

NOW = 1_795_318_537_000
LATER = NOW + 60_000
MANY = 20_000


def event(seq: int = 1, kind: str = "lease", value: str | None = None, **said: object) -> Event:
    value = ulid.derived(str(seq).encode()) if value is None else value
    return msgspec.convert(
        {"seq": seq, "id": f"evt_{ulid.derived(f'{seq} {kind}'.encode())}", "kind": kind, "until": LATER, "value": value}
        | said,
        Event,
    )


def held(*events: Event) -> list[Event]:
    return sorted(Index().adding(events, NOW).events(), key=lambda each: each.seq)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"id": "evt_7"},
        {"id": "evt_" + "Z" * 26},
        {"id": "evt_01je0000000000000000000007"},
        {"above": "read"},
        {"unapproved": True},
        {"kind": "all", "value": ""},
        {"kind": "all", "value": "everything"},
        {"kind": "new kind", "value": "x y"},
        {"kind": "resource", "value": "crm:ticket/4711 and more"},
        {"kind": "user", "value": ""},
        {"seq": 2**48},
        {"seq": -1},
        {"until": 2**48},
        {"until": NOW},
    ],
)
def test_an_event_comes_back_as_it_was_said(said):
    assert held(event(**said)) == [event(**said)]


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from("ab"), st.booleans()), max_size=60))
def test_adding_one_by_one_in_any_order_and_twice_holds_what_adding_all_at_once_holds(steps):
    events = [event(seq, "agent", value, unapproved=narrowed) for seq, value, narrowed in steps]
    index = Index()
    for each in events:
        index = index.adding([each], NOW)
    assert set(index.events()) == set(events)
    assert len(list(index.events())) == len(set(events))
    assert {target for target in ("agent a", "agent b") if target in index} == {each.target for each in events}


def test_an_index_stays_as_it_was_when_another_is_made_of_it():
    """A reference is a moment: somebody may be reading it."""
    indexes = [Index()]
    for seq in range(1, 300):
        indexes.append(indexes[-1].adding([event(seq)], NOW))
    assert [len(list(index.events())) for index in indexes] == list(range(300))


def test_several_events_of_one_target_are_held_across_layers():
    """An agent that is suspended again, long after."""
    index = Index().adding([event(1, "agent", "a")], NOW)
    for seq in range(2, 200):
        index = index.adding([event(seq)], NOW)
    index = index.adding([event(200, "agent", "a")], NOW)
    assert [each.seq for each in index.get("agent a")] == [1, 200]
    assert [each.seq for each in index.of_any(["agent b", "agent a"])] == [1, 200]
    assert len(list(index.events())) == 200


def test_what_has_ended_leaves_its_target_at_once_and_the_index_when_it_has_doubled():
    """An index that is never pruned grows for ever (TRAPS 22)."""
    index = Index().adding([event(1, "agent", "a", until=NOW)], NOW).adding([event(2, "agent", "a")], NOW + 1)
    assert [each.seq for each in index.get("agent a")] == [2]
    for seq in range(3, 3_000):
        index = index.adding([event(seq, until=NOW + seq)], NOW + seq)
    assert len(list(index.events())) < 1_100


def test_the_end_of_a_key_is_never_swept():
    """A stolen key signs any `exp` (TRAPS 6)."""
    index = Index(sweep_at=1).adding([event(1, "key", "k", until=0), event(2, until=0)], NOW)
    assert [each.value for each in index.events()] == ["k"]
    assert [each.value for each in index.only_keys().events()] == ["k"]


def test_ids_are_one_only_if_they_are_equal():
    ids = ["evt_01JE0000000000000000000007", "evt_01JE0000000000000000000008", "evt_01je0000000000000000000007", "evt_7", ""]
    assert len({identity(id) for id in ids}) == len(ids)
    assert identity(ids[0]) == identity("".join(ids[0]))


def test_very_many_events_take_two_hundred_bytes_each():
    """100,000 single revocations in less than 20 MiB."""
    tracemalloc.start()
    try:
        events = [event(seq, "lease", f"lse_{ulid.derived(str(seq).encode())}") for seq in range(1, MANY)]
        before = tracemalloc.get_traced_memory()[0]
        index = Index().adding(events, NOW)
        taken = tracemalloc.get_traced_memory()[0] - before
        # The id is told by the number and the value by the target, so that nothing of the event itself is kept.
        assert taken / MANY < 200
        assert index.get(events[0].target) == events[:1]
    finally:
        tracemalloc.stop()


def test_one_more_event_does_not_copy_the_rest():
    index = Index(sweep_at=10**9).adding([event(seq) for seq in range(1, MANY)], NOW)
    tracemalloc.start()
    try:
        index.adding([event(MANY)], NOW)
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


def test_a_picture_finds_one_of_very_many_and_a_fork_in_the_middle_of_them():
    events = tuple(event(seq) for seq in range(1, MANY))
    head = {"iss": "i", "aud": "a", "epoch": "01", "seq": MANY, "id": "evt_head", "as_of": NOW}
    picture = Picture().adopt(Snapshot(**head, events=events), Instant(NOW, 0))
    token = Revocable("01", 0, "read", approved=False, targets=("all", events[777].target))
    assert picture.ended_by(token) == events[777]
    assert picture.ended_by(token._replace(targets=("all", "lease other"))) is None
    assert not picture.adopt(Snapshot(**head, events=events), Instant(NOW, 0)).disputed
    forked = (*events[:777], event(778, id="evt_01JE0000000000000000000007"), *events[778:])
    assert picture.adopt(Snapshot(**head, events=forked), Instant(NOW, 0)).disputed
