"""Very many histories of requests: is a token ever found that says too much? Run: python -m tests.benchmarks.least_privilege.

Registries, policies, tasks and requests are made at random from a seed, played on a real broker over an in-process store, and
held against an oracle that is written from the documentation. It ends with 1 if anything was given beyond it, or kept back.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from tests.broker.privilege.bench import Bench


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=2_000, help="how many histories")
    parser.add_argument("--seed", default="0", help="what they are made from")
    asked = parser.parse_args()
    # A busy machine is no bug.
    with tempfile.TemporaryDirectory() as folder, mock.patch("broker.feed.follower.MAX_AGE", 60_000):
        sys.exit(play(Path(folder), asked.histories, asked.seed))


def play(folder: Path, histories: int, seed: str) -> int:
    """Play them, say what was found, and return the exit code."""
    bench, started, problem = Bench(folder), time.perf_counter(), ""
    for number in range(histories):
        try:
            bench.play(f"{seed} {number}")
        except AssertionError as error:
            problem = str(error)
            break
    asked, issued, ended = bench.counted
    print(f"seed {seed!r}: {number + 1:,} histories in {time.perf_counter() - started:.0f} s")
    print(f"{asked:,} requests, {issued:,} tokens, {ended:,} of them ended by what their task went on to read")
    print(f"FOUND: {problem}" if problem else "nothing was given beyond what may be, and nothing kept back")
    bench.close()
    return int(bool(problem))


if __name__ == "__main__":
    main()
