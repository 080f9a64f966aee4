"""An agent that acts for a user or for another agent, by its library, against a whole broker."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from broker.client import Agent, Misconfigured, Refused
from broker.client.agent import Declaration
from broker.client.subject import subject_of, token_file
from tests.broker.delegating import HELPER, PART, WHOLE, delegating_world
from tests.broker.front import claims_of
from tests.broker.identity.user_tokens import user_token
from tests.broker.world import BOT, ISSUER, Backend, World

Speaking = Callable[[str], Agent]


@pytest.fixture
def world(tmp_path: Path, backend: Backend) -> World:
    return delegating_world(tmp_path, backend)


@pytest_asyncio.fixture
async def speaking(world: World) -> AsyncIterator[Speaking]:
    """Make the library of any workload; the broker's picture is renewed whenever one of them has to wait for it."""
    made: list[Agent] = []

    async def follow(_: float) -> None:
        world.follow()

    def speak(workload: str) -> Agent:
        def identity() -> str:
            world.follow()
            return world.svid(workload)

        transport = httpx2.ASGITransport(app=world.broker.application())
        made.append(Agent(ISSUER, identity, transport=transport, clock=world.clock, sleep=follow))
        return made[-1]

    yield speak
    for agent in made:
        await agent.close()


def jane(world: World, **changes: object) -> str:
    return user_token(world.clock.now().wall // 1000, **changes)


async def test_a_task_for_a_user_gives_tokens_for_that_user(world: World, speaking: Speaking) -> None:
    async with speaking(BOT).task("summarise-ticket", user_token=jane(world)) as task:
        assert task.record.user == "corp:jane"
        claims = claims_of((await task.token(PART)).text)
        assert (claims["sub"], claims["act"]) == ("corp:jane", {"sub": BOT})
        async with task.subtask("single-ticket") as part:
            assert part.record.user == "corp:jane"
    assert (await world.broker.tasks.find(task.id)).status == "completed"


async def test_a_users_token_is_asked_for_each_time_so_that_it_can_be_renewed(world: World, speaking: Speaking) -> None:
    asked = []

    def token() -> str:
        asked.append(jane(world))
        return f" {asked[-1]}\n"

    agent = speaking(BOT)
    for _ in range(2):
        async with agent.task("summarise-ticket", user_token=token):
            pass
    assert claims_of((await agent.token(PART, user_token=token)).text)["sub"] == "corp:jane"
    assert len(asked) >= 3


async def test_a_token_that_was_handed_over_makes_a_part_of_its_task(world: World, speaking: Speaking) -> None:
    async with speaking(BOT).task("summarise-ticket", user_token=jane(world)) as task:
        parent = await task.token(WHOLE)
        for handed in (parent, parent.text):
            async with speaking(HELPER).task("summarise-ticket", parent_token=handed) as part:
                assert (part.record.path, part.record.user) == ((task.id, part.id), "corp:jane")
                token = await part.token(PART)
                assert token.bound
                assert claims_of(token.text)["act"] == {"sub": HELPER, "act": {"sub": BOT}}
                with pytest.raises(Refused) as refused:
                    await part.token("crm:ticket/4712#read[subject]")
                assert refused.value.reason == "outside_delegation"
        helper = speaking(HELPER)
        assert claims_of((await helper.token(PART, parent_token=parent)).text)["txn"] == task.id


async def test_a_handed_over_token_says_what_to_do_when_it_has_ended(world: World, speaking: Speaking) -> None:
    async with speaking(BOT).task("summarise-ticket") as task:
        parent = await task.token(WHOLE)
    with pytest.raises(Refused) as refused:
        await speaking(HELPER).declare(Declaration("summarise-ticket"), parent_token=parent)
    assert "not in force any more" in str(refused.value)


async def test_a_user_of_somebody_elses_is_refused_with_its_reason(world: World, speaking: Speaking) -> None:
    with pytest.raises(Refused) as refused:
        async with speaking(BOT).task("summarise-ticket", user_token=jane(world, azp="other-portal")):
            pytest.fail("the body ran")
    assert (refused.value.code, refused.value.reason) == ("unauthorized_client", "not_delegated")


async def test_what_says_for_whom_is_one_token_and_there(speaking: Speaking, tmp_path: Path) -> None:
    agent = speaking(BOT)
    with pytest.raises(Misconfigured, match="user_token or parent_token"):
        await agent.token(PART, user_token="x", parent_token="y")
    with pytest.raises(Misconfigured, match="is empty"):
        async with agent.task("summarise-ticket", user_token=lambda: " "):
            pytest.fail("the body ran")
    with pytest.raises(Misconfigured, match="holds no token"):
        await agent.declare(Declaration("summarise-ticket"), user_token=token_file(tmp_path / "none"))


def test_what_is_shown_shows_nothing_of_its_text() -> None:
    for subject in (subject_of("eyJ.secret", None), subject_of(None, "eyJ.secret"), subject_of(lambda: "eyJ.secret", None)):
        assert "eyJ" not in repr(subject)
    assert subject_of(None, None) is None
