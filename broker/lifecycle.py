"""The use case of suspending, resuming and retiring agents: what is suspended stands until it is resumed, retired for good."""

from typing import NamedTuple

import msgspec

from broker.active import Active
from broker.audit import Record
from broker.callers import Caller
from broker.endings import Endings, check_reason
from broker.errors import InvalidRequest, NotFound, Retired
from broker.feed import acts
from broker.feed.acts import ACTIVE, RETIRED, SUSPENDED, Acts
from broker.feed.event import LIFT, NewEvent, new_event
from broker.feed.follower import Follower
from broker.feed.log import Committed
from broker.registry.records import AgentRecord
from broker.registry.registry import Agent
from broker.workload import Workload
from scopes.clock import Clock

MAX_INSTANCE = 2048
"""The characters of an instance's name: as many as a SPIFFE id may have (SPIFFE-ID §2.3)."""


class Asked(NamedTuple):
    """Whose life is to change: an agent, or one instance of it."""

    agent: str
    instance: str | None = None

    @property
    def target(self) -> tuple[str, str]:
        """The kind and the value of the event."""
        return ("agent", self.agent) if self.instance is None else ("instance", self.instance)


class Changed(NamedTuple):
    """A change that was committed. `was` is what stood before as this worker knew it, `active` where nothing did."""

    id: str
    committed: Committed
    was: str


class Lifecycle:
    """Suspends, resumes and retires. What is live ends with the event; what is asked for afterwards meets what stands."""

    def __init__(self, *, endings: Endings, follower: Follower, active: Active, clock: Clock) -> None:
        self._endings = endings
        self._follower = follower
        self._active = active
        self._clock = clock

    def agent(self, name: str, known: Acts) -> Agent:
        """Return an agent of the registry, or one that left it and still is suspended or retired; raise `NotFound`."""
        record = self._active.rules.registry.content.agents.get(name)
        if record is None and name not in stopped(known):
            raise NotFound(f"there is no agent {name!a}")
        return Agent(name, record if record is not None else AgentRecord())

    def agents(self, known: Acts) -> list[Agent]:
        """Return every agent of the registry and every other that still is suspended or retired, by name."""
        return [self.agent(name, known) for name in sorted({*self._active.rules.registry.content.agents, *stopped(known)})]

    async def change(self, asked: Asked, to: str, reason: str, by: Caller) -> Changed:
        """Suspend, retire, or resume with `active`, in one event that stands until the next one on the same.

        What is stopped loses all it holds and gets nothing. To resume brings nothing back: another token has to be asked for.
        To do it again changes nothing but who said why. Raises `NotFound`, `InvalidRequest` for an instance of another agent,
        `Retired`, and `Stuck` where it is not certain that it holds and would outlive the store.
        """
        check_reason(reason)
        # As far as this worker knows: not for refusing to stop somebody, and a store without an answer is no reason either.
        known = self._follower.acts
        self.agent(asked.agent, known)
        self._check_instance(asked, to, known)
        if to != RETIRED and acts.life(known, *asked.target) == RETIRED:
            raise Retired(f"{asked.agent} is retired, and that is for good")
        event = msgspec.structs.replace(self._event(asked, to), by=by.name, said=reason)
        committed = await self._endings.commit([event], _record(asked, to, reason, by))
        return Changed(event.id, committed, acts.life(known, *asked.target) or ACTIVE)

    def _check_instance(self, asked: Asked, to: str, known: Acts) -> None:
        if asked.instance is None:
            return
        if not 0 < len(asked.instance) <= MAX_INSTANCE:
            raise InvalidRequest(f"an instance has 1 to {MAX_INSTANCE} characters")
        if to == RETIRED:
            raise InvalidRequest("only an agent as a whole is retired; suspend the instance")
        owner = self._whose(asked, known)
        if owner not in (None, asked.agent):
            raise InvalidRequest(f"{asked.instance} is an instance of {owner}")

    def _whose(self, asked: Asked, known: Acts) -> str | None:
        """Return the agent as whose instance it was suspended, or else is registered; nobody's may be suspended too.

        A pod, a run or a key is not in the registry, and a workload may be stopped before it is.
        """
        act = known.get(acts.life_of(*asked.target))
        if act is not None and act.event.life:
            return act.event.agent
        found = self._active.rules.registry.find_agent(Workload(asked.instance or "", expires=0))
        return found.name if found is not None else None

    def _event(self, asked: Asked, to: str) -> NewEvent:
        kind, value = asked.target
        event = new_event(kind, value, now=self._clock.now().wall)
        if to == ACTIVE:
            return msgspec.structs.replace(event, kind=LIFT, value=acts.life_of(kind, value))
        return msgspec.structs.replace(event, stands=True, life=to, agent=asked.agent)


def stopped(known: Acts) -> set[str]:
    """Name the agents that are suspended or retired, or of which an instance is."""
    return {act.event.agent for act in known.values() if act.event.life}


_KINDS = {SUSPENDED: "agent.suspended", ACTIVE: "agent.resumed", RETIRED: "agent.retired"}


def _record(asked: Asked, to: str, reason: str, by: Caller) -> Record:
    return Record(
        kind=_KINDS[to],
        agent=asked.agent,
        instance=asked.instance,
        operator=by.name,
        selector=":".join(asked.target),
        said=reason,
    )
