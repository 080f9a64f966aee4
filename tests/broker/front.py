"""The broker as callers see it: requests over HTTP, in process, with the follower moved by the test."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from broker import private_key_file
from broker.api.token import JWT_SPIFFE
from scopes import jose
from tests.broker import key_files
from tests.broker.application import application_of
from tests.broker.world import BOT, CRM_WORKLOAD, ISSUER, OTHER, World, fake_backend
from tests.scopes.tokens import compact, new_key

STRANGER = "spiffe://development.test/agent/nobody"
HELPER = "spiffe://development.test/agent/helper"
WORKLOADS = {"bot": BOT, "other": OTHER, "crm": CRM_WORKLOAD, "stranger": STRANGER, "helper": HELPER}
OPERATORS = ("admin", "watcher", "olga")
"""Operators by name; their roles are admin, auditor and operator."""

FORM = "application/x-www-form-urlencoded"
SCOPE = "crm:ticket/4711#read[subject]"


@asynccontextmanager
async def opened(folder: Path, **changes: Any) -> AsyncIterator["Front"]:
    """Open a broker on a store of its own; `changes` are of its world."""
    backend = fake_backend()
    add_operator(folder)
    world = World(folder, backend, **changes)
    world.follow()
    yield Front(world)
    await backend.close()


def add_operator(folder: Path) -> None:
    """Write an operator with the role `operator` beside those of the world."""
    key_files.write(folder)
    public = private_key_file.read(folder / "olga.jwk").public_jwk
    key = ", ".join(f"{member} = {json.dumps(public[member])}" for member in ("kty", "crv", "x", "y"))
    (folder / "registry").mkdir(exist_ok=True)
    (folder / "registry" / "olga.toml").write_text(f'[operators.olga]\nroles = ["operator"]\nkeys = [{{ {key} }}]\n')


class Front:
    """Speaks HTTP to one worker. A caller is named: a workload, an operator, or `None` for nobody.

    The worker hears from the store before every request, as its follower's thread would have it; while `deaf` it does not.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.deaf = False
        transport = httpx2.ASGITransport(app=application_of(world.broker))
        self.client = httpx2.AsyncClient(transport=transport, base_url=ISSUER)

    def bearer(self, caller: str | None) -> dict[str, str]:
        """Return the header by which the caller proves who it is; each operator's is good for one request."""
        if caller is None:
            return {}
        assertion = self.world.operator_assertion(caller) if caller in OPERATORS else self.world.svid(WORKLOADS[caller])
        return {"Authorization": f"Bearer {assertion}"}

    async def send(self, method: str, path: str, **sent: Any) -> httpx2.Response:
        if not self.deaf:
            self.world.follow()
        return await self.client.request(method, path, **sent)

    async def get(self, path: str, caller: str | None = "admin", **headers: str) -> httpx2.Response:
        return await self.send("GET", path, headers={**self.bearer(caller), **headers})

    async def post(self, path: str, body: Any = None, caller: str | None = "admin", **headers: str) -> httpx2.Response:
        """Send JSON: bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send(
            "POST", path, content=content, headers={"Content-Type": "application/json", **self.bearer(caller), **headers}
        )

    def form(self, caller: str = "bot", **changes: str | None) -> dict[str, str]:
        """Return the parameters of a good request for a token, changed; `None` takes one out."""
        good: dict[str, str | None] = {
            "grant_type": "client_credentials",
            "client_assertion_type": JWT_SPIFFE,
            "client_assertion": self.world.svid(WORKLOADS[caller]),
            "scope": SCOPE,
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    async def token(self, caller: str = "bot", *, proof: str | None = None, **changes: str | None) -> httpx2.Response:
        headers = {"DPoP": proof} if proof is not None else {}
        return await self.send("POST", "/oauth/token", data=self.form(caller, **changes), headers=headers)

    async def raw_token(self, content: bytes, media_type: str = FORM) -> httpx2.Response:
        return await self.send("POST", "/oauth/token", content=content, headers={"Content-Type": media_type})

    async def declare(self, caller: str = "bot", **changes: Any) -> httpx2.Response:
        return await self.post("/v1/tasks", {"type": "summarise-ticket", **changes}, caller)

    def human_token(self) -> str:
        """Return what an OpenID provider gives somebody who signed in; its key is nobody's here."""
        key = new_key()
        now = self.world.clock.now().wall // 1000
        claims = {"iss": "https://accounts.test", "sub": "jane", "aud": ISSUER, "iat": now, "exp": now + 300, "nonce": "n"}
        return compact({"alg": "ES256", "typ": "JWT", "kid": key.kid}, claims, key)


def claims_of(token: str) -> Any:
    """Read a token's claims without believing them."""
    return json.loads(jose.read(token, types=frozenset({"at+jwt"})).unverified_payload)


def problem_of(response: httpx2.Response) -> tuple[int, str, str]:
    """Return status, code and reason of a problem document (RFC 9457), which has to be one."""
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert (body["type"], body["status"]) == ("about:blank", response.status_code)
    assert body["detail"]
    return response.status_code, body["code"], body.get("reason", "")


def error_of(response: httpx2.Response) -> tuple[int, str, str]:
    """Return status, error and reason of an OAuth error (RFC 6749 §5.2), which has to be one."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    description = body["error_description"]
    # RFC 6749 §5.2 leaves out the quote and the backslash, and all that is not printable ASCII (TRAPS 27).
    assert all(" " <= letter <= "~" and letter not in '"\\' for letter in description), description
    return response.status_code, body["error"], body.get("reason", "")
