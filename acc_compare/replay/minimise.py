"""The smallest shape and the fewest elements with which a call is still wrong.

The call is made again and again on the device with less: extents that are alike are cut together, in all tensors and
among the plain numbers, then each dimension alone, then elements are set to zero.  What torch refuses, and what is
right, is put back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import torch

from acc_compare.messages import say
from acc_compare.replay import expected
from acc_compare.replay.arguments import Builder, Load, Setting
from acc_compare.replay.calls import FAILED, Made, Recorded, make
from acc_compare.replay.judge import Sight, judged, wanted_target
from acc_compare.replay.names import CannotReplay
from acc_compare.replay.results import ReplayedCall
from dump.format.schema import NestedCall, Node, ScalarRecord, TensorRecord

SECONDS = 30.0
"""How long a call is cut at."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A call with its tensors in memory, by `data_name`; what is not cut is as it was recorded."""

    recorded: Recorded
    tensors: Mapping[str, torch.Tensor]

    def load(self, record: TensorRecord) -> torch.Tensor:
        found = self.tensors.get(record.data_name or "")
        if found is None:
            raise CannotReplay(say("replay.reason.no_file"))
        return found


@dataclass(frozen=True, slots=True)
class Minimised:
    """The smallest call that is still wrong, with what a replay says of it; `elements` are those of its inputs that are
    not zero, before and after."""

    trial: Trial
    call: ReplayedCall
    before: int
    after: int


def minimised(sight: Sight, recorded: Recorded, name: str, *, seconds: float = SECONDS) -> Minimised:
    """Cut the call `name`, forward or backward, as far as it stays wrong where `sight` makes it again.

    Raises CannotReplay where it cannot be made again, or is right there.
    """
    search = _Search(sight, name, time.monotonic() + seconds)
    first = _in_memory(recorded, sight.load)
    found = search.wrong(first)
    if found is None:
        raise CannotReplay(say("replay.reason.right_here", device=_device(sight).type))
    best = search.cut(search.zeroed(search.cut(found)))
    call = search.judge(best)
    assert call is not None
    return Minimised(best, call, _weight(first), _weight(best))


def _device(sight: Sight) -> torch.device:
    return sight.device if sight.device is not None else torch.device(sight.recorded_on)


class _Search:
    """Trials of one call on one device, until the time is up."""

    def __init__(self, sight: Sight, name: str, until: float) -> None:
        self._sight = sight
        self._name = name
        self._until = until

    def is_late(self) -> bool:
        return time.monotonic() > self._until

    def judge(self, trial: Trial) -> ReplayedCall | None:
        """What a replay says of a trial, whose results are in it."""
        sight = replace(self._sight, load=trial.load, device=None)
        return {call.name: call for call in judged(sight, trial.recorded)}.get(self._name)

    def wrong(self, trial: Trial) -> Trial | None:
        """The trial with what the device makes of it as its record; None where that is right or cannot be had."""
        try:
            target = wanted_target(trial.recorded)
            follows = trial.recorded.follows
            alone = Recorded(trial.recorded.forward)
            exact = make(target, alone, self._builder(trial), Setting(torch.device("cpu"), self._sight.wide, follows))
            trial = _with_gradients(trial, exact)
            builder = self._builder(trial)
            made = make(target, trial.recorded, builder, Setting(_device(self._sight), None, follows))
            told = _with_results(trial, made)
            call = self.judge(told)
        except (CannotReplay, *FAILED):
            return None
        is_wrong = call is not None and any(tensor.recorded.wrong for tensor in call.tensors)
        return told if is_wrong else None

    def _builder(self, trial: Trial) -> Builder:
        return trial.recorded.builder(trial.load, tells_tuples=self._sight.tells_tuples)

    def cut(self, trial: Trial) -> Trial:
        """The smallest shape."""
        goes_on = True
        while goes_on and not self.is_late():
            goes_on = False
            for smaller in _smaller(trial):
                if self.is_late():
                    break
                found = self.wrong(smaller)
                if found is not None:
                    trial, goes_on = found, True
                    break
        return trial

    def zeroed(self, trial: Trial) -> Trial:
        """The fewest elements that are not zero: blocks of each floating tensor, halved until they are one element."""
        for name in [name for name, tensor in _inputs(trial).items() if tensor.is_floating_point()]:
            size = max(1, trial.tensors[name].numel() // 2)
            while size and not self.is_late():
                for start in range(0, trial.tensors[name].numel(), size):
                    flat = trial.tensors[name].clone().reshape(-1)
                    part = flat[start : start + size]
                    if self.is_late() or not bool(part.any()):
                        continue
                    part.zero_()
                    less = Trial(trial.recorded, {**trial.tensors, name: flat.reshape(trial.tensors[name].shape)})
                    trial = self.wrong(_measured(less)) or trial
                size //= 2
        return trial


def _smaller(trial: Trial) -> Iterator[Trial]:
    """The trial with less: first one of all extents that are alike, the largest first, then of one dimension."""
    inputs = _inputs(trial)
    places = [(name, dim) for name, tensor in inputs.items() for dim in range(tensor.dim())]
    extents = sorted({inputs[name].shape[dim] for name, dim in places} - {0, 1}, reverse=True)
    for extent in extents:
        alike = [place for place in places if inputs[place[0]].shape[place[1]] == extent]
        groups = [alike, *([[place] for place in alike] if len(alike) > 1 else [])]
        for length in dict.fromkeys((1, 2, extent // 4, extent // 2, extent - 1)):
            if not 0 < length < extent:
                continue
            for group in groups:
                for start in dict.fromkeys((0, extent - length)):
                    yield _cut(trial, group, extent, start, length, numbers=True)
                    yield _cut(trial, group, extent, start, length, numbers=False)


def _cut(trial: Trial, places: list[tuple[str, int]], extent: int, start: int, length: int, *, numbers: bool) -> Trial:
    tensors = dict(trial.tensors)
    for name, dim in places:
        tensors[name] = tensors[name].narrow(dim, start, length).contiguous()
    forward = trial.recorded.forward
    if numbers:
        forward = _mapped(forward, lambda scalar: _number(scalar, extent, length), lambda tensor: tensor)
    return _measured(Trial(Recorded(forward, trial.recorded.backward), tensors))


def _number(scalar: ScalarRecord, extent: int, length: int) -> ScalarRecord:
    is_extent = type(scalar.value) is int and scalar.value == extent
    return ScalarRecord(scalar.type, length) if is_extent else scalar


def _inputs(trial: Trial) -> dict[str, torch.Tensor]:
    """The tensors that the forward call reads, each once."""
    names = [record.data_name for _, record in expected.read_by(trial.recorded.forward)]
    return {name: trial.tensors[name] for name in names if name is not None and name in trial.tensors}


def _weight(trial: Trial) -> int:
    return sum(int(torch.count_nonzero(tensor)) for tensor in _inputs(trial).values())


def _in_memory(recorded: Recorded, load: Load) -> Trial:
    """All that the call read, loaded.  Raises CannotReplay."""
    tensors: dict[str, torch.Tensor] = {}

    def named(record: TensorRecord) -> TensorRecord:
        name = record.data_name or f"empty.{len(tensors)}"
        tensors.setdefault(name, load(record))
        return msgspec.structs.replace(record, data_name=name)

    forward = _mapped(recorded.forward, lambda scalar: scalar, named)
    backward = recorded.backward
    if backward is not None:
        backward = replace(backward, args=tuple(_node(part, lambda s: s, named) for part in backward.args))
    return _measured(Trial(Recorded(forward, backward), tensors))


def _measured(trial: Trial) -> Trial:
    """The trial with records that fit its tensors."""

    def fits(record: TensorRecord) -> TensorRecord:
        tensor = trial.tensors[record.data_name or ""]
        norm = float(torch.linalg.vector_norm(tensor.double())) if tensor.is_floating_point() else record.norm
        is_cut = tuple(tensor.shape) != record.shape
        return msgspec.structs.replace(
            record, shape=tuple(tensor.shape), norm=norm, stride=None if is_cut else record.stride
        )

    forward = _mapped(trial.recorded.forward, lambda scalar: scalar, fits)
    return Trial(Recorded(forward, trial.recorded.backward), trial.tensors)


def _with_gradients(trial: Trial, made: Made) -> Trial:
    """The trial with the gradients that its backward reads cut to the shapes of its results."""
    backward = trial.recorded.backward
    if backward is None:
        return trial
    tensors = dict(trial.tensors)
    args: list[Node] = []
    for number, record in enumerate(backward.args):
        result = made.outputs.get(f"output.{number}")
        if isinstance(record, TensorRecord) and record.data_name is not None and result is not None:
            gradient = tensors[record.data_name]
            if gradient.dim() != result.dim():
                raise CannotReplay(say("replay.reason.shapes", place=f"output.{number}"))
            gradient = gradient[tuple(slice(0, extent) for extent in result.shape)].contiguous()
            tensors[record.data_name] = gradient
            args.append(msgspec.structs.replace(record, shape=tuple(gradient.shape), stride=None))
        else:
            args.append(record)
    return Trial(Recorded(trial.recorded.forward, replace(backward, args=tuple(args))), tensors)


def _with_results(trial: Trial, made: Made) -> Trial:
    """The trial with what the device made in place of its results, and gradients cut to their shapes."""
    tensors = dict(trial.tensors)

    def taken(place: str, tensor: torch.Tensor, like: TensorRecord | None) -> TensorRecord:
        name = f"made.{place}"
        tensors[name] = tensor.contiguous()
        norm = float(torch.linalg.vector_norm(tensor.double())) if tensor.is_floating_point() else None
        follows = like.requires_grad if like is not None else None
        return TensorRecord(str(tensor.dtype), tuple(tensor.shape), norm=norm, requires_grad=follows, data_name=name)

    forward, backward = trial.recorded.forward, trial.recorded.backward
    known = dict(expected.written_by(forward))
    outputs = _replaced(forward.outputs, "output", made.outputs, known, taken)
    written = {
        place: taken(f"written.{place}", made.outputs[f"written.{place}"], known.get(f"written.{place}"))
        for place in forward.written
        if f"written.{place}" in made.outputs
    }
    forward = replace(forward, outputs=outputs, written=written)
    if backward is not None:
        gradients = dict(expected.written_by(backward))
        parts = tuple(
            None
            if f"output.{n}" not in made.gradients
            else taken(f"gradient.output.{n}", made.gradients[f"output.{n}"], gradients.get(f"output.{n}"))
            for n in range(len(backward.outputs))
        )
        backward = replace(backward, outputs=parts)
    return Trial(Recorded(forward, backward), tensors)


def _replaced(
    nodes: tuple[Node, ...],
    prefix: str,
    made: Mapping[str, torch.Tensor],
    known: Mapping[str, TensorRecord],
    taken: Callable[[str, torch.Tensor, TensorRecord | None], TensorRecord],
) -> tuple[Node, ...]:
    def walk(place: str, node: Node) -> Node:
        if isinstance(node, (list, tuple)):
            return [walk(f"{place}.{index}", item) for index, item in enumerate(node)]
        if isinstance(node, TensorRecord):
            return taken(place, made[place], known.get(place)) if place in made else node
        return node

    return tuple(walk(f"{prefix}.{index}", node) for index, node in enumerate(nodes))


def _mapped(
    call: NestedCall,
    on_scalar: Callable[[ScalarRecord], ScalarRecord],
    on_tensor: Callable[[TensorRecord], TensorRecord],
) -> NestedCall:
    args = tuple(_node(node, on_scalar, on_tensor) for node in call.args)
    kwargs = {name: _node(node, on_scalar, on_tensor) for name, node in call.kwargs.items()}
    return replace(call, args=args, kwargs=kwargs)


def _node(
    node: Node,
    on_scalar: Callable[[ScalarRecord], ScalarRecord],
    on_tensor: Callable[[TensorRecord], TensorRecord],
) -> Any:
    if isinstance(node, TensorRecord):
        return on_tensor(node)
    if isinstance(node, ScalarRecord):
        return on_scalar(node)
    if isinstance(node, (list, tuple)):
        return type(node)(_node(item, on_scalar, on_tensor) for item in node)
    if isinstance(node, dict):
        return {key: _node(item, on_scalar, on_tensor) for key, item in node.items()}
    return node
