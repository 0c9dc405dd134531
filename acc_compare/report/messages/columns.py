"""What each column of a comparison means, in Chinese; in English the table of columns says it itself."""

from __future__ import annotations

from collections.abc import Mapping

_SIDES = {"NPU": "NPU 侧", "Bench": "标杆侧"}
_OF_BOTH = {
    "Dtype": "{side}的元素类型。",
    "Tensor Shape": "{side}的形状。",
    "Requires_grad": "{side}是否参与求导。",
    "max": "{side}的最大元素；若含 NaN 或 Inf，则显示之。",
    "min": "{side}的最小元素；若含 NaN 或 Inf，则显示之。",
    "mean": "{side}元素的均值。",
    "l2norm": "{side}平方和的平方根。",
}

CHINESE: Mapping[str, str] = {
    **{f"{side} {name}": said.format(side=told) for side, told in _SIDES.items() for name, said in _OF_BOTH.items()},
    "NPU Name": "NPU 侧的参数：先是调用名，再是输入、输出或模块参数。N/A：仅标杆侧有。",
    "Bench Name": "与之比对的标杆侧参数。N/A：仅 NPU 侧有。",
    "Cosine": "两个张量夹角的余弦，N·B / (|N| |B|)。1 表示方向相同。",
    "EucDist": "欧氏距离 |N - B|。",
    "MaxAbsErr": "元素差的最大绝对值，max |N - B|。",
    "MaxRelativeErr": "元素差的最大相对值，max |N - B| / |B|。",
    "One Thousandth Err Ratio": "相对误差小于千分之一的元素所占比例。",
    "Five Thousandths Err Ratio": "相对误差小于千分之五的元素所占比例。",
    "Max diff": "NPU 侧最大值减标杆侧最大值。",
    "Min diff": "NPU 侧最小值减标杆侧最小值。",
    "Mean diff": "NPU 侧均值减标杆侧均值。",
    "L2norm diff": "NPU 侧 L2 范数减标杆侧 L2 范数。",
    "MinRelativeErr": "最小值之差占标杆最小值的百分比。",
    "MeanRelativeErr": "均值之差占标杆均值的百分比。",
    "NormRelativeErr": "L2 范数之差占标杆 L2 范数的百分比。",
    "NPU MD5": "NPU 侧各字节的摘要。",
    "BENCH MD5": "标杆侧各字节的摘要。",
    "Requires_grad Consistent": "两侧的 requires_grad 是否一致。",
    "Result": (
        "固定阈值规则：pass（通过）、warning（警告）、error（错误）或 unmatched（另一侧没有对应）。"
        "它们以常数衡量每一行；起决定作用的结论见页首。"
    ),
    "Accuracy Reached or Not": (
        "No：余弦小于 0.99 且 MaxAbsErr 大于 0.001，或余弦小于 0.9，或 MaxAbsErr 大于 1，或仅 NPU 侧含 NaN/Inf。"
        "Unmatched：形状不同。N/A：无可比对。"
    ),
    "Err_Message": "用文字说明此行为何是这种颜色。",
    "NPU_Stack_Info": "发起调用的代码行。",
    "Data_Name": "保存该张量的文件。",
    "RelL2": "|N - B| / |B|：差的长度与标杆长度之比。",
    "MaxAbsErr Index": "MaxAbsErr 在张量中的位置；相等时取第一个。",
    "MaxRelativeErr Index": "MaxRelativeErr 在张量中的位置；相等时取第一个。",
    "Est. Cosine": "由草图估计的两个张量的余弦，误差为百分之几。",
    "Est. RelL2": (
        "仅由草图估计的 |N - B| / |B|，能看到最大值与范数看不到的差异。Excess 与顾问还用到范数、均值、最大值与最小值，"
        "且不低于草图的分辨率（2e-7）。"
    ),
    "Expected": "此处典型的相对误差：输入与舍入可解释的部分。",
    "Expected From": (
        "Expected 的依据。floor：两次标杆运行之差（--floor）。reference：两侧与参考运行之差即为如此（--reference）。"
        "peers：输入误差、舍入，以及本次运行中同一算子的其他调用。"
        "prior：同上，但没有这样的调用。exact：输入相等且没有舍入。before、inside：此前或内层模块中已见到的误差。"
        "finite：输入不含 NaN 或 Inf。unknown：输入有差异，但不知多少。"
    ),
    "Excess": "实测与预期之比，两者与顾问所述相同。其中多少属于不可能，取决于各调用的离散程度；见 Origin。",
    "Origin": (
        "introduced：误差由此产生。propagated：随输入传来。absorbed：调用使其变小。input：在任何算子运行之前已存在。"
        "random：随机算子取了不同的数。agrees：不超过舍入。"
    ),
    "NPU to Reference": "|N - R| / |R|：NPU 侧与参考运行之差。",
    "Bench to Reference": "|B - R| / |R|：标杆侧与参考运行之差。",
    "Further Off": "两侧之差来自哪一侧：npu、bench、both（相当）、unclear（所记录的不足以判断）。",
    "Module": "调用所在的模块。",
    "Bench Module": "标杆侧所在的模块（与 NPU 侧不同时）。",
}

OF_STATISTICS: Mapping[str, str] = {"MaxRelativeErr": "最大值之差占标杆最大值的百分比。"}
"""Where a column means something else in mode statistics."""
