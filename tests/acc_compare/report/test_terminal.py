"""Suspects on a terminal: colours where they are wanted, a table that fits, nothing of a name executed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acc_compare.report.terminal import LISTED, is_coloured, severity, suspects_table
from acc_compare.report.wrapping import columns

SAMPLES = Path(__file__).resolve().parents[3] / "sample_dumps"


@pytest.mark.parametrize("width", [40, 60, 79, 80, 120])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_it_fits_every_window(build: Any, width: int, lang: Any) -> None:
    suspects = tuple(build.suspect(name=f"Functional.scaled_dot_product_attention.{n}.forward") for n in range(30))
    shown = suspects_table(replace(build.gelu(), suspects=suspects), width=width, lang=lang, colour=False)
    assert max(map(columns, shown.splitlines())) <= width
    assert "Functional." in shown
    assert f"{30 - LISTED}" in shown.splitlines()[-1] + shown.splitlines()[-2]


def test_colours_go_by_how_far_off_a_suspect_is(build: Any) -> None:
    excesses = {1e5: "red", 50.0: "yellow", 5.0: "cyan", float("inf"): "red", None: "red"}
    assert [severity(build.suspect(excess=excess)) for excess in excesses] == list(excesses.values())
    assert "\x1b[31m" in suspects_table(build.gelu(), width=100)
    assert "\x1b" not in suspects_table(build.gelu(), width=100, colour=False)


def test_without_suspects_there_is_nothing(build: Any) -> None:
    assert suspects_table(build.same(), width=100) == ""


def test_a_name_is_text(build: Any) -> None:
    hostile = replace(build.gelu(), suspects=(build.suspect(name="[red]a[/red]\x1b[2J:smile:\nb"),))
    shown = suspects_table(hostile, width=120, colour=False)
    assert "[red]a[/red]" in shown
    assert "\x1b" not in shown
    assert ":smile:" in shown


def test_a_pipe_and_no_color_have_no_colours(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        assert not is_coloured(stream, None)
    primary, secondary = pty.openpty()
    with os.fdopen(secondary, "w") as terminal:
        assert is_coloured(terminal, None)
        assert not is_coloured(terminal, "1")
    os.close(primary)


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_the_command_on_a_terminal(tmp_path: Path, no_color: str, coloured: bool) -> None:
    primary, secondary = pty.openpty()
    sides = [str(SAMPLES / name) for name in ("gelu_in_bfloat16", "bench_statistics")]
    process = subprocess.Popen(
        [sys.executable, "-m", "acc_compare", "compare", *sides, "-o", str(tmp_path), "--no-html"],
        stdout=secondary,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": no_color, "COLUMNS": "70", "TERM": "xterm"},
    )
    os.close(secondary)
    written = b""
    while True:
        try:
            piece = os.read(primary, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(primary)
    assert process.wait() == 1
    text = written.decode("utf-8")
    assert "Functional.gelu.1.forward" in text
    assert ("\x1b[31m" in text) == coloured


def test_the_command_in_a_pipe_prints_the_advisor_alone(tmp_path: Path) -> None:
    sides = [str(SAMPLES / name) for name in ("gelu_in_bfloat16", "bench_statistics")]
    done = subprocess.run(
        [sys.executable, "-m", "acc_compare", "compare", *sides, "-o", str(tmp_path), "--no-html"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("DIFFERENT: ")
    assert "\x1b" not in done.stdout
