"""What clients and verifiers discover, without proving who they are."""

import pytest

from tests.broker.front import Front
from tests.broker.world import ISSUER

PROVEN = ("token", "introspection", "revocation")
"""The endpoints at which clients prove who they are; RFC 8414 §2 has a client assume a secret where nothing is said."""

ALGORITHMS = ["ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_server_describes_itself(shared: Front) -> None:
    """RFC 8414 §2."""
    response = await shared.get("/.well-known/oauth-authorization-server", None)
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "issuer": ISSUER,
        "token_endpoint": f"{ISSUER}/oauth/token",
        "jwks_uri": f"{ISSUER}/oauth/jwks.json",
        "introspection_endpoint": f"{ISSUER}/oauth/introspect",
        "revocation_endpoint": f"{ISSUER}/oauth/revoke",
        "grant_types_supported": [
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ],
        "response_types_supported": [],
        **{f"{name}_endpoint_auth_methods_supported": ["spiffe_jwt", "private_key_jwt"] for name in PROVEN},
        **{f"{name}_endpoint_auth_signing_alg_values_supported": ALGORITHMS for name in PROVEN},
        "authorization_details_types_supported": ["agent_broker_scope"],
        "dpop_signing_alg_values_supported": ["ES256", "ES384", "EdDSA", "PS256", "RS256"],
    }


@pytest.mark.asyncio(loop_scope="module")
async def test_what_it_says_it_has_is_there(shared: Front) -> None:
    document = (await shared.get("/.well-known/oauth-authorization-server", None)).json()
    assert (await shared.get(document["jwks_uri"].removeprefix(ISSUER), None)).status_code == 200
    assert (await shared.client.post(document["token_endpoint"].removeprefix(ISSUER))).status_code == 400


@pytest.mark.asyncio(loop_scope="module")
async def test_the_token_keys_are_public_and_the_feeds_are_others(shared: Front) -> None:
    """`DESIGN.md` 3.10."""
    tokens = (await shared.get("/oauth/jwks.json", None)).json()["keys"]
    feed = (await shared.get("/v1/feed/keys", None)).json()["keys"]
    assert not {key["kid"] for key in tokens} & {key["kid"] for key in feed}
    for key in tokens + feed:
        assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}


@pytest.mark.parametrize("path", ["/oauth/jwks.json", "/.well-known/oauth-authorization-server"])
@pytest.mark.asyncio(loop_scope="module")
async def test_what_everybody_reads_may_be_kept_for_a_minute(shared: Front, path: str) -> None:
    assert (await shared.get(path, None)).headers["cache-control"] == "public, max-age=60"


@pytest.mark.asyncio(loop_scope="module")
async def test_key_sets_have_their_own_media_type(shared: Front) -> None:
    """RFC 7517 §8.5."""
    assert (await shared.get("/oauth/jwks.json", None)).headers["content-type"].startswith("application/jwk-set+json")
