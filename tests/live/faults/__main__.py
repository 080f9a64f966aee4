"""The command: python -m tests.live.faults --minutes 10 --seed 7 [--fault NAME …] [--feeds 100]."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.live.faults.campaign import Campaign
from tests.live.faults.faults import ALL, NAMED

MOST_TOLD = 20
"""How many violations are told to people; a broken invariant shows at every verifier."""


def _arguments() -> argparse.Namespace:
    known = "\n".join(f"  {name:20} {(fault.__doc__ or '').splitlines()[0]}" for name, fault in NAMED.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.live.faults",
        description="Break real brokers, Redis servers and verifiers at random, and see that what was taken away stays away.",
        epilog=f"faults:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="repeat the schedule of another run")
    parser.add_argument("--feeds", type=int, default=100, help="how many verifiers follow")
    parser.add_argument("--replicas-required", type=int, choices=(0, 1), default=1, help="as in broker.toml")
    parser.add_argument("--fault", nargs="+", choices=sorted(NAMED), metavar="NAME", help="only these")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what the processes wrote in this new folder")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON document")
    return parser.parse_args()


def main() -> int:
    """Run until the time is over, or until Ctrl-C; the exit code is 1 where anything was seen that must not be."""
    asked = _arguments()
    say(f"seed {asked.seed}")
    kinds = [NAMED[name] for name in asked.fault] if asked.fault else ALL
    with tempfile.TemporaryDirectory(prefix="faults-") as passing:
        campaign = Campaign(
            asked.keep or Path(passing),
            seed=asked.seed,
            feeds=asked.feeds,
            replicas_required=asked.replicas_required,
            say=say,
        )
        with campaign:
            try:
                campaign.run(kinds, asked.minutes * 60)
            except KeyboardInterrupt:
                say("interrupted")
            campaign.finish()
        summary = campaign.summary()
    print(json.dumps(summary, indent=2) if asked.json else table(summary))
    return 1 if summary["violations"] else 0


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def table(summary: dict[str, Any]) -> str:
    """Lay the summary out for people: numbers, then faults, then what must not be."""
    lines: list[str] = []
    for name, value in summary.items():
        if name not in ("violations", "not_judged"):
            lines += _rows(name.replace("_", " "), value)
    for name in ("not_judged", "violations"):
        lines += ["", f"{name.replace('_', ' ')}: {len(summary[name])}", *_accounts(summary[name])]
    return "\n".join(lines)


def _accounts(violations: list[dict[str, str]]) -> list[str]:
    lines = [f"  {each['what']}\n    {each['account']}" for each in violations[:MOST_TOLD]]
    rest = len(violations) - MOST_TOLD
    return [*lines, f"  and {rest} more; --json tells them all"] if rest > 0 else lines


def _rows(name: str, value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [f"{name:50} {value}"]
    return [f"{name}:", *(f"  {key:48} {_told(each)}" for key, each in value.items())]


def _told(value: Any) -> str:
    return (
        ", ".join(f"{name.replace('_', ' ')} {each}" for name, each in value.items()) if isinstance(value, dict) else str(value)
    )


if __name__ == "__main__":
    sys.exit(main())
