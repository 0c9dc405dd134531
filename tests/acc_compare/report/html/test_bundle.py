"""The bundle that is committed is what its sources build."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from acc_compare.report.html import page as page_module

FOLDER = Path(page_module.__file__).parent
SOURCE = FOLDER / "source"

built = pytest.mark.skipif(
    shutil.which("node") is None or not (SOURCE / "node_modules").is_dir(),
    reason="what builds the bundle is not installed (npm ci in acc_compare/report/html/source)",
)


@built
@pytest.mark.slow
def test_the_bundle_is_what_the_sources_build(tmp_path: Path) -> None:
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=SOURCE, check=True, timeout=120)
    for name in ("page.js", "page.css", "LICENSES.txt"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), f"{name}: run npm run build"


@built
@pytest.mark.slow
def test_the_sources_have_types() -> None:
    subprocess.run(["node", "node_modules/typescript/bin/tsc", "--noEmit"], cwd=SOURCE, check=True, timeout=120)


def test_licences_are_with_the_bundle() -> None:
    texts = (FOLDER / "LICENSES.txt").read_text(encoding="utf-8")
    for name in ("uplot", "@dagrejs/dagre", "@dagrejs/graphlib"):
        assert re.search(rf"^{re.escape(name)} [\d.]+ \(MIT\)$", texts, re.MULTILINE)


def test_the_bundle_asks_for_nothing_from_elsewhere() -> None:
    for name in ("page.js", "page.css"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, name
        assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|importScripts)\(|@import|url\(", text), name
