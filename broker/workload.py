"""A running thing that has proven its name, before we know which agent or service it is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from broker.spiffe_id import trust_domain

Source = Literal["jwt-svid", "x509-svid", "oidc", "private-key"]
"""How a workload can prove who it is."""

NO_CLAIMS: Mapping[str, str] = MappingProxyType({})


PRIVATE_KEY = "private-key"
"""The name before the ids of workloads that sign with a key of the registry, as the name of a trust is before others'."""


class Workload(NamedTuple):
    """A workload by its id: its SPIFFE id, or `<name of the trust>:<sub>`. `expires` is when its assertion does, in seconds.

    `instance` tells one of many with the same id from the others (a pod, a run, a key), where something does. `claims` are
    what a selector of the registry can ask for, by path. `certificate` is the SHA-256 thumbprint (`x5t#S256`, RFC 8705 §3.1)
    of the certificate whose key it proved to hold, where it used one.
    """

    id: str
    expires: int
    source: Source = "jwt-svid"
    instance: str | None = None
    claims: Mapping[str, str] = NO_CLAIMS
    certificate: str | None = None

    @property
    def trust(self) -> str:
        """The trust domain of a SPIFFE id, else the name of the trust that vouches for the workload."""
        return trust_domain(self.id) or self.id.partition(":")[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which this instance can be ended, reduced or suspended."""
        return (self.id,) if self.instance is None else (self.id, self.instance)


def key_workload(name: str) -> str:
    """Return the id of the workload that signs under this name of the registry."""
    return f"{PRIVATE_KEY}:{name}"


def key_instance(name: str, kid: str) -> str:
    """Return the name of one key of a workload, as an instance that can be suspended by itself."""
    return f"{key_workload(name)}/{kid}"
