"""Files made after those that public documents and repositories show, each with what must happen.

"notes" are the keys that are named because they have no effect, "refused" the one that ends it with one line.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dump.config import load_config
from dump.format.errors import ConfigError
from dump.monitor.config import load_config as load_monitor_config

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("configurations.json").read_text(encoding="utf-8"))
_FIRST_KEY = re.compile(r"config\.json: '([\w.]+)'")


def _ignored(path: Path, kind: str) -> tuple[str, ...]:
    return load_monitor_config(path).ignored if kind == "monitor" else load_config(path, unknown="pass").ignored


def _key(sentence: str) -> str:
    found = _FIRST_KEY.search(sentence)
    assert found is not None, sentence
    return found[1]


def test_there_are_enough() -> None:
    kinds = [case["kind"] for case in CASES]
    assert len(CASES) >= 30
    assert {kind: kinds.count(kind) > 5 for kind in set(kinds)} == {"dump": True, "monitor": True}


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_what_must_happen_happens(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(case["file"]), encoding="utf-8")
    if "refused" in case:
        with pytest.raises(ConfigError) as error:
            _ignored(path, case["kind"])
        assert _key(str(error.value)) == case["refused"]
        assert "\n" not in str(error.value)
    else:
        assert sorted({_key(sentence) for sentence in _ignored(path, case["kind"])}) == case["notes"]
