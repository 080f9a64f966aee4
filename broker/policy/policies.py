"""Reads a folder of Cedar policies, all of them valid against the registry's schema, or none."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cedarpy
import msgspec

from broker.errors import ConfigurationError
from broker.policy.facts import Kept
from broker.policy.schema import ATTRIBUTES, RECORDS, schema_of
from broker.policy.slices import Parsed, Slices, entities_in
from broker.registry.registry import Registry
from broker.toml_file import text_of

SHADOW = "shadow"
"""The annotation of a policy that is asked and not obeyed, so that its effect is known before it has one."""

_ATTRIBUTE = re.compile(r'"attr":"(\w+)"')


class PolicyFolder(NamedTuple):
    """Policies that were read and validated. `version` is the digest of their bytes and of the registry.

    `enforced` decide; `tried`, where there are policies in shadow mode, are these together with those of the ids in `shadow`.
    `records` are the records that policies name, `reads` every attribute that any of them looks at.
    """

    ids: tuple[str, ...]
    version: str
    texts: Mapping[str, str]
    enforced: Slices
    tried: Slices | None
    shadow: frozenset[str]
    records: frozenset[str]
    reads: frozenset[str]

    @property
    def kept(self) -> Kept:
        """Which names the policies look at."""
        return Kept(record_ids=bool(self.records), user_ids="id" in self.reads)

    @property
    def reads_labels(self) -> bool:
        """Tell whether any policy looks at what a task has read."""
        return not self.reads.isdisjoint({"labels", "read_sensitive"})


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
    return _folder(tuple(ids), version, texts)


def _folder(ids: tuple[str, ...], version: str, texts: Mapping[str, str]) -> PolicyFolder:
    policies = _parsed(texts)
    shadow = frozenset(policy["annotations"]["id"] for policy in policies if SHADOW in policy["annotations"])
    return PolicyFolder(
        ids=ids,
        version=version,
        texts=texts,
        enforced=Slices([policy for policy in policies if policy["annotations"]["id"] not in shadow]),
        tried=Slices(policies) if shadow else None,
        shadow=shadow,
        records=frozenset(entities_in(policies, "Record")),
        reads=_reads(policies),
    )


def each(folder: PolicyFolder) -> dict[str, str]:
    """Return what each policy says, by its id, in one spelling."""
    policies = _parsed(folder.texts)
    return {policy["annotations"]["id"]: msgspec.json.encode(policy, order="sorted").decode() for policy in policies}


def _parsed(texts: Mapping[str, str]) -> list[Parsed]:
    parsed: dict[str, Any] = msgspec.json.decode(cedarpy.policies_to_json_str("\n".join(texts.values())))
    return list(parsed["staticPolicies"].values())


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


def _reads(policies: Sequence[Parsed]) -> frozenset[str]:
    """Return the attributes that policies look at: all there are, where one looks at a record of them as a whole."""
    if any(takes_whole(policy["conditions"]) for policy in policies):
        return ATTRIBUTES
    return frozenset(_ATTRIBUTE.findall(msgspec.json.encode(policies).decode()))


def takes_whole(part: Any, *, is_looked_into: bool = False) -> bool:
    """Tell whether the context, or a record in it, is used otherwise than by its attributes: compared, for instance."""
    if isinstance(part, list):
        return any(map(takes_whole, part))
    if not isinstance(part, Mapping):
        return False
    if "Record" in part:
        return takes_whole(list(part["Record"].values()))
    is_record = part.get("Var") == "context" or part.get(".", {}).get("attr") in RECORDS
    return (is_record and not is_looked_into) or any(
        takes_whole(member["left"], is_looked_into=True) if kind in (".", "has") else takes_whole(member)
        for kind, member in part.items()
    )


def _validate(where: str, whole: str, registry: Registry) -> None:
    result = cedarpy.validate_policies(whole, schema_of(registry))
    if not result.validation_passed:
        names = result.id_annotations_by_policy_id
        raise ConfigurationError(
            [f"{where}: policy {names.get(error.policy_id, error.policy_id)!r}: {error.error}" for error in result.errors]
        )
