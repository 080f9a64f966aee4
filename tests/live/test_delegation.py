"""What is done for users, and what agents delegate to each other, with real processes: two replicas, and a verifier of each."""

from collections.abc import Iterator

import httpx2
import pytest

from broker.api.subject import ACCESS_TOKEN, TOKEN_EXCHANGE
from scopes import Verifier
from scopes.clock import SystemClock
from tests.broker.delegating import HELPER, LAST, PART, REGISTRY, WHOLE
from tests.broker.identity import user_tokens
from tests.broker.identity.platform_tokens import jwks_file
from tests.broker.world import BOT
from tests.live.conftest import Site, serving
from tests.live.test_replicas import accepted, milliseconds_until_revoked, refusal

TRUST = f"""
[[trust.users]]
name     = "corp"
issuer   = "{user_tokens.IDP}"
audience = "{user_tokens.AUDIENCE}"
jwks     = "corp.json"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("delegating")
    jwks_file(folder, "corp", user_tokens.KEY)
    with serving(folder, registry=REGISTRY, more=TRUST) as made:
        yield made


@pytest.fixture
def verifiers(site: Site) -> Iterator[tuple[Verifier, Verifier]]:
    made = (site.verifier(site.replicas[0]), site.verifier(site.replicas[1]))
    yield made
    for verifier in made:
        verifier.close()


def issued(site: Site, replica: int, scope: str = PART, *, workload: str = BOT, subject: str | None = None) -> dict:
    exchanged = {"grant_type": TOKEN_EXCHANGE, "subject_token": subject, "subject_token_type": ACCESS_TOKEN}
    more = exchanged if subject is not None else {"task_declaration": '{"type":"summarise-ticket"}'}
    answer = site.replicas[replica].token(site.svid(workload), scope, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def jane(name: str = "jane") -> str:
    return user_tokens.user_token(SystemClock().now().wall // 1000, sub=name)


@pytest.mark.parametrize("how", ["its task is ended", "its lease is revoked", "its agent is revoked"])
def test_the_end_of_a_token_ends_at_every_verifier_what_others_hold_because_of_it(
    site: Site, verifiers: tuple[Verifier, Verifier], how: str
) -> None:
    """C4: the agent, the one it delegated to, and the one that passed it on to, each at another replica."""
    first = issued(site, 0, WHOLE)
    second = issued(site, 1, WHOLE, workload=HELPER, subject=first["access_token"])
    third = issued(site, 0, workload=LAST, subject=second["access_token"])
    beside = issued(site, 1, workload=HELPER)
    tokens = [each["access_token"] for each in (first, second, third)]
    for verifier in verifiers:
        for text in (*tokens, beside["access_token"]):
            accepted(verifier, text)
    if how == "its task is ended":
        headers = {"Authorization": f"Bearer {site.svid()}"}
        done = httpx2.post(f"{site.replicas[1].url}/v1/tasks/{first['task_id']}/complete", headers=headers, timeout=10)
        assert done.json()["status"] == "completed"
    else:
        selector = {"lease": first["lease_id"]} if how == "its lease is revoked" else {"agent": "support-bot"}
        assert site.replicas[1].revoke(site.operator(), **selector).status_code == 202
    for verifier in verifiers:
        for text in tokens:
            milliseconds_until_revoked(verifier, text)
        assert refusal(verifier, beside["access_token"]) is None
    for task, workload in ((second["task_id"], HELPER), (third["task_id"], LAST)):
        assert site.replicas[0].token(site.svid(workload), PART, task=task).status_code == 400


def test_to_revoke_a_user_ends_what_is_done_for_them_at_every_verifier(
    site: Site, verifiers: tuple[Verifier, Verifier]
) -> None:
    """G3, C5."""
    first = issued(site, 0, WHOLE, subject=jane())
    second = issued(site, 1, workload=HELPER, subject=first["access_token"])
    joe = issued(site, 1, subject=jane("joe"))
    for verifier in verifiers:
        for each in (first, second, joe):
            accepted(verifier, each["access_token"])
        fields = {"action": "read", "resource": "crm:ticket/4711", "fields": ["subject"]}
        assert verifier.verify(second["access_token"], **fields).user == "corp:jane"
    assert site.replicas[1].revoke(site.operator(), user="corp:jane").status_code == 202
    for verifier in verifiers:
        for each in (first, second):
            milliseconds_until_revoked(verifier, each["access_token"])
        assert refusal(verifier, joe["access_token"]) is None
