"""What the pages under docs say of the code is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import file_modules
import ml_dtypes
import numpy as np
import pytest

from acc_compare.align.mapping_file import read_rules
from acc_compare.metrics.distance import REAL_DATA, measure
from acc_compare.metrics.sketches import SKETCHED
from acc_compare.metrics.statistics import STATISTICS
from acc_compare.report.columns import as_cell

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DECISIONS = [path.relative_to(ROOT) for path in (DOCS / "decisions").glob("*.md")]


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    return file_modules.load(DOCS / "refresh.py", "refresh")


def fenced(page: str, language: str) -> list[str]:
    """The code blocks of one language on a page."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_table_of_fused_operators_is_the_one_that_is_shipped(refresh: ModuleType) -> None:
    text = (ROOT / refresh.MAPPING).read_text(encoding="utf-8")
    assert refresh.between(text, refresh.known_pairs_block(), refresh.PAIRS) == text


def test_the_mapping_on_the_page_is_read(tmp_path: Path) -> None:
    (example,) = fenced("mapping.md", "yaml")
    path = tmp_path / "map.yaml"
    path.write_text(example, encoding="utf-8")
    rules = read_rules(path)
    assert rules.renaming.modules == {"encoder.layers.*.attn": "decoder.blocks.*.attention"}
    assert rules.fused[0].name == "my_norm"
    assert len(rules.fused) > 5


@pytest.mark.slow
def test_the_tests_on_the_page_run_and_fail_as_shown(tmp_path: Path) -> None:
    (tmp_path / "test_port.py").write_text(fenced("testing.md", "python")[0], encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "--rootdir=.",
        "test_port.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout
    printed = ran.stdout.replace(f"{tmp_path}{os.sep}", "")
    shown = re.search(r"```\n(E .*?)```", (DOCS / "testing.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    for line in shown[1].splitlines():
        assert _without_numbers(line).rstrip() in _without_numbers(printed), line


def _without_numbers(text: str) -> str:
    """Measured numbers differ between processors."""
    return re.sub(r"[0-9][0-9.,]*(e-?[0-9]+)?", "#", text)


def test_the_columns_on_the_page_are_those_that_are_measured() -> None:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    _, real, statistics, _ = re.split(r"^## ", text, maxsplit=3, flags=re.MULTILINE)
    for part, tables in ((real, (REAL_DATA,)), (statistics, (STATISTICS, SKETCHED))):
        named = re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE)
        assert named == [column for table in tables for column in table.columns]


def _examples() -> list[list[str]]:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8").partition("<!-- examples -->\n")[2]
    rows = [line.strip("|").split("|") for line in text.partition("\n\n")[0].splitlines()]
    return [[cell.strip() for cell in row] for row in (rows[0], *rows[2:])]


@pytest.mark.parametrize("example", _examples()[1:], ids=" ".join)
def test_the_examples_on_the_page_hold(example: list[str]) -> None:
    header = _examples()[0]
    npu, bench = (_array(text, example[2]) for text in example[:2])
    cells = REAL_DATA.cells(measure(npu, bench))
    for column, shown in zip(header[3:], example[3:], strict=True):
        found = as_cell(cells[column])
        if isinstance(found, str):
            assert found == shown, column
        else:
            assert found == pytest.approx(float(shown), rel=2e-4), column


def _array(text: str, dtype: str) -> np.ndarray:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    read = complex if kind.kind == "c" else int if kind.kind in "ib" else float
    return np.array([read(word) for word in text.split()], dtype=kind)


def test_the_metric_on_the_page_gets_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REAL_DATA, "_measures", dict(REAL_DATA._measures))
    (example,) = fenced("metrics.md", "python")
    exec(compile(example, "metrics.md", "exec"), {})
    assert REAL_DATA.cells(measure(np.ones(3), np.ones(3)))["Finite"] == 3
    assert REAL_DATA.explanation("Finite") == "How many elements are finite on both sides."


@pytest.mark.slow
def test_the_registration_on_the_npu_page_runs() -> None:
    (example,) = fenced("npu.md", "python")
    child = f"{example}\nfrom dump.intercept.naming import NAMES\nprint(NAMES.key('_C_ascend::op'))"
    done = subprocess.run(
        [sys.executable, "-c", child], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "_C_ascend.op\n"), done.stderr


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", *sorted(map(str, DECISIONS))])
def test_files_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"(?:acc_compare|dump|tests|benchmarks|shims|docs)/[\w./]*\w", text)
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    assert named or linked
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [name for name in linked if not (ROOT / page).parent.joinpath(name).exists()] == []


def test_every_page_is_one_of_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2].partition("\n\n")[0]
    named = re.findall(r"[\w./]+\.md", nav)
    assert sorted(named) == sorted(dict.fromkeys(named))
    assert {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} <= set(named)
    beside = {name for name in named if not (DOCS / name).is_file()}
    listed = re.findall(r'"([\w./]+\.md)"', (DOCS / "site.py").read_text(encoding="utf-8"))
    assert beside == set(listed)


def test_links_on_the_npu_page_lead_to_files() -> None:
    targets = re.findall(r"\]\(([^)#]+\.md)\)", (DOCS / "npu.md").read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (DOCS / target).exists()] == []


@pytest.mark.slow
def test_the_cases_of_the_replay_page_are_what_the_commands_print() -> None:
    """But for their numbers, whose last digits are those of a CPU's vector arithmetic."""
    module = file_modules.load(DOCS / "replay.py", "replay_page")

    def words(text: str) -> list[str]:
        return re.sub(r"-?\d[\d.,]*(?:e-?\d+)?", "0", text).split()

    assert words(module.PAGE.read_text(encoding="utf-8")) == words(module.page())
