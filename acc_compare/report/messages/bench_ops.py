"""The sentences of `acc bench-ops`, in every language over the same keys."""

from __future__ import annotations

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "one.sample": "{number} sample",
    "many.sample": "{number} samples",
    "bench_ops.sound": (
        "SOUND: {samples} of {operators} operators on {device} (torch {torch}); none is further from float64 than "
        "explained. The nearest to it:"
    ),
    "bench_ops.wrong": (
        "WRONG: of {samples} of {operators} operators on {device} (torch {torch}), {wrong} rows are further from "
        "float64 than explained:"
    ),
    "bench_ops.refused": "{number} rows are not taken here at all; the first is {first} ({why}).",
    "bench_ops.worse": "{number} rows are worse than in the other table ({device}, torch {torch}):",
    "bench_ops.no_worse": "{number} rows are worse than in the other table ({device}, torch {torch}).",
}

CHINESE: Mapping[str, str] = {
    "one.sample": "{number} 个样例",
    "many.sample": "{number} 个样例",
    "bench_ops.sound": (
        "正常：{device}（torch {torch}）上 {operators} 个算子的{samples}；与 float64 的差距都可以解释。最接近界限的："
    ),
    "bench_ops.wrong": (
        "有错：{device}（torch {torch}）上 {operators} 个算子的{samples}中，有 {wrong} 行与 float64 的差距无法解释："
    ),
    "bench_ops.refused": "有 {number} 行在这里完全不支持；第一个是 {first}（{why}）。",
    "bench_ops.worse": "有 {number} 行比另一张表差（{device}，torch {torch}）：",
    "bench_ops.no_worse": "有 {number} 行比另一张表差（{device}，torch {torch}）。",
}
