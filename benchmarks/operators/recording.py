"""Record calls with the real recorder, on a side whose arithmetic, inputs or results differ as they are told to."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch.utils._pytree import tree_leaves, tree_map

from acc_compare.operators import operator_class
from benchmarks.operators.cases import Case
from dump.config import DumpConfig
from dump.format.layout import DUMP_FILE
from dump.intercept import apis
from dump.session import Session

_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float32: torch.float64}
_SEED = 20_000
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Side:
    """How a side differs: relative error of its inputs; whether it computes in the next wider type and rounds at the
    end, as another device does; and the relative error of results, by the names of call and argument."""

    off: float = 0.0
    is_wide: bool = False
    faults: Mapping[tuple[str, str], float] | None = None


@dataclass(slots=True)
class Recorded:
    """A dump, and the case that each of its calls belongs to; `failed` cases raised."""

    folder: Path
    calls: dict[str, int]
    failed: set[int]


def record(
    cases: Sequence[Case],
    folder: Path,
    side: Side,
    *,
    skip: frozenset[int] = frozenset(),
    task: Literal["statistics", "tensor"] = "statistics",
) -> Recorded:
    """Make the calls of `cases`, less those to `skip`, under a recording."""
    found = Recorded(folder, {}, set())
    session = Session(DumpConfig(dump_path=folder, task=task, extra_info=False))
    current = -1

    def noted(key: str, number: int) -> Iterator[str]:
        found.calls[f"{key}.{number}.forward"] = current
        return iter((f"{key}.{number}.forward",))

    with warnings.catch_warnings(), _between(noted, side):
        warnings.simplefilter("ignore")
        inputs = [None if n in skip else _inputs(case, side, n) for n, case in enumerate(cases)]
        session.start()
        try:
            for current, given in enumerate(inputs):
                if given is None:
                    continue
                torch.manual_seed(_SEED + current)
                try:
                    output = cases[current].run(*given[0], **given[1])
                    if cases[current].backward:
                        results, gradients = _unrecorded(session, partial(_gradients, output, side, current))
                        torch.autograd.backward(results, gradients)
                except Exception:  # what torch refuses to do in this spelling or dtype
                    found.failed.add(current)
        finally:
            session.stop()
            session.step()
            session.remove()
    found.folder = next((path.parent for path in folder.rglob(DUMP_FILE)), folder)
    return found


@contextmanager
def _between(noted: Callable[[str, int], object], side: Side) -> Iterator[None]:
    """Put what the side does differently between the recorder and torch."""
    original, numbers = apis.record, dict[str, int]()

    def hooked(watch: Any, key: str, run: Any, args: Any, kwargs: Any, **options: Any) -> Any:
        number = numbers[key] = numbers.get(key, -1) + 1
        noted(key, number)
        name = f"{key}.{number}.forward"
        return original(watch, key, lambda *a, **k: _run(name, run, a, k, side), args, kwargs, **options)

    apis.record = hooked
    try:
        yield
    finally:
        apis.record = original


def _run(name: str, run: Callable[..., Any], args: Any, kwargs: Any, side: Side) -> Any:
    wide = None
    if side.is_wide:
        before = torch.get_rng_state()
        wide = _computed(run, tree_map(_widened, args), tree_map(_widened, kwargs))
        if not torch.equal(before, torch.get_rng_state()):  # other types draw other numbers
            wide = None
            torch.set_rng_state(before)
    output = run(*args, **kwargs)
    results = tree_leaves(output)
    given = {id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
    shared = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _is_dense(leaf)}
    widened = tree_leaves(wide) if wide is not None else []
    for number, leaf in enumerate(results):
        if not _is_dense(leaf) or not leaf.numel():
            continue
        is_view = id(leaf) not in given and leaf.untyped_storage().data_ptr() in shared
        if len(widened) == len(results) and not is_view:
            _round_to(leaf, widened[number], exact=operator_class(name.split(".", 1)[1].rsplit(".", 2)[0]) == "exact")
        size = side.faults.get((name, f"output.{number}"), 0.0) if side.faults is not None else 0.0
        if size:
            _spoil(leaf, size, number)
    return output


def _computed(run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # of what is made from integers
    try:
        with torch.no_grad():
            return run(*args, **kwargs)
    except Exception:  # not every operator has a kernel in the wider type
        return None
    finally:
        torch.set_default_dtype(default)


def _is_dense(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided and not leaf.is_quantized


def _widened(leaf: Any) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return leaf.detach().to(_WIDER.get(leaf.dtype, leaf.dtype), copy=True)


def _round_to(leaf: torch.Tensor, wide: Any, *, exact: bool) -> None:
    """Put the wider result in the place of the narrow one, where it is the same result: rounded up or down by chance,
    as the last digits of another kernel are.  What is a whole number, and what no device rounds, stays as it is."""
    if not _is_dense(wide) or not leaf.is_floating_point() or wide.shape != leaf.shape:
        return
    values = wide.detach().to(torch.float64)
    if not exact:
        chance = torch.rand(values.shape, generator=torch.Generator().manual_seed(leaf.numel()), dtype=torch.float64)
        moved = values * (1.0 + torch.finfo(leaf.dtype).eps * (chance - 0.5))
        values = torch.where(values == values.round(), values, moved)
    rounded = values.to(leaf.dtype)
    if bool((rounded.isfinite() == leaf.detach().isfinite()).all()):
        leaf.data.copy_(rounded)


def _spoil(leaf: torch.Tensor, size: float, seed: int) -> None:
    """Random error of relative L2 size `size`; of numbers that are no floats one element, by at least one."""
    values = leaf.detach()
    generator = torch.Generator().manual_seed(seed)
    if values.is_floating_point() or values.is_complex():
        wide = values.to(torch.complex128 if values.is_complex() else torch.float64)
        live = torch.where(wide.isfinite(), wide, torch.zeros_like(wide))
        size = max(size, 4.0 * torch.finfo(values.dtype).eps)
        noise = torch.randn(values.shape, generator=generator, dtype=torch.float64)
        noise = noise * (live.norm() / noise.norm() * size) if values.numel() > 1 else live * size
        spoiled = (wide + noise).to(leaf.dtype)
    else:
        spoiled = values.clone(memory_format=torch.contiguous_format)
        flat = spoiled.view(-1)
        step = max(1, int(size * float(values.double().norm())))  # of huge ones, one more is seen by no float
        flat[0] = flat[0].logical_not() if values.dtype == torch.bool else flat[0] - step * (1 if flat[0] > 0 else -1)
    leaf.data = spoiled


def _inputs(case: Case, side: Side, seed: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Fresh copies of the case's arguments, off as far as the side says."""
    generator = torch.Generator().manual_seed(_SEED + seed)

    def fresh(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        values = leaf.detach()
        if side.off and _is_dense(leaf):
            values = _moved(values, side.off, generator)
        elif _is_dense(leaf):
            values = values.clone()
        return values.requires_grad_(leaf.requires_grad) if leaf.requires_grad else values

    args, kwargs = tree_map(fresh, case.args), tree_map(fresh, case.kwargs)
    if getattr(case.run, "takes_out", False):
        kwargs = {**kwargs, "out": _outs(case, args, kwargs)}
    return args, kwargs


def _outs(case: Case, args: Any, kwargs: Any) -> Any:
    """Memory of the shape of the results, which holds other numbers."""
    try:
        with torch.no_grad():
            made = case.run(*tree_map(_copied, args), **tree_map(_copied, kwargs), out=None)
    except Exception:
        return None
    return tree_map(lambda leaf: torch.full_like(leaf, 1) if isinstance(leaf, torch.Tensor) else leaf, made)


def _copied(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf


def _moved(values: torch.Tensor, off: float, generator: torch.Generator) -> torch.Tensor:
    """Floats times 1 + off * n; of other numbers a share `off` of the elements, one at least, becomes its neighbour."""
    if values.is_floating_point() or values.is_complex():
        wide = values.to(torch.complex128 if values.is_complex() else torch.float64)
        noise = torch.randn(values.shape, generator=generator, dtype=torch.float64)
        return (wide * (1.0 + off * noise)).to(values.dtype)
    found = values.clone()
    flat = found.view(-1)
    if flat.numel() > 1:
        often = max(1, math.ceil(off * flat.numel()))
        places = torch.randint(1, flat.numel(), (often,), generator=generator)
        flat[places] = flat[places - 1]
    return found


def _gradients(output: Any, side: Side, seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The results that autograd follows, and gradients for them, which are off as inputs are."""
    values, noise = (torch.Generator().manual_seed(_SEED * n + seed) for n in (2, 3))
    results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    gradients = []
    for leaf in results:
        gradient = torch.randn(leaf.shape, generator=values, dtype=torch.float64).to(leaf.dtype)
        gradients.append(_moved(gradient, side.off, noise) if side.off else gradient)
    return results, gradients


def _unrecorded(session: Session, act: Callable[[], _Made]) -> _Made:
    """Do what is no part of the run."""
    watch = session._watch
    before, watch.busy = watch.busy, True
    try:
        return act()
    finally:
        watch.busy = before
