"""From what is configured for a trust domain to where its bundle comes from: one kind of source for each."""

from pathlib import Path

from broker.errors import ConfigurationError
from broker.identity.bundle_endpoint import BundleEndpoint, EndpointIdentity
from broker.identity.bundle_file import BundleFile
from broker.identity.trust_domain import BundleSource
from broker.identity.workload_api import WorkloadApi
from scopes.clock import Clock


def bundle_source(
    trust_domain: str,
    *,
    file: Path | None = None,
    endpoint: str | None = None,
    endpoint_spiffe_id: str | None = None,
    workload_api: str | None = None,
    allow_private_addresses: bool = False,
    clock: Clock,
) -> BundleSource:
    """Prepare the source without asking anybody; raise `ConfigurationError` where there is none, or it cannot be used."""
    if endpoint is not None:
        return BundleEndpoint(
            trust_domain,
            endpoint,
            identity=_identity(endpoint_spiffe_id, file, clock),
            allow_private_addresses=allow_private_addresses,
            clock=clock,
        )
    if workload_api is not None:
        return WorkloadApi(trust_domain, workload_api, clock=clock)
    if file is None:
        raise ConfigurationError([f"{trust_domain}: has no bundle"])
    return BundleFile(file, clock=clock)


def _identity(spiffe_id: str | None, file: Path | None, clock: Clock) -> EndpointIdentity | None:
    if spiffe_id is None:
        return None
    if file is None:
        raise ConfigurationError([f"{spiffe_id}: cannot prove itself without a bundle to believe it the first time"])
    return EndpointIdentity(spiffe_id, BundleFile(file, clock=clock))
