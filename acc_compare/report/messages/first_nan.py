"""The sentences of `acc nan`, in every language over the same keys."""

from __future__ import annotations

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "nan.none": "FINITE: none of {calls} read finite numbers and wrote NaN or Inf.",
    "nan.first": "NOT FINITE: {call}{place} read finite numbers and wrote {what}.",
    "nan.wrote": "{nan} NaN and {inf} Inf in {tensor}",
    "nan.wrote.uncounted": "NaN or Inf in {tensor}",
    "nan.label.module": "Module",
    "nan.label.source": "In your code",
    "nan.label.read": "Read",
    "nan.label.way": "On the way",
    "nan.label.steps": "Steps before",
    "nan.label.vanished": "Vanished",
    "nan.label.more": "Also",
    "nan.range": "{name}: up to {largest}",
    "nan.range.bits": "{name}: up to {largest}, {bits:.0f} doublings below the largest {dtype}",
    "nan.range.infinite": "{name}: infinite, as it was asked to be",
    "nan.of_step": "step {step}",
    "nan.vanished": "{count} read NaN or Inf and wrote finite numbers alone: {names}",
    "nan.more": "{call}{place}",
}

CHINESE: Mapping[str, str] = {
    "nan.none": "均为有限值：{calls}中没有读入有限值却写出 NaN 或 Inf 的。",
    "nan.first": "出现非有限值：{call}{place} 读入的是有限值，写出了{what}。",
    "nan.wrote": "{tensor} 中的 {nan} 个 NaN 和 {inf} 个 Inf",
    "nan.wrote.uncounted": "{tensor} 中的 NaN 或 Inf",
    "nan.label.module": "模块",
    "nan.label.source": "代码位置",
    "nan.label.read": "读入",
    "nan.label.way": "途经",
    "nan.label.steps": "之前各步",
    "nan.label.vanished": "消失",
    "nan.label.more": "另有",
    "nan.range": "{name}：最大 {largest}",
    "nan.range.bits": "{name}：最大 {largest}，距 {dtype} 的最大值还有 {bits:.0f} 次翻倍",
    "nan.range.infinite": "{name}：无穷大，本就如此要求",
    "nan.of_step": "第 {step} 步",
    "nan.vanished": "{count}读入 NaN 或 Inf，而写出的全是有限值：{names}",
    "nan.more": "{call}{place}",
}
