"""Reduced instead of revoked: live tokens at once, new ones until it is lifted, whatever becomes of the store."""

from pathlib import Path

import msgspec
import pytest

from broker.errors import AccessDenied, BrokerError, InvalidRequest, NotFound, Stuck, UnauthorizedClient, Unavailable
from broker.feed.acts import REDUCTIONS
from broker.feed.follower import MERGE_TIME
from broker.feed.journal import Journal
from broker.selector import ReductionSelector
from scopes.levels import LEVELS
from tests.broker.ended import is_ended, told
from tests.broker.recorded import recorded
from tests.broker.world import ADMIN, BOT, CRM, KB, OTHER, REGISTRY, World, fake_backend

READ, DRAFT = "crm:ticket/4711#read[subject]", "crm:ticket/4711#draft[subject]"
DRAFTS = '@id("drafts") permit (principal is Agent, action in Action::"draft", resource is Record);'
ALL_OF_CRM = [{"agent": "support-bot"}, {"instance": BOT}, {"service": "crm"}, {"all": True}]
STRICTER = ["read-only", "approval", "paused"]
"""What a draft is not given under."""


@pytest.fixture
def world(tmp_path: Path, backend) -> World:
    """A broker whose agents may draft as well."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "drafts.cedar").write_text(DRAFTS)
    made = World(tmp_path, backend, registry=REGISTRY)
    made.follow()
    return made


async def reduce(world: World, to: str, **selector) -> None:
    await world.broker.reduction.reduce(ReductionSelector(**selector), to, "a test", ADMIN)
    world.follow()


async def refusal(world: World, scope: str = READ, **asked) -> BrokerError | None:
    try:
        await world.issue(scope, **asked)
    except BrokerError as error:
        return error
    return None


@pytest.mark.parametrize("selector", ALL_OF_CRM, ids=lambda selector: next(iter(selector)))
@pytest.mark.parametrize("to", REDUCTIONS)
async def test_what_is_live_and_beyond_ends_at_once_and_what_is_within_lives_on(world: World, to: str, selector: dict) -> None:
    read, draft = await world.issue(READ), await world.issue(DRAFT)
    await reduce(world, to, **selector)
    assert is_ended(world, draft) == (to in STRICTER)
    assert is_ended(world, read) == (to in ("approval", "paused"))


@pytest.mark.parametrize("selector", ALL_OF_CRM, ids=lambda selector: next(iter(selector)))
@pytest.mark.parametrize("to", REDUCTIONS)
async def test_what_is_beyond_is_not_given_until_it_is_restored(world: World, to: str, selector: dict) -> None:
    await reduce(world, to, **selector)
    assert (await refusal(world, DRAFT) is None) == (to not in STRICTER)
    assert (await refusal(world, READ) is None) == (to not in ("approval", "paused"))
    await reduce(world, "none", **selector)
    assert [await refusal(world, scope) for scope in (READ, DRAFT)] == [None, None]


@pytest.mark.parametrize("selector", ALL_OF_CRM, ids=lambda selector: next(iter(selector)))
async def test_to_restore_brings_nothing_back(world: World, selector: dict) -> None:
    """Nothing un-revokes (I4): what was ended stays so, and another has to be asked for."""
    draft = await world.issue(DRAFT)
    await reduce(world, "read-only", **selector)
    await reduce(world, "none", **selector)
    assert is_ended(world, draft)


async def test_a_reduction_outlives_its_event(world: World) -> None:
    """The event is forgotten with the last token it could end; what stands, stands."""
    await reduce(world, "paused", agent="support-bot")
    world.advance(3_700_000)
    await world.revoke(agent="other-bot")
    world.advance(1)
    assert not [event for event in told(world, CRM) if event.value == "support-bot"]
    assert await refusal(world) is not None


async def test_others_are_not_touched(world: World) -> None:
    task = (await world.declare(workload=OTHER)).id
    await reduce(world, "paused", agent="support-bot")
    assert await refusal(world, READ, workload=OTHER, task=task) is None


async def test_one_bad_instance_is_paused_without_its_fleet(world: World) -> None:
    """TRAPS 25."""
    pods = [f"spiffe://development.test/pod/other-bot/{number}" for number in range(2)]
    tasks = [(await world.declare(workload=pod)).id for pod in pods]
    await reduce(world, "paused", instance=pods[0])
    answers = [await refusal(world, READ, workload=pod, task=task) for pod, task in zip(pods, tasks, strict=True)]
    assert isinstance(answers[0], UnauthorizedClient)
    assert answers[1] is None


async def test_a_service_is_reduced_without_the_others(world: World) -> None:
    article = await world.issue("kb:article/1#read")
    await reduce(world, "paused", service="crm")
    assert not is_ended(world, article)
    assert await refusal(world, "kb:article/1#read") is None
    assert told(world, KB) == []


@pytest.mark.parametrize(
    ("selector", "to", "scope", "error", "reason"),
    [
        ({"agent": "support-bot"}, "paused", READ, UnauthorizedClient, "paused"),
        ({"instance": BOT}, "paused", READ, UnauthorizedClient, "paused"),
        ({"service": "crm"}, "paused", READ, AccessDenied, "paused"),
        ({"all": True}, "paused", READ, AccessDenied, "paused"),
        ({"agent": "support-bot"}, "approval", READ, AccessDenied, "approval_required"),
        ({"agent": "support-bot"}, "read-only", DRAFT, AccessDenied, "reduced"),
    ],
)
async def test_the_refusal_says_what_stands_in_the_way(world: World, selector, to, scope, error, reason) -> None:
    await reduce(world, to, **selector)
    refused = await refusal(world, scope)
    assert isinstance(refused, error)
    assert refused.reason == reason


async def test_several_reductions_count_each_by_itself(world: World) -> None:
    await reduce(world, "draft-only", all=True)
    await reduce(world, "paused", service="crm")
    assert (await refusal(world, READ)).reason == "paused"
    await reduce(world, "none", service="crm")
    assert await refusal(world, READ) is None
    assert [(each.selector, each.to) for each in world.broker.reduction.in_force()] == [({"all": True}, "draft-only")]


async def test_the_last_reduction_of_a_target_counts_and_frees_nothing_that_ended(world: World) -> None:
    draft = await world.issue(DRAFT)
    await reduce(world, "read-only", agent="support-bot")
    await reduce(world, "draft-only", agent="support-bot")
    assert await refusal(world, DRAFT) is None
    assert is_ended(world, draft)


@pytest.mark.parametrize("level", LEVELS)
async def test_read_only_ends_every_level_above_reading(world: World, level: str) -> None:
    await reduce(world, "read-only", agent="support-bot")
    (event,) = told(world, CRM)
    assert (event.kind, event.value, event.above, event.unapproved) == ("agent", "support-bot", "read", False)


async def test_approval_ends_what_no_person_approved(world: World) -> None:
    await reduce(world, "approval", agent="support-bot")
    (event,) = told(world, CRM)
    assert (event.above, event.unapproved) == (None, True)


async def test_verifiers_hear_nothing_of_a_lifting(world: World) -> None:
    await reduce(world, "paused", agent="support-bot")
    before = told(world, CRM)
    await reduce(world, "none", agent="support-bot")
    assert told(world, CRM) == before


async def test_every_worker_refuses_what_one_was_told(world: World, neighbour: World) -> None:
    await reduce(world, "paused", agent="support-bot")
    neighbour.follow()
    with pytest.raises(UnauthorizedClient):
        await neighbour.issue()


async def test_who_reduced_and_why_is_listed_and_recorded(world: World) -> None:
    await world.broker.reduction.reduce(ReductionSelector(service="crm"), "read-only", "leak suspected", ADMIN)
    world.follow()
    (standing,) = world.broker.reduction.in_force()
    assert (standing.selector, standing.to, standing.by, standing.said) == (
        {"service": "crm"},
        "read-only",
        "admin",
        "leak suspected",
    )
    (record,) = [entry.record for entry in await recorded(world) if entry.record.kind == "reduction"]
    assert (record.operator, record.selector, record.reason, record.said) == (
        "admin",
        "service:crm",
        "read-only",
        "leak suspected",
    )


@pytest.mark.parametrize(
    ("selector", "to", "reason", "error"),
    [
        ({}, "paused", "why", InvalidRequest),
        ({"agent": "support-bot", "all": True}, "paused", "why", InvalidRequest),
        ({"all": False}, "paused", "why", InvalidRequest),
        ({"agent": "support-bot"}, "stopped", "why", InvalidRequest),
        ({"agent": "support-bot"}, "paused", "", InvalidRequest),
        ({"agent": "support-bot"}, "paused", "x" * 501, InvalidRequest),
        ({"agent": "supprt-bot"}, "paused", "why", NotFound),
        ({"service": "crn"}, "paused", "why", NotFound),
        ({"service": "crn"}, "none", "why", NotFound),
    ],
)
async def test_what_says_nothing_clear_reduces_nothing(world: World, selector, to, reason, error) -> None:
    with pytest.raises(error):
        await world.broker.reduction.reduce(ReductionSelector(**selector), to, reason, ADMIN)
    world.follow()
    assert world.broker.streams.picture.seq == 0


async def test_an_agent_that_left_the_registry_can_be_restored(world: World) -> None:
    await reduce(world, "none", agent="gone-bot")
    assert world.broker.streams.picture.seq == 1


# What outlives the store (I4: nothing that an operator stopped starts by itself)


def empty(world: World) -> None:
    for name in world.backend.client.keys("ab:*"):
        world.backend.client.delete(name)


async def test_a_reduction_outlives_the_loss_of_the_store(world: World) -> None:
    """TRAPS 21c: after a loss the suspended agent simply asks again."""
    await reduce(world, "paused", agent="support-bot")
    empty(world)
    world.follow()
    world.advance(MERGE_TIME)
    assert isinstance(await refusal(world), UnauthorizedClient)


async def test_a_reduction_outlives_store_and_worker(world: World, neighbour: World) -> None:
    await reduce(world, "paused", agent="support-bot")
    empty(world)
    restarted = World(world.folder, neighbour.backend, clock=world.clock)
    restarted.follow()
    restarted.advance(MERGE_TIME)
    assert isinstance(await refusal(restarted), UnauthorizedClient)


async def test_what_was_lifted_stays_lifted_when_an_old_store_comes_back(world: World) -> None:
    await reduce(world, "paused", agent="support-bot")
    copy = {name: world.backend.client.dump(name) for name in world.backend.client.keys("ab:{feed}:*")}
    await reduce(world, "none", agent="support-bot")
    empty(world)
    for name, value in copy.items():
        world.backend.client.restore(name, 0, value)
    world.follow()
    world.advance(MERGE_TIME)
    assert await refusal(world) is None


async def test_what_was_reduced_after_the_copy_stands_when_an_old_store_comes_back(world: World) -> None:
    copy = {name: world.backend.client.dump(name) for name in world.backend.client.keys("ab:{feed}:*")}
    await reduce(world, "paused", agent="support-bot")
    empty(world)
    for name, value in copy.items():
        world.backend.client.restore(name, 0, value)
    world.follow()
    world.advance(MERGE_TIME)
    assert isinstance(await refusal(world), UnauthorizedClient)


async def test_a_replica_that_returns_brings_what_only_it_knew(world: World, tmp_path: Path, neighbour: World) -> None:
    """Its own folder, so its own journal: what it adds late counts for everybody, and ends what was given meanwhile."""
    elsewhere = tmp_path / "elsewhere"
    await reduce(world, "paused", agent="support-bot")
    memory = Journal(world.folder / "keys" / "journal").read()
    empty(world)
    for name in ("journal", "epoch"):
        (world.folder / "keys" / name).unlink()
    forgetful = World(world.folder, neighbour.backend, clock=world.clock)
    forgetful.follow()
    forgetful.advance(MERGE_TIME)
    issued = await forgetful.issue()
    returning = World(elsewhere, world.backend, clock=world.clock)
    Journal(elsewhere / "keys" / "journal").add(memory.epoch, memory.acts)
    returning.follow()
    assert is_ended(forgetful, issued)
    assert isinstance(await refusal(forgetful), UnauthorizedClient)


async def test_a_journal_that_is_older_than_what_the_store_knows_changes_nothing(world: World, neighbour: World) -> None:
    await reduce(world, "paused", agent="support-bot")
    memory = Journal(world.folder / "keys" / "journal").read()
    await reduce(world, "none", agent="support-bot")
    (world.folder / "keys" / "journal").write_bytes(msgspec.json.encode(memory))
    late = World(world.folder, neighbour.backend, clock=world.clock)
    late.follow()
    assert await refusal(late) is None


async def test_where_nobody_knows_what_stood_everything_is_paused_until_an_operator_lifts_it(
    world: World, neighbour: World, caplog
) -> None:
    """Unknown means no (I5): an epoch is remembered, and neither the store nor the journal says what stood in it."""
    empty(world)
    (world.folder / "keys" / "journal").unlink()
    restarted = World(world.folder, neighbour.backend, clock=world.clock)
    restarted.follow()
    restarted.advance(MERGE_TIME)
    assert (await refusal(restarted)).reason == "paused"
    assert "restore --all" in caplog.text
    (standing,) = restarted.broker.reduction.in_force()
    assert (standing.selector, standing.to, standing.by) == ({"all": True}, "paused", "broker")
    await reduce(restarted, "none", all=True)
    assert await refusal(restarted) is None


async def test_a_store_that_still_knows_needs_no_journal(world: World, neighbour: World) -> None:
    (world.folder / "keys" / "journal").unlink()
    restarted = World(world.folder, neighbour.backend, clock=world.clock)
    restarted.follow()
    assert await refusal(restarted) is None


async def test_a_new_epoch_issues_nothing_until_every_worker_could_add_what_it_knows(own_world: World) -> None:
    assert await refusal(own_world) is None
    empty(own_world)
    own_world.follow()
    refused = await refusal(own_world)
    assert isinstance(refused, Unavailable)
    assert refused.retry_after == 3
    own_world.advance(MERGE_TIME - 500)
    assert isinstance(await refusal(own_world), Unavailable)
    own_world.advance(501)
    assert await refusal(own_world) is None


async def test_an_embedded_store_has_nobody_to_wait_for(tmp_path: Path) -> None:
    backend = fake_backend()
    made = World(tmp_path, backend)
    made.follow()
    empty(made)
    made.follow()
    assert await refusal(made) is None
    await backend.close()


async def test_the_first_epoch_of_all_issues_at_once(world: World) -> None:
    assert await refusal(world) is None


async def test_the_end_of_a_key_is_told_in_every_epoch(world: World) -> None:
    """A stolen key signs any epoch, so verifiers that start later have to hear of it."""
    await world.revoke(key="stolen")
    for _ in range(2):
        world.advance(4_000_000)
        empty(world)
        world.follow()
        assert [(event.kind, event.value) for event in told(world, CRM)] == [("key", "stolen")]


async def test_a_reduction_that_cannot_be_kept_is_not_called_done(world: World, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "add", full)
    with pytest.raises(Stuck, match="the journal cannot be written"):
        await world.broker.reduction.reduce(ReductionSelector(agent="support-bot"), "paused", "a test", ADMIN)


async def test_what_a_worker_could_not_write_down_when_it_heard_it_is_written_later(
    world: World, neighbour: World, monkeypatch, caplog
) -> None:
    await reduce(neighbour, "paused", agent="support-bot")
    (world.folder / "keys" / "journal").unlink()
    write = Journal.add
    monkeypatch.setattr(Journal, "add", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    for _ in range(3):
        world.follow()
    assert caplog.text.count("No space left") == 1
    assert isinstance(await refusal(world), UnauthorizedClient)
    monkeypatch.setattr(Journal, "add", write)
    world.follow()
    assert [act.target for act in Journal(world.folder / "keys" / "journal").read().acts] == ["agent support-bot"]
