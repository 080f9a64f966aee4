"""Agents and services without a platform sign one assertion for each request (RFC 7523 §3)."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.errors import AccessDenied, InvalidClient, UnauthorizedClient
from broker.identity import Presented
from broker.selector import ReductionSelector
from tests.broker.front import Front, error_of
from tests.broker.identity.hostile_claims import at, moments
from tests.broker.signing import KB, LAPTOP, SPARE, assertion, signing_world
from tests.broker.world import ADMIN, CRM, ISSUER, Backend, World, neighbour_of
from tests.scopes.tokens import b64, compact, new_key

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def world(tmp_path: Path, backend: Backend) -> World:
    return signing_world(tmp_path, backend)


async def refused(world: World, text: str) -> str:
    with pytest.raises(InvalidClient) as error:
        await world.broker.identities.authenticate(Presented(text, "jwt-bearer"))
    return str(error.value)


async def test_an_assertion_proves_the_agent_and_which_of_its_keys_signed(world: World) -> None:
    for key in (LAPTOP, SPARE):
        workload = await world.broker.identities.authenticate(Presented(assertion(world, key), "jwt-bearer"))
        assert (workload.id, workload.instance) == ("private-key:laptop", f"private-key:laptop/{key.kid}")
        assert (workload.source, workload.trust) == ("private-key", "private-key")
        assert world.registry.agent_of(workload).name == "laptop"


@pytest.mark.parametrize("header", [{}, {"typ": "client-authentication+jwt"}, {"typ": "jwt"}])
async def test_the_type_is_that_of_a_jwt_or_of_a_client_assertion(world: World, header: dict[str, Any]) -> None:
    assert await world.broker.identities.authenticate(Presented(assertion(world, header=header), "jwt-bearer"))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aud": f"{ISSUER}/oauth/token"}, id="for the token endpoint's URL (TRAPS 8)"),
        pytest.param({"aud": [ISSUER]}, id="for a list (TRAPS 8)"),
        pytest.param({"aud": [ISSUER, "https://other.test"]}, id="for somebody else too (TRAPS 2)"),
        pytest.param({"aud": f"{ISSUER}/"}, id="for the issuer with a slash"),
        pytest.param({"aud": None}, id="for nobody"),
        pytest.param({"iss": "support-bot"}, id="issued by another agent"),
        pytest.param({"iss": "admin", "sub": "admin"}, id="for an operator"),
        pytest.param({"iss": "wiki", "sub": "wiki"}, id="for a service"),
        pytest.param({"iss": "support-bot", "sub": "support-bot"}, id="for an agent without keys"),
        pytest.param({"iss": "nobody", "sub": "nobody"}, id="for nobody who is registered"),
        pytest.param({"iss": None}, id="without an issuer"),
        pytest.param({"sub": None}, id="without a subject"),
        pytest.param({"exp": at(61)}, id="that lives too long"),
        pytest.param({"exp": at(0)}, id="expired this second"),
        pytest.param({"iat": at(-61), "exp": at(-1)}, id="expired"),
        pytest.param({"iat": at(31), "exp": at(60)}, id="from the future"),
        pytest.param({"iat": at(10), "exp": at(9)}, id="that ends before it begins"),
        pytest.param({"exp": None}, id="without an end (TRAPS 2)"),
        pytest.param({"iat": None}, id="without a beginning"),
        pytest.param({"exp": "9999999999"}, id="with a text as its end (TRAPS 2)"),
        pytest.param({"exp": True}, id="with a boolean as its end (TRAPS 4)"),
        pytest.param({"exp": 10**30}, id="with an end beyond all time (TRAPS 2)"),
        pytest.param({"iat": -(10**30), "exp": -(10**30)}, id="before all time (TRAPS 4)"),
        pytest.param({"jti": None}, id="without an id (TRAPS 7)"),
        pytest.param({"jti": ""}, id="with an empty id (TRAPS 7)"),
    ],
)
async def test_an_assertion_with_other_claims_is_refused(world: World, changes: dict[str, Any]) -> None:
    await refused(world, assertion(world, **moments(world.clock.now().wall // 1000, changes)))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"alg": "none"}, id="alg none (TRAPS 3)"),
        pytest.param({"alg": "HS256"}, id="alg HS256 (TRAPS 3)"),
        pytest.param({"alg": "ES384"}, id="alg of another curve (TRAPS 3)"),
        pytest.param({"kid": "x"}, id="kid of nobody"),
        pytest.param({"kid": KB.kid}, id="kid of somebody else"),
        pytest.param({"typ": "at+jwt"}, id="typ of an access token (TRAPS 1)"),
        pytest.param({"typ": "dpop+jwt"}, id="typ of a proof (TRAPS 1)"),
        pytest.param({"crit": ["exp"]}, id="crit (TRAPS 2)"),
    ],
)
async def test_an_assertion_with_another_header_is_refused(world: World, header: dict[str, Any]) -> None:
    await refused(world, assertion(world, header=header))


async def test_a_key_of_somebody_else_proves_nothing(world: World) -> None:
    for key in (KB, new_key()):
        await refused(world, assertion(world, key))
        await refused(world, assertion(world, key, header={"kid": LAPTOP.kid}))
        await refused(world, assertion(world, key, header={"jwk": dict(key.public_jwk)}))


async def test_a_claim_twice_is_refused(world: World) -> None:
    """TRAPS 2."""
    now = world.clock.now().wall // 1000
    claims = {"iss": "laptop", "sub": "laptop", "aud": ISSUER, "iat": now, "exp": now + 60, "jti": "x"}
    twice = (json.dumps(claims)[:-1] + ',"sub":"laptop"}').encode()
    await refused(world, compact({"alg": "ES256", "kid": LAPTOP.kid}, twice, LAPTOP))


async def test_padding_is_refused(world: World) -> None:
    """TRAPS 2."""
    head, payload, signature = assertion(world).split(".")
    await refused(world, f"{head}.{payload}.{signature}==")
    await refused(world, f"{head}.{b64(b'{}')}.{signature}")


async def test_an_assertion_is_accepted_once_on_all_workers(world: World, backend: Backend) -> None:
    """TRAPS 7."""
    connected = neighbour_of(backend)
    try:
        workers = [world, signing_world(world.folder, connected, clock=world.clock)]
        shown = Presented(assertion(world), "jwt-bearer")
        asked = (worker.broker.identities.authenticate(shown) for worker in workers * 5)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, InvalidClient) for answer in answers) == 9
        for worker in workers:
            assert "used before" in await refused(worker, shown.unverified_assertion or "")
    finally:
        await connected.close()


async def test_it_stays_spent_for_as_long_as_it_could_be_accepted(world: World) -> None:
    """TRAPS 7: from the first moment within the skew to its last."""
    now = world.clock.now().wall // 1000
    text = assertion(world, iat=now + 29, exp=now + 89)
    await world.broker.identities.authenticate(Presented(text, "jwt-bearer"))
    while world.clock.now().wall < (now + 89) * 1000:
        assert "used before" in await refused(world, text)
        world.advance(8_000)
        await world.broker.identities.authenticate(Presented(assertion(world), "jwt-bearer"))
    assert "expired" in await refused(world, text)


async def test_it_is_not_taken_for_an_svid(world: World) -> None:
    with pytest.raises(InvalidClient):
        await world.broker.identities.authenticate(Presented(assertion(world), "jwt-spiffe"))
    with pytest.raises(InvalidClient):
        await world.broker.identities.authenticate(Presented(world.svid(), "jwt-bearer"))


async def test_an_agent_gets_a_token_that_names_its_key(world: World) -> None:
    front = Front(world)
    text = assertion(world)
    answer = await front.token(client_assertion_type=JWT_BEARER, client_assertion=text)
    assert answer.status_code == 200, answer.text
    again = await front.token(client_assertion_type=JWT_BEARER, client_assertion=text)
    assert error_of(again) == (401, "invalid_client", "")
    read = (await front.get(f"/v1/leases/{answer.json()['lease_id']}")).json()
    assert read["workload"] == "private-key:laptop"


async def test_one_key_is_ended_and_paused_without_the_others(world: World) -> None:
    """TRAPS 25."""
    front = Front(world)

    async def token(key: Any) -> Any:
        return await front.token(client_assertion_type=JWT_BEARER, client_assertion=assertion(world, key))

    lost, kept = (await token(LAPTOP)).json()["lease_id"], (await token(SPARE)).json()["lease_id"]
    instance = f"private-key:laptop/{LAPTOP.kid}"
    await world.revoke(instance=instance)
    await world.broker.reduction.reduce(ReductionSelector(instance=instance), "paused", "a lost laptop", ADMIN)
    world.follow()
    assert error_of(await token(LAPTOP)) == (400, "unauthorized_client", "paused")
    assert (await token(SPARE)).status_code == 200
    statuses = [(await front.get(f"/v1/leases/{lease}")).json()["status"] for lease in (lost, kept)]
    assert statuses == ["revoked", "live"]


async def test_at_a_rest_endpoint_it_is_told_apart_by_its_name(world: World) -> None:
    callers = world.broker.callers
    assert (await callers.identify(Presented(assertion(world)))).name == "laptop"
    assert (await callers.identify(Presented(world.operator_assertion()))).kind == "Operator"
    with pytest.raises(InvalidClient):
        await callers.identify(Presented(assertion(world, iss="admin", sub="admin")))
    with pytest.raises(AccessDenied):
        await callers.operator(Presented(assertion(world)), "watch")


async def test_a_service_may_sign_too_and_is_no_agent(world: World) -> None:
    callers = world.broker.callers
    signed = {"iss": "wiki", "sub": "wiki"}
    await callers.follower_of(Presented(assertion(world, KB, **signed)), "https://wiki.test")
    with pytest.raises(AccessDenied):
        await callers.follower_of(Presented(assertion(world, KB, **signed)), CRM)
    with pytest.raises(AccessDenied):
        await callers.follower_of(Presented(assertion(world)), "https://wiki.test")
    with pytest.raises(UnauthorizedClient):
        await callers.agent(Presented(assertion(world, KB, **signed)))
