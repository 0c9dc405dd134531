"""docs/monitor.md knows every key, kind and op that the code knows."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dump.format.monitor_files import KINDS
from dump.monitor.config import MEASURED_OPS, MonitorConfig, read_config

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "monitor.md").read_text(encoding="utf-8")


def test_every_key_kind_and_op_is_explained() -> None:
    keys = set(MonitorConfig.__struct_fields__) - {"plain", "ignored"}
    names = keys | {kind.name for kind in KINDS} | set(MEASURED_OPS)
    assert {name for name in names if f"`{name}`" not in TEXT} == set()


def test_the_example_loads() -> None:
    example = re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    assert read_config(json.loads(example[1])).wg_distribution
