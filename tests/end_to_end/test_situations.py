"""Recorded or not, every situation gives the same bits, the same warnings at the same lines, the same exceptions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from .situations import SITUATIONS

SCRIPT = Path(__file__).with_name("situations.py")
FURTHER = tuple(SCRIPT.with_name(f"{name}_situations.py") for name in ("rare", "newer"))
QUICK = ("fx_pass", "subclass_by_identity", "container_with_a_table", "function_mode", "warned", "pickled_functions")
TENSORS = ("--task", "tensor", "--audit", "--remeasure")


def _run(command: Sequence[str], names: Sequence[str], script: Path = SCRIPT, **variables: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, *command, str(script), *names],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)


@cache
def _alone(names: Sequence[str]) -> dict[str, str]:
    return _run((), names)


def _differences(found: dict[str, str], names: Sequence[str]) -> dict[str, tuple[str, str]]:
    alone = _alone(names)
    assert found.keys() == alone.keys() == set(names)
    return {name: (alone[name], line) for name, line in found.items() if line != alone[name]}


def _recorded(folder: Path, names: Sequence[str], *options: str) -> dict[str, str]:
    return _run(("-m", "dump", "--step", "all", "-o", str(folder), "-s", *options), names)


@pytest.mark.slow
def test_a_few_situations_are_the_same_under_the_command(tmp_path: Path) -> None:
    assert _differences(_recorded(tmp_path / "dump", QUICK), QUICK) == {}


@pytest.mark.slow
def test_every_situation_is_the_same_under_the_command(tmp_path: Path) -> None:
    names = tuple(SITUATIONS)
    assert _differences(_recorded(tmp_path / "dump", names), names) == {}


@pytest.mark.slow
def test_every_situation_is_the_same_with_tensors_audited_and_measured_anew(tmp_path: Path) -> None:
    names = tuple(SITUATIONS)
    assert _differences(_recorded(tmp_path / "dump", names, *TENSORS), names) == {}


@pytest.mark.slow
def test_every_situation_is_the_same_with_a_debugger(tmp_path: Path) -> None:
    names = tuple(SITUATIONS)
    assert _differences(_run((), names, RECORD=str(tmp_path / "dump")), names) == {}


@cache
def _all_alone(script: Path) -> dict[str, str]:
    return _run((), (), script)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), TENSORS, None], ids=["statistics", "tensors", "a debugger"])
@pytest.mark.parametrize("script", FURTHER, ids=lambda script: script.stem)
def test_rarer_and_newer_situations_are_the_same(tmp_path: Path, script: Path, options: Sequence[str] | None) -> None:
    folder = str(tmp_path / "dump")
    if options is None:
        found = _run((), (), script, RECORD=folder)
    else:
        found = _run(("-m", "dump", "--step", "all", "-o", folder, "-s", *options), (), script)
    alone = _all_alone(script)
    assert found.keys() == alone.keys()
    assert {name: (alone[name], line) for name, line in found.items() if line != alone[name]} == {}
