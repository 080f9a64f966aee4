"""What a task's tree was given to read decides with, whoever decides, wherever, in whatever order (`DESIGN.md` 3.18)."""

from typing import Any

import pytest

from broker.errors import AccessDenied, Unavailable
from broker.issuer import Issued
from broker.policy import PolicyRefusal
from broker.store import feed_key
from tests.broker.ended import is_ended, told
from tests.broker.recorded import kinds_recorded, recorded
from tests.broker.test_issuer import after, claims_of, statuses
from tests.broker.world import CRM, KB, OTHER, World

MESSAGE = "crm:message/1#read[text]"
TICKET = "crm:ticket/4711#read[subject]"
DRAFT = "crm:ticket/4711#draft[subject]"
ARTICLE = "kb:article/1#read"
PERMIT = '@id("drafts") permit (principal is Agent, action in Action::"draft", resource is Record);\n'
FORBID = '@id("NAME") forbid (principal is Agent, action in Action::"draft", resource is Record) when { CONDITION };\n'
ON_TAINT = FORBID.replace("NAME", "taint").replace("CONDITION", "context.task.tainted")
ON_LABEL = FORBID.replace("NAME", "label").replace("CONDITION", 'context.task.labels.contains("pii")')
ON_SENSITIVE = FORBID.replace("NAME", "sensitive").replace("CONDITION", "context.task.read_sensitive")
ON_BOTH = FORBID.replace("NAME", "both").replace("CONDITION", "context.task.tainted && context.task.read_sensitive")


async def decide_by(world: World, *policies: str) -> None:
    """Permit drafts, and forbid them as these say."""
    (world.folder / "policies" / "own.cedar").write_text("".join((PERMIT, *policies)))
    await world.look()


async def refused(asking: Any) -> AccessDenied:
    with pytest.raises(AccessDenied) as error:
        await asking
    return error.value


def taint_events(world: World, audience: str = CRM) -> list[str]:
    """Return what a verifier of the audience is told that trees were exposed to."""
    return [event.value for event in told(world, audience) if event.kind == "taint"]


@pytest.mark.parametrize("policy", [ON_TAINT, ON_LABEL, ON_SENSITIVE, ON_BOTH])
async def test_whoever_has_read_what_outsiders_wrote_is_decided_on_with_that(world: World, policy: str) -> None:
    await decide_by(world, policy)
    task = await world.declare()
    assert await world.issue(DRAFT, task=task.id)
    await world.issue(MESSAGE, task=task.id)
    world.follow()
    error = await refused(world.issue(DRAFT, task=task.id))
    assert isinstance(error, PolicyRefusal)
    assert error.reason == "forbidden"


@pytest.mark.parametrize("policy", [ON_TAINT, ON_LABEL, ON_SENSITIVE, ON_BOTH])
async def test_what_a_child_reads_ends_what_its_parent_and_its_siblings_hold(world: World, policy: str) -> None:
    """TRAPS 15b: taint that reaches the parent only when the child ends. Also where only both together are too much."""
    await decide_by(world, policy)
    root = await world.declare()
    children = [await world.declare(parent=root.id) for _ in range(2)]
    held = [await world.issue(DRAFT, task=task.id) for task in (root, children[0])]
    await world.issue(MESSAGE, task=children[1].id)
    assert all(is_ended(world, issued) for issued in held)
    for task in (root, *children):
        await refused(world.issue(DRAFT, task=task.id))


async def test_another_tree_is_not_touched(world: World) -> None:
    await decide_by(world, ON_TAINT)
    mine, other = await world.declare(), await world.declare()
    held = await world.issue(DRAFT, task=other.id)
    theirs = await world.issue(DRAFT, workload=OTHER, task=(await world.declare(workload=OTHER)).id)
    await world.issue(MESSAGE, task=mine.id)
    assert not is_ended(world, held)
    assert not is_ended(world, theirs)
    assert await world.issue(DRAFT, task=other.id)


async def test_what_would_have_been_given_all_the_same_stays(world: World) -> None:
    await decide_by(world, ON_TAINT)
    task = await world.declare()
    read, article = await world.issue(TICKET, task=task.id), await world.issue(ARTICLE, task=task.id)
    message = await world.issue(MESSAGE, task=task.id)
    assert not any(is_ended(world, issued) for issued in (read, article, message))
    assert not claims_of(world, read.access_token).lease.ends_on_taint


async def test_a_token_says_what_it_does_not_survive(world: World) -> None:
    await decide_by(world, ON_TAINT, ON_LABEL)
    lease = claims_of(world, (await world.issue(DRAFT)).access_token).lease
    assert (lease.ends_on_taint, lease.ends_on_labels) == (True, ("pii",))


async def test_the_request_that_reads_is_decided_as_if_it_had_read(world: World) -> None:
    """Otherwise the answer to it would be the one thing that what it reads has no say in."""
    forbid = '@id("x") forbid (principal is Agent, action in Action::"read", resource is Record) when { context.task.tainted };'
    await decide_by(world, forbid)
    await refused(world.issue(MESSAGE))
    assert taint_events(world) == []
    assert await world.issue(TICKET)


# At the same moment, on two workers


async def test_a_write_decided_elsewhere_while_a_child_reads_does_not_survive(
    world: World, neighbour: World, monkeypatch
) -> None:
    """TRAPS 15b: the parent's token is decided after the taint was committed, by a worker that has not heard of it."""
    await decide_by(world, ON_TAINT)
    neighbour.follow()
    root = await world.declare()
    child = await world.declare(parent=root.id)
    held: list[Issued] = []

    async def write() -> None:
        held.append(await neighbour.issue(DRAFT, task=root.id))

    await neighbour.broker.exposures.of(root, neighbour.broker.streams.picture, frozenset())
    after(world.broker.exposures, "of", monkeypatch, write)
    await world.issue(MESSAGE, task=child.id)
    assert is_ended(world, held[0])
    assert is_ended(neighbour, held[0])


@pytest.mark.parametrize("step", ["expose", "of"])
async def test_whichever_comes_first_no_write_survives_that_was_not_decided_knowing_of_it(
    world: World, neighbour: World, monkeypatch, step: str
) -> None:
    """TRAPS 15b: a write between the decision and the commit of the reading, or between its commit and its lease."""
    await decide_by(world, ON_TAINT)
    neighbour.follow()
    task = await world.declare()
    await neighbour.issue(ARTICLE, task=task.id)
    held: list[Issued] = []

    async def write() -> None:
        try:
            held.append(await neighbour.issue(DRAFT, task=task.id))
        except AccessDenied:
            assert step == "expose"

    after(world.broker.exposures, step, monkeypatch, write)
    await world.issue(MESSAGE, task=task.id)
    assert all(is_ended(world, issued) for issued in held)
    neighbour.follow()
    await refused(neighbour.issue(DRAFT, task=task.id))


async def test_a_reading_that_is_committed_while_a_write_is_being_issued_ends_it(
    world: World, neighbour: World, monkeypatch
) -> None:
    """TRAPS 15b, the other way around: the write was decided first, and its lease is written after the taint."""
    await decide_by(world, ON_TAINT)
    neighbour.follow()
    task = await world.declare()

    async def read() -> None:
        await neighbour.issue(MESSAGE, task=task.id)

    after(world.broker.refusals, "recent", monkeypatch, read)
    issued = await world.issue(DRAFT, task=task.id)
    assert is_ended(neighbour, issued)
    assert is_ended(world, issued)


# Where it is kept


async def lose_the_log(world: World) -> None:
    """Begin a new epoch, in which tasks and leases are still there."""
    world.backend.client.delete(*(feed_key(part) for part in ("epoch", "log", "live", "ends")))
    world.follow()


@pytest.mark.parametrize("policy", [ON_TAINT, ON_LABEL])
async def test_a_new_epoch_makes_no_tree_clean(world: World, neighbour: World, policy: str) -> None:
    await decide_by(world, policy)
    task = await world.declare()
    await world.issue(MESSAGE, task=task.id)
    await lose_the_log(world)
    neighbour.follow()
    for worker in (world, neighbour):
        await refused(worker.issue(DRAFT, task=task.id))
    clean = await world.declare()
    assert await world.issue(DRAFT, task=clean.id)


async def test_a_reading_that_cannot_be_committed_leaves_no_token(world: World, monkeypatch) -> None:
    await decide_by(world, ON_TAINT)
    task = await world.declare()

    async def fail(*_: Any, **__: Any) -> None:
        raise Unavailable("gone")

    with monkeypatch.context() as away:
        away.setattr(world.broker.log, "append", fail)
        with pytest.raises(Unavailable):
            await world.issue(MESSAGE, task=task.id)
    assert await statuses(world) == []
    # What is noted already is committed when it is asked for again.
    await world.issue(MESSAGE, task=task.id)
    assert taint_events(world) == [task.id, f"{task.id} pii"]
    assert (await kinds_recorded(world)).count("task.exposed") == 1


async def test_what_is_known_already_is_not_committed_again(world: World) -> None:
    await decide_by(world, ON_TAINT)
    root = await world.declare()
    child = await world.declare(parent=root.id)
    for task in (root, child, root):
        await world.issue(MESSAGE, task=task.id)
        world.follow()
    assert taint_events(world) == [root.id, f"{root.id} pii"]
    (record,) = [entry.record for entry in await recorded(world) if entry.record.kind == "task.exposed"]
    assert (record.agent, record.task, record.scope, record.reason) == ("support-bot", root.id, MESSAGE, "tainted, pii")


async def test_a_reading_whose_answers_are_lost_is_there_once(repeating_world: World) -> None:
    """A script may run twice (TRAPS 21b)."""
    await decide_by(repeating_world, ON_TAINT)
    task = await repeating_world.declare()
    await repeating_world.issue(MESSAGE, task=task.id)
    assert taint_events(repeating_world) == [task.id, f"{task.id} pii"]
    assert (await kinds_recorded(repeating_world)).count("task.exposed") == 1


async def test_two_that_read_at_the_same_moment_commit_it_once(world: World, neighbour: World, monkeypatch) -> None:
    await decide_by(world, ON_TAINT)
    neighbour.follow()
    task = await world.declare()

    async def read() -> None:
        await neighbour.issue(MESSAGE, task=task.id)

    after(world.broker.exposures, "of", monkeypatch, read)
    await world.issue(MESSAGE, task=task.id)
    assert taint_events(world) == [task.id, f"{task.id} pii"]
    assert (await kinds_recorded(world)).count("task.exposed") == 1


async def test_those_services_hear_of_it_that_the_tree_can_have_tokens_for(world: World) -> None:
    await decide_by(world, ON_TAINT)
    task = await world.declare("summarise-ticket")
    await world.issue(MESSAGE, task=task.id)
    assert taint_events(world, CRM) == taint_events(world, KB) == [task.id, f"{task.id} pii"]
    assert taint_events(world, "https://another.test") == []


async def test_a_worker_that_has_not_heard_of_new_rules_tells_nobody_less_than_they_say(
    world: World, neighbour: World, monkeypatch
) -> None:
    """TRAPS 15c: whose verifiers hear of a taint is the configuration's to say; one committed by an old one would miss some."""
    await decide_by(world, ON_TAINT)
    neighbour.follow()
    task = await world.declare()

    async def change() -> None:
        (neighbour.folder / "policies" / "other.cedar").write_text("// another configuration")
        await neighbour.look()

    after(world.broker.exposures, "of", monkeypatch, change)
    with pytest.raises(Unavailable) as error:
        await world.issue(MESSAGE, task=task.id)
    assert error.value.reason == "configuration_pending"
    assert taint_events(world) == []
    assert await statuses(world) == []


async def test_a_class_of_data_that_the_registry_drops_was_read_nevertheless(world: World) -> None:
    """What a tree has read under a name that is gone is of nobody knows what class, so it is sensitive."""
    await decide_by(world, ON_SENSITIVE)
    task = await world.declare()
    await world.issue(MESSAGE, task=task.id)
    world.follow()
    path = world.folder / "registry" / "all.toml"
    path.write_text("[data_classes]\nfinancial = { sensitive = false }\n" + path.read_text().replace('"pii"', '"financial"'))
    await world.look()
    await refused(world.issue(DRAFT, task=task.id))
    clean = await world.declare()
    assert await world.issue(DRAFT, task=clean.id)


# The ceiling comes first


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ("crm:message/1/2#read[text]", "outside_task_type"),
        ("crm:ticket/1#read[email]", "outside_fields"),
    ],
)
async def test_what_the_ceiling_refuses_was_not_read(world: World, scope: str, reason: str) -> None:
    error = await refused(world.issue(scope))
    assert error.reason == reason
    assert taint_events(world) == []


async def test_what_the_declaration_leaves_out_was_not_read(world: World) -> None:
    task = await world.declare(resources=("crm:ticket",))
    error = await refused(world.issue(MESSAGE, task=task.id))
    assert error.reason == "outside_declaration"
    assert taint_events(world) == []
