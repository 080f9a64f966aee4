"""A broker that listens with mutual TLS as well: real processes, real connections, a chain made here (A2, A5)."""

import contextlib
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from broker.client import Agent
from broker.identity import development
from scopes import ProofRequired, Verifier
from scopes import proof as proofs
from scopes.client_certificate import thumbprint
from scopes.clock import SystemClock
from scopes.keys import SigningKey
from tests.broker.certified import authority_of, svid_of, trust
from tests.broker.cli.typed import run
from tests.broker.front import claims_of
from tests.broker.redis_server import RedisServer, free_port
from tests.broker.world import BOT, CRM, CRM_WORKLOAD, ISSUER, OTHER, write_files
from tests.live.certificates import Certificates, Identity
from tests.live.replica import Replica
from tests.scopes.certificates import escaped

READ = {"action": "read", "resource": "crm:ticket/4711"}


class Site(NamedTuple):
    """Two workers that share both of their ports, and the identities of those who call."""

    folder: Path
    certificates: Certificates
    replica: Replica
    mtls_url: str

    def client(self, identity: Identity, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.mtls_url, verify=identity.context, trust_env=False, timeout=30, **options)

    def token(self, identity: Identity, workload: str = BOT) -> httpx2.Response:
        with self.client(identity) as client:
            return client.post("/oauth/token", data=form(workload))


def form(workload: str = BOT) -> dict[str, str]:
    return {"grant_type": "client_credentials", "client_id": workload, "scope": "crm:ticket/4711#read[subject]"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("mutual-tls")
    certificates = Certificates(folder / "tls")
    server = RedisServer(folder / "redis")
    port, mtls_port = free_port(), free_port()
    write_files(folder)
    trust(folder, certificates.root)
    written = (folder / "broker.toml").read_text().replace(ISSUER, f"https://localhost:{port}")
    own = 'tls_certificate = "tls/server.pem"\ntls_key = "tls/server.key"\n'
    own += f'mtls_listen = "127.0.0.1:{mtls_port}"\nredis_url = "{server.url}"\n'
    (folder / "broker.toml").write_text(own + written)
    replica = Replica(folder, workers=2, port=port, trusted=certificates.trusted())
    try:
        replica.wait_until_ready()
        yield Site(folder, certificates, replica, f"https://localhost:{mtls_port}")
    finally:
        replica.end()
        server.end()


@pytest.fixture
def verifier(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Verifier]:
    """A verifier of the CRM, which believes the broker's certificate."""
    monkeypatch.setattr("scopes.verifier._authorities", site.certificates.trusted)
    keys = site.folder / "keys" / "development"

    def read_svid() -> str:
        return development.sign_svid(keys, CRM_WORKLOAD, audience=site.replica.url, clock=SystemClock())

    with Verifier(site.replica.url, CRM, read_svid) as verifier:
        verifier.wait_until_ready(timeout=20)
        yield verifier


def test_a_chain_gets_a_token_that_is_honoured_with_its_certificate_only(site: Site, verifier: Verifier) -> None:
    """A2, A5: from the handshake at the broker to the handshake at the service."""
    own, other = site.certificates.identity(), site.certificates.identity()
    answer = site.token(own)
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    assert claims_of(token)["cnf"] == {"x5t#S256": thumbprint(own.der)}
    assert verifier.verify(token, **READ, certificate=shown_to_a_service(site, own)).agent == "support-bot"
    for stolen in (shown_to_a_service(site, other), None):
        with pytest.raises(ProofRequired):
            verifier.verify(token, **READ, certificate=stolen)


def shown_to_a_service(site: Site, identity: Identity) -> bytes | None:
    """Connect to a service that demands certificates, and return the one that it saw."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(site.certificates.folder / "server.pem", site.certificates.folder / "server.key")
    context.load_verify_locations(site.certificates.folder / "clients.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    service, agent = socket.socketpair()
    for end in (service, agent):
        end.settimeout(10)
    thread = threading.Thread(target=connect, args=(agent, identity.context))
    thread.start()
    try:
        with context.wrap_socket(service, server_side=True) as connection:
            connection.sendall(b"x")
            return connection.getpeercert(binary_form=True)
    finally:
        thread.join(10)


def connect(agent: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(agent, server_hostname="localhost") as connection:
        connection.recv(1)


@pytest.fixture
def files(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An agent's environment: where the broker takes certificates, and the agent's own in two files."""
    monkeypatch.setenv("SSL_CERT_FILE", str(site.certificates.folder / "ca.pem"))
    renew(site, tmp_path, 1)
    names = {"BROKER_CERTIFICATE_FILE": "svid.pem", "BROKER_KEY_FILE": "svid.key"}
    return {"BROKER_URL": site.mtls_url, **{name: str(tmp_path / file) for name, file in names.items()}}


def renew(site: Site, folder: Path, moment: int) -> Identity:
    identity = site.certificates.identity()
    (folder / "svid.pem").write_bytes(b"".join(one.pem for one in identity.chain))
    (folder / "svid.key").write_bytes(identity.chain[0].key_pem)
    for name in ("svid.pem", "svid.key"):
        os.utime(folder / name, (moment, moment))
    return identity


async def test_an_agent_keeps_its_task_through_a_renewal_of_its_certificate(
    site: Site, files: dict[str, str], tmp_path: Path
) -> None:
    """The token of before is not used any more, for it is bound to a certificate that is not shown any more."""
    async with Agent.from_environment(files) as agent, agent.task("summarise-ticket") as task:
        scope = "crm:ticket/4711#read[subject]"
        before = await task.token(scope)
        assert await task.token(scope) is before
        renewed = renew(site, tmp_path, 2)
        after = await task.token(scope)
        assert claims_of(after.text)["cnf"] == {"x5t#S256": thumbprint(renewed.der)}
        assert (after.task_id, after.lease_id != before.lease_id) == (before.task_id, True)


def test_somebody_at_a_terminal_acts_as_the_agent_of_a_certificate(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in files.items():
        monkeypatch.setenv(name, value)
    task = json.loads(run("task", "declare", "summarise-ticket", "--json").out)["id"]
    asked = run("token", "request", "crm:ticket/4711#read[subject]", "--task", task, "--json")
    assert "x5t#S256" in claims_of(json.loads(asked.out)["access_token"])["cnf"]
    assert json.loads(run("task", "show", task, "--json").out)["status"] == "open"
    assert json.loads(run("task", "complete", task, "--json").out)["status"] == "completed"


def test_every_worker_takes_certificates(site: Site) -> None:
    identity = site.certificates.identity()
    assert {site.token(identity).status_code for _ in range(8)} == {200}


def test_the_metadata_leads_to_the_listener_for_mutual_tls(site: Site) -> None:
    """RFC 8705 §5."""
    metadata = httpx2.get(f"{site.replica.url}/.well-known/oauth-authorization-server", verify=site.certificates.trusted())
    endpoint = metadata.json()["mtls_endpoint_aliases"]["token_endpoint"]
    assert endpoint == f"{site.mtls_url}/oauth/token"
    assert httpx2.post(endpoint, data=form(), verify=site.certificates.identity().context).status_code == 200


def test_a_proof_at_the_address_for_mutual_tls_binds_the_token_to_its_own_key(site: Site) -> None:
    """RFC 9449 §4.2: the URL in it is the one that was called. One kind of `cnf`, and it is the proof's (TRAPS 17)."""
    key, url = SigningKey.generate(), f"{site.mtls_url}/oauth/token"
    nonce = None
    with site.client(site.certificates.identity()) as client:
        for status in (400, 200):
            proof = proofs.make(key, method="POST", url=url, now=SystemClock().now().wall, nonce=nonce)
            answer = client.post(url, data=form(), headers={"DPoP": proof})
            assert answer.status_code == status, answer.text
            nonce = answer.headers["dpop-nonce"]
    assert claims_of(answer.json()["access_token"])["cnf"] == {"jkt": key.kid}


def test_an_agent_with_nothing_but_its_certificate_ends_its_task(site: Site) -> None:
    with site.client(site.certificates.identity()) as client:
        task = client.post("/v1/tasks", json={"type": "summarise-ticket"}).json()["id"]
        assert client.post("/oauth/token", data={**form(), "task": task}).status_code == 200
        assert client.post(f"/v1/tasks/{task}/complete").json()["status"] == "completed"


def test_a_service_with_nothing_but_its_certificate_follows_its_feed(site: Site) -> None:
    service = site.certificates.identity(CRM_WORKLOAD)
    with site.client(service) as client, client.stream("GET", "/v1/feed/stream", params={"aud": CRM}) as stream:
        assert stream.status_code == 200
        assert next(stream.iter_lines()) == "event: snapshot"
    with site.client(site.certificates.identity(OTHER)) as client:
        assert client.get("/v1/feed", params={"aud": CRM}).status_code == 403


@pytest.mark.parametrize("header", ["ssl-client-cert", "x-forwarded-client-cert", "client-cert", "x-ssl-cert"])
def test_no_header_of_a_caller_is_a_certificate(site: Site, header: str) -> None:
    """TRAPS 11: no proxy is trusted here, on neither listener."""
    victim, attacker = site.certificates.identity(BOT), site.certificates.identity(OTHER)
    headers = {
        header: escaped(*victim.chain) if header != "x-forwarded-client-cert" else f'Cert="{escaped(*victim.chain[:1])}"'
    }
    plain = httpx2.post(f"{site.replica.url}/oauth/token", data=form(), headers=headers, verify=site.certificates.trusted())
    assert (plain.status_code, plain.json()["error"]) == (401, "invalid_client")
    with site.client(attacker) as client:
        certified = client.post("/oauth/token", data=form(), headers=headers)
    assert (certified.status_code, certified.json()["error"]) == (401, "invalid_client")


def test_a_certificate_of_anybody_else_does_not_get_as_far_as_a_request(site: Site) -> None:
    for context in (site.certificates.trusted(), site.certificates.identity(issuer=authority_of()).context):
        with pytest.raises(httpx2.TransportError), httpx2.Client(verify=context, trust_env=False) as client:
            client.post(f"{site.mtls_url}/oauth/token", data=form())


def test_an_open_connection_ends_being_good_with_the_authority_behind_it(site: Site) -> None:
    """What a connection was opened with is looked at again for each request, and for each handshake."""
    own = site.certificates.identity()
    with site.client(own, limits=httpx2.Limits(max_connections=1)) as client:
        assert client.post("/oauth/token", data=form()).status_code == 200
        new = authority_of()
        trust(site.folder, new)
        try:
            kept = client.post("/oauth/token", data=form())
            assert (kept.status_code, kept.json()["error"]) == (401, "invalid_client")
            with pytest.raises(httpx2.TransportError):
                site.token(own)
            assert site.token(site.certificates.identity(issuer=new)).status_code == 200
        finally:
            trust(site.folder, site.certificates.root)
    assert site.token(own).status_code == 200


def test_a_leaf_without_its_intermediate_is_refused_in_the_handshake(site: Site) -> None:
    leaf = svid_of(site.certificates.middle)
    certificate, key = site.certificates.files(0)
    certificate.write_bytes(leaf.pem)
    key.write_bytes(leaf.key_pem)
    context = site.certificates.trusted()
    context.load_cert_chain(certificate, key)
    with pytest.raises(httpx2.TransportError):
        site.token(Identity((leaf,), context))


def test_it_ends_while_a_stream_is_open(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "tls")
    port, mtls_port = free_port(), free_port()
    write_files(tmp_path)
    trust(tmp_path, certificates.root)
    own = 'tls_certificate = "tls/server.pem"\ntls_key = "tls/server.key"\n' + f'mtls_listen = "127.0.0.1:{mtls_port}"\n'
    written = (tmp_path / "broker.toml").read_text().replace(ISSUER, f"https://localhost:{port}")
    (tmp_path / "broker.toml").write_text(own + written)
    replica = Replica(tmp_path, port=port, trusted=certificates.trusted())
    try:
        replica.wait_until_ready()
        site = Site(tmp_path, certificates, replica, f"https://localhost:{mtls_port}")
        service = certificates.identity(CRM_WORKLOAD)
        with site.client(service) as client, client.stream("GET", "/v1/feed/stream", params={"aud": CRM}) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: snapshot"
            assert replica.end() == 0
            with contextlib.suppress(httpx2.TransportError):
                assert len(list(lines)) < 100
    finally:
        replica.end()
