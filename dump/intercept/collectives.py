"""Collectives: calls whose result holds what other ranks gave.

Whatever function of torch.distributed was called, and whoever called it (FSDP, DTensor, pipelines), the call goes
through a method of a process group, and its result is there when somebody has waited for it; functional collectives
go through `torch.ops._c10d_functional` and its `wait_tensor`.  There they are met, so that the functions themselves
stay what they are.  A collective is one record, made when its result is there: what was read when it was issued, and
what was written.  It says which ranks took part and how many of this group's collectives came before, so that the
records of several ranks can be put together.  A buffer that is only written to is not read.  What runs inside a
recorded call is said in the record of that call.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from ..record import reading, stack, tree
from ..record.entries import Emission
from ..record.recorder import StepRecorder
from ..record.sharded import local_of
from ..torch_internals import (
    OpOverload,
    OpOverloadPacket,
    at_the_end_of_backward,
    end_coalescing,
    packet_name,
    schema,
    start_coalescing,
    storage_address,
)
from .group_methods import (
    METHODS,
    GroupMethod,
    group_argument,
    hook_of,
    members,
    members_named,
    peers,
    plain,
    sends_objects,
    settings,
)
from .patching import Patches
from .tracebacks import without_ours
from .watch import Watch, recomputing
from .weak_table import WeakTable

Function = Callable[..., Any]

_FUNCTIONAL = frozenset({"_c10d_functional", "c10d_functional", "_c10d_functional_autograd"})
_FUNCTIONAL_OPERATORS = frozenset({"_dtensor::shard_dim_alltoall"})
_WAITS = ("wait", "synchronize", "block_current_stream")


@dataclass(eq=False, slots=True)
class OpenCollective:
    """A collective between its issue and its result.  `results` are the tensors that it writes into, in the order of
    its arguments with None in place of the others, or those that it made itself."""

    watch: Watch
    recorder: StepRecorder
    name: str
    recorded: bool
    body: dict[str, Any]
    owner: str | None
    stack: stack.RawStack | None
    results: list[Any]
    writes_arguments: bool

    def arrived(self) -> None:
        """The result is there: complete the record and hand it on."""
        if self.watch.pending.pop(self, _NOT_OPEN) is _NOT_OPEN or self.watch.open is not self.recorder:
            return
        recorder = self.recorder
        tensors = tree.tensors_of(self.results)
        if self.writes_arguments:
            for tensor in tensors:
                recorder.touch(tensor)
        mentioned = [expected for tensor in tensors if (expected := recorder.arrived(tensor)) is not None]
        if self.recorded and recorder.writes_forward:
            self.body["output"] = recorder.wrote(self.results, f"{self.name}.output")
        for expected in mentioned:
            recorder.tell(expected)
        recorder.settle(tensors)
        self._emit(min((expected.since for expected in mentioned), default=None))

    def finish(self) -> None:
        """The step is over, and nobody has waited for the result."""
        reason = "asynchronous collective: its result"
        if self.recorded:
            self.recorder.skipped[reason] = self.recorder.skipped.get(reason, 0) + 1
        self.results = []
        self._emit()

    def _emit(self, before: int | None = None) -> None:
        self.recorder.selection.left(self.name)
        if self.recorded:
            self.recorder.emit(Emission(self.name, self.body, self.owner, self.stack), place=before)


_NOT_OPEN: Any = object()


@dataclass(frozen=True, slots=True)
class Issued:
    """A collective as it is asked for: the `members` (group, ranks) that take part, what is `read` in the order of the
    api's arguments, plain `settings`, and what is `written` into, in the same order."""

    key: str
    members: tuple[str, tuple[int, ...]]
    read: list[Any]
    settings: dict[str, Any]
    written: list[Any] = field(default_factory=list)
    group: tuple[int, ...] | None = None  # the ranks of the process group, where others of it take no part


class Collectives:
    """Follows the collectives of a process for `watch`, so that what they still write is not read; and records them."""

    def __init__(self, watch: Watch, *, records: bool = True) -> None:
        self._watch, self._records = watch, records
        self._works: WeakTable[Any, list[OpenCollective]] = WeakTable()
        self._results: dict[int, list[OpenCollective]] = {}
        self._coalescing: list[OpenCollective] | None = None
        self._inside = False

    def install(self, patches: Patches) -> None:
        """Meet collectives where they go through; nothing where torch was built without them."""
        if not torch.distributed.is_available():
            return
        group, work = torch.distributed.ProcessGroup, torch.distributed.Work
        for method in METHODS:
            if hasattr(group, method.name):
                patches.replace(group, method.name, self._issuing(getattr(group, method.name), method))
        for name in _WAITS:
            if hasattr(work, name):
                patches.replace(work, name, self._waiting(getattr(work, name)))
        if hasattr(group, start_coalescing):
            patches.replace(group, start_coalescing, self._starting(getattr(group, start_coalescing)))
            patches.replace(group, end_coalescing, self._ending(getattr(group, end_coalescing)))
        for kind, name_of in ((OpOverloadPacket, packet_name), (OpOverload, _overload_name)):
            if isinstance(kind, type):
                patches.replace(kind, "__call__", self._functionally(kind.__call__, name_of))
        ddp = torch.nn.parallel.DistributedDataParallel
        patches.replace(ddp, "forward", self._reducing(ddp.forward))

    # ---- process groups

    def _issuing(self, original: Function, method: GroupMethod) -> Function:
        @functools.wraps(original)
        def issued(group: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._meets():
                return original(group, *args, **kwargs)
            within = self._is_within()
            opened = self._watch.guard(lambda: self._open(group, method, args, kwargs, within=within))
            if opened is None:
                return original(group, *args, **kwargs)
            if method.api == "send":  # whole as it is asked for: nothing comes back
                self._watch.guard(opened.arrived)
            with self._busy():
                work = original(group, *args, **kwargs)
            if method.api != "send":
                self._watch.attempt(self._await, opened, work)
            return work

        return issued

    @contextmanager
    def _busy(self) -> Iterator[None]:
        """What runs now is part of one recorded call."""
        outer, self._watch.busy = self._watch.busy, True
        try:
            yield
        finally:
            self._watch.busy = outer

    def _meets(self) -> bool:
        """Does the run issue it, on the thread that is followed?"""
        return self._watch.recorder is not None and not self._inside and self._watch.is_our_thread()

    def _is_within(self) -> bool:
        """Does it run inside a call that is one record?"""
        return self._watch.busy or self._watch.muted

    def _open(
        self, group: Any, method: GroupMethod, args: Sequence[Any], kwargs: Mapping[str, Any], *, within: bool
    ) -> OpenCollective | None:
        if sends_objects():
            return None
        options = next((arg for arg in (*args, *kwargs.values()) if hasattr(arg, "timeout")), None)
        reads, writes = set(method.reads), set(method.writes)
        if method.api == "broadcast":
            is_root = getattr(options, "rootRank", 0) == group.rank()
            reads, writes = ({0}, set()) if is_root else (set(), {0})
        given = {position: plain(args[position]) for position in method.order if position < len(args)}
        read = [given.get(position) if position in reads else None for position in method.order] if reads else []
        last = max((place for place, position in enumerate(method.order) if position in writes), default=-1)
        written = [given.get(position) if position in writes else None for position in method.order[: last + 1]]
        peer = None
        if method.api in ("send", "recv") and method.name != "recv_anysource" and len(args) > 2:
            peer = peers(group, int(args[1]), tag=int(args[2]), sends=method.api == "send")
        everyone = members(group)
        told = settings(method.api, options, everyone[1], peer)
        issued = Issued(f"Distributed.{method.api}", peer or everyone, read, told, written, everyone[1])
        return self._begin(issued, within=within)

    def _await(self, opened: OpenCollective, work: Any) -> None:
        """Complete `opened` when `work` has been waited for: at once where there is nothing to wait for."""
        if work is not None:
            self._works.setdefault(work, []).append(opened)
            for tensor in tree.tensors_of(opened.results):  # written from now on: who reads it reads something else
                opened.recorder.touch(tensor)
        elif self._coalescing is not None:
            self._coalescing.append(opened)
        else:
            self._watch.guard(opened.arrived)

    def _waiting(self, original: Function) -> Function:
        @functools.wraps(original)
        def waited(work: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(work, *args, **kwargs)
            for opened in (self._watch.attempt(self._works.pop, work, ()) or ()) if self._works else ():
                self._watch.guard(opened.arrived)
            return result

        return waited

    def _starting(self, original: Function) -> Function:
        @functools.wraps(original)
        def started(group: Any, *args: Any, **kwargs: Any) -> Any:
            self._coalescing = []
            return original(group, *args, **kwargs)

        return started

    def _ending(self, original: Function) -> Function:
        @functools.wraps(original)
        def ended(group: Any, *args: Any, **kwargs: Any) -> Any:
            work, issued = original(group, *args, **kwargs), self._coalescing or ()
            self._coalescing = None
            for opened in issued:
                self._watch.attempt(self._await, opened, work)
            return work

        return ended

    # ---- functional collectives

    def _functionally(self, original: Any, name_of: Callable[[Any], str]) -> Function:
        @functools.cache
        def api_of(operator: Any) -> str | None:
            return _functional_api(name_of(operator))

        @functools.wraps(original)
        def __call__(operator: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            try:
                api = None if self._watch.recorder is None else self._watch.attempt(api_of, operator)
                if api is not None and self._meets():
                    return self._run_functional(functools.partial(original, operator), api, args, kwargs)
                return original(operator, *args, **kwargs)
            except BaseException as error:
                raise error.with_traceback(without_ours(error.__traceback__))  # noqa: B904  # it is the same error

        return __call__

    def _run_functional(self, run: Function, api: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        opened, within = None, self._is_within()
        if api != "wait_tensor":
            opened = self._watch.guard(lambda: self._open_functional(api, args, kwargs, within=within))
        self._inside = True
        try:
            with self._busy() if opened is not None else nullcontext():
                output = run(*args, **kwargs)
        finally:
            self._inside = False
        if api == "wait_tensor":
            self._watch.guard(lambda: self._arrive(args))
        elif opened is not None:
            self._watch.guard(lambda: self._expect(opened, output, completed=api == "shard_dim_alltoall"))
        return output

    def _open_functional(
        self, api: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, within: bool
    ) -> OpenCollective | None:
        names = [value for value in (*args, *kwargs.values()) if isinstance(value, str)]
        group = members_named(names[-1]) if names else None
        if group is None:
            return None
        reduction = {"op": names[0]} if len(names) > 1 else {}
        read = [arg for arg in args if tree.tensors_of(arg)]
        return self._begin(Issued(f"Distributed.functional.{api}", group, read, reduction), within=within)

    def _expect(self, opened: OpenCollective, output: Any, *, completed: bool) -> None:
        results = [local_of(tensor).tensor for tensor in tree.tensors_of(output)]
        opened.results = list(results)
        if completed:
            opened.arrived()
            return
        for tensor in results:
            self._results.setdefault(storage_address(reading.storage_of(tensor)), []).append(opened)
            opened.recorder.expect(tensor)

    def _arrive(self, args: tuple[Any, ...]) -> None:
        for tensor in tree.tensors_of(args):
            address = storage_address(reading.storage_of(local_of(tensor).tensor))
            for opened in self._results.pop(address, ()):
                opened.arrived()

    # ---- DistributedDataParallel

    def _reducing(self, original: Function) -> Function:
        @functools.wraps(original)
        def forward(model: Any, *args: Any, **kwargs: Any) -> Any:
            output = original(model, *args, **kwargs)
            if self._watch.recorder is not None and torch.is_grad_enabled() and model.require_backward_grad_sync:
                self._watch.guard(lambda: self._follow_reduction(model, output))
            return output

        return forward

    def _follow_reduction(self, model: Any, output: Any) -> None:
        """Its gradients are reduced past Python while backward runs: the record is made when that is over."""
        node = next(filter(None, map(reading.maker_of, tree.tensors_of(output))), None)
        if node is None:
            return
        reference = weakref.ref(model)

        def reduced() -> None:
            alive = reference()
            if alive is not None and self._watch.recorder is not None:
                self._watch.guard(lambda: self._record_reduction(alive))

        def over() -> None:
            at_the_end_of_backward(reduced)  # behind the reducer, which queues itself as the last gradient comes

        def begun(_: Any) -> None:
            self._watch.guard(lambda: at_the_end_of_backward(over))

        node.register_prehook(begun)

    def _record_reduction(self, model: Any) -> None:
        followed = {name: p for name, p in model.named_parameters() if reading.requires_grad(p)}
        gradients = {name: gradient for name, p in followed.items() if (gradient := reading.gradient_of(p)) is not None}
        if not gradients or self._watch.recorder is None:
            return
        told = {"param": {name: followed[name] for name in gradients}, **hook_of(model)}
        opened = self._begin(Issued("Distributed.ddp_all_reduce", members(model.process_group), [], told), within=False)
        if opened is not None:
            for gradient in gradients.values():
                opened.recorder.touch(gradient)
            opened.results = [gradients]
            opened.arrived()

    def _begin(self, issued: Issued, *, within: bool) -> OpenCollective | None:
        """Note the collective, and capture what it reads where it is to be a record of its own."""
        watch, recorder = self._watch, self._watch.recorder
        assert recorder is not None
        group, ranks = issued.members
        order = recorder.number(f"collective {group} {ranks}")
        told = {"kind": issued.key.rpartition(".")[2], "group": group, "ranks": list(ranks), "order": order}
        if within:
            watch.collectives.append(told)
            return None
        if watch.gated or watch.setting_up:
            return None
        name = f"{issued.key}.{recorder.number(issued.key)}.forward"
        places = watch.within(name) if recorder.selection.selects else ()
        recorded = self._records and recorder.selection.wants(name, places)
        body: dict[str, Any] = {}
        if recorded and recorder.reads_forward:
            body["input_args"] = recorder.read(issued.read, f"{name}.input")
            body["input_kwargs"] = {
                **recorder.read(issued.settings, f"{name}.input"),
                "group": group_argument(issued.group or ranks),
            }
        body |= {"output": [], "is_recompute": recomputing(), "collectives": [told]}
        taken = recorder.take_stack() if recorded else None
        opened = OpenCollective(
            watch, recorder, name, recorded, body, watch.owner, taken, issued.written, bool(issued.written)
        )
        watch.pending[opened] = None
        return opened


def _functional_api(qualified: str) -> str | None:
    """The api of a functional collective, of the name `_c10d_functional::all_reduce`; None for other operators."""
    namespace, _, name = qualified.partition("::")
    if namespace in _FUNCTIONAL or qualified in _FUNCTIONAL_OPERATORS:
        return name.partition(".")[0].rstrip("_")
    return None


def _overload_name(overload: Any) -> str:
    return str(schema(overload).name)
