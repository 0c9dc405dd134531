"""What an error looks like."""

from __future__ import annotations

MESSAGES: dict[str, tuple[str, str]] = {
    "looks.region_alone": ("{where} off, the rest agrees to rounding", "{where}不一致，其余在舍入误差内一致"),
    "looks.region_and_relation": (
        "{where} off, the rest agrees to rounding; what is off {what}",
        "{where}不一致，其余在舍入误差内一致；不一致的部分{what}",
    ),
    "looks.relation_alone": ("{tensor} as a whole {what}", "整个 {tensor} {what}"),
    "looks.spread": (
        "{share} of the elements of {tensor} are off, with no pattern that has a name",
        "{tensor} 中 {share} 的元素不一致，没有可辨认的规律",
    ),
    "looks.all": (
        "nearly all elements of {tensor} are off, with no pattern that has a name",
        "{tensor} 的几乎所有元素都不一致，没有可辨认的规律",
    ),
    "looks.last_columns": (
        "the last {count} of the {extent} columns of {tensor} are",
        "{tensor} 的 {extent} 列中最后 {count} 列",
    ),
    "looks.last_column": ("the last of the {extent} columns of {tensor} is", "{tensor} 的 {extent} 列中最后一列"),
    "looks.last_elements": (
        "the last {count} of the {extent} elements of {tensor} are",
        "{tensor} 的 {extent} 个元素中最后 {count} 个",
    ),
    "looks.last_element": ("the last of the {extent} elements of {tensor} is", "{tensor} 的 {extent} 个元素中最后一个"),
    "looks.rows_after": (
        "{tensor} from index {start} on along dimension {axis} (of {extent}) is",
        "{tensor} 在第 {axis} 维（长度 {extent}）从下标 {start} 起的部分",
    ),
    "looks.channel": (
        "channel (or head) {index} of {extent} of {tensor}, along dimension 1, is",
        "{tensor} 的第 1 维上 {extent} 个通道（或头）中下标为 {index} 的一个",
    ),
    "looks.column": (
        "one of the {extent} columns of {tensor}, index {index}, is",
        "{tensor} 的 {extent} 列中下标为 {index} 的一列",
    ),
    "looks.row": (
        "one of the {extent} rows of {tensor}, index {index} along dimension {axis}, is",
        "{tensor} 的 {extent} 行中下标为 {index} 的一行（第 {axis} 维）",
    ),
    "looks.head": (
        "one block of {count} of the {extent} columns of {tensor} (indices {start} to {stop}: one head of {heads}) is",
        "{tensor} 的 {extent} 列中的一块，共 {count} 列（下标 {start} 至 {stop}：{heads} 个头中的一个）",
    ),
    "looks.scattered": (
        "{count} of the {extent} elements of {tensor} are (the first at {first})",
        "{tensor} 的 {extent} 个元素中有 {count} 个（第一个在 {first}）",
    ),
    "looks.scattered_one": (
        "one of the {extent} elements of {tensor} is (at {first})",
        "{tensor} 的 {extent} 个元素中有 1 个（在 {first}）",
    ),
    "looks.zero": ("is zero on the NPU side", "在 NPU 侧为零"),
    "looks.sign": ("has its sign flipped", "符号相反"),
    "looks.transposed": (
        "is the bench's with dimensions {first} and {second} exchanged",
        "等于标杆侧交换第 {first} 维与第 {second} 维的结果",
    ),
    "looks.shifted": (
        "is the bench's shifted by {by} along dimension {axis}",
        "等于标杆侧沿第 {axis} 维移动 {by} 位的结果",
    ),
    "looks.permuted": (
        "is the bench's in another order: {count} slices along dimension {axis} have changed places",
        "等于标杆侧换了次序的结果：沿第 {axis} 维有 {count} 个切片换了位置",
    ),
    "looks.rounded": (
        "was rounded to {dtype}: every element is a {dtype} number, the nearest to the bench's",
        "被舍入到 {dtype}：每个元素都是 {dtype} 数，且最接近标杆侧的值",
    ),
    "looks.computed": (
        "was computed in {dtype}: every element is a {dtype} number, further off than one rounding",
        "以 {dtype} 计算：每个元素都是 {dtype} 数，偏差大于一次舍入",
    ),
    "looks.factor": ("is the bench's times {factor}", "等于标杆侧乘以 {factor}"),
    "looks.offset": ("is the bench's plus {offset}", "等于标杆侧加上 {offset}"),
    "looks.sketch_sign": (
        "the sign of every element is flipped (estimated from the sketch)",
        "所有元素的符号相反（由草图估计）",
    ),
    "looks.sketch_factor": (
        "a constant factor of {factor} (estimated from the sketch)",
        "相差常数倍 {factor}（由草图估计）",
    ),
    "looks.rounding_size": (
        "the size of rounding to {dtype} (about {unit} of each element)",
        "误差大小相当于舍入到 {dtype}（约为每个元素的 {unit}）",
    ),
    "looks.rounding_other": ("float16, TF32 or HF32", "float16、TF32 或 HF32"),
    "looks.update_factor": ("the update is {factor} times the bench's", "更新量是标杆侧的 {factor} 倍"),
}
