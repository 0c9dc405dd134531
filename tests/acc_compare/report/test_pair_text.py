from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acc_compare.cli import main
from acc_compare.report.columns import as_cell, columns_of
from acc_compare.report.pair_text import pair_text, pairs_json, pairs_of
from dump.format.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
GELU = "Functional.gelu.2.forward"


def test_a_pair_has_every_argument_and_every_column(build: Any) -> None:
    finding = build.gelu(stacks=True)
    ((found, rows),) = pairs_of([finding, build.same()], GELU)
    assert found is finding
    assert [row.npu_name for row in rows] == [f"{GELU}.input.0", f"{GELU}.output.0"]
    (read,) = json.loads(pairs_json([(found, rows)]))
    assert read["rows"] == [{c.name: as_cell(c.read(row)) for c in columns_of(finding)} for row in rows]
    text = pair_text(found, rows)
    assert "input.0\n" in text
    assert "model.py" in text
    assert f"{rows[1].excess:.9g}" in text


def test_a_call_is_found_by_the_name_of_the_bench(build: Any) -> None:
    rows = (build.row("NPU.npu_gelu.0.forward.output.0", bench_name=f"{GELU}.output.0"),)
    finding = build.gelu(rows=rows)
    assert pairs_of([finding], GELU)[0][1] == rows
    assert pair_text(finding, rows).startswith(f"NPU.npu_gelu.0.forward against {GELU}\n")


def test_a_call_that_is_nowhere_is_one_line(build: Any) -> None:
    with pytest.raises(ConfigError, match=r"there are Functional\.gelu\.2\.forward"):
        pairs_of([build.gelu()], "gelu.2")


def test_the_command(capsys: Any) -> None:
    samples = ROOT / "sample_dumps"
    sides = [str(samples / "gelu_in_bfloat16"), str(samples / "bench_statistics")]
    assert main(["diff", *sides, "--call", "Functional.gelu.1.forward", "--json"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)
    assert [row["Origin"] for row in pair["rows"]] == ["agrees", "N/A", "introduced"]
    assert main(["diff", *sides, "--call", "no"]) == 2
    assert capsys.readouterr().err.startswith("acc: error: --call: ")
