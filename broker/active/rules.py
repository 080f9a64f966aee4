"""The rules in force: a registry and the policies that were validated against it, replaced only together."""

from typing import NamedTuple

from broker.errors import Unavailable
from broker.feed.follower import Standpoint
from broker.policy import Policy
from broker.registry.registry import Registry
from broker.tasks import Exposure, Task


class Rules(NamedTuple):
    """One registry with its policies; nothing of it changes. `activation` is the id under which it came into force."""

    registry: Registry
    policy: Policy
    activation: str

    def check_in_force(self, standpoint: Standpoint) -> None:
        """Raise `Unavailable` where something else is in force at this standpoint, or it is not known what."""
        if self.activation != standpoint.configuration:
            raise pending()

    def audiences_of_exposure(self, task: Task, gained: Exposure) -> tuple[str, ...] | None:
        """Return whose verifiers need to hear that a tree was exposed: services of its ceiling, where policies look at that.

        `None` are all: where the type of the tree's root is not in the registry any more.
        """
        folder = self.policy.folder
        is_read = (gained.tainted and "tainted" in folder.reads) or (gained.labels and folder.reads_labels)
        if not is_read:
            return ()
        if self.registry.task_type(task.types[0]) is None:
            return None
        services = {pattern.service for pattern in self.registry.patterns(task.types[0])}
        return tuple(sorted(self.registry.content.services[name].audience for name in services))


class Active:
    """Holds the rules in force. Whoever decides reads them once, and decides on what it read."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules

    @property
    def rules(self) -> Rules:
        """The rules that this worker decides by; raise `Unavailable` while it has none."""
        if self._rules is None:
            raise pending()
        return self._rules

    @property
    def activation(self) -> str:
        """The id of what this worker decides by; empty for nothing."""
        return self._rules.activation if self._rules is not None else ""

    def check_same(self, rules: Rules) -> None:
        """Raise `Unavailable` unless the rules are still these: who was authenticated by others may be nobody by now."""
        if self._rules is not rules:
            raise pending()

    def replace(self, rules: Rules) -> None:
        """Have the next request decided by other rules."""
        self._rules = rules


def pending() -> Unavailable:
    """Return the refusal of a worker that does not have the configuration in force."""
    said = "another configuration came into force than this worker decides by; ask again"
    return Unavailable(said, reason="configuration_pending", retry_after=1)
