"""msprobe's own tools read what we record, and its comparison and the shim's write the same rows.

MSPROBE_26_2_0 and MSPROBE_8_3_3 name pythons that have these versions: `make test-frameworks` makes them.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from cells import same

from acc_compare.as_msprobe.distances import Version
from acc_compare.as_msprobe.tables import VERSIONS

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).with_name("scripts")
STATISTICS: dict[str, object] = {}
CHECKSUMS: dict[str, object] = {"summary_mode": "md5", "hash": "crc32"}
TENSORS: dict[str, object] = {"file_format": "pt"}
MONITORED = ROOT / "tests" / "dump" / "monitor" / "msprobe_26_2"
NAMES = ("NPU Name", "Bench Name")

pytestmark = pytest.mark.slow


def _msprobe(version: str) -> str:
    python = os.environ.get(f"MSPROBE_{version.replace('.', '_')}", "")
    if not Path(python).is_file():
        pytest.skip(f"mindstudio-probe {version} is not installed: make test-frameworks")
    return str(Path(python).with_name("msprobe"))


def _command(version: Version, name: str) -> list[str]:
    return [name] if version == "26.2.0" else ["-f", "pytorch", name]


def _run(command: list[str], cwd: Path, **variables: str) -> str:
    cwd.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACC_", "PYTHONPATH"))}
    done = subprocess.run(command, cwd=cwd, env={**kept, **variables}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


def _record(script: str, folder: Path, section: dict[str, object], **variables: str) -> Path:
    """The folder of step 0."""
    folder.mkdir(parents=True)
    settings = {
        "task": "tensor" if section is TENSORS else "statistics",
        "dump_path": "dump",
        "level": "mix",
        "step": [],
        "rank": [],
        "tensor" if section is TENSORS else "statistics": section,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "dump", "--as-msprobe", str(SCRIPTS / f"{script}.py"), "config.json"]
    _run(command, folder, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", **variables)
    return folder / "dump" / "step0"


def _pair(script: str, folder: Path, section: dict[str, object]) -> tuple[Path, Path]:
    npu, bench = _record(script, folder / "npu", section, FAULT="1"), _record(script, folder / "bench", section)
    (npu_file,), (bench_file,) = npu.glob("*/dump.json"), bench.glob("*/dump.json")
    return npu_file, bench_file


def _compare(
    command: list[str], version: Version, pair: tuple[Path, Path], out: Path, **variables: str
) -> list[list[str]]:
    """The table that a command `msprobe` writes of the pair."""
    out.mkdir(parents=True)
    npu, bench = pair
    if version == "26.2.0":
        _run([*command, "compare", "-tp", str(npu), "-gp", str(bench), "-o", str(out)], out, **variables)
        (path,) = out.glob("*.csv")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file))
    asked = {"npu_path": str(npu), "bench_path": str(bench), "stack_path": str(npu.with_name("stack.json"))}
    (out / "compare.json").write_text(json.dumps({**asked, "is_print_compare_log": True}))
    _run([*command, "-f", "pytorch", "compare", "-i", "compare.json", "-o", str(out), "-s"], out, **variables)
    (path,) = out.glob("*.xlsx")
    rows = openpyxl.load_workbook(path).worksheets[0].iter_rows(values_only=True)
    return [["" if cell is None else str(cell) for cell in row] for row in rows]


@pytest.mark.parametrize("script", ["pair", "nonfinite"])
@pytest.mark.parametrize("section", [STATISTICS, CHECKSUMS, TENSORS], ids=["statistics", "md5", "tensor"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_shims_comparison_writes_msprobes_rows(
    version: Version, section: dict[str, object], script: str, tmp_path: Path
) -> None:
    real = _msprobe(version)
    pair = _pair(script, tmp_path, section)
    theirs = _compare([real], version, pair, tmp_path / "theirs")
    shim = [sys.executable, "-m", "acc_compare.as_msprobe.command"]
    ours = _compare(shim, version, pair, tmp_path / "ours", PYTHONPATH=str(ROOT))
    assert ours[0] == theirs[0]
    names = [ours[0].index(name) for name in NAMES]
    assert [[row[at] for at in names] for row in ours] == [[row[at] for at in names] for row in theirs]
    differ = [
        (row[0], name, cell, other)
        for row, others in zip(ours[1:], theirs[1:], strict=True)
        for name, cell, other in zip(ours[0], row, others, strict=True)
        if not same(cell, other)
    ]
    assert differ == []


def test_its_graph_is_made_of_our_construct_and_dump(tmp_path: Path) -> None:
    """Of 26.2.0: that of 8.3.3 wants an output of each message that is sent, of which ours has none."""
    real = _msprobe("26.2.0")
    step = _record("two_ranks", tmp_path / "run", STATISTICS)
    _run([real, "graph_visualize", "-tp", str(step), "-o", str(tmp_path / "graph")], tmp_path)
    (path,) = (tmp_path / "graph").glob("*.vis.db")
    with sqlite3.connect(path) as database:
        found = dict(database.execute("select node_name, matched_distributed from tb_nodes where rank = 0"))
    reduced = json.loads(found["Distributed.all_reduce.0.forward"])
    assert list(reduced["nodes_info"]) == ["1"]
    assert json.loads(found["Distributed.send.0.forward"])["communications_type"] == "send"


@pytest.mark.parametrize("version", VERSIONS)
def test_its_analysis_of_nan_and_ours_find_the_call_that_made_it(version: Version, tmp_path: Path) -> None:
    real = _msprobe(version)
    step = _record("two_ranks", tmp_path / "run", STATISTICS)
    name = "overflow_check" if version == "26.2.0" else "nan_analyze"
    _run([real, *_command(version, name), "-i", str(step), "-o", str(tmp_path / "nan")], tmp_path)
    (theirs,) = (tmp_path / "nan").glob("*.json")
    found = {rank: [made["op_name"] for made in all_of] for rank, all_of in json.loads(theirs.read_text()).items()}
    assert found == {"rank_0": ["Torch.log.0.forward"]}
    shim = [sys.executable, "-m", "acc_compare.as_msprobe.command", "nan_analyze", "-i", str(step), "-o", "ours"]
    _run(shim, tmp_path, PYTHONPATH=str(ROOT))
    (own,) = (tmp_path / "ours").glob("*.json")
    assert [(made["rank"], made["call"]) for made in json.loads(own.read_text())] == [(0, "Torch.log.0.forward")]


def test_its_database_of_a_monitored_run_and_ours_hold_the_same(tmp_path: Path) -> None:
    """Cells to the last digit but one: pandas reads some decimal numbers off by one unit."""
    python = Path(_msprobe("8.3.3")).with_name("python")
    run = tmp_path / "runs" / "Nov22_13-26-22-rank1-Ab3d"
    shutil.copytree(MONITORED, run, ignore=lambda folder, names: [name for name in names if not name.endswith(".csv")])
    for name, command in (("theirs", [str(python)]), ("ours", [sys.executable])):
        path = {} if name == "theirs" else {"PYTHONPATH": str(ROOT)}
        home = "msprobe.core.monitor.csv2db" if name == "theirs" else "dump.monitor.csv2db"
        code = (
            f"from {home} import *\nif __name__ == '__main__':"
            f" csv2db(CSV2DBConfig({str(tmp_path / 'runs')!r}, output_dirpath={name!r}, step_partition=10))"
        )
        (tmp_path / f"{name}.py").write_text(code)
        _run([*command, f"{name}.py"], tmp_path, **path)
    theirs, ours = (_tables(tmp_path / name / "monitor_metrics.db") for name in ("theirs", "ours"))
    assert theirs.keys() == ours.keys()
    assert sum(len(rows) for _, rows in ours.values()) > 500
    for name, (columns, rows) in theirs.items():
        assert ours[name][0] == columns
        assert [row[:3] for row in ours[name][1]] == [row[:3] for row in rows]
        for own, other in zip(ours[name][1], rows, strict=True):
            assert [cell is None for cell in own] == [cell is None for cell in other]
            numbers = [[cell for cell in row[3:] if cell is not None] for row in (own, other)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-14)


def _tables(path: Path) -> dict[object, tuple[list[tuple[object, ...]], list[tuple[object, ...]]]]:
    """Columns and rows, by the names of what they are of; the order of numbers is the tool's own."""
    with sqlite3.connect(path) as database:
        kinds = dict(database.execute("select metric_id, metric_name from monitoring_metrics"))
        targets = {number: tuple(rest) for number, *rest in database.execute("select * from monitoring_targets")}
        facts = [(name, value, "") for name, value in database.execute("select * from global_stats order by 1")]
        stats = sorted((kinds[number], name, "") for number, name in database.execute("select * from metric_stats"))
        found: dict[object, Any] = {"facts": ([], facts), "statistics": ([], stats)}
        for number, kind in kinds.items():
            table = f"metric_{number}_step_0_9"
            columns = database.execute(f"pragma table_info({table})").fetchall()
            rows = [
                (rank, step, targets[key], *rest)
                for rank, step, key, *rest in database.execute(f"select * from {table}")
            ]
            found[kind] = columns, sorted(rows, key=lambda row: row[:3])
    return found
