"""A broker behind a real nginx that ends TLS and passes the client's certificate on (A2)."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from scopes.client_certificate import thumbprint
from tests.broker.certified import authority_of, trust
from tests.broker.front import claims_of
from tests.broker.redis_server import free_port
from tests.broker.world import BOT, CRM, CRM_WORKLOAD, ISSUER, OTHER, write_files
from tests.live.certificates import Certificates, Identity
from tests.live.nginx import Nginx
from tests.live.replica import Replica
from tests.scopes.certificates import escaped

PROXY = "127.0.0.3"
"""The address that nginx calls from; all others of this machine are strangers."""


class Site(NamedTuple):
    """A broker and the nginx before it."""

    folder: Path
    certificates: Certificates
    replica: Replica
    nginx: Nginx

    def client(self, identity: Identity | None = None) -> httpx2.Client:
        context = identity.context if identity is not None else self.certificates.trusted()
        return httpx2.Client(base_url=self.nginx.url, verify=context, trust_env=False, timeout=30)

    def direct(self, address: str) -> httpx2.Client:
        """Go past nginx, from an address of this machine."""
        return httpx2.Client(base_url=self.replica.url, transport=httpx2.HTTPTransport(local_address=address), timeout=30)


def form(workload: str = BOT) -> dict[str, str]:
    return {"grant_type": "client_credentials", "client_id": workload, "scope": "crm:ticket/4711#read[subject]"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nginx")
    certificates = Certificates(folder / "tls")
    write_files(folder)
    trust(folder, certificates.root)
    port = free_port()
    written = (folder / "broker.toml").read_text().replace(ISSUER, f"http://127.0.0.1:{port}")
    # nginx passes on the leaf alone, so the broker has to know what stands between it and the authority.
    written += 'intermediates = "tls/middle.pem"\n'
    written += f'[[trust.proxy]]\naddresses = ["{PROXY}"]\nheader = "ssl-client-cert"\n'
    (folder / "broker.toml").write_text(f'feed_access = "workloads"\n{written}')
    replica = Replica(folder, port=port)
    try:
        nginx = Nginx(certificates.folder, upstream=replica.url, address=PROXY)
        try:
            replica.wait_until_ready()
            yield Site(folder, certificates, replica, nginx)
        finally:
            nginx.end()
    finally:
        replica.end()


def test_the_certificate_that_nginx_saw_gets_a_token_that_is_bound_to_it(site: Site) -> None:
    own = site.certificates.identity()
    with site.client(own) as client:
        answer = client.post("/oauth/token", data=form())
    assert answer.status_code == 200, answer.text
    assert claims_of(answer.json()["access_token"])["cnf"] == {"x5t#S256": thumbprint(own.der)}


def test_an_agent_behind_nginx_ends_its_task_by_its_certificate(site: Site) -> None:
    with site.client(site.certificates.identity()) as client:
        task = client.post("/v1/tasks", json={"type": "summarise-ticket"}).json()["id"]
        assert client.post(f"/v1/tasks/{task}/complete").json()["status"] == "completed"


def test_a_service_behind_nginx_follows_its_feed_by_its_certificate(site: Site) -> None:
    service = site.certificates.identity(CRM_WORKLOAD)
    with site.client(service) as client, client.stream("GET", "/v1/feed/stream", params={"aud": CRM}) as stream:
        assert stream.status_code == 200
        assert next(stream.iter_lines()) == "event: snapshot"


def test_a_client_without_a_certificate_is_nobody_behind_nginx(site: Site) -> None:
    with site.client() as client:
        refused = client.post("/oauth/token", data=form())
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("certified", [False, True], ids=["without a certificate", "with another's certificate"])
def test_nginx_replaces_a_header_that_its_client_forged(site: Site, certified: bool) -> None:
    """TRAPS 11."""
    victim, attacker = site.certificates.identity(BOT), site.certificates.identity(OTHER)
    with site.client(attacker if certified else None) as client:
        refused = client.post("/oauth/token", data=form(BOT), headers={"ssl-client-cert": escaped(*victim.chain)})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "127.0.0.30"])
def test_a_forged_header_from_an_address_that_is_not_trusted_is_refused(site: Site, address: str) -> None:
    """The same header, past nginx (TRAPS 11)."""
    forged = {"ssl-client-cert": escaped(*site.certificates.identity().chain)}
    with site.direct(address) as client:
        refused = client.post("/oauth/token", data=form(), headers=forged)
        task = client.post("/v1/tasks", json={"type": "summarise-ticket"}, headers=forged)
        lied = client.post("/oauth/token", data=form(), headers={**forged, "x-forwarded-for": PROXY, "x-real-ip": PROXY})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert (task.status_code, task.json()["code"]) == (401, "invalid_client")
    assert (lied.status_code, lied.json()["error"]) == (401, "invalid_client")


def test_that_header_is_good_from_the_address_of_the_proxy(site: Site) -> None:
    """So that what is refused above is refused for its address."""
    with site.direct(PROXY) as client:
        headers = {"ssl-client-cert": escaped(*site.certificates.identity().chain)}
        assert client.post("/oauth/token", data=form(), headers=headers).status_code == 200


def test_nginx_does_not_pass_on_what_an_unknown_authority_signed(site: Site) -> None:
    with site.client(site.certificates.identity(issuer=authority_of())) as client:
        # With `ssl_verify_client optional` nginx answers by itself.
        assert client.post("/oauth/token", data=form()).status_code == 400


def test_a_leaf_below_an_unknown_intermediate_is_refused(site: Site) -> None:
    """The proxy saw the chain and believes it; the broker saw the leaf, and does not know what is between."""
    middle = authority_of("another", site.certificates.root)
    leaf = site.certificates.identity(issuer=middle)
    certificate, _ = site.certificates.files(site.certificates.made)
    certificate.write_bytes(leaf.chain[0].pem + middle.pem)
    leaf.context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with site.client(leaf) as client:
        refused = client.post("/oauth/token", data=form())
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
