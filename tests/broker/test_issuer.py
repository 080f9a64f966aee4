"""From a permit to a token, all or nothing: no token without its lease and its record, none that was overtaken."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from broker.errors import InvalidGrant, LimitReached, Unavailable
from broker.exchange import TokenRequest
from broker.feed.event import new_event
from broker.feed.follower import Standpoint
from broker.identity import Presented
from broker.leases import Lease
from broker.policy import Permit, Question
from broker.quotas import quotas_of
from broker.store import feed_key, key, shard_of
from broker.store.shards import SHARDS
from scopes import claims as token_claims
from scopes.claims import TOKEN_TYPE, Claims
from scopes.jose import MAX_TOKEN_BYTES, read
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import revocable
from scopes.scope import Scope
from tests.broker.recorded import kinds_recorded, recorded
from tests.broker.redis_server import RedisServer
from tests.broker.world import BOT, CRM, ISSUER, World, proven

SCOPE = Scope.parse("crm:ticket/4711#read[subject]")


async def permitted(world: World, *, workload: str = BOT) -> Permit:
    """Take the decision that stands before every issue."""
    broker = world.broker
    task = await broker.tasks.find((await world.declare()).id)
    rules = broker.active.rules
    known = proven(workload)
    question = Question(rules.registry.agent_of(known), known, task, SCOPE, rules.registry.entry(SCOPE), 300)
    quotas = quotas_of(question, world.broker.streams.picture.epoch, rules.registry)
    return Permit(question, rules.policy.decide(question), ((),), quotas)


def claims_of(world: World, token: str) -> Claims:
    keys = KeySet.parse(world.broker.keys.token_jwks, algorithms=TOKEN_ALGORITHMS)
    return token_claims.decode(read(token, types=frozenset({TOKEN_TYPE})).verified_payload(keys))[0]


async def leases(world: World) -> list[Lease]:
    """Return every lease the store holds, live or ended."""
    world.follow()
    picture = world.broker.streams.picture
    found = []
    for shard in range(SHARDS):
        for index in ("due", "ended"):
            found += await world.broker.leases.page(shard, (index,), (0, -1), picture)
    return found


async def statuses(world: World) -> list[str]:
    return [lease.status for lease in await leases(world)]


def after(room: Any, method: str, monkeypatch: pytest.MonkeyPatch, then: Callable[[], Any]) -> None:
    """Have something happen right after a collaborator's step, once."""
    step = getattr(room, method)

    async def step_then(*asked: Any, **named: Any) -> Any:
        answer = await step(*asked, **named)
        monkeypatch.setattr(room, method, step)
        happened = then()
        if asyncio.iscoroutine(happened):
            await happened
        return answer

    monkeypatch.setattr(room, method, step_then)


async def test_a_token_says_what_was_permitted_and_no_more(world: World) -> None:
    permit, standpoint = await permitted(world), world.broker.follower.standpoint()
    issued = await world.broker.issuer.issue(permit, standpoint)
    claims, task = claims_of(world, issued.access_token), permit.question.task
    assert (claims.iss, claims.aud, claims.client_id, claims.sub) == (ISSUER, CRM, "support-bot", BOT)
    assert (claims.scope, claims.jti, claims.txn) == (str(SCOPE), issued.lease_id, task.id)
    assert (claims.act, claims.cnf, claims.status) == (None, None, None)
    assert (claims.lease.level, claims.lease.max_staleness, claims.lease.path) == ("read", 30, (task.id,))
    assert (claims.lease.epoch, claims.lease.position) == (standpoint.picture.epoch, standpoint.picture.seq)
    assert claims.nbf == claims.iat
    assert claims.exp - claims.iat == issued.expires_in == 300


async def test_a_token_of_a_child_task_names_the_whole_path_and_who_acts(world: World) -> None:
    pods = [f"spiffe://development.test/pod/other-bot/{number}" for number in (1, 2)]
    root = await world.declare(workload=pods[0])
    child = await world.declare(workload=pods[1], parent=root.id)
    issued = await world.issue(workload=pods[1], task=child.id)
    claims = claims_of(world, issued.access_token)
    assert (claims.txn, claims.lease.path) == (root.id, (root.id, child.id))
    assert claims.sub == pods[0]
    assert claims.act is not None
    assert claims.act.sub == claims.workload == pods[1]
    (lease,) = await leases(world)
    assert (lease.path, lease.workload) == ((root.id, child.id), pods[1])


async def test_a_lease_of_another_workload_than_the_tasks_says_so(world: World) -> None:
    pods = [f"spiffe://development.test/pod/other-bot/{number}" for number in (1, 2)]
    root = await world.declare(workload=pods[0])
    await world.issue(workload=pods[1], task=root.id)
    (lease,) = await leases(world)
    assert lease.workload == pods[1]


async def test_every_token_has_its_lease_and_its_record(world: World) -> None:
    """`DESIGN.md` I2 and J3: the record says who, what, for which task, by which policies, decided where."""
    issued = await world.issue()
    (lease,) = await leases(world)
    record = (await recorded(world))[-1].record
    assert lease.id == record.lease == issued.lease_id
    assert (record.kind, record.agent, record.workload, record.task) == ("token.issued", "support-bot", BOT, issued.task_id)
    assert (record.scope, record.policies) == (issued.scope, ("read-inside-own-environment",))
    assert record.policy_version == world.broker.active.rules.policy.version
    assert (record.epoch, record.position) == (lease.decision_class.epoch, lease.record.position)


async def test_the_position_of_a_token_is_that_of_the_decision_and_not_of_its_issue(world: World) -> None:
    """Order by position (TRAPS 23a): what was committed after the decision has the higher number."""
    permit, standpoint = await permitted(world), world.broker.follower.standpoint()
    await world.revoke(agent="other-bot")
    world.follow()
    issued = await world.broker.issuer.issue(permit, standpoint)
    assert claims_of(world, issued.access_token).lease.position == 0 < world.broker.streams.picture.seq


async def test_a_task_that_ended_meanwhile_gives_no_token(world: World) -> None:
    permit, standpoint = await permitted(world), world.broker.follower.standpoint()
    await world.broker.tasks.begin_end(permit.question.task.id, "completed")
    with pytest.raises(InvalidGrant):
        await world.broker.issuer.issue(permit, standpoint)
    assert await statuses(world) == []


async def test_a_limit_gives_no_token_and_costs_no_undoing(world: World) -> None:
    permit = await permitted(world)
    permit = permit._replace(quotas=tuple(quota._replace(leases=1) for quota in permit.quotas))
    await world.broker.issuer.issue(permit, world.broker.follower.standpoint())
    with pytest.raises(LimitReached):
        await world.broker.issuer.issue(permit, world.broker.follower.standpoint())
    assert await statuses(world) == ["live"]


async def test_a_revocation_that_overtakes_the_request_leaves_no_token(world: World, monkeypatch) -> None:
    """A token decided just before and handed out just after a revocation (TRAPS 23)."""

    async def revoke() -> None:
        await world.revoke(agent="support-bot")
        world.follow()

    after(world.broker.leases, "issue", monkeypatch, revoke)
    with pytest.raises(Unavailable):
        await world.issue()
    assert await statuses(world) == ["undone"]
    assert await world.issue()


async def test_a_revocation_that_this_worker_has_not_heard_of_still_ends_the_token(
    world: World, neighbour: World, monkeypatch
) -> None:
    """A lagging worker can only issue what is already dead (`DESIGN.md` 3.6)."""

    async def revoke_elsewhere() -> None:
        await neighbour.revoke(agent="support-bot")

    after(world.broker.leases, "issue", monkeypatch, revoke_elsewhere)
    issued = await world.issue()
    neighbour.follow()
    claims = claims_of(world, issued.access_token)
    token = revocable(claims, SCOPE, world.broker.keys.token.kid)
    assert neighbour.broker.streams.picture.ended_by(token) is not None


@pytest.mark.parametrize(
    ("kind", "value"), [("agent", "support-bot"), ("all", ""), ("resource", "crm:ticket"), ("instance", BOT), ("key", None)]
)
async def test_whatever_ends_a_token_ends_it_while_it_is_being_issued(world: World, monkeypatch, kind: str, value: str) -> None:
    event = new_event(kind, value if value is not None else world.broker.keys.token.kid, now=world.clock.now().wall)

    async def commit() -> None:
        await world.broker.log.append(world.broker.streams.picture.epoch, [event])
        world.follow()

    after(world.broker.leases, "issue", monkeypatch, commit)
    with pytest.raises(Unavailable):
        await world.issue()
    assert await statuses(world) == ["undone"]


async def test_when_the_key_that_signs_tokens_is_revoked_nothing_is_written_any_more(world: World) -> None:
    """No verifier would take what it signs, at whatever position (TRAPS 6)."""
    await world.revoke(key=world.broker.keys.token.kid)
    world.follow()
    with pytest.raises(Unavailable):
        await world.issue()
    assert await statuses(world) == []


async def test_a_revocation_of_something_else_holds_nobody_up(world: World, monkeypatch) -> None:
    async def revoke() -> None:
        await world.revoke(agent="other-bot")
        world.follow()

    after(world.broker.leases, "issue", monkeypatch, revoke)
    assert await world.issue()


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_stops_hearing_from_the_store_hands_out_nothing(world: World, monkeypatch) -> None:
    after(world.broker.leases, "issue", monkeypatch, lambda: world.clock.advance(1_001))
    with pytest.raises(Unavailable):
        await world.issue()
    assert await statuses(world) == ["undone"]


@pytest.mark.usefixtures("impatient")
async def test_a_worker_whose_picture_is_older_than_a_second_writes_no_lease(world: World) -> None:
    assertion = world.svid()
    world.clock.advance(1_001)
    with pytest.raises(Unavailable) as refused:
        await world.broker.exchange(TokenRequest(Presented(assertion), SCOPE))
    assert refused.value.retry_after == 1
    assert await statuses(world) == []


async def test_a_new_epoch_that_begins_while_the_lease_is_written_leaves_no_token(world: World, monkeypatch) -> None:
    """Tokens of any epoch but the current one are void (`DESIGN.md` I4)."""

    def lose_the_feed() -> None:
        world.backend.client.delete(*(feed_key(part) for part in ("epoch", "log", "live", "ends")))
        world.follow()

    after(world.broker.leases, "issue", monkeypatch, lose_the_feed)
    with pytest.raises(Unavailable):
        await world.issue()
    assert "live" not in await statuses(world)


async def test_a_lease_written_in_another_life_of_the_store_leaves_no_token(world: World, monkeypatch) -> None:
    """The follower has not noticed yet, and the connection that wrote the lease has (TRAPS 21a)."""
    shared = world.backend.stores.shared
    other = property(lambda _: "another life")
    after(world.broker.leases, "issue", monkeypatch, lambda: monkeypatch.setattr(type(shared), "run_id", other))
    with pytest.raises(Unavailable):
        await world.issue()
    assert await statuses(world) == ["undone"]


async def test_a_decision_taken_in_no_known_life_of_the_store_leaves_no_token(world: World) -> None:
    permit, standpoint = await permitted(world), world.broker.follower.standpoint()
    with pytest.raises(Unavailable):
        await world.broker.issuer.issue(permit, Standpoint(standpoint.picture, {}, "", standpoint.configuration))
    assert await statuses(world) == ["undone"]


def losing(run: Callable[..., Any], name: str, *, at: str) -> Callable[..., Any]:
    """Run a script of this name and lose its answer, or lose it on its way there."""

    async def run_and_lose(script: Any, *asked: Any) -> Any:
        if script.name != name:
            return await run(script, *asked)
        if at == "the answer":
            await run(script, *asked)
        raise Unavailable("lost")

    return run_and_lose


@pytest.mark.parametrize("at", ["the answer", "the request"])
async def test_a_lost_answer_of_the_issuing_script_gives_no_token_and_undoes_the_lease(
    world: World, monkeypatch, at: str
) -> None:
    """An unknown outcome is answered 503, never signed, and the lease undone (TRAPS 21b)."""
    shared = world.backend.stores.shared
    with monkeypatch.context() as lossy:
        lossy.setattr(shared, "run", losing(shared.run, "issue", at=at))
        with pytest.raises(Unavailable):
            await world.issue()
    assert await statuses(world) == (["undone"] if at == "the answer" else [])
    assert await world.broker.leases.count_live(world.broker.streams.picture.epoch, "support-bot") == 0


async def test_a_lease_that_could_not_be_undone_is_undone_when_the_store_answers_again(world: World, monkeypatch) -> None:
    shared, issuer = world.backend.stores.shared, world.broker.issuer
    with monkeypatch.context() as away:
        away.setattr(shared, "run", losing(losing(shared.run, "issue", at="the answer"), "end", at="the request"))
        with pytest.raises(Unavailable):
            await world.issue()
        with pytest.raises(Unavailable):
            await issuer.finish_undoing()
    assert await statuses(world) == ["live"]
    await issuer.finish_undoing()
    await issuer.finish_undoing()
    assert await statuses(world) == ["undone"]


async def test_two_that_finish_undoing_at_once_finish_it(world: World, monkeypatch) -> None:
    shared, issuer = world.backend.stores.shared, world.broker.issuer
    with monkeypatch.context() as away:
        away.setattr(shared, "run", losing(losing(shared.run, "issue", at="the answer"), "end", at="the request"))
        for _ in range(3):
            with pytest.raises(Unavailable):
                await world.issue()
    await asyncio.gather(*(issuer.finish_undoing() for _ in range(5)))
    assert await statuses(world) == ["undone"] * 3


async def test_a_caller_that_hangs_up_leaves_no_lease_behind(world: World, monkeypatch) -> None:
    """Its limit would be used up by a token that nobody has (TRAPS 15)."""
    written, never = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        written.set()
        await never.wait()

    after(world.broker.leases, "issue", monkeypatch, wait)
    asked = asyncio.create_task(world.issue())
    await written.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await statuses(world) == ["undone"]


async def test_an_error_nobody_foresaw_leaves_no_lease_behind(world: World, monkeypatch) -> None:
    def fail() -> None:
        raise RuntimeError

    after(world.broker.leases, "issue", monkeypatch, fail)
    with pytest.raises(RuntimeError):
        await world.issue()
    assert await statuses(world) == ["undone"]


async def test_a_token_that_no_verifier_would_take_is_not_handed_out(world: World) -> None:
    """What leaves is read back first: here it would live longer than any token may."""
    permit = await permitted(world)
    long = permit._replace(question=permit.question._replace(ttl=3_601))
    world.backend.client.hset(
        key(shard_of("support-bot"), "task", permit.question.task.id), "ends", world.clock.now().wall + 7_200_000
    )
    with pytest.raises(Unavailable):
        await world.broker.issuer.issue(long, world.broker.follower.standpoint())
    assert await statuses(world) == ["undone"]


async def test_a_token_longer_than_verifiers_take_is_not_handed_out(world: World) -> None:
    permit = await permitted(world)
    task = msgspec.structs.replace(permit.question.task, subject="spiffe://development.test/" + "x" * MAX_TOKEN_BYTES)
    with pytest.raises(Unavailable):
        await world.broker.issuer.issue(
            permit._replace(question=permit.question._replace(task=task)), world.broker.follower.standpoint()
        )
    assert await statuses(world) == ["undone"]


async def test_a_store_that_is_away_gives_no_token_and_leaves_nothing(own_world: World, redis_server: RedisServer) -> None:
    """Never a token, never a fall-back to memory (TRAPS 20)."""
    permit, standpoint = await permitted(own_world), own_world.broker.follower.standpoint()
    redis_server.kill()
    with pytest.raises(Unavailable):
        await own_world.broker.issuer.issue(permit, standpoint)


@pytest.mark.usefixtures("impatient")
async def test_what_was_undone_is_in_the_audit_as_issued_and_in_the_store_as_undone(world: World, monkeypatch) -> None:
    """The record was written with the lease; that its token never left is what the lease then says."""
    after(world.broker.leases, "issue", monkeypatch, lambda: world.clock.advance(1_001))
    with pytest.raises(Unavailable):
        await world.issue()
    assert (await kinds_recorded(world))[:2] == ["task.opened", "token.issued"]
