"""Tests of policies: what a case says, what comes of it, and what is wrong with one that cannot be run."""

from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.policy import cases
from broker.policy.cases import Result
from broker.policy.trials import Trials
from tests.broker.policy.questions import REGISTRY, Asker
from tests.broker.policy.test_starter import STARTER

PERMIT_READ = '@id("reading") permit (principal is Agent, action in Action::"read", resource is Record);\n'
TAINT = '@id("untainted") forbid (principal is Agent, action, resource is Record) when { context.task.tainted };\n'
CASE = """
[[case]]
name   = "bots read subjects"
agent  = "bot"
task   = "all"
scope  = "lab:sample/1#read"
expect = "allowed"
"""


def run(folder: Path, text: str, *policies: str) -> list[Result]:
    asker = Asker(folder, *(policies or (PERMIT_READ, TAINT)))
    return cases.run(cases.parse({"cases.toml": text}), Trials(asker.policy.folder, asker.registry, max_ttl=900))


def strays(folder: Path, more: str = "", **changes: str) -> tuple[str, ...]:
    text = CASE
    for name, value in changes.items():
        text = "\n".join(f"{name} = {value}" if line.startswith(name) else line for line in text.splitlines())
    (result,) = run(folder, f"{text}\n{more}\n")
    return result.strays


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        run(folder, text)
    return refused.value.problems


def test_a_case_passes_where_everything_is_as_it_says(tmp_path: Path) -> None:
    said = 'policies = ["reading"]\nends_on_taint = true\nends_on_labels = []'
    assert strays(tmp_path, said) == ()


@pytest.mark.parametrize(
    ("more", "expect", "stray"),
    [
        ("", '"refused"', "expected refused, got allowed by reading"),
        ('reason = "forbidden"', '"refused"', "expected refused (forbidden), got allowed by reading"),
        ("tainted = true", '"allowed"', "expected allowed, got refused (forbidden) by untainted"),
        (
            'tainted = true\nreason = "not_permitted"',
            '"refused"',
            "expected the reason not_permitted, got refused (forbidden) by untainted",
        ),
        ('policies = ["untainted"]', '"allowed"', "expected untainted to decide, got allowed by reading"),
        ("policies = []", '"allowed"', "expected nothing to decide, got allowed by reading"),
        ("ends_on_taint = false", '"allowed"', "expected it to outlive it when the tree is tainted"),
        ('ends_on_labels = ["pii"]', '"allowed"', "expected it to end on pii, it ends on nothing"),
    ],
)
def test_what_comes_otherwise_is_said_with_what_was_expected(tmp_path: Path, more: str, expect: str, stray: str) -> None:
    assert strays(tmp_path, more, expect=expect) == (stray,)


def test_what_the_ceiling_refuses_is_a_refusal_like_any_other(tmp_path: Path) -> None:
    assert strays(tmp_path, 'reason = "outside_task_type"', task='"some"', expect='"refused"') == ()
    assert strays(tmp_path, 'within = ["some"]\nreason = "outside_task_type"', expect='"refused"') == ()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('expct = "allowed"', "cases.toml: case 'bots read subjects': unknown key 'expct' (did you mean 'expect'?)"),
        ("tainted = 1", "cases.toml: case 'bots read subjects': Expected `bool`, got `int` - at `$.tainted`"),
        ('proof = "token"', "cases.toml: case 'bots read subjects': Invalid enum value 'token' - at `$.proof`"),
        (
            "at = 2027-01-04T10:00:00",
            "cases.toml: case 'bots read subjects': Expected `datetime` with a timezone component - at `$.at`",
        ),
        ("ttl = 0", "cases.toml: case 'bots read subjects': Expected `int` >= 1 - at `$.ttl`"),
        ('labels = ["pij"]', "case 'bots read subjects': there is no class of data 'pij' (did you mean 'pii'?)"),
        ('policies = ["readin"]', "case 'bots read subjects': there is no policy 'readin' (did you mean 'reading'?)"),
        ('reason = "forbidden"', "case 'bots read subjects': what is allowed has no reason"),
    ],
)
def test_a_case_that_cannot_be_run_is_named(tmp_path: Path, line: str, said: str) -> None:
    assert problems(tmp_path, f"{CASE}{line}\n") == [said]


def test_a_name_twice_or_none_is_no_name(tmp_path: Path) -> None:
    assert problems(tmp_path, CASE + CASE) == ["the case 'bots read subjects' stands twice"]
    assert problems(tmp_path, CASE.replace("bots read subjects", "")) == ["a case has no name"]


def test_every_problem_of_every_file_is_named(tmp_path: Path) -> None:
    asker = Asker(tmp_path, PERMIT_READ)
    with pytest.raises(ConfigurationError) as refused:
        cases.parse({"a.toml": "[[case]", "b.toml": "[[cases]]\n", "c.toml": "", "d.toml": "[[case]]\nname = 'x'\n"})
    told = refused.value.problems
    assert [problem.partition(":")[0] for problem in told] == ["a.toml", "b.toml", "c.toml", "d.toml"]
    assert "did you mean 'case'" in told[1]
    assert "no cases here" in told[2]
    assert asker


def test_cases_do_not_change_which_policies_there_are(tmp_path: Path) -> None:
    """What stands beside the policies is no part of them: not of what is decided, nor of its version."""
    before = Asker(tmp_path, *STARTER, registry_text=REGISTRY).policy
    (tmp_path / "policies" / "cases.toml").write_text(CASE)
    after = Asker(tmp_path, *STARTER, registry_text=REGISTRY).policy
    assert (before.version, before.folder.ids) == (after.version, after.folder.ids)
