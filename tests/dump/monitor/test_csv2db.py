"""The files that msprobe 26.2.0's TrainerMon wrote, as a database; msprobe's own is held beside it by `make
test-frameworks`."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from pathlib import Path

import pytest

from dump.format.errors import AccError, ConfigError, DumpNotFound
from dump.monitor.csv2db import CSV2DBConfig, csv2db

DATA = Path(__file__).with_name("msprobe_26_2")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for rank in range(2):
        folder = tmp_path / "runs" / f"Nov22_13-26-22-rank{rank}"
        folder.mkdir(parents=True)
        for path in DATA.glob("*.csv"):
            shutil.copy(path, folder)
    return tmp_path / "runs"


def _config(runs: Path, **settings: object) -> CSV2DBConfig:
    config = CSV2DBConfig(str(runs), output_dirpath=str(runs.parent / "db"))
    for name, value in settings.items():
        setattr(config, name, value)
    return config


def test_each_cell_is_found_by_its_place(runs: Path) -> None:
    with sqlite3.connect(csv2db(_config(runs))) as database:
        assert dict(database.execute("select * from global_stats")) == {
            "max_rank": 1,
            "min_step": 0,
            "max_step": 2,
            "step_partition_size": 500,
        }
        kinds = dict(database.execute("select metric_name, metric_id from monitoring_metrics"))
        assert len(kinds) == 9
        for name, number in kinds.items():
            with (DATA / f"{name}_0-2.csv").open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            for rank in range(2):
                for row in rows:
                    (norm,) = database.execute(
                        f"select norm from metric_{number}_step_0_499 join monitoring_targets using (target_id)"
                        " where rank = ? and step = ? and target_name = ? and vpp_stage = ? and micro_step = ?",
                        (rank, row["step"], row["name"], row["vpp_stage"], row.get("micro_step", 0)),
                    ).fetchone()
                    assert norm == (None if row["norm"] == "nan" else float(row["norm"]))


def test_steps_are_divided_among_tables_and_kinds_chosen(runs: Path) -> None:
    for path in (runs / "Nov22_13-26-22-rank1").glob("*.csv"):
        path.rename(path.with_name(path.name.replace("_0-2", "_0-12")))
    with sqlite3.connect(csv2db(_config(runs, step_partition=10, data_type_list=["other"]))) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master where name like 'metric_1_%'")}
        assert tables == {"metric_1_step_0_9", "metric_1_step_10_19"}
        assert database.execute("select metric_name from monitoring_metrics").fetchall() == [("other",)]


def test_of_several_runs_of_a_rank_the_last_counts_and_the_database_is_made_anew(runs: Path) -> None:
    later = runs / "Nov22_14-00-00-rank1"
    later.mkdir()
    (later / "other_0-2.csv").write_text("vpp_stage,name,step,norm\n0,w,0,4.5\n0,w,1,inf\n0,w,2,1.0")
    for _ in range(2):
        with sqlite3.connect(csv2db(_config(runs, data_type_list=["other"]))) as database:
            rows = database.execute("select step, norm from metric_1_step_0_499 where rank = 1").fetchall()
        assert rows == [(0, 4.5), (1, float("inf"))]  # the last line has no end


@pytest.mark.parametrize(
    ("settings", "error", "word"),
    [
        ({"process_num": 0}, ConfigError, "process_num"),
        ({"step_partition": 3}, ConfigError, "step_partition"),
        ({"data_type_list": ["gradients"]}, ConfigError, "gradients"),
        ({"time_start": "yesterday"}, ConfigError, "yesterday"),
        ({"time_start": "Nov23_00-00-00"}, DumpNotFound, "no monitored run"),
        ({"data_type_list": ["cc"]}, ConfigError, "no file"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    settings: dict[str, object], error: type[AccError], word: str, runs: Path
) -> None:
    with pytest.raises(error, match=word) as caught:
        csv2db(_config(runs, **settings))
    assert "\n" not in str(caught.value)
