"""Pairs of runs that differ as healthy runs do: nobody is to be accused."""

from __future__ import annotations

from benchmarks.localisation import jobs
from benchmarks.localisation.rows import Case, Kernel, Side, variant


def _pair(name: str, model: str, npu: Side, bench: Side | None = None, *, group: str = "", exact: bool = False) -> Case:
    return Case(name, model, group or name.partition("-")[0], npu, bench or Side(), None, exact=exact)


def _set(**variables: str) -> Side:
    return Side(variables=tuple(variables.items()))


_AGAIN = Side(variables=(("RUN", "again"),))
_NPU = Side(simulated=())

HEALTHY = (
    _pair("again-decoder", "decoder", _AGAIN, exact=True),
    _pair("again-adversaries", "adversaries", _AGAIN, exact=True),
    _pair("again-two-replicas", "replicas", Side((("RUN", "again"),), ranks=2), Side(ranks=2), exact=True),
    _pair("threads-decoder", "decoder", Side(threads=2)),
    _pair("threads-convnet", "convnet", Side(threads=2)),
    _pair("threads-recurrent", "recurrent", Side(threads=2)),
    _pair("mkldnn-convnet", "convnet", Side(mkldnn=False)),
    _pair("mkldnn-unet", "unet", Side(mkldnn=False)),
    _pair("mkldnn-recurrent", "recurrent", Side(mkldnn=False)),
    _pair("channels_last-convnet", "convnet", _set(CHANNELS_LAST="1")),
    _pair("channels_last-unet", "unet", _set(CHANNELS_LAST="1")),
    _pair("float64-bench-convnet", "convnet", Side(), _set(DTYPE="float64")),
    _pair("float64-bench-decoder", "decoder", Side(), _set(DTYPE="float64")),
    _pair("float64-bench-scaled", "scaled", Side(), _set(DTYPE="float64")),
    _pair("bf16-autocast-decoder", "decoder", _set(AUTOCAST="bfloat16")),
    _pair("bf16-autocast-unet", "unet", _set(AUTOCAST="bfloat16")),
    _pair("bf16-autocast-translator", "translator", _set(AUTOCAST="bfloat16")),
    _pair("bf16-autocast-both", "decoder", Side((("AUTOCAST", "bfloat16"),), threads=2), _set(AUTOCAST="bfloat16")),
    _pair("fp16-autocast-convnet", "convnet", _set(AUTOCAST="float16")),
    _pair("fp16-autocast-scaled", "scaled", _set(AUTOCAST="float16")),
    _pair("deterministic-convnet", "convnet", Side(flags=("--deterministic",)), exact=True),
    _pair("deterministic-experts", "experts", Side(flags=("--deterministic",)), exact=True),
    _pair("sum-order-linear", "decoder", Side(kernels=(Kernel("aten::addmm", "addmm_reversed_sums"),))),
    _pair("sum-order-bmm", "decoder", Side(kernels=(Kernel("aten::bmm", "matmul_reversed_sums"),))),
    _pair("sum-order-gradients", "experts", Side(kernels=(Kernel("aten::mm", "matmul_reversed_sums"),))),
    _pair("sum-order-mean", "convnet", Side(kernels=(Kernel("aten::mean.dim", "sum_reversed", 1.0),))),
    _pair("compiled-decoder", "decoder", _set(COMPILE="aot_eager")),
    _pair("compiled-convnet", "convnet", _set(COMPILE="aot_eager")),
    _pair("npu-decoder", "decoder", _NPU),
    _pair("npu-convnet", "convnet", _NPU),
    _pair("npu-unet", "unet", _NPU),
    _pair("npu-experts", "experts", _NPU),
    _pair("npu-translator", "translator", _NPU),
    _pair("npu-adversaries", "adversaries", _NPU),
    _pair("npu-scaled", "scaled", _NPU),
    _pair("adamw-decoder", "decoder", Side(mkldnn=False, threads=2)),
    _pair(
        "adamw-tiny-gradients", "decoder", Side(variant("tiny_gradients"), threads=2), _set(VARIANT="tiny_gradients")
    ),
    _pair("fused-attention", "decoder", Side(variables=variant("fused_attention"))),
    _pair("harmless-extra-calls", "decoder", Side(variables=variant("harmless_extra"))),
    _pair(
        "dropout-same-seed",
        "decoder",
        Side((*variant("dropout"), ("RUN", "again"))),
        Side(variables=variant("dropout")),
        exact=True,
    ),
    *jobs.HEALTHY,
)
