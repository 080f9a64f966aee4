"""What clients and verifiers discover: server metadata (RFC 8414) and the token keys (RFC 7517)."""

from typing import Any, NamedTuple

from litestar import Response, get
from litestar.di import NamedDependency

from broker.api.token import GRANTS, PATH
from broker.keys import Keys
from scopes.claims import DETAIL_TYPE
from scopes.keys import PROOF_ALGORITHMS, SVID_ALGORITHMS, TOKEN_ALGORITHMS

# The URI of a certificate says who a client is: the SPIFFE profile of OAuth has one word for it, RFC 8705 §2.1 the other.
_CERTIFICATE_METHODS = ("spiffe_x509", "tls_client_auth")

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
        aliases = {"mtls_endpoint_aliases": {"token_endpoint": f"{self.url}{PATH}"}} if self.url is not None else {}
        return {"tls_client_certificate_bound_access_tokens": True, **aliases}


@get("/.well-known/oauth-authorization-server")
async def server_metadata(issuer: NamedDependency[str], mutual_tls: NamedDependency[MutualTls]) -> Response[dict[str, Any]]:
    """Describe the authorization server (RFC 8414 §2)."""
    document: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/oauth/jwks.json",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "grant_types_supported": GRANTS,
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": [
            "spiffe_jwt",
            "private_key_jwt",
            *_CERTIFICATE_METHODS * mutual_tls.is_offered,
        ],
        "token_endpoint_auth_signing_alg_values_supported": sorted(SVID_ALGORITHMS | TOKEN_ALGORITHMS),
        "authorization_details_types_supported": [DETAIL_TYPE],
        "dpop_signing_alg_values_supported": sorted(PROOF_ALGORITHMS),
        **mutual_tls.members,
    }
    return Response(document, headers=_FRESH)


@get("/oauth/jwks.json")
async def token_keys(keys: NamedDependency[Keys]) -> Response[bytes]:
    """Publish the keys that verify tokens."""
    return Response(keys.token_jwks, media_type="application/jwk-set+json", headers=_FRESH)
