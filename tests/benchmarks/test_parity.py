from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parity import agreement, known
from benchmarks.parity.agreement import Difference, compare_dumps, compare_leaves
from benchmarks.parity.interoperation import Check, table_complaints
from benchmarks.parity.records import find_dump, leaves, read_calls
from benchmarks.parity.results import Compared, Results, page
from benchmarks.parity.running import Recording
from dump.config_keys import SECTION, TOP

ROOT = Path(__file__).parents[2]
PEER = os.environ.get("PARITY_PEER_PYTHON")


def tensor(**over: Any) -> dict[str, Any]:
    base = {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [100], "requires_grad": False}
    return {**base, "Max": 2.0, "Min": -1.0, "Mean": 1e-9, "Norm": 10.0, **over}


def fields(theirs: Any, ours: Any) -> list[str]:
    return [difference.field for difference in compare_leaves("Torch.add.0.forward", "input.0", theirs, ours)]


def test_leaves_are_named_as_arguments_are() -> None:
    one, two = tensor(), {"type": "int", "value": 3}
    body = {
        "input_args": [one, [two, None]],
        "input_kwargs": {"dim": two},
        "output": [one],
        "parameters": {"weight": one},
        "written": {"input.0": one},
        "is_recompute": False,
    }
    assert leaves("Torch.add.0.forward", body) == {
        "input.0": one,
        "input.1.0": two,
        "input.1.1": None,
        "input.dim": two,
        "output.0": one,
        "parameters.weight": one,
    }
    assert leaves("Module.fc.Linear.parameters_grad.0", {"weight": [one]}) == {"weight.0": one}


def test_a_dump_is_found_and_read(tmp_path: Path) -> None:
    place = tmp_path / "step1" / "proc7" / "dump.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"data": {"Torch.add.0.forward": {"output": [tensor(Min=-1e999)]}}}))
    assert find_dump(tmp_path, 1) == place
    (leaf,) = read_calls(place)["Torch.add.0.forward"].values()
    assert leaf is not None
    assert leaf["Min"] == -float("inf")
    with pytest.raises(FileNotFoundError, match="found 0"):
        find_dump(tmp_path, 0)


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ({}, []),
        ({"Mean": -1e-9}, []),  # both are zero beside elements of size 1
        ({"Mean": 2e-5}, ["Mean"]),
        ({"Max": 2.0 + 1e-5}, []),
        ({"Max": 2.0 + 3e-5}, ["Max"]),
        ({"Min": -1.0 - 1e-5}, []),
        ({"Min": -1.0 - 3e-5}, ["Min"]),
        ({"Norm": 10.00005}, []),
        ({"Norm": 10.0005}, ["Norm"]),
        ({"Norm": None}, ["Norm"]),
        ({"Max": float("nan")}, ["Max"]),
        ({"Min": float("-inf")}, ["Min"]),
        ({"dtype": "torch.float64"}, ["dtype"]),
        ({"shape": [10, 10]}, ["shape"]),
        ({"requires_grad": True}, ["requires_grad"]),
        ({"type": "torch.nn.Parameter"}, ["type"]),
    ],
)
def test_tensors_differ_where_a_field_does(over: dict[str, Any], expected: list[str]) -> None:
    assert fields(tensor(**over), tensor()) == expected


def test_equal_non_finite_statistics_agree() -> None:
    masked = tensor(Min=float("-inf"), Mean=float("nan"), Norm=float("inf"))
    assert fields(masked, dict(masked)) == []


@pytest.mark.parametrize(("norm", "expected"), [(10.05, []), (10.2, ["Norm"])])
def test_low_precision_has_the_spacing_of_its_dtype(norm: float, expected: list[str]) -> None:
    assert fields(tensor(dtype="torch.bfloat16", Norm=norm), tensor(dtype="torch.bfloat16")) == expected


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ({"type": "int", "value": 3}, {"type": "int", "value": 3}, []),
        ({"type": "int", "value": 3}, {"type": "int", "value": 4}, ["value"]),
        ({"type": "float", "value": float("nan")}, {"type": "float", "value": float("nan")}, []),
        (None, None, []),
        (None, {"type": "int", "value": 3}, ["presence"]),
    ],
)
def test_other_values_are_compared_exactly(theirs: Any, ours: Any, expected: list[str]) -> None:
    assert fields(theirs, ours) == expected


def test_dumps_are_laid_side_by_side() -> None:
    theirs = {"Torch.add.0.forward": {"output.0": tensor()}, "Tensor.mul_.0.forward": {}}
    ours = {"Torch.add.0.forward": {"output.0": tensor(Norm=10.00001)}, "Optimizer.SGD.0.forward": {}}
    found = compare_dumps(theirs, ours)
    assert (found.shared, found.only_theirs, found.only_ours) == (
        ("Torch.add.0.forward",),
        ("Tensor.mul_.0.forward",),
        ("Optimizer.SGD.0.forward",),
    )
    assert (found.tensors, found.values, found.differences) == (1, 4, ())
    assert found.worst["Norm"] == pytest.approx(1e-6, rel=1e-3)
    assert found.worst["Max"] == 0.0


def test_of_a_backward_call_the_gap_of_a_missing_gradient_is_closed() -> None:
    call = "Functional.batch_norm.0.backward"
    ours = {"output.0": tensor(), "output.1": None, "output.2": None, "output.3": tensor(Max=5.0)}
    theirs = {"output.0": tensor(), "output.1": tensor(Max=5.0)}
    assert compare_dumps({call: theirs}, {call: ours}).differences == ()
    assert [d.field for d in compare_dumps({call: theirs}, {call: {"output.0": tensor()}}).differences] == ["presence"]


@pytest.mark.parametrize(
    ("difference", "is_known"),
    [
        (Difference("Torch.eq.0.forward", "output.0", "Mean", None, 0.5), True),
        (Difference("Torch.eq.0.forward", "output.0", "Mean", 0.5, None), False),
        (Difference("Torch.eq.0.forward", "output.0", "Max", None, 0.5), False),
        (Difference("Functional.linear.3.backward", "output.0", "shape", [8], [2, 4]), True),
        (Difference("Functional.linear.3.backward", "input.0", "shape", [8], [2, 4]), False),
        (Difference("Functional.linear.3.forward", "output.0", "shape", [8], [2, 4]), False),
        (Difference("Functional.gelu.3.backward", "output.0", "Max", 1.0, 2.0), False),
        (Difference("Torch.softmax.0.forward", "input.dtype", "type", "torch.dtype", "dtype"), True),
        (Difference("Torch.softmax.0.forward", "input.dtype", "type", "int", "float"), False),
        (Difference("Functional.layer_norm.0.forward", "input.1", "presence", "torch.Size", "absent"), True),
        (Difference("Functional.layer_norm.0.forward", "input.1", "presence", "torch.Tensor", "absent"), False),
    ],
)
def test_only_listed_differences_are_known(difference: Difference, is_known: bool) -> None:
    assert (known.unknown([difference]) == ()) == is_known


def test_calls_of_one_side_are_sorted_by_reason() -> None:
    calls = ("Optimizer.SGD.0.forward", "Tensor.view.0.forward", "Torch.cat.0.forward", "Torch.mul.0.forward")
    by_reason, left = known.sort_gaps(calls, known.ONLY_OURS, {"Torch.cat.0.forward"})
    assert [found for found in by_reason.values() if found] == [(calls[2],), (calls[1],), (calls[0],)]
    assert left == ("Torch.mul.0.forward",)


def row(name: str, **over: str) -> dict[str, str]:
    return {"NPU Name": name, "Bench Name": name, "Result": "pass", "Err_message": "[]", **over}


CALL = "Torch.add.0.forward"


@pytest.mark.parametrize(
    ("rows", "golden_is_ours", "expected"),
    [
        ([row(f"{CALL}.input.0")], True, ()),
        ([row("Torch.add.01.forward.input.0")], True, (f"1 calls without a row, such as {CALL}",)),
        ([row(f"{CALL}.input.0")] * 2, True, (f"1 names with more than one row, such as {CALL}.input.0",)),
        ([row(f"{CALL}.input.0", Result="error")], True, (f"1 rows in error, such as {CALL}.input.0: []",)),
        ([row(f"{CALL}.input.0", Result="error")], False, (f"1 rows in error, such as {CALL}.input.0: []",)),
        ([row(f"{CALL}.input.0", Result="error", **{"Bench Name": "N/A"})], False, ()),
        ([row(f"{CALL}.input.0"), row("Torch.mm.0.backward.output.0", Result="error")], False, ()),
    ],
)
def test_a_table_of_msprobes_must_hold_our_calls(
    rows: list[dict[str, str]], golden_is_ours: bool, expected: tuple[str, ...]
) -> None:
    calls = {CALL: {"input.0": tensor()}, "Torch.empty.0.forward": {}}
    assert table_complaints(rows, calls, golden_is_ours=golden_is_ours) == expected


def results(*, norm: float, complaints: tuple[str, ...] = (), extra: str = "Tensor.mul_.0.forward") -> Results:
    theirs = {CALL: {"output.0": tensor(Norm=norm)}, extra: {}}
    compared = Compared("L1", compare_dumps(theirs, {CALL: {"output.0": tensor()}}), frozenset())
    versions = {"msprobe": {"package": "26.2.0", "torch": "2.13.0", "python": "3.11.7"}}
    return Results([compared], [Check("acc compare", "same", complaints)], versions)


def test_parity_is_said_on_the_page() -> None:
    good = results(norm=10.0)
    assert good.failures() == []
    assert "At parity." in page(good)
    assert "| L1 | 1 | 1 | 0 | 1 | 4 |" in page(good)


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (results(norm=11.0), f"L1: {CALL}.output.0: Norm is 11.0 with msprobe, 10.0 with ours"),
        (results(norm=10.0, complaints=("suspect: gelu",)), "acc compare: suspect: gelu"),
        (results(norm=10.0, extra="Torch.mm.0.forward"), "L1: only msprobe records Torch.mm.0.forward"),
    ],
)
def test_each_kind_of_fault_is_one(bad: Results, fault: str) -> None:
    assert bad.failures() == [fault]
    assert f"- {fault}" in page(bad)


def test_both_recorders_get_the_same_configuration() -> None:
    recording = Recording("L1", "L1", section={"summary_mode": "md5"}, steps=(0,), top={"risk_level": "ALL"})
    one, two = recording.config(Path("a")), recording.config(Path("b"))
    assert (one.pop("dump_path"), two.pop("dump_path")) == ("a", "b")
    assert one == two
    assert one["statistics"]["summary_mode"] == "md5"
    assert one["risk_level"] == "ALL"


def test_the_guide_names_every_key_of_the_configuration() -> None:
    text = (ROOT / "docs" / "msprobe.md").read_text(encoding="utf-8")
    section = text.partition("## config.json")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    listed = {key for cell in cells for key in re.findall(r"`([a-z_]+)`", cell)}
    assert listed == set(TOP) | set(SECTION)


def test_the_guide_names_every_known_difference() -> None:
    text = " ".join((ROOT / "docs" / "msprobe.md").read_text(encoding="utf-8").split())
    assert [each.title for each in known.DIFFERENCES if each.title not in text] == []
    assert f"{agreement.LIMIT:g}" in text


@pytest.mark.slow
@pytest.mark.skipif(PEER is None, reason="PARITY_PEER_PYTHON names no interpreter with msprobe")
def test_msprobe_and_ours_are_at_parity(tmp_path: Path) -> None:
    assert PEER is not None
    script = ROOT / "benchmarks" / "parity" / "run.py"
    page_file = tmp_path / "RESULTS.md"
    command = [sys.executable, str(script), "--peer-python", PEER, "--results", str(page_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "At parity." in page_file.read_text(encoding="utf-8")
