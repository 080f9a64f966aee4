"""Which policies meet a question, and which questions are one: never another answer than all policies would give."""

import itertools
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.policy import Facts, Moment, entities, slices
from broker.policy.schema import ATTRIBUTES
from tests.broker.policy.questions import PERMIT_ALL, REGISTRY, Asker
from tests.broker.policy.test_policy import permit

MOMENT = Moment(12, 1)
ACTIONS = ("crm:ticket#read", "crm:ticket#draft", "crm:ticket#edit", "lab:sample#read")
HEADS = (
    "principal",
    "principal is Agent",
    'principal == Agent::"bot"',
    'principal in Agent::"bot"',
    'principal is Agent in Agent::"probe"',
)
_FIELDS = {"crm:ticket": ("subject",)}
TWIN = (
    REGISTRY[REGISTRY.index("[agents.bot]") : REGISTRY.index("[agents.probe]")].replace("bot", "twin").replace("jane", "joan")
)

GROUPS = (
    "action",
    'action == Action::"crm:ticket#read"',
    'action in Action::"read"',
    'action in [Action::"write", Action::"crm:ticket#draft"]',
)
CONDITIONS = (
    "",
    "when { context.ttl > 60 }",
    "unless { context.task.tainted }",
    'when { principal.owner == "jane@example.com" }',
    'when { context.fields.contains("subject") }',
    "when { context.task.age + 9223372036854775807 > 0 }",
)


def facts(agent: str = "bot", action: str = ACTIONS[0], **changes: Any) -> Facts:
    record = action.partition("#")[0]
    return Facts(agent, "prod", "jwt-svid", "all", action, record, **{"ttl": 60, "fields": _FIELDS.get(record, ()), **changes})


def counted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Count what Cedar is asked."""
    asked: list[object] = []
    ask = cedarpy.is_authorized

    def counting(request: object, *rest: object) -> object:
        asked.append(request)
        return ask(request, *rest)

    monkeypatch.setattr(slices.cedarpy, "is_authorized", counting)
    return asked


@given(
    drawn=st.lists(
        st.tuples(
            st.sampled_from(["permit", "forbid"]), st.sampled_from(HEADS), st.sampled_from(GROUPS), st.sampled_from(CONDITIONS)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_some_policies_answer_as_all_of_them_would(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, str, str, str]]
) -> None:
    """Whatever the heads and conditions: Cedar, asked all policies with all there is to say, says the same."""
    texts = [
        f'@id("p{n}") {kind} ({head}, {group}, resource is Record) {when};' for n, (kind, head, group, when) in enumerate(drawn)
    ]
    asker = Asker(tmp_path_factory.mktemp("drawn"), PERMIT_ALL + "\n".join(texts))
    for agent, action, changes in itertools.product(("bot", "probe"), ACTIONS, ({}, {"ttl": 300}, {"tainted": True})):
        asked = facts(agent, action, **changes)
        assert asker.policy.answer(asked, MOMENT)[:] == answer_of_all(asker, asked)


def answer_of_all(asker: Asker, asked: Facts) -> tuple[str, tuple[str, ...]]:
    """Ask Cedar itself: all the policies, and everything that is known."""
    known = entities.of_token(asked, MOMENT, asker.registry, reads=ATTRIBUTES)
    named = {name: entities.uid(getattr(known, name)) for name in ("principal", "action", "resource")}
    policies = "\n".join(asker.policy.folder.texts.values())
    result = cedarpy.is_authorized({**named, "context": known.context}, policies, known.entities)
    ids = result.diagnostics.id_annotations_by_reason
    decided = tuple(sorted(ids[id] for id in result.diagnostics.reasons))
    if result.diagnostics.errors:
        return "policy_error", decided
    return "" if result.allowed else "forbidden" if decided else "not_permitted", decided


def test_what_no_policy_looks_at_makes_no_other_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asker = Asker(tmp_path, permit("context.task.tainted == false"))
    asked = counted(monkeypatch)
    for changes in ({}, {"ttl": 300}, {"age": 900}, {"proof": "dpop"}, {"recent_refusals": 3}, {"labels": ("pii",)}):
        assert asker.policy.answer(facts(**changes), MOMENT).allowed
    assert not asker.policy.answer(facts(tainted=True), MOMENT).allowed
    assert len(asked) == 2


def test_agents_that_no_policy_tells_apart_ask_one_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asker = Asker(tmp_path, permit('principal.environment == "prod"'), registry_text=REGISTRY + TWIN)
    asked = counted(monkeypatch)
    assert [asker.policy.answer(facts(agent), MOMENT).allowed for agent in ("bot", "twin", "probe")] == [True, True, False]
    assert len(asked) == 2


@pytest.mark.parametrize(
    "condition",
    ['principal == Agent::"bot"', '[Agent::"bot"].contains(principal)', 'principal.owner == "jane@example.com"', "{CONTEXT}"],
)
def test_agents_that_a_policy_tells_apart_are_told_apart(tmp_path: Path, condition: str) -> None:
    """By their name, wherever it stands, or by what the registry says of them alone."""
    if condition == "{CONTEXT}":
        condition = 'if context.ttl > 0 then principal == Agent::"bot" else false'
    asker = Asker(tmp_path, permit(condition), registry_text=REGISTRY + TWIN)
    assert [asker.policy.answer(facts(agent), MOMENT).allowed for agent in ("twin", "bot", "twin")] == [False, True, False]


@pytest.mark.parametrize(
    "condition", ["context.task == {WHOLE}", "[{WHOLE}].contains(context.task)", "{ t: context }.t.task == {WHOLE}"]
)
def test_a_record_that_is_compared_as_a_whole_is_read_as_a_whole(tmp_path: Path, condition: str) -> None:
    """Otherwise a policy would see a task without what it does not name, and its token would not end with taint."""
    task = '{ type: "all", purpose_class: "", depth: 0, age: 60, tainted: false, labels: ["a"], read_sensitive: true }'
    asker = Asker(tmp_path, permit(condition.replace("{WHOLE}", task)))
    assert asker.policy.answer(facts(labels=("a",)), MOMENT).allowed
    assert not asker.policy.answer(facts(labels=("a",), tainted=True), MOMENT).allowed
    assert asker.policy.ends_of(facts(labels=("a",)), MOMENT) == (True, ("financial", "pii"))


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MAX_ANSWERS", 2)
    monkeypatch.setattr(slices, "MAX_SLICES", 1)
    asker = Asker(tmp_path, permit("context.ttl > 100"), PERMIT_ALL)
    for ttl, action in itertools.product((15, 300, 600), ACTIONS):
        assert asker.policy.answer(facts(action=action, ttl=ttl), MOMENT).allowed
