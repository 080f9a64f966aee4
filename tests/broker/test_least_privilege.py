"""A token never says more than ceiling, policies, the tasks above and the request have in common, and does not outlive that."""

from collections.abc import Iterator

import pytest

from tests.broker.privilege.bench import Bench

HISTORIES = 80
"""Some seconds, and always the same ones. Others, and more: `python -m tests.benchmarks.least_privilege --help`."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("least-privilege"))
    yield made
    made.close()


def test_no_token_says_more_than_ceiling_policies_parents_and_request_have_in_common(bench: Bench) -> None:
    """`DESIGN.md` I3. The oracle is written from the documentation; what it allows is given, and nothing else.

    There is enough that is asked, given, refused, and ended by what was read: a property of nothing always holds.
    """
    for number in range(HISTORIES):
        bench.play(f"suite {number}")
    asked, issued, ended = bench.counted
    assert asked > 6 * HISTORIES
    assert HISTORIES < issued < asked - HISTORIES
    assert ended > HISTORIES / 50
