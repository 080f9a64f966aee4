"""What a fault is: `inject` does it, `heal` puts it right. While it lasts, the load goes on."""

import abc
import random

from tests.live.faults.load import Agents, Caller, Operators
from tests.live.faults.stage import BrokerProcess, Stage, VerifierHost

LONG = (6.0, 8.0)
"""Seconds that are longer than the bound, so that what is taken away at its beginning has to be refused within the fault."""

SHORT = (0.5, 2.0)


class World:
    """What a fault can lay its hands on. `chance` decides whom it hits."""

    def __init__(self, stage: Stage, caller: Caller, agents: Agents, operators: Operators, chance: random.Random) -> None:
        self.stage, self.caller, self.agents, self.operators, self.chance = stage, caller, agents, operators, chance

    def broker(self) -> BrokerProcess:
        return self.chance.choice(self.stage.brokers)

    def host(self) -> VerifierHost:
        return self.chance.choice(self.stage.hosts)


class Fault(abc.ABC):
    """`lasts` is from how many to how many seconds; `loses` says that the store may lose what it held; `detail` whom it hit.

    What happens in one that is not `judged` is told, and is no violation.
    """

    lasts = LONG
    loses = False
    judged = True

    def __init__(self, world: World) -> None:
        self.world = world
        self.stage = world.stage
        self.chance = world.chance
        self.detail = ""

    @classmethod
    def name(cls) -> str:
        return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in cls.__name__).lstrip("-")

    @abc.abstractmethod
    def inject(self) -> None:
        """Do what goes wrong."""

    def heal(self) -> None:  # noqa: B027 - most faults are over by themselves
        """Put right what does not come right by itself."""
