"""The trust domain of a first run."""

import json
from pathlib import Path

import pytest

from broker.errors import ConfigurationError, InvalidClient
from broker.identity import BundleFile, JwtSvids, TrustDomain, development
from tests.broker.clocks import StillClock

ISSUER = "http://127.0.0.1:8750"
BOT = "spiffe://development.test/agent/bot"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    development.create(tmp_path / "development")
    return tmp_path / "development"


def identity(folder: Path, clock: StillClock) -> JwtSvids:
    return JwtSvids([TrustDomain("development.test", BundleFile(folder / development.BUNDLE))], audience=ISSUER, clock=clock)


def test_its_svids_are_authenticated_like_any_other(folder: Path) -> None:
    """`DESIGN.md` 3a: embedded mode authenticates like production."""
    clock = StillClock()
    svid = development.sign_svid(folder, BOT, audience=ISSUER, clock=clock)
    workload = identity(folder, clock).authenticate(svid)
    assert (workload.id, workload.expires) == (BOT, clock.seconds + development.LIFETIME)


def test_its_svids_end(folder: Path) -> None:
    clock = StillClock()
    svid = development.sign_svid(folder, BOT, audience=ISSUER, clock=clock, lifetime=10)
    clock.advance(10_000)
    with pytest.raises(InvalidClient, match="expired"):
        identity(folder, clock).authenticate(svid)


def test_making_it_again_changes_nothing(folder: Path) -> None:
    before = (folder / development.BUNDLE).read_text()
    assert development.create(folder) == folder / development.BUNDLE
    assert (folder / development.BUNDLE).read_text() == before


def test_its_bundle_holds_one_authority_for_jwt_svids_and_nothing_private(folder: Path) -> None:
    (jwk,) = json.loads((folder / development.BUNDLE).read_text())["keys"]
    assert jwk["use"] == "jwt-svid"
    assert "d" not in jwk


@pytest.mark.parametrize(
    "workload",
    ["spiffe://prod.example.com/bot", "spiffe://development.test", "spiffe://development.test/../bot", "bot", ""],
)
def test_it_names_its_own_workloads_only(folder: Path, workload: str) -> None:
    with pytest.raises(ConfigurationError, match=r"not a workload of spiffe://development\.test/"):
        development.sign_svid(folder, workload, audience=ISSUER, clock=StillClock())


def test_without_its_key_it_signs_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="broker init"):
        development.sign_svid(tmp_path, BOT, audience=ISSUER, clock=StillClock())
