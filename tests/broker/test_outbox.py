"""The outbox: orders on disk, one worker at each."""

from pathlib import Path

from broker.feed.event import new_event
from broker.outbox import Order, Outbox


def order(now: int = 1_000) -> Order:
    event = new_event("agent", "support-bot", now=now)
    return Order(event.id, "revocation of agent:support-bot", (event,), "admin", b"{}", now, "down", 1, now)


def test_an_outbox_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert Outbox(tmp_path / "outbox").orders() == []


def test_orders_are_read_in_the_order_in_which_they_were_given(tmp_path: Path) -> None:
    box, made = Outbox(tmp_path / "outbox"), [order(now) for now in (3_000, 1_000, 2_000)]
    for each in made:
        box.keep(each)
    assert [each.since for each in Outbox(tmp_path / "outbox").orders()] == [1_000, 2_000, 3_000]


def test_an_order_is_claimed_by_one_at_a_time(tmp_path: Path) -> None:
    box, kept = Outbox(tmp_path / "outbox"), order()
    box.keep(kept)
    with box.claimed(kept.id) as first, Outbox(tmp_path / "outbox").claimed(kept.id) as second:
        assert (first, second) == (kept, None)
    with box.claimed(kept.id) as again:
        assert again == kept


def test_an_order_that_is_done_is_nobodys(tmp_path: Path) -> None:
    box, kept = Outbox(tmp_path / "outbox"), order()
    box.keep(kept)
    with box.claimed(kept.id):
        box.done(kept.id)
    box.done(kept.id)
    with box.claimed(kept.id) as late:
        assert late is None
    assert box.orders() == []


def test_an_order_written_anew_while_somebody_waited_for_it_is_left_to_the_next_try(tmp_path: Path, monkeypatch) -> None:
    box, kept = Outbox(tmp_path / "outbox"), order()
    box.keep(kept)
    lock = "broker.outbox.fcntl.flock"
    for meanwhile in (lambda: box.keep(kept.failed("still down", now=2_000)), lambda: box.done(kept.id)):
        monkeypatch.setattr(lock, lambda *_, act=meanwhile: act())
        with box.claimed(kept.id) as claimed:
            assert claimed is None
    assert list((tmp_path / "outbox").iterdir()) == []


def test_an_order_that_is_done_while_all_are_read_is_left_out(tmp_path: Path, monkeypatch) -> None:
    box, kept = Outbox(tmp_path / "outbox"), order()
    box.keep(kept)
    monkeypatch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(FileNotFoundError(path)))
    assert box.orders() == []
