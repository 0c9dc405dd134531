"""What one side did and the other did not, in every language over the same keys."""

from __future__ import annotations

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "happened.one_side": (
        "{producer} ran on the {side} side only, and what it made differs by {size} where {call} reads it"
    ),
    "happened.one_side_before": (
        "{producer} ran in the step before on the {side} side only, and what it made differs by {size} where {call} "
        "reads it"
    ),
    "happened.one_side_reshaped": "{producer} ran on the {side} side only, and {tensor} of {call} has {shapes}",
    "happened.one_side_reshaped_before": (
        "{producer} ran in the step before on the {side} side only, and {tensor} of {call} has {shapes}"
    ),
    "happened.handed": (
        "{producer} gives a gradient as {argument} on the {side} side only, and the one that {call} reads differs by "
        "{size}"
    ),
    "happened.rewired": (
        "{tensor} comes from {npu} on the NPU side and from {bench} on the bench side, and differs by {size}"
    ),
    "happened.read_another": (
        "{tensor} differs by {size}, since it is another tensor: on the NPU side that of {npu}, on the bench side that "
        "of {bench}, and these agree"
    ),
    "happened.trained": "{what} differs by {size} of its size: an optimizer moves it on the {side} side only",
    "happened.summed": (
        "{tensor} is a gradient and differs by {size}: on the NPU side it is the sum of what {npu} gave, on the bench "
        "side of what {bench} gave"
    ),
    "happened.not_summed": (
        "{tensor} is a gradient and differs by {size}: on the {side} side it is what {calls} gave, on the other there "
        "is more in it, or it was changed since"
    ),
    "advice.before_the_model": (
        "{tensor} alone differs: see what the script makes of the data before it first calls the model. The first step "
        "has no record of that; later ones have (--step 0,1), and calls of one side alone may tell"
    ),
    "advice.summed": "find out where either side clears gradients (zero_grad), scales them or writes to them",
    "advice.handed": "find out why no gradient is asked for on the other side (detach, no_grad, requires_grad)",
    "advice.trained": (
        "find out why one side alone trains it (a copy that shares memory, requires_grad, an optimizer's groups)"
    ),
}

CHINESE: Mapping[str, str] = {
    "happened.one_side": "{producer} 只在{side}侧运行，它的结果在被 {call} 读取时相差 {size}",
    "happened.one_side_before": "{producer} 在上一步只在{side}侧运行，它的结果在被 {call} 读取时相差 {size}",
    "happened.one_side_reshaped": "{producer} 只在{side}侧运行，{call} 的 {tensor} 形状不同：{shapes}",
    "happened.one_side_reshaped_before": ("{producer} 在上一步只在{side}侧运行，{call} 的 {tensor} 形状不同：{shapes}"),
    "happened.handed": "{producer} 只在{side}侧给出梯度 {argument}，{call} 读取的梯度相差 {size}",
    "happened.read_another": "{tensor} 是另一个张量：NPU 侧为 {npu}，标杆侧为 {bench}（两者各自一致），相差 {size}",
    "happened.rewired": "{tensor} 在 NPU 侧来自 {npu}，在标杆侧来自 {bench}，相差 {size}",
    "happened.trained": "{what} 相差其大小的 {size}：只有{side}侧的优化器更新它",
    "happened.summed": "{tensor} 是梯度，相差 {size}：NPU 侧为 {npu} 所给之和，标杆侧为 {bench} 所给之和",
    "happened.not_summed": "{tensor} 是梯度，相差 {size}：{side}侧为 {calls} 所给，另一侧还含有其他成分，或此后被改动",
    "advice.before_the_model": (
        "只有 {tensor} 不同：查看脚本在首次调用模型之前对数据做了什么。第一步没有这部分记录，之后的步有（--step 0,1），"
        "只在一侧出现的调用可能说明原因"
    ),
    "advice.summed": "查明两侧在何处清零（zero_grad）、缩放或改写梯度",
    "advice.handed": "查明另一侧为什么不需要这个梯度（detach、no_grad、requires_grad）",
    "advice.trained": "查明为什么只有一侧训练它（共享内存的副本、requires_grad、优化器的参数组）",
}
