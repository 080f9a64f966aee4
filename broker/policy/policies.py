"""Reads a folder of Cedar policies, all of them valid against the registry's schema, or none."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import cedarpy

from broker.errors import ConfigurationError
from broker.policy.schema import schema_of
from broker.registry.registry import Registry


class PolicyFolder(NamedTuple):
    """Policies that were read and validated. `version` is the digest of their bytes and of the registry."""

    policies: cedarpy.PolicySet
    ids: tuple[str, ...]
    version: str
    reads_record_ids: bool


def load(folder: Path, registry: Registry) -> PolicyFolder:
    """Read all `*.cedar` of the folder; raise `ConfigurationError` with every problem found.

    Every policy carries an `@id` of its own, for decisions and audit name policies by it.
    """
    paths = sorted(folder.glob("*.cedar"))
    if not paths:
        raise ConfigurationError([f"{folder}: no policies (*.cedar) here, so everything would be refused"])
    texts = {path: _read(path) for path in paths}
    ids = [id for path, text in texts.items() for id in _ids(path, text)]
    twice = [id for id, count in Counter(ids).items() if count > 1]
    if twice:
        raise ConfigurationError([f"{folder}: the @id {id!r} stands twice" for id in twice])
    whole = "\n".join(texts.values())
    _validate(folder, whole, registry)
    version = hashlib.sha256(f"{registry.digest}\n{whole}".encode()).hexdigest()
    return PolicyFolder(cedarpy.PolicySet.from_str(whole), tuple(ids), version, reads_record_ids=_names_a_record(whole))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: {error}"]) from None


def _ids(path: Path, text: str) -> list[str]:
    try:
        parsed = cedarpy.policies_to_pst(text)
    except ValueError as error:
        raise ConfigurationError([f"{path}: not Cedar: {error}"]) from None
    if parsed.templates:
        raise ConfigurationError([f"{path}: templates (?principal, ?resource) are not used here; write the policy out"])
    ids = [policy.annotations.get("id") for policy in parsed.static_policies.values()]
    if not all(ids):
        raise ConfigurationError([f'{path}: a policy has no @id("…")'])
    return [id for id in ids if id]


def _names_a_record(whole: str) -> bool:
    # A record's id can be read by a policy in one way only, by naming the record: Record::"crm:ticket/4711". It is looked for
    # in what Cedar parsed, for the text may have spaces and comments in between.
    return '"type":"Record"' in cedarpy.policies_to_json_str(whole)


def _validate(folder: Path, whole: str, registry: Registry) -> None:
    result = cedarpy.validate_policies(whole, schema_of(registry))
    if not result.validation_passed:
        names = result.id_annotations_by_policy_id
        raise ConfigurationError(
            [f"{folder}: policy {names.get(error.policy_id, error.policy_id)!r}: {error.error}" for error in result.errors]
        )
