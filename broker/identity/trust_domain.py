"""A trust domain: its name, and where its bundle comes from."""

from typing import NamedTuple, Protocol

from broker.identity.bundle import Bundle


class BundleState(NamedTuple):
    """What is known of a bundle, for those who watch. `age` is the seconds since it was last heard of, `None` for never."""

    source: str
    age: float | None
    problem: str = ""
    failures: int = 0


class BundleSource(Protocol):
    """Where a bundle comes from. Whoever asks it never waits for a network."""

    @property
    def bundle(self) -> Bundle:
        """The bundle in force, the same object until it changes; an empty one where none is known, or it is too old."""
        ...

    @property
    def state(self) -> BundleState:
        """Where it comes from, how old it is, and what is wrong."""
        ...

    def start(self) -> None:
        """Begin to follow it."""
        ...

    def wake(self) -> None:
        """Look again soon, for somebody shows what an authority signed that is not known."""
        ...

    def close(self) -> None:
        """End following it."""
        ...


class TrustDomain:
    """One trust domain."""

    def __init__(self, name: str, source: BundleSource) -> None:
        self.name = name
        self.source = source

    @property
    def bundle(self) -> Bundle:
        """The bundle in force; another object when it has changed."""
        return self.source.bundle
