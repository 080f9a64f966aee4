"""Suspended, resumed, retired: an agent or one instance of it, at once, whatever becomes of the store."""

import datetime
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from broker.endings import MAX_REASON
from broker.errors import BrokerError, InvalidRequest, NotFound, Retired, Stuck, UnauthorizedClient, Unavailable
from broker.feed.acts import ACTIVE, RETIRED, SUSPENDED
from broker.feed.follower import MERGE_TIME
from broker.feed.journal import Journal
from broker.identity import Presented
from broker.lifecycle import MAX_INSTANCE, Asked, Changed
from broker.registry.records import AgentRecord
from broker.selector import ReductionSelector
from broker.standing import end_of_last_day
from broker.tasks import Declaration
from broker.workload import Workload
from tests.broker.ended import is_ended, status_of, told
from tests.broker.recorded import recorded
from tests.broker.world import ADMIN, BOT, CRM, OTHER, REGISTRY, MovedClock, World, neighbour_of

NAME = "support-bot"
PODS = [f"spiffe://development.test/pod/other-bot/{number}" for number in range(2)]
STOPS = {
    "agent_suspended": (SUSPENDED, None),
    "instance_suspended": (SUSPENDED, BOT),
    "agent_retired": (RETIRED, None),
}
"""Every way to stop an agent, by the reason that it is told."""

stops = pytest.mark.parametrize("reason", STOPS)


async def change(world: World, to: str, name: str = NAME, instance: str | None = None) -> Changed:
    changed = await world.broker.lifecycle.change(Asked(name, instance), to, "a test", ADMIN)
    world.follow()
    return changed


async def stop(world: World, reason: str) -> None:
    to, instance = STOPS[reason]
    await change(world, to, instance=instance)


async def refusal(world: World, **asked) -> str | None:
    """Return the reason for which a token is refused, if it is."""
    try:
        await world.issue(**asked)
    except BrokerError as error:
        return error.reason
    return None


async def declare(world: World, _: str) -> None:
    """Declare a task as the endpoint of tasks does."""
    agent, workload = await world.broker.callers.agent(Presented(world.svid()))
    await world.broker.tasks.open(agent, workload.id, Declaration(type="summarise-ticket"), world.registry)


ATTEMPTS: dict[str, Callable[[World, str], Awaitable[object]]] = {
    "a token in the default task": lambda world, _: world.issue(),
    "a token in a task that was open before": lambda world, task: world.issue(task=task),
    "a token in a task of its own": lambda world, _: world.issue(declaration=Declaration(type="single-ticket")),
    "the same token again": lambda world, _: world.issue(idempotency_key="before"),
    "a task": declare,
}


@stops
@pytest.mark.parametrize("attempt", ATTEMPTS)
async def test_whoever_is_stopped_gets_nothing_by_any_way(world: World, reason: str, attempt: str) -> None:
    task = (await world.declare()).id
    await world.issue(idempotency_key="before")
    await stop(world, reason)
    with pytest.raises(UnauthorizedClient) as refused:
        await ATTEMPTS[attempt](world, task)
    assert refused.value.reason == reason


@stops
async def test_what_is_live_ends_at_once_with_one_event(world: World, reason: str) -> None:
    issued = [await world.issue() for _ in range(3)]
    await stop(world, reason)
    assert all(is_ended(world, each) for each in issued)
    (event,) = told(world, CRM)
    assert (event.above, event.unapproved) == (None, False)
    assert [await status_of(world, each) for each in issued] == ["revoked"] * 3


@stops
async def test_the_leases_are_marked_and_free_their_limits(world: World, reason: str) -> None:
    issued = await world.issue()
    await stop(world, reason)
    await world.broker.settling.settle()
    assert world.backend.client.zcard(f"ab:{{s{issued.lease_id[-2:]}}}:due") == 0


@pytest.mark.parametrize("reason", ["agent_suspended", "instance_suspended"])
async def test_whoever_is_resumed_gets_new_tokens_and_none_of_the_old(world: World, reason: str) -> None:
    """Nothing un-revokes (I4)."""
    old = await world.issue(idempotency_key="before")
    _, instance = STOPS[reason]
    await stop(world, reason)
    await change(world, ACTIVE, instance=instance)
    assert is_ended(world, old)
    with pytest.raises(Unavailable, match="overtook"):
        await world.issue(idempotency_key="before")
    assert not is_ended(world, await world.issue())


@stops
async def test_others_are_not_touched(world: World, reason: str) -> None:
    other = await world.issue(workload=OTHER, declaration=Declaration(type="summarise-ticket"))
    await stop(world, reason)
    assert not is_ended(world, other)
    assert await refusal(world, workload=OTHER, declaration=Declaration(type="summarise-ticket")) is None


async def test_one_bad_instance_does_not_stop_its_fleet(world: World) -> None:
    """TRAPS 25."""
    tasks = [(await world.declare(workload=pod)).id for pod in PODS]
    bad, good = [await world.issue(workload=pod, task=task) for pod, task in zip(PODS, tasks, strict=True)]
    await change(world, SUSPENDED, "other-bot", PODS[0])
    assert is_ended(world, bad)
    assert not is_ended(world, good)
    answers = [await refusal(world, workload=pod, task=task) for pod, task in zip(PODS, tasks, strict=True)]
    assert answers == ["instance_suspended", None]
    await change(world, ACTIVE, "other-bot", PODS[0])
    assert await refusal(world, workload=PODS[0], task=tasks[0]) is None


async def test_to_resume_the_agent_does_not_resume_an_instance_nor_the_other_way_round(world: World) -> None:
    await change(world, SUSPENDED, instance=BOT)
    await change(world, SUSPENDED)
    await change(world, ACTIVE)
    assert await refusal(world) == "instance_suspended"
    await change(world, SUSPENDED)
    await change(world, ACTIVE, instance=BOT)
    assert await refusal(world) == "agent_suspended"


@pytest.mark.parametrize("instance", [None, BOT], ids=["agent", "instance"])
async def test_suspensions_and_reductions_do_not_lift_each_other(world: World, instance: str | None) -> None:
    selector = ReductionSelector(agent=NAME) if instance is None else ReductionSelector(instance=instance)
    suspended = "agent_suspended" if instance is None else "instance_suspended"
    await world.broker.reduction.reduce(selector, "paused", "a test", ADMIN)
    await change(world, SUSPENDED, instance=instance)
    await change(world, ACTIVE, instance=instance)
    assert await refusal(world) == "paused"
    await change(world, SUSPENDED, instance=instance)
    await world.broker.reduction.reduce(selector, "none", "a test", ADMIN)
    world.follow()
    assert await refusal(world) == suspended


async def test_a_suspension_is_no_reduction(world: World) -> None:
    await change(world, SUSPENDED)
    assert world.broker.reduction.in_force() == []


async def test_a_suspension_outlives_its_event(world: World) -> None:
    await change(world, SUSPENDED)
    world.advance(3_700_000)
    await world.revoke(agent="other-bot")
    world.advance(1)
    assert not [event for event in told(world, CRM) if event.value == NAME]
    assert await refusal(world) == "agent_suspended"


async def test_to_do_it_again_says_so_and_is_fine(world: World) -> None:
    assert [(await change(world, to)).was for to in (ACTIVE, SUSPENDED, SUSPENDED, ACTIVE, RETIRED, RETIRED)] == [
        ACTIVE,
        ACTIVE,
        SUSPENDED,
        SUSPENDED,
        ACTIVE,
        RETIRED,
    ]


async def test_an_agent_that_is_stopped_may_still_end_its_tasks(world: World) -> None:
    task = await world.declare()
    await change(world, RETIRED)
    caller = await world.broker.callers.identify(Presented(world.svid()))
    world.broker.callers.check_task(caller, "task:end", task)
    assert (await world.broker.revocation.end_task(task.id, "completed", caller)).status == "completed"


# Instances that are finer than the workload's id


def as_pod(world: World, monkeypatch: pytest.MonkeyPatch, pod: str) -> None:
    """Have every workload prove that it runs in this pod as well."""
    authenticate = type(world.broker.identities).authenticate

    async def in_pod(presented: Presented) -> Workload:
        return (await authenticate(world.broker.identities, presented))._replace(instance=pod)

    monkeypatch.setattr(world.broker.identities, "authenticate", in_pod)


async def test_one_of_many_pods_of_one_workload_is_stopped_alone(world: World, monkeypatch) -> None:
    """TRAPS 25."""
    issued = {}
    for pod in ("pod-1", "pod-2"):
        as_pod(world, monkeypatch, pod)
        issued[pod] = await world.issue()
    await change(world, SUSPENDED, instance="pod-1")
    assert [is_ended(world, issued[pod]) for pod in ("pod-1", "pod-2")] == [True, False]
    assert [await status_of(world, issued[pod]) for pod in ("pod-1", "pod-2")] == ["revoked", "live"]
    assert await refusal(world) is None
    as_pod(world, monkeypatch, "pod-1")
    assert await refusal(world) == "instance_suspended"
    with pytest.raises(UnauthorizedClient):
        await declare(world, "")


async def test_who_held_it_is_kept_with_the_lease_and_recorded(world: World, monkeypatch) -> None:
    as_pod(world, monkeypatch, "pod-1")
    issued = await world.issue()
    lease = await world.broker.leases.find(issued.lease_id, world.broker.streams.picture)
    assert (lease.workload, lease.record.instance) == (BOT, "pod-1")
    (record,) = [entry.record for entry in await recorded(world) if entry.record.kind == "token.issued"]
    assert record.instance == "pod-1"


# The last day


async def test_no_token_lives_beyond_the_end_of_the_agents_last_day(tmp_path: Path, backend) -> None:
    clock = MovedClock(backend.client)
    tomorrow = datetime.datetime.fromtimestamp(clock.now().wall / 1000 + 86_400, tz=datetime.UTC).date()
    world = World(tmp_path, backend, registry=REGISTRY.replace("2099-06-30", str(tomorrow)), clock=clock)
    world.follow()
    midnight = end_of_last_day(world.agent())
    world.advance(midnight - 20_000 - clock.now().wall)
    issued = await world.issue()
    lease = await world.broker.leases.find(issued.lease_id, world.broker.streams.picture)
    assert lease.times.expires * 1000 == midnight
    assert issued.expires_in <= 20
    world.advance(20_000)
    assert await refusal(world) == "agent_ended"


async def test_a_worker_whose_clock_is_late_gives_nothing_after_the_last_day(world: World, monkeypatch) -> None:
    """The store's clock counts (`DESIGN.md` 3.6)."""
    monkeypatch.setattr("broker.issuer.end_of_last_day", lambda _: world.clock.now().wall)
    assert await refusal(world) == "agent_ended"


# Retired is for good


@pytest.mark.parametrize("to", [ACTIVE, SUSPENDED])
async def test_nothing_lifts_a_retirement(world: World, to: str) -> None:
    await change(world, RETIRED)
    with pytest.raises(Retired, match="for good"):
        await change(world, to)
    await world.broker.reduction.reduce(ReductionSelector(agent=NAME), "none", "a test", ADMIN)
    world.follow()
    assert await refusal(world) == "agent_retired"


@pytest.mark.parametrize("to", [ACTIVE, SUSPENDED])
async def test_a_worker_that_has_not_heard_of_it_does_not_lift_it_either(world: World, neighbour: World, to: str) -> None:
    """Two operators at two replicas at the same moment: whoever comes last, it is retired."""
    await change(world, RETIRED)
    with pytest.raises(Retired):
        await neighbour.broker.lifecycle.change(Asked(NAME), to, "a test", ADMIN)
    neighbour.follow()
    assert [await refusal(each) for each in (world, neighbour)] == ["agent_retired"] * 2
    records = [entry.record.kind for entry in await recorded(world) if entry.record.kind.startswith("agent.")]
    assert records == ["agent.retired"]


async def test_a_stuck_resumption_that_a_retirement_overtook_is_given_up(world: World, monkeypatch, caplog) -> None:
    """It must not stand in the way of all that comes after it."""
    await change(world, SUSPENDED)
    append = world.broker.log.append

    async def refuse(*_):
        raise Unavailable("down")

    monkeypatch.setattr(world.broker.log, "append", refuse)
    with pytest.raises(Stuck):
        await change(world, ACTIVE)
    monkeypatch.setattr(world.broker.log, "append", append)
    with monkeypatch.context() as elsewhere:
        # Retired through another replica, which has an outbox of its own.
        elsewhere.setattr(world.broker.endings._outbox, "orders", list)
        await change(world, RETIRED)
    await world.broker.endings.try_again(even_early=True)
    world.follow()
    assert world.broker.endings.stuck() == []
    assert "is given up: it is retired" in caplog.text
    assert await refusal(world) == "agent_retired"


async def test_a_retired_name_stays_so_when_the_registry_names_it_again(world: World) -> None:
    """A name is not used twice; whoever comes after gets another one."""
    await change(world, RETIRED)
    file = world.folder / "registry" / "all.toml"
    file.write_text(file.read_text().replace("First-line support drafting", "Quite another thing"))
    await world.look()
    assert world.agent().record.purpose == "Quite another thing"
    assert await refusal(world) == "agent_retired"


async def test_only_an_agent_as_a_whole_is_retired(world: World) -> None:
    with pytest.raises(InvalidRequest, match="suspend the instance"):
        await change(world, RETIRED, instance=BOT)


# Who can be named


@pytest.mark.parametrize("to", [SUSPENDED, ACTIVE, RETIRED])
async def test_an_agent_of_no_registry_is_not_found(world: World, to: str) -> None:
    with pytest.raises(NotFound, match="no agent 'suport-bot'"):
        await change(world, to, "suport-bot")


@pytest.mark.parametrize("name", [OTHER, PODS[0]])
async def test_an_instance_of_another_agent_is_not_stopped_by_mistake(world: World, name: str) -> None:
    with pytest.raises(InvalidRequest, match="is an instance of other-bot"):
        await change(world, SUSPENDED, instance=name)


@pytest.mark.parametrize("name", ["pod 4711 of a cluster", "spiffe://development.test/pod/new/1", "key-thumbprint"])
async def test_an_instance_that_is_in_no_registry_may_be_stopped(world: World, name: str) -> None:
    """A pod, a run or a key is never in the registry, and whoever stops one may be early."""
    await change(world, SUSPENDED, instance=name)
    assert (await change(world, ACTIVE, instance=name)).was == SUSPENDED


@pytest.mark.parametrize("name", ["", "x" * (MAX_INSTANCE + 1)])
@pytest.mark.parametrize("to", [SUSPENDED, ACTIVE])
async def test_an_instance_has_a_name_of_some_length(world: World, name: str, to: str) -> None:
    with pytest.raises(InvalidRequest, match="characters"):
        await change(world, to, instance=name)


async def test_an_instance_is_resumed_as_whose_it_was_suspended(world: World) -> None:
    await change(world, SUSPENDED, instance="pod-1")
    with pytest.raises(InvalidRequest, match="is an instance of support-bot"):
        await change(world, ACTIVE, "other-bot", "pod-1")


@pytest.mark.parametrize("said", ["", "x" * (MAX_REASON + 1)])
async def test_nobody_is_stopped_without_a_reason(world: World, said: str) -> None:
    with pytest.raises(InvalidRequest, match="say why"):
        await world.broker.lifecycle.change(Asked(NAME), SUSPENDED, said, ADMIN)


async def test_an_agent_that_left_the_registry_can_be_resumed_and_retired_and_is_shown(world: World) -> None:
    await change(world, SUSPENDED, "other-bot")
    await change(world, SUSPENDED, instance="pod-1")
    file = world.folder / "registry" / "all.toml"
    services, _, agents = file.read_text().partition("[agents.")
    file.write_text(services + "[operators." + agents.partition("[operators.")[2])
    await world.look()
    lifecycle, known = world.broker.lifecycle, world.broker.follower.acts
    assert [agent.name for agent in lifecycle.agents(known)] == ["other-bot", NAME]
    assert lifecycle.agent("other-bot", known).record == AgentRecord()
    await change(world, ACTIVE, "other-bot")
    await change(world, RETIRED)
    known = world.broker.follower.acts
    assert [agent.name for agent in lifecycle.agents(known)] == [NAME]
    with pytest.raises(NotFound):
        lifecycle.agent("other-bot", known)


# What is recorded


async def test_who_did_it_and_why_is_recorded(world: World) -> None:
    for to, instance in ((SUSPENDED, BOT), (ACTIVE, BOT), (SUSPENDED, None), (ACTIVE, None), (RETIRED, None)):
        await change(world, to, instance=instance)
    records = [entry.record for entry in await recorded(world) if entry.record.kind.startswith("agent.")]
    assert [(record.kind, record.instance) for record in records] == [
        ("agent.suspended", BOT),
        ("agent.resumed", BOT),
        ("agent.suspended", None),
        ("agent.resumed", None),
        ("agent.retired", None),
    ]
    assert {(record.agent, record.operator, record.said) for record in records} == {(NAME, "admin", "a test")}


async def test_a_refusal_is_recorded_with_its_reason(world: World) -> None:
    await change(world, SUSPENDED)
    assert await refusal(world) == "agent_suspended"
    refused = [entry.record for entry in await recorded(world) if entry.record.kind == "token.refused"]
    assert [(record.agent, record.reason) for record in refused] == [(NAME, "agent_suspended")]


# What is not certain


async def test_a_suspension_that_is_not_confirmed_is_stuck_and_done_later(world: World, monkeypatch) -> None:
    append, issued = world.broker.log.append, await world.issue()

    async def refuse(*_):
        raise Unavailable("down")

    monkeypatch.setattr(world.broker.log, "append", refuse)
    with pytest.raises(Stuck):
        await change(world, SUSPENDED)
    (order,) = world.broker.endings.stuck()
    assert order.what == f"agent.suspended of agent:{NAME}"
    monkeypatch.setattr(world.broker.log, "append", append)
    await world.broker.endings.try_again(even_early=True)
    assert is_ended(world, issued)
    assert await refusal(world) == "agent_suspended"


async def test_what_was_asked_first_is_done_first(world: World, monkeypatch) -> None:
    """A suspension that is stuck must not come after its own resumption."""
    append = world.broker.log.append

    async def refuse(*_):
        raise Unavailable("down")

    with monkeypatch.context() as down:
        down.setattr(world.broker.log, "append", refuse)
        with pytest.raises(Stuck):
            await change(world, SUSPENDED)
    assert world.broker.log.append == append
    await change(world, ACTIVE)
    assert await refusal(world) is None


async def test_a_store_that_is_away_does_not_keep_an_operator_from_asking(own_world: World, redis_server) -> None:
    redis_server.kill()
    with pytest.raises(Stuck):
        await own_world.broker.lifecycle.change(Asked(NAME), SUSPENDED, "a test", ADMIN)
    (order,) = own_world.broker.endings.stuck()
    assert order.what == f"agent.suspended of agent:{NAME}"


async def test_a_worker_that_knows_nothing_fresh_declares_nothing(world: World, impatient) -> None:
    world.clock.advance(2_000)
    with pytest.raises(Unavailable):
        await world.broker.callers.agent(Presented(world.svid()))


# What outlives the store (I4: nothing that an operator stopped starts by itself)


def empty(world: World) -> None:
    for name in world.backend.client.keys("ab:*"):
        world.backend.client.delete(name)


@stops
async def test_the_loss_of_the_store_frees_nobody(world: World, reason: str) -> None:
    """TRAPS 21c: after a loss the suspended agent simply asks again."""
    await stop(world, reason)
    empty(world)
    world.follow()
    world.advance(MERGE_TIME)
    assert await refusal(world) == reason


@stops
async def test_the_loss_of_store_and_workers_frees_nobody(own_world: World, redis_server, reason: str) -> None:
    """The store is killed and comes back empty, every worker is another: what is left is the journal."""
    old = await own_world.issue()
    await stop(own_world, reason)
    redis_server.kill()
    redis_server.start()
    connected = neighbour_of(own_world.backend)
    fresh = World(own_world.folder, connected, clock=own_world.clock)
    fresh.follow()
    fresh.advance(MERGE_TIME)
    assert await refusal(fresh) == reason
    assert is_ended(fresh, old)
    await connected.close()


async def test_a_resumption_outlives_the_store_too(world: World) -> None:
    await change(world, SUSPENDED)
    await change(world, ACTIVE)
    empty(world)
    world.follow()
    world.advance(MERGE_TIME)
    assert await refusal(world) is None


@stops
async def test_every_worker_refuses_whom_one_was_told_to_stop(world: World, neighbour: World, reason: str) -> None:
    issued = await neighbour.issue()
    await stop(world, reason)
    neighbour.follow()
    assert is_ended(neighbour, issued)
    assert await refusal(neighbour) == reason


async def test_a_decision_taken_before_the_suspension_is_not_handed_out_after_it(world: World, neighbour: World) -> None:
    """TRAPS 23: the worker that decides has not heard of it yet, so the token it gives is dead where it matters."""
    await change(world, SUSPENDED)
    late = await neighbour.issue()
    assert is_ended(world, late)


@pytest.mark.parametrize("later", [ACTIVE, SUSPENDED])
async def test_at_a_fork_the_stricter_life_holds(world: World, tmp_path: Path, neighbour: World, later: str) -> None:
    """Two halves of one epoch, each of which gave the same number to another act: nobody can say which came first."""
    await change(world, SUSPENDED)
    before = {name: world.backend.client.dump(name) for name in world.backend.client.keys("ab:{feed}:*")}
    await change(world, RETIRED)
    memory = Journal(world.folder / "keys" / "journal").read()
    empty(world)
    for name, value in before.items():
        world.backend.client.restore(name, 0, value)
    # A replica has the keys, and its own memory.
    shutil.copytree(world.folder, tmp_path / "other half", ignore=shutil.ignore_patterns("journal", "epoch", "outbox"))
    other = World(tmp_path / "other half", neighbour.backend, clock=world.clock)
    other.follow()
    await change(other, later)
    Journal(tmp_path / "other half" / "keys" / "journal").add(memory.epoch, memory.acts)
    empty(other)
    other.follow()
    other.advance(MERGE_TIME)
    assert await refusal(other) == "agent_retired"


@pytest.mark.parametrize("to", [SUSPENDED, RETIRED])
async def test_a_replica_that_returns_brings_what_only_it_knew(world: World, tmp_path: Path, neighbour: World, to: str) -> None:
    await change(world, to)
    memory = Journal(world.folder / "keys" / "journal").read()
    empty(world)
    for name in ("journal", "epoch"):
        (world.folder / "keys" / name).unlink()
    forgetful = World(world.folder, neighbour.backend, clock=world.clock)
    forgetful.follow()
    forgetful.advance(MERGE_TIME)
    issued = await forgetful.issue()
    returning = World(tmp_path / "elsewhere", world.backend, clock=world.clock)
    Journal(tmp_path / "elsewhere" / "keys" / "journal").add(memory.epoch, memory.acts)
    returning.follow()
    assert is_ended(forgetful, issued)
    assert await refusal(forgetful) == f"agent_{to}"


async def test_a_journal_without_lives_is_read_as_before(world: World) -> None:
    """What an earlier version wrote knows neither `life` nor `agent`."""
    await world.broker.reduction.reduce(ReductionSelector(agent=NAME), "paused", "a test", ADMIN)
    path = world.folder / "keys" / "journal"
    assert b'"life"' not in path.read_bytes()
    assert msgspec.json.decode(path.read_bytes())["acts"][0]["event"]["kind"] == "agent"
    assert [act.target for act in Journal(path).read().acts] == [f"agent {NAME}"]
