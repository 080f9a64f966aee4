"""For whom, and below what, a task is opened: what a subject token shows, once it was believed (RFC 8693 §1.1)."""

from typing import NamedTuple

from broker.errors import InvalidGrant
from broker.tasks.records import Delegation, Task


class Above(NamedTuple):
    """The task below which another agent's is opened, by a lease of it that expires at `expires` (milliseconds)."""

    task: Task
    delegation: Delegation
    expires: int


class Behalf(NamedTuple):
    """A user with the groups that their token named, or a task above with its own user; nobody where neither is there."""

    user: str = ""
    groups: tuple[str, ...] = ()
    above: Above | None = None

    @property
    def mark(self) -> str:
        """What tells one from another: the user, or the lease of the task above; empty for nobody."""
        return self.above.delegation.lease if self.above is not None else self.user

    def check(self, task: Task) -> None:
        """Raise `InvalidGrant` unless a task that is there already is done for this user, or by this lease.

        Whoever shows nothing may go on with whatever task is theirs: the task itself says for whom it is. A user who lost a
        group since gets no token by it.
        """
        if self.above is not None:
            if task.delegation is None or task.delegation.lease != self.mark:
                raise InvalidGrant("the task was not delegated by this token; declare another")
        elif self.user and (task.user != self.user or not set(task.groups) <= set(self.groups)):
            raise InvalidGrant("the task is not this user's, or not in the groups they are in now; declare another")


NOBODY = Behalf()
