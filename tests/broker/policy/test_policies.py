"""A folder of policies is valid as a whole, or nothing of it is in force."""

from pathlib import Path

import pytest

from broker import policy as policies
from broker.errors import ConfigurationError
from tests.broker.policy.questions import PERMIT_ALL, REGISTRY, load, registry


def problems_of(folder: Path, *texts: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load(folder, *texts)
    return refused.value.problems


def test_policies_of_all_files_are_read(tmp_path: Path) -> None:
    loaded = load(tmp_path, PERMIT_ALL, '@id("none") forbid (principal, action, resource);')
    assert loaded.ids == ("all", "none")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("permit (principal, action, resource);", "a policy has no @id", id="no @id"),
        pytest.param('@id("") permit (principal, action, resource);', "a policy has no @id", id="an empty @id"),
        pytest.param('@ID("x") permit (principal, action, resource);', "a policy has no @id", id="an @id in capitals"),
        pytest.param(PERMIT_ALL + "permit (principal, action, resource);", "a policy has no @id", id="one of two without @id"),
        pytest.param("permit all;", "not Cedar", id="text that is not Cedar"),
        pytest.param('@id("x") permit (principal, action, resource)', "not Cedar", id="a policy without its end"),
        pytest.param('@id("x") @id("y") permit (principal, action, resource);', "not Cedar", id="two @id on one policy"),
        pytest.param(
            '@id("x") permit (principal == ?principal, action, resource);', "templates", id="a template for principals"
        ),
        pytest.param('@id("x") permit (principal, action, resource in ?resource);', "templates", id="a template for resources"),
    ],
)
def test_a_file_that_cannot_be_in_force_is_named(tmp_path: Path, text: str, said: str) -> None:
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith(str(tmp_path / "policies" / "0.cedar"))
    assert said in problem


@pytest.mark.parametrize("texts", [(PERMIT_ALL + PERMIT_ALL,), (PERMIT_ALL, PERMIT_ALL)], ids=["one file", "two files"])
def test_an_id_twice_is_refused(tmp_path: Path, texts: tuple[str, ...]) -> None:
    """Decisions and audit name policies by it."""
    assert problems_of(tmp_path, *texts) == [f"{tmp_path / 'policies'}: the @id 'all' stands twice"]


@pytest.mark.parametrize(
    "condition",
    ['principal.ownr == "jane"', "context.nothing", 'resource.owner == "crm"', 'context.ttl < "60"'],
    ids=["of the principal", "of the context", "of the resource", "of another type"],
)
def test_a_policy_that_names_what_the_schema_has_not_is_refused_by_name(tmp_path: Path, condition: str) -> None:
    """A misspelled `forbid` would otherwise err, or forbid nothing, at request time."""
    text = f'@id("odd") forbid (principal is Agent, action == Action::"crm:ticket#read", resource) when {{ {condition} }};'
    (problem,) = problems_of(tmp_path, PERMIT_ALL, text)
    assert "policy 'odd'" in problem


def test_every_policy_with_a_problem_is_named(tmp_path: Path) -> None:
    odd = '@id("odd-{}") permit (principal is Agent, action == Action::"nothing", resource);'
    problems = problems_of(tmp_path, odd.format(1), odd.format(2))
    assert {problem.split(": ")[1] for problem in problems} == {"policy 'odd-1'", "policy 'odd-2'"}


def test_a_folder_without_policies_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.txt").write_text(PERMIT_ALL)
    with pytest.raises(ConfigurationError, match="everything would be refused"):
        policies.load(tmp_path / "policies", registry(tmp_path))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    load(tmp_path, PERMIT_ALL)
    (tmp_path / "policies" / "1.cedar").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=r"1\.cedar"):
        policies.load(tmp_path / "policies", registry(tmp_path))


def test_a_comment_at_the_end_of_a_file_does_not_swallow_the_next(tmp_path: Path) -> None:
    assert load(tmp_path, PERMIT_ALL + "// end", '@id("none") forbid (principal, action, resource);').ids == ("all", "none")


def test_the_version_changes_with_the_policies(tmp_path: Path) -> None:
    before = load(tmp_path, PERMIT_ALL).version
    assert load(tmp_path, PERMIT_ALL.replace("permit", "forbid")).version != before
    assert load(tmp_path, PERMIT_ALL).version == before


def test_the_version_changes_with_the_registry(tmp_path: Path) -> None:
    """A decision is the same only where the policies see the same."""
    before = load(tmp_path, PERMIT_ALL).version
    assert load(tmp_path, PERMIT_ALL, registry_text=REGISTRY.replace("joe@", "jim@")).version != before


def test_policies_are_the_same_in_whatever_order_they_are_given(tmp_path: Path) -> None:
    loaded = load(tmp_path, PERMIT_ALL, '@id("none") forbid (principal, action, resource);')
    backwards = dict(reversed(loaded.texts.items()))
    assert list(backwards) == ["1.cedar", "0.cedar"]
    assert policies.parse(backwards, registry(tmp_path), where="sent").version == loaded.version
