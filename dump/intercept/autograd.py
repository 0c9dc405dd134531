"""Gradients of a call, taken by hooks on the call's own autograd nodes.

A call's graph lies between the nodes of its outputs and the edges of its inputs.  A hook on an output's node sees the
gradient of the output, a hook on a node at the border sees those of the inputs; most calls are one node and one hook.
Nothing is inserted into the graph (a full backward hook would insert identity functions), and gradients are measured
while their hook runs, so that autograd may go on reusing buffers as it would without us.

A hook must not hold the node it hangs on: node -> hook -> node would be a cycle that keeps the graph alive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.autograd.graph import Node

AccumulateGrad = torch._C._functions.AccumulateGrad
_sequence_number = torch._C._autograd._get_sequence_nr

Edge: TypeAlias = "tuple[Node, int]"
Gradients: TypeAlias = "tuple[torch.Tensor | None, ...]"
Places: TypeAlias = "list[tuple[int, int]]"
Take: TypeAlias = "Callable[[str, torch.Tensor], Any]"


@dataclass(slots=True)
class Before:
    """The state of autograd when a call begins: the next node's number and the edge of each tensor input."""

    sequence: int
    inputs: tuple[torch.Tensor, ...]
    edges: tuple[Edge | None, ...]


@dataclass(slots=True)
class Border:
    """Where a call's graph ends: for each border node the (slot, input) pairs of its gradients, and the leaf
    accumulators met on the way."""

    outputs: dict[Node, list[tuple[int, int]]]
    inputs: dict[Node, list[tuple[int, int]]]
    leaves: list[Any]


def before_call(tensors: Sequence[torch.Tensor]) -> Before | None:
    """Note the inputs' edges; in-place calls move them.  None where no graph can come of the call."""
    if not torch.is_grad_enabled():
        return None
    edges = tuple((t.grad_fn, t.output_nr) if t.grad_fn is not None else None for t in tensors)
    return Before(_sequence_number(), tuple(tensors), edges)


def find_border(before: Before, outputs: Sequence[torch.Tensor], limit: int) -> Border | None:
    """Walk from the outputs' nodes to the inputs' edges, through nodes made since `before` alone.

    None where the outputs carry no graph of this call, or where it has more than `limit` nodes.
    """
    border = Border({}, {}, [])
    start = before.sequence
    todo: list[Node] = []
    for index, tensor in enumerate(outputs):
        node = tensor.grad_fn
        if node is None or node._sequence_nr() < start:
            continue
        if node not in border.outputs:
            border.outputs[node] = []
            todo.append(node)
        border.outputs[node].append((tensor.output_nr, index))
    if not todo:
        return None
    by_edge: dict[Edge, int] = {}
    by_leaf: dict[int, int] = {}
    for index, (tensor, edge) in enumerate(zip(before.inputs, before.edges, strict=True)):
        if edge is not None:
            by_edge.setdefault(edge, index)
        elif tensor.requires_grad:
            by_leaf.setdefault(id(tensor), index)
    seen = set(todo)
    while todo:
        node = todo.pop()
        for slot, (following, number) in enumerate(node.next_functions):
            if following is None:
                continue
            target: int | None = None
            if isinstance(following, AccumulateGrad):
                border.leaves.append(following)
                target = by_leaf.get(id(following.variable))
            else:
                target = by_edge.get((following, number))
                if target is None and following._sequence_nr() >= start and following not in seen:
                    if len(seen) >= limit:
                        return None
                    seen.add(following)
                    todo.append(following)
            if target is not None:
                border.inputs.setdefault(node, []).append((slot, target))
    return border


class Pending:
    """One call's backward on its way: gathers gradients until the last border node has run.

    `take(place, gradient)` measures a gradient while its hook runs; `done(read, written)` gets the finished lists.
    It is called at most once: a second backward through the same graph is not recorded.
    """

    __slots__ = ("_done", "_expected", "_read", "_sums", "_take", "_waiting", "_written")

    def __init__(
        self, border: Border, sizes: tuple[int, int], take: Take, done: Callable[[list[Any], list[Any]], None]
    ) -> None:
        self._read: list[Any] = [None] * sizes[0]
        self._written: list[Any] = [None] * sizes[1]
        self._expected = [0] * sizes[1]
        for places in border.inputs.values():
            for _, index in places:
                self._expected[index] += 1
        self._sums: dict[int, torch.Tensor] = {}
        self._waiting = len(border.inputs.keys() | border.outputs.keys())
        self._take = take
        self._done: Callable[[list[Any], list[Any]], None] | None = done

    def saw(self, read: Gradients, read_at: Places, written: Gradients, written_at: Places) -> None:
        """One node has run: gradients of some outputs, gradients of some inputs."""
        if self._done is None:
            return
        for slot, index in read_at:
            if slot < len(read) and read[slot] is not None:
                self._read[index] = self._take(f"input.{index}", read[slot])
        for slot, index in written_at:
            gradient = written[slot] if slot < len(written) else None
            self._expected[index] -= 1
            if gradient is not None and index in self._sums:
                # An input that enters a composite call more than once has the sum as its gradient.
                gradient = self._sums.pop(index) + gradient
            if gradient is not None and self._expected[index]:
                self._sums[index] = gradient
            elif gradient is not None:
                self._written[index] = self._take(f"output.{index}", gradient)
        self._waiting -= 1
        if not self._waiting:
            self.finish()

    def finish(self) -> None:
        """Hand the record over with what has come; at the step's end for those that stay incomplete."""
        done, self._done = self._done, None
        for index, gradient in self._sums.items():
            self._written[index] = self._take(f"output.{index}", gradient)
        self._sums.clear()
        if done is not None and any(part is not None for part in (*self._read, *self._written)):
            done(self._read, self._written)


def attach(border: Border, pending: Pending, guard: Callable[[Callable[[], None]], None]) -> None:
    """Hang `pending` on the nodes of `border`.  `guard` runs a thunk so that no failure of ours reaches autograd."""
    for node in border.outputs.keys() | border.inputs.keys():
        read_at = border.outputs.get(node, [])
        written_at = border.inputs.get(node, [])
        node.register_hook(_hook(pending, read_at, written_at, guard))


def _hook(
    pending: Pending, read_at: Places, written_at: Places, guard: Callable[[Callable[[], None]], None]
) -> Callable[[Gradients, Gradients], None]:
    def after_node(grad_inputs: Gradients, grad_outputs: Gradients) -> None:
        guard(lambda: pending.saw(grad_outputs, read_at, grad_inputs, written_at))

    return after_node
