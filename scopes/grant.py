"""What a verified token allows its holder, and which parts of a record it names."""

from collections.abc import Mapping
from typing import Any

import msgspec

from scopes import fields as granted_fields
from scopes.consumption import Consumable
from scopes.levels import Level
from scopes.scope import Scope


class Grant(msgspec.Struct, frozen=True):
    """What a verified token allows its holder to do here. `expires` is in seconds since the Unix epoch.

    With a `consumable` it allows nothing before `Verifier.consume` has returned.
    """

    agent: str
    workload: str
    user: str | None
    task: str
    lease: str
    scope: Scope
    level: Level
    expires: int
    consumable: Consumable | None = None

    @property
    def fields(self) -> tuple[str, ...] | None:
        """The granted fields, sorted; `None` where the resource type has none, and the whole record is granted."""
        return self.scope.fields

    def project(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with the granted fields only, those inside others included; what it lacks stays absent."""
        return dict(record) if self.scope.fields is None else granted_fields.project(record, self.scope.fields)

    def check(self, record: Mapping[str, Any]) -> None:
        """Raise `Denied` for a record to be written that has anything beyond the granted fields, inside others included."""
        if self.scope.fields is not None:
            granted_fields.refuse(granted_fields.beyond(record, self.scope.fields))
