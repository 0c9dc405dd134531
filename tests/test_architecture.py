"""The drawing in the design holds: imports run one way, torch stays where it belongs, files stay readable."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for package in ("dump", "acc_compare") for path in (ROOT / package).rglob("*.py"))
MOST_LINES = 450
TORCHLESS = ("__init__", "results", "taken_in", "wanted")
"""What a replay hands to reports and to the comparison; the rest of `acc_compare.replay` makes calls of torch's."""
REPLAY_KNOWS = ["dump.intercept.catalog", "dump.record.tree", "dump.torch_internals", "dump.environment.numerics"]
FORMAT_THIRD_PARTIES = {"numpy", "ml_dtypes", "msgspec", "safetensors"}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, wherever in it; relative ones are resolved."""
    package = _name(path) if path.name == "__init__.py" else _name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")
                parent = parent[: len(parent) - node.level + 1]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in _imports(path)}


def _is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


FORMAT = [path for path in SOURCES if _is_within(_name(path), "dump.format")]
DUMP = [path for path in SOURCES if _is_within(_name(path), "dump")]
COMPARE = [path for path in SOURCES if _is_within(_name(path), "acc_compare")]


@pytest.mark.parametrize("path", FORMAT, ids=_ids(FORMAT))
def test_the_format_rests_on_nothing_of_ours(path: Path) -> None:
    inner = {name for name in _imports(path) if _is_within(name, "dump", "acc_compare")}
    assert {name for name in inner if not _is_within(name, "dump.format")} <= {"dump"}
    assert _tops(path) - {"dump"} <= FORMAT_THIRD_PARTIES | set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", COMPARE, ids=_ids(COMPARE))
def test_comparing_knows_the_format_and_never_torch(path: Path) -> None:
    names = set(_imports(path))
    replays = _is_within(_name(path), "acc_compare.replay") and path.stem not in TORCHLESS
    assert replays or not any(_is_within(name, "torch", "torch_npu") for name in names)
    allowed = ["dump.format"]
    if _is_within(_name(path), "acc_compare.cli"):
        allowed.append("dump.cli")
    if replays:
        allowed += REPLAY_KNOWS
    ours = {name for name in names if _is_within(name, "dump")} - {"dump"}
    assert {name for name in ours if not _is_within(name, *allowed)} == set()


@pytest.mark.parametrize("path", DUMP, ids=_ids(DUMP))
def test_recording_does_not_know_the_comparison(path: Path) -> None:
    assert "acc_compare" not in _tops(path)


@pytest.mark.parametrize("path", SOURCES, ids=_ids(SOURCES))
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES


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
