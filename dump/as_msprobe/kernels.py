"""What torch_npu's inductor asks msprobe where it checks compiled kernels (`check_accuracy`): here it knows no kernel.

The inductor checks a kernel by tolerance where no standard is known for it, as it does where msprobe is not installed;
nothing but `exist_in_precision_standard` is called then.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ..format.errors import ConfigError

BENCHMARK_COMPARE_SUPPORT_LIST: tuple[str, ...] = ()
"""Types for which msprobe has standards."""


class CompareConst:
    """The one constant that the inductor reads."""

    ERROR = "error"


def exist_in_precision_standard(kernel: str) -> bool:
    """Is there a standard for this kernel?"""
    return False


def _not_known(*_: Any) -> NoReturn:
    raise ConfigError("msprobe's standards for kernels are not answered by acc: kernels are checked by tolerance.")


precision_compare = get_compare_result = convert_compare_column_to_row = print_check_details = _not_known
