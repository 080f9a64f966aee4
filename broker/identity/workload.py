"""A running thing that has proven its name, before we know which agent it is."""

from typing import NamedTuple


class Workload(NamedTuple):
    """A workload by its SPIFFE id. `expires` is when its assertion does, in seconds."""

    id: str
    expires: int
