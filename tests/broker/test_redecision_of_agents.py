"""After a change of the registry, what rests on a workload, an agent above or a user that it no longer knows ends (E7, C5)."""

import datetime
from pathlib import Path

import pytest

from broker.exchange import TokenRequest
from broker.identity import Presented
from broker.standing import end_of_last_day
from broker.tasks import Declaration
from scopes.scope import Scope
from tests.broker import signing
from tests.broker.deciding_again import class_events, decided_again
from tests.broker.delegating import DELEGATES, HELPER, LAST, USERS, WHOLE, delegated, delegating_world, of_user
from tests.broker.ended import is_ended
from tests.broker.leases.written import decision_class, written
from tests.broker.registry.catalogue import toml_key
from tests.broker.world import BOT, REGISTRY, Backend, MovedClock, World

SECOND = "spiffe://development.test/ns/support/sa/bot"
ONE = f'workloads    = [{{ spiffe = "{BOT}" }}]'
BOTH = ONE.replace("}]", '}, { spiffe = "spiffe://development.test/ns/support/*" }]')
TASKS = 'tasks        = ["summarise-ticket", "single-ticket"]\ndefault_task = "summarise-ticket"'


@pytest.fixture
def world(tmp_path: Path, backend: Backend) -> World:
    made = delegating_world(tmp_path, backend)
    rewrite(made, (ONE, BOTH))
    return made


def rewrite(world: World, *changes: tuple[str, str], file: str = "all.toml") -> None:
    """Change a file of the registry, each text where it stands first."""
    path = world.folder / "registry" / file
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)


async def decided_by(world: World, *changes: tuple[str, str], file: str = "all.toml") -> None:
    """Put the changed registry into force and decide by it what is live."""
    rewrite(world, *changes, file=file)
    await decided_again(world)


async def test_what_a_workload_holds_ends_when_it_is_taken_from_its_agent(world: World) -> None:
    await world.look()
    first, second = await world.issue(), await world.issue(workload=SECOND)
    await decided_by(world, (BOTH, ONE))
    assert (is_ended(world, first), is_ended(world, second)) == (False, True)


async def test_what_a_workload_holds_ends_when_it_becomes_another_agents(world: World) -> None:
    """What it was given as the one it could not be given now, whoever it is by now."""
    await world.look()
    second = await world.issue(workload=SECOND)
    theirs = "spiffe://development.test/pod/other-bot/*"
    await decided_by(world, (BOTH, ONE), (f'"{theirs}" }},', f'"{theirs}" }}, {{ spiffe = "{SECOND}" }},'))
    assert is_ended(world, second)


async def test_what_was_asked_for_with_a_key_ends_when_the_key_leaves_the_record(tmp_path: Path, backend: Backend) -> None:
    world = signing.signing_world(tmp_path, backend)
    shown = [Presented(signing.assertion(world, key), "jwt-bearer") for key in (signing.SPARE, signing.LAPTOP)]
    kept, gone = [await world.broker.exchange(TokenRequest(each, Scope.parse(WHOLE))) for each in shown]
    await decided_by(world, (f"{toml_key(signing.LAPTOP)}, ", ""), file="signing.toml")
    assert (is_ended(world, kept), is_ended(world, gone)) == (False, True)


async def test_a_child_ends_when_the_type_of_the_task_above_it_is_taken_from_the_agent(world: World) -> None:
    parent = await world.declare(type="single-ticket")
    declaration = Declaration(type="summarise-ticket", parent=parent.id)
    child, alone = await world.issue(declaration=declaration), await world.issue()
    await decided_by(world, (TASKS, TASKS.replace(', "single-ticket"', "")))
    assert (is_ended(world, child), is_ended(world, alone)) == (True, False)


async def test_a_delegated_token_ends_when_its_agent_is_delegated_to_no_more(world: World) -> None:
    parent = await world.issue(WHOLE)
    helpers = await delegated(world, parent)
    last = await delegated(world, helpers, workload=LAST)
    own = await world.issue(workload=HELPER)
    await decided_by(world, (DELEGATES, 'delegates_to = ["twin-21"]\n'))
    assert [is_ended(world, each) for each in (helpers, last, parent, own)] == [True, True, False, False]


async def test_a_users_token_ends_when_the_agent_acts_for_no_users_of_that_provider_any_more(world: World) -> None:
    theirs, nobodys = await world.issue(subject=of_user(world)), await world.issue()
    below = await delegated(world, theirs)
    await decided_by(world, (USERS, ""))
    assert [is_ended(world, each) for each in (theirs, below, nobodys)] == [True, True, False]


@pytest.mark.parametrize("said", [{"agents": ()}, {"agents": ("support-bot", "support-bot")}, {"binding": ""}])
async def test_a_class_that_does_not_say_whose_it_is_ends(world: World, said: dict[str, object]) -> None:
    """Unknown means no: an earlier version wrote none of it."""
    issued = await world.issue()
    kept = (await world.broker.leases.find(issued.lease_id, world.broker.streams.picture)).decision_class
    known = {name: getattr(kept, name) for name in kept.__struct_fields__}
    unsaid = await written(world, await world.declare(), decided=decision_class(world, **(known | said)))
    await decided_by(world, ("First-line", "Second-line"))
    assert (is_ended(world, issued), class_events(world)) == (False, [unsaid.record.decision_class])


async def test_what_lives_until_the_end_of_its_agents_last_day_stays(tmp_path: Path, backend: Backend) -> None:
    clock = MovedClock(backend.client)
    tomorrow = datetime.datetime.fromtimestamp(clock.now().wall / 1000 + 86_400, tz=datetime.UTC).date()
    world = World(tmp_path, backend, registry=REGISTRY.replace("2099-06-30", str(tomorrow)), clock=clock)
    world.follow()
    world.advance(end_of_last_day(world.agent()) - 20_000 - clock.now().wall)
    issued = await world.issue()
    await decided_by(world, ("First-line", "Second-line"))
    assert not is_ended(world, issued)
    await decided_by(world, (str(tomorrow), str(tomorrow - datetime.timedelta(days=1))))
    assert is_ended(world, issued)
