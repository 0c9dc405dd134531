"""Which numbers are alarming, and what the alarms' file holds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from dump.format.monitor_files import GRAD_REDUCED
from dump.monitor.alerts import Alerts, Place, alarm_file
from dump.monitor.config import Alert, Rule
from dump.monitor.rows import Label, Row

TURBULENCE = Rule("AnomalyTurbulence", 0.5)


def _alerts(*rules: Rule, op: str = "norm", file: Path | None = None) -> Alerts:
    return Alerts(Alert(rules, file is not None), Place(rank=2), (op,), file)


def _feed(alerts: Alerts, values: list[float]) -> list[int]:
    """The steps at which something is reported."""
    label = Label(GRAD_REDUCED, 0, "fc.weight")
    return [step for step, value in enumerate(values) if alerts.check(step, {GRAD_REDUCED: [Row(label, (value,))]})]


@pytest.mark.parametrize(
    ("rule", "op", "values", "steps"),
    [
        (TURBULENCE, "norm", [1.0, 1.4, 1.0, 1.6, 1.0], [3]),
        (TURBULENCE, "mean", [1.0, -1.6], [1]),
        (TURBULENCE, "max", [1.0, 9.0], []),
        (TURBULENCE, "norm", [1.0, math.inf, 1.2, 1.6], [1, 3]),  # the infinity is no part of the history
        (Rule("AnomalyNan"), "norm", [1.0, math.nan, 1e30], [1]),
        (Rule("AnomalyNan", 1e10), "norm", [1.0, math.nan, -1e11], [1, 2]),
        (Rule("AnomalyNan"), "nans", [0, 2], [1]),
    ],
)
def test_rules(rule: Rule, op: str, values: list[float], steps: list[int]) -> None:
    assert _feed(_alerts(rule, op=op), values) == steps


def test_the_first_rule_that_fires_counts(capsys: pytest.CaptureFixture[str]) -> None:
    alerts = _alerts(Rule("AnomalyNan", 5.0), TURBULENCE)
    assert _feed(alerts, [1.0, 9.0]) == [1]
    assert "Rule AnomalyNan reports anomaly signal in ('0:fc.weight/rank2/post_grad', 'norm') at step 1" in (
        capsys.readouterr().err
    )


def test_without_rules_nothing_is_looked_at() -> None:
    assert _feed(_alerts(), [math.nan]) == []


def test_the_file_and_its_predecessor(tmp_path: Path) -> None:
    file = alarm_file(tmp_path, 2)
    assert file == tmp_path / "anomaly_detected" / "rank2" / "anomaly.json"
    _feed(_alerts(TURBULENCE, file=file), [1.0, 3.0, 1.0, 4.0])
    found = json.loads(file.read_text())
    assert [alarm["step"] for alarm in found.values()] == [1, 3]
    first = next(iter(found.values()))
    assert first["tag_name"] == "0:fc.weight/rank2/post_grad"
    assert first["group_mates"] == [0]
    assert not alarm_file(tmp_path, 2).exists()
    assert json.loads(file.with_name("anomaly_1.json").read_text()) == found
