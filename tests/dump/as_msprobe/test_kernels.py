"""torch_npu's inductor finds what it imports once `import msprobe` works, and is told that no standard is known."""

from __future__ import annotations

import importlib

import pytest

from dump import as_msprobe
from dump.as_msprobe.names import KERNEL_CHECKS
from dump.format.errors import ConfigError


def test_the_inductor_goes_on_to_check_by_tolerance() -> None:
    as_msprobe.answer()
    for name, homes in KERNEL_CHECKS.items():
        module = importlib.import_module(name)
        assert all(hasattr(module, each) for each in homes)
    from msprobe.core.common.const import CompareConst
    from msprobe.pytorch.api_accuracy_checker.triton_adapter.precision_compare import precision_compare
    from msprobe.pytorch.api_accuracy_checker.triton_adapter.precision_standard.triton_standard_register import (
        exist_in_precision_standard,
    )

    assert CompareConst.ERROR == "error"
    assert exist_in_precision_standard("triton_poi_fused_add_0") is False
    with pytest.raises(ConfigError, match="by tolerance"):
        precision_compare("triton_poi_fused_add_0", None, None, None)
