"""What is only given where it is known to be enforced: a limit that nobody holds a token to would silently not be one.

A service says what it enforces: in the registry, where it has verifiers of its own, else by its verifier processes, which tell
it with each acknowledgement. Unknown, unreachable and "not all of them" mean no.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from broker.errors import AccessDenied, Unavailable
from broker.feed.acknowledgements import ANONYMOUS, Acknowledgements, Process
from broker.registry.registry import Entry
from scopes.claims import Confirmation
from scopes.clock import Clock, Instant
from scopes.constraints import COUNTED, Constraint, constraints_of
from scopes.scope import Scope

REMEMBERED = 1_000
"""The milliseconds for which it is remembered who verifies for an audience, so that tokens do not wait for it."""


class _Known(NamedTuple):
    """Who verifies for an audience, as it was read then; without a list it could not be."""

    read: Instant
    processes: list[Process] | None


class Enforceable:
    """Tells whether everybody who verifies for a service holds a token to what it would be limited by."""

    def __init__(self, *, acknowledgements: Acknowledgements, clock: Clock) -> None:
        self._acknowledgements = acknowledgements
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._reading: dict[str, asyncio.Task[_Known]] = {}

    async def check(self, scope: Scope, entry: Entry, confirmation: Confirmation | None) -> None:
        """Raise `AccessDenied` for a token whose constraints are not all known to be enforced, or `Unavailable`."""
        action = entry.action
        needed = constraints_of(scope, confirmation, single_use=action.is_single_use, max_uses=action.max_uses)
        if not needed:
            return
        if entry.service.enforces is not None:
            _check_stated(needed, entry.service.enforces, entry.service_name)
        else:
            _check_reported(needed, await self._processes(entry.service.audience), entry.service_name)

    async def _processes(self, audience: str) -> list[Process]:
        known = self._known.get(audience)
        if known is None or self._clock.now().since(known.read) >= REMEMBERED:
            known = await self._read_once(audience)
        if known.processes is None:
            raise Unavailable("who verifies for this service could not be read; nothing was granted, try again", retry_after=1)
        return known.processes

    async def _read_once(self, audience: str) -> _Known:
        """Read for all who wait at this moment together; whoever hangs up meanwhile ends it for nobody else."""
        reading = self._reading.get(audience)
        if reading is None or reading.done():
            reading = self._reading[audience] = asyncio.create_task(self._read(audience))
        return await asyncio.shield(reading)

    async def _read(self, audience: str) -> _Known:
        processes: list[Process] | None = None
        # What could not be read is remembered as long: nobody is helped by waiting for a store that does not answer, in turn.
        with contextlib.suppress(Unavailable):
            # By the store's clock, as all that is known of them.
            now = (await self._acknowledgements.position()).time
            processes = await self._acknowledgements.processes(audience, now=now)
        known = self._known[audience] = _Known(self._clock.now(), processes)
        return known


def _check_stated(needed: Sequence[Constraint], stated: Sequence[str], service: str) -> None:
    for constraint in needed:
        if constraint not in stated:
            what = f"services.{service}.enforces in the registry does not name {constraint}, so nobody holds the token to it"
            raise AccessDenied(what, reason="not_enforceable")


def _check_reported(needed: Sequence[Constraint], processes: Sequence[Process], service: str) -> None:
    for constraint in needed:
        if not processes and constraint in COUNTED:
            what = f"no verifier of {service} is known that enforces {constraint}; start the service, with its identity"
            raise AccessDenied(what, reason="not_enforceable")
        if not all(_enforces(process, constraint) for process in processes):
            what = f"not every verifier of {service} enforces {constraint}; update those that `broker feed status` names"
            raise AccessDenied(what, reason="not_enforceable")


def _enforces(process: Process, constraint: Constraint) -> bool:
    # Uses are counted for who proves to be of the service: who does not say who it is counts nothing, whatever it says.
    return constraint in process.enforces and not (constraint in COUNTED and process.workload == ANONYMOUS)
