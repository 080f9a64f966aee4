"""What a tree of tasks reads ends the tokens that say they do not survive it, by their own word."""

import pytest

from scopes.revocations import Picture
from tests.scopes.feed_log import FeedLog
from tests.scopes.revocables import held


@pytest.mark.parametrize(
    ("lease", "targets"),
    [
        ({}, ["taint tsk_01"]),
        ({"ends_on_taint": False}, []),
        ({"ends_on_labels": ["pii"]}, ["taint tsk_01", "taint tsk_01 pii"]),
        ({"ends_on_taint": False, "ends_on_labels": ["health", "pii"]}, ["taint tsk_01 health", "taint tsk_01 pii"]),
    ],
)
def test_what_a_tree_may_not_read_is_among_what_ends_a_token(lease, targets):
    assert [target for target in held(**lease).targets if target.startswith("taint ")] == targets


@pytest.mark.parametrize(
    ("value", "is_ended"),
    [
        ("tsk_01 pii", True),
        ("tsk_01 health", True),
        ("tsk_01", False),
        ("tsk_01 financial", False),
        ("tsk_02 pii", False),
        ("tsk_01 pi", False),
        ("tsk_01  pii", False),
    ],
)
def test_a_class_of_data_that_a_tree_has_read_ends_the_tokens_that_name_it(clock, value, is_ended):
    """And no token that does not: it would have been given all the same (TRAPS 15b)."""
    token = held(ends_on_taint=False, ends_on_labels=["health", "pii"])
    log = FeedLog(clock)
    picture = Picture().adopt(log.snapshot(), clock.now()).apply(log.commit("taint", value), clock.now())
    assert (picture.ended_by(token) is not None) is is_ended
    assert picture.ended_by(held(ends_on_taint=False, ends_on_labels=["pii"], position=log.head.seq)) is None
