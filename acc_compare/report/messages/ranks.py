"""What is said of ranks that were put together, and of those that were held against each other."""

from __future__ import annotations

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "summary.gradients_differ": "Nothing suspect, but ranks read different {name}, a gradient of what they share.",
    "summary.replicas": "Nothing suspect, but {told}",
    "summary.gradient": "Nothing suspect, but {name} of an optimizer differs by {size}; what made it was not compared.",
    "summary.digests": (
        "Nothing suspect: {equal} of {all} are the same to the bit. From {first} on they are not, as sums and means"
        " over other parts are not in good health: digests say no more. Record statistics of both sides."
    ),
    "note.worlds": "The NPU side ran on {npu} rank(s), the bench on {bench}: parts were put together before comparing.",
    "note.shared_otherwise": "The sides share out the model otherwise: calls that only move its parts are left out.",
    "note.replicas": "{side} alone: after {call} ranks {ranks} should hold the same {argument}; {odd} holds another.",
    "note.grounds": (
        "{side} parts: file {file}, layout {layout}, attributes {attributes}, copy {copies}, shape {shape},"
        " fit {fit} (to {off}, else {other})."
    ),
    "note.shown": "{calls} could not be compared; what was computed from their results agrees.",
    "note.parts": "{tensors} could not be put together or compared: {why}.",
    "parts.file": "the layout file says otherwise than what the parts are",
    "parts.calls": "not every rank made this call with these arguments",
    "parts.differ": "ranks hold other values, and nothing says how they make a whole",
    "parts.elsewhere": "a part is on a rank that is not compared; give the folder that holds all ranks of the step",
    "parts.placement": "partial sums without sketches and interleaved parts do not combine from statistics",
    "parts.shape": "shapes differ with the number of ranks",
}

CHINESE: Mapping[str, str] = {
    "summary.gradients_differ": "没有可疑调用，但各 rank 对同一参数读到的梯度 {name} 不同。",
    "summary.replicas": "没有可疑调用，但{told}",
    "summary.gradient": "没有可疑调用，但优化器的 {name} 相差 {size}，而产生它的调用无法比较。",
    "summary.digests": (
        "没有可疑项：{all}中有 {equal} 个逐位相同。从 {first} 起不再相同，而按其他方式切分后的求和与平均"
        "在正常情况下也是如此：摘要无法说明更多。请在两侧录制统计量。"
    ),
    "note.worlds": "NPU 侧使用 {npu} 个 rank，标杆侧使用 {bench} 个：比较前已把各部分拼合。",
    "note.shared_otherwise": "两侧以不同方式把模型分给各 rank：只搬运各部分的调用没有对应项，不计入比较范围。",
    "note.replicas": "仅看{side}：{call} 之后 rank {ranks} 的 {argument} 应当相同，而 {odd} 与其他不同。",
    "note.grounds": (
        "{side}：按文件 {file}，按布局 {layout}，按属性 {attributes}，副本 {copies}，按形状 {shape}，"
        "吻合 {fit}（差 {off}，否则 {other}）。"
    ),
    "note.shown": "{calls}自身的结果无法比较；由其结果计算出的值一致。",
    "note.parts": "{tensors}无法拼合或比较：{why}。",
    "parts.file": "布局文件的说明与各部分不符",
    "parts.calls": "并非每个 rank 都以这些参数执行了该调用",
    "parts.differ": "各 rank 的值不同，且没有信息说明如何拼成整体",
    "parts.elsewhere": "有一部分在未参与比较的 rank 上；请给出包含该步所有 rank 的目录",
    "parts.placement": "没有草图的部分和与交错切分无法由统计量合并",
    "parts.shape": "形状随 rank 数而不同",
}
