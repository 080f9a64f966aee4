"""What is given only where it is known to be enforced: by all who verify, or by the word of the registry; unknown means no."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from broker.enforceable import REMEMBERED
from broker.errors import AccessDenied, Unavailable
from broker.feed.acknowledgements import ANONYMOUS, SILENCE
from scopes.claims import Confirmation
from scopes.constraints import CONSTRAINTS
from scopes.scope import Scope
from tests.broker.acknowledging import FIRST, SECOND, acknowledge
from tests.broker.counted import ONCE, REGISTRY, THRICE, UNCOUNTED
from tests.broker.redis_server import RedisServer
from tests.broker.world import CRM, Backend, World, redis_backend

WHOLE = "kb:article/1#read"
KEY, CERTIFICATE = Confirmation(jkt="0ZcO"), Confirmation(x5t_s256="bwcK")
NEEDS: dict[str, tuple[str, Confirmation | None]] = {
    "fields": (UNCOUNTED, None),
    "proof": (UNCOUNTED, KEY),
    "certificate": (UNCOUNTED, CERTIFICATE),
    "single_use": (ONCE, None),
    "max_uses": (THRICE, None),
}
"""A token that needs each of the constraints, beside its fields."""


def opened(folder: Path, backend: Backend, *, enforces: str = "", **options: Any) -> World:
    """Return a broker; `enforces` is what its registry says of the CRM."""
    registry = REGISTRY.replace("[services.crm]\n", f"[services.crm]\n{enforces}\n", 1)
    world = World(folder, backend, registry=registry, **options)
    world.follow()
    return world


@pytest.fixture
def world(tmp_path: Path, backend: Backend) -> World:
    return opened(tmp_path, backend)


async def check(world: World, scope: str, confirmation: Confirmation | None = None) -> None:
    wanted = Scope.parse(scope)
    await world.broker.enforceable.check(wanted, world.registry.entry(wanted), confirmation)


async def refusal(world: World, constraint: str) -> str:
    """Ask for a token with this constraint, a moment after the last time; return why it is refused, or nothing."""
    world.advance(REMEMBERED)
    try:
        await check(world, *NEEDS[constraint])
    except AccessDenied as error:
        return str(error) if error.reason == "not_enforceable" else error.reason
    return ""


async def refused(world: World) -> set[str]:
    """Return all the constraints that are not given."""
    return {constraint for constraint in CONSTRAINTS if await refusal(world, constraint)}


async def test_where_nobody_is_known_only_what_every_version_enforces_is_given(world: World) -> None:
    """Every version of the library cuts to fields and checks who holds the token; whoever does not know a count ignores it."""
    assert await refused(world) == {"single_use", "max_uses"}


async def test_what_a_process_reports_is_given(world: World) -> None:
    await acknowledge(world, enforces=CONSTRAINTS)
    assert await refused(world) == set()


async def test_a_process_that_reports_nothing_is_one_of_an_earlier_version(world: World) -> None:
    await acknowledge(world)
    assert await refused(world) == {"single_use", "max_uses"}


@pytest.mark.parametrize("left_out", CONSTRAINTS)
async def test_one_process_that_does_not_enforce_it_is_enough_to_refuse(world: World, left_out: str) -> None:
    """The token may be sent to any of them."""
    await acknowledge(world, FIRST, enforces=CONSTRAINTS)
    await acknowledge(world, SECOND, enforces=[constraint for constraint in CONSTRAINTS if constraint != left_out])
    expected = set(CONSTRAINTS) if left_out == "fields" else {left_out}
    assert await refused(world) == expected
    await acknowledge(world, SECOND, leaving=True)
    assert await refused(world) == set()


async def test_the_refusal_names_the_constraint_the_service_and_what_to_do(world: World) -> None:
    assert await refusal(world, "single_use") == (
        "no verifier of crm is known that enforces single_use; start the service, with its identity"
    )
    await acknowledge(world)
    assert await refusal(world, "max_uses") == (
        "not every verifier of crm enforces max_uses; update those that `broker feed status` names"
    )


async def test_processes_of_another_service_count_for_nothing(world: World) -> None:
    await acknowledge(world, aud="https://kb.test", enforces=CONSTRAINTS)
    assert await refused(world) == {"single_use", "max_uses"}


async def test_a_process_that_is_silent_is_forgotten(world: World) -> None:
    await acknowledge(world, FIRST)
    await acknowledge(world, SECOND, enforces=CONSTRAINTS)
    world.advance(SILENCE - 10_000)
    await acknowledge(world, SECOND, enforces=CONSTRAINTS)
    assert await refused(world) == {"single_use", "max_uses"}
    world.advance(10_000)
    assert await refused(world) == set()


@pytest.mark.parametrize(("access", "expected"), [("anyone", {"certificate"}), ("workloads", set())])
async def test_nobody_in_particular_is_listened_to_only_where_anyone_may_follow(
    tmp_path: Path, backend: Backend, access: str, expected: set[str]
) -> None:
    world = opened(tmp_path, backend, changes={"feed_access": access})
    await acknowledge(world, workload=ANONYMOUS, enforces=["fields", "proof"])
    assert await refused(world) == expected | {"single_use", "max_uses"}


async def test_who_does_not_say_who_it_is_cannot_say_that_it_counts(tmp_path: Path, backend: Backend) -> None:
    """Uses are counted for the service's own workloads: it could not, and whoever likes could say so for it."""
    world = opened(tmp_path, backend, changes={"feed_access": "anyone"})
    await acknowledge(world, FIRST, workload=ANONYMOUS, enforces=CONSTRAINTS)
    assert await refused(world) == {"single_use", "max_uses"}
    await acknowledge(world, SECOND, enforces=CONSTRAINTS)
    assert await refused(world) == {"single_use", "max_uses"}
    await acknowledge(world, FIRST, workload=ANONYMOUS, leaving=True)
    assert await refused(world) == set()


# What the registry says


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ('["fields", "single_use"]', {"proof", "certificate", "max_uses"}),
        ('["fields"]', {"proof", "certificate", "single_use", "max_uses"}),
        ("[]", set(CONSTRAINTS)),
    ],
)
async def test_what_the_registry_says_of_a_service_decides_alone(
    tmp_path: Path, backend: Backend, stated: str, expected: set[str]
) -> None:
    """For verifiers that do not acknowledge; whoever acknowledges for them does not change it."""
    world = opened(tmp_path, backend, enforces=f"enforces = {stated}")
    assert await refused(world) == expected
    await acknowledge(world, enforces=CONSTRAINTS)
    assert await refused(world) == expected


async def test_the_refusal_names_what_the_registry_lacks(tmp_path: Path, backend: Backend) -> None:
    world = opened(tmp_path, backend, enforces='enforces = ["fields"]')
    assert await refusal(world, "single_use") == (
        "services.crm.enforces in the registry does not name single_use, so nobody holds the token to it"
    )


# How often it is asked


async def test_the_store_is_asked_once_a_second_however_many_ask(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to a token stays as short as it was."""
    await acknowledge(world, enforces=CONSTRAINTS)
    asked, processes = [], world.broker.acknowledgements.processes

    async def counted(audience: str, **options: int) -> Sequence[Any]:
        asked.append(audience)
        return await processes(audience, **options)

    monkeypatch.setattr(world.broker.acknowledgements, "processes", counted)
    for _ in range(3):
        await asyncio.gather(*(check(world, scope) for scope in (ONCE, THRICE, UNCOUNTED) * 20))
    assert asked == [CRM]
    world.advance(REMEMBERED)
    await asyncio.gather(*(check(world, ONCE) for _ in range(50)))
    assert asked == [CRM] * 2


async def test_a_token_without_constraints_asks_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.broker.acknowledgements, "position", None)
    await check(world, WHOLE)


async def test_what_is_remembered_is_a_second_old_at_most(world: World) -> None:
    await acknowledge(world, FIRST, enforces=CONSTRAINTS)
    await check(world, ONCE)
    await acknowledge(world, SECOND)
    await check(world, ONCE)
    world.advance(REMEMBERED)
    with pytest.raises(AccessDenied):
        await check(world, ONCE)


async def test_whoever_hangs_up_while_it_is_read_ends_it_for_nobody_else(world: World) -> None:
    await acknowledge(world, enforces=CONSTRAINTS)
    asking = [asyncio.create_task(check(world, ONCE)) for _ in range(3)]
    await asyncio.sleep(0)
    asking[0].cancel()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, type(None), type(None)]


async def test_a_store_that_does_not_answer_means_no(tmp_path: Path, redis_server: RedisServer, monkeypatch) -> None:
    """Unreachable is not *nobody verifies*; and nobody waits for it in turn."""
    backend = redis_backend(redis_server.url)
    world = opened(tmp_path, backend)
    redis_server.kill()
    outcomes = await asyncio.gather(*(check(world, UNCOUNTED) for _ in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    monkeypatch.setattr(world.broker.acknowledgements, "position", None)
    with pytest.raises(Unavailable):
        await check(world, UNCOUNTED)
    await backend.close()
