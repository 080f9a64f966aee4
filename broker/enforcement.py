"""The use case of looking how far a revocation has come: which verifier processes refuse what it ended, and since when.

A process is *enforced* when it has acknowledged the event, or a place after it. It is *fenced* when it has not, and cannot be
fresh any more: a picture that was vouched for after the event was committed holds the event, so one that lacks it is older than
that, and refuses by itself when the longest staleness bound of its service has passed since. Everything else is *open*.

Only the end of a key fences nobody: a token that was signed with a stolen key says itself how much staleness it bears.
"""

import asyncio
from typing import Literal, NamedTuple

from broker.active import Active
from broker.errors import NotFound, Unavailable
from broker.feed.acknowledgements import MOST_PROCESSES, Acknowledgements, Logged, Position, Process
from broker.registry.records import STALENESS, Service
from scopes.clock import Clock
from scopes.revocations import MAX_AHEAD

State = Literal["enforced", "fenced", "open"]


class Affected(NamedTuple):
    """How far one process has come with one event; without a process, all those of the service that are not known.

    `delay` is the milliseconds from commit to acknowledgement, where the process was there and it is kept; `fenced_at` is when
    a process that has not acknowledged is fenced (milliseconds), where time does that.
    """

    service: str
    audience: str
    process: Process | None
    state: State
    delay: int | None
    fenced_at: int | None


class Enforced(NamedTuple):
    """One event, and how far everybody has come whom it concerns."""

    logged: Logged
    affected: list[Affected]


class Known(NamedTuple):
    """A verifier process that was heard, and its service."""

    service: str
    audience: str
    process: Process


class Enforcement:
    """Answers from what verifiers acknowledged."""

    def __init__(self, *, acknowledgements: Acknowledgements, active: Active, clock: Clock) -> None:
        self._acknowledgements = acknowledgements
        self._active = active
        self._clock = clock

    async def of(self, id: str) -> Enforced:
        """Return how far an event has come; raise `NotFound` for one that can end no token any more, `Unavailable`."""
        logged = await self._acknowledgements.find(id)
        if logged is None:
            raise NotFound(f"no revocation {id!a} is followed: there is none, a new epoch began, or all it could end is over")
        if logged.position.time > self._clock.now().wall + MAX_AHEAD:
            # By such a clock everybody would seem to be fenced.
            raise Unavailable("the store's clock is more than a second ahead of this worker's", retry_after=1)
        services = self._active.rules.registry.content.services.items()
        concerned = [(name, service) for name, service in services if logged.event.concerns(service.audience)]
        processes = await self._processes([service for _, service in concerned], logged.position.time)
        named = zip(concerned, processes, strict=True)
        affected = [one for (name, service), known in named for one in _affected(name, service, known, logged)]
        return Enforced(logged, affected)

    async def verifiers(self) -> tuple[Position, list[Known]]:
        """Return where the log stands, and every process that was heard of lately."""
        position = await self._acknowledgements.position()
        services = self._active.rules.registry.content.services
        processes = await self._processes(list(services.values()), position.time)
        named = zip(services.items(), processes, strict=True)
        return position, [Known(name, service.audience, process) for (name, service), known in named for process in known]

    async def _processes(self, services: list[Service], now: int) -> list[list[Process]]:
        return await asyncio.gather(*(self._acknowledgements.processes(service.audience, now=now) for service in services))


def _affected(name: str, service: Service, known: list[Process], logged: Logged) -> list[Affected]:
    # The one that stands for those who are not known is there where nobody is, and where not everybody can be.
    is_complete = 0 < len(known) < MOST_PROCESSES
    processes: list[Process | None] = [*known] if is_complete else [*known, None]
    fenced_at = _fenced_at(service, logged)
    return [
        Affected(name, service.audience, process, _state(process, logged, fenced_at), _delay(process, logged), fenced_at)
        for process in processes
    ]


def _state(process: Process | None, logged: Logged, fenced_at: int | None) -> State:
    if process is not None and (process.epoch, process.seq) >= (logged.position.epoch, logged.seq):
        return "enforced"
    return "fenced" if fenced_at is not None and logged.position.time > fenced_at else "open"


def _delay(process: Process | None, logged: Logged) -> int | None:
    # A process that began later has it from its first snapshot, and was never late.
    if process is None or process.first > logged.committed:
        return None
    reached = process.reached(logged.seq) if process.epoch == logged.position.epoch else None
    return max(reached - logged.committed, 0) if reached is not None else None


def _fenced_at(service: Service, logged: Logged) -> int | None:
    """Return when no verifier of the service honours anything any more without having heard of the event."""
    # Whoever stole a key also signs the bound.
    if logged.event.kind == "key":
        return None
    actions = [action for resource in service.resources.values() for action in resource.actions.values()]
    longest = max((action.staleness for action in actions), default=max(STALENESS.values()))
    return logged.committed + longest * 1000 + MAX_AHEAD
