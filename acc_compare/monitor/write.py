"""Where a comparison of monitored runs is written: `OUT/monitor_compare/`, each run's files under its time."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from acc_compare.monitor.advisor import advisor_json, advisor_text
from acc_compare.monitor.model import MonitorFinding
from acc_compare.monitor.page import html_page
from acc_compare.monitor.pictures import can_draw, curves_png, heat_map_png
from acc_compare.report.atomic_write import new_file
from dump.format.paths import from_home

FOLDER = "monitor_compare"


@dataclass(frozen=True, slots=True)
class MonitorPaths:
    """The files written; `pictures` is empty, and `note` says why, where matplotlib is missing."""

    advisor_text: Path
    advisor_json: Path
    page: Path
    pictures: tuple[Path, ...]
    note: str = ""

    @property
    def all(self) -> tuple[Path, ...]:
        return (self.page, *self.pictures, self.advisor_text, self.advisor_json)


def write_monitor_reports(finding: MonitorFinding, out_dir: Path, *, timestamp: str) -> MonitorPaths:
    """`advisor_{timestamp}.txt` and `.json`, `monitor_{timestamp}.html`, and with matplotlib
    `curves_{timestamp}.png` and `heat_map_{timestamp}.png`.
    Where one of them exists, all get `_1`, `_2`, ... after the time.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = from_home(out_dir) / FOLDER
    stamp = timestamp + _free_tail(folder, timestamp)
    texts = {
        "advisor": folder / f"advisor_{stamp}.txt",
        "json": folder / f"advisor_{stamp}.json",
        "page": folder / f"monitor_{stamp}.html",
    }
    contents = {
        "advisor": advisor_text(finding).encode("utf-8", "replace"),
        "json": advisor_json(finding),
        "page": html_page(finding).encode("utf-8", "replace"),
    }
    for name, path in texts.items():
        _place(path, contents[name])
    pictures: list[Path] = []
    if can_draw():
        for name, draw in (("curves", curves_png), ("heat_map", heat_map_png)):
            picture = draw(finding)
            if picture:
                pictures.append(folder / f"{name}_{stamp}.png")
                _place(pictures[-1], picture)
    note = "" if can_draw() else "no PNG: matplotlib is not installed (pip install 'acc-compare[plots]'); see the html"
    return MonitorPaths(texts["advisor"], texts["json"], texts["page"], tuple(pictures), note)


def _free_tail(folder: Path, stamp: str) -> str:
    tails = itertools.chain([""], (f"_{number}" for number in itertools.count(1)))
    names = ("advisor_{}.txt", "advisor_{}.json", "monitor_{}.html", "curves_{}.png", "heat_map_{}.png")
    return next(
        tail for tail in tails if not any(os.path.lexists(folder / name.format(stamp + tail)) for name in names)
    )


def _place(path: Path, content: bytes) -> None:
    with new_file(path) as draft:
        draft.write_bytes(content)
