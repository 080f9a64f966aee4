"""All files of a folder are one registry, or none."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import ConfigurationError
from broker.registry import files
from broker.registry.registry import Registry
from tests.broker.registry.catalogue import AGENT, KEY, OPERATOR, SERVICE, TASK, WHOLE, key_of, load, problems, toml_key

PARTS = [SERVICE, TASK, AGENT, OPERATOR]
MORE = [
    SERVICE.replace("crm", "archive"),
    TASK.replace("tasks.summarise", "tasks.another"),
    AGENT.replace("agents.bot", "agents.another").replace("sa/bot", "sa/another"),
    OPERATOR.replace("operators.jane", "operators.amy").replace(KEY, toml_key(key_of("amy"))),
]
"""A second record of every kind, which sorts before the first."""


def test_the_example_is_a_registry(tmp_path: Path) -> None:
    assert load(tmp_path, WHOLE).content.agents.keys() == {"bot"}


def test_records_may_be_spread_over_files(tmp_path: Path) -> None:
    content = load(tmp_path, *PARTS).content
    assert (list(content.services), list(content.tasks), list(content.agents), list(content.operators)) == (
        ["crm"],
        ["summarise"],
        ["bot"],
        ["jane"],
    )


@settings(max_examples=50)
@given(order=st.permutations(PARTS + MORE), cut=st.integers(1, 8))
def test_the_digest_does_not_depend_on_files_and_their_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], cut: int
) -> None:
    texts = ["\n".join(order[:cut]), *order[cut:]]
    whole = load(tmp_path_factory.mktemp("whole"), *PARTS, *MORE)
    assert load(tmp_path_factory.mktemp("parts"), *texts).digest == whole.digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('level = "trigger"', 'level = "write"'),
        ('"crm:queue/**#read"', '"crm:queue/*#read"'),
        ("ends        = 2099-06-30", "ends        = 2099-07-01"),
        ('roles = ["admin"]', 'roles = ["auditor"]'),
        ('"Drafting"', '"Drafting."'),
        ("max_duration = 900", "max_duration = 901"),
    ],
)
def test_the_digest_changes_with_the_content(tmp_path_factory: pytest.TempPathFactory, old: str, new: str) -> None:
    assert old in WHOLE
    before = load(tmp_path_factory.mktemp("before"), WHOLE).digest
    assert load(tmp_path_factory.mktemp("after"), WHOLE.replace(old, new)).digest != before


def test_comments_and_spaces_are_no_content(tmp_path_factory: pytest.TempPathFactory) -> None:
    spaced = "# reviewed\n" + WHOLE.replace(" = ", "   =   ")
    assert load(tmp_path_factory.mktemp("spaced"), spaced).digest == load(tmp_path_factory.mktemp("plain"), WHOLE).digest


@pytest.mark.parametrize(
    ("text", "name"),
    [(SERVICE, "services.crm"), (TASK, "tasks.summarise"), (AGENT, "agents.bot"), (OPERATOR, "operators.jane")],
    ids=["service", "task type", "agent", "operator"],
)
def test_a_name_in_two_files_is_refused(tmp_path: Path, text: str, name: str) -> None:
    """The later file would silently replace what was reviewed in the first."""
    assert problems(tmp_path, WHOLE, text) == [f"1.toml: {name}: stands twice"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[agents.bot]", "[agent.bot]", "unknown table 'agent' (did you mean 'agents'?)"),
        ("ends  ", "end  ", "agents.bot: unknown key 'end' (did you mean 'ends'?)"),
        ("{ spiffe = ", "{ spife = ", "agents.bot.workloads: unknown key 'spife' (did you mean 'spiffe'?)"),
    ],
    ids=["table", "key", "key in a list"],
)
def test_an_unknown_key_is_named_with_the_nearest_one(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert problems(tmp_path, AGENT.replace(old, new, 1)) == [f"0.toml: {problem}"]


def test_an_unknown_key_deep_in_a_record_is_named_with_its_place(tmp_path: Path) -> None:
    text = SERVICE.replace("max_ttl = 60", "max_tll = 60")
    assert problems(tmp_path, text) == [
        "0.toml: services.crm.resources.ticket.actions.reply: unknown key 'max_tll' (did you mean 'max_ttl'?)"
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_duration = 900", 'max_duration = "900"'),
        ("max_duration = 900", "max_duration = true"),
        ("max_duration = 900", "max_duration = 0"),
        ('purpose      = "Summarise a ticket"', ""),
        ("scopes       = [", "scopes       = [5, "),
    ],
    ids=["a text for a number", "a boolean", "no time", "a key missing", "a number for a pattern"],
)
def test_a_value_of_the_wrong_kind_is_refused(tmp_path: Path, old: str, new: str) -> None:
    (problem,) = problems(tmp_path, TASK.replace(old, new, 1))
    assert problem.startswith("0.toml: tasks.summarise")


@pytest.mark.parametrize("value", ["5", '"all"', "[]"])
def test_a_table_has_to_be_one(tmp_path: Path, value: str) -> None:
    assert problems(tmp_path, f"agents = {value}") == ["0.toml: agents: has to be a table"]


def test_problems_of_several_files_are_named_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, SERVICE.replace("owner", "ownr"), "not toml", TASK + "nothing = 1\n")
    assert [problem.partition(":")[0] for problem in found] == ["0.toml", "1.toml", "2.toml"]


@pytest.mark.parametrize("make", [True, False], ids=["an empty folder", "no folder"])
def test_a_folder_without_files_is_refused(tmp_path: Path, make: bool) -> None:
    """Empty means no, and says so."""
    if make:
        (tmp_path / "registry").mkdir()
        (tmp_path / "registry" / "readme.txt").write_text(WHOLE)
    with pytest.raises(ConfigurationError, match="no registry files"):
        files.load(tmp_path / "registry")


def test_an_empty_registry_knows_nobody(tmp_path: Path) -> None:
    registry = load(tmp_path, "# nothing yet\n")
    assert isinstance(registry, Registry)
    assert not registry.content.agents
