"""The device is registered once, and never over another."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

import dump.sim
from dump.format.errors import ConfigError

if dump.sim.device_kind() != "npu":
    pytest.skip("this torch has no device in Python", allow_module_level=True)
from dump.sim import registration


def test_enabling_twice_changes_nothing():
    dump.sim.enable()
    module = torch.npu
    dump.sim.enable()
    assert torch.npu is module
    assert dump.sim.is_enabled()


@pytest.mark.slow
def test_a_device_that_is_taken_is_an_error_of_the_user():
    script = """
        import torch
        import dump.sim
        from dump.format.errors import ConfigError

        assert not dump.sim.is_enabled()
        torch.utils.rename_privateuse1_backend("other")
        try:
            dump.sim.enable()
        except ConfigError as error:
            print(error)
        assert not dump.sim.is_enabled()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert "taken by 'other'" in done.stdout


def test_torch_npu_in_the_process_is_an_error_of_the_user(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_npu", object())
    with pytest.raises(ConfigError, match="without torch_npu"):
        registration._check_free()
