"""Tests of policies: requests with the answers that are expected, in `*.toml` beside the policies."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from broker import toml_file
from broker.errors import ConfigurationError
from broker.policy.trials import Trial, Trials, Verdict


class Case(Trial, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A request and what it is answered. Whatever stands below `expect` is asked for only where it is said.

    `policies` are exactly those that decide.
    """

    name: str
    expect: Literal["allowed", "refused"]
    reason: str | None = None
    policies: tuple[str, ...] | None = None
    ends_on_taint: bool | None = None
    ends_on_labels: tuple[str, ...] | None = None


class Result(NamedTuple):
    """A case, what came, and what of it was not expected; nothing, where it passes."""

    case: Case
    verdict: Verdict
    strays: tuple[str, ...]


def read(folder: Path) -> dict[str, str]:
    """Return the texts of all `*.toml` of the folder by path; raise `ConfigurationError` for one that cannot be read."""
    return {str(path): toml_file.text_of(path) for path in sorted(folder.glob("*.toml"))}


def parse(texts: Mapping[str, str]) -> list[Case]:
    """Read files of cases, given by path; raise `ConfigurationError` with every problem found."""
    cases: list[Case] = []
    problems: list[str] = []
    for path, text in texts.items():
        try:
            listed = _listed(path, text)
        except ConfigurationError as error:
            problems += error.problems
            continue
        for number, unread in enumerate(listed, 1):
            try:
                cases.append(toml_file.convert(unread, Case, where=_where(path, number, unread)))
            except ConfigurationError as error:
                problems += error.problems
    problems += _contradictions(cases)
    if problems:
        raise ConfigurationError(problems)
    return cases


def run(cases: list[Case], trials: Trials) -> list[Result]:
    """Try every case; raise `ConfigurationError` with everything that cases name and is not there."""
    results: list[Result] = []
    problems: list[str] = []
    for case in cases:
        found = [*trials.problems(case), *_unknown_policies(case, trials)]
        problems += [f"case {case.name!r}: {problem}" for problem in found]
        if not found:
            verdict = trials.verdict(case)
            results.append(Result(case, verdict, tuple(_strays(case, verdict))))
    if problems:
        raise ConfigurationError(problems)
    return results


def _listed(path: str, text: str) -> list[Any]:
    unread = toml_file.parse(text, where=path)
    unknown = [f"{path}: unknown key {key!r}{toml_file.nearest(key, ['case'])}" for key in unread if key != "case"]
    if unknown:
        raise ConfigurationError(unknown)
    listed = unread.get("case", [])
    if not isinstance(listed, list) or not listed:
        raise ConfigurationError([f"{path}: no cases here; each begins with [[case]]"])
    return listed


def _where(path: str, number: int, unread: Any) -> str:
    name = unread.get("name") if isinstance(unread, Mapping) else None
    return f"{path}: case {name!r}" if isinstance(name, str) and name else f"{path}: case {number}"


def _contradictions(cases: list[Case]) -> Iterator[str]:
    seen = set()
    for case in cases:
        if not case.name:
            yield "a case has no name"
        elif case.name in seen:
            yield f"the case {case.name!r} stands twice"
        seen.add(case.name)
        if case.expect == "allowed" and case.reason is not None:
            yield f"case {case.name!r}: what is allowed has no reason"
        if case.expect == "refused" and (case.ends_on_taint, case.ends_on_labels) != (None, None):
            yield f"case {case.name!r}: what is refused ends on nothing"


def _unknown_policies(case: Case, trials: Trials) -> list[str]:
    known = trials.folder.ids
    return [f"there is no policy {id!r}{toml_file.nearest(id, known)}" for id in case.policies or () if id not in known]


def _strays(case: Case, verdict: Verdict) -> Iterator[str]:
    """Yield what came otherwise than it was expected."""
    came = "allowed" if verdict.allowed else "refused"
    if came != case.expect:
        yield f"expected {_expected(case)}, got {verdict.answer}"
        return
    if case.reason not in (None, verdict.reason):
        yield f"expected the reason {case.reason}, got {verdict.answer}"
    if case.policies is not None and set(case.policies) != set(verdict.policies):
        yield f"expected {_names(case.policies)} to decide, got {verdict.answer}"
    if case.ends_on_taint not in (None, verdict.ends_on_taint):
        yield f"expected it to {'end' if case.ends_on_taint else 'outlive it'} when the tree is tainted"
    if case.ends_on_labels is not None and set(case.ends_on_labels) != set(verdict.ends_on_labels):
        yield f"expected it to end on {_names(case.ends_on_labels)}, it ends on {_names(verdict.ends_on_labels)}"


def _expected(case: Case) -> str:
    return f"{case.expect} ({case.reason})" if case.reason is not None else case.expect


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(sorted(names)) or "nothing"
