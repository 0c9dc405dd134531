"""Error that begins in a call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from acc_compare.align.calls import align
from acc_compare.judge.origins import SUSPICIOUS
from acc_compare.judge.verdict import Setting, judge
from acc_compare.measured.pairs import measure_pairs
from acc_compare.report.i18n import text
from dump.format import sketch
from dump.format.schema import Argument, Dump, TensorRecord

X = "Functional.gelu.0.forward"


def first(finding: Any) -> tuple[str, str]:
    assert finding.suspects, text(finding.summary)
    return finding.suspects[0].kind, finding.suspects[0].name


def roles(finding: Any) -> dict[str, str]:
    return {row.npu_name: row.origin for row in finding.rows}


def scaled(factor: float) -> Any:
    return lambda values: (values * np.float32(factor)).astype("f4")


CALLS = [
    "Functional.linear.0.forward",
    "Functional.gelu.0.forward",
    "Functional.linear.1.forward",
    "Torch.tanh.0.forward",
    "Tensor.mean.0.forward",
    "Tensor.mean.0.backward",
    "Torch.tanh.0.backward",
    "Functional.linear.1.backward",
    "Functional.gelu.0.backward",
]


def _put_together(dump: Dump) -> Dump:
    """As of parts: of tensors of two dimensions no sketch follows."""

    def told(argument: Argument) -> Argument:
        leaf = argument.leaf
        is_whole = isinstance(leaf, TensorRecord) and len(leaf.shape) > 1
        return Argument(argument.name, msgspec.structs.replace(leaf, sketch=None)) if is_whole else argument

    return replace(dump, calls=tuple(call.mapped(told) for call in dump.calls))


@pytest.mark.parametrize(("wrong", "named"), [(0.0, False), (5e-4, False), (2.5e-3, True)])
def test_what_statistics_show_of_one_part_is_more_than_error_that_is_spread_makes(
    make: Any, wrong: float, named: bool
) -> None:
    """A bias moves all rows a little, which their statistics hardly show; a share of the result is off by 1 %."""

    def run(*, noise: float, off: float) -> Dump:
        one = make.Run(world_size=1)
        scores, bias = make.normal(64, 32), make.normal(32, seed=1)
        powers = np.exp(scores)
        moved = scores.copy()
        moved.flat[scores.argmax()] += np.float32(0.7 * noise)
        x, owner = make.normal(64, 16, seed=2), "Module.a.A.forward.0"
        read = [x, make.normal(32, 16, seed=3), one.parameter(bias * np.float32(1 + noise))]
        one.call("Functional.linear.0.forward", read, [moved], owner=owner)
        result = (powers / powers.sum(-1, keepdims=True) * (1 + off)).astype("f4")
        one.call("Functional.softmax.0.forward", [moved], [result], owner=owner)
        return _put_together(one.dump())

    alignment = align(run(noise=3.5e-4, off=wrong), run(noise=0.0, off=0.0))
    found = judge(
        alignment,
        measure_pairs(alignment, "statistics"),
        "statistics",
        Setting(step=1, previous="judged", other_world=True),
    )
    assert [suspect.name for suspect in found.suspects] == ["Functional.softmax.0.forward"] * named


@pytest.mark.parametrize(
    ("operator", "wrong", "named"), [("gelu", 5e-4, True), ("gelu", 2e-4, False), ("exp", 5e-4, False)]
)
def test_where_no_slope_is_steep_less_may_stand_behind_statistics(
    make: Any, operator: str, wrong: float, named: bool
) -> None:
    """A result is off by a share `wrong`; what was read differs in one element, hardly."""

    def run(*, off: float) -> Dump:
        one = make.Run(world_size=1)
        x, bias, owner = make.normal(64, 32), make.normal(32, seed=1), "Module.a.A.forward.0"
        made = {"gelu": np.maximum(x, 0), "exp": np.exp(x)}[operator] * np.float32(1 + off)
        if off:
            x.flat[x.argmax()] *= np.float32(1 + 1e-6)
            bias *= np.float32(1 + 3.5e-4)
        read = [make.normal(64, 16, seed=2), make.normal(32, 16, seed=3), one.parameter(bias)]
        one.call("Functional.linear.0.forward", read, [x], owner=owner)
        one.call(f"Functional.{operator}.0.forward", [x], [made], owner=owner)
        return _put_together(one.dump())

    alignment = align(run(off=wrong), run(off=0.0))
    setting = Setting(step=1, previous="judged", other_world=True)
    found = judge(alignment, measure_pairs(alignment, "statistics"), "statistics", setting)
    assert [suspect.name for suspect in found.suspects] == [f"Functional.{operator}.0.forward"] * named


def test_a_healthy_pair_is_silent(network: Any) -> None:
    finding = network.compare()
    assert (finding.verdict, finding.suspects) == ("same", ())
    assert "introduced" not in roles(finding).values()


@pytest.mark.parametrize("call", CALLS)
def test_the_call_at_fault_is_the_one_suspect(network: Any, call: str) -> None:
    finding = network.compare({call: scaled(1.001)})
    first = finding.suspects[0]
    assert (first.kind, first.name) == ("operator", call)
    assert first.excess > SUSPICIOUS
    assert roles(finding)[f"{call}.output.0"] == "introduced"


@pytest.mark.parametrize("call", CALLS)
def test_by_digests_the_first_call_that_differs(network: Any, call: str) -> None:
    finding = network.compare({call: scaled(1.001)}, mode="md5")
    assert first(finding) == ("operator", call)
    assert finding.suspects[0].rel_l2 is None
    assert network.compare(mode="md5").verdict == "same"


def test_what_follows_only_carries_it(network: Any) -> None:
    found = roles(network.compare({CALLS[0]: scaled(1.01)}))
    assert found["Functional.gelu.0.forward.input.0"] == "propagated"
    assert found["Functional.gelu.0.forward.output.0"] == "propagated"
    assert found["Functional.linear.1.forward.output.0"] == "propagated"


def test_a_call_that_makes_error_smaller_absorbs_it(make: Any) -> None:
    def run(off: float) -> Any:
        one = make.Run()
        x, big = make.normal(64), make.normal(64, seed=2) * np.float32(1000)
        one.call("Torch.exp.0.forward", [x], [y := make.off(np.exp(x), off)])
        one.call("Torch.add.0.forward", [y, big], [y + big])
        return one

    found = roles(make.judged(run(0.1), run(0)))
    assert found["Torch.exp.0.forward.output.0"] == "introduced"
    assert found["Torch.add.0.forward.output.0"] == "absorbed"


def test_two_faults_are_two_suspects(network: Any) -> None:
    finding = network.compare({CALLS[1]: scaled(1.001), CALLS[3]: scaled(1.1)})
    assert [suspect.name for suspect in finding.suspects][:2] == [CALLS[1], CALLS[3]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("call", ["Functional.gelu.0.forward", "Functional.gelu.0.backward"])
def test_nan_or_inf_from_finite_inputs(network: Any, bad: float, call: str) -> None:
    def broken(values: Any) -> Any:
        values[0, 0] = bad
        return values

    finding = network.compare({call: broken})
    assert [(suspect.kind, suspect.name) for suspect in finding.suspects] == [("nan_inf", call)]
    assert ("NaN" if np.isnan(bad) else "Inf") in text(finding.suspects[0].message)


def test_nan_that_was_read_is_not_this_calls(make: Any) -> None:
    def run(*, broken: bool) -> Any:
        one = make.Run()
        x = make.normal(8)
        y = make.normal(8, seed=1)
        if broken:
            y[0] = np.nan
        one.call("Torch.log.0.forward", [x], [y])
        one.call("Torch.exp.0.forward", [y], [np.exp(y)])
        one.call("Torch.argmax.0.forward", [np.exp(y)], [np.array([0 if broken else 3])])
        return one

    finding = make.judged(run(broken=True), run(broken=False))
    assert [suspect.name for suspect in finding.suspects] == ["Torch.log.0.forward"]


def dropout(make: Any, seed: int, *, api: str = "Functional.dropout.0.forward", args: tuple[Any, ...] = ()) -> Any:
    one = make.Run()
    x = make.normal(64)
    kept = np.random.default_rng(seed).random(64) > 0.5
    one.call("Functional.gelu.0.forward", [make.normal(64, seed=5)], [x])
    one.call(api, [x, *args], [np.where(kept, 2 * x, 0).astype("f4")])
    return one


def test_another_draw_is_random(make: Any) -> None:
    finding = make.judged(dropout(make, 1), dropout(make, 2))
    assert first(finding) == ("random", "Functional.dropout.0.forward")
    assert make.judged(dropout(make, 1), dropout(make, 1)).verdict == "same"


def test_an_operator_that_does_not_draw_is_never_random(make: Any) -> None:
    name = "Torch.tanh.0.forward"
    assert first(make.judged(dropout(make, 1, api=name), dropout(make, 2, api=name))) == ("operator", name)


@pytest.mark.parametrize(("p", "kind"), [(0.5, "random"), (0.0, "operator")])
def test_attention_draws_only_with_dropout(make: Any, p: float, kind: str) -> None:
    def run(seed: int) -> Any:
        one = make.Run()
        q = make.normal(4, 8)
        name = "Functional.scaled_dot_product_attention.0.forward"
        one.call(name, [q, q, q], [make.normal(4, 8, seed=seed)], kwargs={"dropout_p": p})
        return one

    assert first(make.judged(run(1), run(2)))[0] == kind


@pytest.mark.parametrize(("train", "kind"), [(True, "random"), (False, "operator")])
def test_recurrent_nets_draw_only_in_training(make: Any, train: bool, kind: str) -> None:
    def run(seed: int) -> Any:
        one = make.Run()
        x = make.normal(4, 8)
        one.call("VF.lstm.0.forward", [x, [x], [x], True, 2, 0.3, train], [make.normal(4, 8, seed=seed)])
        return one

    assert first(make.judged(run(1), run(2)))[0] == kind


@pytest.mark.parametrize(("owner", "kind"), [(None, "input"), ("Module.noise.Noise.forward.0", "random")])
def test_random_numbers_made_outside_the_model_are_its_data(make: Any, owner: str | None, kind: str) -> None:
    def run(seed: int) -> Any:
        one = make.Run()
        one.call("Torch.randn.0.forward", [4, 8], [make.normal(4, 8, seed=seed)], owner=owner)
        return one

    assert first(make.judged(run(1), run(2)))[0] == kind


@pytest.mark.parametrize(("previous", "kinds"), [("judged", ["input"]), ("suspect", [])])
def test_numbers_drawn_after_a_step_that_differed_follow_from_it(make: Any, previous: Any, kinds: list[str]) -> None:
    """It may have drawn more of them."""

    def run(seed: int) -> Any:
        one = make.Run()
        one.call("Torch.randn.0.forward", [4, 8], [make.normal(4, 8, seed=seed)])
        return one

    finding = make.judged(run(1), run(2), step=1, previous=previous)
    assert [suspect.kind for suspect in finding.suspects] == kinds


def module_run(make: Any, *, wrong: str = "") -> Any:
    one = make.Run()
    x = make.normal(16, 16)
    for name, inner in (("act.GELU", "act"), ("block.Attention", "block"), ("block.inner.GELU", "")):
        if name == "block.Attention":
            continue
        y = make.off(x, 2e-3 if wrong and wrong in name else 0, seed=len(inner))
        one.call(f"Module.{name}.forward.0", [x], [y])
        x = y
    one.call("Module.block.Attention.forward.0", [x], [make.off(x, 4e-3 if wrong else 0)])
    return one


def test_of_modules_the_innermost_is_named(make: Any) -> None:
    finding = make.judged(module_run(make, wrong="inner"), module_run(make))
    assert [suspect.name for suspect in finding.suspects] == ["Module.block.inner.GELU.forward.0"]
    assert finding.suspects[0].module == "block.inner"
    assert "note.modules_only" in [note.key for note in finding.notes]


def test_a_container_inherits_what_its_modules_show(make: Any) -> None:
    def run(off: float) -> Any:
        one = make.Run()
        x = make.normal(16, 16)
        one.call("Module.m.a.GELU.forward.0", [x], [make.off(x, off / 20)])
        one.call("Module.m.Block.forward.0", [x], [make.off(x, off / 10)])
        return one

    assert make.judged(run(3e-5), run(0)).verdict == "same"


def reshaping(make: Any, api: str, rows: int, *, noise: float = 0.0) -> Any:
    one = make.Run()
    x = make.off(make.normal(8, 4), noise)
    one.call("Functional.gelu.0.forward", [make.normal(8, 4, seed=3)], [x])
    one.call(f"{api}.0.forward", [x], [y := make.normal(rows, 4, seed=4)])
    one.call("Functional.relu.0.forward", [y], [np.maximum(y, 0)])
    return one


def test_a_result_of_another_shape_begins_there(make: Any) -> None:
    name = "Functional.avg_pool2d"
    finding = make.judged(reshaping(make, name, 3, noise=1e-7), reshaping(make, name, 4))
    assert [(suspect.kind, suspect.name) for suspect in finding.suspects] == [("operator", f"{name}.0.forward")]
    assert "shape [3, 4] on the NPU side and [4, 4] on the bench side" in text(finding.suspects[0].message)
    assert roles(finding)["Functional.relu.0.forward.output.0"] == "propagated"


@pytest.mark.parametrize(("noise", "verdict"), [(1e-7, "same"), (0.0, "different")])
def test_a_shape_that_values_decide_on_may_differ_when_they_do(make: Any, noise: float, verdict: str) -> None:
    name = "Torch.masked_select"
    assert make.judged(reshaping(make, name, 3, noise=noise), reshaping(make, name, 4)).verdict == verdict


def recorded_without_inputs(make: Any, *, wrong: float = 0.0) -> Any:
    one = make.Run()
    x = make.normal(32, 32)
    for n in range(4):
        x = make.off(x, (wrong if n == 2 else 0.0) or 2e-7 * bool(wrong), seed=n)
        one.call(f"Functional.relu.{n}.forward", [], [x])
    return one


def test_without_recorded_inputs_only_a_leap_is_suspect(make: Any) -> None:
    healthy = recorded_without_inputs(make)
    assert make.judged(recorded_without_inputs(make, wrong=1e-6), healthy).verdict == "same"
    finding = make.judged(recorded_without_inputs(make, wrong=0.05), healthy)
    assert first(finding) == ("operator", "Functional.relu.2.forward")


def test_a_measured_floor_silences_what_two_bench_runs_show_as_well(network: Any) -> None:
    fault = {X: scaled(1.001)}
    floor = {(X, "output.0"): 1e-3}
    assert network.compare(fault).verdict == "different"
    assert network.compare(fault, setting={"floor": floor}).verdict == "same"


def test_one_side_in_another_dtype_is_taken_as_normal(make: Any) -> None:
    def run(*, half: bool) -> Any:
        one = make.Run()
        x, w = make.normal(32, 32), make.normal(32, 32, seed=1)
        y = x @ w.T
        one.call("Functional.linear.0.forward", [x, w], [y.astype("f2") if half else y])
        return one

    finding = make.judged(run(half=True), run(half=False))
    assert finding.verdict == "same"
    assert "note.narrowed" in [note.key for note in finding.notes]


@pytest.mark.parametrize("passes_on", [True, False])
def test_what_an_earlier_call_made_is_not_this_calls_making(make: Any, passes_on: bool) -> None:
    """A custom autograd Function is recorded around the calls in it, and returns what the last of them made."""

    def run(size: float) -> Any:
        one = make.Run()
        x = make.normal(64)
        inner = make.off(np.tanh(x), size)
        one.call("Torch.tanh.0.forward", [x], [inner])
        one.call("Autograd.Mine.0.forward", [x], [inner if passes_on else inner + 0])
        return one

    names = [suspect.name for suspect in make.judged(run(1e-2), run(0.0)).suspects]
    assert names == ["Torch.tanh.0.forward"] + ([] if passes_on else ["Autograd.Mine.0.forward"])


def test_a_module_recorded_before_its_call_takes_no_blame_from_it(make: Any) -> None:
    """At level mix a module's gradients may be on record before those of the call in it."""

    def run(size: float) -> Any:
        one = make.Run()
        x, w, dy = make.normal(8, 16), make.normal(4, 16, seed=1), make.normal(8, 4, seed=2)
        one.call("Functional.linear.0.forward", [x, w], [x @ w.T])
        dw = make.off(dy.T @ x, size)
        one.call("Module.fc.Linear.parameters_grad.0", [], [dw])
        one.call("Functional.linear.0.backward", [dy], [None, dw])
        return one

    names = [suspect.name for suspect in make.judged(run(1e-2), run(0.0)).suspects]
    assert names == ["Functional.linear.0.backward"]


def test_what_is_made_of_other_rows_is_not_laid_against_it(make: Any) -> None:
    """An expert that was given another number of tokens: its gradients differ, as what it read does."""

    def side(rows: int) -> Any:
        run = make.Run()
        w, x = run.parameter(make.normal(8, 16)), make.normal(rows, 16, seed=1)
        run.call("Functional.linear.0.forward", [x, w], [x @ w.T])
        y = make.normal(rows, 8, seed=2)
        run.call("Functional.linear.0.backward", [y], [y @ w, y.T @ x])
        return run

    finding = make.judged(side(9), side(8))
    assert [suspect.name for suspect in finding.suspects if "backward" in suspect.name] == []


def one_call(make: Any, name: str, function: Any, bench: Any, npu: Any, **options: Any) -> Any:
    runs = []
    for x in (npu, bench):
        run = make.Run()
        run.call(name, [x], [np.asarray(function(x))], **options)
        runs.append(run)
    return make.judged(*runs)


JUMPING = [
    ("Tensor.round_.0.forward", np.round),
    ("Tensor.floor_.0.forward", np.floor),
    ("Tensor.ceil.0.forward", np.ceil),
    ("Torch._foreach_trunc_.0.forward", np.trunc),
    ("Tensor.to.0.forward", lambda x: x.astype("i8")),
    ("Tensor.long.0.forward", lambda x: x.astype("i8")),
    ("Tensor.type.0.forward", lambda x: x.astype("i8")),
    ("Torch.sign.0.forward", np.sign),
]


@pytest.mark.parametrize(("name", "function"), JUMPING)
@pytest.mark.parametrize("size", [2e-6, 1e-4, 1e-2])
def test_what_jumps_is_not_accused_in_any_spelling(make: Any, name: str, function: Any, size: float) -> None:
    bench = 8 * make.normal(64, 64)
    finding = one_call(make, name, function, bench, make.off(bench, size))
    assert {suspect.kind for suspect in finding.suspects} <= {"input"}
    assert "introduced" not in roles(finding).values()


@pytest.mark.parametrize(("name", "function"), JUMPING)
def test_from_equal_inputs_what_jumps_is_the_same(make: Any, name: str, function: Any) -> None:
    bench = 8 * make.normal(64, 64)
    runs = []
    for wrong in (True, False):
        run = make.Run()
        values = np.asarray(function(bench)).copy()
        values.flat[7] += wrong
        run.call(name, [bench], [values])
        runs.append(run)
    assert first(make.judged(*runs)) == ("operator", name)


def test_a_nan_beyond_the_edge_of_a_domain_is_the_inputs_doing(make: Any) -> None:
    bench = np.random.default_rng(0).uniform(-1, 1, (16, 16)).astype("f4")
    bench[0, 0] = 0.9999
    npu = make.off(bench, 1e-3)
    npu[0, 0] = 1.0002

    def arcsine(x: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return np.arcsin(x)

    finding = one_call(make, "Torch.asin.0.forward", arcsine, bench, npu)
    assert {suspect.kind for suspect in finding.suspects} <= {"input"}


@pytest.mark.parametrize("name", ["Torch.asin.0.forward", "Functional.gelu.0.forward", "Torch.log.0.forward"])
def test_a_nan_within_the_domain_is_the_calls_own(make: Any, name: str) -> None:
    bench = np.random.default_rng(0).uniform(0.1, 0.9, (16, 16)).astype("f4")
    runs = []
    for x, bad in ((make.off(bench, 1e-3), np.nan), (bench, 1.0)):
        run = make.Run()
        values = np.sin(x)
        values[0, 0] *= bad
        run.call(name, [x], [values])
        runs.append(run)
    finding = make.judged(*runs)
    assert ("nan_inf", name) in {(suspect.kind, suspect.name) for suspect in finding.suspects}


@pytest.mark.parametrize(("largest", "accused"), [(65000.0, False), (100.0, True)])
def test_an_overflow_needs_a_result_that_is_nearly_too_large(make: Any, largest: float, accused: bool) -> None:
    bench = np.random.default_rng(0).uniform(1, 2, (16, 16)).astype("f4")
    runs = []
    for x, result in ((make.off(bench, 1e-2), np.inf), (bench, largest)):
        run = make.Run()
        values = (x * 10).astype("f2")
        values[0, 0] = result
        run.call("Torch.square.0.forward", [x.astype("f2")], [values])
        runs.append(run)
    finding = make.judged(*runs)
    assert ("nan_inf" in {suspect.kind for suspect in finding.suspects}) is accused


def test_eigenvectors_with_other_signs_are_as_right(make: Any) -> None:
    x = make.normal(12, 12)
    values, vectors = np.linalg.eigh(x + x.T)
    runs = []
    for sign in (-1, 1):
        run = make.Run()
        run.call("Torch.linalg.eigh.0.forward", [x + x.T], [values, vectors * np.float32(sign)])
        runs.append(run)
    assert make.judged(*runs).suspects == ()


@pytest.mark.parametrize(("training", "kind"), [(True, "random"), (False, "operator")])
def test_dropout_draws_only_where_it_trains(make: Any, training: bool, kind: str) -> None:
    x = make.normal(16, 16)
    runs = []
    for kept in (1.0, 0.5):
        run = make.Run()
        run.call("Functional.dropout.0.forward", [x], [x * np.float32(kept)], kwargs={"p": 0.5, "training": training})
        runs.append(run)
    assert first(make.judged(*runs)) == (kind, "Functional.dropout.0.forward")


@pytest.mark.parametrize(("owner", "kind"), [(None, "input"), ("Module.embed.Embedding.forward.0", "operator")])
def test_another_part_of_the_data_is_an_input(make: Any, owner: str | None, kind: str) -> None:
    """Of what no gradient is asked for, outside of the model."""

    def run(row: int) -> Any:
        one = make.Run()
        batch = make.normal(8, 16)
        part = one.same_memory(batch[row].copy(), batch)
        one.call("Tensor.__getitem__.0.forward", [batch, row], [part], owner=owner)
        one.call("Functional.gelu.0.forward", [part], [part * 2])
        return one

    (suspect,) = make.judged(run(1), run(2)).suspects
    assert (suspect.kind, suspect.name) == (kind, "Tensor.__getitem__.0.forward")


def test_a_view_of_the_same_part_is_innocent_whatever_was_measured(make: Any) -> None:
    def run(size: float) -> Any:
        one = make.Run()
        batch = make.normal(8, 16)
        part = one.same_memory(make.off(batch[1], size), batch)
        one.call("Tensor.__getitem__.0.forward", [batch, 1], [part])
        return one

    assert make.judged(run(1e-2), run(0)).suspects == ()


@pytest.mark.parametrize(("off", "verdict"), [(1e-6, "same"), (1e-2, "different")])
def test_a_further_backward_pass_is_judged_by_what_was_seen_since_what_it_reads_is_not_on_record(
    make: Any, off: float, verdict: str
) -> None:
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        x, gradient = make.normal(16, 8, seed=1), make.normal(16, 8, seed=2)
        run.call("Torch.tanh.0.forward", [x], [make.off(x, 4e-7 if is_npu else 0.0, seed=3)])
        made = make.normal(8, seed=4)
        run.call("Autograd.linear_backward.0.forward", [gradient], [make.off(made, off if is_npu else 0.0, seed=5)])
        runs.append(run)
    assert make.judged(*runs).verdict == verdict


@pytest.mark.parametrize(("flips", "accused"), [(0, []), (1, []), (300, ["Functional.relu.0.backward"])])
def test_a_gradient_that_jumps_with_one_element_is_no_fault(make: Any, flips: int, accused: list[str]) -> None:
    """From inputs that differ by 1e-7, a hundredth of an element is expected on the other side of zero."""
    runs = []
    for is_npu in (True, False):
        run = make.Run()
        x, gradient = make.normal(64, 1024), make.normal(64, 1024, seed=1)
        run.call("Functional.relu.0.forward", [x_read := make.off(x, 1e-7 if is_npu else 0.0)], [np.maximum(x_read, 0)])
        back = gradient * (x > 0)
        if is_npu:
            back.flat[np.flatnonzero(x.flat > 0)[:flips]] = 0.0
        run.call("Functional.relu.0.backward", [gradient], [back])
        runs.append(run)
    assert [suspect.name for suspect in make.judged(*runs).suspects] == accused


def _exchangeable(count: int = 4096) -> tuple[int, int]:
    """Two places of a mask of so many elements that its sketch takes for one another."""
    seen: dict[bytes, int] = {}
    for place in range(count):
        alone = np.zeros(count, np.float32)
        alone[place] = 1.0
        other = seen.setdefault(sketch.fold(sketch.row_sums(alone, sketch.width(count))).tobytes(), place)
        if other != place:
            return other, place
    raise AssertionError("every place has a sketch of its own")


@pytest.mark.parametrize(("noise", "accused"), [(1e-3, []), (0.0, ["Tensor.nonzero.0.forward"])])
def test_a_mask_that_was_decided_by_what_differs_may_differ_unseen(make: Any, noise: float, accused: list[str]) -> None:
    """Two elements of the mask are exchanged that the sketch adds up with one sign: its numbers are the same."""
    same, runs = _exchangeable(), []
    for is_npu in (True, False):
        run = make.Run()
        mask = np.zeros(4096, bool)
        mask[same[1 if is_npu else 0]] = True
        x = make.off(make.normal(4096), noise if is_npu else 0.0)
        run.call("Tensor.__gt__.0.forward", [x, 0.5], [mask])
        run.call("Tensor.nonzero.0.forward", [mask], [np.argwhere(mask)])
        runs.append(run)
    measured = make.measured(*runs)
    assert measured[1].call.read[0].relative == 0.0
    found = {suspect.name for suspect in make.judged(*runs, step=1, previous="unjudged").suspects}
    assert found == set(accused)


@pytest.mark.parametrize(
    ("drift", "wrong", "held", "accused"),
    [
        (3e-6, 6e-6, False, []),
        (0.0, 6e-6, False, ["Module.up.Linear.forward.0"]),
        (1e-7, 6e-6, True, ["Module.up.Linear.forward.0"]),
        (3e-6, 1e-2, False, ["Module.up.Linear.forward.0"]),
    ],
)
def test_a_module_whose_weights_a_wrapper_took_away_may_be_off_as_an_optimizer_has_them(
    make: Any, drift: float, wrong: float, held: bool, accused: list[str]
) -> None:
    """Of several ranks, other ones' weights too; where the weights are on record these explain what is off."""
    runs = []
    x, old = make.normal(16, 32), make.normal(64, 32, seed=1)
    for is_npu in (True, False):
        run = make.Run(level="L0")
        weight = run.parameter(make.off(old, drift * is_npu))
        y = make.off(x @ old.T, wrong * is_npu, seed=2)
        run.call("Module.up.Linear.forward.0", [x], [y], parameters={"weight": weight} if held else None)
        run.call("Optimizer.SGD.0.forward", kwargs={"param": {"group0.0": weight}, "grad": {"group0.0": old}})
        run.bodies["Optimizer.SGD.0.forward"]["output"] = [run._nested({"group0.0": weight - np.float32(0.1) * old})]
        runs.append(run)
    assert [suspect.name for suspect in make.judged(*runs, step=1, previous="judged").suspects] == accused


@pytest.mark.parametrize(
    ("step", "part", "accused"),
    [(1, True, []), (0, True, ["Module.down.Linear.forward.0"]), (1, False, ["Module.down.Linear.forward.0"])],
)
def test_what_a_module_with_a_part_of_weights_makes_has_other_ranks_in_it(
    make: Any, step: int, part: bool, accused: list[str]
) -> None:
    """At module level a sum over ranks is no call, and a step has moved the others' weights."""
    layout = {"shape": [64, 64], "mesh": [0, 1], "placements": ["S(1)"]} if part else None
    runs = []
    x, weight = make.normal(16, 32), make.normal(64, 32, seed=1)
    for is_npu in (True, False):
        run = make.Run(level="L0", world_size=2)
        held = run.mark(weight.copy(), requires_grad=True, layout=layout)
        y = make.off(x @ weight.T, 6e-6 * is_npu, seed=2)
        run.call("Module.down.Linear.forward.0", [x], [y], parameters={"weight": held})
        runs.append(run)
    assert [suspect.name for suspect in make.judged(*runs, step=step).suspects] == accused


@pytest.mark.parametrize(("forward", "backward", "found"), [(1e-2, 0.1, 1), (1e-2, 0.5, 2), (0.0, 0.1, 1)])
def test_what_a_wrong_call_kept_for_its_backward_is_wrong_with_it(
    make: Any, forward: float, backward: float, found: int
) -> None:
    """Gates and probabilities that are kept are in no record; they are off as the result is, within a factor."""
    runs = []
    for size in (1.0, 0.0):
        run = make.Run()
        logits, gradient = make.normal(16, 8, seed=1), make.normal(16, 8, seed=2)
        run.call("Functional.log_softmax.0.forward", [logits], [make.off(logits, forward * size)])
        run.call("Functional.log_softmax.0.backward", [gradient], [make.off(gradient, backward * size)])
        runs.append(run)
    assert len(make.judged(*runs).suspects) == found


@pytest.mark.parametrize(("told", "found"), [(0.1, 1), (0.0, 2)])
def test_the_gradient_of_what_was_told_to_do_something_else_is_that_of_something_else(
    make: Any, told: float, found: int
) -> None:
    """However far it is off, as a loss whose labels are smoothed more."""
    runs = []
    for size, smoothing in ((1.0, told), (0.0, 0.0)):
        run = make.Run()
        logits, target, gradient = make.normal(16, 8, seed=1), np.arange(16) % 8, make.normal(16, 8, seed=2)
        loss = np.asarray(2.0 + 0.01 * size, "f4")
        run.call("Functional.cross_entropy.0.forward", [logits, target], [loss], kwargs={"label_smoothing": smoothing})
        run.call("Functional.cross_entropy.0.backward", [np.ones((), "f4")], [make.off(gradient, 0.5 * size)])
        runs.append(run)
    assert len(make.judged(*runs).suspects) == found


@pytest.mark.parametrize(("npu", "bench", "found"), [(False, True, 1), (True, True, 0), (False, False, 0)])
def test_a_custom_function_that_hands_on_what_it_read_on_one_side_alone(
    make: Any, npu: bool, bench: bool, found: int
) -> None:
    """A straight-through gradient whose mask was lost: another call made what it gives, and that agrees."""
    runs = []
    for masks in (npu, bench):
        run = make.Run()
        x = make.normal(64, 8, seed=1)
        run.call("Torch.tanh.0.forward", [x], [read := np.tanh(x)])
        given = read
        if masks:
            mask = (make.normal(64, 8, seed=2) > 0).astype("f4")
            run.call("Tensor.__mul__.0.forward", [read, mask], [given := read * mask])
        run.call("Autograd.Mine.0.forward", [read], [given])
        run.call("Functional.relu.0.forward", [given], [np.maximum(given, 0)])
        runs.append(run)
    accused = [suspect.name for suspect in make.judged(*runs).suspects]
    assert accused == ["Autograd.Mine.0.forward"] * found
