"""What a forked child has to make anew: it has no threads of its parent's, and its locks are as they were at that moment."""

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something that a fork leaves unfit for use."""

    def renew(self) -> None:
        """Make it fit again; called in the child."""
        ...


def renew_in_child(owner: Renewable) -> None:
    """Have `owner` renewed in every child that is forked from now on, for as long as it is there."""
    known = weakref.ref(owner)

    def renew() -> None:
        alive = known()
        if alive is not None:
            alive.renew()

    os.register_at_fork(after_in_child=renew)
