"""`broker serve`: nothing listens before everything is checked, and it ends when it is told to."""

import datetime
import ipaddress
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.cli.serve import STOP_TIMEOUT
from scopes.clock import SystemClock
from tests.broker.cli.served import Served, make
from tests.broker.cli.typed import run, start
from tests.broker.redis_server import free_port

SUBJECT = "crm:ticket/4711#read[subject]"
AUDIENCE = "https://crm.example.com"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "broker"
    make(made)
    return made


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    broker = Served(tmp_path_factory.mktemp("embedded"))
    yield broker.started("--json")
    broker.end()


def serve(folder: Path, *options: str):
    """Serve what is not expected to get as far as listening."""
    return run("serve", "--config", str(folder / "broker.toml"), "--listen", f"127.0.0.1:{free_port()}", *options)


def test_the_first_token_comes_from_what_init_made_and_nothing_else(embedded):
    assert embedded.act("token", "request", SUBJECT).code == 0
    assert "crm:ticket/4711" in embedded.operate("lease", "list").out


def test_people_are_told_where_it_is_what_is_loaded_and_that_nothing_is_kept(tmp_path):
    broker = Served(tmp_path / "broker").start()
    try:
        kept, started = broker.process.stderr.readline(), broker.process.stderr.readline()
    finally:
        done = broker.end()
    assert "nothing is kept" in kept
    assert started == f"Agent Broker listens on {broker.url} (store: embedded, workers: 1, agents: 1, policies: 14).\n"
    assert (done.code, done.out, done.err) == (0, "", "")


def test_whoever_watches_the_feed_is_told_when_it_ends_and_looks_for_the_broker_again(tmp_path):
    broker = Served(tmp_path / "broker").started()
    watching = start(["feed", "watch", "--audience", AUDIENCE, "--broker", broker.url, "--json"])
    snapshot = msgspec.json.decode(watching.stdout.readline())
    assert (snapshot["type"], snapshot["aud"]) == ("snapshot", AUDIENCE)
    assert msgspec.json.decode(watching.stdout.readline())["type"] == "message"
    broker.end()
    _, err = watching.communicate(timeout=30)
    assert "The stream ended; connecting again." in err
    assert watching.returncode == 3


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_also_while_streams_are_open(tmp_path, how):
    """A server waits for its streams to end, and these never end by themselves."""
    broker = Served(tmp_path / "broker").start("--json")
    said = msgspec.json.decode(broker.process.stdout.readline())
    assert (said["url"], said["agents"], said["store"]) == (broker.url, 1, "embedded")
    broker.wait_until_ready()
    with (
        httpx2.Client(trust_env=False) as client,
        client.stream("GET", f"{broker.url}/v1/feed/stream", params={"aud": AUDIENCE}) as stream,
    ):
        frames = stream.iter_raw()
        next(frames)
        before = SystemClock().now()
        broker.process.send_signal(how)
        rest = b"".join(frames)
    done = broker.end()
    assert done.code == 0
    assert SystemClock().now().since(before) < STOP_TIMEOUT * 1000
    assert "Traceback" not in done.err
    assert "refused to gracefully stop" not in done.err
    assert rest == b"" or rest.endswith(b"\n\n")


def test_a_second_broker_on_the_same_keys_is_refused_while_the_store_is_embedded(embedded):
    done = serve(embedded.folder)
    assert done.code == 2
    assert "another broker runs with the embedded store" in done.err


def test_a_port_that_is_taken_is_refused_though_workers_share_theirs(folder):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", "--config", str(folder / "broker.toml"), "--listen", listen)
    assert done.code == 2
    assert listen in done.err


def test_a_port_for_mutual_tls_that_is_taken_is_refused_too(tmp_path, monkeypatch):
    broker = tls_broker(tmp_path, monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("BROKER_MTLS_LISTEN", listen)
        done = run("serve", *broker.config)
    assert done.code == 2
    assert f"mtls_listen: cannot listen on {listen}" in done.err


def test_people_are_told_where_certificates_are_taken(tmp_path, monkeypatch):
    listen = f"127.0.0.1:{free_port()}"
    broker = tls_broker(tmp_path, monkeypatch, mtls_listen=listen).start()
    try:
        said = [broker.process.stderr.readline() for _ in range(3)]
    finally:
        broker.end()
    assert said[2] == f"With mutual TLS it listens on {listen}; clients reach that at https://{listen}.\n"


def tls_broker(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Served:
    """Make a broker with a certificate of its own, and have every command read its settings."""
    listen = f"127.0.0.1:{free_port()}"
    tls = {"tls_certificate": "broker.crt", "tls_key": "broker.key", **settings}
    broker = Served(folder / "broker", listen=listen, issuer=f"https://{listen}", **tls)
    certify(broker.folder)
    for name, value in broker.environment.items():
        monkeypatch.setenv(name, value)
    return broker


def test_without_a_configuration_it_names_what_makes_one(tmp_path):
    done = serve(tmp_path)
    assert done.code == 2
    assert "broker init" in done.err


def test_every_problem_is_named_before_anything_listens(folder):
    folder.joinpath("registry", "example.toml").write_text("[agents.bot]\nownr = 1\n")
    folder.joinpath("keys", "feed.jwk").unlink()
    done = serve(folder)
    assert done.code == 2
    assert "did you mean 'owner'" in done.err
    assert "feed.jwk" in done.err


def test_more_than_one_process_needs_a_store_outside_of_them(folder):
    done = serve(folder, "--workers", "2")
    assert done.code == 2
    assert "redis_url" in done.err


@pytest.mark.parametrize("listen", ["0.0.0.0:8750", "nowhere", "127.0.0.1:70000"])
def test_an_address_that_cannot_or_must_not_be_listened_on_is_refused(folder, listen):
    done = run("serve", "--config", str(folder / "broker.toml"), "--listen", listen)
    assert done.code == 2
    assert "listen" in done.err


def test_a_certificate_that_cannot_be_used_is_refused(folder, monkeypatch):
    monkeypatch.setenv("BROKER_TLS_CERTIFICATE", "missing.crt")
    monkeypatch.setenv("BROKER_TLS_KEY", "missing.key")
    done = serve(folder)
    assert done.code == 2
    assert "tls_certificate" in done.err


def test_with_a_certificate_it_speaks_tls(tmp_path):
    listen = f"127.0.0.1:{free_port()}"
    tls = {"tls_certificate": "broker.crt", "tls_key": "broker.key"}
    broker = Served(tmp_path / "broker", listen=listen, issuer=f"https://{listen}", **tls)
    certify(broker.folder)
    broker.start("--json")
    try:
        assert f'"url": "https://{listen}"' in broker.process.stdout.readline()
        trusted = ssl.create_default_context(cafile=str(broker.folder / "broker.crt"))
        with httpx2.Client(verify=trusted, trust_env=False) as client:
            assert client.get(f"https://{listen}/healthz").status_code == 200
    finally:
        broker.end()


def certify(folder: Path) -> None:
    """Make a certificate for this machine, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.fromtimestamp(SystemClock().now().wall / 1000, tz=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.joinpath("broker.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    folder.joinpath("broker.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


# The store


def on(redis_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str):
    monkeypatch.setenv("BROKER_REDIS_URL", redis_url)
    return serve(folder, *options)


def test_a_redis_that_may_evict_is_refused_with_the_setting_to_change(redis_server, folder, monkeypatch):
    redis_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    done = on(redis_server.url, folder, monkeypatch)
    assert done.code == 2
    assert "maxmemory-policy is allkeys-lru" in done.err
    assert "set it to noeviction" in done.err


def test_a_replica_is_refused(redis_server, folder, monkeypatch):
    redis_server.call("REPLICAOF", "127.0.0.1", 1)
    done = on(redis_server.url, folder, monkeypatch)
    assert done.code == 2
    assert "replica" in done.err


def test_a_redis_that_does_not_take_the_password_is_refused_without_printing_it(redis_server, folder, monkeypatch):
    redis_server.call("CONFIG", "SET", "requirepass", "right")
    done = on(redis_server.url.replace("//", "//:wr0ng@"), folder, monkeypatch)
    assert done.code == 2
    assert "refuses the broker" in done.err
    assert "wr0ng" not in done.err


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379", "redis://127.0.0.1:port/0"])
def test_what_is_no_redis_url_is_refused(folder, monkeypatch, url):
    done = on(url, folder, monkeypatch)
    assert done.code == 2
    assert "redis_url" in done.err


def test_a_redis_that_does_not_answer_is_a_warning_and_the_broker_waits_for_it(tmp_path, redis_server):
    redis_server.kill()
    broker = Served(tmp_path / "broker", redis_url=redis_server.url).start("--json")
    try:
        assert broker.url in broker.process.stdout.readline()
        assert broker.status() == 503
        redis_server.start()
        broker.wait_until_ready()
    finally:
        done = broker.end()
    assert done.code == 0
    assert "warning: redis_url: the server does not answer" in done.err


def test_a_worker_that_died_comes_back(tmp_path, redis_server):
    broker = Served(tmp_path / "broker", redis_url=redis_server.url).started("--workers", "2")
    try:
        died = workers(broker).pop()
        os.kill(died, signal.SIGKILL)
        pause = threading.Event()
        while len(now := workers(broker)) != 2 or died in now:
            pause.wait(0.02)
        broker.wait_until_ready()
    finally:
        done = broker.end()
    assert done.code == 0
    assert "Respawning" not in done.err


def workers(broker: Served) -> set[int]:
    """The process ids of a broker's workers."""
    listed = Path(f"/proc/{broker.process.pid}/task/{broker.process.pid}/children").read_text()
    return set(map(int, listed.split()))


def test_an_issuer_that_is_not_where_it_listens_is_pointed_out(tmp_path):
    broker = Served(tmp_path / "broker", issuer="http://localhost:8750").start()
    lines = [broker.process.stderr.readline() for _ in range(3)]
    broker.end()
    assert "Its name is http://localhost:8750" in lines[-1]
