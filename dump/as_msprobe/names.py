"""Which names msprobe's callers import, and what answers to each.

The places are those of 8.3.3 and of 26.2.0; what the older or the newer of the two has alone stands here too.
"""

from __future__ import annotations

API_VERSION = "26.2.0"
VERSION = f"{API_VERSION}+acc"
"""What `msprobe.__version__` says: the interface that is answered, and by whom."""

_DEBUGGER = {
    "PrecisionDebugger": "dump.as_msprobe.debugger:PrecisionDebugger",
    "module_dump": "dump.debugger:module_dump",
    "module_dump_end": "dump.debugger:module_dump_end",
}
_TRAINER_MON = {"TrainerMon": "dump.monitor.trainer:TrainerMon"}
_SEED_ALL = {"seed_all": "dump.as_msprobe.seeding:seed_all"}
_RANDOM_SAVE = {"random_save": "dump.as_msprobe.refused:random_save"}
_COMPARE = {"compare": "acc_compare.as_msprobe:compare"}
_COMPARE_DISTRIBUTED = {"compare_distributed": "acc_compare.as_msprobe:compare_distributed"}
_SINGLE_SAVE = {"SingleSave": "dump.as_msprobe.saving:SingleSave"}
_SINGLE_COMPARATOR = {"SingleComparator": "acc_compare.as_msprobe:SingleComparator"}
_CONFIG_CHECKER = {"ConfigChecker": "dump.as_msprobe.refused:ConfigChecker"}
_TRAINER_V2 = {"TrainerMonitorV2": "dump.monitor.trainer_v2:TrainerMonitorV2"}
_CSV2TB = {"csv2tensorboard_by_step": "dump.monitor.csv2tb:csv2tensorboard_by_step"}
_CSV2DB = {
    "CSV2DBConfig": "dump.monitor.csv2db:CSV2DBConfig",
    "csv2db": "dump.monitor.csv2db:csv2db",
}
_TORCHAIR = {
    "set_fx_dump_config": "dump.as_msprobe.refused:set_fx_dump_config",
    "set_ge_dump_config": "dump.as_msprobe.refused:set_ge_dump_config",
}
_ACL_SAVE = {"acl_save": "dump.as_msprobe.refused:acl_save"}
_ACL_DUMPER = {"AclGraphDumper": "dump.as_msprobe.refused:AclGraphDumper"}
_PRECISION_CHECKER = {"PrecisionChecker": "dump.as_msprobe.refused:PrecisionChecker"}
_LOGGER = {"logger": "dump.as_msprobe.logging:logger"}

_CHECKER = "msprobe.pytorch.api_accuracy_checker"
_TRITON = f"{_CHECKER}.triton_adapter"
_KERNELS = "dump.as_msprobe.kernels"
KERNEL_CHECKS: dict[str, dict[str, str]] = {
    "msprobe.core.common.const": {"CompareConst": f"{_KERNELS}:CompareConst"},
    _CHECKER: {},
    f"{_CHECKER}.compare": {},
    f"{_CHECKER}.compare.compare_utils": {
        "BENCHMARK_COMPARE_SUPPORT_LIST": f"{_KERNELS}:BENCHMARK_COMPARE_SUPPORT_LIST",
    },
    _TRITON: {},
    f"{_TRITON}.get_compare_result": {"get_compare_result": f"{_KERNELS}:get_compare_result"},
    f"{_TRITON}.precision_compare": {"precision_compare": f"{_KERNELS}:precision_compare"},
    f"{_TRITON}.common": {},
    f"{_TRITON}.common.compare_utils": {
        "convert_compare_column_to_row": f"{_KERNELS}:convert_compare_column_to_row",
        "print_check_details": f"{_KERNELS}:print_check_details",
    },
    f"{_TRITON}.precision_standard": {},
    f"{_TRITON}.precision_standard.triton_standard_register": {
        "exist_in_precision_standard": f"{_KERNELS}:exist_in_precision_standard",
    },
}
"""What torch_npu's inductor imports once `import msprobe` has worked."""

MODULES: dict[str, dict[str, str]] = {
    "msprobe": {},
    "msprobe.version": {"get_version_info": "dump.as_msprobe.refused:get_version_info"},
    "msprobe.pytorch": {
        **_DEBUGGER,
        **_SEED_ALL,
        **_RANDOM_SAVE,
        **_TRAINER_MON,
        **_COMPARE,
        **_COMPARE_DISTRIBUTED,
        **_TORCHAIR,
        **_ACL_SAVE,
        **_ACL_DUMPER,
    },
    "msprobe.pytorch.debugger": {},
    "msprobe.pytorch.debugger.precision_debugger": _DEBUGGER,
    "msprobe.pytorch.dump": {},
    "msprobe.pytorch.dump.debugger": {},
    "msprobe.pytorch.dump.debugger.precision_debugger": _DEBUGGER,
    "msprobe.pytorch.common": {**_SEED_ALL},
    "msprobe.pytorch.common.utils": _SEED_ALL,
    "msprobe.pytorch.common.log": _LOGGER,
    "msprobe.pytorch.compare": {},
    "msprobe.pytorch.compare.pt_compare": _COMPARE,
    "msprobe.pytorch.compare.distributed_compare": _COMPARE_DISTRIBUTED,
    "msprobe.pytorch.monitor": _TRAINER_MON,
    "msprobe.pytorch.monitor.module_hook": _TRAINER_MON,
    "msprobe.pytorch.monitor.csv2tb": _CSV2TB,
    "msprobe.pytorch.reproducibility": {},
    "msprobe.pytorch.reproducibility.random_reproducibility": _RANDOM_SAVE,
    "msprobe.pytorch.torchair_dump": _TORCHAIR,
    "msprobe.pytorch.compile_accuracy_checker": {},
    "msprobe.pytorch.compile_accuracy_checker.precision_checker": _PRECISION_CHECKER,
    "msprobe.pytorch.aclgraph_dump": _ACL_SAVE,
    "msprobe.pytorch.aclgraph_dumper": _ACL_DUMPER,
    "msprobe.core": {**_SINGLE_SAVE, **_SINGLE_COMPARATOR},
    "msprobe.core.common": {},
    "msprobe.core.common.log": _LOGGER,
    "msprobe.core.common.exceptions": {"MsprobeException": "dump.format.errors:AccError"},
    "msprobe.core.single_save": {},
    "msprobe.core.single_save.single_saver": _SINGLE_SAVE,
    "msprobe.core.single_save.single_comparator": _SINGLE_COMPARATOR,
    "msprobe.core.config_check": _CONFIG_CHECKER,
    "msprobe.core.config_check.config_checker": _CONFIG_CHECKER,
    "msprobe.core.monitor": {},
    "msprobe.core.monitor.csv2db": _CSV2DB,
    "msprobe.core.monitor_v2": _TRAINER_V2,
    "msprobe.core.monitor_v2.trainer": _TRAINER_V2,
    **KERNEL_CHECKS,
}
"""Module by module: the name of each thing in it, and the module and name of ours that it is."""

OF_TORCH_NPU = "torch_npu.contrib.monitor"
"""A place from which TrainerMon is imported, and which torch_npu does not have."""

NAMES_OF_TORCH_NPU = _TRAINER_MON
