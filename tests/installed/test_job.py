"""What `make test-lowest` installs is what pyproject.toml promises."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_the_lowest_release_of_each_dependency(tmp_path: Path) -> None:
    lowest_of = runpy.run_path(str(HERE / "job.py"))["lowest_of"]
    project = tmp_path / "pyproject.toml"
    project.write_text("""
[project]
dependencies = ["torch>=2.1", "numpy>=1.26", "rich>=13"]
[project.optional-dependencies]
monitor = ["tensorboard>=2.14"]
parquet = []
test = ["acc-compare[monitor]", "pytest>=8"]
dev = ["ruff>=0.6"]
""")
    assert lowest_of(project) == ["numpy==1.26", "pytest==8", "rich==13", "tensorboard==2.14", "click<8.3"]
    assert {"numpy==1.26", "typer==0.16", "ml_dtypes==0.5"} <= set(lowest_of(HERE.parents[1] / "pyproject.toml"))
