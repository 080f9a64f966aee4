"""`POST /oauth/token` with a DPoP proof (RFC 9449 §5, §8): what comes back is bound to the key."""

import pytest

from broker.errors import Unavailable
from scopes import proof as proofs
from tests.broker.front import SCOPE, Front, claims_of, error_of
from tests.broker.recorded import kinds_recorded
from tests.broker.world import AGENT_KEY, ISSUER, World, neighbour_of
from tests.scopes.proofs import HOSTILE, Call, Hostile
from tests.scopes.tokens import new_key

URL = f"{ISSUER}/oauth/token"


async def test_a_proof_binds_the_token_to_its_key(front: Front) -> None:
    response = await front.token(proof=await front.world.prove())
    assert response.status_code == 200
    assert response.json()["token_type"] == "DPoP"
    assert claims_of(response.json()["access_token"])["cnf"] == {"jkt": AGENT_KEY.kid}


async def test_without_a_proof_the_token_is_a_bearer_token(front: Front) -> None:
    response = await front.token()
    assert response.json()["token_type"] == "Bearer"
    assert "cnf" not in claims_of(response.json()["access_token"])
    assert "dpop-nonce" not in response.headers


async def test_the_first_proof_is_answered_with_the_nonce_for_the_second(front: Front) -> None:
    """RFC 9449 §8."""
    first = await front.token(proof=await front.world.prove(nonce=None))
    assert error_of(first) == (400, "use_dpop_nonce", "")
    second = await front.token(proof=await front.world.prove(nonce=first.headers["dpop-nonce"]))
    assert second.status_code == 200
    assert second.headers["dpop-nonce"]


async def test_asking_for_a_nonce_is_no_refusal(front: Front) -> None:
    await front.token(proof=await front.world.prove(nonce=None))
    assert await kinds_recorded(front.world) == []


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
async def test_a_hostile_proof_is_refused(front: Front, hostile: Hostile) -> None:
    world = front.world
    now = world.clock.now().wall // 1000
    proof = hostile.write(Call(AGENT_KEY, "POST", URL, now, nonce=await world.broker.possession.nonce()))
    response = await front.token(proof=proof)
    assert error_of(response) == (400, "invalid_dpop_proof", "")
    assert response.headers["dpop-nonce"]
    assert await kinds_recorded(world) == ["token.refused"]


async def test_two_proofs_are_refused(front: Front) -> None:
    """RFC 9449 §4.3 (1)."""
    headers = [("DPoP", await front.world.prove()), ("dpop", await front.world.prove())]
    response = await front.send("POST", "/oauth/token", data=front.form(), headers=headers)
    assert error_of(response) == (400, "invalid_dpop_proof", "")


async def test_a_second_worker_does_not_take_what_the_first_took(front: Front) -> None:
    """Trap 17: a replayed proof."""
    world = front.world
    connected = neighbour_of(world.backend)
    other = Front(World(world.folder, connected, clock=world.clock))
    proof = await world.prove()
    assert (await front.token(proof=proof)).status_code == 200
    assert error_of(await other.token(proof=proof)) == (400, "invalid_dpop_proof", "")
    await connected.close()


@pytest.mark.parametrize(
    "changes",
    [{"client_assertion": None}, {"scope": None}, {"scope": "crm:ticket/4711#read[email]"}, {"grant_type": "password"}],
    ids=lambda changes: next(iter(changes)),
)
async def test_every_answer_to_a_proof_has_the_next_nonce(front: Front, changes: dict[str, str | None]) -> None:
    """RFC 9449 §8.2."""
    response = await front.token(proof=await front.world.prove(), **changes)
    assert response.status_code in (400, 401)
    error_of(response)
    assert response.headers["dpop-nonce"] == await front.world.broker.possession.nonce()


async def test_where_there_is_no_nonce_the_answer_goes_without(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable() -> str:
        raise Unavailable("the store is away")

    proof = await front.world.prove()
    monkeypatch.setattr(front.world.broker.possession, "nonce", unavailable)
    response = await front.token(proof=proof)
    assert response.status_code == 200
    assert "dpop-nonce" not in response.headers


async def test_whoever_is_not_authenticated_spends_no_proof(front: Front) -> None:
    """So nobody can fill the store's memory of proofs who is not an agent."""
    proof = await front.world.prove()
    await front.token(proof=proof, client_assertion="eyJ.no.body")
    assert (await front.token(proof=proof)).status_code == 200


async def test_another_key_is_another_request(front: Front) -> None:
    """The same Idempotency-Key with another key's proof is another lease: it would be bound to a key that its asker lacks."""
    leases = []
    for key in (AGENT_KEY, AGENT_KEY, new_key(), None):
        headers = {"Idempotency-Key": "one", **({"DPoP": await front.world.prove(key=key)} if key is not None else {})}
        response = await front.send("POST", "/oauth/token", data=front.form(), headers=headers)
        leases.append(response.json()["lease_id"])
    assert leases[0] == leases[1]
    assert len(set(leases)) == 3


async def test_the_metadata_names_the_algorithms(front: Front) -> None:
    """RFC 9449 §5.1."""
    metadata = (await front.get("/.well-known/oauth-authorization-server", None)).json()
    assert metadata["dpop_signing_alg_values_supported"] == ["ES256", "ES384", "EdDSA", "PS256", "RS256"]


async def test_no_proof_stands_in_the_audit(front: Front) -> None:
    proof = await front.world.prove()
    await front.token(proof=proof)
    await front.token(proof=proof)
    kept = [front.world.backend.client.xrange(key) for key in front.world.backend.client.keys("ab:*audit")]
    assert kept
    assert proof.split(".")[2] not in str(kept)
    assert proofs.hash_of(proof) not in str(kept)
    assert SCOPE in str(kept)
