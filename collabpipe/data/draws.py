"""Stratified draws of images, one by one or in whole groups."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def draw(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None, size: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """`size` positions, sorted, drawn by `stratified` or, if images have groups (N,), about as many by `grouped`."""
    return stratified(labels, size, generator) if groups is None else grouped(labels, groups, size, generator)


def stratified(labels: NDArray[np.int64], size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """`size` positions, sorted, drawn so that every class keeps its share to within one image.

    Places that rounding leaves over go to the classes with the largest remainders.
    """
    classes, counts = np.unique(labels, return_counts=True)
    share = counts * (size / len(labels))
    take = np.floor(share).astype(np.int64)
    for position in np.argsort(take - share, kind="stable")[: size - take.sum()]:
        take[position] += 1
    drawn = [generator.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, take, strict=True)]
    return np.sort(np.concatenate(drawn))


def grouped(
    labels: NDArray[np.int64], groups: NDArray[np.int64], size: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Positions of whole groups, sorted: as near to `size` images, and to each class's share of them, as groups allow.

    A group counts for its most frequent label. Of the groups of each label, those are drawn whose images come nearest
    to the label's share, and at least one; what they lack or exceed is made up for by the next label. Labels with small
    groups come last, because they can make up for most.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    of_label = _most_frequent(labels, group)
    strata = [generator.permutation(np.flatnonzero(of_label == label)) for label in np.unique(of_label)]
    drawn = np.zeros(len(sizes), dtype=bool)
    owed = Fraction(0)
    for members in sorted(strata, key=lambda members: -int(sizes[members].max())):
        own = sizes[members].tolist()
        owed += Fraction(sum(own) * size, len(labels))
        drawn[members] = nearest(own, owed)
        owed -= int(sizes[members][drawn[members]].sum())
    return np.flatnonzero(drawn[group])


def _most_frequent(labels: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most frequent label of each group 0 to G - 1, the lowest of several."""
    classes = int(labels.max()) + 1
    pairs, counts = np.unique(group * classes + labels, return_counts=True)
    order = np.lexsort((pairs % classes, -counts, pairs // classes))
    _, first = np.unique(pairs[order] // classes, return_index=True)
    found: NDArray[np.int64] = pairs[order][first] % classes
    return found


def nearest(sizes: list[int], wanted: Fraction) -> list[bool]:
    """Which groups of `sizes` to take, at least one, so that their sum is as near to `wanted` as any other choice's.

    The first groups are preferred.
    """
    total = sum(sizes)
    if 2 * wanted > total:  # what is left out is less, and takes less memory
        return [not left for left in _nearest(sizes, total - wanted, 0, total - 1)]
    return _nearest(sizes, wanted, 1, total)


def _nearest(sizes: list[int], wanted: Fraction, least: int, most: int) -> list[bool]:
    """As `nearest`, with a sum from `least` to `most`."""
    below = max(int(wanted), 0)
    # Bit s of reachable[i] says whether some of the groups from i on sum to s. No sum beyond the limit is the nearest.
    limit = (1 << min(below + max(sizes), most) + 1) - 1
    reachable = [1]
    for size in reversed(sizes):
        sums = (reachable[-1] | reachable[-1] << size) & limit
        reachable.append(reachable[-1] if sums == reachable[-1] else sums)  # equal numbers share their memory
    reachable.reverse()
    allowed = reachable[0] >> least << least
    low, high = allowed & ((1 << below + 1) - 1), allowed >> below + 1
    sums_around = [low.bit_length() - 1] * bool(low) + [below + (high & -high).bit_length()] * bool(high)
    need = min(sums_around, key=lambda found: (abs(found - wanted), found))
    taken = []
    for size, after in zip(sizes, reachable[1:], strict=True):
        take = size <= need and bool(after >> need - size & 1)
        need -= size * take
        taken.append(take)
    return taken
