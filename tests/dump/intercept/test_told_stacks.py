"""Stacks that torch writes down say while we record what they say alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from dump.intercept.told_stacks import _theirs


class _Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.layer(x)) + torch.sin(x)
        return F.softmax(x.add(1), dim=-1)


def _on_nodes() -> list[Any]:
    net, tracer = _Net(), torch.fx.Tracer()
    tracer.record_stack_traces = True
    graphs = [
        tracer.trace(net),
        make_fx(net)(torch.ones(2, 2)).graph,
    ]
    told = [(node.name, node.stack_trace or "") for graph in graphs for node in graph.nodes]
    # older releases tell of the test's own callers too
    return [(name, text[max(text.find(", in _on_nodes"), 0) :]) for name, text in told]


def _of_anomalies() -> list[str]:
    def fails(x: torch.Tensor) -> None:
        (F.layer_norm(torch.sqrt(F.relu(x)), (2,)) * 0).sum().backward()

    x = torch.zeros(2, 2, requires_grad=True)
    with warnings.catch_warnings(record=True) as caught, torch.autograd.set_detect_anomaly(True):
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError, match="nan"):
            fails(x * float("nan"))
    told = [str(warning.message) for warning in caught]
    return [text[text.index(", in fails") :] for text in told if ", in fails" in text]


@pytest.mark.parametrize("act", [_on_nodes, _of_anomalies])
@pytest.mark.parametrize("settings", [{}, {"level": "mix", "audit": True}], ids=str)
def test_they_are_the_same(act: Callable[[], list[Any]], settings: dict[str, Any], record: Any) -> None:
    alone = act()
    found: list[Any] = []
    record(lambda: found.append(act()), **settings)
    assert found == [alone]
    assert alone


def test_what_is_repeated_around_our_frames_is_left_out() -> None:
    import dump

    ours = str(dump.__file__)

    def line(name: str, number: int = 1, file: str = "mine.py") -> dict[str, Any]:
        return {"filename": file, "line": number, "name": name}

    user, others = line("main", 7), [line("recorded", file=ours), line("record", file=ours)]
    assert _theirs([line("inner"), user, *others, user, line("outer")]) == [line("inner"), user, line("outer")]
    of_torch = [line("relu", 9, "functional.py"), user, *others, line("relu", 3, "functional.py"), user]
    assert _theirs(of_torch) == [of_torch[0], user]
    assert _theirs([line("a"), line("a"), user]) == [line("a"), line("a"), user]
    assert _theirs(others) == []
