"""JWT-SVIDs at the token endpoint: what is shown, and what is answered, wherever the bundle of their domain comes from."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from broker import private_key_file
from broker.identity import development
from broker.settings import SpiffeTrust, Trust
from scopes.keys import SigningKey
from tests.broker.front import Front, error_of
from tests.broker.identity.domains import bundle
from tests.broker.web import Answer, WebServer
from tests.broker.workload_api import WorkloadApi
from tests.broker.world import BOT, ISSUER, World, fake_backend, write_files
from tests.scopes.tokens import b64, compact, new_key

DOMAIN = development.DEVELOPMENT_DOMAIN
STAGE, STRANGER = new_key(), new_key()
"""Keys: of another domain that is trusted, and of nobody."""


class Shown(NamedTuple):
    """Writes what is shown, from the key of the domain and the present second."""

    key: SigningKey
    now: int

    def svid(self, key: SigningKey | None = None, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        key = key or self.key
        claims = {"sub": BOT, "aud": [ISSUER], "iat": self.now, "exp": self.now + 300, **changes}
        left = {name: value for name, value in claims.items() if value is not None}
        return compact({"alg": key.alg, "typ": "JWT", "kid": key.kid, **(header or {})}, left, key)

    def with_hmac(self) -> str:
        signed = ".".join(self.svid(header={"alg": "HS256"}).split(".")[:2])
        secret = json.dumps(dict(self.key.public_jwk)).encode()
        return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"

    def without_signature(self) -> str:
        return ".".join(self.svid(header={"alg": "none"}).split(".")[:2]) + "."

    def twice(self) -> str:
        claims = json.dumps({"sub": BOT, "aud": [ISSUER], "exp": self.now + 300})
        payload = f'{{"sub":"{BOT}",{claims[1:]}'.encode()
        return compact({"alg": self.key.alg, "typ": "JWT", "kid": self.key.kid}, payload, self.key)


GOOD = (200, "")
REFUSED = (401, "invalid_client")
TABLE: list[tuple[str, Callable[[Shown], str], tuple[int, str]]] = [
    ("as SPIRE makes it", lambda shown: shown.svid(), GOOD),
    ("audience as a text", lambda shown: shown.svid(aud=ISSUER), GOOD),
    ("TRAPS 1: typ of an access token", lambda shown: shown.svid(header={"typ": "at+jwt"}), REFUSED),
    ("TRAPS 1: typ of a proof", lambda shown: shown.svid(header={"typ": "dpop+jwt"}), REFUSED),
    ("TRAPS 1: typ of a feed message", lambda shown: shown.svid(header={"typ": "revocations+jwt"}), REFUSED),
    ("TRAPS 2: without exp", lambda shown: shown.svid(exp=None), REFUSED),
    ("TRAPS 2: exp as a text", lambda shown: shown.svid(exp=str(shown.now + 300)), REFUSED),
    ("TRAPS 2: exp beyond all time", lambda shown: shown.svid(exp=10**30), REFUSED),
    ("TRAPS 2: a claim twice", lambda shown: shown.twice(), REFUSED),
    ("TRAPS 2: padding", lambda shown: shown.svid() + "==", REFUSED),
    ("TRAPS 2: an audience with somebody beside", lambda shown: shown.svid(aud=[ISSUER, "https://x.test"]), REFUSED),
    ("TRAPS 2: crit", lambda shown: shown.svid(header={"crit": ["exp"]}), REFUSED),
    ("TRAPS 2: its own key along", lambda shown: shown.svid(STRANGER, header={"jwk": dict(STRANGER.public_jwk)}), REFUSED),
    ("TRAPS 3: HS256 with the public key", lambda shown: shown.with_hmac(), REFUSED),
    ("TRAPS 3: alg none", lambda shown: shown.without_signature(), REFUSED),
    ("TRAPS 3: alg of another curve", lambda shown: shown.svid(header={"alg": "ES384"}), REFUSED),
    ("TRAPS 4: a boolean as exp", lambda shown: shown.svid(exp=True), REFUSED),
    ("TRAPS 4: a float as exp", lambda shown: shown.svid(exp=shown.now + 300.5), REFUSED),
    ("TRAPS 4: from the future", lambda shown: shown.svid(iat=shown.now + 60), REFUSED),
    ("TRAPS 4: expired", lambda shown: shown.svid(exp=shown.now - 1), REFUSED),
    ("TRAPS 8: for the token endpoint", lambda shown: shown.svid(aud=f"{ISSUER}/oauth/token"), REFUSED),
    ("TRAPS 8: for somebody else", lambda shown: shown.svid(aud="https://crm.test"), REFUSED),
    ("TRAPS 9: signed by another trusted domain", lambda shown: shown.svid(STAGE), REFUSED),
    ("TRAPS 9: iss of the other domain", lambda shown: shown.svid(STAGE, iss="spiffe://stage.test"), REFUSED),
    ("TRAPS 9: sub of the other domain", lambda shown: shown.svid(sub="spiffe://stage.test/agent/bot"), REFUSED),
    ("TRAPS 9: sub of nobody's domain", lambda shown: shown.svid(sub="spiffe://other.test/agent/bot"), REFUSED),
    ("TRAPS 9: a key that is not for JWT-SVIDs", lambda shown: shown.svid(STRANGER), REFUSED),
    ("TRAPS 12: a person's token", lambda shown: shown.svid(STRANGER, iss="https://accounts.test", sub="jane"), REFUSED),
    ("TRAPS 16: a dot segment in sub", lambda shown: shown.svid(sub=f"spiffe://{DOMAIN}/agent/../agent/bot"), REFUSED),
]


class Place(NamedTuple):
    """A broker whose domain's bundle comes from one kind of place, with another domain from a file beside."""

    front: Front
    shown: Shown


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["file", "endpoint", "workload api"])
async def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    write_files(folder)
    key = private_key_file.read(folder / "keys" / "development" / "authority.jwk")
    # In every bundle stands a key that is for something else.
    known = {**bundle(key), "keys": [*bundle(key)["keys"], *bundle(STRANGER, use="other")["keys"]]}
    (folder / "bundle.json").write_text(json.dumps(known))
    (folder / "stage.json").write_text(json.dumps(bundle(STAGE)))
    web, api = WebServer(answer=Answer(json.dumps(known).encode())), WorkloadApi(DOMAIN, BOT, key)
    configured = {
        "file": SpiffeTrust(DOMAIN, bundle="bundle.json"),
        "endpoint": SpiffeTrust(DOMAIN, bundle_endpoint=web.url(), allow_private_addresses=True),
        "workload api": SpiffeTrust(DOMAIN, workload_api=api.address),
    }
    trust = Trust(spiffe=(SpiffeTrust("stage.test", bundle="stage.json"), configured[request.param]))
    backend = fake_backend()
    world = World(folder, backend, changes={"trust": trust})
    for domain in world.broker.trust_domains:
        domain.source.refresh()
    yield Place(Front(world), Shown(key, world.clock.now().wall // 1000))
    world.broker.trust_domains.close()
    await backend.close()
    web.close()
    api.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("show", "answer"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
async def test_what_is_shown_is_answered(place: Place, show: Callable[[Shown], str], answer: tuple[int, str]) -> None:
    """Issue 4, it shows 1."""
    response = await place.front.token(client_assertion=show(place.shown))
    if answer == GOOD:
        assert response.status_code == 200, response.text
        return
    assert error_of(response)[:2] == answer
    assert not any(part and part in response.text for part in show(place.shown).split("."))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_same_is_answered_to_the_bearer_of_it(place: Place) -> None:
    """REST endpoints take the same assertions."""
    for _, show, answer in TABLE:
        header = {"Authorization": f"Bearer {show(place.shown)}"}
        response = await place.front.send("POST", "/v1/tasks", json={"type": "summarise-ticket"}, headers=header)
        assert response.status_code == (201 if answer == GOOD else 401), show
