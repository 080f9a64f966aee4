"""The composition: files in, an application out; wrong files say what is wrong, and the embedded store exists once."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from broker import app, settings
from broker.app import Broker
from broker.errors import ConfigurationError
from broker.identity import JwksFile, Presented, TrustedUsers
from scopes.client_certificate import thumbprint
from scopes.clock import SystemClock
from tests.broker.api.asgi import Exchange
from tests.broker.certified import trust
from tests.broker.identity.platform_tokens import jwks_file
from tests.broker.redis_server import free_port
from tests.broker.world import CRM, World, fake_backend, write_files
from tests.live.certificates import Certificates
from tests.scopes.clocks import eventually
from tests.scopes.tokens import new_key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `broker init` would have made."""
    write_files(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def unlocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give back the locks that a process holds for its life."""
    held: list = []
    monkeypatch.setattr(app.stores, "_HELD", held)
    yield
    for file in held:
        file.close()


def configured(folder: Path, **changes: str) -> app.Configuration:
    environment = {f"BROKER_{name.upper()}": value for name, value in changes.items()}
    return app.configure(settings.load(folder / "broker.toml", environment=environment))


def test_everything_that_is_read_from_files_is_read_and_checked_together(folder: Path) -> None:
    configuration = configured(folder)
    assert configuration.registry.agent("support-bot").record.owner == "jane@example.com"
    assert "read-inside-own-environment" in configuration.policies.ids
    assert [domain.name for domain in configuration.trust_domains] == ["development.test"]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("registry/all.toml", "[agents.support-bot]\nownr = 'jane'\n"),
        ("policies/agents.cedar", "permit (principal, action, resource);"),
        ("keys/token.jwk", "{}"),
        ("keys/feed.jwk", None),
        ("keys/development/bundle.json", '{"keys": []}'),
        ("keys/epoch", "nonsense"),
    ],
)
def test_a_broken_file_stops_the_start_and_is_named(folder: Path, path: str, content: str | None) -> None:
    file = folder / path
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_text(content)
        file.chmod(0o600)
    with pytest.raises(ConfigurationError) as refused:
        Broker(configured(folder), fake_backend().stores, clock=SystemClock())
    assert str(file.parent) in str(refused.value)


def certified_for_mutual_tls(folder: Path) -> Certificates:
    """Have the broker of a folder listen with mutual TLS, and know an intermediate."""
    certificates = Certificates(folder / "tls")
    trust(folder, certificates.root)
    written = (folder / "broker.toml").read_text()
    own = 'tls_certificate = "tls/server.pem"\ntls_key = "tls/server.key"\n' + f'mtls_listen = "127.0.0.1:{free_port()}"\n'
    (folder / "broker.toml").write_text(f'{own}{written}intermediates = "tls/middle.pem"\n')
    return certificates


@pytest.mark.parametrize("name", ["server.pem", "server.key", "middle.pem"])
def test_a_broken_certificate_stops_the_start_beside_all_else_that_is_broken(folder: Path, name: str) -> None:
    certified_for_mutual_tls(folder)
    (folder / "tls" / name).write_text("nothing")
    (folder / "keys" / "token.jwk").unlink()
    with pytest.raises(ConfigurationError) as refused:
        configured(folder)
    assert len(refused.value.problems) == 2
    assert ("middle.pem" if name == "middle.pem" else "tls_certificate") in str(refused.value)


async def test_a_worker_listens_with_mutual_tls_for_as_long_as_it_runs(folder: Path) -> None:
    """Beside the server that runs it, in its event loop, and a leaf alone is enough where the rest of its path is known."""
    certificates = certified_for_mutual_tls(folder)
    own = certificates.identity()
    configuration = configured(folder)
    broker = Broker(configuration, app.connect(configuration.settings), clock=SystemClock())
    assert configuration.settings.mtls_address is not None
    url = f"https://localhost:{configuration.settings.mtls_address[1]}"
    async with httpx2.AsyncClient(verify=own.context, trust_env=False) as client:
        async with broker.application().lifespan():
            await asyncio.to_thread(eventually, broker.follower.is_current)
            opened = await client.post(f"{url}/v1/tasks", json={"type": "summarise-ticket"})
            assert opened.status_code == 201
        with pytest.raises(httpx2.TransportError):
            await client.post(f"{url}/v1/tasks", json={"type": "summarise-ticket"})
    alone = Presented(unverified_chain=(own.der,))
    assert (await broker.identities.authenticate(alone)).certificate == thumbprint(own.der)


def test_without_a_redis_url_the_store_is_inside_the_process_and_exists_once(folder: Path) -> None:
    """What it counts would be wrong otherwise (`DESIGN.md` 3.1)."""
    settled = configured(folder).settings
    first = app.connect(settled)
    assert first.follower.run_id == first.shared.run_id != ""
    with pytest.raises(ConfigurationError) as refused:
        app.connect(settled)
    assert "redis_url" in str(refused.value)
    first.follower.close()


def test_whether_the_embedded_store_is_free_can_be_asked_without_taking_it(folder: Path) -> None:
    settled = configured(folder).settings
    for _ in range(2):
        app.check_free(settled)
    stores = app.connect(settled)
    with pytest.raises(ConfigurationError):
        app.check_free(settled)
    stores.follower.close()


async def test_a_worker_that_is_told_to_stop_ends_its_streams_and_lets_its_server_stop(folder: Path) -> None:
    """The server waits for its streams, which never end by themselves."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    frames: list[bytes] = []
    configuration = configured(folder)
    broker = Broker(configuration, app.connect(configuration.settings), clock=SystemClock())
    try:
        async with broker.running(None):  # type: ignore[arg-type]
            await asyncio.to_thread(eventually, broker.follower.is_current)
            broker.streams.join(CRM, frames.append)
            signal.raise_signal(signal.SIGTERM)
            await asyncio.to_thread(eventually, lambda: b"" in frames)
    finally:
        mine = signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM]
    assert mine is not before


async def test_the_embedded_store_issues_and_revokes_with_all_its_threads_running(folder: Path) -> None:
    configuration = configured(folder)
    broker = Broker(configuration, app.connect(configuration.settings), clock=SystemClock())
    world = World.__new__(World)
    world.broker, world.folder, world.clock = broker, folder, SystemClock()  # type: ignore[assignment]
    async with broker.running(None):  # type: ignore[arg-type]
        await asyncio.to_thread(eventually, broker.follower.is_current)
        issued = await world.issue()
        await world.revoke(lease=issued.lease_id)
        await asyncio.to_thread(eventually, lambda: broker.streams.picture.seq == 1)
        assert (await broker.leases.find(issued.lease_id, broker.streams.picture)).status == "revoked"
    assert not any(thread.is_alive() for thread in followers())


async def test_the_keys_of_those_who_vouch_for_users_are_followed_while_it_runs(folder: Path) -> None:
    told: list[str] = []

    class Followed(JwksFile):
        def start(self) -> None:
            told.append("start")

        def close(self) -> None:
            told.append("close")

    corp = TrustedUsers("corp", "https://login.corp.test", CRM, Followed(jwks_file(folder, "corp", new_key())), "groups")
    configuration = configured(folder)._replace(users=(corp,))
    broker = Broker(configuration, app.connect(configuration.settings), clock=SystemClock())
    async with broker.running(None):  # type: ignore[arg-type]
        assert told == ["start"]
    assert told == ["start", "close"]


async def test_the_application_answers_and_is_ready_when_its_follower_is(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("BROKER_CONFIG", str(folder / "broker.toml"))
    application = app.create()
    async with Exchange(application, "/readyz") as before:
        assert before.status == 503
    async with application.lifespan():
        await asyncio.to_thread(eventually, lambda: len(followers()) == 1)
        for _ in range(3_000):
            async with Exchange(application, "/readyz") as answer:
                if answer.status == 200:
                    break
            await asyncio.sleep(0.01)
        assert answer.status == 200
        async with Exchange(application, "/v1/feed", aud=CRM) as snapshot:
            assert snapshot.status == 200
        async with Exchange(application, "/healthz") as alive:
            assert alive.status == 200


async def test_with_a_redis_url_workers_share_the_store(folder: Path, redis_url: str) -> None:
    settled = configured(folder, redis_url=redis_url).settings
    first, second = app.connect(settled), app.connect(settled)
    await first.shared.call("SET", "ab:{s00}:shared", "yes")
    assert await second.shared.call("GET", "ab:{s00}:shared") == b"yes"
    assert second.follower.call("GET", "ab:{s00}:shared") == b"yes"
    for stores in (first, second):
        await stores.shared.close()
        stores.follower.close()


def followers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "feed-follower"]
