"""A cluster is asked about each token: offline, that of a deleted pod stays good until it expires (TRAPS 10)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.errors import InvalidClient, Unavailable
from broker.identity import TokenReview
from broker.identity.token_review import REMEMBERED_FOR
from broker.outbound import MAX_BYTES, Outbound
from tests.broker.identity.platform_tokens import ACCOUNT, ACCOUNT_UID, CLUSTER, ISSUER, Platforms
from tests.broker.web import Answer, WebServer, trusting, web_authority, web_certificate

CA = web_authority()
GOOD: dict[str, Any] = {
    "authenticated": True,
    "audiences": [ISSUER],
    "user": {"username": ACCOUNT, "uid": ACCOUNT_UID, "groups": ["system:serviceaccounts"], "extra": {"x": ["y"]}},
}


def review(status: dict[str, Any]) -> Answer:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {}, "status": status}
    return Answer(json.dumps(body).encode(), 201)


@pytest.fixture
def server() -> Iterator[WebServer]:
    server = WebServer(web_certificate(CA, "localhost"), answer=review(GOOD))
    yield server
    server.close()


@pytest.fixture
def platforms(tmp_path: Path, server: WebServer) -> Platforms:
    (tmp_path / "token").write_text("the-brokers-own\n")
    made = Platforms(tmp_path)
    outbound = Outbound(allow_private_addresses=True, tls=trusting(CA), timeout=2)
    asked = TokenReview(server.url(path="/"), audience=ISSUER, token=tmp_path / "token", outbound=outbound, clock=made.clock)
    return _with_review(tmp_path, made, asked)


def _with_review(folder: Path, made: Platforms, asked: TokenReview) -> Platforms:
    reviewed = Platforms(folder, review=asked)
    reviewed.clock = made.clock
    reviewed.tokens._clock = made.clock
    return reviewed


async def test_a_token_that_its_cluster_vouches_for_is_accepted(platforms: Platforms, server: WebServer) -> None:
    assert await platforms.tokens.authenticate(platforms.token("kubernetes"))
    (head,) = server.requests
    assert head.startswith(b"POST /apis/authentication.k8s.io/v1/tokenreviews HTTP/1.1")
    assert b"Authorization: Bearer the-brokers-own\r\n" in head


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"authenticated": False, "error": "pod deleted"}, id="a pod that was deleted"),
        pytest.param({"authenticated": None}, id="nothing said"),
        pytest.param({"audiences": []}, id="no audience"),
        pytest.param({"audiences": [CLUSTER]}, id="the API server's own audience"),
        pytest.param({"audiences": [ISSUER, CLUSTER]}, id="another audience too"),
        pytest.param({"audiences": None}, id="a cluster that knows no audiences"),
        pytest.param({"user": {"username": ACCOUNT, "uid": "other"}}, id="an account that was made again"),
        pytest.param({"user": {"username": "system:serviceaccount:support:other", "uid": ACCOUNT_UID}}, id="another account"),
        pytest.param({"user": None}, id="nobody"),
    ],
)
async def test_a_token_that_its_cluster_does_not_vouch_for_is_refused(
    platforms: Platforms, server: WebServer, changes: dict[str, Any]
) -> None:
    server.answer = review({name: value for name, value in {**GOOD, **changes}.items() if value is not None})
    token = platforms.token("kubernetes")
    with pytest.raises(InvalidClient) as error:
        await platforms.tokens.authenticate(token)
    assert not any(part in str(error.value) for part in token.split("."))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(b"", 500), id="a failure"),
        pytest.param(Answer(b"", 401), id="our own token not accepted"),
        pytest.param(Answer(b"", 302, (("Location", "https://other.test/"),)), id="a redirect"),
        pytest.param(Answer(b"{}", 201), id="no review"),
        pytest.param(Answer(b"<html>", 200), id="a page"),
        pytest.param(review({**GOOD, "authenticated": "true"}), id="a text for yes (TRAPS 4)"),
        pytest.param(review({**GOOD, "audiences": ISSUER}), id="a text for a list"),
        pytest.param(Answer(b" " * (MAX_BYTES + 1), 201), id="an answer of any size"),
    ],
)
async def test_where_nobody_can_say_nobody_is_let_in(platforms: Platforms, server: WebServer, answer: Answer) -> None:
    server.answer = answer
    with pytest.raises(Unavailable) as error:
        await platforms.tokens.authenticate(platforms.token("kubernetes"))
    assert error.value.retry_after == 1


async def test_a_cluster_that_does_not_answer_is_no_yes(platforms: Platforms, server: WebServer) -> None:
    server.close()
    with pytest.raises(Unavailable):
        await platforms.tokens.authenticate(platforms.token("kubernetes"))


async def test_without_the_brokers_own_token_nobody_is_asked(platforms: Platforms, server: WebServer) -> None:
    (platforms.folder / "token").unlink()
    with pytest.raises(Unavailable):
        await platforms.tokens.authenticate(platforms.token("kubernetes"))
    assert server.requests == []


async def test_an_answer_counts_for_a_few_seconds(platforms: Platforms, server: WebServer) -> None:
    token = platforms.token("kubernetes")
    for _ in range(5):
        await platforms.tokens.authenticate(token)
    assert len(server.requests) == 1
    server.answer = review({**GOOD, "authenticated": False})
    platforms.clock.advance(int(REMEMBERED_FOR * 1000) - 1)
    await platforms.tokens.authenticate(token)
    platforms.clock.advance(1)
    with pytest.raises(InvalidClient):
        await platforms.tokens.authenticate(token)
    assert len(server.requests) == 2


async def test_a_no_is_never_remembered(platforms: Platforms, server: WebServer) -> None:
    token = platforms.token("kubernetes")
    server.answer = review({**GOOD, "authenticated": False})
    with pytest.raises(InvalidClient):
        await platforms.tokens.authenticate(token)
    server.answer = review(GOOD)
    assert await platforms.tokens.authenticate(token)


async def test_only_so_many_answers_are_remembered(
    platforms: Platforms, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.identity.token_review.MAX_REMEMBERED", 1)
    first, second = platforms.token("kubernetes", jti="1"), platforms.token("kubernetes", jti="2")
    for token in (first, second, first):
        await platforms.tokens.authenticate(token)
    assert len(server.requests) == 3


async def test_what_is_wrong_offline_is_sent_to_nobody(platforms: Platforms, server: WebServer) -> None:
    with pytest.raises(InvalidClient):
        await platforms.tokens.authenticate(platforms.token("kubernetes", aud=CLUSTER))
    assert server.requests == []
