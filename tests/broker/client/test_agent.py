"""The agent's library against a whole broker: tasks that end however their body ends, and tokens that renew themselves."""

import asyncio

import httpx2
import pytest
import pytest_asyncio

from broker.client import Agent, Busy, Misconfigured, NotAuthenticated, Refused, UnexpectedAnswer, Unreachable
from broker.client.agent import Declaration, identity_file
from broker.client.holder import Holder
from scopes import proof as proofs
from scopes.clock import SystemClock
from scopes.jose import read
from scopes.keys import SigningKey
from tests.broker.application import application_of
from tests.broker.client.answering import Answering, nobody, problem
from tests.broker.front import claims_of
from tests.broker.world import BOT, ISSUER

SCOPE = "crm:ticket/4711#read[subject]"
SERVICE = "https://crm.test/tickets/4711"


class Crm:
    """A protected service that refuses the tokens it is told to, and remembers those it saw, and the proofs with them."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.refused: set[str] = set()
        self.refuses_all = False
        self.schemes: list[str] = []
        self.proofs: list[proofs.Proof] = []
        self.nonces: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        scheme, _, token = request.headers["authorization"].partition(" ")
        self.schemes.append(scheme)
        self.seen.append(token)
        if scheme == "DPoP":
            self.proofs.append(checked(request, token))
        if self.nonces and self.proofs[-1].nonce != self.nonces[-1]:
            headers = {"DPoP-Nonce": self.nonces[-1], "WWW-Authenticate": 'DPoP error="use_dpop_nonce"'}
            return httpx2.Response(401, json={"error": "use_dpop_nonce"}, headers=headers)
        if self.refuses_all or token in self.refused:
            return httpx2.Response(401, json={"error": "token_revoked"})
        return httpx2.Response(
            200, json={"subject": "Printer on fire"}, headers={"X-Agent": request.headers.get("x-agent", "")}
        )


def checked(request: httpx2.Request, token: str | None = None) -> proofs.Proof:
    """Check the proof of a request as whoever receives it would; there has to be one."""
    token_hash = proofs.hash_of(token) if token is not None else None
    (proof,) = request.headers.get_list("dpop")
    now = SystemClock().now().wall
    return proofs.check(proof, method=request.method, url=str(request.url), now=now, token_hash=token_hash)


@pytest.fixture
def crm():
    return Crm()


@pytest_asyncio.fixture
async def agent(world, crm):
    """The support bot of a broker whose picture is renewed whenever the agent has to wait for it, and time goes on with it."""

    async def follow(seconds: float) -> None:
        world.advance(round(seconds * 1000))

    def identity() -> str:
        world.follow()
        return world.svid(BOT)

    transport = httpx2.ASGITransport(app=application_of(world.broker))
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(crm)) as services:
        made = Agent(ISSUER, identity, transport=transport, services=services, clock=world.clock, sleep=follow)
        async with made:
            yield made


async def status_of(world, task: str) -> str:
    return (await world.broker.tasks.find(task)).status


async def lives(world, lease: str) -> bool:
    world.follow()
    return (await world.broker.leases.find(lease, world.broker.follower.standpoint().picture)).status == "live"


async def test_a_task_is_declared_and_completed_and_its_tokens_end_with_it(agent, world):
    async with agent.task("summarise-ticket", purpose="Look", resources=["crm:ticket/4711"], max_duration=60) as task:
        token = await task.token(SCOPE)
        assert await status_of(world, task.id) == "open"
        assert await lives(world, token.lease_id)
        assert (task.record.purpose, task.record.resources) == ("Look", ("crm:ticket/4711",))
        assert (token.task_id, token.scope) == (task.id, SCOPE)
    assert await status_of(world, task.id) == "completed"
    assert not await lives(world, token.lease_id)


async def test_a_body_that_raises_fails_the_task_and_what_it_raised_arrives_unchanged(agent, world):
    class Mistake(Exception):
        pass

    mistake = Mistake("of the agent")
    with pytest.raises(Mistake) as raised:
        async with agent.task("summarise-ticket") as task:
            raise mistake
    assert raised.value is mistake
    assert await status_of(world, task.id) == "failed"


async def test_a_body_that_is_cancelled_cancels_the_task(agent, world):
    opened = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with agent.task("summarise-ticket") as task:
            opened.set_result(task.id)
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    id = await opened
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await status_of(world, id) == "cancelled"


async def test_a_broker_that_is_gone_masks_nothing_that_the_body_raised(agent, monkeypatch, caplog):
    async def unreachable(*_: object) -> None:
        raise Unreachable("gone")

    task = agent.task("summarise-ticket")
    monkeypatch.setattr(agent, "end_task", unreachable)
    with pytest.raises(LookupError):
        async with task:
            raise LookupError
    assert task.id in caplog.text


async def test_a_broker_that_cannot_be_told_of_a_success_is_an_error(agent, monkeypatch):
    """The task's tokens live on then, which its maker has to know."""

    async def unreachable(*_: object) -> None:
        raise Unreachable("gone")

    with pytest.raises(Unreachable):
        async with agent.task("summarise-ticket"):
            monkeypatch.setattr(agent, "end_task", unreachable)


async def test_a_task_that_is_refused_is_never_entered(agent):
    with pytest.raises(Refused) as raised:
        async with agent.task("sumarise-ticket"):
            pytest.fail("the body ran")
    assert raised.value.reason == "outside_task_types"
    assert raised.value.status == 403


async def test_a_subtask_is_part_of_its_task_and_ends_by_itself(agent, world):
    async with agent.task("summarise-ticket") as task:
        async with task.subtask("single-ticket", purpose="Part", resources=["crm:ticket"]) as part:
            assert part.record.path == (task.id, part.id)
            token = await part.token(SCOPE)
        assert await status_of(world, part.id) == "completed"
        assert not await lives(world, token.lease_id)
        assert await status_of(world, task.id) == "open"


async def test_a_token_is_asked_for_once_and_again_shortly_before_it_expires(agent, world):
    async with agent.task("summarise-ticket") as task:
        first = await task.token(SCOPE)
        world.advance(280_000)
        assert await task.token("crm:ticket/4711#read[subject]") is first
        world.advance(12_000)
        second = await task.token(SCOPE)
        assert second.lease_id != first.lease_id
        assert second.expires > first.expires


async def test_a_token_that_lives_only_for_seconds_is_used_for_most_of_them(agent, world):
    async with agent.task("summarise-ticket") as task:
        first = await task.token(SCOPE, ttl=5)
        assert await task.token(SCOPE, ttl=5) is first
        assert first.expires - world.clock.now().wall // 1000 <= 5
        world.advance(4_500)
        assert await task.token(SCOPE, ttl=5) is not first


async def test_each_scope_and_lifetime_has_a_token_of_its_own(agent):
    async with agent.task("summarise-ticket") as task:
        tokens = [await task.token(SCOPE), await task.token(SCOPE, ttl=20), await task.token("kb:article/1#read")]
        assert len({token.lease_id for token in tokens}) == 3


async def test_fields_in_another_order_are_the_same_scope(agent):
    async with agent.task("summarise-ticket") as task:
        one = await task.token("crm:ticket/4711#read[subject,description]")
        assert await task.token("crm:ticket/4711#read[description,subject]") is one


async def test_those_who_want_the_same_token_at_once_share_one(agent):
    async with agent.task("summarise-ticket") as task:
        tokens = await asyncio.gather(*(task.token(SCOPE) for _ in range(10)))
        assert len({token.lease_id for token in tokens}) == 1


async def test_a_token_shows_nothing_of_its_text(agent):
    async with agent.task("summarise-ticket") as task:
        token = await task.token(SCOPE)
    for shown in (repr(token), str(token), f"{token}", repr([token])):
        assert token.text not in shown
        assert "eyJ" not in shown
        assert token.lease_id in shown


@pytest.mark.parametrize("scope", ["crm:ticket/*#read", "crm:ticket/../1#read", ""])
async def test_a_scope_that_is_none_is_refused_before_anybody_is_asked(agent, monkeypatch, scope):
    async with agent.task("summarise-ticket") as task:
        monkeypatch.setattr(agent, "token", None)
        with pytest.raises(Refused) as raised:
            await task.token(scope)
    assert raised.value.code == "invalid_scope"


async def test_a_refusal_names_its_reason(agent):
    async with agent.task("summarise-ticket") as task:
        with pytest.raises(Refused) as raised:
            await task.token("crm:ticket/4711#read[card_number]")
        assert (raised.value.code, raised.value.reason, raised.value.status) == ("access_denied", "outside_fields", 400)
        with pytest.raises(Refused) as raised:
            await task.token("crm:ticket/4711#draft[subject]")
    assert raised.value.reason == "not_permitted"


async def test_a_limit_that_is_reached_is_not_waited_for_longer_than_told(agent):
    async with agent.task("single-ticket") as task:
        for number in range(3):
            await task.token(f"crm:ticket/{number}#read[subject]")
        with pytest.raises(Busy) as raised:
            await task.token("crm:ticket/3#read[subject]")
    assert (raised.value.code, raised.value.status) == ("temporarily_unavailable", 429)


async def test_a_service_is_called_with_the_token_beside_what_the_caller_sends(agent, crm):
    async with agent.task("summarise-ticket") as task:
        response = await task.request("GET", SERVICE, scope=SCOPE, headers={"X-Agent": "bot", "Authorization": "mine"})
        assert response.json() == {"subject": "Printer on fire"}
        assert response.headers["x-agent"] == "bot"
        assert crm.seen == [(await task.token(SCOPE)).text]
    assert b'"agent"' not in read(crm.seen[0], types=frozenset({"at+jwt"})).unverified_payload


async def test_a_token_is_bound_to_a_key_of_the_agent_and_sent_with_proofs_of_it(agent, crm):
    async with agent.task("summarise-ticket") as task:
        for url in (SERVICE, SERVICE + "?page=2"):
            assert (await task.request("POST", url, scope=SCOPE, json={})).status_code == 200
        token = await task.token(SCOPE)
    assert crm.schemes == ["DPoP", "DPoP"]
    assert token.bound
    bound_to = claims_of(token.text)["cnf"]["jkt"]
    assert {proof.thumbprint for proof in crm.proofs} == {bound_to}
    assert crm.proofs[0].id != crm.proofs[1].id


async def test_two_agents_have_two_keys(world):
    transport = httpx2.ASGITransport(app=application_of(world.broker))
    bound_to = set()
    for _ in range(2):
        async with Agent(ISSUER, lambda: world.svid(BOT), transport=transport) as agent:
            bound_to.add(claims_of((await agent.token(SCOPE)).text)["cnf"]["jkt"])
    assert len(bound_to) == 2


async def test_a_key_that_is_given_is_used(world):
    key = SigningKey.generate()
    transport = httpx2.ASGITransport(app=application_of(world.broker))
    async with Agent(ISSUER, lambda: world.svid(BOT), key=key, transport=transport) as agent:
        assert claims_of((await agent.token(SCOPE)).text)["cnf"] == {"jkt": key.kid}


async def test_without_binding_a_token_is_a_bearer_token(world, crm):
    transport = httpx2.ASGITransport(app=application_of(world.broker))
    services = httpx2.AsyncClient(transport=httpx2.MockTransport(crm))
    agent = Agent(ISSUER, lambda: world.svid(BOT), bound=False, transport=transport, services=services)
    async with services, agent, agent.task("summarise-ticket") as task:
        assert (await task.request("GET", SERVICE, scope=SCOPE)).status_code == 200
        token = await task.token(SCOPE)
    assert crm.schemes == ["Bearer"]
    assert not token.bound
    assert "cnf" not in claims_of(token.text)


async def test_the_brokers_nonce_is_asked_for_once(agent, world, monkeypatch):
    """RFC 9449 §8: the first answer brings it, and every later one the next."""
    asked = []
    prove = world.broker.possession.prove

    async def counted(proof: str) -> str:
        asked.append(proof)
        return await prove(proof)

    monkeypatch.setattr(world.broker.possession, "prove", counted)
    for number in range(3):
        await agent.token(f"crm:ticket/{number}#read[subject]")
    assert len(asked) == 4


async def test_a_broker_that_wants_another_nonce_each_time_is_asked_twice():
    fickle = problem(400, "use_dpop_nonce", headers={"DPoP-Nonce": "another"})
    broker = Answering(fickle)
    async with Agent(ISSUER, lambda: "x", transport=broker.transport) as agent:
        with pytest.raises(Refused) as raised:
            await agent.token(SCOPE)
    assert (raised.value.code, len(broker.requests)) == ("use_dpop_nonce", 2)
    assert [checked(request).nonce for request in broker.requests] == [None, "another"]


async def test_a_token_that_was_not_bound_as_asked_is_not_used():
    """Otherwise whoever sits between could have the agent send bearer tokens."""
    answer = {"access_token": "t", "token_type": "Bearer", "expires_in": 60, "scope": SCOPE, "lease_id": "l", "task_id": "t"}
    async with Agent(ISSUER, lambda: "x", transport=Answering(httpx2.Response(200, json=answer)).transport) as agent:
        with pytest.raises(UnexpectedAnswer, match="did not bind"):
            await agent.token(SCOPE)


async def test_a_service_that_wants_a_nonce_is_called_once_more(agent, crm):
    """RFC 9449 §9; the nonce is remembered, so later calls bring it at once."""
    crm.nonces.append("n-1")
    async with agent.task("summarise-ticket") as task:
        assert (await task.request("POST", SERVICE, scope=SCOPE, json={"a": 1})).status_code == 200
        assert (await task.request("POST", SERVICE, scope=SCOPE, json={"a": 1})).status_code == 200
    assert [proof.nonce for proof in crm.proofs] == [None, "n-1", "n-1"]
    assert len(set(crm.seen)) == 1


async def test_a_body_that_can_be_read_only_once_is_not_sent_again_for_a_nonce(agent, crm):
    async def chunks():
        yield b"a"

    crm.nonces.append("n-1")
    async with agent.task("summarise-ticket") as task:
        assert (await task.request("POST", SERVICE, scope=SCOPE, content=chunks())).status_code == 401
    assert len(crm.seen) == 1


async def test_the_nonces_of_few_servers_are_remembered(monkeypatch):
    monkeypatch.setattr("broker.client.holder.MAX_NONCES", 2)
    holder = Holder(SigningKey.generate(), clock=SystemClock())
    for host in ("a", "b", "c", "c"):
        request = httpx2.Request("GET", f"https://{host}.test/")
        holder.hear(httpx2.Response(200, headers={"DPoP-Nonce": host}, request=request))
    sent = [httpx2.Request("GET", f"https://{host}.test/") for host in ("a", "b", "c")]
    for request in sent:
        request.headers["DPoP"] = holder.prove("GET", str(request.url))
    assert [checked(request).nonce for request in sent] == [None, "b", "c"]


async def test_a_token_that_a_service_refuses_is_replaced_once(agent, crm):
    async with agent.task("summarise-ticket") as task:
        first = await task.token(SCOPE)
        crm.refused.add(first.text)
        response = await task.request("POST", SERVICE, scope=SCOPE, json={"a": 1})
        assert response.status_code == 200
        assert len(crm.seen) == 2
        assert (await task.token(SCOPE)).text == crm.seen[1] != first.text


async def test_a_service_that_refuses_every_token_is_asked_twice_and_answers_for_itself(agent, crm):
    crm.refuses_all = True
    async with agent.task("summarise-ticket") as task:
        response = await task.request("GET", SERVICE, scope=SCOPE)
    assert response.status_code == 401
    assert len(crm.seen) == 2


@pytest.mark.parametrize("body", [{"files": {"a": b"b"}}, {"content": iter([b"a"])}])
async def test_a_body_that_can_be_read_only_once_is_not_sent_again(agent, crm, body):
    async def chunks():
        yield b"a"

    body = {"content": chunks()} if "content" in body else body
    crm.refuses_all = True
    async with agent.task("summarise-ticket") as task:
        response = await task.request("POST", SERVICE, scope=SCOPE, **body)
    assert response.status_code == 401
    assert len(crm.seen) == 1


async def test_when_access_was_taken_away_no_new_token_is_given_either(agent, world, crm):
    async with agent.task("summarise-ticket") as task:
        first = await task.token(SCOPE)
        crm.refused.add(first.text)
        await agent.end_task(task.id, "cancel")
        with pytest.raises(Refused) as raised:
            await task.request("GET", SERVICE, scope=SCOPE)
    assert raised.value.code == "invalid_grant"


async def test_a_token_can_be_asked_for_without_entering_a_task(agent, world):
    joined = await agent.token(SCOPE)
    declared = await agent.token(SCOPE, declaration=Declaration("summarise-ticket", "Once"), ttl=30)
    assert (await world.broker.tasks.find(declared.task_id)).purpose == "Once"
    assert joined.task_id != declared.task_id
    assert (await agent.show_task(declared.task_id)).status == "open"


async def test_an_identity_that_is_not_taken_says_so(world):
    transport = httpx2.ASGITransport(app=application_of(world.broker))
    async with Agent(ISSUER, lambda: "eyJhbGciOiJub25lIn0.e30.c2ln", transport=transport) as agent:
        with pytest.raises(NotAuthenticated) as raised:
            await agent.declare(Declaration("summarise-ticket"))
    assert raised.value.status == 401


async def test_a_broker_that_is_not_there_is_said_to_be_unreachable():
    async with Agent(ISSUER, lambda: "x", transport=Answering(nobody).transport) as agent:
        with pytest.raises(Unreachable) as raised:
            await agent.declare(Declaration("summarise-ticket"))
    assert (raised.value.status, raised.value.code) == (0, "broker_unreachable")
    assert ISSUER in str(raised.value)


async def test_services_are_called_by_a_client_of_its_own_where_none_is_given():
    async with Agent(ISSUER, lambda: "x") as agent:
        services = agent.services
        assert agent.services is services
    assert services.is_closed


async def test_a_client_that_was_given_is_left_open():
    async with httpx2.AsyncClient() as services:
        async with Agent(ISSUER, lambda: "x", services=services):
            pass
        assert not services.is_closed


# The environment


def test_an_agent_is_described_by_two_variables(tmp_path):
    environment = {"BROKER_URL": ISSUER, "BROKER_IDENTITY_FILE": str(tmp_path / "svid")}
    assert isinstance(Agent.from_environment(environment), Agent)


@pytest.mark.parametrize("missing", ["BROKER_URL", "BROKER_IDENTITY_FILE"])
def test_a_variable_that_is_missing_is_named(missing):
    environment = {"BROKER_URL": ISSUER, "BROKER_IDENTITY_FILE": "svid"}
    for value in (None, ""):
        given = {name: text if name != missing else value for name, text in environment.items()}
        with pytest.raises(Misconfigured, match=missing):
            Agent.from_environment({name: text for name, text in given.items() if text is not None})


def test_the_identity_is_read_again_each_time(tmp_path):
    file = tmp_path / "svid"
    identity = identity_file(file)
    for text in ("first", "second"):
        file.write_text(f"{text}\n")
        assert identity() == text


@pytest.mark.parametrize("content", [None, b"", b" \n", "schlüssel".encode()])
def test_a_file_that_holds_no_identity_is_named(tmp_path, content):
    file = tmp_path / "svid"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Misconfigured, match="svid"):
        identity_file(file)()


def test_a_task_has_no_id_before_it_is_entered():
    with pytest.raises(AssertionError, match="async with"):
        Agent(ISSUER, lambda: "x").task("summarise-ticket").id  # noqa: B018 - to read it is the test
