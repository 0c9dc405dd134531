"""All calls that were asked for, made again."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import torch

from acc_compare.align.calls import align
from acc_compare.load import PlacedPair, pair_locations
from acc_compare.replay import expected
from acc_compare.replay.arguments import load
from acc_compare.replay.calls import recorded_call
from acc_compare.replay.judge import Sight, judged
from acc_compare.replay.names import import_operators
from acc_compare.replay.results import Against, ReplayedCall, ReplayedTensor, ReplayResult
from acc_compare.replay.wanted import Wanted
from dump.environment.numerics import in_force
from dump.format.errors import ConfigError, IncomparableError
from dump.format.layout import TENSOR_FOLDER, DumpLocation, find_dumps
from dump.format.names import BACKWARD, FORWARD, forward_name, parse
from dump.format.nested import NestedDump, read_nested
from dump.format.reader import read_dump, read_owners

Progress = Callable[[str, int, int], None]

_DEEPEST = 1000
"""Levels of modules that are looked through."""

_WIDE = {"float64": torch.float64, "float32": torch.float32}


def replay(
    dump: Path,
    wanted: Wanted,
    *,
    device: str = "",
    against: Against = "float64",
    bench: Path | None = None,
    imports: Sequence[str] = (),
    each: int | None = None,
    progress: Progress | None = None,
) -> ReplayResult:
    """Make the calls of a tensor dump again, each by itself on its recorded inputs, and judge their results.

    Args:
        dump: a root, a step, a rank folder or a dump.json.
        device: where to, such as "npu"; "" for the device of the record where it is here, else the CPU.
        against: the type of the reference, which is computed on the CPU.
        bench: the other side's dump; its results are judged by references on its own inputs.
        imports: modules that register operators of the user's.
        each: of the calls of one operator with the same shapes and dtypes, in one step, so many; None for all.

    Raises DumpError, ConfigError for names that no call has and for a device that is not here, IncomparableError for a
    dump without tensors.
    """
    import_operators(imports)
    locations = find_dumps(dump)
    partners = _partners(dump, bench)
    calls: list[ReplayedCall] = []
    chosen, recorded_on = "", ""
    known: list[str] = []
    for location in locations:
        nested = read_nested(location.path)
        names = list(_forwards(nested, location, wanted))
        names = names if each is None else list(_sampled(nested, names, each))
        known += [] if names else nested.names
        if not names:
            continue
        refuse_statistics(nested)
        recorded_on = nested.header.device or "cpu"
        where = device_here(device, recorded_on)
        chosen = where.type
        sight = sight_of(nested, location, _WIDE[against], where)
        other = partners.get(location.path)
        theirs = None if other is None else _Bench.of(location, other, _WIDE[against])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for done, name in enumerate(names):
                calls += _with_bench(judged_of(nested, sight, name), theirs, name)
                if progress is not None:
                    progress("calls", done + 1, len(names))
    if not calls:
        raise ConfigError(_no_such_call(wanted, known))
    return ReplayResult(str(dump), chosen, recorded_on, against, tuple(calls), "" if bench is None else str(bench))


def _partners(dump: Path, bench: Path | None) -> dict[Path, Path]:
    if bench is None:
        return {}
    pairs: tuple[PlacedPair, ...] = pair_locations(dump, bench)[0]
    return {pair.npu.path: pair.bench.path for pair in pairs}


def refuse_statistics(nested: NestedDump) -> None:
    """Raise IncomparableError for a dump without tensors; statistics may have those of some calls beside them."""
    folder = nested.path / TENSOR_FOLDER
    if nested.header.task != "tensor" and not (folder.is_dir() and any(folder.iterdir())):
        raise IncomparableError(
            f"{nested.path}: holds {nested.header.task}, no tensors, so that no call can be made again. Record with"
            " --task tensor."
        )


def sight_of(nested: NestedDump, location: DumpLocation, wide: torch.dtype, device: torch.device | None) -> Sight:
    """How a dump is judged; without a `device`, by the reference alone."""
    header = nested.header
    return Sight(
        partial(load, nested.path),
        header.device or "cpu",
        nested.tells_tuples,
        wide,
        device,
        expected.lowered_by(header.numerics, header.device or "cpu"),
        expected.lowered_by(in_force(), device.type) if device is not None else 0.0,
        location.step,
        location.rank,
    )


def judged_of(nested: NestedDump, sight: Sight, forward: str) -> Iterator[ReplayedCall]:
    """The forward call of that name, and its backward where it was recorded.  Raises DumpCorrupt."""
    recorded = recorded_call(nested, forward)
    return iter(()) if recorded is None else judged(sight, recorded)


@dataclass(frozen=True, slots=True)
class _Bench:
    """The other side of one dump; `names` are its calls by ours, as a comparison pairs them."""

    dump: NestedDump
    sight: Sight
    names: Mapping[str, str]

    @classmethod
    def of(cls, ours: DumpLocation, theirs: Path, wide: torch.dtype) -> _Bench:
        dump = read_nested(theirs)
        paired = align(read_dump(ours.path), read_dump(theirs)).pairs
        names = {pair.npu.name: pair.bench.name for pair in paired if pair.npu is not None and pair.bench is not None}
        return cls(dump, sight_of(dump, ours, wide, None), names)


def device_here(asked: str, recorded: str) -> torch.device:
    """Where calls are made again.  Raises ConfigError for a device that is asked for and not here."""
    for name in (asked or recorded, *([] if asked else ["cpu"])):
        if name == "cpu":
            return torch.device("cpu")
        module: Any = getattr(torch, name, None)
        try:
            if module is not None and module.is_available():
                return torch.device(name)
        except (RuntimeError, AttributeError):
            pass
    raise ConfigError(f"--device {asked}: torch finds no such device here. --device cpu replays on the CPU.")


def _forwards(nested: NestedDump, location: DumpLocation, wanted: Wanted) -> Iterator[str]:
    """The forward calls that are wanted, in order of execution."""
    asked = wanted.asks_for(location.step, location.rank)
    chosen = None if asked is None else _chosen(nested, asked)
    for name in nested.names:
        if parse(name).direction == FORWARD and (chosen is None or name in chosen):
            yield name


def _sampled(nested: NestedDump, names: Iterable[str], each: int) -> Iterator[str]:
    """The first calls of each operator, shapes and dtypes."""
    seen: Counter[Hashable] = Counter()
    for name in names:
        call = nested.call(name)
        parts = parse(name)
        read = expected.read_by(call) if call is not None else ()
        signature = parts.prefix, parts.api, tuple((place, t.dtype, t.shape, t.stride) for place, t in read)
        seen[signature] += 1
        if seen[signature] <= each:
            yield name


def _chosen(nested: NestedDump, names: Iterable[str]) -> set[str]:
    """The forward calls that names stand for, and those within the modules among them, recorded themselves or not."""
    found: set[str] = set()
    owners: Mapping[str, str | None] = {}
    modules: set[str] = set()
    for asked in names:
        forward = forward_name(asked) if parse(asked).direction == BACKWARD else asked
        exact = {name for name in (forward, f"{asked}.{FORWARD}") if name in nested.records}
        found |= exact or {name for name in nested.names if name.startswith(f"{asked.rstrip('.')}.")}
        if asked.startswith("Module."):
            owners = owners or read_owners(nested.path)
            within = {owner for owner in owners.values() if owner is not None and f"{owner}.".startswith(f"{asked}.")}
            modules |= {owner for owner in within if parse(owner).direction == FORWARD}
    modules |= {name for name in found if parse(name).is_module}
    if modules:
        owners = owners or read_owners(nested.path)
        found |= {call for call in nested.names if _is_within(call, modules, owners)}
    return found


def _is_within(call: str, modules: set[str], owners: Mapping[str, str | None]) -> bool:
    owner = owners.get(call)
    for _ in range(_DEEPEST):
        if owner is None or owner in modules:
            break
        owner = owners.get(owner)
    return owner in modules


def _no_such_call(wanted: Wanted, known: Sequence[str]) -> str:
    names = wanted.names or tuple(name for name, _, _ in wanted.places or ())
    if not names:
        return "the dump holds no forward call, so there is nothing to make again"
    close = get_close_matches(names[0], known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]}?" if close else " acc compare and dump.json say which there are."
    return f"no call {names[0]!r} in the dump.{hint}"


def _with_bench(calls: Iterator[ReplayedCall], theirs: _Bench | None, name: str) -> list[ReplayedCall]:
    """The calls with what the bench's record of the same call is off by."""
    ours = list(calls)
    if theirs is None or name not in theirs.names:
        return ours
    found = judged_of(theirs.dump, theirs.sight, theirs.names[name])
    bench = {(parse(call.name).direction, tensor.name): tensor for call in found for tensor in call.tensors}
    return [replace(call, tensors=tuple(_beside(call.name, tensor, bench) for tensor in call.tensors)) for call in ours]


def _beside(call: str, tensor: ReplayedTensor, bench: dict[tuple[str, str], ReplayedTensor]) -> ReplayedTensor:
    other = bench.get((parse(call).direction, tensor.name))
    return tensor if other is None else replace(tensor, bench=other.recorded)
