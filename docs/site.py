"""For the site (`mkdocs.yml`): pages of the repository that lie outside docs are pages of the site as well."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
BESIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/compare/RESULTS.md",
    "benchmarks/localisation/DRAWN.md",
    "benchmarks/localisation/DRAWN-tensor.md",
    "benchmarks/localisation/HEALTHY.md",
    "benchmarks/localisation/LIBRARIES.md",
    "benchmarks/localisation/RESULTS.md",
    "benchmarks/monitor_compare/DRAWN.md",
    "benchmarks/monitor_compare/HEALTHY.md",
    "benchmarks/page/RESULTS.md",
    "benchmarks/parity/RESULTS.md",
    "sample_dumps/README.md",
)
_LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Take the pages of `BESIDE` in, under their path in the repository."""
    for page in BESIDE:
        files.append(File.generated(config, page, abs_src_path=str(ROOT / page)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Links lead to where a page stands in the site.  One that leads to no page of it is left for mkdocs to refuse."""
    here = page.file.src_uri
    source = here if here in BESIDE else f"docs/{here}"

    def led(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1])).removeprefix("docs/")
        if files.get_file_from_path(target) is None:
            return match[0]
        return f"]({posixpath.relpath(target, posixpath.dirname(here) or '.')}{match[2] or ''})"

    return _LINK.sub(led, markdown)
