"""The drawing in the design holds: imports run one way, torch stays where it belongs, files stay readable."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import source_imports

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for package in ("dump", "acc_compare") for path in (ROOT / package).rglob("*.py"))
MOST_LINES = 400
CATALOGUES = {"dump/torch_internals.py"}
"""What is looked up and never read through may be longer: torch's private names, one entry after the other."""
TORCHLESS = ("__init__", "results", "operator_table", "taken_in", "wanted")
"""What a replay hands to reports and to the comparison; the rest of `acc_compare.replay` makes calls of torch's."""
REPLAY_KNOWS = [
    "dump.environment.numerics",
    "dump.intercept.catalog",
    "dump.record.contents",
    "dump.record.filters",
    "dump.record.observer",
    "dump.record.tree",
    "dump.torch_internals",
]
FORMAT_THIRD_PARTIES = {"fsspec", "numpy", "ml_dtypes", "msgspec", "safetensors"}


def _name(path: Path) -> str:
    return source_imports.module_name(path, ROOT)


def _imports(path: Path) -> Iterator[str]:
    """Dotted names of all that a file imports."""
    for module, name in source_imports.imports(path, ROOT):
        yield module
        if name:
            yield f"{module}.{name}"


def _tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in _imports(path)}


def _is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


OURS = ("dump", "acc_compare")
FORMAT = [path for path in SOURCES if _is_within(_name(path), "dump.format")]
DUMP = [path for path in SOURCES if _is_within(_name(path), "dump")]
COMPARE = [path for path in SOURCES if _is_within(_name(path), "acc_compare")]


def test_the_format_rests_on_nothing_of_ours() -> None:
    inner = {name for path in FORMAT for name in _imports(path) if _is_within(name, *OURS)}
    assert {name for name in inner if not _is_within(name, "dump.format")} <= {"dump"}
    known = {"dump"} | FORMAT_THIRD_PARTIES | set(sys.stdlib_module_names)
    assert {_name(path): found for path in FORMAT if (found := _tops(path) - known)} == {}


def test_comparing_knows_the_format_and_never_torch() -> None:
    wrong = []
    for path in COMPARE:
        names = set(_imports(path))
        replays = _is_within(_name(path), "acc_compare.replay") and path.stem not in TORCHLESS
        allowed = ["dump.format", "dump.native", "dump.working_folder"]
        if _is_within(_name(path), "acc_compare.cli"):
            allowed.append("dump.cli")
        if replays:
            allowed += REPLAY_KNOWS
        else:
            wrong += [f"{_name(path)} imports {name}" for name in names if _is_within(name, "torch", "torch_npu")]
        ours = {name for name in names if _is_within(name, "dump")} - {"dump"}
        wrong += [f"{_name(path)} imports {name}" for name in ours if not _is_within(name, *allowed)]
    assert wrong == []


def test_recording_does_not_know_the_comparison() -> None:
    assert [_name(path) for path in DUMP if "acc_compare" in _tops(path)] == []


def test_a_file_can_be_read_in_one_sitting() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("\n") for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES}.keys() == CATALOGUES


@pytest.mark.parametrize("modules", ["dump, acc_compare", "acc_compare.cli, dump", "dump.cli", "dump.format.reader"])
def test_torch_is_not_imported_by(modules: str) -> None:
    probe = f"import {modules}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
def test_importing_patches_nothing() -> None:
    probe = (
        "import sys, torch; before = dict(vars(torch.Tensor)), dict(vars(torch.nn.functional));"
        "import dump.session, dump.debugger, dump.cli.launch;"
        "after = dict(vars(torch.Tensor)), dict(vars(torch.nn.functional)); sys.exit(before != after)"
    )
    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=False).returncode == 0


def test_relative_imports_are_resolved() -> None:
    """The reading above is right about a file whose imports are known."""
    assert "dump.format.errors" in set(_imports(ROOT / "dump" / "session.py"))
    assert "dump.record.stack" in set(_imports(ROOT / "dump" / "intercept" / "calls.py"))
