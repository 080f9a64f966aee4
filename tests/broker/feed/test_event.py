"""Events before they have a number: until when they matter, and to whom."""

import msgspec

from broker.feed.event import NewEvent, new_event
from scopes.ulid import is_id

NOW = 1_795_318_537_000
MINUTE, HOUR = 60_000, 3_600_000


def test_an_event_lasts_a_minute_longer_than_the_last_token_it_can_hit():
    """Who forgets it earlier, by a clock within its skew, would honour what has ended."""
    assert new_event("lease", "lse_1", now=NOW, expires=NOW + 5_000).until == NOW + 5_000 + MINUTE


def test_an_event_whose_tokens_nobody_enumerates_lasts_as_long_as_any_token_can_live_and_a_minute():
    assert new_event("agent", "support-bot", now=NOW).until == NOW + HOUR + MINUTE


def test_each_event_has_an_id_of_its_own():
    ids = {new_event("all", now=NOW).id for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(is_id(id, "evt_") for id in ids)


def test_an_event_concerns_its_audiences_and_without_any_everybody():
    assert new_event("all", now=NOW).concerns("https://crm.test")
    mine = new_event("lease", "lse_1", now=NOW, audiences=("https://crm.test",))
    assert mine.concerns("https://crm.test")
    assert not mine.concerns("https://kb.test")


def test_an_event_that_concerns_no_audience_is_told_to_nobody():
    """An empty list is not a missing one."""
    assert not new_event("lease", "lse_1", now=NOW, audiences=()).concerns("https://crm.test")


def test_an_event_goes_over_the_wire_with_its_number_and_without_the_other_audiences():
    new = NewEvent(id="evt_1", kind="agent", until=NOW, value="support-bot", audiences=("https://crm.test",))
    sent = msgspec.json.decode(msgspec.json.encode(new.numbered(7)))
    assert sent == {"seq": 7, "id": "evt_1", "kind": "agent", "until": NOW, "value": "support-bot"}
