"""A configuration comes into force as a whole, for every worker at once, or not at all (`DESIGN.md` 3.17, TRAPS 15c)."""

import asyncio
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from broker import policy
from broker.active import bundle as bundles
from broker.active.bundle import BUNDLE_TYPE
from broker.active.sources import Sources, validated
from broker.errors import BrokerError, ConfigurationError, Conflict, Unavailable
from broker.feed.activated import Activated
from broker.feed.log import ACTIVE
from broker.identity import Presented
from broker.issuer import Issued
from scopes import jose
from tests.broker.recorded import recorded
from tests.broker.world import ADMIN, BOT, OTHER, REGISTRY, Backend, World, neighbour_of
from tests.scopes.tokens import new_key

FORBID = '@id("nothing-goes") forbid (principal is Agent, action, resource is Record);'
BROKEN_TOML = "[agents.support-bot\n"


def write(world: World, name: str, text: str) -> None:
    (world.folder / name).write_text(text)


def forbid(world: World) -> None:
    """Have the files say that nothing is given any more."""
    write(world, "policies/forbid.cedar", FORBID)


def sources(world: World, **policies: str) -> Sources:
    """Return what an operator sends: the files of the folder, and more policies by name."""
    texts = {path.name: path.read_text() for path in (world.folder / "registry").glob("*.toml")}
    sent = {path.name: path.read_text() for path in (world.folder / "policies").glob("*.cedar")}
    return Sources(texts, {**sent, **{f"{name}.cedar": text for name, text in policies.items()}})


async def activate(world: World, *, is_tried: bool = False, **policies: str):
    return await world.broker.activation.activate(sources(world, **policies), "a test", ADMIN, is_tried=is_tried)


async def reason(world: World, workload: str = BOT) -> str:
    """Return why a request for a token is refused; empty where it is not."""
    try:
        await world.issue(workload=workload)
    except BrokerError as error:
        return error.reason
    return ""


async def until(condition: Callable[[], bool]) -> None:
    """Let others go on until the condition is true."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen in time")


async def recorded_of(world: World, kind: str) -> list[tuple[str | None, str | None, str | None]]:
    """Return version, previous version and operator of the records of a kind."""
    found = [entry.record for entry in await recorded(world) if entry.record.kind == kind]
    return [(record.policy_version, record.previous, record.operator) for record in found]


def digest(world: World) -> str:
    return world.broker.adoption.digest


# What changes while brokers run


async def test_a_change_of_files_comes_into_force_for_every_worker(world: World, neighbour: World) -> None:
    before = digest(world)
    forbid(world)
    await world.look()
    neighbour.follow()
    for worker in (world, neighbour):
        assert await reason(worker) == "forbidden"
        assert worker.broker.adoption.in_force == world.broker.adoption.in_force
    assert await recorded_of(world, "configuration.activated") == [(digest(world), before, None)]
    assert digest(world) != before


async def test_a_file_that_is_still_being_written_is_left_alone(world: World) -> None:
    """What changes from look to look is half of something."""
    before = digest(world)
    for half in (BROKEN_TOML, FORBID[:20], FORBID):
        write(world, "policies/forbid.cedar", half)
        await world.look(1)
        assert (digest(world), world.broker.activation.file_problems) == (before, ())
    await world.look(1)
    assert await reason(world) == "forbidden"


async def test_a_file_that_changes_while_it_is_read_is_read_at_a_later_look(world: World, monkeypatch) -> None:
    before, own = digest(world), world.broker.configuration.own
    found = own._found

    def read_while_it_is_written():
        monkeypatch.undo()
        read = found()
        forbid(world)
        return read

    write(world, "policies/forbid.cedar", "// nothing\n")
    await world.look(1)
    monkeypatch.setattr(own, "_found", read_while_it_is_written)
    await world.look(1)
    assert digest(world) == before
    await world.look()
    assert await reason(world) == "forbidden"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("registry/more.toml", BROKEN_TOML, id="broken TOML"),
        pytest.param("registry/more.toml", '[agents.x]\ntasks = ["nothing"]\n', id="a record that names nothing"),
        pytest.param(
            "registry/more.toml", f"[agents.x]\nworkloads = [{{ spiffe = '{BOT}' }}]\n", id="two agents of a workload"
        ),
        pytest.param("policies/more.cedar", "permit (principal", id="broken Cedar"),
        pytest.param(
            "policies/more.cedar", '@id("x") permit (principal is Nobody, action, resource);', id="outside the schema"
        ),
        pytest.param("policies/more.cedar", "permit (principal, action, resource);", id="a policy without id"),
    ],
)
async def test_broken_files_change_nothing_and_say_so_until_they_are_mended(world: World, name: str, text: str) -> None:
    before = digest(world)
    write(world, name, text)
    await world.look(3)
    assert (digest(world), await reason(world)) == (before, "")
    assert world.broker.activation.file_problems
    assert "broken" in world.broker.activation.notice
    assert await recorded_of(world, "configuration.rejected") == [(before, None, None)]
    (world.folder / name).unlink()
    forbid(world)
    await world.look()
    assert await reason(world) == "forbidden"
    assert world.broker.activation.notice == ""


@pytest.mark.parametrize("folder", ["registry", "policies"])
@pytest.mark.parametrize("gone", [True, False], ids=["a folder that is gone", "an empty folder"])
async def test_without_files_what_is_in_force_stays(world: World, folder: str, gone: bool) -> None:
    """Empty means no, and not nothing."""
    before, aside = digest(world), world.folder / "aside"
    (world.folder / folder).rename(aside)
    if not gone:
        (world.folder / folder).mkdir()
    await world.look()
    assert (digest(world), await reason(world)) == (before, "")
    assert "here" in world.broker.activation.file_problems[0]
    shutil.rmtree(world.folder / folder, ignore_errors=True)
    aside.rename(world.folder / folder)
    await world.look()
    assert world.broker.activation.notice == ""


async def test_files_broken_again_are_said_again(world: World) -> None:
    for number in range(2):
        write(world, "registry/more.toml", f"{number} {BROKEN_TOML}")
        await world.look()
    assert len(await recorded_of(world, "configuration.rejected")) == 2


async def test_workers_that_share_a_folder_put_it_into_force_and_reject_it_once(world: World, neighbour: World) -> None:
    for name, text in (("policies/forbid.cedar", FORBID), ("policies/more.cedar", "permit")):
        write(world, name, text)
        for _ in range(3):
            for worker in (world, neighbour):
                await worker.look(1)
    assert len(await recorded_of(world, "configuration.activated")) == 1
    assert len(await recorded_of(world, "configuration.rejected")) == 1
    assert digest(world) == digest(neighbour)


async def test_a_worker_that_has_just_heard_of_the_same_change_does_not_make_it_again(world: World, neighbour: World) -> None:
    """It has heard what came into force, and has not built it yet, when it sees the same files."""
    forbid(world)
    await world.look()
    neighbour.broker.follower.catch_up()
    for _ in range(2):
        await neighbour.broker.activation.look()
    assert neighbour.broker.activation.notice == ""
    assert len(await recorded_of(world, "configuration.activated")) == 1


async def test_a_change_that_is_coming_into_force_is_looked_at_again(world: World, neighbour: World, monkeypatch) -> None:
    """Between hearing of it and being told what to build, another thread is at work."""
    forbid(world)
    await world.look()
    follower, adoption = neighbour.broker.follower, neighbour.broker.adoption
    monkeypatch.setattr(adoption, "heard", lambda activated: None)
    follower.catch_up()
    for _ in range(3):
        await neighbour.broker.activation.look()
    assert len(await recorded_of(world, "configuration.activated")) == 1
    monkeypatch.undo()
    adoption.heard(follower.activated)
    await neighbour.broker.activation.look()
    assert adoption.in_force == world.broker.adoption.in_force
    assert len(await recorded_of(world, "configuration.activated")) == 1


async def test_files_that_are_only_touched_change_nothing_and_bring_nothing_back(world: World) -> None:
    """A replica whose folder lags behind must not undo what the others do: they would take turns for ever."""
    await activate(world, extra=FORBID)
    world.follow()
    in_force = digest(world)
    os.utime(world.folder / "policies" / "agents.cedar", (1, 1))
    await world.look()
    assert digest(world) == in_force
    assert "differ" in world.broker.activation.notice


async def test_a_change_that_the_store_did_not_take_is_made_when_it_answers(world: World, monkeypatch) -> None:
    log = world.broker.log

    async def lost(*_, **__):
        raise Unavailable("lost")

    forbid(world)
    await world.look(1)
    with monkeypatch.context() as patched:
        patched.setattr(log, "activate", lost)
        with pytest.raises(Unavailable):
            await world.look(1)
    await world.look(1)
    assert await reason(world) == "forbidden"


async def test_a_removed_agent_gets_nothing_and_a_removed_operator_signs_nobody_in(world: World, neighbour: World) -> None:
    registry = world.folder / "registry" / "all.toml"
    text = registry.read_text()
    assertion = world.operator_assertion("watcher")
    kept = text.replace("[agents.other-bot]", "[agents.another-bot]").replace("other-bot", "yet-another-bot")
    registry.write_text(kept.replace("[operators.watcher]", "[operators.wanda]"))
    await world.look()
    neighbour.follow()
    for worker in (world, neighbour):
        assert await reason(worker, OTHER) == "unauthorized_client"
        with pytest.raises(BrokerError) as refused:
            await worker.broker.operators.authenticate(assertion)
        assert refused.value.code == "invalid_client"


# What an operator sends


async def test_what_an_operator_sends_is_in_force_when_the_answer_comes(world: World, neighbour: World) -> None:
    before = digest(world)
    done = await activate(world, extra=FORBID)
    assert (done.is_new, done.changes) == (True, [("policy", "nothing-goes", "added")])
    # The neighbour has heard nothing yet, and what it decides is refused by the store.
    assert (digest(neighbour), await reason(neighbour)) == (before, "configuration_pending")
    for worker in (world, neighbour):
        worker.follow()
        assert (digest(worker), await reason(worker)) == (done.digest, "forbidden")
    assert await recorded_of(world, "configuration.activated") == [(done.digest, before, "admin")]


async def test_to_try_changes_nothing_and_says_what_would(world: World) -> None:
    before = digest(world)
    (world.folder / "registry" / "all.toml").write_text(
        (world.folder / "registry" / "all.toml").read_text().replace("joe@", "jim@")
    )
    (world.folder / "policies" / "agents.cedar").write_text(FORBID)
    done = await activate(world, is_tried=True)
    assert (done.place, done.is_new) == (None, True)
    world.follow()
    assert digest(world) == before
    agents = (Path(policy.__file__).parent / "starter" / "agents.cedar").read_text()
    removed = [("policy", id, "removed") for id in re.findall(r'@id\("([a-z-]+)"\)', agents)]
    assert sorted(done.changes) == sorted([("agent", "other-bot", "changed"), ("policy", "nothing-goes", "added"), *removed])


async def test_what_is_in_force_already_comes_into_force_once(world: World) -> None:
    first = await activate(world, extra=FORBID)
    world.follow()
    again = await activate(world, extra=FORBID)
    assert (again.is_new, again.place, again.digest) == (False, first.place, first.digest)
    assert len(await recorded_of(world, "configuration.activated")) == 1


@pytest.mark.parametrize("said", ["", "x" * 501])
async def test_an_operator_says_why(world: World, said: str) -> None:
    with pytest.raises(BrokerError) as refused:
        await world.broker.activation.activate(sources(world), said, ADMIN, is_tried=False)
    assert refused.value.code == "invalid_request"


async def test_what_cannot_be_used_is_refused_with_every_problem(world: World) -> None:
    before = digest(world)
    with pytest.raises(ConfigurationError) as refused:
        await activate(world, one="permit (principal, action, resource);")
    assert refused.value.problems == ['policies/one.cedar: a policy has no @id("…")']
    world.follow()
    assert digest(world) == before


async def test_of_two_at_once_one_comes_into_force_and_the_other_is_told(world: World, neighbour: World) -> None:
    """Compare and set: what was made from the same past does not come one over the other."""
    answers = await asyncio.gather(
        activate(world, a='@id("a") forbid (principal is Agent, action, resource is Record);'),
        activate(neighbour, b='@id("b") forbid (principal is Agent, action, resource is Record);'),
        return_exceptions=True,
    )
    (done,) = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert [type(answer) for answer in answers if isinstance(answer, BaseException)] == [Conflict]
    for worker in (world, neighbour):
        worker.follow()
        assert digest(worker) == done.digest
    assert len(await recorded_of(world, "configuration.activated")) == 1


async def test_an_activation_committed_twice_is_made_once(repeating_world: World) -> None:
    """A script whose answer was lost may have run (TRAPS 21b)."""
    world = repeating_world
    done = await activate(world, extra=FORBID)
    world.follow()
    assert (digest(world), world.broker.streams.picture.seq) == (done.digest, 1)


async def test_an_activation_whose_answer_was_lost_is_recorded_once_it_is_known(world: World, monkeypatch) -> None:
    store, run = world.backend.stores.shared, world.backend.stores.shared.run

    async def run_and_lose(script, *asked):
        answer = await run(script, *asked)
        if script.name == "activate":
            raise Unavailable("lost")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(store, "run", run_and_lose)
        with pytest.raises(Unavailable):
            await activate(world, extra=FORBID)
    await world.broker.activation.record_owed()
    assert await recorded_of(world, "configuration.activated") == []
    world.follow()
    for _ in range(2):
        await world.broker.activation.record_owed()
    assert [version for version, _, _ in await recorded_of(world, "configuration.activated")] == [digest(world)]


async def test_a_record_that_is_being_written_is_written_by_nobody_else(world: World, monkeypatch) -> None:
    activation, keep = world.broker.activation, world.broker.adoption.keep

    def keep_while_the_job_comes_by(activated: Activated) -> None:
        keep(activated)
        world.follow()
        asyncio.run_coroutine_threadsafe(activation.record_owed(), loop).result(10)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(world.broker.adoption, "keep", keep_while_the_job_comes_by)
    await activate(world, extra=FORBID)
    assert len(await recorded_of(world, "configuration.activated")) == 1


async def test_a_record_that_could_not_be_written_is_owed(world: World, monkeypatch) -> None:
    async def lost(*_):
        raise Unavailable("lost")

    with monkeypatch.context() as patched:
        patched.setattr(world.broker.audit, "append_encoded", lost)
        with pytest.raises(Unavailable):
            await activate(world, extra=FORBID)
    world.follow()
    await world.broker.activation.record_owed()
    assert len(await recorded_of(world, "configuration.activated")) == 1


async def test_where_it_cannot_be_kept_on_disk_nobody_is_told_that_it_is_done(world: World, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "no space left")

    monkeypatch.setattr("broker.durable_file.write", full)
    with pytest.raises(Unavailable, match="no space left"):
        await activate(world, extra=FORBID)
    world.follow()
    assert await reason(world) == "forbidden"


async def test_an_epoch_that_ends_meanwhile_is_told(world: World) -> None:
    world.backend.client.hset("ab:{feed}:epoch", "id", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
    with pytest.raises(Unavailable, match="nothing was committed"):
        await activate(world, extra=FORBID)


# Between hearing and swapping


async def test_a_worker_that_has_heard_and_not_swapped_issues_nothing(world: World, neighbour: World) -> None:
    await activate(world, extra='@id("more") permit (principal is Agent, action in Action::"draft", resource is Record);')
    neighbour.broker.adoption._at_hand = {}
    neighbour.broker.follower.catch_up()
    assert await reason(neighbour) == "configuration_pending"
    neighbour.broker.adoption.step()
    assert await reason(neighbour) == ""


@pytest.mark.parametrize("way", ["a token", "an agent's request", "an operator's request"])
async def test_who_was_authenticated_by_another_configuration_is_nobody(world: World, monkeypatch, way: str) -> None:
    """A name whose key was replaced is somebody else, so one configuration says who calls, and decides."""
    broker = world.broker
    room = broker.operators if way.startswith("an operator") else broker.identities
    authenticate = room.authenticate

    async def activated_meanwhile(presented):
        known = await authenticate(presented)
        await activate(world, extra='@id("more") permit (principal is Agent, action in Action::"draft", resource is Record);')
        world.follow()
        return known

    monkeypatch.setattr(room, "authenticate", activated_meanwhile)
    asked = {
        "a token": world.issue,
        "an agent's request": lambda: broker.callers.agent(Presented(world.svid())),
        "an operator's request": lambda: broker.callers.operator(Presented(world.operator_assertion()), "watch"),
    }
    with pytest.raises(Unavailable) as refused:
        await asked[way]()
    assert refused.value.reason == "configuration_pending"


async def test_what_is_heard_while_another_is_built_is_what_comes_into_force(
    world: World, neighbour: World, monkeypatch
) -> None:
    adoption, validate = neighbour.broker.adoption, bundles.Bundle.validated

    def validated_slowly(bundle: bundles.Bundle, objections):
        monkeypatch.undo()
        content = validate(bundle, objections)
        world.broker.adoption.step()
        asyncio.run_coroutine_threadsafe(activate(world, second=FORBID), loop).result(10)
        neighbour.broker.follower.catch_up()
        return content

    loop = asyncio.get_running_loop()
    await activate(world, first='@id("first") forbid (principal is Agent, action, resource is Record);')
    world.follow()
    monkeypatch.setattr(bundles.Bundle, "validated", validated_slowly)
    await asyncio.to_thread(neighbour.follow)
    world.follow()
    assert adoption.in_force == world.broker.adoption.in_force
    assert digest(neighbour) == digest(world)


async def test_what_was_decided_before_is_not_handed_out_after(world: World, neighbour: World, monkeypatch) -> None:
    """A replica that issues under the old policy after the sweep of the new one (TRAPS 15c)."""
    issuer = world.broker.issuer
    issue = issuer.issue

    async def activated_meanwhile(*decided, **options) -> Issued:
        await activate(neighbour, extra=FORBID)
        world.follow()
        return await issue(*decided, **options)

    monkeypatch.setattr(issuer, "issue", activated_meanwhile)
    assert await reason(world) == "configuration_pending"
    leases = world.broker.leases
    assert await leases.count_live(world.broker.streams.picture.epoch) == 0


async def test_a_lease_that_was_written_just_before_is_not_handed_out_either(
    world: World, neighbour: World, monkeypatch
) -> None:
    leases, write_lease = world.broker.leases, world.broker.leases.issue

    async def activated_after(lease):
        written = await write_lease(lease)
        await activate(neighbour, extra=FORBID)
        world.follow()
        return written

    monkeypatch.setattr(leases, "issue", activated_after)
    assert await reason(world) == "configuration_pending"


async def test_under_load_each_request_is_decided_by_one_configuration_and_after_the_answer_by_the_new(
    world: World, neighbour: World
) -> None:
    old, answered, stop = digest(world), asyncio.Event(), asyncio.Event()
    versions: list[tuple[bool, str]] = []

    async def ask(worker: World) -> None:
        while not stop.is_set():
            began_after = answered.is_set()
            known = await reason(worker)
            assert known in ("", "configuration_pending", "forbidden")
            versions.append((began_after, known))
            await asyncio.sleep(0)

    async def follow() -> None:
        while not stop.is_set():
            for worker in (world, neighbour):
                await asyncio.to_thread(worker.follow)

    running = [asyncio.create_task(ask(worker)) for worker in (world, neighbour) for _ in range(4)]
    running.append(asyncio.create_task(follow()))
    try:
        await until(lambda: (False, "") in versions)
        done = await activate(world, extra=FORBID)
        answered.set()
        await until(lambda: (True, "forbidden") in versions)
    finally:
        stop.set()
        await asyncio.gather(*running)
    assert "" not in {known for began_after, known in versions if began_after}
    records = [entry for entry in await recorded(world) if entry.record.kind in ("token.issued", "token.refused")]
    assert {entry.record.policy_version for entry in records} == {old, done.digest}
    assert {entry.record.policy_version for entry in records if entry.record.kind == "token.issued"} == {old}


# Starting


async def test_a_worker_that_starts_works_by_what_is_in_force_and_says_that_its_files_differ(
    world: World, backend: Backend, tmp_path: Path
) -> None:
    connected = neighbour_of(backend)
    registry = REGISTRY.replace("joe@", "jim@")
    other = World(tmp_path / "other", connected, clock=world.clock, registry=registry)
    shutil.copytree(world.folder / "keys", other.folder / "keys", dirs_exist_ok=True)
    other = World(tmp_path / "other", connected, clock=world.clock, registry=registry)
    other.follow()
    await other.look()
    assert digest(other) == digest(world)
    assert other.registry.agent("other-bot").record.owner == "joe@example.com"
    assert "broker activate" in other.broker.activation.notice
    await connected.close()


async def test_workers_that_start_at_once_agree_on_one(tmp_path: Path, backend: Backend) -> None:
    connected = neighbour_of(backend)
    first = World(tmp_path / "one", backend)
    second = World(tmp_path / "two", connected, clock=first.clock, registry=REGISTRY.replace("joe@", "jim@"))
    shutil.copytree(first.folder / "keys", second.folder / "keys", dirs_exist_ok=True)
    second = World(tmp_path / "two", connected, clock=first.clock)
    await asyncio.gather(*(asyncio.to_thread(worker.follow) for worker in (first, second)))
    assert first.broker.adoption.in_force == second.broker.adoption.in_force != ""
    assert digest(first) == digest(second)
    await connected.close()


async def test_a_worker_that_starts_anew_over_broken_files_works_by_what_is_in_force(world: World, backend: Backend) -> None:
    """A worker that died must be able to come back while somebody edits."""
    write(world, "registry/more.toml", BROKEN_TOML)
    connected = neighbour_of(backend)
    anew = World(world.folder, connected, clock=world.clock, may_differ=True)
    assert await reason(anew) in ("configuration_pending", "temporarily_unavailable")
    anew.follow()
    assert (digest(anew), await reason(anew)) == (digest(world), "")
    assert "broken" in anew.broker.activation.notice
    await connected.close()


async def test_without_anything_in_force_and_with_broken_files_nothing_is_issued(tmp_path: Path, backend: Backend) -> None:
    World(tmp_path, backend)
    (tmp_path / "registry" / "more.toml").write_text(BROKEN_TOML)
    alone = World(tmp_path, backend, may_differ=True)
    for _ in range(2):
        alone.follow()
        assert await reason(alone) == "configuration_pending"
    (tmp_path / "registry" / "more.toml").unlink()
    await alone.look()
    assert await reason(alone) == ""


# The store


def empty(world: World) -> None:
    for name in world.backend.client.keys("ab:*"):
        world.backend.client.delete(name)


async def test_what_was_in_force_is_in_force_again_when_the_store_was_lost(world: World, neighbour: World) -> None:
    done = await activate(world, extra=FORBID)
    for worker in (world, neighbour):
        worker.follow()
    empty(world)
    for worker in (neighbour, world):
        worker.follow()
        assert (digest(worker), await reason(worker)) == (done.digest, "forbidden")


async def test_a_replica_that_starts_on_an_empty_store_gives_way_to_what_others_know(
    world: World, backend: Backend, tmp_path: Path
) -> None:
    done = await activate(world, extra=FORBID)
    world.follow()
    empty(world)
    connected = neighbour_of(backend)
    shutil.copytree(world.folder / "keys", tmp_path / "new" / "keys")
    (tmp_path / "new" / "keys" / "configuration").unlink()
    newcomer = World(tmp_path / "new", connected, clock=world.clock)
    newcomer.follow()
    assert await reason(newcomer) == ""
    world.follow()
    newcomer.follow()
    for worker in (world, newcomer):
        assert (digest(worker), await reason(worker)) == (done.digest, "forbidden")
    await connected.close()


async def test_what_is_kept_beside_the_keys_outlives_store_and_workers(world: World, backend: Backend) -> None:
    done = await activate(world, extra=FORBID)
    world.follow()
    empty(world)
    connected = neighbour_of(backend)
    anew = World(world.folder, connected, clock=world.clock)
    anew.follow()
    # An embedded broker begins with its files: it has one folder, and nobody to agree with.
    assert (digest(anew) == done.digest) is not backend.stores.follower.is_embedded
    await connected.close()


@pytest.mark.parametrize("kept", [b"{}", b"not JSON", b'{"id":"evt_1","origin":"","digest":"d","text":"a.b.c"}'])
async def test_what_nobody_signed_beside_the_keys_is_left_aside(world: World, backend: Backend, kept: bytes) -> None:
    (world.folder / "keys" / "configuration").write_bytes(kept)
    connected = neighbour_of(backend)
    anew = World(world.folder, connected, clock=world.clock)
    anew.follow()
    assert (digest(anew), await reason(anew)) == (digest(world), "")
    await connected.close()


# Somebody writes to the store


def stored(world: World) -> Activated:
    kept = world.backend.client.hgetall(ACTIVE)
    return msgspec.convert({name.decode(): value.decode() for name, value in kept.items()}, Activated, strict=False)


def put(world: World, activated: Activated) -> None:
    """Write a record past the broker, with an event that tells of it."""
    client = world.backend.client
    client.hset(ACTIVE, mapping=msgspec.to_builtins(activated))
    seq = int(client.hget("ab:{feed}:epoch", "seq")) + 1
    event = msgspec.json.encode({"id": activated.id, "kind": "configuration", "until": 2**53, "value": activated.digest})
    client.xadd("ab:{feed}:log", {"id": activated.id, "event": event, "time": 0}, id=f"{seq}-0")
    client.hset("ab:{feed}:epoch", mapping={"seq": seq, "head": activated.id})


def forged(world: World, how: str) -> Activated:
    """Return a record that permits everything, as somebody would write it who can write to Redis."""
    adoption, now = world.broker.adoption, stored(world)
    content = msgspec.structs.replace
    text = sources(world, more='@id("everything") permit (principal, action, resource);')
    genuine = adoption.signed(validated(text, lambda _: []), origin=world.broker.streams.picture.epoch, said="mine")
    payload = jose.read(genuine.text, types=frozenset({BUNDLE_TYPE}), max_bytes=bundles.MAX_BUNDLE).unverified_payload
    keys = world.broker.keys
    made = {
        "another key": lambda: content(genuine, text=jose.write(payload, type=BUNDLE_TYPE, key=new_key())),
        "a token key": lambda: content(genuine, text=jose.write(payload, type=BUNDLE_TYPE, key=keys.token)),
        "another type": lambda: content(genuine, text=jose.write(payload, type="revocations+jwt", key=keys.feed)),
        "a bundle of another id": lambda: content(now, id=genuine.id),
        "another digest": lambda: content(genuine, digest=now.digest),
        "another origin": lambda: content(genuine, origin="7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
        "no JWS": lambda: content(genuine, text="nothing"),
        "no bundle": lambda: content(genuine, text=jose.write(b"{}", type=BUNDLE_TYPE, key=keys.feed)),
        "a bundle of another issuer": lambda: content(
            genuine,
            text=jose.write(payload.replace(b"http://127.0.0.1", b"http://127.0.0.2"), type=BUNDLE_TYPE, key=keys.feed),
        ),
        "a digest that is not its content's": lambda: bundles.signed(
            content(msgspec.json.decode(payload, type=bundles.Bundle), digest="0" * 64), key=keys.feed
        ),
        "content that cannot be used": lambda: bundles.signed(
            content(msgspec.json.decode(payload, type=bundles.Bundle), policies={}), key=keys.feed
        ),
        "content that is no registry": lambda: bundles.signed(
            content(msgspec.json.decode(payload, type=bundles.Bundle), registry=msgspec.Raw(b'{"agents":{"x":1}}')),
            key=keys.feed,
        ),
        "a registry with a problem": lambda: bundles.signed(
            content(
                msgspec.json.decode(payload, type=bundles.Bundle), registry=msgspec.Raw(b'{"agents":{"x":{"tasks":["y"]}}}')
            ),
            key=keys.feed,
        ),
    }
    return made[how]()


FORGERIES = [
    "another key",
    "a token key",
    "another type",
    "a bundle of another id",
    "another digest",
    "another origin",
    "no JWS",
    "no bundle",
    "a bundle of another issuer",
    "a digest that is not its content's",
    "content that cannot be used",
    "content that is no registry",
    "a registry with a problem",
]


@pytest.mark.parametrize("how", FORGERIES)
async def test_a_record_that_cannot_be_believed_or_used_stops_issuing_until_an_operator_activates(
    world: World, neighbour: World, how: str
) -> None:
    before = digest(world)
    put(world, forged(world, how))
    for worker in (world, neighbour):
        worker.follow()
        worker.follow()
        assert (digest(worker), await reason(worker)) == (before, "configuration_pending")
        assert worker.broker.adoption.problem
    done = await activate(world)
    assert (done.is_new, done.digest) == (True, before)
    for worker in (world, neighbour):
        worker.follow()
        assert (worker.broker.adoption.problem, await reason(worker)) == ("", "")


@pytest.mark.parametrize("how", ["another key", "a token key"])
async def test_a_worker_that_starts_over_a_forged_record_knows_nobody(world: World, backend: Backend, how: str) -> None:
    put(world, forged(world, how))
    connected = neighbour_of(backend)
    anew = World(world.folder, connected, clock=world.clock)
    anew.follow()
    assert await reason(anew) == "configuration_pending"
    with pytest.raises(Unavailable):
        await anew.broker.operators.authenticate(anew.operator_assertion())
    await connected.close()


async def test_an_earlier_record_put_back_is_nobodys_wish(world: World, neighbour: World) -> None:
    """It is signed, and still it must not bring back what was taken away."""
    earlier = stored(world)
    done = await activate(world, extra=FORBID)
    for worker in (world, neighbour):
        worker.follow()
    put(world, earlier)
    for worker in (world, neighbour):
        worker.follow()
        assert (digest(worker), await reason(worker)) == (done.digest, "forbidden")
    world.broker.follower._run_id = ""
    world.follow()
    assert stored(world).digest == done.digest


async def test_a_record_that_vanishes_is_put_back(world: World) -> None:
    world.backend.client.delete(ACTIVE)
    world.follow()
    assert await reason(world) == ""
    world.broker.follower._run_id = ""
    world.follow()
    assert stored(world).digest == digest(world)


async def test_verifiers_end_no_token_for_a_configuration_and_see_the_feed_go_on(world: World) -> None:
    issued = await world.issue()
    await activate(world, extra='@id("more") permit (principal is Agent, action in Action::"draft", resource is Record);')
    world.follow()
    picture = world.broker.streams.picture
    assert (picture.seq, picture.events()) == (1, [])
    (lease,) = await world.broker.leases.known([issued.lease_id], picture)
    assert lease.status == "live"


# What the settings of a replica have against it


UNKNOWN_TRUST = '[agents.new-bot]\nowner = "jane@example.com"\nworkloads = [{ oidc = "nobody", claims = { sub = "x" } }]\n'


async def test_a_registry_that_names_a_trust_of_no_settings_does_not_come_into_force(world: World) -> None:
    """Whether files or a request bring it: who could act by it is known to nobody here."""
    before = digest(world)
    write(world, "registry/more.toml", UNKNOWN_TRUST)
    await world.look()
    assert "[[trust.oidc]]" in world.broker.activation.file_problems[0]
    with pytest.raises(ConfigurationError, match="has the name 'nobody'"):
        await activate(world)
    world.follow()
    assert (digest(world), await reason(world)) == (before, "")


async def test_a_worker_whose_settings_do_not_suit_what_is_in_force_issues_nothing(
    world: World, neighbour: World, monkeypatch
) -> None:
    """Its settings are behind those of the others, and it must not decide otherwise than they do."""
    monkeypatch.setattr(neighbour.broker.configuration.own, "objections", lambda _: ["it names a trust of no settings"])
    await activate(world, extra='@id("more") forbid (principal is Agent, action == Action::"crm:ticket#draft", resource);')
    world.follow()
    neighbour.follow()
    assert (await reason(world), await reason(neighbour)) == ("", "configuration_pending")
    assert "of no settings" in neighbour.broker.adoption.problem
