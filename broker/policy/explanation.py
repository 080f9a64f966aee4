"""Why a request is answered as it is, and which single change of it would turn the answer."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import cedarpy
import msgspec

from broker.errors import ConfigurationError
from broker.policy import named, windows
from broker.policy.decision import PROOFS
from broker.policy.facts import TTLS
from broker.policy.policies import each
from broker.policy.slices import as_text
from broker.policy.trials import Trial, Trials, Verdict


class Change(NamedTuple):
    """One thing that would be otherwise, and the answer then."""

    what: str
    verdict: Verdict


class Explanation(NamedTuple):
    """An answer, the texts of the policies that decided and of those in shadow mode, and what would turn it."""

    verdict: Verdict
    texts: dict[str, str]
    changes: tuple[Change, ...]

    @property
    def shadow(self) -> tuple[str, ...]:
        """The policies in shadow mode that would have turned the answer."""
        return self.verdict.decision.shadow if self.verdict.decision is not None else ()


def explain(trial: Trial, trials: Trials) -> Explanation:
    """Explain the answer; raise `ConfigurationError` for a request that names what is not there."""
    verdict = trials.verdict(trial)
    shadow = verdict.decision.shadow if verdict.decision is not None else ()
    turn = _Turn(trial, trials, allowed=verdict.allowed)
    return Explanation(verdict, texts_of({*verdict.policies, *shadow}, trials), tuple(turn.changes()))


def texts_of(ids: set[str], trials: Trials) -> dict[str, str]:
    """Return what the policies of these ids say, in Cedar's own notation."""
    parsed = each(trials.folder)
    return {id: cedarpy.format_policies(as_text([msgspec.json.decode(parsed[id])])).rstrip() for id in sorted(ids)}


class _Turn:
    """Looks for what would turn the answer to one request."""

    def __init__(self, trial: Trial, trials: Trials, *, allowed: bool) -> None:
        self._trial = trial
        self._trials = trials
        self._allowed = allowed

    def changes(self) -> Iterator[Change]:
        """Yield every single change that does."""
        yield from self._turning(_others(self._trial, self._trials))
        yield from itertools.islice(self._turning(_other_lives(self._trial)), 1)
        yield from self._other_times()

    def _turning(self, others: Iterator[tuple[str, Trial]]) -> Iterator[Change]:
        seen = {self._trial}
        for what, other in others:
            if other not in seen:
                seen.add(other)
                verdict = _tried(other, self._trials)
                # What is outside the ceiling of another task says nothing of this one.
                if verdict is not None and verdict.decision is not None and verdict.allowed != self._allowed:
                    yield Change(what, verdict)

    def _other_times(self) -> Iterator[Change]:
        if self._trials.folder.reads.isdisjoint({"hour", "weekday"}):
            return
        at = self._trial.at
        others = {moment: msgspec.structs.replace(self._trial, at=windows.moved(at, moment)) for moment in windows.WEEK}
        answers = {moment: self._trials.verdict(other) for moment, other in others.items()}
        turned = [moment for moment, verdict in answers.items() if verdict.allowed != self._allowed]
        if turned:
            yield Change(f"at another time: {windows.said(turned)}", answers[turned[0]])


def _tried(trial: Trial, trials: Trials) -> Verdict | None:
    try:
        return trials.verdict(trial)
    except ConfigurationError:
        # Made by changing one thing of what is there, it can be nothing that anybody could ask for.
        return None


def _others(trial: Trial, trials: Trials) -> Iterator[tuple[str, Trial]]:
    """Yield requests that differ in one thing, in the order in which one would try it."""
    yield from _other_proofs(trial)
    yield _but(
        trial, "without a person's approval" if trial.approved else "with a person's approval", approved=not trial.approved
    )
    yield from _other_exposures(trial, trials)
    yield from _fewer_fields(trial, trials)
    yield from _other_users(trial, trials)
    for type in trials.registry.agent(trial.agent).record.tasks:
        yield _but(trial, f"in a task of type {type}", task=type)
    if trial.within:
        yield _but(trial, "in a task that is below no other", within=())
    if trial.reductions:
        yield _but(trial, "without any reduction", reductions=())
    if trial.recent_refusals:
        yield _but(trial, "without refusals lately", recent_refusals=0)


def _but(trial: Trial, what: str, **changes: object) -> tuple[str, Trial]:
    return what, msgspec.structs.replace(trial, **changes)


def _other_proofs(trial: Trial) -> Iterator[tuple[str, Trial]]:
    for proof in PROOFS:
        yield _but(trial, f"with a proof by {'a certificate (mtls)' if proof == 'mtls' else 'DPoP'}", proof=proof)
    yield _but(trial, "without a proof", proof="none")


def _other_exposures(trial: Trial, trials: Trials) -> Iterator[tuple[str, Trial]]:
    if trial.tainted:
        yield _but(trial, "in a tree that is not tainted", tainted=False)
    else:
        yield _but(trial, "in a tree that is tainted", tainted=True)
    for label in trial.labels:
        kept = tuple(other for other in trial.labels if other != label)
        yield _but(trial, f"in a tree that has not read {label}", labels=kept)
    yield _but(trial, "in a tree that has read none of these classes of data", labels=())
    for label in sorted(trials.registry.data_classes.difference(trial.labels)):
        yield _but(trial, f"in a tree that has read {label}", labels=(*trial.labels, label))


def _fewer_fields(trial: Trial, trials: Trials) -> Iterator[tuple[str, Trial]]:
    question = trials.question(trial)
    fields, known = question.scope.fields or (), question.entry.resource_type.fields
    classes = sorted({data_class for field in fields for data_class in known.get(field, ())})
    without = [
        (f"without fields of class {name}", {field for field in fields if name in known.get(field, ())}) for name in classes
    ]
    without += [(f"without the field {field}", {field}) for field in fields]
    without += [(f"for the field {field} alone", set(fields) - {field}) for field in fields]
    for what, left_out in without:
        kept = tuple(field for field in fields if field not in left_out)
        if kept and len(kept) < len(fields):
            yield _but(trial, what, scope=str(question.scope._replace(fields=kept)))


def _other_lives(trial: Trial) -> Iterator[tuple[str, Trial]]:
    # The longest first: whoever asks for less than that gets it as well, or the policy is an odd one.
    for ttl in sorted(TTLS, reverse=True):
        if trial.ttl is None or ttl < trial.ttl:
            yield _but(trial, f"for {ttl} seconds", ttl=ttl)


def _other_users(trial: Trial, trials: Trials) -> Iterator[tuple[str, Trial]]:
    reads = trials.folder.reads
    policies = tuple(each(trials.folder).values())
    if "user" not in reads:
        return
    if trial.user:
        yield _but(trial, "for nobody", user="", groups=())
        for group in trial.groups:
            kept = tuple(other for other in trial.groups if other != group)
            yield _but(trial, f"for a user who is not in {group}", groups=kept)
    someone = trial.user or "someone"
    yield _but(trial, "for any user", user=someone)
    for user in sorted(named.texts(policies, "id") - {""}) if "id" in reads else ():
        yield _but(trial, f"for the user {user}", user=user)
    for group in sorted(named.texts(policies, "groups")):
        yield _but(trial, f"for a user who is in {group}", user=someone, groups=(*trial.groups, group))
