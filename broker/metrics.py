"""What is counted for those who watch the broker (Prometheus). No name of an agent, a person or a record is ever a label."""

import os
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# As the library itself decided when it was imported.
_IS_SHARED = "PROMETHEUS_MULTIPROC_DIR" in os.environ

ISSUED = Counter("broker_tokens_issued", "Tokens handed out.")
REFUSED = Counter("broker_tokens_refused", "Requests for tokens that were refused.", ["reason"])
COMMITTED = Counter("broker_endings_committed", "Revocations and reductions committed and recorded.", ["kind"])
IDENTITY_FAILURES = Counter(
    "broker_identity_failures",
    "Attempts to read a bundle or the keys of an issuer that failed; what was known stays.",
    ["what"],
)
EPOCHS = Counter("broker_epochs_begun", "Epochs begun, for the store was lost, restarted or replaced.")

# Set by the worker that is asked, at the moment it is asked.
_LATEST: dict[str, Any] = {"multiprocess_mode": "mostrecent"}
STUCK = Gauge("broker_stuck", "What was to end and is not known to have ended.", **_LATEST)
REDUCTIONS = Gauge("broker_reductions", "Reductions in force.", **_LATEST)
READY = Gauge("broker_ready", "1 where the worker that was asked would issue, else 0.", **_LATEST)
BUNDLE_AGE = Gauge(
    "broker_bundle_age_seconds",
    "How long ago the worker that was asked last heard of a trust domain.",
    ["trust_domain"],
    **_LATEST,
)
PICTURE_AGE = Gauge("broker_picture_age_seconds", "The age of what the worker that was asked knows.", **_LATEST)
BROKEN = Gauge("broker_configuration_broken", "1 where the files of the replica that was asked cannot be used.", **_LATEST)
UNDECIDED = Gauge(
    "broker_undecided_shards", "Shards whose live leases were not decided by the configuration in force yet.", **_LATEST
)
DIFFERS = Gauge("broker_configuration_differs", "1 where those files are not what is in force.", **_LATEST)
CONFIGURATION = Gauge("broker_configuration_info", "1 for the digest of the configuration in force.", ["digest"], **_LATEST)


def show_configuration(digest: str, *, instead_of: str) -> None:
    """Show which configuration is in force, and no longer which one was."""
    if instead_of and instead_of != digest:
        CONFIGURATION.labels(instead_of).set(0)
    CONFIGURATION.labels(digest).set(1)


def exposition() -> bytes:
    """Write all counts in the text format of Prometheus: of every worker of this replica, where they share a folder."""
    if not _IS_SHARED:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
