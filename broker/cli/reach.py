"""`broker report reach`: who can reach what, by registry and policies alone."""

import datetime
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from broker.cli import output, times, trying
from broker.cli.options import DEFAULT_CONFIG, AsJson, Config
from broker.cli.trying import Policies, RegistryFolder
from broker.policy import boxes, needs
from broker.policy.reach import Reach, Reached
from broker.registry.registry import Registry
from broker.standing import status
from broker.toml_file import nearest
from scopes.errors import InvalidScope
from scopes.levels import LEVELS
from scopes.scope import ScopePattern, canonical_prefix


def _prefix(text: str) -> str:
    try:
        return canonical_prefix(text)
    except InvalidScope as error:
        raise typer.BadParameter(str(error)) from None


def reach(
    *,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only what this agent can reach.")] = None,
    resource: Annotated[
        str | None, typer.Option(parser=_prefix, metavar="PREFIX", help="Only what is on resources below this, or may be.")
    ] = None,
    data_class: Annotated[str | None, typer.Option(metavar="NAME", help="Only what has data of this class.")] = None,
    level: Annotated[str | None, typer.Option(metavar="LEVEL", help="Only read, draft, write or trigger.")] = None,
    unreachable: Annotated[
        bool, typer.Option("--unreachable", help="Instead: what the registry would let them ask for, and no policy ever gives.")
    ] = False,
    policies: Policies = None,
    registry: RegistryFolder = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Say who can reach what, and the least that it needs: by agent, by resource, by class of data.

    Computed from registry and policies for every context that there can be. Example: broker report reach --data-class pii
    """
    tried = trying.read(config, policies, registry)
    known = tried.trials.registry
    _check_known("agent", agent, known.content.agents)
    _check_known("class of data", data_class, known.data_classes)
    _check_known("level", level, LEVELS)
    wanted = _wanted(resource=resource, data_class=data_class, level=level, unreachable=unreachable)
    rows = [row for row in Reach(tried.trials).rows(agent=agent) if wanted(row)]
    inactive = _inactive(known)
    if as_json:
        output.document({"reach": [_told(row) for row in rows], "inactive": inactive})
        return
    columns = ("AGENT", "TASK", "SCOPE", "FIELDS", "DATA CLASSES", "NEEDS")
    empty = "Everything that can be asked for can be had." if unreachable else "Nobody can reach it."
    output.table(columns, [_cells(row) for row in rows], empty=empty)
    if not all(row.is_exact for row in rows):
        output.say(
            "Policies hold users against patterns or their own groups, or compare a whole task or user: "
            "who is not named may need something else, and what is not listed may be given."
        )
    for name, where in inactive.items():
        output.say(f"{name} is {where}, and gets nothing as long as it is.")


def _check_known(what: str, name: str | None, known: Iterable[str]) -> None:
    there = list(known)
    if name is not None and name not in there:
        raise typer.BadParameter(f"there is no {what} {name!a}{nearest(name, there)}")


def _wanted(*, resource: str | None, data_class: str | None, level: str | None, unreachable: bool) -> Callable[[Reached], bool]:
    def is_wanted(row: Reached) -> bool:
        return (
            bool(row.ways) is not unreachable
            and (resource is None or _touches(resource, ScopePattern.parse(row.pattern)))
            and data_class in (None, *row.data_classes)
            and level in (None, row.level)
        )

    return is_wanted


def _touches(prefix: str, pattern: ScopePattern) -> bool:
    """Tell whether some resource is below the prefix and inside the pattern."""
    service, _, rest = prefix.partition(":")
    type, *path = rest.split("/")
    if service != pattern.service or type not in ("", pattern.type):
        return False
    if pattern.path[-1] != "**" and len(path) > len(pattern.path):
        return False
    return all(part in ("*", "**", own) for part, own in zip(pattern.path, path, strict=False))


def _inactive(registry: Registry) -> dict[str, str]:
    """Return where agents stand that get nothing today, whatever can be reached by their records."""
    today = datetime.datetime.fromtimestamp(times.now(), tz=datetime.UTC).date()
    standing = {name: status(registry.agent(name), today, {}) for name in sorted(registry.content.agents)}
    return {name: where for name, where in standing.items() if where != "active"}


def _cells(row: Reached) -> tuple[str, ...]:
    scope = str(ScopePattern.parse(row.pattern)._replace(fields=None))
    ways = [", ".join(needs.said(way, row.domains)) for way in row.ways]
    needed = "never given" if not ways else " · or ".join(way or "nothing" for way in ways)
    return row.agent, row.task_type, scope, ", ".join(row.fields), ", ".join(row.data_classes), needed


def _told(row: Reached) -> dict[str, object]:
    return {
        "agent": row.agent,
        "task": row.task_type,
        "pattern": row.pattern,
        "level": row.level,
        "environment": row.environment,
        "fields": row.fields,
        "data_classes": row.data_classes,
        "exact": row.is_exact,
        "ways": [
            {"needs": needs.said(way, row.domains), "contexts": {name: boxes.ordered(values) for name, values in way.items()}}
            for way in row.ways
        ],
    }
