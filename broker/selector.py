"""What a caller wants ended or reduced: exactly one member, by the names of the contract (`WIRE.md`)."""

import msgspec

from broker.errors import InvalidRequest


class _OneOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    @property
    def chosen(self) -> tuple[str, str]:
        """The one kind and its value, empty for `all`; raise `InvalidRequest` unless there is exactly one."""
        members = {name: getattr(self, name) for name in self.__struct_fields__ if getattr(self, name) is not None}
        if len(members) != 1 or "" in members.values() or members.get("all") is False:
            raise InvalidRequest(f"the selector names exactly one of {', '.join(self.__struct_fields__)}")
        kind, value = next(iter(members.items()))
        return kind, "" if kind == "all" else value


class Selector(_OneOf, frozen=True):
    """What to end: exactly one member."""

    lease: str | None = None
    task: str | None = None
    agent: str | None = None
    instance: str | None = None
    resource: str | None = None
    owner: str | None = None
    user: str | None = None
    key: str | None = None
    all: bool | None = None


class ReductionSelector(_OneOf, frozen=True):
    """Whose access to reduce: exactly one member."""

    agent: str | None = None
    instance: str | None = None
    service: str | None = None
    all: bool | None = None
