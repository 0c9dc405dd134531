"""An operator at a time on torch's own samples: a device against float64.

Samples are made on the CPU from a fixed seed, so that two installations of one torch make the same.  Each is made as it
is, with its tensors not contiguous, and, for operators on single elements, with extreme values.  The error that is
explained is measured, as a replay measures it: some roundings of the result, and eight times what a rounding of the
inputs moves.  Operators whose result is not unique, or drawn, are left out.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import types
import unittest
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any

import torch

from acc_compare import operators
from acc_compare.replay import expected
from acc_compare.replay.accuracy import Distance, distance, in_last_place
from acc_compare.replay.arguments import moved
from acc_compare.replay.calls import FAILED
from acc_compare.replay.operator_table import BenchedOperator, OperatorTable
from dump import torch_internals
from dump.format.errors import ConfigError
from dump.record.tree import tensors_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_ROUNDINGS = 4.0 * expected.TIMES
_MOST_ELEMENTS = 200_000
_LOOKED_AT = 24
_SEED = 1
_EXTREMES = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, -1e30, math.inf, -math.inf, math.nan)
_NOT_UNIQUE = frozenset("svd eig eigh qr lu pca geqrf ormqr householder lstsq pinv ldl".split())
"""Words of the names of operators that have several right results."""

_NOT_ASKED = ("jiterator", "signal.windows", "_refs.", "torch.ops.", "to_sparse", "hash_tensor", "item", "sparse.")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class _Sample:
    """One call: its arguments, in a list and a dict, and in which form."""

    form: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    error: float
    largest: float
    limit: float
    wrong: bool


class _Drawn(Exception):
    """The operator draws random numbers."""


def bench_operators(
    device: str,
    names: Sequence[str] = (),
    *,
    dtypes: Sequence[str] = ("float32", "bfloat16"),
    samples: int = 4,
    progress: Progress | None = None,
) -> OperatorTable:
    """Make samples of operators on `device` and in float64 on the CPU.

    Args:
        names: as torch's list has them (`nn.functional.gelu`), or short (`gelu`); all without any.
        dtypes: names of `DTYPES`.
        samples: of one operator and dtype, so many of torch's; each in two or three forms.

    Raises ConfigError for a name or dtype that is not known.
    """
    unknown = [name for name in dtypes if name not in DTYPES]
    if unknown:
        raise ConfigError(f"--dtypes: unknown dtype {unknown[0]!r}; known: {', '.join(DTYPES)}.")
    entries = _entries(names)
    rows: list[BenchedOperator] = []
    left_out = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for done, entry in enumerate(entries):
            for dtype in dtypes:
                row = _row(entry, torch.device(device), dtype, samples)
                left_out += row is None
                rows += [] if row is None else [row]
            if progress is not None:
                progress("operators", done + 1, len(entries))
    return OperatorTable(device, str(torch.__version__), tuple(rows), left_out)


def _entries(names: Sequence[str]) -> list[Any]:
    listed = [entry for entry in _listed() if not any(part in _name(entry) for part in _NOT_ASKED)]
    if not names:
        return listed
    known = {_name(entry): entry for entry in listed}
    found: list[Any] = []
    for name in names:
        ends = [
            entry
            for full, entry in known.items()
            if name in (full, entry.name) or entry.name == f"nn.functional.{name}" or entry.name == f"linalg.{name}"
        ]
        if not ends:
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            raise ConfigError(f"--ops: torch's list has no {name!r}." + (f" Did you mean {close[0]}?" if close else ""))
        found += ends
    return list({id(entry): entry for entry in found}.values())


def _listed() -> Sequence[Any]:
    """torch's list.  The module that holds it imports `expecttest` for a class that is not used here.

    Raises ConfigError where this torch has none.
    """
    if "expecttest" not in sys.modules and importlib.util.find_spec("expecttest") is None:
        stand_in = types.ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
        stand_in.ACCEPT = False  # type: ignore[attr-defined]
        sys.modules["expecttest"] = stand_in
    found: Sequence[Any] = torch_internals.operator_samples
    if not found:
        raise ConfigError(f"torch {torch.__version__} comes without the samples that its operators are tested on.")
    return found


def _name(entry: Any) -> str:
    return f"{entry.name}.{entry.variant_test_name}" if entry.variant_test_name else str(entry.name)


def _row(entry: Any, device: torch.device, dtype: str, samples: int) -> BenchedOperator | None:
    """One operator in one dtype; None where there is nothing to judge."""
    name, kind = _name(entry), DTYPES[dtype]
    last = str(entry.name).rpartition(".")[2]
    if operators.is_uninitialised(last) or operators.draws(last) or _NOT_UNIQUE & set(last.split("_")):
        return None
    outcomes: list[tuple[str, _Outcome]] = []
    refused, reason, made = 0, "", 0
    for number, sample in enumerate(_samples(entry, kind, samples)):
        try:
            found = _outcome(entry, sample, kind, device)
        except _Drawn:
            return None
        except FAILED as error:
            refused += 1
            reason = reason or f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:120]}"
            continue
        if found is not None:
            made += 1
            outcomes.append((f"sample {number}, {sample.form}", found))
    if not made and not refused:
        return None
    worst = max((o for _, o in outcomes), key=lambda o: o.error / max(o.limit, 1e-30), default=_Outcome(0, 0, 0, False))
    wrong = [where for where, o in outcomes if o.wrong]
    return BenchedOperator(
        name,
        dtype,
        made,
        len(wrong),
        min(worst.error, 1e308),
        in_last_place(min(worst.largest, 1e300), str(kind)),
        min(worst.limit, 1e308),
        refused,
        reason,
        wrong[0] if wrong else "",
    )


def _samples(entry: Any, kind: torch.dtype, most: int) -> Iterator[_Sample]:
    """torch's samples of an operator, each in the forms that it is made in."""
    if kind not in entry.supported_dtypes("cpu"):
        return
    torch.manual_seed(_SEED + sum(map(ord, _name(entry))))
    try:
        found = list(islice(entry.sample_inputs("cpu", kind, requires_grad=_follows(entry, kind)), _LOOKED_AT))
    except FAILED:  # a generator of torch's that does not know this dtype
        return
    sized = [(sum(t.numel() for t in tensors_of([s.input, list(s.args), dict(s.kwargs)])), s) for s in found]
    sized = [(size, sample) for size, sample in sized if 0 < size <= _MOST_ELEMENTS]
    chosen = [sample for _, sample in sized[:: max(1, len(sized) // most)][:most]]
    for sample in chosen:
        args, kwargs = (sample.input, *sample.args), dict(sample.kwargs)
        yield _Sample("as it is", args, kwargs)
        yield _Sample("not contiguous", _mapped(args, _spread), _mapped(kwargs, _spread))
    if chosen and type(entry).__name__ in ("UnaryUfuncInfo", "BinaryUfuncInfo"):
        args, kwargs = (chosen[0].input, *chosen[0].args), dict(chosen[0].kwargs)
        yield _Sample("extreme values", _mapped(args, _extreme), kwargs)


def _follows(entry: Any, kind: torch.dtype) -> bool:
    """Does autograd know the operator in this type?"""
    return bool(entry.supports_autograd and kind in entry.supported_backward_dtypes("cpu"))


def _outcome(entry: Any, sample: _Sample, kind: torch.dtype, device: torch.device) -> _Outcome | None:
    """How far the device is off; None where the call makes nothing to judge.  Raises what torch raises on it."""
    grads = _follows(entry, kind)
    wide = _mapped((sample.args, sample.kwargs), _wide)
    before = torch.get_rng_state()
    exact = _made(entry, wide, grads=grads)
    if not torch.equal(before, torch.get_rng_state()):
        raise _Drawn
    unit = operators.roundoff([str(kind)])
    shaken = torch.Generator().manual_seed(_SEED)
    responses = [
        _made(
            entry,
            _mapped(wide, lambda t: moved(t, unit, shaken) if t.is_floating_point() else t),
            grads=grads,
            saved=unit,
        )
        for _ in range(2)
    ]
    here = _made(entry, _mapped((sample.args, sample.kwargs), lambda t: t.to(device)), grads=grads)
    worst: _Outcome | None = None
    for place, reference in enumerate(exact):
        if place >= len(here) or here[place].shape != reference.shape:
            raise RuntimeError(f"result {place} has another shape on {device}")
        exact_here, found_here = _above(reference, kind), _above(here[place], kind)
        off = distance(found_here, exact_here)
        near = [distance(_above(r[place], kind), exact_here) for r in responses if place < len(r)]
        found = _judged(off, near, unit)
        if worst is None or found.error / max(found.limit, 1e-30) > worst.error / max(worst.limit, 1e-30):
            worst = found
    return worst


def _judged(off: Distance, near: Sequence[Distance], unit: float) -> _Outcome:
    reach = max((each.relative for each in near), default=0.0)
    peak = max((each.largest for each in near), default=0.0)
    floor = _ROUNDINGS * unit if off.is_floating else 0.0
    limit = floor + expected.MOVED * reach
    if off.nonfinite:
        wrong = not any(each.nonfinite for each in near)
        return _Outcome(math.inf if wrong else 0.0, off.largest, limit, wrong)
    wrong = off.relative > limit or off.largest > expected.PEAK * floor + expected.MOVED * max(peak, reach)
    return _Outcome(off.relative, off.largest, limit, wrong)


def _above(tensor: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """Without what is smaller than the least normal number of the type, which a device may take for 0."""
    if not tensor.is_floating_point():
        return tensor
    return torch.where(tensor.abs() < torch.finfo(kind).tiny, torch.zeros_like(tensor), tensor)


def _made(entry: Any, arguments: Any, *, grads: bool, saved: float = 0.0) -> list[torch.Tensor]:
    """What the operator makes, on the CPU: its results, and the gradients of the tensors that it was given.  What it
    keeps for backward is moved by up to `saved` of itself."""
    leaves: list[torch.Tensor] = []

    def leaf(tensor: torch.Tensor) -> torch.Tensor:
        found = tensor.detach().clone(memory_format=torch.preserve_format)
        if grads and tensor.requires_grad:
            leaves.append(found.requires_grad_())
        return found

    args, kwargs = _mapped(arguments, leaf)
    own = {tensor.data_ptr() for tensor in leaves}
    random = torch.Generator().manual_seed(_SEED)

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        is_ours = saved and tensor.is_floating_point() and tensor.data_ptr() not in own
        return moved(tensor.detach(), saved, random) if is_ours else tensor

    with torch.set_grad_enabled(grads), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        results = tensors_of([entry(*args, **kwargs)])
    found = [result.detach().cpu().resolve_conj().resolve_neg() for result in results if result.layout is torch.strided]
    follow = [result for result in results if result.requires_grad and result.is_floating_point()]
    if follow and leaves:
        weights = [_weights(result) for result in follow]
        gradients = torch.autograd.grad(follow, leaves, weights, allow_unused=True)
        found += [g.cpu() for g in gradients if g is not None and g.layout is torch.strided]
    return found


def _weights(result: torch.Tensor) -> torch.Tensor:
    """What flows into backward: eighths, which all types hold; a sum of alike ones is what softmax sends back as 0."""
    drawn = torch.randint(-16, 17, result.shape, generator=torch.Generator().manual_seed(_SEED))
    return (drawn.to(torch.float64) / 8).to(result.dtype).to(result.device)


def _mapped(tree: Any, act: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(tree, torch.Tensor):
        return act(tree)
    if isinstance(tree, (list, tuple)) and type(tree) in (list, tuple):
        return type(tree)(_mapped(item, act) for item in tree)
    if isinstance(tree, dict):
        return {key: _mapped(item, act) for key, item in tree.items()}
    return torch.float64 if isinstance(tree, torch.dtype) and act is _wide and tree.is_floating_point else tree


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor


def _spread(tensor: torch.Tensor) -> torch.Tensor:
    """The same elements, every second of a memory twice as large."""
    if not tensor.dim() or tensor.layout is not torch.strided or not tensor.numel():
        return tensor
    return tensor.repeat_interleave(2, -1)[..., ::2]


def _extreme(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    count = math.ceil(tensor.numel() / len(_EXTREMES))
    values = torch.tensor(_EXTREMES, dtype=torch.float64).repeat(max(1, count))[: tensor.numel()]
    return values.to(tensor.dtype).reshape(tensor.shape).requires_grad_(tensor.requires_grad)
