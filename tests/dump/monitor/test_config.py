"""monitor_config.json: what users have today is read, and what is wrong is named in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dump.format.errors import ConfigError
from dump.monitor.config import MonitorConfig, load_config, read_config

# msprobe 8.3.3 prints these under "detailed configuration" and in its examples.
EVERYTHING = {
    "targets": {"language_model.encoder.layers.0": {"input": "tuple[2]:0", "output": "tensor"}},
    "dynamic_on": False,
    "start_step": 0,
    "collect_times": 100000000,
    "step_interval": 1,
    "print_struct": False,
    "module_ranks": [0, 1, 2, 3],
    "ur_distribution": True,
    "xy_distribution": True,
    "all_xy": True,
    "forward_only": False,
    "backward_only": False,
    "mv_distribution": True,
    "param_distribution": True,
    "wg_distribution": True,
    "monitor_mbs_grad": True,
    "cc_distribution": {"enable": True, "cc_codeline": []},
    "alert": {"rules": [{"rule_name": "AnomalyTurbulence", "args": {"threshold": 0.5}}], "dump": False},
    "format": "csv",
    "ops": ["min", "max", "norm", "zeros", "nans", "mean"],
    "eps": 1e-8,
    "ndigits": 12,
    "step_count_per_record": 1,
    "append_output": [],
    "squash_name": True,
}


def test_every_key_of_msprobes_is_read() -> None:
    config = read_config(EVERYTHING)
    assert config.targets == ("language_model.encoder.layers.0",)
    assert config.ops == ("min", "max", "norm", "zeros", "nans", "mean", "shape", "dtype")
    assert (config.alert.rules[0].rule_name, config.alert.rules[0].threshold) == ("AnomalyTurbulence", 0.5)
    assert config.cc_distribution.enable
    assert config.plain == EVERYTHING
    assert config.ignored == ()
    fields = set(MonitorConfig.__struct_fields__) - {"plain", "ignored"}
    assert fields - set(EVERYTHING) == {"mg_direction", "stack_info"}


def test_the_smallest_configuration(tmp_path: Path) -> None:
    path = tmp_path / "monitor_config.json"
    content = {"targets": {}, "wg_distribution": True, "format": "csv", "ops": ["norm", "min", "max", "nans"]}
    path.write_text(json.dumps(content))
    config = load_config(path)
    assert config.wg_distribution
    assert config.watches_everything
    assert config.ops == ("norm", "min", "max", "nans", "shape", "dtype")


def test_without_a_statistic_the_norm_is_taken() -> None:
    assert read_config({"ops": ["shape"]}).ops == ("norm", "shape", "dtype")
    assert read_config({}).ops == ("norm", "shape", "dtype")
    assert read_config({"ops": None}).ops == ("norm", "shape", "dtype")


def test_what_is_not_done_here_is_said() -> None:
    (sentence,) = read_config({"recording_l2_features": True, "l2_targets": {}}).ignored
    assert "'recording_l2_features' has no effect" in sentence


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"wg_distrbution": True}, "'wg_distrbution' is unknown. Did you mean 'wg_distribution'?"),
        ({"wg_distribution": "yes"}, "'wg_distribution': expected bool, found str"),
        ({"ops": ["norms"]}, "'ops': 'norms' is unknown. Did you mean 'norm'?"),
        ({"ops": "norm"}, "'ops': expected a list"),
        ({"step_interval": 0}, "'step_interval': expected int >= 1"),
        ({"ndigits": 21}, "'ndigits': expected int <= 20"),
        ({"ndigits": True}, "'ndigits': expected a number of digits"),
        ({"eps": "small"}, "'eps': expected float, found str"),
        ({"targets": ["fc"]}, "'targets': expected an object"),
        ({"targets": {"fc": "input"}}, "'targets': 'fc': expected an object"),
        ({"module_ranks": [-1]}, "'module_ranks[0]': expected int >= 0"),
        ({"format": "cvs"}, "'format': 'cvs' is unknown. Did you mean 'csv'?"),
        ({"cc_distribution": {"enabled": True}}, "'enabled' is unknown. Did you mean 'enable'?"),
        ({"alert": {"rules": [{"rule_name": "AnomalyNaN"}]}}, "'AnomalyNaN' is unknown. Did you mean 'AnomalyNan'?"),
        ({"alert": {"rules": [{"rule_name": "AnomalyTurbulence"}]}}, "AnomalyTurbulence needs a threshold"),
        ({"alert": {"rules": [{"rule_name": "AnomalyNan", "args": {"threshold": -1}}]}}, "at least 0"),
        ({"append_output": ["Dec03_21-34-40"]}, "no or two timestamps"),
        ({"append_output": ["yesterday", "today"]}, "timestamps such as 'Dec03_21-34-40'"),
    ],
)
def test_what_is_wrong_is_named(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
