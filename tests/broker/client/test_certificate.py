"""An agent with a certificate, over real connections: shown, renewed, and one with its tokens."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.api.mutual_tls import Certificate, Listener
from broker.client import Agent, ClientCertificate, Misconfigured
from broker.client.agent import certificate_files
from scopes.client_certificate import leaf, thumbprint
from tests.broker.certified import svid_of
from tests.broker.redis_server import free_port
from tests.broker.world import BOT, OTHER
from tests.live.certificates import Certificates
from tests.scopes.certificates import Made

SCOPE = "crm:ticket/4711#read[subject]"


class Counterpart:
    """Broker and service in one, which says what it saw: it binds tokens to the certificate, and wants that one with them."""

    def __init__(self, folder: Path) -> None:
        self.certificates = Certificates(folder)
        port = free_port()
        self.url = f"https://localhost:{port}"
        own = Certificate(folder / "server.pem", folder / "server.key")
        self.listener = Listener(("127.0.0.1", port), own, lambda: (self.certificates.root.certificate,))
        self.forms: list[dict[str, str]] = []
        self.reached, self.held = asyncio.Event(), asyncio.Event()

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        shown = thumbprint(leaf(scope) or b"")
        status, answer = self.answer(scope, body.decode(), shown)
        if scope["path"] == "/held":
            self.reached.set()
            await self.held.wait()
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": answer.encode()})

    def answer(self, scope: Any, body: str, shown: str) -> tuple[int, str]:
        if scope["path"] == "/oauth/token":
            self.forms.append(dict(httpx2.QueryParams(body)))
            members = f'"access_token":"bound-to-{shown}","token_type":"Bearer","expires_in":300,"scope":"{SCOPE}"'
            return 200, f'{{{members},"authorization_details":[],"lease_id":"lse_1","task_id":"tsk_1"}}'
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode()
        return 200 if authorization in ("", f"Bearer bound-to-{shown}") else 401, f'{{"shown":"{shown}"}}'


@pytest.fixture
async def counterpart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counterpart]:
    counterpart = Counterpart(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls" / "ca.pem"))
    async with counterpart.listener.serving(counterpart.application):
        yield counterpart


Renew = Callable[..., Made]


@pytest.fixture
def renew(tmp_path: Path, counterpart: Counterpart) -> Renew:
    """Write a workload's certificate and key, newer than those before."""
    written = iter(range(1, 100))

    def write(workload: str = BOT, *, half: bool = False) -> Made:
        made, moment = svid_of(counterpart.certificates.middle, workload), next(written)
        (tmp_path / "svid.pem").write_bytes(made.pem + counterpart.certificates.middle.pem)
        if not half:
            (tmp_path / "svid.key").write_bytes(made.key_pem)
        for name in ("svid.pem", "svid.key"):
            os.utime(tmp_path / name, (moment, moment))
        return made

    return write


def certificate(tmp_path: Path) -> ClientCertificate:
    return ClientCertificate(tmp_path / "svid.pem", tmp_path / "svid.key")


async def test_an_agent_with_a_certificate_needs_nothing_else(counterpart: Counterpart, renew: Renew, tmp_path: Path) -> None:
    """RFC 8705 §2."""
    own = renew()
    async with Agent(counterpart.url, certificate=certificate(tmp_path)) as agent:
        token = await agent.token(SCOPE)
        assert agent.can_use(token)
    assert (token.text, token.certificate) == (f"bound-to-{thumbprint(own.der)}", thumbprint(own.der))
    assert counterpart.forms == [{"grant_type": "client_credentials", "scope": SCOPE, "client_id": BOT}]


async def test_with_an_identity_too_both_are_sent(counterpart: Counterpart, renew: Renew, tmp_path: Path) -> None:
    renew()
    async with Agent(counterpart.url, lambda: "svid", certificate=certificate(tmp_path)) as agent:
        await agent.token(SCOPE)
    assert counterpart.forms[0]["client_assertion"] == "svid"
    assert "client_id" not in counterpart.forms[0]


async def test_a_service_is_called_with_the_certificate_of_the_token(
    counterpart: Counterpart, renew: Renew, tmp_path: Path
) -> None:
    renew()
    async with Agent(counterpart.url, certificate=certificate(tmp_path)) as agent:
        authorization = agent.authorization(await agent.token(SCOPE))
        answer = await agent.services.get(f"{counterpart.url}/tickets/4711", auth=authorization)
        assert (await agent.services.get(f"{counterpart.url}/x", headers={"Authorization": "Bearer other"})).status_code == 401
    assert answer.status_code == 200


async def test_a_renewed_certificate_is_shown_and_gets_new_tokens(
    counterpart: Counterpart, renew: Renew, tmp_path: Path
) -> None:
    """What is left of the old one: its open connections, and tokens that nobody can use any more."""
    renew()
    async with Agent(counterpart.url, certificate=certificate(tmp_path)) as agent:
        old = await agent.token(SCOPE)
        for _ in range(3):
            new = renew()
            assert not agent.can_use(old)
            token = await agent.token(SCOPE)
            assert token.certificate == thumbprint(new.der)
            answer = await agent.services.get(f"{counterpart.url}/tickets/4711", auth=agent.authorization(token))
            assert (answer.status_code, answer.json()) == (200, {"shown": thumbprint(new.der)})


async def test_a_request_on_its_way_outlives_a_renewal(counterpart: Counterpart, renew: Renew, tmp_path: Path) -> None:
    own = renew()
    async with Agent(counterpart.url, certificate=certificate(tmp_path)) as agent:
        waiting = asyncio.create_task(agent.services.get(f"{counterpart.url}/held"))
        await asyncio.wait_for(counterpart.reached.wait(), 30)
        renew()
        await agent.services.get(f"{counterpart.url}/tickets/4711")
        counterpart.held.set()
        assert (await asyncio.wait_for(waiting, 30)).json() == {"shown": thumbprint(own.der)}


async def test_half_a_renewal_changes_nothing(counterpart: Counterpart, renew: Renew, tmp_path: Path) -> None:
    own = renew()
    known = certificate(tmp_path)
    renew(half=True)
    assert known.current.thumbprint == thumbprint(own.der)
    (tmp_path / "svid.pem").write_bytes(b"")
    assert known.current.thumbprint == thumbprint(own.der)
    (tmp_path / "svid.pem").unlink()
    assert known.current.thumbprint == thumbprint(own.der)
    new = renew(OTHER)
    assert (known.current.thumbprint, known.current.workload) == (thumbprint(new.der), OTHER)


def test_files_that_are_no_certificate_and_key_are_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"svid\.pem"):
        certificate(tmp_path)
    for name in ("svid.pem", "svid.key"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(Misconfigured, match=r"svid\.pem"):
        certificate(tmp_path)


def test_a_certificate_and_its_key_go_together() -> None:
    assert certificate_files(None, "") is None
    for pair in (("svid.pem", None), ("", "svid.key")):
        with pytest.raises(Misconfigured, match="go together"):
            certificate_files(*pair)


def test_an_agent_that_proves_nothing_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="identity"):
        Agent("https://broker.test")


async def test_the_environment_names_both_files(counterpart: Counterpart, renew: Renew, tmp_path: Path) -> None:
    renew()
    environment = {"BROKER_URL": counterpart.url, "BROKER_CERTIFICATE_FILE": str(tmp_path / "svid.pem")}
    with pytest.raises(Misconfigured, match="BROKER_KEY_FILE"):
        Agent.from_environment(environment)
    environment["BROKER_KEY_FILE"] = str(tmp_path / "svid.key")
    async with Agent.from_environment(environment) as agent:
        assert (await agent.token(SCOPE)).certificate
    with pytest.raises(Misconfigured, match="BROKER_URL"):
        Agent.from_environment({name: value for name, value in environment.items() if name != "BROKER_URL"})
