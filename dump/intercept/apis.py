"""API calls: a light closure on each attribute that holds an operator.

The closure costs well under a microsecond while nobody listens.  Inputs are captured before the call, since the call
may write to them; an input whose version moved is recorded once more under `written`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..record import stack, tree
from ..record.recorder import Emission
from . import autograd, catalog
from .patching import Patches
from .watch import Watch, backward_name


@dataclass(slots=True)
class _Started:
    """A call between its beginning and its end."""

    name: str
    owner: str | None
    tensors: list[torch.Tensor]
    places: list[str]
    versions: list[int]
    body: dict[str, Any]
    before: autograd.Before | None
    stack: stack.RawStack | None
    collective: bool


def install(watch: Watch, patches: Patches) -> None:
    """Wrap every operator of the catalog."""
    calls = ApiCalls(watch)
    for entry in catalog.operators():
        original = getattr(entry.owner, entry.attribute)
        patches.replace(entry.owner, entry.attribute, wrap(original, f"{entry.prefix}.{entry.api}", watch, calls))


def wrap(original: Callable[..., Any], key: str, watch: Watch, calls: ApiCalls) -> Callable[..., Any]:
    """A stand-in for `original` that records its calls under `key` (`Torch.matmul`) while someone listens."""

    def recorded(*args: Any, **kwargs: Any) -> Any:
        if not watch.listening() and not (watch.setting_up and watch.leaves_setup(args)):
            return original(*args, **kwargs)
        return calls.call(key, original, args, kwargs)

    try:
        functools.update_wrapper(recorded, original)
    except (AttributeError, TypeError):
        recorded.__name__ = key.rpartition(".")[2]
    return recorded


class ApiCalls:
    """Turns one API call into one forward record and, when backward comes, one backward record."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def call(
        self, key: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        watch = self._watch
        started: _Started | None = None
        watch.busy = True
        try:
            try:
                started = self._begin(key, args, kwargs)
            except Exception as error:  # the edge of `Watch.guard`, spelled out to save a frame on every call
                watch.failed(error)
            output = original(*args, **kwargs)
            if started is not None:
                try:
                    self._end(started, output, kwargs)
                except Exception as error:
                    watch.failed(error)
            return output
        finally:
            watch.busy = False

    def _begin(self, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Started | None:
        watch, recorder = self._watch, self._watch.recorder
        assert recorder is not None
        name = f"{key}.{recorder.number(key)}.forward"
        if not recorder.wanted(name):
            return None
        tensors: list[torch.Tensor] = []
        places: list[str] = []
        _note_places(args, "input", tensors, places)
        _note_places(kwargs, "input", tensors, places)
        body: dict[str, Any] = {}
        if recorder.keeps("forward", "input"):
            body["input_args"] = recorder.read(args, f"{name}.input")
            body["input_kwargs"] = recorder.read(kwargs, f"{name}.input")
        return _Started(
            name,
            watch.owner,
            tensors,
            places,
            [-1 if tensor.is_inference() else tensor._version for tensor in tensors],
            body,
            autograd.before_call(tensors) if watch.backward_wanted else None,
            recorder.take_stack(),
            key.startswith("Distributed."),
        )

    def _end(self, started: _Started, output: Any, kwargs: dict[str, Any]) -> None:
        watch, recorder = self._watch, self._watch.recorder
        if recorder is None:
            return
        body = started.body
        asynchronous = started.collective and bool(kwargs.get("async_op"))
        if started.collective:
            # A collective moves no version counter, and an asynchronous one writes after it returned.
            for tensor in started.tensors:
                recorder.touch(tensor)
        outputs = tree.tensors_of(output)
        if recorder.keeps("forward", "output"):
            listed = list(output) if isinstance(output, (list, tuple)) else [output]
            body["output"] = recorder.wrote(listed, f"{started.name}.output")
            written = {} if asynchronous else self._written(started, outputs)
            if written:
                body["written"] = written
        if asynchronous:
            recorder.skipped["asynchronous collective: its result"] = (
                recorder.skipped.get("asynchronous collective: its result", 0) + 1
            )
        body["is_recompute"] = watch.recomputing()
        recorder.emit(Emission(started.name, body, started.owner, started.stack))
        watch.follow(started.before, outputs, backward_name(started.name), started.owner)

    def _written(self, started: _Started, outputs: list[torch.Tensor]) -> dict[str, Any]:
        """Inputs that the call changed and did not return."""
        recorder = self._watch.recorder
        assert recorder is not None
        returned = {id(tensor) for tensor in outputs}
        return {
            place: recorder.wrote(tensor, f"{started.name}.{place}")
            for tensor, place, version in zip(started.tensors, started.places, started.versions, strict=True)
            if id(tensor) not in returned
            and (started.collective or (version != -1 and tensor._version != version))
        }


def _note_places(thing: Any, path: str, tensors: list[torch.Tensor], places: list[str], depth: int = 0) -> None:
    """Tensors and their argument names, in the order that the record names them."""
    if isinstance(thing, torch.Tensor):
        tensors.append(thing)
        places.append(path)
    elif depth < tree.MAX_DEPTH:
        if isinstance(thing, (list, tuple)):
            for index, item in enumerate(thing[: tree.MAX_ITEMS]):
                _note_places(item, f"{path}.{index}", tensors, places, depth + 1)
        elif isinstance(thing, dict):
            for key, item in thing.items():
                _note_places(item, f"{path}.{key}", tensors, places, depth + 1)
