"""The use case of reducing access instead of ending it, and of restoring it: what is reduced stands until it is lifted."""

from typing import NamedTuple

import msgspec

from broker.active import Active
from broker.audit import Record
from broker.callers import Caller
from broker.endings import Endings, check_reason
from broker.errors import InvalidRequest, NotFound
from broker.feed import acts
from broker.feed.acts import Act
from broker.feed.event import LIFT, NewEvent, new_event
from broker.feed.follower import Follower
from broker.feed.log import Committed
from broker.selector import ReductionSelector
from scopes.clock import Clock

NONE = "none"
"""What access is reduced to where a reduction is lifted."""


class Reduced(NamedTuple):
    """A reduction that was committed: its event, and where that stands."""

    id: str
    committed: Committed


class InForce(NamedTuple):
    """A reduction in force: of what, to what, by whom, why, and where it was first committed."""

    id: str
    selector: dict[str, str | bool]
    to: str
    by: str
    said: str
    epoch: str
    seq: int


class Reduction:
    """Reduces and restores. What is live is hit by the event; what is asked for afterwards, by what stands."""

    def __init__(self, *, endings: Endings, follower: Follower, active: Active, clock: Clock) -> None:
        self._endings = endings
        self._follower = follower
        self._active = active
        self._clock = clock

    async def reduce(self, selector: ReductionSelector, to: str, reason: str, by: Caller) -> Reduced:
        """Reduce access to a level, or restore it with `none`, in one event that stands until the next one on the same.

        What an earlier and stricter reduction ended stays ended: nothing un-revokes. Raises `InvalidRequest`, `NotFound` for
        an agent or service of no registry, `Stuck` where it is not certain that it holds and would outlive the store.
        """
        kind, value = selector.chosen
        self._check(kind, value, to, reason)
        event = msgspec.structs.replace(self._event(kind, value, to), by=by.name, said=reason)
        record = Record(kind="reduction", operator=by.name, selector=f"{kind}:{value}", reason=to, said=reason)
        return Reduced(event.id, await self._endings.commit([event], record))

    def in_force(self) -> list[InForce]:
        """Return every reduction in force, as this worker knows them; raise `Unavailable` if it knows nothing fresh."""
        known = self._follower.standpoint().acts
        return [_in_force(known[target], to) for target in sorted(known) if (to := acts.reduction(known[target])) is not None]

    def _check(self, kind: str, value: str, to: str, reason: str) -> None:
        if to not in (*acts.REDUCTIONS, NONE):
            raise InvalidRequest(f"access is reduced to one of {', '.join(acts.REDUCTIONS)}; {NONE} restores it")
        check_reason(reason)
        content = self._active.rules.registry.content
        # What stands may be of an agent that has left the registry since, so that to restore is not checked.
        if to != NONE and (kind, value in content.agents) == ("agent", False):
            raise NotFound(f"there is no agent {value!a}")
        if kind == "service" and value not in content.services:
            raise NotFound(f"there is no service {value!a}")

    def _event(self, kind: str, value: str, to: str) -> NewEvent:
        audiences = (self._active.rules.registry.content.services[value].audience,) if kind == "service" else None
        # A service is the prefix of everything at it.
        event = new_event("resource" if kind == "service" else kind, value, now=self._clock.now().wall, audiences=audiences)
        if to == NONE:
            return msgspec.structs.replace(event, kind=LIFT, value=acts.target_of(event))
        above, unapproved = acts.REDUCTIONS[to]
        return msgspec.structs.replace(event, above=above, unapproved=unapproved, stands=True)


def _in_force(act: Act, to: str) -> InForce:
    event = act.event
    kind = "service" if event.kind == "resource" else event.kind
    selector: dict[str, str | bool] = {kind: event.value or True}
    return InForce(event.id, selector, to, event.by, event.said, act.epoch, act.seq)
