"""Who calls a REST endpoint, and may they."""

import pytest

from broker.api.presented import of_authorization
from broker.callers import Caller
from broker.errors import AccessDenied, InvalidClient, UnauthorizedClient
from broker.identity import Presented
from tests.broker.front import STRANGER
from tests.broker.world import BOT, CRM, CRM_WORKLOAD, KB, OTHER, World

TOKENLIKE = ["", "Bearer", "Bearer ", "Basic YWRtaW46YWRtaW4=", "DPoP x", "Bearer x", "Bearer a.b.c", "bearer\tx", "x Bearer y"]


def bearer(assertion: str) -> Presented:
    return Presented(assertion)


async def test_a_workload_is_the_agent_it_is_registered_as(world: World) -> None:
    assert await world.broker.callers.identify(bearer(world.svid())) == Caller("Agent", "support-bot", BOT)


async def test_an_operator_is_called_by_name(world: World) -> None:
    assert await world.broker.callers.identify(bearer(world.operator_assertion())) == Caller("Operator", "admin")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_has_no_case(world: World, scheme: str) -> None:
    """RFC 9110 §11.1."""
    presented = of_authorization(f"{scheme} {world.svid()}")
    assert (await world.broker.callers.identify(presented)).name == "support-bot"


@pytest.mark.parametrize("header", [None, *TOKENLIKE])
async def test_who_proves_nothing_is_nobody(world: World, header: str | None) -> None:
    callers = world.broker.callers
    with pytest.raises(InvalidClient):
        await callers.identify(of_authorization(header))
    with pytest.raises(InvalidClient):
        await callers.operator(of_authorization(header), "watch")
    with pytest.raises(InvalidClient):
        await callers.agent(of_authorization(header))
    with pytest.raises(InvalidClient):
        await callers.follower_of(of_authorization(header), CRM)


async def test_a_workload_that_nobody_registered_is_known_and_may_nothing(world: World) -> None:
    with pytest.raises(AccessDenied) as refused:
        await world.broker.callers.identify(bearer(world.svid(STRANGER)))
    assert refused.value.reason == "not_registered"
    with pytest.raises(UnauthorizedClient):
        await world.broker.callers.agent(bearer(world.svid(STRANGER)))


async def test_a_service_is_no_agent(world: World) -> None:
    with pytest.raises(UnauthorizedClient):
        await world.broker.callers.agent(bearer(world.svid(CRM_WORKLOAD)))


async def test_an_operator_is_no_agent(world: World) -> None:
    with pytest.raises(InvalidClient):
        await world.broker.callers.agent(bearer(world.operator_assertion()))


async def test_an_agent_past_its_end_declares_nothing_and_is_still_known(world: World) -> None:
    """It may end what it began."""
    world.advance(80 * 365 * 86_400_000)
    with pytest.raises(UnauthorizedClient) as refused:
        await world.broker.callers.agent(bearer(world.svid()))
    assert refused.value.reason == "agent_ended"
    assert (await world.broker.callers.identify(bearer(world.svid()))).name == "support-bot"


@pytest.mark.parametrize(
    ("name", "action", "allowed"),
    [
        ("admin", "watch", True),
        ("admin", "revoke", True),
        ("admin", "audit:read", True),
        ("watcher", "watch", True),
        ("watcher", "audit:read", True),
        ("watcher", "revoke", False),
    ],
)
async def test_an_operator_does_what_policy_allows(world: World, name: str, action: str, allowed: bool) -> None:
    asked = world.broker.callers.operator(bearer(world.operator_assertion(name)), action)
    if allowed:
        assert (await asked).name == name
    else:
        with pytest.raises(AccessDenied) as refused:
            await asked
        assert refused.value.reason == "not_permitted"


@pytest.mark.parametrize("workload", [BOT, OTHER])
async def test_an_agent_is_no_operator(world: World, workload: str) -> None:
    with pytest.raises(AccessDenied) as refused:
        await world.broker.callers.operator(bearer(world.svid(workload)), "watch")
    assert refused.value.reason == "not_an_operator"


async def test_a_service_follows_the_feed_of_its_own_audience(world: World) -> None:
    callers = world.broker.callers
    await callers.follower_of(bearer(world.svid(CRM_WORKLOAD)), CRM)
    for workload, audience in ((CRM_WORKLOAD, KB), (BOT, CRM), (STRANGER, CRM)):
        with pytest.raises(AccessDenied) as refused:
            await callers.follower_of(bearer(world.svid(workload)), audience)
        assert refused.value.reason == "not_its_workload"


async def test_nobody_follows_the_feed_of_an_unknown_audience(world: World) -> None:
    with pytest.raises(AccessDenied) as refused:
        await world.broker.callers.follower_of(bearer(world.svid(CRM_WORKLOAD)), "https://nothing.test")
    assert refused.value.reason == "unknown_audience"


async def test_an_operator_follows_a_feed_where_policy_allows_it(world: World) -> None:
    await world.broker.callers.follower_of(bearer(world.operator_assertion()), CRM)
    with pytest.raises(AccessDenied):
        await world.broker.callers.follower_of(bearer(world.operator_assertion("watcher")), CRM)


async def test_an_operators_assertion_is_spent_by_asking(world: World) -> None:
    """Also where the answer was no: the same assertion is not tried elsewhere."""
    assertion = bearer(world.operator_assertion("watcher"))
    with pytest.raises(AccessDenied):
        await world.broker.callers.operator(assertion, "revoke")
    with pytest.raises(InvalidClient):
        await world.broker.callers.operator(assertion, "watch")
