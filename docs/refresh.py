"""Write the generated parts of the READMEs anew: the advisor's text of a sample.

    python docs/refresh.py [--workbook]

With `--workbook` also the picture docs/workbook.png, which needs LibreOffice and pdftoppm.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

from acc_compare import compare
from acc_compare.report.advisor import advisor_text

ROOT = Path(__file__).resolve().parent.parent
PAIR = (Path("sample_dumps/gelu_in_bfloat16"), Path("sample_dumps/bench_statistics"))
BEGIN, END = "<!-- advisor: begin -->\n", "<!-- advisor: end -->\n"
READMES = ("README.md", "README.zh-CN.md")


def advisor_block() -> str:
    """What `acc compare` prints of the sample, as a Markdown block."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        return f"```\n{advisor_text(compare(*PAIR).overall).rstrip()}\n```\n"
    finally:
        os.chdir(before)


def with_block(text: str, block: str) -> str:
    """`text` with `block` between the markers.  Raises ValueError where a marker is missing."""
    start, stop = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:start] + block + text[stop:]


def draw_workbook(target: Path) -> None:
    """The sample's Compare sheet as a picture."""
    with tempfile.TemporaryDirectory() as folder:
        paths = compare(*(ROOT / side for side in PAIR)).write(folder)
        workbook = next(path for path in paths.tables if path.suffix == ".xlsx")
        subprocess.run(
            ["soffice", "--headless", "--convert-to", "pdf", "--outdir", folder, str(workbook)],
            check=True,
            capture_output=True,
        )
        stem = Path(folder) / "page"
        subprocess.run(["pdftoppm", "-png", "-r", "80", str(workbook.with_suffix(".pdf").name), str(stem)], cwd=folder)
        pages = sorted(Path(folder).glob("page*.png"))
        print("pages:", len(pages))
        target.write_bytes(pages[2].read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workbook", action="store_true", help="draw docs/workbook.png too")
    block = advisor_block()
    for name in READMES:
        path = ROOT / name
        path.write_text(with_block(path.read_text(encoding="utf-8"), block), encoding="utf-8")
    if parser.parse_args().workbook:
        draw_workbook(ROOT / "docs" / "workbook.png")


if __name__ == "__main__":
    main()
