"""The worked examples of `deploy/example`, and the cases beside their policies."""

from typing import NamedTuple

import msgspec

from broker import policy
from broker.policy import cases
from broker.policy.cases import Case
from broker.policy.trials import Trials, Verdict
from broker.registry import files
from broker.registry.registry import Registry
from broker.settings import MAX_TTL
from tests.docs.pages import ROOT

FOLDER = ROOT / "deploy" / "example"
NAMES = tuple(sorted(path.name for path in FOLDER.iterdir() if path.is_dir()))


class Example(NamedTuple):
    """One example, as it lies in its folder."""

    trials: Trials
    cases: tuple[Case, ...]

    @classmethod
    def named(cls, name: str) -> "Example":
        registry = files.load(FOLDER / name / "registry")
        return cls(_trials(name, registry), tuple(cases.parse(cases.read(FOLDER / name / "policies"))))

    @property
    def registry(self) -> Registry:
        return self.trials.registry

    def on(self, name: str, registry: Registry) -> "Example":
        """Put the policies on another registry."""
        return self._replace(trials=_trials(name, registry))

    def answer(self, case: Case) -> Verdict:
        return self.trials.verdict(case)

    def type_of(self, case: Case) -> str:
        """Return the type of the task that asks."""
        return case.task or self.registry.agent(case.agent).record.default_task or ""


def but(case: Case, **changes: object) -> Case:
    """Ask the same with something else."""
    return msgspec.structs.replace(case, **changes)


def _trials(name: str, registry: Registry) -> Trials:
    return Trials(policy.load(FOLDER / name / "policies", registry), registry, max_ttl=MAX_TTL)
