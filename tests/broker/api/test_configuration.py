"""`/v1/activations` and `/v1/configuration`."""

import json
from typing import Any

import pytest

from broker.api.configuration import MAX_SENT
from tests.broker.front import Front, error_of, problem_of

FORBID = '@id("nothing-goes") forbid (principal is Agent, action, resource is Record);'


def sent(front: Front, **changes: Any) -> dict[str, Any]:
    """Return the files of the folder as they are sent, changed."""
    folder = front.world.folder
    registry = {path.name: path.read_text() for path in (folder / "registry").glob("*.toml")}
    policies = {path.name: path.read_text() for path in (folder / "policies").glob("*.cedar")}
    return {"registry": registry, "policies": policies, "reason": "a test", **changes}


def more(front: Front) -> dict[str, Any]:
    good = sent(front)
    return {**good, "policies": {**good["policies"], "more.cedar": FORBID}}


async def configuration(front: Front) -> dict[str, Any]:
    response = await front.get("/v1/configuration")
    assert response.status_code == 200
    return response.json()


async def test_an_activation_is_answered_with_what_it_changed_and_where_it_stands(front: Front) -> None:
    response = await front.post("/v1/activations", more(front))
    assert response.status_code == 200
    done = response.json()
    assert done["changes"] == [{"what": "policy", "name": "nothing-goes", "how": "added"}]
    assert (done["new"], done["seq"], done["epoch"]) == (True, 1, front.world.broker.streams.picture.epoch)
    assert error_of(await front.token())[2] == "forbidden"
    known = await configuration(front)
    assert (known["digest"], known["by"], known["said"], known["seq"]) == (done["digest"], "admin", "a test", 1)


async def test_to_try_is_answered_without_a_place(front: Front) -> None:
    done = (await front.post("/v1/activations", {**more(front), "dry_run": True})).json()
    assert (done["new"], done["seq"], done["epoch"], len(done["changes"])) == (True, None, None, 1)
    assert (await front.token()).status_code == 200


async def test_what_is_in_force_already_is_not_new(front: Front) -> None:
    done = (await front.post("/v1/activations", sent(front))).json()
    assert (done["new"], done["changes"]) == (False, [])


@pytest.mark.parametrize("caller", ["watcher", "olga", "bot", "crm"])
async def test_only_who_may_decide_what_everybody_may_do_activates(front: Front, caller: str) -> None:
    before = (await configuration(front))["digest"]
    response = await front.post("/v1/activations", more(front), caller)
    assert problem_of(response)[:2] == (403, "access_denied")
    assert (await configuration(front))["digest"] == before


async def test_nobody_activates_nothing(front: Front) -> None:
    assert problem_of(await front.post("/v1/activations", more(front), None))[0] == 401


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"registry": {}}, id="no registry"),
        pytest.param({"policies": {}}, id="no policies"),
        pytest.param({"registry": {"all.tml": ""}}, id="a file that no folder would use"),
        pytest.param({"policies": {"../agents.cedar": FORBID}}, id="a path"),
        pytest.param({"policies": {".cedar": FORBID}}, id="an ending without a name"),
        pytest.param({"reason": ""}, id="no reason"),
        pytest.param({"dry_run": 1}, id="a number for yes"),
        pytest.param({"apply": True}, id="a member that is not known"),
        pytest.param({"registry": "all"}, id="no files"),
    ],
)
async def test_a_request_that_is_not_exactly_one_is_refused(front: Front, changes: dict[str, Any]) -> None:
    response = await front.post("/v1/activations", sent(front, **changes))
    assert problem_of(response)[:2] == (400, "invalid_request")


async def test_a_member_twice_is_refused(front: Front) -> None:
    text = json.dumps(sent(front))
    twice = text[:-1] + ', "policies": {"agents.cedar": "permit (principal, action, resource);"}}'
    assert problem_of(await front.post("/v1/activations", twice.encode()))[0] == 400


async def test_a_body_is_bounded(front: Front) -> None:
    good = sent(front)
    padded = {**good, "registry": {**good["registry"], "padding.toml": "#" * 1_000_000}}
    assert (await front.post("/v1/activations", padded)).status_code == 200
    padded["registry"]["padding.toml"] = "#" * MAX_SENT
    assert problem_of(await front.post("/v1/activations", padded))[0] == 413


async def test_every_problem_of_what_was_sent_is_named(front: Front) -> None:
    registry = {"all.toml": "[agents.x]\nowner = 1\n[agents.y]\ntask = []\n"}
    response = await front.post("/v1/activations", sent(front, registry=registry))
    assert problem_of(response)[:2] == (422, "invalid_configuration")
    problems = response.json()["problems"]
    assert len(problems) == 2
    assert all(problem.startswith("registry/all.toml: agents.") for problem in problems)


async def test_one_that_comes_second_is_told(front: Front, monkeypatch) -> None:
    """Two pipelines at once: the second must not come over the first unseen."""
    follower = front.world.broker.follower
    earlier = follower.activated
    await front.post("/v1/activations", more(front))
    monkeypatch.setattr(follower, "activated", earlier)
    front.deaf = True
    response = await front.post("/v1/activations", sent(front, policies={"one.cedar": FORBID}))
    assert problem_of(response)[:2] == (409, "conflict")


async def test_what_is_in_force_is_shown_with_the_workers_that_decide_by_it(front: Front) -> None:
    known = await configuration(front)
    assert known["digest"] == front.world.broker.adoption.digest
    assert (known["files"], known["file_problems"], known["problem"]) == ("same", [], "")
    front.world.follow()
    (worker,) = (await configuration(front))["workers"]
    assert worker["state"] == "current"


async def test_a_worker_that_has_not_swapped_is_behind_and_one_that_is_not_heard_is_silent(front: Front) -> None:
    client = front.world.backend.client
    now = front.world.clock.now().wall
    client.zadd("ab:{feed}:beats", {"behind": now + 10_000, "silent": now - 5_000})
    client.hset("ab:{feed}:working", mapping={"behind": "evt_other", "silent": "evt_other"})
    states = {worker["id"]: worker["state"] for worker in (await configuration(front))["workers"]}
    assert (states["behind"], states["silent"]) == ("behind", "silent")


async def test_files_that_differ_or_are_broken_are_shown_to_operators(front: Front) -> None:
    await front.post("/v1/activations", more(front))
    assert (await configuration(front))["files"] == "differ"
    (front.world.folder / "registry" / "more.toml").write_text("[agents")
    await front.world.look()
    known = await configuration(front)
    assert known["files"] == "broken"
    assert "more.toml" in known["file_problems"][0]


async def test_only_operators_see_what_is_in_force(front: Front) -> None:
    assert (await front.get("/v1/configuration", "watcher")).status_code == 200
    assert problem_of(await front.get("/v1/configuration", "bot"))[0] == 403


async def test_a_replica_with_broken_files_is_ready_and_says_so_without_details(front: Front) -> None:
    assert (await front.get("/readyz", None)).json() == {"status": "ready"}
    (front.world.folder / "registry" / "more.toml").write_text("[agents")
    await front.world.look()
    response = await front.get("/readyz", None)
    assert (response.status_code, response.json()["status"]) == (200, "ready")
    assert "broken" in response.json()["problem"]
    assert "more.toml" not in response.text


async def test_a_worker_that_does_not_decide_by_what_is_in_force_is_not_ready(front: Front, monkeypatch) -> None:
    front.deaf = True
    monkeypatch.setattr(front.world.broker.active, "_rules", None)
    response = await front.get("/readyz", None)
    assert (response.status_code, response.json()["status"]) == (503, "not ready")
    assert error_of(await front.token()) == (503, "temporarily_unavailable", "configuration_pending")


async def metric(front: Front, name: str) -> list[tuple[str, str]]:
    text = (await front.get("/metrics", None)).text
    return [tuple(line.rsplit(" ", 1)) for line in text.splitlines() if line.startswith(name)]  # type: ignore[misc]


async def test_metrics_tell_what_is_in_force_and_whether_the_files_can_be_used(front: Front) -> None:
    before = front.world.broker.adoption.digest
    assert await metric(front, "broker_configuration_broken") == [("broker_configuration_broken", "0.0")]
    done = (await front.post("/v1/activations", more(front))).json()
    assert await metric(front, "broker_configuration_differs") == [("broker_configuration_differs", "1.0")]
    shown = dict(await metric(front, "broker_configuration_info"))
    assert shown[f'broker_configuration_info{{digest="{done["digest"]}"}}'] == "1.0"
    assert shown[f'broker_configuration_info{{digest="{before}"}}'] == "0.0"
    (front.world.folder / "registry" / "more.toml").write_text("[agents")
    await front.world.look()
    assert await metric(front, "broker_configuration_broken") == [("broker_configuration_broken", "1.0")]
