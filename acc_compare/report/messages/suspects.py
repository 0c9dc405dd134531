"""What happened at a suspect, on what grounds, how it spread, what to try next."""

from __future__ import annotations

MESSAGES: dict[str, tuple[str, str]] = {
    # What a kind of suspect means
    "kind.operator": ("what it read agrees, what it computed does not", "输入一致，计算结果不一致"),
    "kind.before": (
        "the difference is already in what it reads, and no recorded call made it",
        "它读到的值已经不同，而差异并非出自任何被记录的调用",
    ),
    "kind.nan_inf": ("NaN or Inf appears here first", "NaN 或 Inf 最先在这里出现"),
    "kind.optimizer": ("the gradients agree, the updated parameters do not", "梯度一致，更新后的参数不一致"),
    "kind.input": (
        "the data or the initial parameters differ from the start",
        "数据或初始参数从一开始就不同",
    ),
    "kind.random": ("a random operator drew other numbers", "随机算子取到了不同的随机数"),
    "kind.structure": ("the two runs do not make the same calls in the same order", "两侧的调用或其次序不同"),
    "kind.dtype": ("one side computes in a lower precision throughout", "有一侧始终以较低的精度计算"),
    # What happened
    "of_call": ("{tensor} of {call}", "{call} 的 {tensor}"),
    "parameter": ("parameter {name}", "参数 {name}"),
    "happened.input_differs": (
        "{what} differs by {size} of its size before any recorded operator touched it",
        "{what} 在任何被记录的算子使用之前就已不同，差异为自身大小的 {size}",
    ),
    "happened.input_not_same": (
        "{what} is not the same before any recorded operator touched it",
        "{what} 在任何被记录的算子使用之前就已不同",
    ),
    "happened.input_reshaped": (
        "{what} has {shapes}, before any recorded operator touched it",
        "{what} 在任何被记录的算子使用之前形状就不同：{shapes}",
    ),
    "happened.reshaped": (
        "{what} has {shapes}, though all that it read has the same shapes",
        "输入的形状都相同，而 {what} 的形状不同：{shapes}",
    ),
    "shapes": ("shape {npu} on the NPU side and {bench} on the bench side", "NPU 侧为 {npu}，标杆侧为 {bench}"),
    "happened.updated": (
        "the parameters differ by {size} at the start of this step although the step before agreed: the optimizer's"
        " update was another",
        "上一步一致，而这一步开始时参数相差 {size}：优化器的更新不同",
    ),
    "happened.one_side": (
        "{producer} ran on one side only, and what it made differs by {size} where {call} reads it",
        "{producer} 只在一侧运行，它的结果在被 {call} 读取时相差 {size}",
    ),
    "happened.rewired": (
        "{tensor} comes from {npu} on the NPU side and from {bench} on the bench side, and differs by {size}",
        "{tensor} 在 NPU 侧来自 {npu}，在标杆侧来自 {bench}，相差 {size}",
    ),
    "happened.nonfinite": (
        "{tensor} holds {kind} on the NPU side only, all that {operator} read is finite",
        "只有 NPU 侧的 {tensor} 含有 {kind}，而 {operator} 的输入全部有限",
    ),
    "happened.nonfinite_counted": (
        "{tensor} holds {kind} on the NPU side only, in {bad} of {all} elements; all that {operator} read is finite",
        "只有 NPU 侧的 {tensor} 含有 {kind}（{all} 个元素中的 {bad} 个），而 {operator} 的输入全部有限",
    ),
    "happened.digest": (
        "everything it read is equal bit by bit, {tensor} is not",
        "输入逐位相同，{tensor} 却不同",
    ),
    "happened.drew": ("its inputs {agree}, the numbers it drew differ", "它的输入{agree}，取到的随机数却不同"),
    "happened.computed": (
        "its inputs {agree}, but {tensor} differs by {size} of its size: {times} times the {expected} that {source}",
        "它的输入{agree}，而 {tensor} 相差自身大小的 {size}：是{source}（{expected}）的 {times} 倍",
    ),
    "happened.computed_exact": (
        "its inputs {agree}, but {tensor} differs by {size} of its size, where none at all is normal",
        "它的输入{agree}，而 {tensor} 相差自身大小的 {size}，正常情况下不应有任何差异",
    ),
    "agree.equal": ("are equal", "完全相等"),
    "agree.to": ("agree to {size}", "在 {size} 以内一致"),
    "source.arithmetic": ("they and rounding in {dtype} explain", "输入误差与 {dtype} 舍入所能解释的量"),
    "source.floor": ("two bench runs differ by", "两次标杆运行之间的差异"),
    "source.kin": ("other calls of {operator} show at most", "{operator} 的其他调用所显示的最大差异"),
    "happened.overwritten": (
        "{tensor} differs by {size}, though {producer} made it alike on both sides: its memory was overwritten in"
        " between",
        "{producer} 在两侧给出的 {tensor} 一致，而此处相差 {size}：其间它的内存被改写",
    ),
    "happened.unseen": (
        "{tensor} differs by {size} when {call} reads it{before}: an operator that was not recorded{node} made the"
        " difference",
        "{call} 读取 {tensor} 时它相差 {size}{before}：差异出自一个未被记录的算子{node}",
    ),
    "happened.agreed_before": (", while all up to {call} agrees", "，而直到 {call} 都一致"),
    "happened.node": (" (autograd node {name})", "（自动微分节点 {name}）"),
    "happened.lowered": (
        "{operators} are all off by {looks}: one side computes products in a lower precision throughout",
        "{operators} 都有偏差，{looks}：有一侧的乘积始终以较低精度计算",
    ),
    "happened.update_differs": (
        "the gradient of {parameter} agrees to {gradient}, its update differs by {size} where {expected} is explained",
        "{parameter} 的梯度在 {gradient} 以内一致，其更新量却相差 {size}，可解释的只有 {expected}",
    ),
    "happened.update_digest": (
        "{parameter} and its gradient are equal bit by bit, the updated {parameter} is not",
        "{parameter} 及其梯度逐位相同，更新后的 {parameter} 却不同",
    ),
    # Evidence
    "evidence.fused": ("it was laid against {against}", "与之对照的是 {against}"),
    "evidence.sketch": (
        "measured by the sketch, which is right within about a third",
        "由草图测得，误差约在三分之一以内",
    ),
    "evidence.bound": (
        "the dump has no sketch: the true difference is at least this large",
        "转储中没有草图：真实差异至少有这么大",
    ),
    "evidence.writers": ("calls that wrote to that memory: {calls}", "写过这块内存的调用：{calls}"),
    "evidence.start": ("what differs from the start: {names}", "一开始就不同的有：{names}"),
    "evidence.settings": ("called with other settings: {settings}", "调用参数不同：{settings}"),
    "evidence.setting": ("{name} {npu} against {bench}", "{name}：{npu}，标杆为 {bench}"),
    "evidence.lowered": ("{calls} of {operators} show it alike", "{operators}的 {calls}都有同样表现"),
    "evidence.updates": (
        "{off} of {judged} updates that can be judged are off",
        "可判断的 {judged} 个更新中有 {off} 个不一致",
    ),
    "evidence.optimizer": ("settings differ: {settings}", "设置不同：{settings}"),
    # Spread
    "spread.calls": (
        "{touched} of the {later} calls after it carry the difference",
        "其后的 {later} 个调用中有 {touched} 个带有该差异",
    ),
    "spread.silent": ("{calls}; the loss does not show it", "{calls}；损失值上看不出来"),
    "spread.loss": ("{calls}; it reaches {call} (the loss){size}", "{calls}；它传到了 {call}（损失）{size}"),
    "spread.as": (" as {size}", "，大小为 {size}"),
    # What to try next
    "advice.start_alike": (
        "start both sides alike (add your script's arguments) and compare:\n{commands}",
        "让两侧以相同的种子开始（加上脚本自己的参数），再比较：\n{commands}",
    ),
    "advice.checkpoint": (
        "if they still differ: load the same checkpoint and the same batch on both sides",
        "如果仍然不同：两侧加载相同的检查点和相同的批数据",
    ),
    "advice.generators": (
        "generators of two devices differ even then: set dropout to 0, or call dump.seed_all(rm_dropout=True)",
        "即使如此，两种设备的随机数发生器仍不同：把 dropout 设为 0，或调用 dump.seed_all(rm_dropout=True)",
    ),
    "advice.optimizer_settings": (
        "compare learning rate, betas, eps and weight decay of both scripts",
        "比较两侧脚本的学习率、betas、eps 和权重衰减",
    ),
    "advice.optimizer_made": ("find where it is made:\n{commands}", "找到创建优化器的位置：\n{commands}"),
    "advice.optimizer_plain": (
        "try the optimizer's plain implementation: foreach=False, fused=False",
        "换用优化器的普通实现试一试：foreach=False, fused=False",
    ),
    "advice.one_side": (
        "find out why the calls differ here (a fused operator, a branch, a version)",
        "查明这里的调用为什么不同（融合算子、分支、版本）",
    ),
    "advice.unseen": (
        "look at the lines of the model between {before} and {call}",
        "检查模型中从 {before} 到 {call} 之间的代码",
    ),
    "advice.the_start": ("the start", "开头"),
    "advice.modules": (
        "record the modules too (add your script's arguments) and compare:\n{commands}",
        "同时记录模块（加上脚本自己的参数），再比较：\n{commands}",
    ),
    "advice.first_lower_precision": (
        "if all products may be off alike, first switch the lower precision off:",
        "如果所有乘积可能都有同样偏差，先关闭低精度：",
    ),
    "advice.tf32": (
        "switch TF32 off on a GPU: torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False",
        "在 GPU 上关闭 TF32：torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False",
    ),
    "advice.hf32": (
        "switch HF32 off on an NPU: torch_npu.npu.conv.allow_hf32 = torch_npu.npu.matmul.allow_hf32 = False",
        "在 NPU 上关闭 HF32：torch_npu.npu.conv.allow_hf32 = torch_npu.npu.matmul.allow_hf32 = False",
    ),
    "advice.again": (
        "then record both sides again (add your script's arguments) and compare:\n{commands}",
        "然后重新记录两侧（加上脚本自己的参数），再比较：\n{commands}",
    ),
    "advice.tensors": (
        "record the whole tensors of this call (add your script's arguments) and compare:\n{commands}",
        "记录该调用的完整张量（加上脚本自己的参数），再比较：\n{commands}",
    ),
    "advice.statistics": (
        "digests do not say by how much: record statistics (add your script's arguments):\n{commands}",
        "摘要值不能说明差多少：记录统计量（加上脚本自己的参数）：\n{commands}",
    ),
    "advice.elements": ("see the elements that are furthest off:\n{commands}", "查看偏差最大的元素：\n{commands}"),
    "advice.alone": (
        "run {operator} by itself with these inputs, on the NPU and in float64 on the CPU; or build it from simpler"
        " operators and record again",
        "用这些输入单独运行 {operator}，分别在 NPU 上和在 CPU 上以 float64 进行；或用更简单的算子代替它，再次记录",
    ),
}
