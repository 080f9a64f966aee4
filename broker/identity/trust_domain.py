"""A trust domain: its name, and where its bundle comes from."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from broker.errors import Unavailable
from broker.identity.bundle import UNKNOWN, Bundle

RETRY_AFTER = 5
"""The seconds after which a caller asks again whose trust domain is not known yet."""


class BundleState(NamedTuple):
    """What is known of a bundle, for those who watch. `age` is the seconds since it was last heard of, `None` for never."""

    source: str
    age: float | None
    problem: str = ""


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

    def refresh(self) -> None:
        """Look now, and wait for it: for those who follow nothing and only want to know."""
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

    @property
    def known_bundle(self) -> Bundle:
        """The bundle in force; raises `Unavailable` where none is known, for that may pass."""
        bundle = self.source.bundle
        if bundle is UNKNOWN:
            raise Unavailable(f"the bundle of {self.name} is not known; try again", retry_after=RETRY_AFTER)
        return bundle

    @property
    def state(self) -> BundleState:
        """Where the bundle comes from, how old it is, and what is wrong, also where it only says that nobody is trusted."""
        state, bundle = self.source.state, self.source.bundle
        return state if state.problem or bundle.has_authorities else state._replace(problem="it has no authorities")


class TrustDomains:
    """All trust domains whose word counts."""

    def __init__(self, domains: Iterable[TrustDomain]) -> None:
        self._domains = tuple(domains)

    def __iter__(self) -> Iterator[TrustDomain]:
        return iter(self._domains)

    def start(self) -> None:
        """Begin to follow the bundles of all."""
        for domain in self._domains:
            domain.source.start()

    def close(self) -> None:
        """End following them."""
        for domain in self._domains:
            domain.source.close()

    @property
    def notice(self) -> str:
        """What is wrong with any of them; empty if nothing is."""
        states = [(domain.name, domain.state) for domain in self._domains]
        return "; ".join(f"bundle of {name}: {state.problem}" for name, state in states if state.problem)

    @property
    def are_unknown(self) -> bool:
        """Tell whether not one bundle is known, so that no SVID proves anything now."""
        return all(domain.bundle is UNKNOWN for domain in self._domains)
