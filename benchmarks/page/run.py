"""How quick the page of a comparison is in a real browser, and how large its file: writes benchmarks/page/RESULTS.md.

    python benchmarks/page/run.py [--times 5] [--output benchmarks/page/RESULTS.md]

Needs Chromium and playwright (`make browser`).  Each page is opened anew every time, without a window.  Sorting and
filtering are timed twice over: by the clock, from the event to the frame after the one that shows the result, and by
the time that the page's main thread was at work, which other programs on the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import msgspec  # noqa: E402
import numpy as np  # noqa: E402

from acc_compare import compare  # noqa: E402
from acc_compare.measured.panels import MOST  # noqa: E402
from acc_compare.metrics.panels import Side, panel_of  # noqa: E402
from acc_compare.model import Finding, TensorPanel  # noqa: E402
from acc_compare.report.html.page import write_page  # noqa: E402

SAMPLES = ROOT / "sample_dumps"
CALLS = 114
"""Of the sample that is repeated."""

FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking".split()
SORTED, FILTERED = ("Excess", "Module", "NPU Name"), ("gelu", "linear.1.forward.output", "part7.", "layer_norm")
SORT = """async (name) => {
  const head = () => [...document.querySelectorAll('#rows .head [role=columnheader]')]
    .find((each) => each.textContent.startsWith(name));
  const before = head().getAttribute('aria-sort');
  const start = performance.now();
  head().querySelector('button').click();
  while (head().getAttribute('aria-sort') === before) {
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
  }
  return performance.now() - start;
}"""
FILTER = """async (words) => {
  const field = document.querySelector('#search');
  const status = document.querySelector('#rows [role=status]');
  const before = status.textContent;
  field.value = words;
  const start = performance.now();
  field.dispatchEvent(new Event('input'));
  while (status.textContent === before) {
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
  }
  return performance.now() - start;
}"""


@dataclass
class Timed:
    """Milliseconds of one page, a number for each time it was done."""

    paint: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    sort: list[float] = field(default_factory=list)
    sort_work: list[float] = field(default_factory=list)
    sort_waits: list[float] = field(default_factory=list)
    filter: list[float] = field(default_factory=list)
    filter_work: list[float] = field(default_factory=list)
    filter_waits: list[float] = field(default_factory=list)


def repeated(finding: Finding, calls: int) -> Finding:
    """The rows of `finding` again and again under other names, until there are at least `calls` calls."""
    rows = []
    for copy in range(-(-calls // CALLS)):
        scale = 1 + copy / 1024
        for row in finding.rows:
            metrics = {key: cell * scale if isinstance(cell, float) else cell for key, cell in row.metrics.items()}
            name = f"{copy}{row.npu_name}" if copy else row.npu_name
            rows.append(
                msgspec.structs.replace(
                    row,
                    npu_name=name,
                    bench_name=name,
                    module=f"part{copy % 40}.{row.module}",
                    metrics=metrics,
                    excess=row.excess * scale if row.excess is not None else None,
                )
            )
    return replace(finding, rows=tuple(rows))


def with_panels(finding: Finding) -> Finding:
    """As many panels as a page ever has, each with the largest map."""
    chance = np.random.default_rng(1)
    panels: list[TensorPanel] = []
    for row in finding.rows[:MOST]:
        bench = chance.standard_normal((4, 80, 640)).astype(np.float32)
        npu = bench + chance.standard_normal(bench.shape).astype(np.float32) * 1e-6
        panel = panel_of(row.npu_name, Side(npu, "torch.float32"), Side(bench, "torch.float32"))
        panels += [panel] if panel is not None else []
    return replace(finding, panels=tuple(panels))


def timed(page: Path, times: int) -> Timed:
    """Open `page` and work with it, `times` times."""
    from playwright.sync_api import sync_playwright

    found = Timed()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for _ in range(times):
            context = browser.new_context(viewport={"width": 1400, "height": 900})
            tab = context.new_page()
            effort = Effort(browser, tab)
            tab.goto(page.as_uri())
            tab.wait_for_selector("html[data-ready]", timeout=120_000)
            found.ready.append(tab.evaluate("performance.now()"))
            found.paint.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            for script, words, clock, work, waits in (
                (SORT, SORTED, found.sort, found.sort_work, found.sort_waits),
                (FILTER, FILTERED, found.filter, found.filter_work, found.filter_waits),
            ):
                for word in words:
                    before = effort.milliseconds(), effort.waited()
                    clock.append(tab.evaluate(script, word))
                    waits.append(effort.waited() - before[1])
                    work.append(effort.milliseconds() - before[0])
            context.close()
        browser.close()
    return found


class Effort:
    """What a page's main thread has taken of the processor, and how long it was ready and had no core."""

    def __init__(self, browser: Any, tab: Any) -> None:
        self._client = tab.context.new_cdp_session(tab)
        self._client.send("Performance.enable", {"timeDomain": "threadTicks"})
        processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
        self._renderers = [each["id"] for each in processes if each["type"] == "renderer"]

    def milliseconds(self) -> float:
        metrics = self._client.send("Performance.getMetrics")["metrics"]
        return 1000 * float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))

    def waited(self) -> float:
        """Milliseconds in the queue for a core, as Linux counts them (proc_pid_schedstat)."""
        return sum(
            int(Path(f"/proc/{process}/task/{process}/schedstat").read_text(encoding="ascii").split()[1]) / 1e6
            for process in self._renderers
        )


def line(name: str, size: int, found: Timed) -> str:
    """A row of the table: medians, with the largest in brackets."""
    numbers = (
        *(found.paint, found.ready),
        *(found.sort, found.sort_work, found.sort_waits),
        *(found.filter, found.filter_work, found.filter_waits),
    )
    shown = [f"{statistics.median(each):.0f} ({max(each):.0f})" for each in numbers]
    return f"| {name} | {size / 1e6:.2f} | {' | '.join(shown)} |"


def page_of(lines: Sequence[str], times: int) -> str:
    """RESULTS.md."""
    load = os.getloadavg()[0]
    return f"""# How quick the page is

Written by `python benchmarks/page/run.py` in headless Chromium on {os.cpu_count()} cores (load {load:.1f} at the end:
with more than that many programs at work, times by the clock are upper bounds). Each page was opened {times} times;
milliseconds, the median and in brackets the largest. *Sort* and *filter* are by the clock from the event to the frame
after the result, over {len(SORTED)} columns and {len(FILTERED)} words. *Work* is the time that the page's main thread
was busy, *waits* the time that it was ready and had no core, which is nothing on a quiet machine; the rest of the clock
is frames of 16 ms.

| page | MB | first paint | ready | sort | sort, work | sort, waits | filter | filter, work | filter, waits |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

Asked for: under 10 MB for 1,000 calls; with 100,000 calls a first paint under 2,000 ms, sort and filter under 200 ms.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5, help="how often each page is opened")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    arguments = parser.parse_args()
    finding = compare(SAMPLES / "gelu_in_bfloat16", SAMPLES / "bench_statistics").overall
    thousand = repeated(finding, 1_000)
    pages = {
        "1,000 calls": thousand,
        f"1,000 calls, {MOST} tensors by their elements": with_panels(thousand),
        "100,000 calls": repeated(finding, 100_000),
    }
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, each) in enumerate(pages.items()):
            path = Path(folder) / f"{number}.html"
            write_page(each, path)
            lines.append(line(name, path.stat().st_size, timed(path, arguments.times)))
            print(lines[-1], flush=True)
    arguments.output.write_text(page_of(lines, arguments.times), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
