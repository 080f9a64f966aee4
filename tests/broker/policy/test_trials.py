"""What tools say of a request is what the broker answers: both go the same way."""

import datetime
import re
from typing import Any

import msgspec
import pytest

from broker.errors import BrokerError, ConfigurationError
from broker.policy import Seen
from broker.policy.trials import Trial, Trials
from tests.broker.policy.questions import PERMIT_ALL, Asker
from tests.broker.recorded import recorded
from tests.broker.world import World


def trials_of(world: World) -> Trials:
    rules = world.broker.active.rules
    return Trials(rules.policy.folder, rules.registry, max_ttl=900)


@pytest.mark.parametrize(
    ("scope", "asked"),
    [
        ("crm:ticket/4711#read[subject]", {}),
        ("crm:ticket/4711#read[subject]", {"bound": True}),
        ("crm:ticket/4711#read[subject]", {"ttl": 5}),
        ("crm:ticket/4711#read[subject,description]", {"ttl": 5_000}),
        ("kb:article/a/b#read", {}),
        ("crm:message/1#read[text]", {}),
        ("crm:ticket/4711#draft[subject]", {}),
        ("crm:ticket/4711#draft[subject]", {"bound": False}),
        ("crm:ticket/4711#read[email]", {}),
        ("crm:ticket/4711#draft[description]", {}),
        ("crm:ticket/4711#reply[subject]", {}),
    ],
)
async def test_a_trial_is_answered_as_a_request_is(world: World, scope: str, asked: dict[str, Any]) -> None:
    """By the same step, for the same reason, by the same policies, on the same facts."""
    answer = ""
    try:
        await world.issue(scope, **asked)
    except BrokerError as error:
        answer = error.reason
    record = (await recorded(world))[-1].record
    now = datetime.datetime.fromtimestamp(world.clock.now().wall / 1000, tz=datetime.UTC)
    is_bound = asked.get("bound", "#read" not in scope)
    trial = Trial(agent="support-bot", scope=scope, proof="dpop" if is_bound else "none", at=now, ttl=asked.get("ttl"))
    verdict = trials_of(world).verdict(trial)
    assert (verdict.reason, verdict.policies) == (answer, record.policies)
    if verdict.decision is not None:
        seen = msgspec.json.decode(record.seen, type=Seen)
        assert verdict.decision.facts == msgspec.structs.replace(seen.facts, recent_refusals=0)


async def test_what_was_read_before_counts_and_what_is_read_now_as_well(world: World) -> None:
    read = trials_of(world).verdict(Trial(agent="support-bot", scope="crm:message/1#read[text]", labels=("financial",)))
    assert read.decision is not None
    assert (read.decision.facts.tainted, read.decision.facts.labels) == (True, ("financial", "pii"))


async def test_an_agent_that_is_only_declared_gets_nothing_whatever_policies_say(tmp_path: Any) -> None:
    asker = Asker(tmp_path, PERMIT_ALL)
    asker.registry.content.agents["bot"] = msgspec.structs.replace(asker.registry.content.agents["bot"], owner="")
    trials = Trials(asker.policy.folder, asker.registry, max_ttl=900)
    assert trials.verdict(Trial(agent="bot", task="all", scope="crm:ticket/1#read[subject]")).reason == "agent_declared"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"agent": "bott"}, "there is no agent 'bott' (did you mean 'bot'?)"),
        ({"task": "al"}, "there is no task type 'al' (did you mean 'all'?)"),
        ({"task": ""}, "there is no default task type: name one"),
        ({"within": ("somme",)}, "there is no task type 'somme' (did you mean 'some'?)"),
        ({"scope": "crm:ticket/1#reed[subject]"}, "crm:ticket has no action reed"),
        ({"scope": "crm:ticket/1#read[subjekt]"}, "crm:ticket has no field subjekt"),
        ({"scope": "crm:ticket/*#read[subject]"}, "is not a scope"),
        ({"scope": "crn:ticket/1#read"}, "the catalogue has no resource crn:ticket/1"),
        ({"labels": ("pij",)}, "there is no class of data 'pij' (did you mean 'pii'?)"),
        ({"groups": ("support",)}, "groups are those of a user"),
    ],
)
def test_a_name_that_is_not_there_is_no_refusal_and_the_nearest_is_named(tmp_path: Any, changes: Any, said: str) -> None:
    """A misspelt name would be refused, and look like a policy that works."""
    asker = Asker(tmp_path, PERMIT_ALL)
    trials = Trials(asker.policy.folder, asker.registry, max_ttl=900)
    trial = msgspec.structs.replace(Trial(agent="bot", task="all", scope="crm:ticket/1#read[subject]"), **changes)
    (problem,) = trials.problems(trial)
    assert said in problem
    if not {"labels", "groups"} & set(changes):
        with pytest.raises(ConfigurationError, match=re.escape(problem)):
            trials.verdict(trial)


def test_workloads_are_those_of_the_agent_unless_it_is_said_otherwise(tmp_path: Any) -> None:
    asker = Asker(tmp_path, PERMIT_ALL)
    trials = Trials(asker.policy.folder, asker.registry, max_ttl=900)
    trial = Trial(agent="bot", task="all", scope="crm:ticket/1#read[subject]")

    def identity(**changes: Any) -> tuple[str, str]:
        decision = trials.verdict(msgspec.structs.replace(trial, **changes)).decision
        assert decision is not None
        return decision.facts.trust_domain, decision.facts.identity_source

    assert identity() == ("prod", "jwt-svid")
    assert identity(trust_domain="stage", identity_source="x509-svid") == ("stage", "x509-svid")
    assert identity(trust_domain="gitlab", identity_source="oidc") == ("gitlab", "oidc")
    assert identity(identity_source="private-key") == ("private-key", "private-key")
