"""Write docs/replay.md: the worked cases with what the commands print now.

python docs/replay.py
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path(__file__).with_name("replay.md")
BEGIN, END = "<!-- {}: begin -->\n", "<!-- {}: end -->\n"
CASES = {
    "replay": ("acc replay sample_dumps/real_data --against sample_dumps/bench_tensor", "Written:"),
    "repro": (
        "acc repro sample_dumps/real_data --call Functional.gelu.1.forward\n"
        "python repro_Functional.gelu.1.forward/repro.py cpu",
        "",
    ),
    "nan": ("acc nan sample_dumps/nan_in_layer_norm", ""),
}
"""The commands that the page shows by the name of their block, and where what they print is cut off."""


@contextlib.contextmanager
def users_folder() -> Iterator[Path]:
    """A folder with the samples in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sample_dumps").symlink_to(ROOT / "sample_dumps")
        yield folder


def printed(command: str, folder: Path) -> str:
    """What `command` prints in `folder`, and its exit code where that is not 0."""
    first, *rest = command.split()
    start = [sys.executable, "-m", "acc_compare"] if first == "acc" else [sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([*start, *rest], cwd=folder, capture_output=True, text=True, check=False, env=environment)
    if ran.returncode > 1:
        raise RuntimeError(ran.stderr)
    return ran.stdout


def blocks() -> Iterator[tuple[str, str]]:
    """Each case as a block of Markdown."""
    with users_folder() as folder:
        for name, (commands, cut) in CASES.items():
            lines = []
            for command in commands.splitlines():
                text = printed(command, folder)
                text = text.partition(cut)[0] if cut else text
                lines += [f"$ {command}", text.rstrip()]
            yield name, "```\n" + "\n".join(lines) + "\n```\n"
        shutil.rmtree(folder / "compare_result", ignore_errors=True)


def page() -> str:
    """The page with its blocks made anew.  Raises ValueError where a marker is missing."""
    text = PAGE.read_text(encoding="utf-8")
    for name, block in blocks():
        begin, end = BEGIN.format(name), END.format(name)
        start, stop = text.index(begin) + len(begin), text.index(end)
        text = text[:start] + block + text[stop:]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
