"""The broker's token key rotates under load: two workers as real processes, ten verifiers, and nobody is refused."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import redis

from broker import private_key_file
from broker.api.token import CLIENT_CREDENTIALS, JWT_SPIFFE
from broker.identity import development
from broker.keys.record import PUBLISHED
from scopes import InvalidToken, Revoked, VerificationError, Verifier, jose, ulid
from scopes.issuer_keys import IssuerKeys
from tests.broker.redis_server import RedisServer, free_port
from tests.broker.world import BOT, CRM, CRM_WORKLOAD, ISSUER, MovedClock, write_files
from tests.live.replica import ROOT
from tests.live.time_machine import POLL, PROCESSES

VERIFIERS = 10
RESOURCE = "crm:ticket/4711"
STEP = 10_000
"""The milliseconds that pass at once: less than the staleness bound of reading."""

SECONDS = 60
"""How long anything may take here by the real clock."""


class Site:
    """One broker with two workers, its verifiers, and the time of all of them."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self.folder = folder
        self.client = redis.Redis.from_url(server.url)
        self.clock = MovedClock(self.client)
        self.passed = 0
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        write_files(folder)
        written = (folder / "broker.toml").read_text().replace(ISSUER, self.url)
        (folder / "broker.toml").write_text(f'redis_url = "{server.url}"\n{written}')
        self._log = (folder / "broker.log").open("wb")
        command = [sys.executable, "-m", "tests.live.time_machine", str(folder / "broker.toml"), f"127.0.0.1:{port}", "2"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=self._log, stderr=self._log)
        self.verifiers: list[Verifier] = []

    def start(self) -> None:
        eventually(lambda: self._status() == httpx2.codes.OK)
        for _ in range(VERIFIERS):
            self.verifiers.append(Verifier(self.url, CRM, lambda: self.svid(CRM_WORKLOAD), clock=self.clock))
        for verifier in self.verifiers:
            verifier.wait_until_ready(SECONDS)

    def end(self) -> None:
        for verifier in self.verifiers:
            verifier.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._log.close()
            self.client.close()

    def pass_time(self, milliseconds: int) -> None:
        """Let time pass everywhere: processes first, so that none is behind the store."""
        for _ in range(0, milliseconds, STEP):
            self.passed += STEP
            self.client.set(PROCESSES, self.passed)
            pause(20 * POLL)
            self.clock.advance(STEP)
            pause(0.25)

    def svid(self, workload: str = BOT) -> str:
        return development.sign_svid(self.folder / "keys" / "development", workload, audience=self.url, clock=self.clock)

    def token(self) -> dict[str, Any]:
        form = {
            "grant_type": CLIENT_CREDENTIALS,
            "client_assertion_type": JWT_SPIFFE,
            "client_assertion": self.svid(),
            "scope": f"{RESOURCE}#read[subject]",
        }
        answer = httpx2.post(f"{self.url}/oauth/token", data=form, timeout=30)
        assert answer.status_code == httpx2.codes.OK, answer.text
        answered: dict[str, Any] = answer.json()
        return answered

    def publishes(self, kid: str) -> bool:
        """Tell whether the worker that a new connection reaches publishes the key."""
        return kid in httpx2.get(f"{self.url}/oauth/jwks.json", timeout=30).text

    def rotate(self, **wanted: Any) -> dict[str, Any]:
        now = self.clock.now().wall
        claims = {
            "iss": "admin",
            "sub": "admin",
            "aud": self.url,
            "iat": now // 1000,
            "exp": now // 1000 + 60,
            "jti": ulid.new(now),
        }
        assertion = jose.write(msgspec.json.encode(claims), type="JWT", key=private_key_file.read(self.folder / "admin.jwk"))
        headers = {"Authorization": f"Bearer {assertion}"}
        answer = httpx2.post(f"{self.url}/v1/keys/rotate", json={"reason": "a drill", **wanted}, headers=headers, timeout=30)
        assert answer.status_code == httpx2.codes.ACCEPTED, answer.text
        answered: dict[str, Any] = answer.json()
        return answered

    def _status(self) -> int:
        assert self._process.poll() is None, (self.folder / "broker.log").read_text()
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5).status_code
        except httpx2.HTTPError:
            return 0


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each verifier fetched the token keys."""
    counted: Counter[int] = Counter()
    fetch = IssuerKeys._fetch

    def count(keys: IssuerKeys) -> Any:
        counted[id(keys)] += 1
        return fetch(keys)

    monkeypatch.setattr(IssuerKeys, "_fetch", count)
    return counted


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer, fetches: Counter[int]) -> Iterator[Site]:
    made = Site(tmp_path / "broker", redis_server)
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    yield server
    server.end()


class Load:
    """Asks for tokens and shows each to every verifier, until it is told to stop."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stopping = threading.Event()
        self.refused: list[str] = []
        self.tokens: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._repeat) for _ in range(2)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(SECONDS)

    def _repeat(self) -> None:
        while not self._stopping.is_set():
            try:
                token = self._site.token()["access_token"]
                self.refused += [f"{error!r}" for error in (refusal(one, token) for one in self._site.verifiers) if error]
                self.tokens[kid_of(token)] += 1
            except (AssertionError, httpx2.HTTPError) as error:
                self.refused.append(f"not issued: {error!r}")
            self._stopping.wait(0.05)


def test_a_scheduled_rotation_refuses_no_good_token_and_costs_each_verifier_one_fetch(
    site: Site, fetches: Counter[int]
) -> None:
    """TRAPS 5: no verifier meets a key that it has not fetched in its usual interval."""
    old = kid_of(site.token()["access_token"])
    fetches.clear()
    with Load(site) as load:
        new = site.rotate()["key"]
        assert new["state"] == "prepared"
        site.pass_time(300_000)
        # Their threads sleep by the real clock; by the moved one their interval is over.
        for verifier in site.verifiers:
            verifier._keys._background.wake()
        site.pass_time(PUBLISHED - 300_000)
        eventually(lambda: load.tokens[new["kid"]] > 50)
    print(f"tokens by key: {dict(load.tokens)}, refused: {len(load.refused)}, fetches: {sorted(fetches.values())}")
    assert load.refused == []
    assert load.tokens[old] > 50
    assert list(fetches.values()) == [1] * VERIFIERS


def test_with_now_each_verifier_fetches_once_and_not_all_at_once(site: Site, fetches: Counter[int]) -> None:
    """The price of an emergency: tokens of the new key are refused until it is fetched, and no others."""
    before = site.token()["access_token"]
    site.pass_time(STEP)
    fetches.clear()
    new = site.rotate(now=True)["key"]["kid"]
    token = eventually_signed_with(site, new)
    # A worker hears of a key within a fifth of a second; whoever fetches from one that has not comes back ten seconds later.
    eventually(lambda: all(site.publishes(new) for _ in range(30)))
    assert all(isinstance(refusal(verifier, token), InvalidToken) for verifier in site.verifiers)
    assert not any(refusal(verifier, before) for verifier in site.verifiers)
    eventually(lambda: not any(refusal(verifier, token) for verifier in site.verifiers))
    assert list(fetches.values()) == [1] * VERIFIERS
    assert not any(refusal(verifier, before) for verifier in site.verifiers)


def test_a_stolen_key_is_revoked_its_tokens_are_refused_and_new_ones_are_accepted(site: Site) -> None:
    token = site.token()["access_token"]
    assert not any(refusal(verifier, token) for verifier in site.verifiers)
    site.pass_time(STEP)
    replaced = site.rotate(revoke=kid_of(token))
    assert replaced["revocation"].startswith("evt_")
    eventually(lambda: all(isinstance(refusal(verifier, token), Revoked | InvalidToken) for verifier in site.verifiers))
    fresh = eventually_signed_with(site, replaced["key"]["kid"])
    eventually(lambda: not any(refusal(verifier, fresh) for verifier in site.verifiers))
    assert all(refusal(verifier, token) for verifier in site.verifiers)


def refusal(verifier: Verifier, token: str) -> VerificationError | None:
    try:
        verifier.verify(token, action="read", resource=RESOURCE, fields=["subject"])
    except VerificationError as error:
        return error
    return None


def kid_of(token: str) -> str:
    return jose.read(token, types=frozenset({"at+jwt"})).unverified_header.kid


def eventually_signed_with(site: Site, kid: str) -> str:
    """Ask until the worker that answers has heard of the key: a fifth of a second at most."""
    for _ in range(SECONDS * 10):
        token: str = site.token()["access_token"]
        if kid_of(token) == kid:
            return token
        pause(0.02)
    raise AssertionError("no worker signs with the new key")


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(SECONDS * 50):
        if condition():
            return
        pause(0.02)
    raise AssertionError("it did not come to that")


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)
