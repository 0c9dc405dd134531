from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acc_compare.align.calls import align
from acc_compare.measured.pairs import MeasuredPair, measure_pairs
from dump.format.errors import TensorFileError
from dump.format.tensors import write_tensor


def run(make: Any, *, size: float = 0.0, mode: str = "statistics", longer: bool = False) -> Any:
    one = make.Run(mode=mode)
    x = make.normal(16, 8)
    y = make.off(x, size)
    one.call("Functional.gelu.0.forward", [x, 3], [y], owner="Module.act.GELU.forward.0")
    one.call("Functional.relu.0.forward", [y], [np.maximum(y, 0)])
    if longer:
        one.call("Torch.tanh.0.forward", [y], [np.tanh(y)])
    return one


def measured(npu: Any, bench: Any, mode: str = "statistics") -> tuple[MeasuredPair, ...]:
    return measure_pairs(align(npu, bench), mode)


def test_statistics_fill_their_columns(make: Any) -> None:
    first, _ = measured(run(make, size=1e-2).dump(), run(make).dump())
    assert first.call is not None
    assert [argument.name for argument in first.call.read] == ["input.0"]
    assert [argument.name for argument in first.call.wrote] == ["output.0"]
    assert first.call.owner == "Module.act.GELU.forward.0"
    tensor, scalar, output = first.cells
    assert scalar == {}
    assert tensor["Est. RelL2"] == 0
    assert output["Est. RelL2"] == pytest.approx(1e-2, rel=0.5)
    assert set(output) >= {"Max diff", "NormRelativeErr", "Est. Cosine"}


def test_digests_fill_none(make: Any) -> None:
    first, _ = measured(run(make, size=1e-2, mode="md5").dump(), run(make, mode="md5").dump(), "md5")
    assert first.cells == ({}, {}, {})
    assert first.call is not None
    assert first.call.wrote[0].error.source == "digest"  # type: ignore[union-attr]


def test_tensor_files_fill_those_of_real_data(make: Any, tmp_path: Path) -> None:
    npu, bench = (
        make.read(run(make, size=size, mode="tensor").write(tmp_path / name)) for name, size in (("n", 1e-2), ("b", 0))
    )
    first, _ = measured(npu, bench, "tensor")
    output = first.cells[2]
    x = make.normal(16, 8)
    expected = np.linalg.norm(make.off(x, 1e-2).astype("f8") - x) / np.linalg.norm(x.astype("f8"))
    assert output["RelL2"] == pytest.approx(expected, rel=1e-6)
    assert "Max diff" not in output
    assert first.call is not None
    assert first.call.wrote[0].error.source == "exact"  # type: ignore[union-attr]


def test_a_tensor_without_a_file_has_no_cells_of_real_data(make: Any, tmp_path: Path) -> None:
    npu = run(make, mode="tensor")
    del npu.bodies["Functional.gelu.0.forward"]["output"][0]["data_name"]
    bench = make.read(run(make, mode="tensor").write(tmp_path / "b"))
    first, second = measured(make.read(npu.write(tmp_path / "n")), bench, "tensor")
    assert first.cells[2] == {}
    assert first.call is not None
    assert first.call.wrote[0].error.source == "sketch"  # type: ignore[union-attr]
    assert second.cells[1]["Cosine"] == pytest.approx(1)


def test_a_file_of_another_shape_than_the_other_sides_is_not_compared(make: Any, tmp_path: Path) -> None:
    npu, bench = (make.read(run(make, mode="tensor").write(tmp_path / name)) for name in "nb")
    name = npu.calls[0].outputs[0].leaf.data_name
    write_tensor(npu.path / "dump_tensor_data" / name, data=bytes(8), dtype="torch.float32", shape=(2,))
    first, _ = measured(npu, bench, "tensor")
    assert first.cells[2] == {}


@pytest.mark.parametrize("damage", ["missing", "short", "outside"])
def test_a_file_that_cannot_be_read_is_an_error(make: Any, tmp_path: Path, damage: str) -> None:
    npu = run(make, mode="tensor")
    record = npu.bodies["Functional.gelu.0.forward"]["output"][0]
    if damage == "outside":
        record["data_name"] = "../dump.json"
    dump = make.read(npu.write(tmp_path / "n"))
    file = dump.path / "dump_tensor_data" / record["data_name"]
    if damage == "missing":
        file.unlink()
    elif damage == "short":
        file.write_bytes(file.read_bytes()[:-1])
    bench = make.read(run(make, mode="tensor").write(tmp_path / "b"))
    with pytest.raises(TensorFileError):
        measured(dump, bench, "tensor")


def test_one_pair_of_values_is_measured_once(make: Any) -> None:
    first, second = measured(run(make, size=1e-2).dump(), run(make).dump())
    assert first.cells[2] is second.cells[0]


def test_other_shapes_have_no_cells(make: Any) -> None:
    other = make.Run()
    x = make.normal(4, 8)
    other.call("Functional.gelu.0.forward", [x, 3], [x])
    other.call("Functional.relu.0.forward", [x], [x])
    first, _ = measured(other.dump(), run(make).dump())
    assert first.cells == ({}, {}, {})
    assert first.call is not None
    assert first.call.read[0].error is None


def test_a_lone_call_is_not_measured_and_progress_counts_all(make: Any) -> None:
    told: list[tuple[int, int]] = []
    alignment = align(run(make, longer=True).dump(), run(make).dump())
    parts = measure_pairs(alignment, "statistics", lambda done, total: told.append((done, total)))
    assert [part.call is None for part in parts] == [False, False, True]
    assert parts[2].cells == ({}, {})
    assert told == [(1, 3), (3, 3)]
