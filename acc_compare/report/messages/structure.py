"""What one side did and the other did not, in every language over the same keys."""

from __future__ import annotations

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "happened.one_side": (
        "{producer} ran on the {side} side only, and what it made differs by {size} where {call} reads it"
    ),
    "happened.one_side_reshaped": "{producer} ran on the {side} side only, and {tensor} of {call} has {shapes}",
    "happened.handed": (
        "{producer} gives a gradient as {argument} on the {side} side only, and the one that {call} reads differs by "
        "{size}"
    ),
    "happened.rewired": (
        "{tensor} comes from {npu} on the NPU side and from {bench} on the bench side, and differs by {size}"
    ),
    "happened.rewired_reshaped": (
        "{tensor} comes from {npu} on the NPU side and from {bench} on the bench side, and has {shapes}"
    ),
}

CHINESE: Mapping[str, str] = {
    "happened.one_side": "{producer} 只在{side}侧运行，它的结果在被 {call} 读取时相差 {size}",
    "happened.one_side_reshaped": "{producer} 只在{side}侧运行，{call} 的 {tensor} 形状不同：{shapes}",
    "happened.handed": "{producer} 只在{side}侧给出梯度 {argument}，{call} 读取的梯度相差 {size}",
    "happened.rewired": "{tensor} 在 NPU 侧来自 {npu}，在标杆侧来自 {bench}，相差 {size}",
    "happened.rewired_reshaped": "{tensor} 在 NPU 侧来自 {npu}，在标杆侧来自 {bench}，形状不同：{shapes}",
}
