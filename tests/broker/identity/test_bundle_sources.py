"""From what is configured to where a bundle comes from; nobody is asked for it (`broker check`)."""

import json
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigurationError
from broker.identity.bundle_endpoint import BundleEndpoint
from broker.identity.bundle_file import BundleFile
from broker.identity.bundle_sources import bundle_source
from broker.identity.workload_api import WorkloadApi
from tests.broker.identity.domains import PROD, bundle
from tests.scopes.clocks import MovableClock

URL = "https://bundles.example.com/"
SERVER_ID = "spiffe://prod/spire/server"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "bundle.json").write_text(json.dumps(bundle(PROD)))
    return tmp_path / "bundle.json"


def source(**configured: Any) -> Any:
    return bundle_source("prod", clock=MovableClock(), **configured)


def test_each_kind_of_source_is_made(file: Path) -> None:
    assert isinstance(source(file=file), BundleFile)
    assert isinstance(source(endpoint=URL), BundleEndpoint)
    assert isinstance(source(endpoint=URL, endpoint_spiffe_id=SERVER_ID, file=file), BundleEndpoint)
    assert isinstance(source(workload_api="unix:///run/agent.sock"), WorkloadApi)


@pytest.mark.parametrize(
    "configured",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"endpoint": URL, "endpoint_spiffe_id": SERVER_ID}, id="an id that nothing proves"),
        pytest.param({"endpoint": "http://bundles.example.com/"}, id="an endpoint in the clear"),
        pytest.param({"endpoint": "https://10.0.0.1/"}, id="an endpoint in a private network"),
        pytest.param({"endpoint": URL, "endpoint_spiffe_id": SERVER_ID, "file": Path("gone.json")}, id="no file for the id"),
        pytest.param({"workload_api": "tcp://127.0.0.1:1"}, id="a Workload API over the network"),
        pytest.param({"file": Path("gone.json")}, id="no file"),
    ],
)
def test_what_could_never_be_read_is_a_mistake(configured: dict[str, Any]) -> None:
    """Above all, an id is never dropped: its endpoint would be believed by the web instead."""
    with pytest.raises(ConfigurationError):
        source(**configured)
