from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from acc_compare.messages import say
from acc_compare.report.i18n import text
from dump.format.schema import CutShort, TensorRecord


def scaled(factor: float) -> Any:
    return lambda values: values * np.float32(factor)


def two_calls(make: Any, **header: Any) -> Any:
    run = make.Run(**header)
    x = make.normal(8, 8)
    run.call("Functional.gelu.0.forward", [x, True], [y := make.off(x, 0)])
    run.call("Functional.relu.0.forward", [y], [np.maximum(y, 0)])
    return run


def test_a_dump_is_the_same_as_itself(make: Any) -> None:
    run = two_calls(make)
    finding = make.judged(run, run, step=3, rank=1)
    assert (finding.verdict, finding.suspects) == ("same", ())
    assert [note.key for note in finding.notes] == ["note.sensitivity"]
    assert finding.sensitivity is not None
    assert text(finding.summary) == "2 calls compared, none differs by more than rounding explains."
    assert (finding.coverage.calls, finding.coverage.tensors) == (2, 4)
    assert (finding.step, finding.rank, finding.mode) == (3, 1, "statistics")
    assert {row.result for row in finding.rows} == {"pass"}


def test_a_suspect_makes_it_different(network: Any) -> None:
    finding = network.compare({"Functional.gelu.0.forward": scaled(1.01)})
    assert finding.verdict == "different"
    assert finding.sensitivity is None
    assert text(finding.summary) == "The runs differ. First suspect: Functional.gelu.0.forward."
    assert [row.npu_name for row in finding.rows if row.outcome == "error"] == ["Functional.gelu.0.forward.output.0"]


@pytest.mark.parametrize("side", ["npu", "bench"])
def test_a_dump_that_was_cut_is_incomplete(make: Any, side: str) -> None:
    whole = two_calls(make).dump()
    cut = replace(whole, incomplete=CutShort("no_end", "dump.json", 2))
    finding = make.judged(*((cut, whole) if side == "npu" else (whole, cut)))
    assert finding.verdict == "incomplete"
    assert finding.summary.key == "summary.cut"
    assert say("cut.no_end", source="dump.json", number=2) in finding.notes


def test_a_cut_dump_with_a_suspect_is_different(make: Any, network: Any) -> None:
    npu = network.Network(make).step({"Torch.tanh.0.forward": scaled(2)}).dump()
    bench = replace(network.Network(make).step().dump(), incomplete=CutShort("no_end", "dump.json", 2))
    assert make.judged(npu, bench).verdict == "different"


def test_nothing_in_common_is_incomplete(make: Any) -> None:
    one, other = make.Run(), make.Run()
    one.call("Functional.gelu.0.forward", [make.normal(4)], [make.normal(4)])
    other.call("Functional.relu.0.forward", [make.normal(4)], [make.normal(4)])
    finding = make.judged(one, other)
    assert finding.verdict == "incomplete"
    assert finding.coverage.calls == 0
    assert {name: text(reason) for name, reason in finding.coverage.reasons} == {
        "Functional.gelu.0.forward": "the bench side has no call of the operator",
        "Functional.relu.0.forward": "the NPU side has no call of the operator",
    }


def _answered(make: Any, *operators: str, module: bool = False) -> Any:
    run = make.Run()
    for number, operator in enumerate(operators):
        run.call(f"Functional.{operator}.0.forward", [make.normal(4)], [make.normal(4 + number)])
    if module:
        for number in range(9):
            run.call(f"Module.layer{number}.Linear.forward.0", [make.normal(4)], [make.normal(4)])
    return run


@pytest.mark.parametrize(
    ("more", "verdict", "key"),
    [
        (("relu",), "same", "summary.compared_of"),
        (("relu", "silu", "softplus"), "incomplete", "summary.partial"),
        ((), "same", "summary.compared"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_agreement_of_the_lesser_part_is_no_same(
    make: Any, more: tuple[str, ...], verdict: str, key: str, swapped: bool
) -> None:
    sides = _answered(make, "gelu", "tanh", *more), _answered(make, "gelu", "tanh")
    finding = make.judged(*(reversed(sides) if swapped else sides))
    assert (finding.verdict, finding.summary.key, finding.coverage.missing) == (verdict, key, len(more))


def test_modules_that_one_side_did_not_record_are_not_missed(make: Any) -> None:
    finding = make.judged(_answered(make, "gelu", module=True), _answered(make, "gelu"))
    assert (finding.verdict, finding.coverage.missing, finding.coverage.unmatched_npu) == ("same", 0, 9)


def test_nothing_that_could_be_measured_is_incomplete(make: Any) -> None:
    run = make.Run()
    x = run.mark(make.normal(4), Max=None, Min=None, Mean=None, Norm=None, sketch=None, unrecorded="sparse")
    run.call("Functional.gelu.0.forward", [x], [x])
    finding = make.judged(run, run)
    assert finding.verdict == "incomplete"
    assert text(finding.summary).startswith("No tensor was recorded on both sides")
    assert "2 tensors could not be compared: of other shapes, or not measured." in list(map(text, finding.notes))


def test_some_tensors_that_could_not_be_measured_are_a_note(make: Any) -> None:
    run = make.Run()
    x = run.mark(make.normal(4), Max=None, Min=None, Mean=None, Norm=None, sketch=None)
    run.call("Functional.gelu.0.forward", [x], [make.normal(4)])
    finding = make.judged(run, run)
    assert finding.verdict == "same"
    assert "1 tensor could not be compared: of other shapes, or not measured." in list(map(text, finding.notes))


@pytest.mark.parametrize(("ours", "theirs", "told"), [(True, True, True), (True, False, False), (False, False, False)])
def test_nan_on_both_sides_is_told(make: Any, ours: bool, theirs: bool, told: bool) -> None:
    def one(bad: bool) -> Any:
        run = make.Run()
        x = make.normal(4)
        y = np.tanh(x)
        if bad:
            y[0] = np.nan
        run.call("Torch.abs.0.forward", [x], [np.abs(x)])
        run.call("Functional.gelu.0.forward", [x], [y])
        return run

    notes = {note.key: dict(note.values) for note in make.judged(one(ours), one(theirs)).notes}
    assert ("note.nan_in_both" in notes) is told
    if told:
        assert notes["note.nan_in_both"]["first"] == "Functional.gelu.0.forward"


@pytest.mark.parametrize(
    ("npu", "bench", "note"),
    [
        ({"device_name": "SimulatedNPU"}, {}, "The NPU side ran on a simulated NPU: CPU kernels, no hardware."),
        (
            {"environment": {"simulated_faults": ["gelu:scale=1.5", "mm:bf16"]}},
            {},
            "The NPU side carries faults that were planted in the simulated NPU: gelu:scale=1.5, mm:bf16.",
        ),
        (
            {"device": None, "environment": {"npu": "simulated"}},
            {},
            "The NPU side ran on a simulated NPU: CPU kernels, no hardware.",
        ),
        ({"torch_version": "2.1"}, {}, "torch 2.1 on the NPU side, 2.13.0 on the bench."),
        (
            {"coverage": {"failed": {"gelu": 2}}},
            {},
            "The NPU side has tensors or calls failed while recording: gelu (2).",
        ),
        (
            {},
            {"coverage": {"models": {"": "Enc", "Linear": "Linear", "Linear2": "Linear"}}},
            "Several models were called. Modules named without a prefix are of the first, of class Enc; prefixes of"
            " the others: Linear, Linear2.",
        ),
        (
            {},
            {"coverage": {"left_out": {"module calls": "no such name"}}},
            "The bench side did not record, with its torch 2.13.0: module calls (no such name).",
        ),
        (
            {},
            {"coverage": {"not_recordable": {"sparse": 1}}},
            "The bench side has tensors or calls not recordable: sparse (1).",
        ),
        (
            {"foreign": True},
            {},
            "A dump without sketches: small differences that leave max, min, mean and norm alone stay unseen.",
        ),
    ],
)
def test_notes(make: Any, npu: dict[str, Any], bench: dict[str, Any], note: str) -> None:
    assert note in list(map(text, make.judged(two_calls(make, **npu), two_calls(make, **bench)).notes))


@pytest.mark.parametrize(
    ("header", "device"),
    [({}, "cpu"), ({"device": "npu", "device_name": "Ascend910B"}, "npu (Ascend910B)"), ({"foreign": True}, "")],
)
def test_the_device_is_told(make: Any, header: dict[str, Any], device: str) -> None:
    assert make.judged(two_calls(make, **header), two_calls(make)).npu_device == device


def rows(finding: Any) -> dict[str, Any]:
    return {row.npu_name or row.bench_name: row for row in finding.rows}


def test_rows_name_both_sides_and_their_localisation(network: Any) -> None:
    name = "Functional.gelu.0.forward.output.0"
    row = rows(network.compare({"Functional.gelu.0.forward": scaled(1.01)}))[name]
    assert (row.npu_name, row.bench_name, row.origin) == (name, name, "introduced")
    assert row.excess == pytest.approx(row.metrics["Est. RelL2"] / row.expected, rel=0.5)


def test_an_unmatched_call_gives_its_reason(make: Any) -> None:
    longer = two_calls(make)
    longer.call("Torch.tanh.0.forward", [x := make.normal(4)], [np.tanh(x)])
    row = rows(make.judged(longer, two_calls(make)))["Torch.tanh.0.forward.output.0"]
    assert (row.result, row.bench_name, "; ".join(map(text, row.err_message))) == (
        "unmatched",
        "",
        "the bench side has no call of the operator",
    )
    back = rows(make.judged(two_calls(make), longer))["Torch.tanh.0.forward.output.0"]
    assert (back.npu_name, back.bench) == ("", longer.dump().calls[2].outputs[0].leaf)


def test_rows_carry_the_callers_lines(make: Any) -> None:
    run = two_calls(make)
    run.call("Functional.gelu.0.backward", [x := make.normal(4)], [x])
    dump = replace(run.dump(), stacks={"Functional.gelu.0.forward": ("line 3", "line 1")})
    finding = make.judged(dump, dump)
    assert rows(finding)["Functional.gelu.0.forward.output.0"].stack == "line 3\nline 1"
    assert rows(finding)["Functional.gelu.0.backward.output.0"].stack == "line 3\nline 1"  # of its forward call
    assert rows(finding)["Functional.relu.0.forward.output.0"].stack == ""


@pytest.mark.parametrize(
    ("factor", "result", "says"),
    [
        (1.001, "pass", "the constant rules pass this row; localisation: error begins here"),
        (9.0, "error", "the norm's relative error rises"),
    ],
)
def test_where_the_constant_rules_overlook_a_fault_the_row_says_so(
    make: Any, factor: float, result: str, says: str
) -> None:
    def run(times: float) -> Any:
        one = make.Run()
        x = make.normal(8, 8)
        one.call("Functional.gelu.0.forward", [x], [scaled(times)(x)])
        return one

    row = rows(make.judged(run(factor), run(1)))["Functional.gelu.0.forward.output.0"]
    assert (row.result, row.outcome) == (result, "error")
    assert text(row.err_message[0]).startswith(says)


def test_where_the_constant_rules_blame_the_innocent_the_row_says_so(make: Any) -> None:
    def run(size: float) -> Any:
        one = make.Run()
        logits = make.off(make.normal(8, 8) * np.float32(30), size)
        weights = np.exp(logits.astype("f8")) + 1
        one.call("Torch.softmax.0.forward", [logits], [np.float32(weights)])
        return one

    finding = make.judged(run(2e-2), run(0), step=1, previous="suspect")
    row = rows(finding)["Torch.softmax.0.forward.output.0"]
    assert row.result in ("error", "warning")
    assert row.err_message[-1] == say("row.explained", role=say("role.propagated"))


def test_a_tensor_row_names_its_file(make: Any) -> None:
    record = TensorRecord("torch.float32", (2,), data_name="a.npy")
    dump = two_calls(make).dump()
    first = dump.calls[0]
    changed = msgspec.structs.replace(
        first, outputs=(msgspec.structs.replace(first.outputs[0], leaf=record), *first.outputs[1:])
    )
    finding = make.judged(replace(dump, calls=(changed, *dump.calls[1:])), dump)
    assert rows(finding)["Functional.gelu.0.forward.output.0"].data_name == "a.npy"
