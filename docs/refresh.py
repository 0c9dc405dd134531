"""Write the generated parts of the docs anew: the advisor's text of samples, tables that the code holds.

    python docs/refresh.py [--workbook] [--page]

With `--workbook` also the pictures docs/workbook*.png, which need LibreOffice and pdftoppm; with `--page` the pictures
docs/page*.png, which need Chromium and playwright (`make browser`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from acc_compare import compare
from acc_compare.align.mapping_file import shipped
from acc_compare.align.rules import Step
from acc_compare.report.advisor import advisor_text
from acc_compare.report.html.dump_page import write_dump_pages
from acc_compare.report.html.page import write_page
from acc_compare.report.messages import Lang

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = Path("sample_dumps")
PAIR = (SAMPLES / "gelu_in_bfloat16", SAMPLES / "bench_statistics")
BEGIN, END = "<!-- advisor{}: begin -->\n", "<!-- advisor{}: end -->\n"
# Page of the sheet in print, dots per inch, and the part shown: x, y, width, height.
PICTURES = {"workbook": (1, 110, (30, 40, 1240, 520)), "workbook_rows": (3, 170, (40, 80, 1750, 560))}


@dataclass(frozen=True)
class Shot:
    """A picture of a page: what is clicked before, and what is brought to the top of the window."""

    width: int
    height: int
    scheme: str = "light"
    lang: Lang = "en"
    opened: str = ""
    shown: str = ""


PAGES = {
    "page": Shot(1280, 1270),
    "page_detail": Shot(1720, 1000, opened="a.goto"),
    "page_dark": Shot(1280, 1270, scheme="dark", lang="zh"),
    "page_elements": Shot(1720, 1120, opened="a.goto"),
    "page_steps": Shot(1280, 900, opened="table.map a", shown="#map"),
    "page_ranks": Shot(1720, 1120, opened="a.goto", shown="#rows"),
    "page_graph": Shot(1720, 1000, opened="a.goto", shown="#run"),
}
READMES = {"README.md": "en", "README.zh-CN.md": "zh"}
ADVISOR = "docs/advisor.md"
CASES = {
    "gelu_in_bfloat16": "bench_statistics",
    "real_data": "bench_tensor",
    "nan_in_layer_norm": "bench_statistics",
    "other_seed": "bench_statistics",
    "other_learning_rate": "bench_statistics",
    "healthy": "bench_statistics",
}
"""The samples that docs/advisor.md shows, each with its bench."""
PAIRS = ("<!-- known pairs: begin -->\n", "<!-- known pairs: end -->\n")
MAPPING = "docs/mapping.md"


@contextlib.contextmanager
def at_root() -> Iterator[None]:
    """Work in the repository's root, so that reports name the folders as a reader would type them."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        yield
    finally:
        os.chdir(before)


def advisor_block(npu: Path = PAIR[0], bench: Path = PAIR[1], *, lang: str = "en") -> str:
    """What `acc compare` prints of a sample, as a Markdown block."""
    with at_root():
        return f"```\n{advisor_text(compare(npu, bench).overall, lang=lang).rstrip()}\n```\n"


def known_pairs_block() -> str:
    """The shipped table of fused operators, as a Markdown table."""
    lines = ["| fused | written out |", "|---|---|"]
    for rule in shipped():
        ways = [" ".join(_step(step) for step in steps) for steps in rule.composites]
        fused = ", ".join(f"`{name}`" for name in rule.fused)
        lines.append(f"| {fused} | {'<br>'.join(f'`{way}`' for way in ways) or 'each other'} |")
    return "\n".join(lines) + "\n"


def _step(step: Step) -> str:
    return "\\|".join(sorted(step.operators)) + ("?" if step.is_optional else "")


def with_block(text: str, block: str, name: str = "") -> str:
    """`text` with `block` between the advisor's markers of that name.  Raises ValueError where one is missing."""
    begin, end = (marker.format(name and f" {name}") for marker in (BEGIN, END))
    return between(text, block, (begin, end))


def between(text: str, block: str, markers: tuple[str, str]) -> str:
    """`text` with `block` between two markers.  Raises ValueError where one is missing."""
    begin, end = markers
    start, stop = text.index(begin) + len(begin), text.index(end)
    return text[:start] + block + text[stop:]


def documents() -> dict[str, str]:
    """Every document with generated parts as it should be, by its path from the root."""
    found = {}
    for name, lang in READMES.items():
        found[name] = with_block((ROOT / name).read_text(encoding="utf-8"), advisor_block(lang=lang))
    text = (ROOT / ADVISOR).read_text(encoding="utf-8")
    for sample, bench in CASES.items():
        text = with_block(text, advisor_block(SAMPLES / sample, SAMPLES / bench), sample)
    found[ADVISOR] = with_block(text, advisor_block(lang="zh"), "zh")
    found[MAPPING] = between((ROOT / MAPPING).read_text(encoding="utf-8"), known_pairs_block(), PAIRS)
    return found


def draw_workbook() -> None:
    """The sample's Summary and a piece of its Compare sheet as pictures."""
    with tempfile.TemporaryDirectory() as folder, at_root():
        paths = compare(*PAIR).write(folder)
        workbook = next(path for path in paths.tables if path.suffix == ".xlsx")
        _run("soffice", "--headless", "--convert-to", "pdf", "--outdir", folder, str(workbook))
        pdf = str(Path(folder) / workbook.with_suffix(".pdf").name)
        for name, (page, dpi, box) in PICTURES.items():
            crop = [
                part for flag, value in zip(("-x", "-y", "-W", "-H"), box, strict=True) for part in (flag, str(value))
            ]
            pages = ["-f", str(page), "-l", str(page)]
            _run("pdftoppm", "-png", "-singlefile", "-r", str(dpi), *pages, *crop, pdf, str(ROOT / "docs" / name))


def draw_pages() -> None:
    """Pages of samples as pictures."""
    from playwright.sync_api import sync_playwright

    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking".split()
    with tempfile.TemporaryDirectory() as folder, at_root(), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        made = _pages(Path(folder))
        for name, shot in PAGES.items():
            size = {"width": shot.width, "height": shot.height}
            tab = browser.new_page(viewport=size, color_scheme=shot.scheme)
            tab.goto(made[name].as_uri())
            tab.wait_for_selector("html[data-ready]")
            if shot.opened:
                tab.locator(shot.opened).first.click()
                tab.wait_for_timeout(700)
            if shot.shown:
                tab.locator(shot.shown).evaluate("(part) => part.scrollIntoView()")
                tab.wait_for_timeout(200)
            tab.screenshot(path=str(ROOT / "docs" / f"{name}.png"))
        browser.close()


def _pages(folder: Path) -> dict[str, Path]:
    """The page of each picture."""
    found = {}
    for name, shot in PAGES.items():
        found[name] = folder / f"{name}.html"
        if name == "page_graph":
            found[name] = write_dump_pages(SAMPLES / "nan_in_layer_norm", folder, stamp=name)[0]
        elif name == "page_steps":
            over = compare(*_steps(folder))
            write_page(over.overall, found[name], parts=over.findings)
        elif name == "page_ranks":
            over = compare(*_ranks(folder))
            write_page(over.overall, found[name], parts=over.findings)
        else:
            pair = (SAMPLES / "real_data", SAMPLES / "bench_tensor") if name == "page_elements" else PAIR
            write_page(compare(*pair).overall, found[name], lang=shot.lang)
    return found


def _steps(folder: Path) -> tuple[Path, Path]:
    """Four steps of two ranks; from step 1 on a gelu of rank 1 is at fault."""
    for step in range(4):
        for rank in (0, 1):
            sample = "gelu_in_bfloat16" if step and rank else "healthy"
            for side, name in (("npu", sample), ("gpu", "bench_statistics")):
                place = folder / side / f"step{step}" / f"rank{rank}"
                shutil.copytree(SAMPLES / name / "step0" / "rank0", place)
    return folder / "npu", folder / "gpu"


def _ranks(folder: Path) -> tuple[Path, Path]:
    """A step of two ranks, recorded now; a gelu of rank 1 is at fault."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.scale.run import record

    return record(folder)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workbook", action="store_true", help="draw docs/workbook*.png too")
    parser.add_argument("--page", action="store_true", help="draw docs/page*.png too")
    chosen = parser.parse_args()
    for name, text in documents().items():
        (ROOT / name).write_text(text, encoding="utf-8")
    if chosen.workbook:
        draw_workbook()
    if chosen.page:
        draw_pages()


if __name__ == "__main__":
    main()
