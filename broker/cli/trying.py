"""What commands that try policies have in common: which policies, with which registry, and the cases that stand beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from broker import policy as policies_room
from broker import settings as settings_file
from broker.policy import cases
from broker.policy.cases import Result
from broker.policy.trials import Trials
from broker.registry import files
from broker.settings import MAX_TTL

Policies = Annotated[
    Path | None, typer.Option("--policies", metavar="DIR", help="The policies to try, instead of the configured ones.")
]
RegistryFolder = Annotated[
    Path | None, typer.Option("--registry", metavar="DIR", help="The registry to try them with, instead of the configured one.")
]


class Tried(NamedTuple):
    """Policies to try, and the folder that they are in."""

    trials: Trials
    folder: Path

    def results(self) -> list[Result]:
        """Run the cases beside the policies; raise `ConfigurationError` for those that cannot be run."""
        return cases.run(cases.parse(cases.read(self.folder)), self.trials)


def read(config: Path, policies: Path | None, registry: Path | None) -> Tried:
    """Read policies and registry; raise `ConfigurationError`. Where both folders are given, no settings are needed."""
    if policies is not None and registry is not None and not config.exists():
        return _read(policies, registry, MAX_TTL)
    settings = settings_file.load(config)
    return _read(policies or settings.path(settings.policies), registry or settings.path(settings.registry), settings.max_ttl)


def failing(results: Sequence[Result]) -> list[str]:
    """Return a line for every case that does not pass."""
    return [f"failed: {result.case.name}: {'; '.join(result.strays)}" for result in results if result.strays]


def _read(policies: Path, registry: Path, max_ttl: int) -> Tried:
    known = files.load(registry)
    return Tried(Trials(policies_room.load(policies, known), known, max_ttl=max_ttl), policies)
