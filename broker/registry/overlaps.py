"""Which selectors could mean the same workload, found without comparing each with each: a registry may have thousands."""

from collections.abc import Iterator, Sequence
from itertools import combinations, product

from broker.registry.records import WorkloadSelector

Numbered = Sequence[tuple[int, WorkloadSelector]]


def overlapping(selectors: Sequence[WorkloadSelector]) -> list[tuple[int, int]]:
    """Return the pairs, by their places and in their order, that some workload can match both of."""
    numbered = list(enumerate(selectors))
    candidates = set(_one_within_another([each for each in numbered if each[1].spiffe is not None]))
    for trust in {selector.oidc for selector in selectors if selector.oidc is not None}:
        candidates.update(_not_told_apart([each for each in numbered if each[1].oidc == trust]))
    pairs = sorted((min(pair), max(pair)) for pair in candidates)
    return [(one, other) for one, other in pairs if selectors[one].overlaps(selectors[other])]


def _one_within_another(numbered: Numbered) -> Iterator[tuple[int, int]]:
    """Yield SPIFFE ids and prefixes of which one begins with the other: in their order, those stand right behind it."""
    stems = sorted(((selector.spiffe or "").removesuffix("*"), number) for number, selector in numbered)
    for place, (stem, number) in enumerate(stems):
        later = place + 1
        while later < len(stems) and stems[later][0].startswith(stem):
            yield number, stems[later][1]
            later += 1


def _not_told_apart(numbered: Numbered) -> Iterator[tuple[int, int]]:
    """Yield selectors of one trust that do not demand different values of the claim that tells most of them apart."""
    values: dict[str, dict[str, list[int]]] = {}
    for number, selector in numbered:
        for path, value in selector.claims.items():
            values.setdefault(path, {}).setdefault(value, []).append(number)
    same = max(values.values(), key=len, default={})
    demanding = [number for numbers in same.values() for number in numbers]
    others = sorted({number for number, _ in numbered} - set(demanding))
    yield from (pair for numbers in same.values() for pair in combinations(numbers, 2))
    yield from combinations(others, 2)
    yield from product(others, demanding)
