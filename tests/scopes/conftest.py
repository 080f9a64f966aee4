"""What the tests of the verifier library share."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from scopes import Verifier
from scopes.keys import SigningKey
from tests.scopes.clocks import MovableClock, eventually
from tests.scopes.issuer import Issuer
from tests.scopes.tokens import AUDIENCE, compact, header_of, members, new_key

MakeToken = Callable[..., str]

# A machine that is busy with something else is no reason to fail.
settings.register_profile("scopes", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("scopes")


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let events be acknowledged and keys be fetched at once: the clock of these tests stands still while they wait."""
    monkeypatch.setattr("scopes.acknowledgements.SPREAD", 0.0)
    monkeypatch.setattr("scopes.issuer_keys.SPREAD", 0.0)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def issuer(clock: MovableClock) -> Iterator[Issuer]:
    """An issuer on loopback whose time is the clock's."""
    issuer = Issuer(clock)
    yield issuer
    issuer.close()


@pytest.fixture
def verifier(issuer: Issuer, clock: MovableClock) -> Iterator[Verifier]:
    """A verifier that knows the issuer's keys and revocations."""
    with Verifier(issuer.url, AUDIENCE, clock=clock) as verifier:
        eventually(lambda: verifier.is_ready)
        yield verifier


@pytest.fixture
def consumer(issuer: Issuer, clock: MovableClock) -> Iterator[Verifier]:
    """A verifier with an identity, so that it can consume."""
    with Verifier(issuer.url, AUDIENCE, lambda: "svid", clock=clock) as verifier:
        eventually(lambda: verifier.is_ready)
        yield verifier


@pytest.fixture
def make_token(issuer: Issuer, clock: MovableClock) -> MakeToken:
    """Write a token of the issuer; claims, members of `lease` and of the `header` can be changed."""

    def make(*, header: dict[str, object] | None = None, key: SigningKey | None = None, **changes: object) -> str:
        signer = key or issuer.key
        claims = members(now=clock.seconds, issuer=issuer.url, **changes)  # type: ignore[arg-type]
        return compact(header_of(signer, **(header or {})), claims, signer)

    return make


@pytest.fixture(scope="session")
def rsa_key() -> SigningKey:
    """An RSA key, which takes long to make."""
    return new_key("RS256")
