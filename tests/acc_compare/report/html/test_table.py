from __future__ import annotations

import re
from typing import Any

import pytest

from acc_compare.report.columns import ABSENT, COLUMNS, cells, columns_of
from acc_compare.report.html.packing import unpack
from acc_compare.report.html.table import explained, pack_cells, pack_rows
from acc_compare.row_names import split_names


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Functional.gelu.2.forward.output.0", ("Functional.gelu.2.forward", "output.0")),
        ("Tensor.mul.3.backward.input.0", ("Tensor.mul.3.backward", "input.0")),
        ("Module.a.0.act.GELU.forward.12.input.x.1", ("Module.a.0.act.GELU.forward.12", "input.x.1")),
        (
            "Module.fc.Linear.parameters_grad.0.parameters_grad.weight",
            ("Module.fc.Linear.parameters_grad.0", "parameters_grad.weight"),
        ),
        ("Optimizer.AdamW.0.forward.input.param.w", ("Optimizer.AdamW.0.forward", "input.param.w")),
        ("strange.call.output.0", ("strange.call", "output.0")),
        ("strange", ("strange", "")),
        ("", ("", "")),
    ],
)
def test_a_name_is_a_call_and_an_argument(name: str, parts: tuple[str, str]) -> None:
    assert list(split_names([name, name])) == [parts, parts]


@pytest.mark.parametrize("mode", ["tensor", "statistics", "md5"])
def test_the_page_has_the_cells_of_the_workbook(build: Any, mode: str) -> None:
    finding = build.gelu(mode, size=60, stacks=True)
    packed = pack_rows(finding, "en")
    lines = list(cells(finding.rows, columns_of(finding)))
    assert [column.name for column in packed.columns] == [column.name for column in columns_of(finding)]
    for number, column in enumerate(packed.columns):
        parts = [unpack(block) for block in column.blocks]
        found = [
            ABSENT if row[0] is None else ".".join(str(part) for part in row) if len(row) > 1 else row[0]
            for row in zip(*parts, strict=True)
        ]
        assert found == [line[number] for line in lines], column.name


def test_a_table_read_from_a_file_packs_as_the_rows_do(build: Any) -> None:
    finding = build.gelu("statistics", size=60)
    columns = columns_of(finding)
    lines = list(cells(finding.rows, columns))
    wanted = ["Functional.gelu.2.forward", "Functional.gelu.2.forward.output.0"]
    read = pack_cells(columns, [list(column) for column in zip(*lines, strict=True)], wanted)
    made = pack_rows(finding, "en", wanted)
    assert read.rows == made.rows
    assert read.places == made.places
    assert list(read.places) == wanted
    for ours, theirs in zip(read.columns, made.columns, strict=True):
        assert [unpack(block) for block in ours.blocks] == [unpack(block) for block in theirs.blocks], ours.name


def test_messages_are_in_the_language_of_the_page(make: Any) -> None:
    ours, theirs = make.Run(), make.Run()
    x = make.normal(8)
    ours.call("Functional.relu.0.forward", [x], [x])
    ours.call("Functional.gelu.0.forward", [x], [x])
    theirs.call("Functional.relu.0.forward", [x], [x])
    finding = make.judged(ours, theirs)
    said = {}
    for lang in ("en", "zh"):
        column = next(column for column in pack_rows(finding, lang).columns if column.name == "Err_Message")
        said[lang] = unpack(column.blocks[0])
    assert said["en"] != said["zh"]
    assert [bool(message) for message in said["en"]] == [bool(message) for message in said["zh"]]


def test_values_of_a_recording_are_there_for_the_dataflow(make: Any) -> None:
    run = make.Run()
    x, y = make.normal(8), make.normal(8, seed=1)
    run.call("Functional.relu.0.forward", [x], [y])
    run.call("Functional.gelu.0.forward", [y], [x])
    finding = make.judged(run, run)
    column = pack_rows(finding, "en").columns[-1]
    assert column.name == "@value"
    read, made, again, _ = unpack(column.blocks[0])
    assert made == again != read


@pytest.mark.parametrize("mode", ["tensor", "statistics", "md5"])
def test_columns_are_explained_in_the_language_of_the_page(build: Any, mode: str) -> None:
    finding = build.gelu(mode, size=60, stacks=True)
    for column in pack_rows(finding, "zh").columns:
        assert re.search("[\u4e00-\u9fff]", column.explanation) or column.name.startswith("@"), column.name
    assert not any(re.search("[\u4e00-\u9fff]", column.explanation) for column in pack_rows(finding, "en").columns)


@pytest.mark.parametrize("mode", ["tensor", "statistics", "md5"])
def test_every_column_has_an_explanation_in_chinese(mode: str) -> None:
    told = {column.name: explained(column, mode, "zh") for column in COLUMNS[mode]}
    assert all(re.search("[\u4e00-\u9fff]", said) for said in told.values())
    assert ("百分比" in told.get("MaxRelativeErr", "")) == (mode == "statistics")
