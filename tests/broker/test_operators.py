"""Operators sign one assertion for each request (RFC 7523 §3)."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from broker import private_key_file
from broker.errors import InvalidClient, Unavailable
from broker.operators import Operators
from broker.store import shard_of
from scopes.keys import TOKEN_ALGORITHMS, KeySet, SigningKey
from tests.broker.world import ISSUER, World
from tests.scopes.tokens import compact, new_key


def key_of(world: World, name: str) -> SigningKey:
    return private_key_file.read(world.folder / f"{name}.jwk")


async def refused(world: World, assertion: str) -> str:
    with pytest.raises(InvalidClient) as error:
        await world.broker.operators.authenticate(assertion)
    return str(error.value)


def seconds(world: World, ahead: int = 0) -> int:
    return world.clock.now().wall // 1000 + ahead


async def test_an_assertion_proves_the_operator_who_signed_it(world: World) -> None:
    assert await world.broker.operators.authenticate(world.operator_assertion()) == "admin"
    assert await world.broker.operators.authenticate(world.operator_assertion("watcher")) == "watcher"


async def test_an_assertion_is_accepted_once(world: World) -> None:
    assertion = world.operator_assertion()
    await world.broker.operators.authenticate(assertion)
    for _ in range(2):
        assert "used before" in await refused(world, assertion)


async def test_an_assertion_shown_many_times_at_once_is_accepted_once(world: World) -> None:
    assertion = world.operator_assertion()
    answers = await asyncio.gather(*(world.broker.operators.authenticate(assertion) for _ in range(20)), return_exceptions=True)
    assert answers.count("admin") == 1
    assert sum(isinstance(answer, InvalidClient) for answer in answers) == 19


async def test_an_assertion_is_spent_on_every_worker(world: World, neighbour: World) -> None:
    assertion = world.operator_assertion()
    answers = await asyncio.gather(
        world.broker.operators.authenticate(assertion),
        neighbour.broker.operators.authenticate(assertion),
        return_exceptions=True,
    )
    assert answers.count("admin") == 1


async def test_the_record_of_a_spent_assertion_outlives_every_moment_at_which_it_is_accepted(world: World) -> None:
    """TRAPS 7: from the first moment within the skew to its last millisecond, and whatever is swept out meanwhile."""
    now = seconds(world)
    assertion = world.operator_assertion(iat=now + 29, exp=now + 89)
    await world.broker.operators.authenticate(assertion)
    while world.clock.now().wall < (now + 89) * 1000:
        assert "used before" in await refused(world, assertion)
        world.advance(5_000)
        await world.broker.operators.authenticate(world.operator_assertion())
    assert "expired" in await refused(world, assertion)


async def test_records_of_spent_assertions_are_swept_out(world: World) -> None:
    for _ in range(5):
        await world.broker.operators.authenticate(world.operator_assertion())
    world.advance(200_000)
    await world.broker.operators.authenticate(world.operator_assertion())
    (spent,) = world.backend.client.scan_iter("*:spent")
    assert world.backend.client.zcard(spent) == 1


async def test_one_id_is_spent_by_each_operator(world: World) -> None:
    for name in ("admin", "watcher"):
        assert await world.broker.operators.authenticate(world.operator_assertion(name, jti="same")) == name


async def test_one_id_is_spent_by_each_operator_also_where_their_records_lie_together(world: World) -> None:
    names = [f"operator-{number}" for number in range(200) if shard_of(f"operator-{number}") == shard_of("operator-0")]
    assert len(names) > 1
    key = key_of(world, "admin")
    document = msgspec.json.encode({"keys": [key.public_jwk]})
    keys = KeySet.parse(document, algorithms=TOKEN_ALGORITHMS)
    operators = Operators(lambda _: keys, store=world.backend.stores.shared, audience=ISSUER, clock=world.clock)
    for name in names:
        claims = {"iss": name, "sub": name, "aud": ISSUER, "iat": seconds(world), "exp": seconds(world, 60), "jti": "same"}
        assert await operators.authenticate(compact({"alg": "ES256", "typ": "JWT", "kid": key.kid}, claims, key)) == name


async def test_a_refused_assertion_spends_nothing(world: World) -> None:
    """Nobody without the key can use up an operator's id."""
    good = world.operator_assertion(jti="mine")
    header = {"alg": "ES256", "typ": "JWT", "kid": key_of(world, "admin").kid}
    claims = {"iss": "admin", "sub": "admin", "aud": ISSUER, "iat": seconds(world), "exp": seconds(world, 60), "jti": "mine"}
    await refused(world, compact(header, claims, new_key()))
    assert await world.broker.operators.authenticate(good) == "admin"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"exp": 61}, id="living longer than a minute"),
        pytest.param({"exp": 3600}, id="living an hour"),
        pytest.param({"iat": -61, "exp": 0}, id="expired this second"),
        pytest.param({"iat": -120, "exp": -60}, id="expired long ago"),
        pytest.param({"iat": 31, "exp": 60}, id="from the future"),
        pytest.param({"iat": 50, "exp": 40}, id="ending before it begins"),
    ],
)
async def test_an_assertion_out_of_its_time_is_refused(world: World, changes: dict[str, int]) -> None:
    moved = {name: seconds(world, ahead) for name, ahead in changes.items()}
    assert await refused(world, world.operator_assertion(**{"iat": seconds(world), **moved}))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aud": [ISSUER]}, id="with an audience in a list (TRAPS 8)"),
        pytest.param({"aud": f"{ISSUER}/oauth/token"}, id="for the token endpoint's URL (TRAPS 8)"),
        pytest.param({"aud": "https://other.test"}, id="for somebody else"),
        pytest.param({"aud": None}, id="for nobody"),
        pytest.param({"iss": "watcher"}, id="issued by another"),
        pytest.param({"sub": "watcher"}, id="about another"),
        pytest.param({"iss": "nobody", "sub": "nobody"}, id="of an unknown operator"),
        pytest.param({"iss": "watcher", "sub": "watcher"}, id="signed by another operator's key"),
        pytest.param({"iss": "", "sub": ""}, id="of nobody"),
        pytest.param({"jti": ""}, id="with an empty id"),
        pytest.param({"jti": None}, id="without an id"),
        pytest.param({"jti": 5}, id="with a number as its id"),
        pytest.param({"exp": None}, id="without an end"),
        pytest.param({"exp": True, "iat": False}, id="with booleans for times (TRAPS 4)"),
        pytest.param({"exp": 10**30, "iat": 10**30 - 1}, id="beyond all time"),
        pytest.param({"exp": 1.5}, id="with a float for a time"),
        pytest.param({"iat": None}, id="without a beginning"),
    ],
)
async def test_an_assertion_with_other_claims_is_refused(world: World, changes: dict[str, Any]) -> None:
    good = {
        "iss": "admin",
        "sub": "admin",
        "aud": ISSUER,
        "iat": seconds(world),
        "exp": seconds(world, 60),
        "jti": "x",
        **changes,
    }
    claims = {name: value for name, value in good.items() if value is not None}
    key = key_of(world, "admin")
    assert await refused(world, compact({"alg": "ES256", "typ": "JWT", "kid": key.kid}, claims, key))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"alg": "none"}, id="alg none"),
        pytest.param({"alg": "HS256"}, id="alg HS256"),
        pytest.param({"typ": "at+jwt"}, id="typ of an access token (TRAPS 1)"),
        pytest.param({"typ": "dpop+jwt"}, id="typ of a proof"),
        pytest.param({"crit": ["exp"]}, id="crit"),
        pytest.param({"kid": "another"}, id="kid of nobody"),
        pytest.param({"kid": None}, id="no kid"),
    ],
)
async def test_an_assertion_with_another_header_is_refused(world: World, header: dict[str, object]) -> None:
    key = key_of(world, "admin")
    claims = {"iss": "admin", "sub": "admin", "aud": ISSUER, "iat": seconds(world), "exp": seconds(world, 60), "jti": "x"}
    assert await refused(world, compact({"alg": "ES256", "typ": "JWT", "kid": key.kid, **header}, claims, key))


async def test_a_claim_twice_is_refused(world: World) -> None:
    key = key_of(world, "admin")
    claims = {"iss": "admin", "sub": "admin", "aud": ISSUER, "iat": seconds(world), "exp": seconds(world, 60), "jti": "x"}
    payload = json.dumps(claims)[:-1] + ',"sub":"admin"}'
    assert await refused(world, compact({"alg": "ES256", "typ": "JWT", "kid": key.kid}, payload.encode(), key))


async def test_an_assertion_within_the_skew_is_accepted(world: World) -> None:
    assertion = world.operator_assertion(iat=seconds(world, 29), exp=seconds(world, 89))
    assert await world.broker.operators.authenticate(assertion) == "admin"


async def test_no_part_of_an_assertion_is_in_the_refusal(world: World) -> None:
    """I7."""
    assertion = world.operator_assertion(jti=5)
    said = await refused(world, assertion)
    assert not any(part in said for part in assertion.split("."))


async def test_without_the_store_nobody_signs_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot tell whether an assertion was used before must not accept it."""

    async def lost(*_: object) -> None:
        raise Unavailable("the store did not confirm", retry_after=1)

    monkeypatch.setattr(world.broker.stores.shared, "run", lost)
    with pytest.raises(Unavailable):
        await world.broker.operators.authenticate(world.operator_assertion())
