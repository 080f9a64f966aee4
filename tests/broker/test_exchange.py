"""The use case: identity and task in, a token of one scope out."""

import pytest

from broker.errors import AccessDenied
from broker.exchange import TokenRequest
from scopes.scope import Scope
from tests.broker.world import World


async def test_an_agent_gets_a_token_for_exactly_what_it_asked(world: World) -> None:
    issued = await world.broker.exchange(TokenRequest(world.svid(), Scope.parse("crm:ticket/4711#read[subject]")))
    assert issued.scope == "crm:ticket/4711#read[subject]"


async def test_a_scope_outside_the_task_type_is_refused_and_recorded(world: World) -> None:
    with pytest.raises(AccessDenied) as refused:
        await world.broker.exchange(TokenRequest(world.svid(), Scope.parse("crm:ticket/4711#read[email]")))
    assert refused.value.reason == "outside_fields"
    world.advance(1)
    kinds = [entry.record.kind for entry in await world.broker.audit.read()]
    assert kinds == ["task.opened", "token.refused"]
