"""Reads a folder of Cedar policies, all of them valid against the registry's schema, or none."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cedarpy
import msgspec

from broker.errors import ConfigurationError
from broker.policy.schema import schema_of
from broker.registry.registry import Registry
from broker.toml_file import text_of


class PolicyFolder(NamedTuple):
    """Policies that were read and validated. `version` is the digest of their bytes and of the registry."""

    policies: cedarpy.PolicySet
    ids: tuple[str, ...]
    version: str
    reads_record_ids: bool
    texts: Mapping[str, str]


def load(folder: Path, registry: Registry) -> PolicyFolder:
    """Read all `*.cedar` of the folder; raise `ConfigurationError` with every problem found."""
    return parse(read(folder), registry, where=str(folder))


def read(folder: Path) -> dict[str, str]:
    """Return the texts of all `*.cedar` of the folder by name; raise `ConfigurationError` for one that cannot be read."""
    texts = {path.name: text_of(path) for path in sorted(folder.glob("*.cedar"))}
    if not texts:
        raise ConfigurationError([f"{folder}: no policies (*.cedar) here, so everything would be refused"])
    return texts


def parse(texts: Mapping[str, str], registry: Registry, *, where: str) -> PolicyFolder:
    """Validate policy files, given by name, against the registry; raise `ConfigurationError` with every problem found.

    Every policy carries an `@id` of its own, for decisions and audit name policies by it.
    """
    # In one order, whoever listed them, for the version is of the bytes.
    texts = dict(sorted(texts.items()))
    ids = [id for name, text in texts.items() for id in _ids(f"{where}/{name}", text)]
    twice = [id for id, count in Counter(ids).items() if count > 1]
    if twice:
        raise ConfigurationError([f"{where}: the @id {id!r} stands twice" for id in twice])
    whole = "\n".join(texts.values())
    _validate(where, whole, registry)
    version = hashlib.sha256(f"{registry.digest}\n{whole}".encode()).hexdigest()
    return PolicyFolder(cedarpy.PolicySet.from_str(whole), tuple(ids), version, _names_a_record(whole), texts)


def each(folder: PolicyFolder) -> dict[str, str]:
    """Return what each policy says, by its id, in one spelling."""
    parsed: dict[str, Any] = msgspec.json.decode(cedarpy.policies_to_json_str("\n".join(folder.texts.values())))
    policies = parsed["staticPolicies"].values()
    return {policy["annotations"]["id"]: msgspec.json.encode(policy, order="sorted").decode() for policy in policies}


def _ids(where: str, text: str) -> list[str]:
    try:
        parsed = cedarpy.policies_to_pst(text)
    except ValueError as error:
        raise ConfigurationError([f"{where}: not Cedar: {error}"]) from None
    if parsed.templates:
        raise ConfigurationError([f"{where}: templates (?principal, ?resource) are not used here; write the policy out"])
    ids = [policy.annotations.get("id") for policy in parsed.static_policies.values()]
    if not all(ids):
        raise ConfigurationError([f'{where}: a policy has no @id("…")'])
    return [id for id in ids if id]


def _names_a_record(whole: str) -> bool:
    # A record's id can be read by a policy in one way only, by naming the record: Record::"crm:ticket/4711". It is looked for
    # in what Cedar parsed, for the text may have spaces and comments in between.
    return '"type":"Record"' in cedarpy.policies_to_json_str(whole)


def _validate(where: str, whole: str, registry: Registry) -> None:
    result = cedarpy.validate_policies(whole, schema_of(registry))
    if not result.validation_passed:
        names = result.id_annotations_by_policy_id
        raise ConfigurationError(
            [f"{where}: policy {names.get(error.policy_id, error.policy_id)!r}: {error.error}" for error in result.errors]
        )
