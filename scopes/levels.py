"""The four levels of what an action does to the world, from the least to the most."""

from typing import Literal, get_args

Level = Literal["read", "draft", "write", "trigger"]
"""`trigger` is what cannot be taken back by writing again: send, approve, pay, deploy."""

LEVELS: tuple[Level, ...] = get_args(Level)

_RANK: dict[str, int] = {level: rank for rank, level in enumerate(LEVELS)}


def is_above(level: Level, bound: str) -> bool:
    """Tell whether `level` is above `bound`; every level is above a bound that is not known (unknown means no)."""
    return _RANK[level] > _RANK.get(bound, -1)
