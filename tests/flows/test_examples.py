"""The worked examples: each loads, its cases are answered as they say, and its page says the same."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from broker import app, policy, settings
from broker.policy import cases
from broker.policy.cases import Case
from broker.policy.trials import Verdict
from broker.registry import ceiling
from broker.registry.records import Content
from broker.registry.registry import Registry
from scopes.scope import Scope
from tests.broker.world import write_files
from tests.docs.pages import DOCS, anchors, links, marked, page, rows, section
from tests.flows.example_cases import FOLDER, NAMES, Example, but

STARTER = {path.name: path.read_text() for path in (Path(policy.__file__).parent / "starter").glob("*.cedar")}
EXAMPLES = {name: Example.named(name) for name in NAMES}
GRANTED = [(name, case) for name in NAMES for case in EXAMPLES[name].cases if case.expect == "allowed"]
SEVEN = ("finance", "health", "legal", "operations", "people", "sales", "support")
TOO_WIDE = "Where a ceiling is too wide one day"


def named(part: object) -> str:
    return part.name if isinstance(part, Case) else str(part)


def pages() -> list[Path]:
    return [FOLDER / name / "README.md" for name in NAMES]


def level_of(name: str, case: Case) -> str:
    return EXAMPLES[name].registry.entry(Scope.parse(case.scope)).action.level


def codes(texts: Sequence[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts) or "–"


def ends(answer: Verdict) -> str:
    outside = ["what outsiders wrote"] if answer.ends_on_taint else []
    return ", ".join([*outside, *(f"`{label}`" for label in answer.ends_on_labels)]) or "–"


def granted_rows(example: Example) -> Iterator[list[str]]:
    """Write what is granted as the rows of a page."""
    for case in example.cases:
        if case.expect == "allowed":
            answer = example.answer(case)
            yield [case.name, codes(answer.policies), ends(answer)]


def refused_rows(example: Example) -> Iterator[list[str]]:
    """Write what is refused as the rows of a page."""
    for case in example.cases:
        if case.expect == "refused":
            answer = example.answer(case)
            yield [case.name, codes([answer.reason]), codes(answer.policies)]


def too_wide(name: str) -> list[list[str]]:
    """Return what the page says of patterns that a task type should never have: the type, the pattern, the policy."""
    text = (FOLDER / name / "README.md").read_text()
    return [[cell.strip("`") for cell in row] for row in [*rows(section(text, TOO_WIDE))][1:]] if TOO_WIDE in text else []


def widened(example: Example, type: str, pattern: str) -> Registry:
    """Add a pattern to the ceiling of a task type."""
    content = example.registry.content
    task = content.tasks[type]
    tasks = content.tasks | {type: msgspec.structs.replace(task, scopes=(*task.scopes, pattern))}
    return Registry(msgspec.structs.replace(content, tasks=tasks))


def moved(content: Content, environment: str) -> Registry:
    """Move every agent to another environment, with all that it may do."""
    agents = {name: msgspec.structs.replace(record, environment=environment) for name, record in content.agents.items()}
    return Registry(msgspec.structs.replace(content, agents=agents))


def test_there_are_seven() -> None:
    assert NAMES == SEVEN


@pytest.mark.parametrize("name", NAMES)
def test_its_cases_are_answered_as_they_say(name: str) -> None:
    results = cases.run(list(EXAMPLES[name].cases), EXAMPLES[name].trials)
    assert [(result.case.name, result.strays) for result in results if result.strays] == []


@pytest.mark.parametrize("name", NAMES)
def test_at_least_five_things_are_refused_and_each_says_why(name: str) -> None:
    refused = [case for case in EXAMPLES[name].cases if case.expect == "refused"]
    assert len(refused) >= 5
    assert all(case.reason for case in refused)
    assert all(case.policies for case in refused if EXAMPLES[name].answer(case).policies)


@pytest.mark.parametrize("name", NAMES)
def test_the_starter_policies_stand_unchanged_beside_one_file_of_its_own(name: str) -> None:
    texts = {path.name: path.read_text() for path in (FOLDER / name / "policies").glob("*.cedar")}
    assert {file: texts.pop(file) for file in STARTER} == STARTER
    assert len(texts) == 1


@pytest.mark.parametrize("name", NAMES)
def test_beside_what_init_writes_it_is_a_whole_configuration(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, registry="")
    for part in ("registry", "policies"):
        shutil.copytree(FOLDER / name / part, tmp_path / part, dirs_exist_ok=True)
    with (tmp_path / "broker.toml").open("a") as file:
        file.write(vouching_for_people())
    configuration = app.configure(settings.load(tmp_path / "broker.toml", environment={}))
    assert configuration.registry.content.services == EXAMPLES[name].registry.content.services
    assert configuration.policies.ids == EXAMPLES[name].trials.folder.ids


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_of_its_own_decides_something_that_is_shown(name: str) -> None:
    """A line that changes no answer is a line that nobody can review."""
    example = EXAMPLES[name]
    starter = {id for text in STARTER.values() for id in re.findall(r'@id\("([^"]+)"\)', text)}
    decided = {id for case in example.cases for id in example.answer(case).policies} | {row[2] for row in too_wide(name)}
    assert set(example.trials.folder.ids) - starter - example.trials.folder.shadow <= decided


@pytest.mark.parametrize("name", NAMES)
def test_every_agent_and_every_task_type_stands_in_a_case(name: str) -> None:
    example = EXAMPLES[name]
    content = example.registry.content
    assert content.agents.keys() == {case.agent for case in example.cases}
    assert content.tasks.keys() == {example.type_of(case) for case in example.cases}


@pytest.mark.parametrize(("name", "case"), GRANTED, ids=named)
def test_nothing_that_is_granted_is_granted_from_another_environment(name: str, case: Case) -> None:
    example = EXAMPLES[name]
    elsewhere = example.on(name, moved(example.registry.content, "elsewhere"))
    answer = elsewhere.answer(case)
    assert not answer.allowed
    assert "environments-never-cross" in answer.policies


@pytest.mark.parametrize(("name", "case"), GRANTED, ids=named)
def test_what_is_granted_above_reading_needs_a_key_and_above_drafting_a_clean_task_or_a_person(name: str, case: Case) -> None:
    example, level = EXAMPLES[name], level_of(name, case)
    if level != "read":
        assert example.answer(but(case, proof="none")).reason == "proof_required"
    if level in ("write", "trigger"):
        assert example.answer(but(case, tainted=True, approved=False)).reason == "approval_required"


@pytest.mark.parametrize(("name", "case"), GRANTED, ids=named)
def test_what_is_granted_is_granted_to_no_other_agent_of_the_example(name: str, case: Case) -> None:
    example = EXAMPLES[name]
    others = [other for other, record in example.registry.content.agents.items() if other != case.agent]
    shared = [other for other in others if example.answer(but(case, agent=other, task=example.type_of(case))).allowed]
    assert shared == []


@pytest.mark.parametrize(("name", "case"), GRANTED, ids=named)
def test_what_is_granted_is_granted_with_no_field_more(name: str, case: Case) -> None:
    """TRAPS 14: a list of fields that is stored and enforced nowhere."""
    example, scope = EXAMPLES[name], Scope.parse(case.scope)
    patterns = [pattern for pattern in example.registry.patterns(example.type_of(case)) if pattern.matches(scope)]
    entry = example.registry.entry(scope)
    beyond = ceiling.beyond_patterns(tuple(entry.resource_type.fields), patterns, entry)
    for field in beyond:
        wider = scope._replace(fields=tuple(sorted({*(scope.fields or ()), field})))
        assert example.answer(but(case, scope=str(wider))).reason == "outside_fields"


@pytest.mark.parametrize(("name", "row"), [(name, row) for name in NAMES for row in too_wide(name)], ids=named)
def test_a_ceiling_that_is_too_wide_does_not_give_what_policy_forbids(name: str, row: list[str]) -> None:
    type, pattern, id = row
    example = EXAMPLES[name].on(name, widened(EXAMPLES[name], type, pattern))
    agent = next(agent for agent, record in example.registry.content.agents.items() if type in record.tasks)
    scope = pattern.replace("**", "x").replace("*", "x")
    answer = example.answer(Case(name=id, agent=agent, task=type, scope=scope, expect="refused", approved=True))
    assert answer.reason == "forbidden"
    assert id in answer.policies


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_the_cases_say(name: str) -> None:
    text = (FOLDER / name / "README.md").read_text()
    assert [*rows(section(text, "Granted"))][1:] == [*granted_rows(EXAMPLES[name])]
    assert [*rows(section(text, "Refused"))][1:] == [*refused_rows(EXAMPLES[name])]


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.parent.name)
def test_every_link_of_a_page_leads_somewhere_and_the_documentation_leads_to_it(path: Path) -> None:
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve()
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    assert path.resolve() in {(DOCS / link).resolve() for link in links(DOCS / "examples.md")}


def test_the_documentation_counts_right() -> None:
    counted = {row[0].partition("]")[0].strip("["): row[-2:] for row in [*rows(section(page("examples.md"), "Examples"))][1:]}
    expected = {
        title_of(FOLDER / name / "README.md"): [str(len([*each(EXAMPLES[name])])) for each in (granted_rows, refused_rows)]
        for name in NAMES
    }
    assert counted == expected


def vouching_for_people() -> str:
    """Return what the page adds to the settings."""
    typed = next(text for text in marked(DOCS / "examples.md", "sh", "run") if "trust.users" in text)
    return typed.partition("<<'END'\n")[2].partition("END\n")[0]


def title_of(path: Path) -> str:
    return path.read_text().partition("\n")[0].removeprefix("# ")
