"""Bundles from the Workload API, over a real Unix socket (SPIFFE Workload API §5, §6)."""

import importlib.util
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from spiffe import WorkloadApiClient

from broker.errors import ConfigurationError, InvalidClient
from broker.identity import JwtSvids, TrustDomain
from broker.identity.bundle import UNKNOWN
from broker.identity.refreshed import HARD_AGE
from broker.identity.workload_api import WorkloadApi as Source
from broker.identity.workload_api_reader import Reader
from scopes.clock import SystemClock
from tests.broker.identity.domains import BOT, ISSUER, PROD, PROD_NEXT, STAGE
from tests.broker.workload_api import WorkloadApi, jwk_of
from tests.scopes.certificates import authority
from tests.scopes.clocks import MovableClock, eventually
from tests.scopes.tokens import compact, private_jwk

ROOT, OTHER_ROOT = authority("prod"), authority("stage")


class Machine:
    """A Workload API, the broker's source that reads it, and who authenticates the workloads of its domain."""

    def __init__(self) -> None:
        # The package looks at the expiry of what it fetches, by the system's clock.
        self.clock = MovableClock(SystemClock().now().wall)
        self.api = WorkloadApi("prod", BOT, PROD, clock=self.clock)
        self.api.x509 = {"prod": (ROOT,)}
        self.source = Source("prod", self.api.address, clock=self.clock)
        self.identity = JwtSvids([TrustDomain("prod", self.source)], audience=ISSUER, clock=self.clock)

    def read(self) -> str:
        """Read the bundle once more, and return what is wrong."""
        self.clock.advance(60_000)
        self.source.refresh()
        return self.source.state.problem

    def knows(self, svid: str) -> bool:
        try:
            return self.identity.authenticate(svid).id == BOT
        except InvalidClient:
            return False

    def svid_of(self, key: Any, sub: str = BOT) -> str:
        now = self.clock.seconds
        claims = {"sub": sub, "aud": [ISSUER], "iat": now, "exp": now + 300}
        return compact({"alg": key.alg, "typ": "JWT", "kid": key.kid}, claims, key)

    def close(self) -> None:
        self.source.close()
        self.api.close()


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.close()


def test_an_svid_that_was_fetched_over_the_socket_is_accepted(machine: Machine) -> None:
    assert machine.read() == ""
    with WorkloadApiClient(machine.api.address) as client:
        svid = client.fetch_jwt_svid({ISSUER}).token
    assert machine.knows(svid)


def test_the_authorities_of_both_kinds_are_read(machine: Machine) -> None:
    machine.read()
    assert machine.source.bundle.jwt_authorities.get(PROD.kid) is not None
    assert machine.source.bundle.x509_authorities == (ROOT.certificate,)
    assert machine.source.state == (f"Workload API {machine.api.address}", 0, "")


def test_what_has_not_changed_is_the_same_bundle(machine: Machine) -> None:
    machine.read()
    before = machine.source.bundle
    machine.read()
    assert machine.source.bundle is before


def test_of_federated_domains_nothing_is_taken(machine: Machine) -> None:
    """Only the domain that was configured: another one that the agent knows is not believed for that."""
    machine.api.jwt["stage"] = [jwk_of(STAGE)]
    machine.api.x509["stage"] = (OTHER_ROOT,)
    machine.read()
    assert machine.knows(machine.svid_of(PROD))
    assert not machine.knows(machine.svid_of(STAGE))
    assert not machine.knows(machine.svid_of(STAGE, sub="spiffe://stage/bot"))
    assert len(machine.source.bundle.jwt_authorities) == len(machine.source.bundle.x509_authorities) == 1


def test_a_federated_domain_can_be_the_one_that_is_configured(machine: Machine) -> None:
    machine.api.jwt["stage"] = [jwk_of(STAGE)]
    source = Source("stage", machine.api.address, clock=machine.clock)
    source.refresh()
    assert source.bundle.jwt_authorities.get(STAGE.kid) is not None
    source.close()


@pytest.mark.parametrize("document", [[5], ["x"], [{**private_jwk("ES256"), "kid": ""}]])
def test_what_a_federated_domain_publishes_spoils_nothing(machine: Machine, document: Any) -> None:
    """TRAPS 25: an empty bundle, which is allowed, or a broken one of somebody else must not keep out our own workloads."""
    machine.api.jwt["stage"], machine.api.x509["stage"] = document, ()
    assert machine.read() == ""
    assert machine.knows(machine.svid_of(PROD))
    machine.source.start()
    eventually(lambda: machine.api.asked >= 2)
    machine.clock.advance(2_000)
    machine.api.publish(PROD, PROD_NEXT, stage=document)
    eventually(lambda: machine.knows(machine.svid_of(PROD_NEXT)))


@pytest.mark.parametrize("kind", ["jwt", "x509"])
def test_a_domain_may_have_authorities_of_one_kind_only(machine: Machine, kind: str) -> None:
    empty: Any = [] if kind == "x509" else ()
    setattr(machine.api, "jwt" if kind == "x509" else "x509", {"prod": empty})
    assert machine.read() == ""
    assert machine.knows(machine.svid_of(PROD)) is (kind == "jwt")
    assert len(machine.source.bundle.x509_authorities) == (1 if kind == "x509" else 0)


def test_domains_may_be_named_by_their_spiffe_ids(machine: Machine) -> None:
    """Workload API §6.2.3: as SPIRE does."""
    machine.api.jwt = {"spiffe://prod": machine.api.jwt["prod"]}
    machine.api.x509 = {"spiffe://prod": (ROOT,)}
    machine.read()
    assert machine.knows(machine.svid_of(PROD))
    assert machine.source.bundle.x509_authorities == (ROOT.certificate,)


def test_a_domain_that_the_agent_knows_nothing_of_any_more_is_trusted_no_longer(machine: Machine) -> None:
    machine.read()
    machine.api.jwt, machine.api.x509 = {"other": [jwk_of(STAGE)]}, {"other": (OTHER_ROOT,)}
    assert machine.read() == ""
    assert not machine.knows(machine.svid_of(PROD))
    assert TrustDomain("prod", machine.source).state.problem == "it has no authorities"


def test_a_change_is_read_when_it_is_pushed(machine: Machine) -> None:
    machine.source.start()
    eventually(lambda: machine.source.bundle is not UNKNOWN)
    eventually(lambda: machine.api.asked >= 2)
    machine.clock.advance(2_000)
    machine.api.publish(PROD, PROD_NEXT)
    eventually(lambda: machine.knows(machine.svid_of(PROD_NEXT)))
    machine.clock.advance(2_000)
    machine.api.publish(PROD_NEXT)
    eventually(lambda: not machine.knows(machine.svid_of(PROD)))
    assert machine.knows(machine.svid_of(PROD_NEXT))


def test_while_nobody_is_there_what_is_known_stays_and_the_problem_is_told(machine: Machine) -> None:
    machine.read()
    machine.api.leave()
    assert machine.api.address in machine.read()
    assert machine.knows(machine.svid_of(PROD))
    machine.api.signing = PROD_NEXT
    machine.api.publish(PROD_NEXT)
    machine.api.open()
    assert machine.read() == ""
    assert machine.knows(machine.svid_of(PROD_NEXT))


def test_what_could_not_be_read_for_a_day_is_believed_no_longer(machine: Machine) -> None:
    machine.read()
    machine.api.leave()
    machine.clock.advance(int(HARD_AGE * 1000))
    machine.read()
    assert machine.source.bundle is UNKNOWN


def test_a_socket_that_is_not_there_yet_is_no_mistake() -> None:
    """The broker may start before the agent of the machine."""
    source = Source("prod", "unix:///nowhere/api.sock", clock=MovableClock())
    source.refresh()
    assert "does not exist" in source.state.problem
    assert source.bundle is UNKNOWN
    source.close()


def test_an_agent_that_gives_the_broker_nothing_says_why(machine: Machine) -> None:
    machine.api.refusal = grpc.StatusCode.PERMISSION_DENIED
    assert "no identity issued" in machine.read()
    machine.api.refusal = None
    assert machine.read() == ""


def test_a_following_that_ended_for_good_begins_anew(machine: Machine) -> None:
    """The package gives up a stream that was answered with this."""
    machine.source.start()
    eventually(lambda: machine.api.asked >= 2)
    machine.api.refusal = grpc.StatusCode.INVALID_ARGUMENT
    machine.api.leave()
    machine.api.open()
    machine.clock.advance(60_000)
    machine.source.wake()
    eventually(lambda: "no identity issued" in machine.source.state.problem)
    before = machine.api.asked
    machine.api.refusal = None
    machine.clock.advance(60_000)
    machine.source.wake()
    eventually(lambda: machine.api.asked >= before + 2)


def test_a_stream_that_ends_is_told_at_once(machine: Machine) -> None:
    """The package would connect again by itself, with pauses, and keep it to itself."""
    told = threading.Event()
    reader = Reader("prod", machine.api.address, on_change=told.set)
    reader.read()
    eventually(told.is_set, within=5)
    told.clear()
    machine.api.leave()
    eventually(told.is_set, within=5)
    reader.close()


def test_a_stream_that_ends_while_it_begins_is_followed_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, began = Reader("prod", machine.api.address, on_change=lambda: None), []

    def end_at_once(_: Any, stopped: Any, **__: Any) -> None:
        began.append(stopped)
        stopped(ConnectionError())

    monkeypatch.setattr(reader._client, "stream_jwt_bundles", end_at_once)
    for _ in range(2):
        reader.read()
    reader.close()
    assert len(began) == 2


@pytest.mark.parametrize(
    "jwk",
    [
        pytest.param({**private_jwk("ES256"), "kid": "k"}, id="a private key"),
        pytest.param({**private_jwk("RS256"), "kid": "k"}, id="a private RSA key"),
        pytest.param({**jwk_of(PROD), "kid": ""}, id="a key without an id"),
    ],
)
def test_a_broken_bundle_leaves_the_last_good_one(machine: Machine, jwk: Any) -> None:
    machine.read()
    machine.api.jwt["prod"] = [jwk_of(PROD_NEXT), jwk]
    assert machine.read() != ""
    assert machine.knows(machine.svid_of(PROD))
    assert not machine.knows(machine.svid_of(PROD_NEXT))


def test_a_key_of_a_type_that_no_svid_has_is_left_out(machine: Machine) -> None:
    """SPIFFE Trust Domain and Bundle §4.2.1."""
    edwards = {name: value for name, value in private_jwk("EdDSA").items() if name != "d"}
    machine.api.jwt["prod"].append({**edwards, "kid": "k"})
    assert machine.read() == ""
    assert len(machine.source.bundle.jwt_authorities) == 1


@pytest.mark.parametrize("address", ["", "unix:///", "/run/api.sock", "unix:run/api.sock", "tcp://127.0.0.1:1", "https://x"])
def test_another_kind_of_address_is_a_mistake(address: str) -> None:
    with pytest.raises(ConfigurationError, match="unix:///PATH"):
        Source("prod", address, clock=MovableClock())


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'agent-broker\[spiffe\]'"):
        Source("prod", "unix:///run/api.sock", clock=MovableClock())
