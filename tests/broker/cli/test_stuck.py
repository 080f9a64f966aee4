"""`broker stuck`, and what a command says whose wish is stuck."""

from pathlib import Path

import pytest

from broker.feed.event import new_event
from broker.outbox import Order, Outbox
from broker.stuck_work import LONGEST_PAUSE
from scopes.clock import SystemClock


@pytest.fixture
def order(served):
    """Something that is not tried again before the test is over."""
    now = SystemClock().now().wall
    event = new_event("agent", "support-bot", now=now)
    made = Order(event.id, "revocation of agent:support-bot", (event,), "admin", b"{}", now, "down", 3, now + LONGEST_PAUSE)
    outbox = Outbox(served.folder / "keys" / "outbox")
    outbox.keep(made)
    yield made
    outbox.done(made.id)


def test_what_is_stuck_is_listed_with_its_reason(served, order):
    listed = served.operate("stuck").out
    assert all(word in listed for word in (order.id, "revocation of agent:support-bot", "down", "3"))
    (record,) = served.operate("stuck", "--json").document["stuck"]
    assert (record["id"], record["tries"], record["next_try"]) == (order.id, 3, order.next_try)


def test_nothing_stuck_is_said(served):
    done = served.operate("stuck")
    assert (done.code, done.out, done.err) == (0, "", "Nothing is stuck.\n")


def test_a_wish_that_is_stuck_ends_with_4_and_is_not_asked_twice(served):
    """The journal cannot be written, for a folder is in its place."""
    journal: Path = served.folder / "keys" / "journal"
    kept = journal.rename(journal.with_name("aside")) if journal.exists() else None
    (journal / "x").mkdir(parents=True)
    try:
        done = served.operate("reduce", "--agent", "support-bot", "--to", "read-only", "--reason", "a drill")
        assert done.code == 4
        assert "reason stuck" in done.err
        assert len(served.operate("stuck", "--json").document["stuck"]) == 1
    finally:
        (journal / "x").rmdir()
        journal.rmdir()
        if kept is not None:
            kept.rename(journal)
    assert served.operate("restore", "--agent", "support-bot", "--reason", "a drill").code == 0
    assert served.operate("stuck").err == "Nothing is stuck.\n"
