"""What the parts of a tensor that ranks hold may make together, and which of it two sides mean.

Nothing says of a plain tensor whether it is a copy, a part along some dimension, or a partial sum; what fits the other
side does.  Statistics of parts combine: extrema, means weighted by numbers of elements, roots of summed squares of
norms, whatever the order in which parts interleave.  Of a sum the sketches add up, and the means.  The mean of a loss
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
import numpy as np

from acc_compare.assembled import Cut, Total, grouped, planned, plans_of
from acc_compare.metrics.sketches import estimate_distance, estimate_norm, sketch_vector
from dump.format.schema import TensorRecord

How: TypeAlias = Literal["same", "dealt", "summed"]
Mesh: TypeAlias = "tuple[int, ...]"
"""How ranks lie, in order: the extents of a mesh, the last dimension that of neighbours."""

FITS = 0.1
"""Relative difference up to which two wholes may be taken for the same tensor where nothing else says so."""

_ALIKE = 1e-5
"""Relative difference that replicas of one tensor may show in norm, max and min."""

_LOOKED_AT = 16
"""Parts of a tensor that are looked at for some that are alike."""

_ANOTHER = 0.3
"""Relative difference from which on a part is another tensor, as another expert's weights, and no copy that is off."""

_COPIES = 1e-3
"""Relative difference up to which a part is taken for a copy of what the other side has whole."""


@dataclass(frozen=True)
class Whole:
    """A tensor as its parts may make it: they are copies (`same`), were `dealt` out along a dimension, or are to be
    `summed`; `scaled` says that it was divided by a number of ranks, `nested` that groups of ranks were put together
    in one way and what they made in another, `repeats` that some of the parts that were dealt out are alike; along
    which `dimensions`, and each with how many `groups` of rows.  `make` does it, when it is first asked for."""

    shape: tuple[int, ...]
    how: How
    make: Callable[[], TensorRecord]
    scaled: bool = False
    nested: bool = False
    repeats: bool = False
    dimensions: frozenset[int] = frozenset()
    groups: int = 1

    @classmethod
    def of(cls, record: TensorRecord, how: How = "same") -> Whole:
        """One that is known."""
        return cls(record.shape, how, lambda: record)

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


def candidates(parts: Sequence[TensorRecord], *, scaled: bool, meshes: Iterable[Mesh] = ()) -> list[Whole]:
    """All that the parts of a tensor, one from each rank, may make; with `scaled` that divided by their number too.

    `meshes` are those that ranks may lie in, as where data and tensors are dealt out among different groups.
    """
    if len(parts) == 1:
        return [Whole.of(parts[0])]
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
    add_up = all(part.sketch is not None and part.mean is not None for part in parts)
    found = []
    for each in product(ways, repeat=len(mesh)):
        hows = {way.how for way in each}
        if (len(mesh) > 1 and len(set(each)) == 1) or ("summed" in hows and ("dealt" in hows or not add_up)):
            continue  # in one way all along, or in a way of which nothing follows
        if any(way.how != "dealt" and (way.how == "same") != same for way, same in zip(each, alike, strict=True)):
            continue
        whole = _shape(parts, mesh, each)
        if whole is None:
            continue
        how: How = "summed" if "summed" in hows else "dealt" if "dealt" in hows else "same"
        repeats = any(way.how == "dealt" and again for way, again in zip(each, repeating, strict=True))
        make = partial(_together, parts, mesh, each)
        along = frozenset(way.dimension for way in each if way.how == "dealt")
        plain = Whole(whole, how, make, nested=len(mesh) > 1, repeats=repeats, dimensions=along)
        found.append(plain)
        if scaled:
            found += [replace(plain, make=partial(_divided, plain, by), scaled=True) for by in _numbers_of_ranks(mesh)]
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


def chosen(ours: Sequence[Whole], theirs: Sequence[Whole], *, forward: bool) -> Choice | None:
    """Which of `ours` is meant, by what fits any of `theirs` best; None where nothing does.

    In a `forward` call, parts that can make the other side's shape in one way alone do so, however much differs: those
    that are not alike were dealt out.
    """
    pairs = [(a, b) for a in ours for b in theirs if a.shape == b.shape]
    if not pairs:
        return None
    ranked = [(distance(a.record, b.record), a.repeats + b.repeats, number, a) for number, (a, b) in enumerate(pairs)]
    fitting = [(unlikely, best, number, a) for best, unlikely, number, a in ranked if best <= FITS]
    if fitting:
        _, fit, _, best = min(fitting, key=lambda each: each[:3])
        others = [off for off, _, _, each in ranked if (each.how, each.scaled) != (best.how, best.scaled)]
        return Choice(best, fit, min(others, default=None))
    plain = {id(a): a for a, _ in pairs if not (a.scaled or a.how == "summed" or a.repeats)}
    simple = [each for each in plain.values() if not each.nested] or list(plain.values())
    is_one = forward and simple and are_alike([each.record for each in simple])
    return Choice(simple[0]) if is_one else None


def odd_one(parts: Sequence[TensorRecord], theirs: Sequence[Whole]) -> int | None:
    """Which of the parts is furthest from what the other side has, where another is a copy of that; None where none
    is one."""
    known = [each.record for each in theirs if each.shape == parts[0].shape and not each.scaled]
    if not known or any(part.shape != parts[0].shape for part in parts):
        return None
    apart = [min(distance(part, record) for record in known) for part in parts]
    furthest = max(range(len(apart)), key=apart.__getitem__)
    another = _ANOTHER < apart[furthest] < math.inf
    return furthest if min(apart) <= _COPIES and not another else None


def distance(one: TensorRecord, two: TensorRecord) -> float:
    """How far apart two tensors of one shape are by what is known of both, relative to their size; Inf where nothing
    is."""
    if one.md5 is not None and two.md5 is not None:
        return 0.0 if one.md5 == two.md5 else math.inf
    norms = [_norm(record) for record in (one, two)]
    size = max((norm for norm in norms if norm is not None), default=0.0)
    if any(norm is not None and not math.isfinite(norm) for norm in norms):
        return math.inf
    found = []
    if one.norm is not None and two.norm is not None:
        found.append((float(one.norm), float(two.norm), size))
    if one.mean is not None and two.mean is not None:
        found.append((float(one.mean), float(two.mean), size / math.sqrt(max(1, one.numel))))
    for name in ("max", "min"):
        ours, theirs = getattr(one, name), getattr(two, name)
        if ours is not None and theirs is not None:
            found.append((float(ours), float(theirs), max(abs(float(ours)), abs(float(theirs)))))
    if one.sketch is not None and two.sketch is not None:
        found.append((estimate_distance(one.sketch, two.sketch), 0.0, size))
    return max((abs(a - b) / scale if scale else 0.0 for a, b, scale in found), default=math.inf)


def _norm(record: TensorRecord) -> float | None:
    if record.norm is not None:
        return float(record.norm)
    return None if record.sketch is None else estimate_norm(record.sketch)


def concatenated(parts: Sequence[TensorRecord], dimension: int, *, groups: int = 1) -> TensorRecord:
    """The statistics of parts put together along `dimension`, each with so many `groups` of rows: the largest, the
    smallest, the mean weighted by numbers of elements, the root of the summed squares of norms."""
    first = parts[0]
    extent = sum(part.shape[dimension] for part in parts)
    shape = (*first.shape[:dimension], extent, *first.shape[dimension + 1 :])
    held = [part for part in parts if part.numel]
    number = sum(part.numel for part in held)
    means = _all([part.mean for part in held])
    norms = _all([part.norm for part in held])
    whole = msgspec.structs.replace(
        first,
        shape=shape,
        max=_over(max, [part.max for part in held]),
        min=_over(min, [part.min for part in held]),
        mean=sum(m * p.numel for m, p in zip(means, held, strict=True)) / number if means and number else None,
        norm=math.hypot(*norms) if norms else None,
        nan=sum(part.nan or 0 for part in parts) or None,
        inf=sum(part.inf or 0 for part in parts) or None,
        sketch=None,
        md5=None,
        data_name=None,
        layout=None,
    )
    plans = plans_of(parts)
    return planned(whole, Cut(dimension, plans, groups) if plans is not None else None)


def summed(parts: Sequence[TensorRecord]) -> TensorRecord | None:
    """The sum of parts of one shape, as far as it follows: mean and sketch; None where neither is known of all.
    NaN and Inf are counted at least."""
    first = parts[0]
    if any(part.shape != first.shape for part in parts):
        return None
    means = _all([part.mean for part in parts])
    known = [sketch_vector(part.sketch) for part in parts if part.sketch is not None]
    if len(known) < len(parts) or not means:
        return None
    total = msgspec.structs.replace(
        first,
        max=None,
        min=None,
        mean=sum(means),
        norm=None,
        nan=max(part.nan or 0 for part in parts) or None,
        inf=max(part.inf or 0 for part in parts) or None,
        sketch=np.sum(known, axis=0).astype("<f4").tobytes(),
        md5=None,
        data_name=None,
        layout=None,
    )
    plans = plans_of(parts)
    return planned(total, Total(plans) if plans is not None else None)


def divided(record: TensorRecord, by: int) -> TensorRecord:
    """A tensor divided by a number of ranks, as far as it follows."""
    numbers = {name: getattr(record, name) for name in ("max", "min", "mean", "norm")}
    told = {name: None if number is None else number / by for name, number in numbers.items()}
    sketch = None if record.sketch is None else (sketch_vector(record.sketch) / by).astype("<f4").tobytes()
    found = msgspec.structs.replace(record, **told, sketch=sketch, md5=None, data_name=None)
    plans = plans_of([record])
    return planned(found, Total(plans, by) if plans is not None else None)


def _divided(whole: Whole, by: int) -> TensorRecord:
    return divided(whole.record, by)


def are_alike(parts: Sequence[TensorRecord]) -> bool:
    """Are these replicas of one tensor, as far as the numbers say?"""
    first = parts[0]
    return all(
        part.shape == first.shape
        and part.dtype == first.dtype
        and part.md5 == first.md5
        and all(_near(getattr(part, name), getattr(first, name)) for name in ("norm", "max", "min"))
        for part in parts[1:]
    )


def _repeats(parts: Sequence[TensorRecord]) -> bool:
    """Are some of the parts alike?"""
    return any(are_alike(pair) for pair in combinations(parts[:_LOOKED_AT], 2))


def _near(one: float | None, two: float | None) -> bool:
    if one is None or two is None:
        return one is two
    both_nan = math.isnan(one) and math.isnan(two)
    return both_nan or one == two or abs(one - two) <= _ALIKE * max(abs(one), abs(two))


def _all(numbers: Sequence[int | float | None]) -> list[float]:
    """The numbers, if all are known."""
    known = [float(number) for number in numbers if number is not None]
    return known if len(known) == len(numbers) else []


def _over(choose: Callable[[list[float]], float], numbers: Sequence[int | float | None]) -> float | None:
    known = _all(numbers)
    return math.nan if any(map(math.isnan, known)) else choose(known) if known else None
