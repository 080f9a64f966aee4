"""What a request needs so that it is in a box of contexts, as people say it."""

from collections.abc import Hashable, Iterable, Iterator, Sequence

from broker.policy import windows
from broker.policy.boxes import Box, Domains
from broker.policy.dimensions import OTHER, OTHER_SEGMENT
from broker.policy.facts import OLD, REFUSALS, Moment

_PROOFS = {"dpop": "a proof by DPoP", "mtls": "a proof by certificate", "none": "no proof"}
_YES_OR_NO = {
    "approved": ("a person's approval", "no approval"),
    "tainted": ("a tainted tree", "an untainted tree"),
}
_NAMED = {
    "label": ("a tree that has read {}", "a tree that has not read {}"),
    "group": ("a user in {}", "a user who is not in {}"),
    "reduction": ("a reduction to {}", "no reduction to {}"),
}


def said(box: Box, domains: Domains) -> tuple[str, ...]:
    """Say what is needed; nothing, where every context is in the box."""
    return tuple(_needs(box, domains))


def _needs(box: Box, domains: Domains) -> Iterator[str]:
    if not {"hour", "weekday"}.isdisjoint(box):
        hours, weekdays = (box.get(name, domains[name]) for name in ("hour", "weekday"))
        yield windows.said(Moment(int(str(hour)), int(str(day))) for hour in hours for day in weekdays)
    for name, values in sorted(box.items()):
        if name not in ("hour", "weekday"):
            yield _need(name, sorted(values, key=str), domains)


def _need(name: str, values: Sequence[Hashable], domains: Domains) -> str:
    kind, _, what = name.partition(":")
    texts = [str(value) for value in values]
    if kind == "proof":
        return "a proof" if set(texts) == {"dpop", "mtls"} else " or ".join(_PROOFS[text] for text in texts)
    if kind in _YES_OR_NO:
        return _YES_OR_NO[kind][texts == ["False"]]
    if kind == "group" and what == OTHER:
        return "a user in no other group" if texts == ["False"] else "a user in another group"
    if kind in _NAMED:
        return _NAMED[kind][texts == ["False"]].format(what.replace(",", " or "))
    if kind == "identity":
        return f"an identity by {' or '.join(f'{source} of {trust}' for source, trust in _pairs(values))}"
    if kind == "user":
        return _user(texts, [str(user) for user in domains["user"]])
    if kind == "record":
        return _record(texts, [str(record) for record in domains["record"]])
    return _number(kind, sorted(int(text) for text in texts), sorted(int(str(value)) for value in domains[kind]))


def _user(users: Sequence[str], known: Sequence[str]) -> str:
    if users == [""]:
        return "no user"
    if OTHER not in users:
        return "only for " + " or ".join(user or "nobody" for user in users)
    excepted = sorted(set(known) - set(users) - {""})
    whom = "a user" if "" not in users else "any user or nobody"
    return f"{whom} other than {', '.join(excepted)}" if excepted else whom


def _record(records: Sequence[str], known: Sequence[str]) -> str:
    if not any(OTHER_SEGMENT in record for record in records):
        return f"only {' or '.join(records)}"
    return f"any record but {', '.join(sorted(set(known) - set(records)))}"


def _number(name: str, values: Sequence[int], known: Sequence[int]) -> str:
    units = {"ttl": "a life of {} seconds", "age": "a task of {} seconds", "depth": "{} tasks above it"}
    sentence = units.get(name, "{} refusals lately")
    if name == "depth" and values == [0]:
        return "no task above it"
    below, above = values == list(known[: len(values)]), values == list(known[-len(values) :])
    if below:
        return sentence.format(f"at most {values[-1]}")
    if above:
        return sentence.format(f"more than {known[-len(values) - 1]}")
    return sentence.format(" or ".join(_banded(name, value) for value in values))


def _banded(name: str, value: int) -> str:
    return "more" if (name, value) in (("age", OLD), ("recent_refusals", REFUSALS[-1])) else str(value)


def _pairs(values: Iterable[Hashable]) -> Iterator[tuple[str, str]]:
    for value in values:
        assert isinstance(value, tuple)
        yield value
