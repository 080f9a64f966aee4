"""What clients and verifiers discover: server metadata (RFC 8414) and the token keys (RFC 7517)."""

from typing import Any, NamedTuple

from litestar import Response, get
from litestar.di import NamedDependency

from broker.api import introspection
from broker.api.token import GRANTS, PATH
from broker.keys.keys import Keys
from scopes.claims import DETAIL_TYPE
from scopes.keys import PROOF_ALGORITHMS, SVID_ALGORITHMS, TOKEN_ALGORITHMS

# The URI of a certificate says who a client is: the SPIFFE profile of OAuth has one word for it, RFC 8705 §2.1 the other.
_CERTIFICATE_METHODS = ("spiffe_x509", "tls_client_auth")

_PATHS = {
    "token_endpoint": PATH,
    "introspection_endpoint": introspection.INTROSPECT,
    "revocation_endpoint": introspection.REVOKE,
}
_FRESH = {"Cache-Control": "public, max-age=60"}


class MutualTls(NamedTuple):
    """Whether client certificates are taken at all, and where the broker itself asks for them."""

    is_offered: bool = False
    url: str | None = None

    @property
    def members(self) -> dict[str, Any]:
        """What the metadata says about it (RFC 8705 §3.3, §5)."""
        if not self.is_offered:
            return {}
        aliases = {"mtls_endpoint_aliases": _endpoints(self.url)} if self.url is not None else {}
        return {"tls_client_certificate_bound_access_tokens": True, **aliases}


@get("/.well-known/oauth-authorization-server")
async def server_metadata(issuer: NamedDependency[str], mutual_tls: NamedDependency[MutualTls]) -> Response[dict[str, Any]]:
    """Describe the authorization server (RFC 8414 §2)."""
    # The same at each, and said of each: a client may believe in a secret where nothing is said (RFC 8414 §2).
    methods = ["spiffe_jwt", "private_key_jwt", *_CERTIFICATE_METHODS * mutual_tls.is_offered]
    algorithms = sorted(SVID_ALGORITHMS | TOKEN_ALGORITHMS)
    document: dict[str, Any] = {
        "issuer": issuer,
        **_endpoints(issuer),
        "jwks_uri": f"{issuer}/oauth/jwks.json",
        "grant_types_supported": GRANTS,
        "response_types_supported": [],
        **{f"{endpoint}_auth_methods_supported": methods for endpoint in _PATHS},
        **{f"{endpoint}_auth_signing_alg_values_supported": algorithms for endpoint in _PATHS},
        "authorization_details_types_supported": [DETAIL_TYPE],
        "dpop_signing_alg_values_supported": sorted(PROOF_ALGORITHMS),
        **mutual_tls.members,
    }
    return Response(document, headers=_FRESH)


@get("/oauth/jwks.json")
async def token_keys(keys: NamedDependency[Keys]) -> Response[bytes]:
    """Publish the keys that verify tokens."""
    return Response(keys.token_jwks, media_type="application/jwk-set+json", headers=_FRESH)


def _endpoints(url: str) -> dict[str, str]:
    """Name the endpoints at which clients prove who they are."""
    return {name: f"{url}{path}" for name, path in _PATHS.items()}
