"""Commits what ends or reduces access, with its record; what the store does not confirm is kept, and tried until it does."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from broker import metrics
from broker.audit import Audit, Record
from broker.errors import InvalidRequest, Retired, Stuck, Unavailable
from broker.feed import acts
from broker.feed.event import GRACE, LONGEST_LIFE, NewEvent
from broker.feed.follower import Follower
from broker.feed.journal import Journal
from broker.feed.log import Committed, Log
from broker.outbox import Order, Outbox
from scopes.clock import Clock

_LOG = logging.getLogger(__name__)


MAX_REASON = 500


def check_reason(said: str) -> None:
    """Raise `InvalidRequest` unless an operator said why, and not too much of it."""
    if not 0 < len(said) <= MAX_REASON:
        raise InvalidRequest(f"say why, in at most {MAX_REASON} characters")


class Endings:
    """The way every wish of an operator goes into the log."""

    def __init__(self, *, log: Log, follower: Follower, journal: Journal, audit: Audit, outbox: Outbox, clock: Clock) -> None:
        self._log = log
        self._follower = follower
        self._journal = journal
        self._audit = audit
        self._outbox = outbox
        self._clock = clock

    async def commit(self, events: Sequence[NewEvent], record: Record) -> Committed:
        """Commit the events and write the record; raise `Stuck` where that is not certain: it is then kept, and tried again.

        An answer means that the log has the events, that what stands is on this replica's disk, and that the record is
        written. Raises `Retired` where the events would lift what is for good. The id of the order is that of the last event.
        """
        # What is stuck was wanted earlier, so it comes first: a reduction must not come after its own restoration.
        await self.try_again(even_early=True)
        order = self._order(events, record)
        try:
            return await self._carry_out(order)
        except Unavailable as error:
            raise self._kept(order, error) from None

    async def try_again(self, *, even_early: bool = False) -> None:
        """Try every stuck order whose time has come, the oldest first."""
        for order in self.stuck():
            if even_early or order.next_try <= self._clock.now().wall:
                await self._try(order.id)

    async def record_epochs(self) -> None:
        """Record the epochs that this worker began: each of them ended every token before it."""
        for epoch in tuple(self._follower.unrecorded):
            await self._audit.append_end(Record(kind="epoch.begun", epoch=epoch))
            self._follower.unrecorded.remove(epoch)
            metrics.EPOCHS.inc()

    def stuck(self) -> list[Order]:
        """Return what this replica was asked for and could not do yet, the oldest first."""
        return self._outbox.orders()

    async def _try(self, id: str) -> None:
        with self._outbox.claimed(id) as order:
            if order is None:
                return
            try:
                await self._carry_out(self._renewed(order))
            except Unavailable as error:
                self._outbox.keep(order.failed(str(error), now=self._clock.now().wall))
                return
            except Retired as error:
                self._outbox.done(id)
                _LOG.warning("%s (%s) is given up: %s", order.what, order.id, error)
                return
            self._outbox.done(id)
            _LOG.warning("%s (%s) is done now, after %d tries that failed", order.what, order.id, order.tries)

    def _renewed(self, order: Order) -> Order:
        """Have the events end also what was given out since they were made."""
        until = self._clock.now().wall + LONGEST_LIFE + GRACE
        events = tuple(msgspec.structs.replace(event, until=max(event.until, until)) for event in order.events)
        return msgspec.structs.replace(order, events=events)

    async def _carry_out(self, order: Order) -> Committed:
        committed = await self._log.append(self._follower.standpoint().picture.epoch, order.events)
        await self._remember(order.events, committed)
        await self._audit.append_encoded(order.operator, order.record)
        metrics.COMMITTED.labels(order.what.partition(" ")[0]).inc()
        return committed

    async def _remember(self, events: Sequence[NewEvent], committed: Committed) -> None:
        """Have what stands on disk before anybody is told so: the store may be lost the moment after."""
        news = [acts.of_event(event, epoch=committed.epoch, seq=committed.seq) for event in events if acts.is_act(event)]
        if not news:
            return
        try:
            await asyncio.to_thread(self._journal.add, committed.epoch, news)
        except OSError as error:
            raise Unavailable(f"it holds, but the journal cannot be written ({error.strerror})") from None

    def _order(self, events: Sequence[NewEvent], record: Record) -> Order:
        now = self._clock.now().wall
        return Order(
            id=events[-1].id,
            what=f"{record.kind} of {record.selector}",
            events=tuple(events),
            operator=record.operator or "",
            record=self._audit.encode(record),
            since=now,
            problem="",
            tries=0,
            next_try=now,
        )

    def _kept(self, order: Order, error: Unavailable) -> Unavailable:
        try:
            self._outbox.keep(order.failed(str(error), now=self._clock.now().wall))
        except OSError as failure:
            return Unavailable(f"{error}; nor can it be kept to be tried again ({failure.strerror})", retry_after=1)
        _LOG.error("%s (%s) is stuck and will be tried again: %s", order.what, order.id, error)
        return Stuck(f"not confirmed yet ({error}); it is kept and tried until it is", id=order.id)
