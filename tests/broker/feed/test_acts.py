"""Standing acts: which of two memories holds, whoever tells first."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.feed import acts
from broker.feed.acts import REDUCTIONS, Act, again, merged, rank, reduction, target_of
from broker.feed.event import LIFT, NO_END, NewEvent, new_event

EPOCHS = ["01JE0000000000000000000000", "01JE0000000000000000000001", "01JF0000000000000000000000"]


def reducing(to: str, kind: str = "agent", value: str = "support-bot") -> NewEvent:
    above, unapproved = REDUCTIONS[to]
    event = new_event(kind, value, now=1_000)
    return msgspec.structs.replace(event, above=above, unapproved=unapproved, stands=True)


def lifting(target: str = "agent support-bot") -> NewEvent:
    return new_event(LIFT, target, now=1_000)


def living(life: str, kind: str = "agent", value: str = "support-bot") -> NewEvent:
    return msgspec.structs.replace(new_event(kind, value, now=1_000), stands=True, life=life, agent="support-bot")


LIVES = [lifting("life of agent support-bot"), living("suspended"), living("retired")]
events = st.sampled_from([lifting(), *map(reducing, REDUCTIONS), *LIVES])
an_act = st.builds(Act, st.sampled_from(EPOCHS), st.integers(1, 3), events)


@given(st.lists(st.lists(an_act, max_size=4), max_size=4), st.randoms())
def test_whoever_tells_first_the_same_act_holds(memories: list[list[Act]], random) -> None:
    shuffled = [random.sample(memory, len(memory)) for memory in random.sample(memories, len(memories))]
    assert {t: act.order for t, act in merged(*memories).items()} == {t: act.order for t, act in merged(*shuffled).items()}


@given(st.lists(an_act, min_size=1, max_size=6))
def test_what_is_merged_again_changes_nothing(memory: list[Act]) -> None:
    once = merged(memory)
    assert merged(once.values(), memory) == once


def test_the_later_act_holds_also_where_it_lifts() -> None:
    reduced, lifted = Act(EPOCHS[0], 5, reducing("paused")), Act(EPOCHS[0], 6, lifting())
    for memory in itertools.permutations([reduced, lifted]):
        assert merged(memory) == {"agent support-bot": lifted}


def test_of_a_forked_epoch_the_stricter_act_holds() -> None:
    """Two acts with one number: nobody knows which was the last, so neither may be forgotten for the looser one."""
    ladder = [lifting(), *map(reducing, REDUCTIONS)]
    for looser, stricter in itertools.pairwise(Act(EPOCHS[0], 5, event) for event in ladder):
        assert merged([looser], [stricter]) == merged([stricter], [looser]) == {"agent support-bot": stricter}


@pytest.mark.parametrize("later", [lifting("life of agent support-bot"), living("suspended")], ids=["resumed", "suspended"])
def test_a_retirement_holds_against_whatever_comes_later(later: NewEvent) -> None:
    retired, other = Act(EPOCHS[0], 1, living("retired")), Act(EPOCHS[1], 900, later)
    assert merged([retired], [other]) == merged([other], [retired]) == {"life of agent support-bot": retired}


def test_at_a_fork_the_stricter_life_holds() -> None:
    forked = [Act(EPOCHS[0], 5, event) for event in LIVES]
    assert merged(forked) == merged(reversed(forked)) == {"life of agent support-bot": forked[2]}
    assert merged(forked[:2]) == merged(reversed(forked[:2])) == {"life of agent support-bot": forked[1]}


@pytest.mark.parametrize("event", [living("suspended"), lifting("life of agent support-bot")])
def test_a_life_and_a_reduction_are_two_targets(event: NewEvent) -> None:
    known = merged([Act(EPOCHS[0], 1, reducing("paused")), Act(EPOCHS[0], 2, event)])
    assert reduction(known["agent support-bot"]) == "paused"
    assert reduction(known["life of agent support-bot"]) is None


def test_what_is_suspended_is_read_from_the_acts() -> None:
    events = [living("suspended"), living("suspended", "instance", "pod-2"), living("suspended", "instance", "pod-1")]
    known = merged(Act(EPOCHS[0], seq, event) for seq, event in enumerate(events))
    assert [acts.life(known, "agent", name) for name in ("support-bot", "other-bot")] == ["suspended", None]
    assert acts.suspended_instances(known, "support-bot") == ["pod-1", "pod-2"]
    assert acts.suspended_instances(known, "other-bot") == []
    lifted = merged(known.values(), [Act(EPOCHS[0], 9, lifting("life of instance pod-2"))])
    assert acts.suspended_instances(lifted, "support-bot") == ["pod-1"]
    assert acts.life(lifted, "instance", "pod-2") is None


def test_a_later_epoch_holds_whatever_its_number() -> None:
    later = Act(EPOCHS[1], 1, lifting())
    assert merged([Act(EPOCHS[0], 900, reducing("paused"))], [later]) == {"agent support-bot": later}


@pytest.mark.parametrize("to", REDUCTIONS)
def test_a_reduction_is_read_from_its_event(to: str) -> None:
    assert reduction(Act(EPOCHS[0], 1, reducing(to))) == to


def test_neither_a_lifting_nor_the_end_of_a_key_reduces_anything() -> None:
    key = msgspec.structs.replace(new_event("key", "kid", now=1_000), stands=True, until=NO_END)
    assert [reduction(Act(EPOCHS[0], 1, event)) for event in (lifting(), key)] == [None, None]


@pytest.mark.parametrize(
    ("event", "target"),
    [
        (reducing("paused"), "agent support-bot"),
        (reducing("paused", "all", ""), "all"),
        (reducing("paused", "resource", "crm"), "resource crm"),
        (lifting("resource crm"), "resource crm"),
    ],
)
def test_an_act_is_about_one_target(event: NewEvent, target: str) -> None:
    assert target_of(event) == target


def test_reductions_are_ranked_from_the_least_to_the_most() -> None:
    assert [rank(event) for event in (lifting(), *map(reducing, REDUCTIONS))] == [0, 1, 2, 3, 4]


def test_an_act_of_an_earlier_epoch_is_committed_with_its_origin_and_for_as_long_as_a_token_lives_from_now() -> None:
    act = Act(EPOCHS[0], 5, reducing("paused"))
    event = again(act, now=10_000_000)
    assert (event.id, event.origin) == (act.event.id, (EPOCHS[0], 5))
    assert event.until >= 10_000_000 + 3_600_000
    assert acts.of_event(event, epoch=EPOCHS[1], seq=1).order == act.order
