"""One connection to a Workload API: the one file that knows the `spiffe` package, imported only where it is needed."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from spiffe import JwtBundle, JwtBundleSet, TrustDomain, WorkloadApiClient, X509Bundle, X509BundleSet
from spiffe.errors import PySpiffeError

from broker.errors import FetchFailed

TIMEOUT = 5.0
"""The seconds in which the Workload API answers; it waits for nobody but itself."""


class Reader:
    """Reads one trust domain's authorities, and tells of changes. Raises `FetchFailed`, after which it has to be closed."""

    def __init__(self, trust_domain: str, address: str, *, on_change: Callable[[], None]) -> None:
        self._address = address
        self._on_change = on_change
        try:
            self._domain = TrustDomain(trust_domain)
            self._client = _OneDomain(self._domain, address)
        except PySpiffeError as error:
            raise self._failed(error) from None
        self._follows = False
        self._following: Any = None

    def read(self) -> bytes:
        """Return the trust domain's part of what the Workload API knows, as the document that a bundle is read from."""
        try:
            jwt = self._client.fetch_jwt_bundles().get_bundle_for_trust_domain(self._domain)
            x509 = self._client.fetch_x509_bundles().get_bundle_for_trust_domain(self._domain)
        except PySpiffeError as error:
            raise self._failed(error) from None
        if not self._follows:
            self._follows = True
            # It would connect again by itself, with pauses up to a minute, and tell nobody that it has lost who it asks.
            self._following = self._client.stream_jwt_bundles(lambda _: self._on_change(), self._stopped, retry_connect=False)
        keys = [_jwt_authority(kid, key) for kid, key in (jwt.jwt_authorities if jwt is not None else {}).items()]
        keys += [_x509_authority(authority) for authority in (x509.x509_authorities if x509 is not None else ())]
        return msgspec.json.encode({"keys": sorted((key for key in keys if key is not None), key=msgspec.json.encode)})

    def close(self) -> None:
        """End the connection."""
        if self._following is not None:
            self._following.cancel()
        self._client.close()

    def _stopped(self, _: Exception) -> None:
        # Whatever it was, the next reading meets it too and says it, and follows again.
        self._follows = False
        self._on_change()

    def _failed(self, error: Exception) -> FetchFailed:
        return FetchFailed(f"Workload API {self._address}: {error}")


class _OneDomain(WorkloadApiClient):
    """Looks at one domain only: the package would refuse the whole answer for what another, federated domain has published."""

    def __init__(self, domain: TrustDomain, address: str) -> None:
        super().__init__(address, default_timeout=TIMEOUT)
        self._domain = domain

    def _create_x509_bundle_set(self, resp_bundles: Mapping[str, bytes]) -> X509BundleSet:  # type: ignore[override]
        own = self._own(resp_bundles)
        return X509BundleSet.of([X509Bundle.parse_raw(self._domain, own)] if own else [])

    def _create_jwt_bundle_set(self, resp_bundles: Mapping[str, bytes]) -> JwtBundleSet:  # type: ignore[override]
        own = self._own(resp_bundles)
        return JwtBundleSet.of([JwtBundle.parse(self._domain, own)] if own else [])

    def _create_td_jwt_bundle_dict(self, jwt_bundle_response: Any) -> dict[TrustDomain, JwtBundle]:  # type: ignore[override]
        own = self._own(jwt_bundle_response.bundles)
        return {self._domain: JwtBundle.parse(self._domain, own)} if own else {}

    def _own(self, bundles: Mapping[str, bytes]) -> bytes:
        # Agents write the key as a name, or as the SPIFFE id of the domain (Workload API §6.2.3).
        return bundles.get(self._domain.name) or bundles.get(f"spiffe://{self._domain.name}") or b""


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
