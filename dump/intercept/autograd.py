"""Gradients of a call, taken by hooks on the call's own autograd nodes.

A call's graph lies between the nodes of its outputs and the edges of its inputs.  A hook on an output's node
sees the gradient of the output, a hook on a node at the border sees those of the inputs; most calls are one
node and one hook.  Nothing is inserted into the graph (a full backward hook would insert identity functions),
and gradients are measured while their hook runs, so that autograd may go on reusing buffers as it would
without us.

A hook must not hold the node it hangs on: node -> hook -> node would be a cycle that keeps the graph alive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import msgspec
import torch
from torch.autograd.graph import Node

from ..record.reading import maker_of, number_of, requires_grad
from ..torch_internals import (
    AccumulateGrad,
    at_the_end_of_backward,
    current_node,
    next_sequence_number,
    sequence_number,
)
from .watch import P

Edge: TypeAlias = "tuple[Node, int]"
Gradients: TypeAlias = "Sequence[torch.Tensor | None]"
Places: TypeAlias = "Sequence[tuple[int, int]]"
Crossing: TypeAlias = "tuple[tuple[int, ...], int, dict[int, Any] | None]"
"""The input that each gradient which leaves a border belongs to, how many nodes the border has, and its `wrapped`."""

_PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter)


class Before(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The state of autograd when a call begins: the next node's number and the edge of each tensor input."""

    sequence: int
    inputs: tuple[torch.Tensor, ...]
    edges: tuple[Edge | None, ...]


class Border(msgspec.Struct, frozen=True, eq=False):
    """Where a call's graph ends: for each border node the (slot, index) pairs of the gradients of the call's
    outputs and inputs, and the accumulators of leaves met on the way; `wrapped` are those of inputs that stand for
    other tensors, as a DTensor does, by their indices."""

    outputs: dict[Node, list[tuple[int, int]]] = msgspec.field(default_factory=dict)
    inputs: dict[Node, list[tuple[int, int]]] = msgspec.field(default_factory=dict)
    leaves: list[Any] = msgspec.field(default_factory=list)
    wrapped: dict[int, Any] = msgspec.field(default_factory=dict)

    def crossing(self) -> Crossing:
        """What a pass through it has to wait for."""
        written_at = tuple(index for places in self.inputs.values() for _, index in places)
        return written_at, len(self.inputs.keys() | self.outputs.keys()), self.wrapped or None


def before_call(tensors: Sequence[torch.Tensor]) -> Before | None:
    """Note the inputs' edges; in-place calls move them.  None where no graph can come of the call."""
    if not torch.is_grad_enabled():
        return None
    edges = [None if (made := maker_of(t)) is None else (made, number_of(t)) for t in tensors]
    return Before(next_sequence_number(), tuple(tensors), tuple(edges))


def output_border(outputs: Sequence[torch.Tensor], since: int = 0) -> Border:
    """The border at the outputs' side: their nodes, where those were made since sequence number `since`."""
    border = Border()
    for index, tensor in enumerate(outputs):
        node = maker_of(tensor)
        if node is not None and sequence_number(node) >= since:
            border.outputs.setdefault(node, []).append((number_of(tensor), index))
    return border


def find_border(before: Before, outputs: Sequence[torch.Tensor], most_nodes: int) -> Border | None:
    """Walk from the outputs' nodes to the inputs' edges, through nodes made since `before` alone.

    None where the outputs carry no graph of this call, or where it has more than `most_nodes` nodes.  An
    input given twice has its gradients under its first place.
    """
    border = output_border(outputs, before.sequence)
    if not border.outputs:
        return None
    by_edge: dict[Edge, int] = {}
    by_leaf: dict[int, int] = {}
    for index, (tensor, edge) in enumerate(zip(before.inputs, before.edges, strict=True)):
        if edge is not None:
            by_edge.setdefault(edge, index)
        elif requires_grad(tensor):
            by_leaf.setdefault(id(tensor), index)
    todo = list(border.outputs)
    seen = set(todo)
    while todo:
        node = todo.pop()
        for slot, (following, number) in enumerate(node.next_functions):
            if following is None:
                continue
            if isinstance(following, AccumulateGrad):
                border.leaves.append(following)
                leaf = following.variable
                target = by_leaf.get(id(leaf))
                if target is not None and type(leaf) not in _PLAIN_TYPES:
                    border.wrapped[target] = following
            else:
                target = by_edge.get((following, number))
                if target is None and following not in seen and sequence_number(following) >= before.sequence:
                    if len(seen) >= most_nodes:
                        return None
                    seen.add(following)
                    todo.append(following)
            if target is not None:
                border.inputs.setdefault(node, []).append((slot, target))
    return border


class Differentiable:
    """A call's backward that ran with a graph of its own (`create_graph`): the gradients that it read and wrote and the
    edges behind the call's inputs, under their indices, and the call's own nodes.  Held only until it is over."""

    def __init__(self) -> None:
        self.read: dict[int, torch.Tensor] = {}
        self.written: dict[int, torch.Tensor] = {}
        self.edges: dict[int, tuple[Node | None, int]] = {}
        self.nodes: list[Node] = []


class Pending(msgspec.Struct, gc=False, eq=False, kw_only=True):
    """One call's backward on its way: gathers gradients until the last border node has run.

    `take(place, gradient)` measures a gradient while its hook runs; `done(read, written)` gets the finished
    lists, of `sizes` entries.  It is called once for each backward pass through the graph, which the script may retain.
    Where `asks_again`, `again` is told, with those lists, that this backward can itself be differentiated.  `run`
    runs what it is given and lets no failure reach autograd.

    Those who want gradients extend this class: one object for each call, and no cycle, which only Python's collector
    would free.  Thousands of them wait for backward, each with its `crossing`, and a collection that went through all
    of them would take longer than they do: so it goes through none, and what a pass needs is made when it begins.
    """

    crossing: Crossing
    sizes: tuple[int, int]
    asks_again: bool = False
    _pass: _Pass | None = None
    _passes: int = 0

    def take(self, place: str, gradient: torch.Tensor) -> Any:
        raise NotImplementedError

    def done(self, read: list[Any], written: list[Any]) -> None:
        raise NotImplementedError

    def again(self, graph: Differentiable, read: list[Any], written: list[Any]) -> None:
        raise NotImplementedError

    def adds_to(self, leaf: torch.Tensor) -> None:
        """The gradient of `leaf` is added to next, below all that moves the version counter of what it stands for."""
        raise NotImplementedError

    def run(self, act: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        raise NotImplementedError

    def saw(self, read: Gradients, read_at: Places, written: Gradients, written_at: Places) -> None:
        """One node has run: it read gradients of some outputs and wrote gradients of some inputs."""
        now = self._pass
        if now is None:
            now = self._pass = _Pass(self.crossing, self.sizes)
            self._passes += 1
        if self.asks_again and torch.is_grad_enabled():
            now.graph = now.graph or Differentiable()
            node = current_node()
            now.graph.nodes.append(node)
            now.graph.edges.update({index: node.next_functions[slot] for slot, index in written_at})
        for slot, index in read_at:
            gradient = read[slot] if slot < len(read) else None
            if gradient is not None:
                if now.graph is not None:
                    now.graph.read[index] = gradient
                now.read[index] = self.take(f"input.{index}", gradient)
        for slot, index in written_at:
            self._wrote(now, index, written[slot] if slot < len(written) else None)
        now.waiting -= 1
        if not now.waiting:
            self.finish()
        elif not now.queued:  # the others may not run, as where one output alone was used
            now.queued = True
            at_the_end_of_backward(partial(self.run, self.finish, self._passes))

    def _wrote(self, now: _Pass, index: int, gradient: torch.Tensor | None) -> None:
        """An input that enters a composite call more than once has the sum as its gradient."""
        now.expected[index] -= 1
        earlier = now.sums.pop(index, None)
        if gradient is None:
            gradient = earlier
        elif earlier is not None:
            with torch.no_grad():
                gradient = earlier + gradient
        if gradient is None:
            return
        if now.expected[index]:
            now.sums[index] = gradient
        else:
            if now.graph is not None and requires_grad(gradient):
                now.graph.written[index] = gradient
            now.written[index] = self.take(f"output.{index}", gradient)
            wrapped = self.crossing[2]
            if wrapped is not None and index in wrapped:
                self.adds_to(wrapped[index].variable)

    def finish(self, number: int | None = None) -> None:
        """Hand the record over with what has come, if anything has; of pass `number` alone, if that is given."""
        now = self._pass
        if now is None or number not in (None, self._passes):
            return
        self._pass = None
        for index, gradient in now.sums.items():
            now.written[index] = self.take(f"output.{index}", gradient)
        if any(part is not None for part in (*now.read, *now.written)):
            self.done(now.read, now.written)
            if self.asks_again and now.graph is not None and now.graph.written:
                self.again(now.graph, now.read, now.written)


class _Pass:
    """One backward pass through a border: what it has read and written so far, how many gradients of each input and how
    many nodes are still to come, and the sums of those inputs; `queued` where its end is the end of the backward."""

    __slots__ = ("expected", "graph", "queued", "read", "sums", "waiting", "written")

    def __init__(self, crossing: Crossing, sizes: tuple[int, int]) -> None:
        written_at, self.waiting, _ = crossing
        self.read: list[Any] = [None] * sizes[0]
        self.written: list[Any] = [None] * sizes[1]
        self.expected = [0] * sizes[1]
        for index in written_at:
            self.expected[index] += 1
        self.sums: dict[int, torch.Tensor] = {}
        self.graph: Differentiable | None = None
        self.queued = False


def attach(border: Border, pending: Pending) -> None:
    """Hang `pending` on the nodes of `border`."""
    for node in border.outputs.keys() | border.inputs.keys():
        node.register_hook(_Hook(pending, tuple(border.outputs.get(node, ())), tuple(border.inputs.get(node, ()))))


class _Hook(msgspec.Struct, gc=False, eq=False):
    """Called after a node has run."""

    pending: Pending
    read_at: Places
    written_at: Places

    def __call__(self, written: Gradients, read: Gradients) -> None:
        pending = self.pending
        pending.run(pending.saw, read, self.read_at, written, self.written_at)


def second_border(
    graph: Differentiable, slots: Mapping[int, int], sizes: tuple[int, int], most_nodes: int
) -> Border | None:
    """The border of a backward that ran with a graph: between the gradients that it wrote and all that they are made
    of, which is the gradients read (from index 0), then the call's inputs, then its outputs.

    `slots` are the indices of the call's outputs by their number, `sizes` how many outputs and inputs it has.  None
    where more than `most_nodes` nodes lie between.
    """
    read, inputs = sizes
    known: dict[tuple[Node | None, int], int] = {}
    for index, tensor in graph.read.items():
        made = maker_of(tensor)
        if made is not None:
            known[made, number_of(tensor)] = index
    for index, edge in graph.edges.items():
        known.setdefault(edge, read + index)
    for node in graph.nodes:
        for number, index in slots.items():
            known.setdefault((node, number), read + inputs + index)
    border = Border()
    for index, tensor in graph.written.items():
        made = maker_of(tensor)
        if made is not None and (made, number_of(tensor)) not in known:
            border.outputs.setdefault(made, []).append((number_of(tensor), index))
    todo = list(border.outputs)
    seen = set(todo)
    while todo:
        node = todo.pop()
        for slot, edge in enumerate(node.next_functions):
            following = edge[0]
            target = known.get(edge)
            if target is not None:
                border.inputs.setdefault(node, []).append((slot, target))
            elif following is not None and following not in seen and not isinstance(following, AccumulateGrad):
                if len(seen) >= most_nodes:
                    return None
                seen.add(following)
                todo.append(following)
    return border if border.outputs else None
