"""A trust domain's bundle from the Workload API of the machine (SPIFFE Workload API §5, §6), over its Unix socket.

The one file that knows the `spiffe` package, which is imported when it is used: an installation without such a source needs
neither it nor gRPC.
"""

import base64
import importlib.util
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from broker.errors import ConfigurationError, FetchFailed
from broker.identity.bundle import UNKNOWN, Bundle
from broker.identity.refreshed import Refreshed
from broker.identity.trust_domain import BundleState
from scopes.clock import Clock

if TYPE_CHECKING:
    from spiffe import WorkloadApiClient

INTERVAL = 30.0
"""The seconds between two readings when nothing was pushed: a neighbour on this machine is asked at little cost."""

MIN_INTERVAL = 1.0
"""The least seconds between two readings, whoever asks."""

TIMEOUT = 5.0
"""The seconds in which the Workload API answers; it waits for nobody but itself."""

_SCHEME = "unix:///"


class WorkloadApi:
    """Holds what the Workload API says of one trust domain, its own or a federated one; of the others nothing is taken.

    It is read when it pushes a change, and again and again, so that it shows when nobody is there any more.
    """

    def __init__(self, trust_domain: str, address: str, *, clock: Clock) -> None:
        """Prepare to follow it; raise `ConfigurationError` for another kind of address, or without the `spiffe` package."""
        if not address.startswith(_SCHEME) or len(address) == len(_SCHEME):
            raise ConfigurationError([f"workload_api of {trust_domain}: has to be {_SCHEME}PATH"])
        if importlib.util.find_spec("spiffe") is None:
            raise ConfigurationError(
                [f"workload_api of {trust_domain}: needs the spiffe package: pip install 'agent-broker[spiffe]'"]
            )
        self._trust_domain = trust_domain
        self._address = address
        self._client: WorkloadApiClient | None = None
        self._following: Any = None
        self._document = b""
        self._newest = UNKNOWN
        self._held = Refreshed(
            f"bundle of {trust_domain}", self._fetch, clock=clock, interval=lambda _: INTERVAL, min_interval=MIN_INTERVAL
        )

    @property
    def bundle(self) -> Bundle:
        """The bundle in force; `UNKNOWN` before the first reading, and when none has succeeded for too long."""
        return self._held.value or UNKNOWN

    @property
    def state(self) -> BundleState:
        """The age is that of the last reading."""
        return BundleState(f"Workload API {self._address}", self._held.age, self._held.problem)

    def start(self) -> None:
        """Begin to follow it in the background."""
        self._held.start()

    def wake(self) -> None:
        """Read soon."""
        self._held.wake()

    def refresh(self) -> None:
        """Read, and wait for it."""
        self._held.refresh()

    def close(self) -> None:
        """End following it."""
        self._held.close()
        self._disconnect()

    def _fetch(self) -> Bundle:
        from spiffe.errors import PySpiffeError  # noqa: PLC0415 - only where there is such a source

        try:
            document = self._read(self._connected())
        except PySpiffeError as error:
            # With the connection, or its own long pauses after failures would go on although somebody is there again.
            self._disconnect()
            raise FetchFailed(f"Workload API {self._address}: {error}") from None
        if document != self._document:
            self._newest, self._document = Bundle.parse(document), document
        return self._newest

    def _connected(self) -> "WorkloadApiClient":
        from spiffe import WorkloadApiClient  # noqa: PLC0415 - as above

        if self._client is None:
            self._client = WorkloadApiClient(self._address, default_timeout=TIMEOUT)
        if self._following is None:
            self._following = self._client.stream_jwt_bundles(lambda _: self.wake(), self._stopped)
        return self._client

    def _disconnect(self) -> None:
        client, following, self._client, self._following = self._client, self._following, None, None
        if following is not None:
            following.cancel()
        if client is not None:
            client.close()

    def _stopped(self, _: Exception) -> None:
        # Whatever it was, the next reading meets it too and says it, and follows again.
        self._following = None

    def _read(self, client: "WorkloadApiClient") -> bytes:
        """Return the trust domain's part of what the Workload API knows, as the document that a bundle is read from."""
        from spiffe import TrustDomain  # noqa: PLC0415 - as above

        name = TrustDomain(self._trust_domain)
        jwt = client.fetch_jwt_bundles().get_bundle_for_trust_domain(name)
        x509 = client.fetch_x509_bundles().get_bundle_for_trust_domain(name)
        keys = [_jwt_authority(kid, key) for kid, key in (jwt.jwt_authorities if jwt is not None else {}).items()]
        keys += [_x509_authority(authority) for authority in (x509.x509_authorities if x509 is not None else ())]
        return msgspec.json.encode({"keys": sorted((key for key in keys if key is not None), key=msgspec.json.encode)})


def _jwt_authority(kid: str, key: Any) -> dict[str, Any] | None:
    jwk = _jwk(key)
    return {**jwk, "kid": kid, "use": "jwt-svid"} if jwk is not None else None


def _x509_authority(certificate: Any) -> dict[str, Any] | None:
    jwk = _jwk(certificate.public_key())
    der = certificate.public_bytes(Encoding.DER)
    return {**jwk, "use": "x509-svid", "x5c": [base64.b64encode(der).decode()]} if jwk is not None else None


def _jwk(key: Any) -> dict[str, Any] | None:
    """Write a key; of a type that no SVID has, nothing. That it is not a private one, whoever reads the document sees to."""
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        jwk = ECAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        jwk = RSAAlgorithm.to_jwk(key, as_dict=True)
    else:
        return None
    return {name: value for name, value in jwk.items() if name != "key_ops"}
