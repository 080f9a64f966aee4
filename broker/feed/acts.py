"""Standing acts: what an operator did that outlives the store, and who wins where two memories differ (`DESIGN.md` 3.8).

For each target the act with the highest epoch and number holds, the lifting of a reduction or a suspension among them. Where
one epoch was forked, so that two acts have the same number in it, the stricter one holds. Only a retirement holds against
whatever came later: it is for good.
"""

from collections.abc import Iterable, Mapping

import msgspec

from broker.feed.event import LIFT, LONGEST_LIFE, NewEvent, new_event

Target = str
"""The kind and value of what an act is about, as one text: `agent support-bot`, `resource crm`, `key …`, `all`.

Whether an agent or an instance may act at all is a target of its own, `life of agent support-bot`, apart from how far it is
reduced: neither lifts the other.
"""

PAUSED = "paused"
REDUCTIONS: dict[str, tuple[str | None, bool]] = {
    "approval": (None, True),
    "draft-only": ("draft", False),
    "read-only": ("read", False),
    PAUSED: (None, False),
}
"""How far access can be reduced, from the least to the most: the level above which it ends, or all without an approval."""

ACTIVE, SUSPENDED, RETIRED = "active", "suspended", "retired"
"""Whether an agent or an instance may act at all, from the least strict to the most."""

ALL = "all"


class Act(msgspec.Struct, frozen=True):
    """An act, and where in which epoch it was first committed."""

    epoch: str
    seq: int
    event: NewEvent

    @property
    def target(self) -> Target:
        """What it is about."""
        return target_of(self.event)

    @property
    def order(self) -> tuple[bool, str, int, int]:
        """By this, the greater of two acts on one target holds."""
        return self.event.life == RETIRED, self.epoch, self.seq, rank(self.event)


Acts = Mapping[Target, Act]
"""The act that holds, for each target on which there ever was one. Never changed, only replaced."""


def target_of(event: NewEvent) -> Target:
    """Return what a standing event, or the lifting of one, is about."""
    if event.kind == LIFT:
        return event.value
    if event.life:
        return life_of(event.kind, event.value)
    return ALL if event.kind == ALL else f"{event.kind} {event.value}"


def life_of(kind: str, value: str) -> Target:
    """Return the target of whether an agent or an instance may act at all."""
    return f"life of {kind} {value}"


def is_act(event: NewEvent) -> bool:
    """Tell whether the event stands, or lifts one that stood."""
    return event.stands or event.kind == LIFT


def rank(event: NewEvent) -> int:
    """Return how strict a standing event is: 0 for the lifting of one."""
    if event.kind == LIFT:
        return 0
    if event.life:
        return 1 + len(REDUCTIONS) + (SUSPENDED, RETIRED).index(event.life)
    return 1 + list(REDUCTIONS.values()).index((event.above, event.unapproved))


def reduction(act: Act) -> str | None:
    """Return how far the act reduces access, or `None` where it does not: it was lifted, suspended, or ended a key."""
    if act.event.kind in (LIFT, "key") or act.event.life:
        return None
    return list(REDUCTIONS)[rank(act.event) - 1]


def life(known: Acts, kind: str, value: str) -> str | None:
    """Return `suspended` or `retired` where an agent or an instance is that."""
    act = known.get(life_of(kind, value))
    return act.event.life or None if act is not None else None


def suspended_instances(known: Acts, agent: str) -> list[str]:
    """Return the instances that were suspended as this agent's, by name."""
    events = [act.event for act in known.values() if act.event.kind == "instance" and act.event.life]
    return sorted(event.value for event in events if event.agent == agent)


def of_event(event: NewEvent, *, epoch: str, seq: int) -> Act:
    """Return the act of an event that was read as number `seq` of `epoch`."""
    first_epoch, first_seq = event.origin or (epoch, seq)
    return Act(first_epoch, first_seq, event)


def merged(*memories: Iterable[Act]) -> dict[Target, Act]:
    """Return the act that holds for each target."""
    holding: dict[Target, Act] = {}
    for memory in memories:
        for act in memory:
            known = holding.get(act.target)
            if known is None or act.order > known.order:
                holding[act.target] = act
    return holding


def again(act: Act, *, now: int) -> NewEvent:
    """Return the event by which an act of an earlier epoch is committed in the present one."""
    event = msgspec.structs.replace(act.event, origin=(act.epoch, act.seq))
    # It can hit what is given out from now on, and what ended a key has no end anyway.
    return msgspec.structs.replace(event, until=max(event.until, now + LONGEST_LIFE))


def unknown(epoch: str, *, now: int) -> Act:
    """Return the act that pauses everything at the start of an epoch, because nobody knows what stood before."""
    event = new_event(ALL, now=now)
    said = "what stood before the store was lost is not known"
    return Act(epoch, 0, msgspec.structs.replace(event, stands=True, by="broker", said=said))
