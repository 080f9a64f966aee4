"""The worked examples: each loads, says what it says it does, and its page says the same."""

from importlib.resources import files

import pytest

from tests.flows.example_cases import FOLDER, NAMES, Case, Example

EXAMPLES = {name: Example.named(name) for name in NAMES}
CASES = [(name, case) for name in NAMES for case in EXAMPLES[name].cases]


@pytest.mark.parametrize(("name", "case"), CASES, ids=lambda part: part.name if isinstance(part, Case) else part)
def test_a_case_is_answered_as_it_says(name: str, case: Case) -> None:
    answer = EXAMPLES[name].answer(case)
    said = {field: value for field in answer._fields if (value := getattr(case, field)) is not None}
    assert {field: getattr(answer, field) for field in said} == said
