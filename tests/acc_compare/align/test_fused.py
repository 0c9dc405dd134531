"""A fused call beside what stands for it: which of its arguments answer to which."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.align.calls import align
from acc_compare.align.mapping_file import shipped
from acc_compare.align.rules import Rules
from acc_compare.judge.verdict import Setting, judge
from acc_compare.measured.pairs import measure_pairs
from acc_compare.messages import count
from acc_compare.model import Finding


def _log_softmax(x: Any) -> Any:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def _judged(npu: Any, bench: Any) -> Finding:
    alignment = align(npu.dump(), bench.dump(), Rules(fused=shipped()))
    return judge(alignment, measure_pairs(alignment, "statistics"), "statistics", Setting())


def _loss(make: Any, off: float, *, fused: bool, half: bool = False) -> Any:
    """Cross entropy of logits that are viewed before it, or of log probabilities that are viewed after them."""
    run = make.Run()
    x, target = make.normal(4, 8, 16), np.arange(32) % 16
    logits = make.off(x, off)
    logs = _log_softmax(logits)
    value = np.asarray(-logs.reshape(32, 16)[np.arange(32), target].mean(), "f4")
    if half:
        logits = logits.astype("f2")
    run.call("Functional.gelu.0.forward", [x], [logits])
    if fused:
        flat = run.same_memory(logits.reshape(32, 16), logits)
        run.call("Tensor.view.0.forward", [logits], [flat])
        run.call("Functional.cross_entropy.0.forward", [flat, target], [value])
        return run
    flat = run.same_memory(logs.reshape(32, 16), logs)
    run.call("Functional.log_softmax.0.forward", [logits], [logs])
    run.call("Tensor.view.0.forward", [logs], [flat])
    run.call("Functional.nll_loss.0.forward", [flat, target], [value])
    return run


@pytest.mark.parametrize("on_npu", [True, False])
def test_what_a_composite_computes_itself_is_no_input_of_the_fused_call(make: Any, on_npu: bool) -> None:
    finding = _judged(_loss(make, 0, fused=on_npu), _loss(make, 0, fused=not on_npu))
    assert (finding.verdict, finding.suspects) == ("same", ())


@pytest.mark.parametrize("on_npu", [True, False])
def test_what_a_fused_call_reads_by_a_view_explains_its_result(make: Any, on_npu: bool) -> None:
    finding = _judged(_loss(make, 1e-2, fused=on_npu), _loss(make, 0, fused=not on_npu))
    assert [suspect.name for suspect in finding.suspects] == ["Functional.gelu.0.forward"]


def test_a_composite_in_a_narrower_type_is_told(make: Any) -> None:
    finding = _judged(_loss(make, 0, fused=False, half=True), _loss(make, 0, fused=True))
    (told,) = [dict(note.values) for note in finding.notes if note.key == "note.narrowed"]
    assert told["results"] == count(2, "result")  # what the composite reads is one
