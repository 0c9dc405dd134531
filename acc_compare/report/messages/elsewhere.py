"""Sentences that stages before the report make as plain text: recognised by their English, said in Chinese.

`{name}` stands for anything and is translated by itself where it is a sentence of this table, too.  The test of this
file reads the sources of those stages and fails for a sentence that is missing here.
"""

from __future__ import annotations

MESSAGES: dict[str, tuple[str, str]] = {
    # judge/verdict.py
    "elsewhere.differ_more": (
        "The runs differ. First suspect: {name}, and {more}.",
        "两次运行不一致。首要可疑项：{name}，另有 {more}。",
    ),
    "elsewhere.differ": ("The runs differ. First suspect: {name}.", "两次运行不一致。首要可疑项：{name}。"),
    "elsewhere.no_calls": (
        "No call of one side answers to a call of the other, so nothing was compared.",
        "两侧没有任何相互对应的调用，因此没有比较任何内容。",
    ),
    "elsewhere.no_tensors": (
        "No tensor was recorded on both sides in a way that can be compared.",
        "没有任何张量在两侧都以可比较的方式被记录。",
    ),
    "elsewhere.cut": (
        "Nothing suspect in {calls}, but a dump was cut short: {why}",
        "{calls}中没有可疑项，但有一份转储被截断：{why}",
    ),
    "elsewhere.same": (
        "{calls} compared, none differs by more than rounding explains.",
        "比较了 {calls}，没有任何一个的差异超出舍入所能解释的范围。",
    ),
    "elsewhere.simulated": (
        "The {side} side ran on a simulated NPU: CPU kernels, no hardware.",
        "{side}侧运行在模拟 NPU 上：底层是 CPU 算子，没有真实硬件。",
    ),
    "elsewhere.unmeasured": (
        "{tensors} could not be compared: of other shapes, or not measured.",
        "{tensors}无法比较：形状不同，或没有测量值。",
    ),
    "elsewhere.narrowed": (
        "{results} are {npu} on the NPU side and {bench} on the bench side; rounding to the narrower type is taken as"
        " normal.",
        "{results}在 NPU 侧为 {npu}，在标杆侧为 {bench}；舍入到较窄的类型视为正常。",
    ),
    "elsewhere.versions": (
        "torch {npu} on the NPU side, {bench} on the bench.",
        "NPU 侧的 torch 版本为 {npu}，标杆侧为 {bench}。",
    ),
    "elsewhere.modules_only": (
        "Level L0: modules only. Record at L1 or mix to have the operator named.",
        "级别 L0：只有模块。以 L1 或 mix 级别记录，才能指出具体算子。",
    ),
    "elsewhere.foreign": (
        "One side was recorded by msprobe, whose API calls list other gradients: what backward calls wrote is shown but"
        " not judged.",
        "有一侧由 msprobe 记录，其 API 调用列出的梯度不同：反向调用的输出只显示，不判断。",
    ),
    "elsewhere.no_sketch": (
        "A dump without sketches: small differences that leave max, min, mean and norm alone stay unseen.",
        "有一份转储没有草图：不影响最大值、最小值、均值和范数的小差异无法看到。",
    ),
    "elsewhere.missed": (
        "The {side} side has tensors or calls {label}: {text}.",
        "{side}侧有{label}的张量或调用：{text}。",
    ),
    "elsewhere.not_recordable": ("not recordable", "无法记录"),
    "elsewhere.failed": ("failed while recording", "记录失败"),
    "elsewhere.scripted": ("inside scripted code, not seen one by one", "脚本化代码内部、未被逐个看到"),
    "elsewhere.compiled": ("inside compiled code, not seen one by one", "编译代码内部、未被逐个看到"),
    "elsewhere.laid_against_more": (
        "{calls} of {api} on the {side} side: {fused} was laid against {others}, and so on.",
        "{side}侧{api}的{calls}：{fused} 与 {others} 对照，其余类推。",
    ),
    "elsewhere.laid_against": (
        "{calls} of {api} on the {side} side: {fused} was laid against {others}.",
        "{side}侧{api}的{calls}：{fused} 与 {others} 对照。",
    ),
    # judge/accumulation.py
    "elsewhere.no_optimizer_step": (
        "Micro-batches differ, and no optimizer step was recorded on both sides: nothing says whether they agree.",
        "微批次不同，且没有在两侧都记录到优化器步：无法判断是否一致。",
    ),
    "elsewhere.record_the_step": (
        "Record the optimizer's step on both sides, or run both with the same micro-batches.",
        "请在两侧都记录优化器步，或用相同的微批次运行两侧。",
    ),
    "elsewhere.accumulated_agree": (
        "Accumulated gradients agree to {size} at {call}.",
        "累积梯度在 {call} 处一致到 {size}。",
    ),
    "elsewhere.accumulated_differ": (
        "Accumulated gradients differ by up to {size} at {call} ({parameter}).",
        "累积梯度在 {call} 处最多相差 {size}（{parameter}）。",
    ),
    "elsewhere.accumulated_why": (
        "{measured}. Other data, batch statistics or means over micro-batches may explain it; run both sides with the"
        " same micro-batches to have the operator named.",
        "{measured}。可能由不同的数据、批统计量或对微批次取平均造成；请用相同的微批次运行两侧，才能指出具体算子。",
    ),
    "elsewhere.accumulated_size": (
        "{number} accumulated gradients were compared; {parameter} is furthest apart: {size}.",
        "比较了 {number} 个累积梯度；相差最大的是 {parameter}：{size}。",
    ),
    "elsewhere.accumulated": (
        "{number} accumulated gradients were compared; {parameter} is furthest apart",
        "比较了 {number} 个累积梯度；相差最大的是 {parameter}",
    ),
    # align/calls.py, align/recomputed.py
    "elsewhere.renames_nothing": (
        "{source}: {entry} renames nothing in this dump.",
        "{source}：{entry} 在这份转储中没有改名任何内容。",
    ),
    "elsewhere.part_of_fused": (
        "part of what {call} stands for, which was compared as one call",
        "属于 {call} 所代表的部分，已作为一个调用比较",
    ),
    "elsewhere.micro_batches_only": (
        "{what} (gradient accumulation): only accumulated gradients and the optimizer are compared",
        "{what}（梯度累积）：只比较累积梯度和优化器",
    ),
    "elsewhere.micro_batches_first": (
        "{what}: the first is compared, and the optimizer",
        "{what}：只比较第一个，以及优化器",
    ),
    "elsewhere.runs_batches": (
        "runs {here} for an optimizer step, the {side} side {there}",
        "每个优化器步运行 {here}，{side}侧运行 {there}",
    ),
    # align/calls.py
    "elsewhere.no_operator": ("the {side} side has no call of {what}", "{side}侧没有{what}的调用"),
    "elsewhere.other_place": (
        "no call of {what} on the {side} side stands in this place with these shapes",
        "{side}侧在这个位置没有形状相同的{what}调用",
    ),
    "elsewhere.other_number": (
        "the {side} side has {there} calls of {what}, this side {here}",
        "{side}侧有 {there} 个{what}的调用，这一侧有 {here} 个",
    ),
    "elsewhere.the_operator": ("the operator", "该算子"),
    "elsewhere.the_module": ("the module", "该模块"),
    "elsewhere.bench": ("bench", "标杆"),
    "elsewhere.npu": ("NPU", "NPU "),
    # judge/optimizer.py
    "elsewhere.setting": ("{name} {npu} against {bench}", "{name}：{npu}，标杆为 {bench}"),
    # load.py, comparison.py, judge/suspects.py
    "elsewhere.npu_only": ("{place} is on the NPU side only", "{place}只在 NPU 侧有"),
    "elsewhere.bench_only": ("{place} is on the bench side only", "{place}只在标杆侧有"),
    "elsewhere.pairs": ("{number} pairs of dumps. {summary}", "共 {number} 对转储。{summary}"),
    "elsewhere.placed": ("{name} (step {step}, rank {rank})", "{name}（第 {step} 步，rank {rank}）"),
    "elsewhere.stepped": ("{name} (step {step})", "{name}（第 {step} 步）"),
    "elsewhere.step_rank": ("step {step}, rank {rank}", "第 {step} 步，rank {rank} "),
    "elsewhere.step_process": ("step {step}, process {process}", "第 {step} 步，进程 {process} "),
    "elsewhere.step": ("step {step}", "第 {step} 步"),
    "elsewhere.rank": ("rank {rank}", "rank {rank} "),
    "elsewhere.count_calls": ("{number} calls", "{number} 个调用"),
    "elsewhere.count_call": ("{number} call", "{number} 个调用"),
    "elsewhere.count_tensors": ("{number} tensors", "{number} 个张量"),
    "elsewhere.count_tensor": ("{number} tensor", "{number} 个张量"),
    "elsewhere.count_results": ("{number} results", "{number} 个结果"),
    "elsewhere.count_result": ("{number} result", "{number} 个结果"),
    "elsewhere.more_suspects": ("{number} more suspects", "{number} 个可疑项"),
    "elsewhere.more_suspect": ("{number} more suspect", "{number} 个可疑项"),
    # dump/format/reader.py
    "elsewhere.closed_early": (
        "{source} was closed before its step ended; {number} calls were read.",
        "{source} 在其步骤结束之前就被关闭；读到 {number} 个调用。",
    ),
    "elsewhere.closed_by_limit": (
        "{source} was closed by {limit} before its step ended; {number} calls were read.",
        "{source} 在其步骤结束之前因 {limit} 而被关闭；读到 {number} 个调用。",
    ),
    "elsewhere.no_end": (
        "{source} has no end: its recording was killed or still runs. {number} calls were read.",
        "{source} 没有结尾：记录被中止或仍在进行。读到 {number} 个调用。",
    ),
}
