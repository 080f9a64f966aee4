"""What operators did, in any order, at two replicas, over any losses of the store: it holds, and nothing ended comes back.

The model is as simple as the promise: who is suspended, retired or paused, and which tokens have ended. Where the store goes,
both replicas hear of it before anything else is asked of them; otherwise neither has to have heard of anything.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from broker.errors import BrokerError, Retired
from broker.feed.acts import ACTIVE, RETIRED, SUSPENDED
from broker.issuer import Issued
from broker.lifecycle import Asked
from broker.selector import ReductionSelector
from broker.tasks import Declaration
from scopes.claims import TOKEN_TYPE, decode
from scopes.jose import read
from tests.broker.ended import is_ended
from tests.broker.world import ADMIN, BOT, REGISTRY, World, fake_backend, neighbour_of

AGENTS = {"other-bot": [f"spiffe://development.test/pod/other-bot/{number}" for number in range(2)], "support-bot": [BOT]}
WORKLOADS = {workload: name for name, workloads in AGENTS.items() for workload in workloads}
WITHOUT_LIMITS = REGISTRY.replace("limits       = { leases_per_minute = 10, live_leases = 5 }\n", "")

workloads = st.sampled_from(list(WORKLOADS))
replicas = st.integers(0, 1)
agents = st.sampled_from([Asked(name) for name in AGENTS])
targets = agents | st.sampled_from([Asked(name, workload) for workload, name in WORKLOADS.items()])


class Held(NamedTuple):
    workload: str
    issued: Issued


def epoch_of(held: Held) -> str:
    return decode(read(held.issued.access_token, types=frozenset({TOKEN_TYPE})).unverified_payload)[0].lease.epoch


class Lives(RuleBasedStateMachine):
    """`lives` and `paused` say what stands; `alive` are the tokens that nothing has ended, `ended` all others."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        backend = fake_backend()
        folders = [Path(self.folder.name) / name for name in ("one", "other")]
        first = World(folders[0], backend, registry=WITHOUT_LIMITS)
        # The same keys and files, and a journal of its own.
        shutil.copytree(*folders)
        second = World(folders[1], neighbour_of(backend), registry=WITHOUT_LIMITS, clock=first.clock)
        self.worlds = [first, second]
        self.lives: dict[Asked, str] = {}
        self.paused: set[Asked] = set()
        self.alive: list[Held] = []
        self.ended: list[Held] = []
        self.copy: dict[bytes, bytes] = {}
        self.hear()

    def teardown(self) -> None:
        self.look()
        for world in self.worlds:
            self.run(world.backend.close())
        self.loop.close()
        self.folder.cleanup()

    def run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(doing)

    def hear(self) -> None:
        for _ in range(2):
            for world in self.worlds:
                world.follow()

    def end(self, target: Asked) -> None:
        hit = [held for held in self.alive if covers(target, held.workload)]
        self.alive = [held for held in self.alive if held not in hit]
        self.ended += hit

    def change(self, replica: int, target: Asked, to: str) -> None:
        changing = self.worlds[replica].broker.lifecycle.change(target, to, "a test", ADMIN)
        is_final = self.lives.get(target) == RETIRED and to != RETIRED
        try:
            self.run(changing)
            assert not is_final
        except Retired:
            assert is_final
            return
        self.lives[target] = to
        if to != ACTIVE:
            self.end(target)

    @rule(replica=replicas, whom=targets, to=st.sampled_from([SUSPENDED, SUSPENDED, ACTIVE, ACTIVE]))
    def suspend_or_resume(self, replica: int, whom: Asked, to: str) -> None:
        self.change(replica, whom, to)

    @precondition(lambda self: self.ended)
    @rule(replica=replicas, agent=agents, others=st.lists(st.sampled_from([SUSPENDED, ACTIVE]), max_size=2))
    def retire(self, replica: int, agent: Asked, others: list[str]) -> None:
        """Retire, and have operators at the other replica want something else at the same moment."""
        self.change(replica, agent, RETIRED)
        for to in others:
            self.change(1 - replica, agent, to)

    @rule(replica=replicas, whom=targets, is_pause=st.booleans())
    def pause_or_restore(self, replica: int, whom: Asked, is_pause: bool) -> None:
        selector = ReductionSelector(**dict([whom.target]))
        self.run(self.worlds[replica].broker.reduction.reduce(selector, "paused" if is_pause else "none", "a test", ADMIN))
        self.paused.discard(whom)
        if is_pause:
            self.paused.add(whom)
            self.end(whom)

    @rule(replica=replicas, workload=workloads)
    def ask(self, replica: int, workload: str) -> None:
        world = self.worlds[replica]
        world.follow()
        expected, reason = self.expected(workload), None
        try:
            issued = self.run(world.issue(workload=workload, declaration=Declaration(type="summarise-ticket")))
            self.alive.append(Held(workload, issued))
        except BrokerError as error:
            reason = error.reason
        assert reason == expected

    @rule()
    def copy_store(self) -> None:
        client = self.worlds[0].backend.client
        self.copy = {name: client.dump(name) for name in client.keys("ab:{feed}:*")}

    @rule(is_rolled_back=st.booleans())
    def lose_store(self, is_rolled_back: bool) -> None:
        client = self.worlds[0].backend.client
        for name in client.keys("ab:*"):
            client.delete(name)
        if is_rolled_back:
            for name, value in self.copy.items():
                client.restore(name, 0, value)
        self.hear()
        # A store that is rolled back to where it stood is no other: then everybody may go on.
        epoch = self.worlds[0].broker.streams.picture.epoch
        over = [held for held in self.alive if epoch_of(held) != epoch]
        self.alive = [held for held in self.alive if held not in over]
        self.ended += over

    @rule(replica=replicas)
    def restart(self, replica: int) -> None:
        old = self.worlds[replica]
        self.worlds[replica] = World(
            old.folder, neighbour_of(old.backend), registry=WITHOUT_LIMITS, clock=self.worlds[1 - replica].clock
        )
        self.run(old.backend.stores.shared.close())
        self.worlds[replica].follow()

    def expected(self, workload: str) -> str | None:
        """Return the reason for which the workload gets nothing, if there is one."""
        agent, instance = Asked(WORKLOADS[workload]), Asked(WORKLOADS[workload], workload)
        life = self.lives.get(agent, ACTIVE)
        if life != ACTIVE:
            return f"agent_{life}"
        if self.lives.get(instance, ACTIVE) != ACTIVE:
            return "instance_suspended"
        return "paused" if self.paused & {agent, instance} else None

    @rule()
    def look(self) -> None:
        """Have everybody hear of everything: what has ended stays so everywhere, and nothing else has."""
        self.hear()
        for world in self.worlds:
            assert all(is_ended(world, held.issued) for held in self.ended)
            assert not any(is_ended(world, held.issued) for held in self.alive)


def covers(target: Asked, workload: str) -> bool:
    return target.instance == workload if target.instance is not None else WORKLOADS[workload] == target.agent


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
