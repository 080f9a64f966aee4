"""Leaving out policies whose heads do not match changes no answer, nor which policies decided, nor which erred."""

from typing import Any

import cedarpy
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.policy import policies
from broker.policy.entities import Asked, of_operation, of_token, uid
from broker.policy.facts import facts_of
from broker.policy.schema import ATTRIBUTES
from broker.policy.slices import Answer, Slices, as_text
from broker.registry.registry import Registry
from tests.broker.policy.questions import PERMIT_ALL, REGISTRY, Asker, operators

ERR = "context.ttl + 9223372036854775807 > 0"
PRINCIPALS = [
    *("principal", "principal is Agent", "principal is Operator", 'principal == Agent::"bot"', 'principal == Agent::"probe"'),
    *('principal in Agent::"bot"', 'principal is Agent in Agent::"probe"', 'principal == Operator::"olga"'),
]
ACTIONS = [
    *("action", 'action == Action::"crm:ticket#read"', 'action == Action::"lab:sample#shake"', 'action in Action::"read"'),
    *('action in [Action::"trigger", Action::"crm:ticket#draft"]', 'action in Action::"write"', "action in []"),
    *('action == Action::"task:end"', 'action in [Action::"revoke", Action::"read"]'),
]
RESOURCES = ["resource", "resource is Record", 'resource == Record::"crm:ticket"', "resource is Fleet"]
CONDITIONS = ["", "when { true }", "when { false }", f"when {{ {ERR} }}", "unless { context has ttl && context.ttl > 60 }"]
SCOPES = ["crm:ticket/1#read[subject]", "crm:ticket/1#draft[subject]", "crm:ticket/1#reply[subject]", "lab:sample/1#shake"]

written = st.builds(
    "{} ({}, {}, {}) {};".format,
    st.sampled_from(["permit", "forbid"]),
    st.sampled_from(PRINCIPALS),
    st.sampled_from(ACTIONS),
    st.sampled_from(RESOURCES),
    st.sampled_from(CONDITIONS),
)


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Asker:
    folder = tmp_path_factory.mktemp("slices")
    return Asker(folder, PERMIT_ALL, registry_text=REGISTRY + operators(("olga", "operator")))


def parsed(texts: list[str]) -> list[Any]:
    """Read policies as they are kept; nothing validates these, for hostile ones are wanted."""
    named = "\n".join(f'@id("{number}") {text}' for number, text in enumerate(texts))
    return list(msgspec.json.decode(cedarpy.policies_to_json_str(named))["staticPolicies"].values())


def of_all(asked: Asked, policies: cedarpy.PolicySet) -> Answer:
    """Return what Cedar says where every policy is asked: an error means no."""
    known, context = (msgspec.json.encode(part).decode() for part in (asked.entities, asked.context))
    named = {"principal": uid(asked.principal), "action": uid(asked.action), "resource": uid(asked.resource)}
    result = cedarpy.is_authorized({**named, "context": context}, policies, known)
    ids = result.diagnostics.id_annotations_by_reason
    decided = tuple(sorted(ids[id] for id in result.diagnostics.reasons))
    if result.diagnostics.errors:
        return Answer("policy_error", decided)
    return Answer("" if result.allowed else "forbidden" if decided else "not_permitted", decided)


def questions(asker: Asker) -> list[Asked]:
    """Return questions of every kind: by agents about tokens, and by operators and agents about the broker."""
    registry: Registry = asker.registry
    asked = []
    for agent in ("bot", "probe"):
        for scope in SCOPES:
            facts = facts_of(asker.question(scope, agent=agent), kept=policies.Kept(record_ids=False, user_ids=False), now=0)
            asked.append(of_token(facts, asker.policy.moment(), registry, reads=ATTRIBUTES))
    task = {"agent": {"__entity": {"type": "Agent", "id": "bot"}}}
    asked.append(of_operation(("Operator", "olga"), "revoke", ("Fleet", "fleet"), attributes={}, registry=registry))
    asked.append(of_operation(("Agent", "bot"), "task:end", ("Task", "tsk_1"), attributes=task, registry=registry))
    return asked


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(written, min_size=1, max_size=8))
def test_a_slice_answers_as_the_whole_set_does(asker: Asker, texts: list[str]) -> None:
    known = parsed(texts)
    whole, slices = cedarpy.PolicySet.from_str(as_text(known)), Slices(known)
    for asked in questions(asker):
        assert slices.ask(asked) == of_all(asked, whole)


def test_policies_for_other_actions_and_principals_are_left_out(asker: Asker) -> None:
    texts = [f'permit (principal == Agent::"bot-{number}", action, resource);' for number in range(200)]
    texts += [f'permit (principal, action == Action::"crm:ticket#a{number}", resource);' for number in range(200)]
    texts += ['permit (principal is Agent, action in Action::"read", resource);']
    asked = questions(asker)[0]
    assert Slices(parsed(texts)).ask(asked) == Answer("", ("400",))


def test_how_many_sets_are_kept_is_bounded_and_the_answers_stay_right(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.policy.slices.MAX_SLICES", 1)
    known = parsed(['permit (principal == Agent::"bot", action, resource);', "permit (principal, action, resource);"])
    whole, slices = cedarpy.PolicySet.from_str(as_text(known)), Slices(known)
    for asked in questions(asker) * 2:
        assert slices.ask(asked) == of_all(asked, whole)


def test_a_policy_reads_back_as_it_was_written() -> None:
    texts = [
        f"{effect} (principal is Agent, {action}, resource is Record);" for effect in ("permit", "forbid") for action in ACTIONS
    ]
    again = list(msgspec.json.decode(cedarpy.policies_to_json_str(as_text(parsed(texts))))["staticPolicies"].values())
    assert sorted(map(str, again)) == sorted(map(str, parsed(texts)))
