"""What the parts of a tensor that ranks hold may make together, and which of it two sides mean.

Nothing says of a plain tensor whether it is a copy, a part along some dimension, or a partial sum; what fits the other
side does, as far as statistics of parts combine (`acc_compare.combined`).  The mean of a loss
is taken on each rank over its own part of the batch, so that gradients and losses may be larger by the number of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations, pairwise, product
from typing import Literal, TypeAlias

import msgspec

from acc_compare.assembled import grouped, planned
from acc_compare.combined import ALIKE, are_alike, concatenated, distance, divided, summed
from acc_compare.in_order import agree
from dump.format.schema import SKETCH_BUCKETS, TensorRecord

How: TypeAlias = Literal["same", "dealt", "summed"]
Mesh: TypeAlias = "tuple[int, ...]"
"""How ranks lie, in order: the extents of a mesh, the last dimension that of neighbours."""

FITS = 0.1
"""Relative difference up to which two wholes may be taken for the same tensor where nothing else says so."""

_LOOKED_AT = 16
"""Parts of a tensor that are looked at for some that are alike."""

_CLEARLY = 0.1
"""Share of the distance of the nearest other way up to which a way that fits is taken, where nothing else says so."""

_AS_GOOD = 3.0
"""Times as far as the best fit that another may be and fit as well."""

_NEARER = 0.6
"""How near a gradient must be that is made in one way alone, beside what is divided by another number of ranks."""

_MEANS_SOMETHING, _MEANS_FIT = 1e-2, 1e-4
"""Of wholes of which the mean alone is known: how large a mean must be beside the elements, and how far apart the means
may be."""


@dataclass(frozen=True)
class Whole:
    """A tensor as its parts may make it: they are copies (`same`), were `dealt` out along a dimension, or are to be
    `summed`; `scaled` says that it was divided `by` a number of ranks, `nested` that groups of ranks were put together
    in one way and what they made in another, `repeats` that some of the parts that were dealt out are alike; along
    which `dimensions`, and each with how many `groups` of rows; of a `vague` one the mean alone follows, `rms` is
    the largest root mean square of its parts.
    `make` does it, when it is first asked for."""

    shape: tuple[int, ...]
    how: How
    make: Callable[[], TensorRecord]
    scaled: bool = False
    nested: bool = False
    repeats: bool = False
    dimensions: frozenset[int] = frozenset()
    groups: int = 1
    by: int = 1
    vague: bool = False
    rms: float = 0.0

    @classmethod
    def of(cls, record: TensorRecord, how: How = "same") -> Whole:
        """One that is known."""
        return cls(record.shape, how, lambda: record)

    @property
    def size(self) -> float:
        """The root mean square of its elements, 0 where it is not known."""
        known = self.record
        return float(known.norm) / math.sqrt(known.numel) if known.norm is not None and known.numel else self.rms

    @cached_property
    def record(self) -> TensorRecord:
        made = self.make()
        return made if self.groups == 1 else grouped(made, self.groups)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to put parts together: `dimension` is that along which they were dealt out, each part with rows of so
    many `groups`; a `mean` is a sum divided by the number of parts."""

    how: How
    dimension: int = -1
    groups: int = 1
    mean: bool = False

    def shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        """That of the whole; None where parts of these shapes make none."""
        first, d = shapes[0], self.dimension
        if self.how != "dealt":
            return first if all(shape == first for shape in shapes) else None
        if any(len(s) != len(first) or s[:d] + s[d + 1 :] != first[:d] + first[d + 1 :] for s in shapes):
            return None
        return (*first[:d], sum(shape[d] for shape in shapes), *first[d + 1 :])

    def together(self, parts: Sequence[TensorRecord]) -> TensorRecord:
        if self.how == "dealt":
            return concatenated(parts, self.dimension, groups=self.groups)
        total = summed(parts) if self.how == "summed" else None
        if total is None:
            return parts[0]
        return divided(total, len(parts)) if self.mean else total


def candidates(
    parts: Sequence[TensorRecord], *, scaled: bool, meshes: Iterable[Mesh] = (), batches: int = 1
) -> list[Whole]:
    """All that the parts of a tensor, one from each rank, may make; with `scaled` that divided by their number too.

    `meshes` are those that ranks may lie in, as where data and tensors are dealt out among different groups; each part
    is of one of so many micro-`batches`.
    """
    if len(parts) == 1:
        whole = Whole.of(parts[0])
        is_divided = scaled and batches > 1
        of_all = replace(whole, make=partial(_divided, whole, batches), scaled=True, by=batches)
        return [whole, of_all] if is_divided else [whole]
    found = _in_mesh(parts, (len(parts),), scaled=scaled)
    for mesh in meshes:
        found += _in_mesh(parts, mesh, scaled=scaled)
    return found


def _in_mesh(parts: Sequence[TensorRecord], mesh: Mesh, *, scaled: bool) -> list[Whole]:
    """What the parts make when those along each dimension of the `mesh` are put together in a way of their own, the
    last dimension first."""
    if any(part.dtype != parts[0].dtype or len(part.shape) != len(parts[0].shape) for part in parts):
        return []
    lines = [_lines(parts, mesh, axis) for axis in range(len(mesh))]
    alike = [all(map(are_alike, each)) for each in lines]
    repeating = [any(map(_repeats, each)) for each in lines]
    ways = [Way("same"), *(Way("dealt", d) for d in range(len(parts[0].shape))), Way("summed")]
    rms = max((float(part.norm) / math.sqrt(part.numel) for part in parts if part.norm and part.numel), default=0.0)
    add_up = all(part.sketch is not None and part.mean is not None for part in parts)
    found = []
    # Where very many ways are possible, what is alike all along a dimension is a copy.
    along = [ways[:1] if same and len(mesh) > 2 else ways for same in alike]
    for each in product(*along):
        hows = {way.how for way in each}
        vague = {"summed", "dealt"} <= hows
        if (len(mesh) > 1 and len(set(each)) == 1) or ("summed" in hows and not add_up):
            continue  # in one way all along, or in a way of which nothing follows
        if any(way.how != "dealt" and (way.how == "same") != same for way, same in zip(each, alike, strict=True)):
            continue
        whole = _shape(parts, mesh, each)
        if whole is None:
            continue
        how: How = "summed" if "summed" in hows else "dealt" if "dealt" in hows else "same"
        repeats = any(way.how == "dealt" and again for way, again in zip(each, repeating, strict=True))
        make = partial(_mean_together if vague else _together, parts, mesh, each)
        cut = frozenset(way.dimension for way in each if way.how == "dealt")
        plain = Whole(whole, how, make, nested=len(mesh) > 1, repeats=repeats, dimensions=cut, vague=vague, rms=rms)
        found.append(plain)
        if scaled:
            found += [
                replace(plain, make=partial(_divided, plain, by), scaled=True, by=by) for by in _numbers_of_ranks(mesh)
            ]
    return sorted(found, key=lambda each: each.scaled)


def _lines(parts: Sequence[TensorRecord], mesh: Mesh, axis: int) -> list[Sequence[TensorRecord]]:
    """The parts that differ in their place along one dimension of the mesh alone."""
    step, extent = math.prod(mesh[axis + 1 :]), mesh[axis]
    starts = (start for start in range(len(parts)) if (start // step) % extent == 0)
    return [parts[start : start + step * extent : step] for start in starts]


def _shape(parts: Sequence[TensorRecord], mesh: Mesh, ways: Sequence[Way]) -> tuple[int, ...] | None:
    shapes = [part.shape for part in parts]
    for extent, way in zip(reversed(mesh), reversed(ways), strict=True):
        made = [way.shape(shapes[start : start + extent]) for start in range(0, len(shapes), extent)]
        shapes = [shape for shape in made if shape is not None]
        if len(shapes) < len(made):
            return None
    return shapes[0]


def _together(parts: Sequence[TensorRecord], mesh: Mesh, ways: Sequence[Way]) -> TensorRecord:
    for extent, way in zip(reversed(mesh), reversed(ways), strict=True):
        parts = [way.together(parts[start : start + extent]) for start in range(0, len(parts), extent)]
    return parts[0]


def put_together(parts: Sequence[TensorRecord], mesh: Mesh, ways: Sequence[Way]) -> TensorRecord | None:
    """The whole that parts make in known ways along the dimensions of a mesh; None where they do not: copies that
    differ, shapes that do not fit, sums of what has no sketch."""
    if any(part.dtype != parts[0].dtype or len(part.shape) != len(parts[0].shape) for part in parts):
        return None
    if any(way.dimension >= len(parts[0].shape) for way in ways) or _shape(parts, mesh, ways) is None:
        return None
    for axis, way in enumerate(ways):
        if way.how == "same" and not all(map(are_alike, _lines(parts, mesh, axis))):
            return None
        if way.how == "summed" and any(part.sketch is None or part.mean is None for part in parts):
            return None
    return msgspec.structs.replace(_together(parts, mesh, ways), layout=None)


def _mean_together(parts: Sequence[TensorRecord], mesh: Mesh, ways: Sequence[Way]) -> TensorRecord:
    """A sum of parts that are put together, or parts of a sum: of either the mean follows."""
    shape, means = _shape(parts, mesh, ways), [(part.mean or 0.0, part.numel) for part in parts]
    for extent, way in zip(reversed(mesh), reversed(ways), strict=True):
        lines = [means[start : start + extent] for start in range(0, len(means), extent)]
        means = [_mean_of(line, way) for line in lines]
    blank = dict.fromkeys(("max", "min", "norm", "nan", "inf", "sketch", "waves", "md5", "data_name", "layout"))
    found = msgspec.structs.replace(parts[0], **{**blank, "shape": shape, "mean": means[0][0]})
    return planned(found, None)


def _mean_of(line: Sequence[tuple[float, int]], way: Way) -> tuple[float, int]:
    if way.how == "same":
        return line[0]
    number = sum(count for _, count in line) if way.how == "dealt" else line[0][1]
    return sum(mean * count for mean, count in line) / number if number else 0.0, number


def _numbers_of_ranks(mesh: Mesh) -> list[int]:
    """Those of the groups along some dimensions of a mesh."""
    numbers = {1}
    for extent in mesh:
        numbers |= {number * extent for number in numbers}
    return sorted(numbers - {1})


def meshes_of(groups: Iterable[Sequence[int]], world_size: int) -> tuple[Mesh, ...]:
    """The meshes of ranks of which groups that gave each other something are lines: one, if there is one of which all
    are, else one for each.

    >>> meshes_of([[2, 3]], 4), meshes_of([[0, 4]], 8), meshes_of([[0, 1], [0, 2], [0, 4]], 8), meshes_of([[0, 1]], 2)
    (((2, 2),), ((2, 4),), ((2, 2, 2),), ())
    """
    borders = {found for group in groups if (found := _borders(group, world_size)) is not None}
    of_all = sorted({1, world_size}.union(*borders))
    if any(outer % inner for inner, outer in pairwise(of_all)):
        meshes = {tuple(sorted({1, world_size, *each})) for each in borders}
    else:
        meshes = {tuple(of_all)}
    extents = (tuple(outer // inner for inner, outer in pairwise(each))[::-1] for each in sorted(meshes))
    return tuple(mesh for mesh in extents if len(mesh) > 1)


def _borders(group: Sequence[int], world_size: int) -> tuple[int, int] | None:
    """Between which numbers of neighbouring ranks a group of ranks lies; None where it is no line of a mesh."""
    if not 1 < len(group) < world_size:
        return None
    step = group[1] - group[0]
    end = step * len(group)
    is_line = step > 0 and list(group) == list(range(group[0], group[0] + end, step)) and world_size % end == 0
    return (step, end) if is_line else None


@dataclass(frozen=True, slots=True)
class Choice:
    """The whole that is meant, how far it is from what it fits, and how far what would be made in another way: None
    where that was not asked, for its shape left no other way."""

    whole: Whole
    fit: float | None = None
    other: float | None = None


def chosen(ours: Sequence[Whole], theirs: Sequence[Whole], *, forward: bool, may_repeat: bool = True) -> Choice | None:
    """Which of `ours` is meant, by what fits any of `theirs` best; None where nothing does.

    In a `forward` call, parts that can make the other side's shape in one way alone do so, however much differs: those
    that are not alike were dealt out, and of what `may_repeat` some that are where nothing else makes it, as where two
    ranks read one batch.
    """
    pairs = [(a, b) for a in ours for b in theirs if a.shape == b.shape]
    if not pairs:
        return None
    ranked = [(_apart(a, b), a, b) for a, b in pairs]
    fitting = [each for each in ranked if each[0] <= FITS]
    if fitting:
        clear = [each for each in fitting if not (each[1].vague or each[2].vague)]
        # The mean over all parts is the same however they are put together: beside all numbers it tells nothing.
        fitting = clear or fitting
        fewest = min(a.repeats + b.repeats for _, a, b in fitting)
        fitting = [each for each in fitting if each[1].repeats + each[2].repeats == fewest]
        # Both sides must choose the same pair: of those that fit alike, the one that is divided by least; but for waves
        # statistics do not tell along which dimension parts were dealt out, so that any will do.
        alike = _AS_GOOD * max(ALIKE, min(fit for fit, _, _ in fitting))
        fit, best, of = min((e for e in fitting if e[0] <= alike), key=_preferred)
        # Both divided by twice as many is no other way, nor are copies one behind the other on both sides, nor is a
        # mean over all parts beside all numbers.
        told = [each for each in ranked if not clear or not (each[1].vague or each[2].vague)]
        told = [each for each in told if each[1].repeats + each[2].repeats <= fewest]
        others = [off for off, a, b in told if a.how != best.how or a.by * of.by != b.by * best.by]
        other = min(others, default=None)
        # Sixteen sums of many elements fit by no chance; a norm and extremes may.
        is_sketched = best.record.sketch is not None and best.record.numel > SKETCH_BUCKETS
        if other is None or is_sketched or fit <= max(ALIKE, _CLEARLY * other) or forward:
            return Choice(best, fit, other)
    if not forward:
        return _nearest(ranked)
    plain = [(a, b) for a, b in pairs if not any(each.scaled or each.how == "summed" for each in (a, b))]
    likely = _least([(a, b) for a, b in plain if may_repeat or not a.repeats], lambda a, b: a.repeats + b.repeats)
    simple = _least(likely, lambda a, b: a.nested + b.nested)
    is_one = simple and are_alike([msgspec.structs.replace(a.record, shape=()) for a, _ in simple])
    return Choice(min((a for a, _ in simple), key=lambda a: a.shape)) if is_one else None


def _preferred(each: tuple[float, Whole, Whole]) -> tuple[int, tuple[int, ...], bool, float]:
    fit, one, two = each
    return one.by * two.by, one.shape, agree(one.record, two.record) is False, fit


def _nearest(ranked: Sequence[tuple[float, Whole, Whole]]) -> Choice | None:
    """Where gradients make the other side's shape in one way alone, but for the number of ranks that they are divided
    by, that which is nearest in size: an error moves it less than another number does."""
    ways = {(w.how, w.dimensions, w.nested) for _, *pair in ranked for w in pair if w.how != "same"}
    if len(ways) != 1 or any(each.vague or each.repeats for _, *pair in ranked for each in pair):
        return None
    found = sorted(((_times(*each), *each) for each in ranked), key=lambda each: each[0])
    times, off, best, of = found[0]
    others = [each[:2] for each in found if each[2].by * of.by != each[3].by * best.by]
    is_near = times <= min(math.log(2), _NEARER * min((apart for apart, _ in others), default=math.inf))
    return Choice(best, off, min((far for _, far in others), default=None)) if is_near else None


def _times(off: float, one: Whole, two: Whole) -> float:
    """How many times as large as the other the larger is, in logarithms; of sums, whose norms sketches tell roughly,
    as if nothing else made them differ."""
    norms = [float(each.record.norm or 0.0) for each in (one, two)]
    if all(0.0 < norm < math.inf for norm in norms):
        return abs(math.log(norms[0] / norms[1]))
    return -math.log1p(-off) if off < 1.0 else math.inf


def _least(pairs: Sequence[tuple[Whole, Whole]], size: Callable[[Whole, Whole], int]) -> list[tuple[Whole, Whole]]:
    least = min((size(*pair) for pair in pairs), default=0)
    return [pair for pair in pairs if size(*pair) == least]


def _apart(one: Whole, two: Whole) -> float:
    """How far apart two wholes are; where their means alone are known, by these, as long as a mean says anything."""
    if not (one.vague or two.vague):
        return distance(one.record, two.record)
    means = [abs(float(record.mean or 0.0)) for record in (one.record, two.record)]
    size = max(one.size, two.size)
    if max(means) < _MEANS_SOMETHING * size or size == 0.0:
        return math.inf
    apart = abs(float(one.record.mean or 0.0) - float(two.record.mean or 0.0)) / max(means)
    return apart if apart <= _MEANS_FIT else math.inf


def _divided(whole: Whole, by: int) -> TensorRecord:
    return divided(whole.record, by)


def _repeats(parts: Sequence[TensorRecord]) -> bool:
    """Are some of the parts alike?"""
    return any(are_alike(pair) for pair in combinations(parts[:_LOOKED_AT], 2))
