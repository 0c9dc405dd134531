"""The rows of one dump, laid beside the dump itself."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from acc_compare.report.html.dump_table import NAME, DumpTable, pack_dump, range_used
from acc_compare.report.html.packing import unpack
from acc_compare.report.html.table import VALUE
from dump.format.layout import find_dumps
from dump.format.reader import read_dump
from dump.format.schema import Dump, ScalarRecord, TensorRecord

SAMPLES = Path(__file__).resolve().parents[4] / "sample_dumps"


def sample(name: str) -> Dump:
    return read_dump(find_dumps(SAMPLES / name)[0].path)


def cells(table: DumpTable, name: str, part: int = 0) -> list[object]:
    return unpack(next(column for column in table.columns if column.name == name).blocks[part])


def test_every_argument_of_every_call_has_a_row() -> None:
    dump = sample("gelu_in_bfloat16")
    table = pack_dump(dump, "en")
    known = [
        (call.name, argument.name, argument.leaf)
        for call in dump.calls
        for group in (call.inputs, call.parameters, call.outputs, call.written)
        for argument in group
    ]
    assert table.rows == len(known)
    assert list(zip(cells(table, NAME), cells(table, NAME, 1), strict=True)) == [(a, b) for a, b, _ in known]
    assert cells(table, "l2norm") == [leaf.norm if isinstance(leaf, TensorRecord) else None for *_, leaf in known]
    assert cells(table, "Value") == [str(leaf.value) if isinstance(leaf, ScalarRecord) else None for *_, leaf in known]
    assert cells(table, VALUE) == [leaf.value if isinstance(leaf, TensorRecord) else None for *_, leaf in known]


def test_modules_and_stacks_are_those_of_the_call() -> None:
    table = pack_dump(sample("gelu_in_bfloat16"), "en", ["Functional.gelu.1.forward"])
    place = table.places["Functional.gelu.1.forward"]
    assert cells(table, NAME)[place] == "Functional.gelu.1.forward"
    assert cells(table, "Module")[place] == "blocks.1.act"
    assert "train.py" in str(cells(table, "Stack")[place])


def test_digests_have_a_column_and_no_statistics() -> None:
    names = {column.name for column in pack_dump(sample("md5"), "en").columns}
    assert "Value" in names
    assert not names & {"max", "l2norm", "Range Used"}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_columns_are_explained_in_the_language_of_the_page(lang: str) -> None:
    told = [column.explanation for column in pack_dump(sample("gelu_in_bfloat16"), lang).columns]  # type: ignore[arg-type]
    assert [any("\u4e00" <= char <= "\u9fff" for char in each) for each in told if each] == [lang == "zh"] * (
        len(told) - 1
    )


def tensor(dtype: str, high: float | None, **fields: object) -> TensorRecord:
    return TensorRecord(f"torch.{dtype}", (4,), max=high, min=-1.0, mean=0.0, norm=1.0, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("leaf", "share"),
    [
        (tensor("float16", 32752.0), 0.5),
        (tensor("float16", 0.5), 1 / 65504),
        (tensor("float16", math.nan), math.inf),
        (tensor("float16", 3.0, inf=1), math.inf),
        (tensor("int64", 3.0), None),
        (TensorRecord("torch.float16", (0,)), None),
        (ScalarRecord("float", 3.0), None),
        (None, None),
    ],
)
def test_how_much_of_a_range_is_used(leaf: object, share: float | None) -> None:
    assert range_used(leaf) == share  # type: ignore[arg-type]
