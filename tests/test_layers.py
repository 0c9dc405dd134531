"""Imports within each package go down a fixed order of layers, and no two files import each other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import source_imports

ROOT = Path(__file__).parents[1]

PACKAGES = ("dump", "acc_compare")

LAYERS: tuple[tuple[str, ...], ...] = (
    ("dump.native", "dump.unrecorded", "dump.working_folder"),
    ("dump.format",),
    ("dump.torch_internals",),
    ("dump.older_torch",),
    ("dump.config_keys",),
    ("dump.config",),
    ("dump.environment",),
    ("dump.sim",),
    ("dump.record",),
    ("dump.intercept", "dump.write"),
    ("dump.redirect",),
    ("dump.config_reload", "dump.coverage", "dump.sampling", "dump.step_output", "dump.tokens", "dump.after_step"),
    ("dump.live",),
    ("dump.installed", "dump.session_files"),
    ("dump.session",),
    ("dump.service",),
    ("dump.debugger", "dump.workload", "dump.monitor"),
    ("dump.as_msprobe",),
    ("dump.cli",),
    ("dump", "dump.__main__", "dump.monitor.__main__"),
    ("acc_compare.messages", "acc_compare.stacks", "acc_compare.row_names", "acc_compare.shadowed"),
    ("acc_compare.model",),
    ("acc_compare.operators", "acc_compare.collectives", "acc_compare.handed_on"),
    ("acc_compare.micro_batches",),
    ("acc_compare.load", "acc_compare.metrics"),
    ("acc_compare.assembled",),
    ("acc_compare.combined", "acc_compare.in_order"),
    ("acc_compare.wholes", "acc_compare.at_fault"),
    ("acc_compare.declared", "acc_compare.odd_copies", "acc_compare.other_order", "acc_compare.sharing"),
    ("acc_compare.joining", "acc_compare.stages"),
    ("acc_compare.experts", "acc_compare.expert_updates", "acc_compare.stage_names"),
    ("acc_compare.align",),
    ("acc_compare.experts_alone", "acc_compare.exchanged_updates"),
    ("acc_compare.measured",),
    ("acc_compare.error_patterns",),
    ("acc_compare.judge",),
    ("acc_compare.first_nan", "acc_compare.one_pair", "acc_compare.gather", "acc_compare.runners"),
    ("acc_compare.replay", "acc_compare.many", "acc_compare.steps_apart", "acc_compare.worlds"),
    ("acc_compare.report",),
    ("acc_compare.comparison",),
    ("acc_compare.testing",),
    ("acc_compare.monitor", "acc_compare.serving"),
    ("acc_compare.as_msprobe",),
    ("acc_compare.cli",),
    ("acc_compare", "acc_compare.__main__", "acc_compare.error_patterns.__main__"),
)
"""From the bottom up.  A file imports from its own group and from lower layers; groups of one layer know nothing of
each other.  On top stand the doors: the names that `dump` hands out, and what `python -m` starts."""


def _imports(path: Path, root: Path, known: set[str]) -> Iterator[str]:
    """The files of ours that a file imports."""
    for module, name in source_imports.imports(path, root):
        inner = f"{module}.{name}"
        yield from [inner] if inner in known else [module] if module in known else []


def graph(root: Path) -> dict[str, set[str]]:
    """Which of our files imports which others of its package."""
    sources = (path for package in PACKAGES if (root / package).is_dir() for path in (root / package).rglob("*.py"))
    paths = {source_imports.module_name(path, root): path for path in sources}
    found = {name: set(_imports(path, root, set(paths))) - {name} for name, path in paths.items()}
    # What the comparison may know of the recorder is in test_architecture.
    return {
        name: {other for other in others if other.partition(".")[0] == name.partition(".")[0]}
        for name, others in found.items()
    }


def _groups(name: str) -> list[tuple[int, int, str]]:
    """The groups of a file: the length of the group's name, its layer, the name."""
    return [
        (len(group), number, group)
        for number, layer in enumerate(LAYERS)
        for group in layer
        if name == group or (name.startswith(f"{group}.") and group not in PACKAGES)
    ]


def _place(name: str) -> tuple[int, str]:
    """The layer of a file and its group in it, by the longest prefix."""
    _, number, group = max(_groups(name))
    return number, group


def forbidden(edges: dict[str, set[str]]) -> list[str]:
    """Imports that go up, or aside."""
    return sorted(
        f"{name} imports {other}"
        for name, others in edges.items()
        for other in others
        if _place(other)[0] > _place(name)[0]
        or (_place(other)[0] == _place(name)[0] and _place(other)[1] != _place(name)[1])
    )


def cycles(edges: dict[str, set[str]]) -> list[str]:
    """The files that lie on a circle: what is left when all that imports nothing left is taken away, both ways."""
    left = dict(edges)
    while True:
        outer = {
            name
            for name, others in left.items()
            if not others & left.keys() or not any(name in each for each in left.values())
        }
        if not outer:
            return sorted(left)
        left = {name: others for name, others in left.items() if name not in outer}


EDGES = graph(ROOT)


def test_every_file_has_its_layer() -> None:
    assert [name for name in sorted(EDGES) if not _groups(name)] == []


def test_imports_go_down() -> None:
    assert forbidden(EDGES) == []


def test_no_files_import_each_other() -> None:
    assert cycles(EDGES) == []


def test_the_map_is_drawn_from_real_imports() -> None:
    assert "dump.record.recorder" in EDGES["dump.intercept.watch"]
    assert "acc_compare.judge.noise" in EDGES["acc_compare.judge.walk"]
    assert "dump.redirect" in EDGES["dump.cli.starting"]  # within a function
    assert sum(map(len, EDGES.values())) > 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "line", "breaks"),
    [
        ("dump/record/stack.py", "from ..intercept import watch", "dump.record.stack imports dump.intercept.watch"),
        ("dump/format/names.py", "from dump.config import merge", "dump.format.names imports dump.config"),
        (
            "dump/write/backlog.py",
            "def f(): from ..intercept.watch import Watch",
            "dump.write.backlog imports dump.intercept",
        ),
        (
            "acc_compare/judge/verdict.py",
            "from acc_compare.report.i18n import text",
            "acc_compare.judge.verdict imports acc_compare.report",
        ),
        (
            "acc_compare/measured/pairs.py",
            "def f(): from acc_compare.judge import classic",
            "acc_compare.measured.pairs imports acc_compare.judge",
        ),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, path: str, line: str, breaks: str) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert forbidden(graph(tmp_path)) == []
    with (tmp_path / path).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{line}\n")
    assert any(found.startswith(breaks) for found in forbidden(graph(tmp_path)))


def test_a_circle_within_a_layer_is_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": set()}) == ["b", "c"]
