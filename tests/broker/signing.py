"""An agent and a service without a platform: they sign assertions with keys that stand in the registry."""

from pathlib import Path
from typing import Any

from scopes import ulid
from scopes.keys import SigningKey
from tests.broker.registry.catalogue import key_of, toml_key
from tests.broker.world import ISSUER, Backend, MovedClock, World
from tests.scopes.tokens import compact

LAPTOP, SPARE, KB = key_of("laptop"), key_of("spare"), key_of("kb")
"""Keys: two of the agent `laptop`, one of the service `kb`."""

REGISTRY = f"""
[agents.laptop]
owner        = "jane@example.com"
purpose      = "Trying things out"
environment  = "prod"
keys         = [{toml_key(LAPTOP)}, {toml_key(SPARE)}]
tasks        = ["summarise-ticket"]
default_task = "summarise-ticket"
ends         = 2099-06-30

[services.wiki]
audience    = "https://wiki.test"
environment = "prod"
owner       = "kb-team@example.com"
keys        = [{toml_key(KB)}]
"""


def signing_world(folder: Path, backend: Backend, *, clock: MovedClock | None = None) -> World:
    """Return a worker whose registry has an agent and a service that sign."""
    (folder / "registry").mkdir(parents=True, exist_ok=True)
    (folder / "registry" / "signing.toml").write_text(REGISTRY)
    world = World(folder, backend, clock=clock)
    world.follow()
    return world


def assertion(world: World, key: SigningKey = LAPTOP, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Sign a good assertion of the agent, changed; `None` takes a claim out."""
    now = world.clock.now().wall // 1000
    claims = {"iss": "laptop", "sub": "laptop", "aud": ISSUER, "iat": now, "exp": now + 60, "jti": ulid.new(now), **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return compact({"alg": key.alg, "typ": "JWT", "kid": key.kid, **(header or {})}, claims, key)
