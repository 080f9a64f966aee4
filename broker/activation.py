"""The use case of putting a configuration into force, for all workers at once: sent by an operator, or found on disk.

A decision that was taken before is refused by the script that issues as soon as the floors are raised; so after the answer
nothing is issued by what was in force before, on whatever worker (`DESIGN.md` 3.16, 3.17).
"""

import asyncio
import logging
from typing import NamedTuple

from broker.active.adoption import Adoption
from broker.active.own_files import Found, OwnFiles
from broker.active.sources import Sources, Validated, changes, validated
from broker.audit import Audit, Record
from broker.callers import Caller
from broker.endings import check_reason
from broker.errors import Conflict, Unavailable
from broker.feed.activated import Activated
from broker.feed.follower import Follower
from broker.feed.log import Committed, Log, Worker
from broker.leases import Leases
from scopes.clock import Clock

_MOST_SAID = 500
"""How many characters of what is wrong with files go into a record."""

_LOG = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What came of it: the digest, where in the log it came into force, and what it changed. No place for what was only tried.

    It is not new where it was in force already. `changes` are triples of what it is, its name, and how it changed: `added`,
    `removed` or `changed`.
    """

    digest: str
    place: Committed | None
    changes: list[tuple[str, str, str]]
    is_new: bool


class Activation:
    """Puts configurations into force, and watches the files of this replica."""

    def __init__(
        self, *, log: Log, follower: Follower, leases: Leases, audit: Audit, adoption: Adoption, own: OwnFiles, clock: Clock
    ) -> None:
        self._log = log
        self._follower = follower
        self._leases = leases
        self._audit = audit
        self._adoption = adoption
        self._own = own
        self._clock = clock
        self._owed: dict[str, tuple[str, bytes]] = {}

    async def activate(self, wanted: Sources, reason: str, by: Caller, *, is_tried: bool) -> Outcome:
        """Validate what an operator sent as a whole, and put it into force; where it `is_tried`, only say what would change.

        What is in force already is put into force again without an event. Raises `ConfigurationError` with every problem,
        `Conflict` where another came first, and `Unavailable` where it is not certain.
        """
        check_reason(reason)
        content = await asyncio.to_thread(validated, wanted, self._own.objections)
        before = self._adoption.content
        changed = await asyncio.to_thread(changes, before, content) if before is not None else []
        if is_tried:
            return Outcome(content.digest, None, changed, is_new=content.digest != self._adoption.digest)
        place, is_new = await self._put_into_force(content, said=reason, by=by.name)
        return Outcome(content.digest, place, changed, is_new=is_new)

    async def look(self) -> None:
        """Look at this replica's files, and put them into force if they changed while it ran, and can be used."""
        if not await asyncio.to_thread(self._own.has_changed):
            return
        found = await asyncio.to_thread(self._own.read)
        try:
            if found is not None:
                await self._take(found)
                self._own.deal_with(found)
        except Conflict:
            # Most often another worker of this replica, which saw the same. The next look tells.
            _LOG.debug("another configuration came into force meanwhile; the files are looked at again")

    async def record_owed(self) -> None:
        """Write the records of activations that came into force, and could not be recorded at once."""
        in_force = self._follower.standpoint().configuration
        for id in tuple(self._owed):
            if id == in_force:
                await self._record(id)

    async def _record(self, id: str) -> None:
        # Taken out first, for the job that looks after what is owed may come by meanwhile.
        owed = self._owed.pop(id, None)
        if owed is None:
            return
        try:
            await self._audit.append_encoded(*owed)
        except BaseException:  # whatever it was: the record is owed still
            self._owed[id] = owed
            raise

    async def workers(self) -> list[Worker]:
        """Return every worker of every replica, with what it works by."""
        return await self._log.workers()

    @property
    def file_problems(self) -> tuple[str, ...]:
        """Everything that is wrong with the files of this replica."""
        return self._own.problems

    @property
    def files_differ(self) -> bool:
        """Tell whether the files of this replica can be used, and are not what is in force."""
        return not self._own.problems and self._own.digest != self._adoption.digest

    @property
    def notice(self) -> str:
        """What an operator should know of this replica's files, in words that anybody may read; empty for nothing."""
        if self._own.problems:
            return "the registry or policy files are broken, and what is in force stays: `broker check` says what is wrong"
        if self.files_differ:
            return "the files differ from what is in force: `broker activate` takes them into force"
        return ""

    async def _take(self, found: Found) -> None:
        if found.content is None:
            await self._reject(found)
        # What the files said before was in force, or was not what operators wanted: only a change is a wish.
        elif found.content.digest != self._own.digest:
            await self._put_into_force(found.content, said="the files changed", by="")

    async def _reject(self, found: Found) -> None:
        problems = "\n".join(found.problems)
        if await self._log.is_first_to_reject(self._own.change):
            digest, said = self._adoption.digest or None, problems[:_MOST_SAID]
            await self._audit.append(Record(kind="configuration.rejected", policy_version=digest, said=said))
        _LOG.error("the files are broken, and what is in force stays: %s", problems)

    async def _put_into_force(self, content: Validated, *, said: str, by: str) -> tuple[Committed, bool]:
        """Return where the content came into force, and whether it did so now."""
        epoch, before = self._follower.standpoint().picture.epoch, self._follower.activated
        is_as_wanted = before is not None and before.digest == content.digest and await self._is_adopted(before, content)
        # One that a key signed that was revoked since is signed anew: workers that start do not believe it.
        if before is None or not is_as_wanted or not self._adoption.is_believed:
            known = before.id if before is not None else ""
            return await self._commit(content, epoch, known, said=said, by=by), True
        # Again, for whoever put it into force may have come to its end before.
        place = Committed(before.epoch, before.seq)
        await self._leases.raise_floors(*place)
        return place, False

    async def _is_adopted(self, before: Activated, content: Validated) -> bool:
        """Tell whether this worker decides by what is in force, of which it has just validated the content.

        Raises `Conflict` where it is about to: to commit the same again would be another activation, with a record of its own.
        """
        self._adoption.keep_at_hand(content)
        await asyncio.to_thread(self._adoption.adopt)
        if before.id != self._adoption.in_force and not self._adoption.problem:
            raise Conflict("this very configuration is coming into force; look at it, and try again")
        return before.id == self._adoption.in_force

    async def _commit(self, content: Validated, epoch: str, before: str, *, said: str, by: str) -> Committed:
        self._adoption.keep_at_hand(content)
        activated = await asyncio.to_thread(self._adoption.signed, content, origin=epoch, by=by, said=said)
        record = Record(
            kind="configuration.activated",
            operator=by or None,
            policy_version=content.digest,
            previous=self._adoption.digest or None,
            epoch=epoch,
            said=said,
        )
        # Kept from before it is tried, for where the answer is lost it may be in force nevertheless.
        self._owed[activated.id] = (by, self._audit.encode(record))
        in_force = await self._log.activate(epoch, activated, instead_of=before, now=self._clock.now().wall)
        if in_force.id != activated.id:
            del self._owed[activated.id]
            raise Conflict("another configuration came into force meanwhile; look at it, and try again")
        await self._leases.raise_floors(*in_force.place)
        await self._keep(activated)
        await self._record(activated.id)
        return in_force.place

    async def _keep(self, activated: Activated) -> None:
        """Have it on this replica's disk before anybody is told: the store may be lost the moment after."""
        try:
            await asyncio.to_thread(self._adoption.keep, activated)
        except OSError as error:
            raise Unavailable(f"it is in force, but cannot be kept beside the keys ({error.strerror})") from None
