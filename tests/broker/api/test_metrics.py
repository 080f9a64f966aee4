"""`GET /metrics`: what is counted, for Prometheus, and no name in it."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.errors import Unavailable
from tests.broker.front import Front


async def counted(front: Front) -> dict[str, float]:
    """Return every sample by its name, with its labels where it has any."""
    answer = await front.get("/metrics", None)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    return {f"{sample.name}{sorted(sample.labels.values()) or ''}": sample.value for sample in samples}


async def test_tokens_given_and_refused_are_counted(front: Front) -> None:
    before = await counted(front)
    await front.token()
    await front.token(scope="crm:ticket/4711#draft[subject]", proof=await front.world.prove())
    after = await counted(front)
    named = {"broker_tokens_issued_total": 1, "broker_tokens_refused_total['not_permitted']": 1}
    assert {name: after[name] - before.get(name, 0) for name in named} == named


async def test_what_ends_is_counted_when_it_is_done(front: Front) -> None:
    before = await counted(front)
    await front.post("/v1/revocations", {"selector": {"agent": "support-bot"}, "reason": "drill"})
    await front.post("/v1/reductions", {"selector": {"agent": "support-bot"}, "to": "paused", "reason": "drill"})
    front.world.follow()
    after = await counted(front)
    for kind in ("revocation", "reduction"):
        name = f"broker_endings_committed_total['{kind}']"
        assert after[name] - before.get(name, 0) == 1
    assert after["broker_reductions"] == 1


async def test_what_is_stuck_is_counted_until_it_is_done(front: Front, monkeypatch) -> None:
    async def refuse(*_):
        raise Unavailable("down")

    with monkeypatch.context() as patched:
        patched.setattr(front.world.broker.log, "append", refuse)
        await front.post("/v1/revocations", {"selector": {"agent": "support-bot"}, "reason": "drill"})
        assert (await counted(front))["broker_stuck"] == 1
    await front.world.broker.endings.try_again(even_early=True)
    assert (await counted(front))["broker_stuck"] == 0


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_would_not_issue_says_so(front: Front) -> None:
    assert (await counted(front))["broker_ready"] == 1
    front.deaf = True
    front.world.clock.advance(2_000)
    after = await counted(front)
    assert after["broker_ready"] == 0
    assert after["broker_picture_age_seconds"] >= 2


async def test_an_epoch_is_counted_and_recorded_by_the_worker_that_began_it(front: Front) -> None:
    world = front.world
    before = (await counted(front)).get("broker_epochs_begun_total", 0)
    for _ in range(2):
        await world.broker.endings.record_epochs()
    assert (await counted(front))["broker_epochs_begun_total"] - before == 1
    world.clock.advance(10)
    records = (await front.get("/v1/audit/events")).json()["events"]
    assert [record["epoch"] for record in records if record["kind"] == "epoch.begun"] == [world.broker.streams.picture.epoch]


async def test_no_name_is_a_label(front: Front) -> None:
    """Agents, people and records are for the audit, which not everybody may read."""
    await front.token()
    await front.post("/v1/revocations", {"selector": {"owner": "jane@example.com"}, "reason": "drill"})
    text = (await front.get("/metrics", None)).text
    assert not re.search(r"support-bot|jane|ticket/4711|lse_|tsk_|spiffe", text)


async def test_the_age_of_every_bundle_is_told(front: Front) -> None:
    text = (await front.get("/metrics", None)).text
    (age,) = re.findall(r'^broker_bundle_age_seconds{trust_domain="development.test"} (\S+)$', text, re.MULTILINE)
    assert 0 <= float(age) < 600
