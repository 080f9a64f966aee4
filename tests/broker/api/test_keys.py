"""`/v1/keys`: operators see the broker's keys, and administrators rotate them."""

from typing import Any

import pytest

from tests.broker.front import Front, problem_of

BODY: dict[str, Any] = {"reason": "a drill"}


async def test_keys_are_listed_with_their_state_and_nothing_private(front: Front) -> None:
    await front.post("/v1/keys/rotate", BODY)
    listed = (await front.get("/v1/keys")).json()
    assert sorted((key["use"], key["state"]) for key in listed["keys"]) == [
        ("feed", "active"),
        ("token", "active"),
        ("token", "prepared"),
    ]
    members = {"kid", "use", "alg", "kept", "state", "prepared", "activates", "retires", "forgets"}
    assert all(set(key) == members for key in listed["keys"])


@pytest.mark.parametrize("use", ["token", "feed"])
async def test_a_rotation_says_which_key_is_next_and_when(front: Front, use: str) -> None:
    answer = await front.post("/v1/keys/rotate", {**BODY, "use": use})
    assert answer.status_code == 202
    key = answer.json()["key"]
    assert (key["use"], key["state"], answer.json()["revocation"]) == (use, "prepared", None)
    assert key["activates"] > key["prepared"]


async def test_with_now_the_key_signs_at_once(front: Front) -> None:
    key = (await front.post("/v1/keys/rotate", {**BODY, "now": True})).json()["key"]
    assert (key["state"], key["kid"]) == ("active", front.world.broker.keys.token.kid)


async def test_a_key_that_is_revoked_is_replaced_and_its_tokens_end(front: Front) -> None:
    front.world.follow()
    stolen = front.world.broker.keys.token.kid
    answer = await front.post("/v1/keys/rotate", {**BODY, "revoke": stolen})
    assert answer.status_code == 202
    assert answer.json()["revocation"].startswith("evt_")
    front.world.follow()
    assert (await front.token()).status_code == 200
    assert stolen not in (await front.get("/oauth/jwks.json", None)).text


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({**BODY, "revoke": "nobody's"}, (404, "not_found", "not_found")),
        ({"reason": ""}, (400, "invalid_request", "invalid_request")),
        ({}, (400, "invalid_request", "invalid_request")),
        ({**BODY, "use": "session"}, (400, "invalid_request", "invalid_request")),
        ({**BODY, "now": "yes"}, (400, "invalid_request", "invalid_request")),
        ({**BODY, "later": True}, (400, "invalid_request", "invalid_request")),
    ],
)
async def test_what_makes_no_sense_is_refused(front: Front, body: dict[str, Any], answer: Any) -> None:
    status, code, _ = problem_of(await front.post("/v1/keys/rotate", body))
    assert (status, code) == answer[:2]


async def test_a_key_of_the_other_kind_is_not_revoked_by_mistake(front: Front) -> None:
    front.world.follow()
    body = {**BODY, "use": "feed", "revoke": front.world.broker.keys.token.kid}
    assert (await front.post("/v1/keys/rotate", body)).status_code == 400


@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, (401, "invalid_client", "")),
        ("bot", (403, "access_denied", "not_an_operator")),
        ("crm", (403, "access_denied", "not_registered")),
        ("watcher", (403, "access_denied", "not_permitted")),
        ("olga", (403, "access_denied", "not_permitted")),
    ],
    ids=["nobody", "an agent", "a service", "an auditor", "an operator"],
)
async def test_only_administrators_rotate(front: Front, caller: str | None, answer: Any) -> None:
    assert problem_of(await front.post("/v1/keys/rotate", BODY, caller)) == answer


@pytest.mark.parametrize("caller", ["olga", "watcher"])
async def test_operators_and_auditors_see_the_keys(front: Front, caller: str) -> None:
    assert (await front.get("/v1/keys", caller)).status_code == 200


@pytest.mark.parametrize("caller", [None, "bot", "crm"])
async def test_nobody_else_does(front: Front, caller: str | None) -> None:
    assert (await front.get("/v1/keys", caller)).status_code in {401, 403}
