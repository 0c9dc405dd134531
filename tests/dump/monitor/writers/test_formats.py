"""TensorBoard events and parquet hold what the csv would; csv2tb makes the one of the other."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from dump.format.errors import ConfigError, DumpNotFound, OutputError
from dump.format.monitor_files import ACTV, ADAM_UPDATE, GRAD_REDUCED, Kind
from dump.monitor.csv2tb import csv2tensorboard_by_step
from dump.monitor.rows import Label, Row
from dump.monitor.writers import WRITERS, Layout

OPS = ("norm", "nans", "shape")


def _rows(step: int) -> dict[Kind, list[Row]]:
    return {
        GRAD_REDUCED: [Row(Label(GRAD_REDUCED, 0, "fc.weight"), (0.5 + step, 0, "[2, 3]"))],
        ACTV: [Row(Label(ACTV, 0, "fc.input", 1), (2.0, 1, "[2]"))],
        ADAM_UPDATE: [Row(Label(ADAM_UPDATE, 0, "fc.weight"), (1.0, 0, "[2]", "1 2 3"))],
    }


def _events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    pytest.importorskip("tensorboard")
    loader = importlib.import_module("tensorboard.backend.event_processing.event_file_loader")
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.*")):
        for event in loader.LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                number = sum(value.histo.bucket) if value.HasField("histo") else value.simple_value
                found.setdefault(value.tag, []).append((event.step, number))
    return found


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    writer = WRITERS["tensorboard"](Layout(tmp_path, 3, OPS))
    for step in (0, 1):
        writer.write(step, _rows(step))
    found = _events(tmp_path)  # before it is closed: a killed run keeps its steps
    writer.close()
    assert found["0:fc.weight/rank3/post_grad_norm"] == [(0, 0.5), (1, 1.5)]
    assert found["0:fc.input:1/rank3/actv_nans"] == [(0, 1.0), (1, 1.0)]
    assert found["0:fc.weight/rank3/adam_update_histogram"] == [(0, 6.0), (1, 6.0)]


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for steps in ((0, 1), (2, 3)):  # a second writer goes on in the file of the first
        writer = WRITERS["parquet"](Layout(tmp_path, 0, OPS, steps_per_file=3))
        for step in steps:
            writer.write(step, _rows(step))
        writer.close()
    table = parquet.read_table(tmp_path / "grad_reduced_0-2.parquet").to_pydict()
    assert table["step"] == [0, 1, 2]
    assert table["norm"] == [0.5, 1.5, 2.5]
    assert table["shape"] == ["[2, 3]"] * 3
    assert parquet.read_table(tmp_path / "actv_3-5.parquet").column_names[3] == "micro_step"


def test_csv_becomes_events(tmp_path: Path) -> None:
    run = tmp_path / "Mar07_08-09-10-rank1"
    run.mkdir()
    writer = WRITERS["csv"](Layout(run, 1, OPS))
    for step in (0, 1):
        writer.write(step, _rows(step))
    with (run / "grad_reduced_1-1.csv").open("a") as file:
        file.write("0,fc.weight,2,9")
    target = csv2tensorboard_by_step(tmp_path, data_type_list=["grad_reduced", "actv"], output_dirpath=tmp_path / "tb")
    assert sorted(path.name for path in (target / "rank1").iterdir()) == ["actv", "grad_reduced"]
    assert _events(target / "rank1" / "grad_reduced") == {
        "vp0:fc.weight/norm": [(0, 0.5), (1, 1.5)],
        "vp0:fc.weight/nans": [(0, 0.0), (1, 0.0)],
    }
    assert _events(target / "rank1" / "actv")["vp0:fc.input:micro1/norm"] == [(0, 2.0), (1, 2.0)]
    with pytest.raises(OutputError, match="is not empty"):
        csv2tensorboard_by_step(tmp_path, output_dirpath=target)


def test_what_cannot_be_turned_into_events_is_named(tmp_path: Path) -> None:
    with pytest.raises(DumpNotFound, match="no monitored run here"):
        csv2tensorboard_by_step(tmp_path)
    with pytest.raises(ConfigError, match="Did you mean 'grad_reduced'"):
        csv2tensorboard_by_step(tmp_path, data_type_list=["grad_redused"])
    with pytest.raises(ConfigError, match="expected a timestamp"):
        csv2tensorboard_by_step(tmp_path, "yesterday")
