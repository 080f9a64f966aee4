"""A broker whose agents and services are known by their platforms' tokens, with the platforms' keys in files."""

import json
from pathlib import Path
from typing import Any

from broker.settings import OidcTrust, SpiffeTrust, Trust
from tests.broker.front import Front
from tests.broker.identity.platform_tokens import ACCOUNT_UID, ISSUERS, KEYS, REQUIRE, jwks_file, platform_claims
from tests.broker.world import ISSUER, Backend, World, write_files
from tests.scopes.tokens import compact

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

CLAIMS = {
    "kubernetes": {"kubernetes.io/serviceaccount/uid": ACCOUNT_UID},
    "github": {"repository_id": "74", "repository_owner_id": "65", "environment": "prod"},
    "gitlab": {"project_id": "20", "namespace_id": "72", "ref_protected": "true"},
    "generic": {"sub": "107517467455664443766"},
}
AGENT = """
[agents.{name}-bot]
owner        = "jane@example.com"
purpose      = "Drafting"
environment  = "prod"
workloads    = [{{ oidc = "{name}", claims = {{ {claims} }} }}]
tasks        = ["summarise-ticket"]
default_task = "summarise-ticket"
ends         = 2099-06-30
"""
SERVICE = """
[services.wiki]
audience    = "https://wiki.test"
environment = "prod"
owner       = "kb-team@example.com"
workloads   = [{{ oidc = "kubernetes", claims = {{ {claims} }} }}]
"""
WIKI_UID = "0c1e47c1-5f6a-4dd1-a5a8-7b0b7f9dbd14"


def toml(claims: dict[str, str]) -> str:
    return ", ".join(f"{json.dumps(path)} = {json.dumps(value)}" for path, value in claims.items())


def trust_in(folder: Path) -> Trust:
    """Return the trust in all platforms, beside the development domain, and write their keys."""
    for name in CLAIMS:
        jwks_file(folder, name)
    sources: list[OidcTrust] = [
        OidcTrust(
            name=name,
            issuer=ISSUERS[name],
            platform=name,  # type: ignore[arg-type]
            jwks=f"{name}.json",
            require=REQUIRE if name == "generic" else {},
            identified_by=("sub",) if name == "generic" else (),
        )
        for name in CLAIMS
    ]
    return Trust(spiffe=(SpiffeTrust("development.test", "keys/development/bundle.json"),), oidc=tuple(sources))


def platform_world(folder: Path, backend: Backend, **changed: dict[str, str]) -> World:
    """Return a worker; `changed` are other claims for the agents of some platforms."""
    write_files(folder)
    agents = "".join(AGENT.format(name=name, claims=toml(changed.get(name, CLAIMS[name]))) for name in CLAIMS)
    service = SERVICE.format(claims=toml({"kubernetes.io/serviceaccount/uid": WIKI_UID}))
    (folder / "registry" / "platforms.toml").write_text(agents + service)
    world = World(folder, backend, changes={"trust": trust_in(folder)})
    world.follow()
    return world


def token(world: World, name: str, /, **changes: Any) -> str:
    key = KEYS[name]
    claims = platform_claims(name, world.clock.now().wall // 1000, **{"aud": ISSUER, **changes})
    return compact({"alg": key.alg, "typ": "JWT", "kid": key.kid}, claims, key)


async def asked(front: Front, text: str, **changes: str | None) -> Any:
    """Ask for a token with a platform's token as client assertion."""
    return await front.token(**{"client_assertion_type": JWT_BEARER, "client_assertion": text, **changes})


async def granted(front: Front, text: str, **changes: str | None) -> Any:
    """Ask for a token with a platform's token as the grant."""
    grant = {"grant_type": JWT_BEARER_GRANT, "assertion": text, "client_assertion": None, "client_assertion_type": None}
    return await front.token(**{**grant, **changes})
