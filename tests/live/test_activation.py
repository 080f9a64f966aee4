"""Two replicas with three workers and folders of their own never decide differently, whatever lies in their folders."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from tests.broker.gate import Gate
from tests.broker.redis_server import RedisServer
from tests.broker.world import ISSUER, write_files
from tests.live.conftest import Site
from tests.live.replica import Replica

FORBID = '@id("nothing-goes") forbid (principal is Agent, action, resource is Record);'


class Fleet(NamedTuple):
    """Two replicas: the site's is that of the first; the second has a copy of its files."""

    site: Site
    folders: tuple[Path, Path]

    @property
    def replicas(self) -> tuple[Replica, Replica]:
        return self.site.replicas

    def reasons(self, times: int = 4) -> set[str]:
        """Ask every replica so often that every worker of it will have answered; return why tokens are refused."""
        return {reason(replica.token(self.site.svid())) for replica in self.replicas for _ in range(times)}

    def get(self, replica: Replica, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.site.operator()}"}
        return httpx2.get(f"{replica.url}{path}", headers=headers, timeout=30).json()

    def activate(self, replica: Replica, folder: Path) -> httpx2.Response:
        names = {"registry": "*.toml", "policies": "*.cedar"}
        files = {name: {path.name: path.read_text() for path in (folder / name).glob(names[name])} for name in names}
        headers = {"Authorization": f"Bearer {self.site.operator()}"}
        return httpx2.post(f"{replica.url}/v1/activations", json={**files, "reason": "a test"}, headers=headers, timeout=20)

    def records(self, kind: str) -> list[dict[str, Any]]:
        found, cursor = [], ""
        while events := self.get(self.replicas[0], f"/v1/audit/events?cursor={cursor}")["events"]:
            found += [event for event in events if event["kind"] == kind]
            cursor = events[-1]["cursor"]
        return found


def reason(response: httpx2.Response) -> str:
    return "" if response.status_code == 200 else response.json().get("reason", "")


def until(condition: Callable[[], bool], *, within: float = 20) -> None:
    pause = threading.Event()
    for _ in range(int(within / 0.1)):
        if condition():
            return
        pause.wait(0.1)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    folders = tmp_path / "one", tmp_path / "two"
    server, gate = RedisServer(tmp_path / "redis"), Gate(0)
    write_files(folders[0])
    toml = (folders[0] / "broker.toml").read_text().replace(ISSUER, f"http://127.0.0.1:{gate.port}")
    (folders[0] / "broker.toml").write_text(f'redis_url = "{server.url}"\n{toml}')
    shutil.copytree(folders[0], folders[1])
    replicas = Replica(folders[0], workers=2), Replica(folders[1])
    try:
        for replica in replicas:
            replica.wait_until_ready()
        yield Fleet(Site(folders[0], server, gate, replicas), folders)
    finally:
        for replica in replicas:
            replica.end()
        gate.close()
        server.end()


def test_a_change_of_one_folder_is_in_force_everywhere_and_no_other_folder_undoes_it(fleet: Fleet) -> None:
    assert fleet.reasons() == {""}
    (fleet.folders[0] / "policies" / "forbid.cedar").write_text(FORBID)
    until(lambda: fleet.reasons() == {"forbidden"})
    pause = threading.Event()
    for _ in range(6):
        pause.wait(0.5)
        assert fleet.reasons(1) == {"forbidden"}
    assert "differ" in fleet.get(fleet.replicas[1], "/readyz")["problem"]
    assert len(fleet.records("configuration.activated")) == 1
    # What the second folder says now is what is in force, and nobody has to do anything.
    shutil.copy(fleet.folders[0] / "policies" / "forbid.cedar", fleet.folders[1] / "policies")
    until(lambda: "problem" not in fleet.get(fleet.replicas[1], "/readyz"))
    assert len(fleet.records("configuration.activated")) == 1


def test_broken_files_change_nothing_and_are_recorded_once_for_all_workers_of_a_replica(fleet: Fleet) -> None:
    more = fleet.folders[0] / "registry" / "more.toml"
    more.write_text("[agents.")
    until(lambda: all("broken" in fleet.get(fleet.replicas[0], "/readyz").get("problem", "") for _ in range(4)))
    assert fleet.reasons() == {""}
    assert len(fleet.records("configuration.rejected")) == 1
    more.write_text('[agents.new-bot]\nowner = "jane@example.com"\n')
    until(lambda: "new-bot" in str(fleet.get(fleet.replicas[1], "/v1/agents")))


def test_under_load_nothing_is_decided_by_the_old_one_after_the_answer(fleet: Fleet) -> None:
    """A replica that issues under the old policy after the new one is in force (TRAPS 15c)."""
    answered, stop = threading.Event(), threading.Event()
    old = fleet.get(fleet.replicas[0], "/v1/configuration")["digest"]

    def ask(replica: Replica) -> list[tuple[bool, str]]:
        seen = []
        while not stop.is_set():
            began_after = answered.is_set()
            seen.append((began_after, reason(replica.token(fleet.site.svid()))))
            stop.wait(0.01)
        return seen

    sent = fleet.folders[0].parent / "sent"
    for name in ("registry", "policies"):
        shutil.copytree(fleet.folders[0] / name, sent / name)
    (sent / "policies" / "forbid.cedar").write_text(FORBID)
    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(ask, replica) for replica in fleet.replicas for _ in range(2)]
        try:
            until(lambda: all(replica.token(fleet.site.svid()).status_code == 200 for replica in fleet.replicas))
            done = fleet.activate(fleet.replicas[1], sent)
            answered.set()
            until(lambda: fleet.reasons() == {"forbidden"})
        finally:
            stop.set()
    assert done.status_code == 200
    seen = [one for future in asking for one in future.result()]
    assert {known for began_after, known in seen if began_after} <= {"configuration_pending", "forbidden"}
    assert {known for _, known in seen} <= {"", "configuration_pending", "forbidden"}
    assert {record["policy_version"] for record in fleet.records("token.issued")} == {old}
    assert {record["policy_version"] for record in fleet.records("token.refused")} == {done.json()["digest"]}


def test_a_store_that_is_lost_gets_back_what_was_in_force_and_not_what_lies_in_the_folders(fleet: Fleet) -> None:
    sent = fleet.folders[0].parent / "sent"
    for name in ("registry", "policies"):
        shutil.copytree(fleet.folders[0] / name, sent / name)
    (sent / "policies" / "forbid.cedar").write_text(FORBID)
    digest = fleet.activate(fleet.replicas[0], sent).json()["digest"]
    fleet.site.server.kill()
    fleet.site.server.start()
    for replica in fleet.replicas:
        replica.wait_until_ready()
    until(lambda: fleet.reasons() == {"forbidden"})
    assert {fleet.get(replica, "/v1/configuration")["digest"] for replica in fleet.replicas} == {digest}
