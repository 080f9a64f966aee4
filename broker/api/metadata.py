"""What clients and verifiers discover: server metadata (RFC 8414) and the token keys (RFC 7517)."""

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from broker.api.token import CLIENT_CREDENTIALS
from broker.keys import Keys
from scopes.claims import DETAIL_TYPE
from scopes.keys import PROOF_ALGORITHMS, SVID_ALGORITHMS, TOKEN_ALGORITHMS

_FRESH = {"Cache-Control": "public, max-age=60"}


@get("/.well-known/oauth-authorization-server")
async def server_metadata(issuer: NamedDependency[str]) -> Response[dict[str, Any]]:
    """Describe the authorization server (RFC 8414 §2)."""
    document: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/oauth/jwks.json",
        "grant_types_supported": [CLIENT_CREDENTIALS],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["spiffe_jwt", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": sorted(SVID_ALGORITHMS | TOKEN_ALGORITHMS),
        "authorization_details_types_supported": [DETAIL_TYPE],
        "dpop_signing_alg_values_supported": sorted(PROOF_ALGORITHMS),
    }
    return Response(document, headers=_FRESH)


@get("/oauth/jwks.json")
async def token_keys(keys: NamedDependency[Keys]) -> Response[bytes]:
    """Publish the keys that verify tokens."""
    return Response(keys.token_jwks, media_type="application/jwk-set+json", headers=_FRESH)
