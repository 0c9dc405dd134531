"""One call, of an API or of a module, between its beginning and its end.

Inputs are captured before the call, since the call may write to them; an input whose version moved and which
was not returned is recorded once more under `written`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import torch

from ..older_torch import autocast_dtype
from ..record import stack, tree
from ..record.entries import Emission, Entry
from ..record.identity import version_of
from ..record.observer import Observer
from ..record.reading import device_of, gradient_of
from ..record.recorder import StepRecorder
from ..record.sharded import local_of
from . import autograd
from .watch import P, Watch, backward_name, in_backward, recomputing

_About: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any] | None, tuple[Any, ...]]"
"""The arguments, the named ones, and the results of a call, as they were recorded."""

_MOST_NODES = 100_000
_MOST_NODES_OF_GRADIENTS = 256  # that lie between the gradients that one backward call reads and writes


class OpenCall(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A call that has begun within the module calls `within`; `recorded` unless its backward alone is wanted.

    `tensors` are its tensor arguments in order, `places` their names in the record, `versions` their version
    counters (-1 for inference tensors, which have none).  `out` are tensors that it was told to write into,
    `collectives` those that run inside it.
    """

    name: str
    recorder: StepRecorder
    recorded: bool
    owner: str | None
    within: tuple[str, ...]
    tensors: list[torch.Tensor]
    places: list[str]
    versions: list[int]
    body: dict[str, Any]
    before: autograd.Before | None
    stack: stack.RawStack | None
    out: list[torch.Tensor]
    collectives: list[dict[str, object]]


def begin(
    watch: Watch, name: str, *, args: tuple[Any, ...], kwargs: Mapping[str, Any], owner: str | None
) -> OpenCall | None:
    """Capture what the call `name` is about to read; None where `list` and `scope` leave it out.

    A tensor given as `out` is not read, so it is not among the inputs: it may hold uninitialised memory.
    """
    recorder = watch.recorder
    watch.collectives = []
    if recorder is None:
        return None
    within = watch.within(name) if recorder.selection.selects else ()
    recorded = recorder.selection.wants(name, within)
    follows = recorder.follows_backward
    if recorder.selection.selects:
        follows = follows and recorder.selection.may_want(backward_name(name), map(backward_name, within))
        if not (recorded or follows):
            return None
    out: list[torch.Tensor] = []
    if "out" in kwargs:
        out = tree.tensors_of(kwargs["out"])
        kwargs = {key: value for key, value in kwargs.items() if key != "out"}
    tensors: list[torch.Tensor] = []
    places: list[str] = []

    reads = recorded and recorder.reads_forward

    def note(tensor: torch.Tensor, place: str) -> Entry | None:
        tensors.append(tensor)
        places.append(place)
        return recorder.consumed(tensor, f"{name}.{place}") if reads else None

    if recorder.observer is not None and not _is_looked_at(recorder, recorder.observer, name, args, kwargs):
        return None
    body: dict[str, Any] = {}
    captured = tree.capture(args, "input", on_tensor=note)
    named = tree.capture(kwargs, "input", on_tensor=note) if kwargs else {}
    if reads:
        body["input_args"], body["input_kwargs"] = captured, named
        if recorder.keeps_tensors:
            body.update(_beside(args, kwargs, tensors))
    return OpenCall(
        name=name,
        recorder=recorder,
        recorded=recorded,
        owner=owner,
        within=within,
        tensors=tensors,
        places=places,
        versions=list(map(_version, tensors)),
        body=body,
        before=autograd.before_call(tensors) if follows else None,
        stack=recorder.take_stack() if recorded else None,
        out=out,
        collectives=watch.collectives,
    )


def _is_looked_at(
    recorder: StepRecorder, observer: Observer, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """Does the observer look at the call?  Where it has values for its arguments, they are given them.

    Raises LastStepDone where the observer has ended the run.
    """
    if not in_backward():
        observer.end_if_over()
    found: dict[str, torch.Tensor] = {}
    for given in (args, kwargs):
        tree.capture(given, "input", on_tensor=lambda tensor, place: found.__setitem__(place, tensor))
    if not observer.wants(name, list(found.values())):
        return False
    recorder.overwrite(found, observer.loads(name))
    return True


def finish(
    watch: Watch,
    call: OpenCall,
    output: Any,
    *,
    parameters: Mapping[str, torch.Tensor] | None = None,
    writes_unseen: Collection[str] = (),
) -> autograd.Border | None:
    """Record the finished call, and follow its gradients; the border of its graph where it has one.

    `parameters` are a module's own.  `writes_unseen` are the places of arguments that the call writes without
    moving their version counter.
    """
    recorder, body = call.recorder, call.body
    if recorder is not watch.recorder:
        return None  # the step has ended inside the call
    if writes_unseen:
        for tensor, place in zip(call.tensors, call.places, strict=True):
            if place in writes_unseen:
                recorder.touch(tensor)
    outputs = tree.tensors_of(output)
    changed = _changed(call, outputs, writes_unseen)
    if call.collectives:
        body["collectives"] = call.collectives
    keeps_input = call.recorded and recorder.reads_forward
    keeps_output = call.recorded and recorder.writes_forward
    if keeps_input and parameters is not None:
        body["parameters"] = recorder.read(parameters, f"{call.name}.parameters")
    if keeps_output:
        listed = tree.listed(output)
        body["output"] = tree.capture(listed, f"{call.name}.output", on_tensor=recorder.produced)
        if changed:
            body["written"] = {
                place: recorder.wrote(tensor, f"{call.name}.{place}") for place, tensor in changed.items()
            }
    if keeps_input or keeps_output:
        body["is_recompute"] = recomputing()
        recorder.emit(Emission(call.name, body, call.owner, call.stack))
    if recorder.observer is not None:
        results = {f"output.{number}": tensor for number, tensor in enumerate(outputs)}
        results |= {f"written.{place}": tensor for place, tensor in changed.items()}
        recorder.overwrite(results, recorder.observer.mends(call.name))
        if not in_backward():
            recorder.observer.end_if_over()
    return _follow(watch, call, outputs or list(changed.values()))


def _beside(args: tuple[Any, ...], kwargs: Mapping[str, Any], tensors: Sequence[torch.Tensor]) -> dict[str, Any]:
    """What the arguments do not say themselves, and making the call again needs: which lists were tuples, autocast."""
    found: dict[str, Any] = {}
    tuples = [place for index, arg in enumerate(args) for place in tree.tuples_of(arg, f"input.{index}")]
    tuples += [place for name, arg in kwargs.items() for place in tree.tuples_of(arg, f"input.{name}")]
    if tuples:
        found["tuples"] = tuples
    kind = device_of(tensors[0]).type if tensors else "cpu"
    narrow = autocast_dtype(kind) if kind != "meta" else None
    if narrow is not None:
        found["autocast"] = str(narrow)
    return found


def _version(tensor: torch.Tensor) -> int:
    """Its version counter, and where it stands for another that of the plain tensor too: either tells of a write."""
    if type(tensor) is torch.Tensor or type(tensor) is torch.nn.Parameter:
        return version_of(tensor)
    local = local_of(tensor).tensor
    return version_of(tensor) if local is tensor else version_of(tensor) + version_of(local)


def _changed(
    call: OpenCall, outputs: Sequence[torch.Tensor], writes_unseen: Collection[str]
) -> dict[str, torch.Tensor]:
    """Inputs that the call changed and did not return, under their places."""
    if not (writes_unseen or call.out) and call.versions == list(map(_version, call.tensors)):
        return {}
    returned = {id(tensor) for tensor in outputs}
    changed = {
        place: tensor
        for tensor, place, version in zip(call.tensors, call.places, call.versions, strict=True)
        if id(tensor) not in returned and (place in writes_unseen or _version(tensor) != version)
    }
    for number, tensor in enumerate(call.out):
        if id(tensor) not in returned:
            call.recorder.touch(tensor)  # FSDP puts the version back to what it was
            changed[f"input.out.{number}"] = tensor
    return changed


def _follow(watch: Watch, call: OpenCall, outputs: Sequence[torch.Tensor]) -> autograd.Border | None:
    """Record the gradients of `call` when backward comes to it."""
    if call.before is None:
        return None
    border = autograd.find_border(call.before, outputs, _MOST_NODES)
    if border is not None:
        follow_border(
            watch,
            border,
            call.recorder,
            name=backward_name(call.name),
            owner=None if call.owner is None else backward_name(call.owner),
            sizes=(len(outputs), len(call.tensors)),
            within=tuple(map(backward_name, call.within)),
            about=call.body if call.recorded else None,
        )
    return border


def follow_border(
    watch: Watch,
    border: autograd.Border,
    recorder: StepRecorder,
    *,
    name: str,
    owner: str | None,
    sizes: tuple[int, int],
    within: tuple[str, ...] | None = (),
    about: Mapping[str, Any] | None = None,
) -> None:
    """Record the gradients that cross `border` as the backward call `name`: those of its outputs (`sizes[0]`
    of them) as read, those of its inputs (`sizes[1]`) as written.

    `within` are the module calls around it, running backward; None where `scope` and `list` have no say.  With
    `about`, the record of the forward call, a backward that the script differentiates in its turn is a call too, and
    so is each further pass through a graph that the script retains.
    """
    is_call = about is not None and not name.startswith(("Module.", "Autograd."))
    pending = _GradientsOfCall(
        crossing=border.crossing(),
        sizes=sizes,
        asks_again=is_call,
        watch=watch,
        recorder=recorder,
        name=name,
        owner=owner,
        within=within,
        about=_what_it_says(about) if about is not None and is_call else None,
        outputs=tuple(place for places in border.outputs.values() for place in places) if is_call else (),
    )
    watch.pending[pending] = None
    autograd.attach(border, pending)


def _what_it_says(body: Mapping[str, Any]) -> _About:
    """Of the record of a forward call, what a record of its backward as a call says too.  In tuples: what waits for
    backward in those is nothing that Python's collector goes through."""
    return tuple(body.get("input_args", ())), body.get("input_kwargs") or None, tuple(body.get("output", ()))


class _GradientsOfCall(autograd.Pending, gc=False, eq=False, kw_only=True):
    """The backward call `name`: what is recorded of its gradients."""

    watch: Watch
    recorder: StepRecorder
    name: str
    owner: str | None
    within: tuple[str, ...] | None
    about: _About | None
    outputs: tuple[tuple[int, int], ...]
    _as_call: _BackwardAsCall | None = None
    _is_wanted: bool | None = None  # until the first gradient of a pass
    _made: dict[str, torch.Tensor] | None = None
    _recorded: int = 0  # passes

    def take(self, place: str, gradient: torch.Tensor) -> Any:
        recorder, name = self.recorder, self.name
        if self._is_wanted is None:  # the call begins
            self.watch.pending[self] = None
            self._is_wanted = self.within is None or recorder.selection.wants(name, self.within)
        if not self._is_wanted:
            recorder.selection.left(name)
            return None
        is_read = place.startswith("input")
        if recorder.observer is not None and not is_read:
            self._made = self._made or {}
            self._made[place] = gradient
        keeps = recorder.reads_backward if is_read else recorder.writes_backward
        return recorder.consumed(gradient, f"{name}.{place}") if keeps else None

    def adds_to(self, leaf: torch.Tensor) -> None:
        gradient = gradient_of(leaf)
        if gradient is not None and (local := local_of(gradient).tensor) is not gradient:
            self.recorder.touch(local)

    def done(self, read: list[Any], written: list[Any]) -> None:
        recorder = self.recorder
        self.watch.pending.pop(self, None)
        recorder.selection.left(self.name)
        is_wanted, made = self._is_wanted, self._made
        self._is_wanted = self._made = None
        self._recorded += 1
        if not is_wanted:
            return
        if self._recorded > 1:
            if self.about is not None:
                self._call(self.about).emit(read, written)
            else:
                recorder.repeat()
            return
        body = {}
        if recorder.reads_backward:
            body["input"] = read
        if recorder.writes_backward:
            body["output"] = written
        recorder.emit(Emission(self.name, body, self.owner, None))
        if recorder.observer is not None:
            recorder.overwrite(made or {}, recorder.observer.mends(self.name))

    def again(self, graph: autograd.Differentiable, read: list[Any], written: list[Any]) -> None:
        """A script differentiates this backward, which computes with gradients (a penalty, forces)."""
        assert self.about is not None
        sizes = self.sizes
        second = autograd.second_border(graph, dict(self.outputs), sizes, _MOST_NODES_OF_GRADIENTS)
        if second is None:
            return
        name = f"{self._call(self.about).emit(read, written)}.backward"
        behind = sizes[0] + sizes[1] + sizes[0]
        follow_border(self.watch, second, self.recorder, name=name, owner=self.owner, sizes=(len(written), behind))

    def run(self, act: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        if self.watch.open is self.recorder:
            self.watch.guard(act, *args, **kwargs)

    def _call(self, about: _About) -> _BackwardAsCall:
        if self._as_call is None:
            self._as_call = _BackwardAsCall(self.recorder, self.name, self.owner, about)
        return self._as_call


class _BackwardAsCall:
    """What makes the backward call `name` a call `Autograd.{api}_backward` of its own: it reads gradients and what the
    forward call (`about`) read and wrote."""

    def __init__(self, recorder: StepRecorder, name: str, owner: str | None, about: _About) -> None:
        self.recorder = recorder
        self.owner = owner
        self._key = f"Autograd.{name.split('.', 1)[1].rsplit('.', 2)[0]}_backward"
        self._about = about
        self._emitted: tuple[list[Any], str] | None = None

    def emit(self, read: list[Any], written: list[Any]) -> str:
        """Record it, once for each pass; its name, without the direction."""
        if self._emitted is not None and self._emitted[0] is read:
            return self._emitted[1]
        own = f"{self._key}.{self.recorder.number(self._key)}"
        self._emitted = read, own
        args, kwargs, output = self._about
        body = {
            "input_args": [*read, [*args], [*output]],
            "input_kwargs": {} if kwargs is None else kwargs,
            "output": written,
            "is_recompute": False,
        }
        self.recorder.emit(Emission(f"{own}.forward", body, self.owner, None))
        return own
