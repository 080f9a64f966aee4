"""Plays many cases on one broker, and makes the first that fails as small as it gets."""

import asyncio
from pathlib import Path

from tests.broker.privilege.generated import case, smaller
from tests.broker.privilege.played import Counted, Player
from tests.broker.privilege.records import Case, policies_text, registry_text
from tests.broker.world import BOT, World, fake_backend

_HOUSE_IS_KEPT_AFTER = 20
"""How many histories: some seconds."""


class Bench:
    """One world in one event loop for all cases: each brings a configuration and tasks of its own."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner()
        self._backend = fake_backend()
        self._world = World(folder, self._backend)
        self._world.follow()
        self.counted = Counted()
        self._played = 0

    def play(self, seed: str) -> None:
        """Play the case of a seed; raise `AssertionError` with a small one that fails as well."""
        played = case(seed)
        try:
            found = self._once(played)
        except AssertionError:
            raise AssertionError(self._told(self._smallest(played), seed)) from None
        self.counted = Counted(*(before + more for before, more in zip(self.counted, found, strict=True)))
        self._played += 1
        if self._played % _HOUSE_IS_KEPT_AFTER == 0:
            self._runner.run(self._keep_house())

    def close(self) -> None:
        """Close the store and the loop."""
        self._runner.run(self._backend.close())
        self._runner.close()

    async def _keep_house(self) -> None:
        """Do what a scheduler does: where ending is a minute late, nothing is issued."""
        self._world.follow()
        await self._world.broker.scheduler.expire_leases()
        await self._world.broker.revocation.end_due_tasks()
        await self._world.broker.scheduler.forget()

    def _once(self, played: Case) -> Counted:
        return self._runner.run(Player(self._world, played).play())

    def _problem(self, played: Case) -> str:
        try:
            self._once(played)
        except AssertionError as error:
            return str(error) or "an assertion"
        return ""

    def _smallest(self, failing: Case) -> Case:
        for less in smaller(failing):
            if self._problem(less):
                return self._smallest(less)
        return failing

    def _told(self, failing: Case, seed: str) -> str:
        registry = registry_text(failing, agent="support-bot", workload=BOT)
        history = (
            "\n".join(map(str, failing.opened)) + "\n" + "\n".join(f"{ask.task} {ask.text} {ask}" for ask in failing.asked)
        )
        return f"seed {seed!r}: {self._problem(failing)}\n{registry}\n{policies_text(failing)}\n{history}"
