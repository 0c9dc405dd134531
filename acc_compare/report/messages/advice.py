"""What the advisor says to try next, in every language over the same keys."""

from __future__ import annotations

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "advice.start_alike": "start both sides alike (with your script's arguments) and compare:\n{commands}",
    "advice.steps_apart": (
        "find what leaves out or repeats this step: a condition, the number of micro-batches, an error that is caught; "
        "what comes later is compared once both sides make the same steps"
    ),
    "advice.settings": "give this call the same settings on both sides first; what follows is for what remains",
    "advice.earlier": (
        "see in which step they part (with your script's arguments), for the recording begins after it:\n{commands}"
    ),
    "advice.uncompiled": (
        "nothing is recorded inside compiled code: if its result differs, record with torch.compile off and compare:"
        "\n{commands}"
    ),
    "advice.constant": "{tensor} alone differs, and may be a constant: find where both sides make it",
    "advice.checkpoint": "if they still differ: load the same checkpoint and the same batch on both sides",
    "advice.generators": (
        "generators of two devices differ even then: set dropout to 0, or call dump.seed_all(rm_dropout=True)"
    ),
    "advice.optimizer_settings": "compare learning rate, betas, eps and weight decay of both scripts",
    "advice.optimizer_made": "find where it is made:\n{commands}",
    "advice.optimizer_plain": "try the optimizer's plain implementation: foreach=False, fused=False",
    "advice.one_side": "find out why the calls differ here (a fused operator, a branch, a version)",
    "advice.unseen": "look at the lines of the model between {before} and {call}",
    "advice.the_start": "the start",
    "advice.modules": "record the modules too (with your script's arguments) and compare:\n{commands}",
    "advice.unseen_memory": (
        "look for memory that is overwritten unseen (numpy views, raw pointers), and compare:\n{commands}"
    ),
    "advice.modules_and_memory": (
        "record the modules too, and memory that is overwritten unseen (numpy views, raw pointers), and compare:"
        "\n{commands}"
    ),
    "advice.kept": (
        "if it is right when made again: what its forward call kept for it may have been overwritten unseen before "
        "backward (numpy views, raw pointers)"
    ),
    "advice.remeasure": (
        "if the replay clears it: what it read may have been overwritten unseen (numpy views, raw pointers), which "
        "recording both sides with --remeasure shows"
    ),
    "advice.first_lower_precision": "if all products may be off alike, first switch the lower precision off:",
    "advice.tf32": (
        "switch TF32 off on a GPU: torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False"
    ),
    "advice.hf32": (
        "switch HF32 off on an NPU: torch_npu.npu.conv.allow_hf32 = torch_npu.npu.matmul.allow_hf32 = False"
    ),
    "advice.again": "then record both sides again (with your script's arguments) and compare:\n{commands}",
    "advice.tensors": "record the whole tensors of this call (with your script's arguments) and compare:\n{commands}",
    "advice.statistics": (
        "digests do not say by how much: record statistics (with your script's arguments):\n{commands}"
    ),
    "advice.elements": "see the elements that are furthest off:\n{commands}",
    "advice.replay": (
        "make this call again by itself, on its recorded inputs, against float64; write it for its owner:\n{commands}"
    ),
    "advice.see_further": (
        "to see further: whole tensors (--task tensor), a bench in float32, a second bench run for --floor, "
        "or one in float32 for --reference"
    ),
}

CHINESE: Mapping[str, str] = {
    "advice.start_alike": "让两侧以相同的种子开始（带上脚本自己的参数），再比较：\n{commands}",
    "advice.steps_apart": (
        "查明优化器的一步为何被跳过或多做：某个条件、微批次的数目、被捕获的错误；两侧的步一致之后，才能比较其后的步"
    ),
    "advice.settings": "先让两侧以相同的设置调用它；以下步骤针对之后仍有的差异",
    "advice.earlier": "查明从哪一步开始不同（带上脚本自己的参数），因为记录开始得更晚：\n{commands}",
    "advice.uncompiled": (
        "编译后的代码内部不会被记录：如果不同的是它的结果，请关闭 torch.compile 重新记录，再比较：\n{commands}"
    ),
    "advice.constant": "只有 {tensor} 不同，它可能是一个常量：找到两侧创建它的位置",
    "advice.checkpoint": "如果仍然不同：两侧加载相同的检查点和相同的批数据",
    "advice.generators": (
        "即使如此，两种设备的随机数发生器仍不同：把 dropout 设为 0，或调用 dump.seed_all(rm_dropout=True)"
    ),
    "advice.optimizer_settings": "比较两侧脚本的学习率、betas、eps 和权重衰减",
    "advice.optimizer_made": "找到创建优化器的位置：\n{commands}",
    "advice.optimizer_plain": "换用优化器的普通实现试一试：foreach=False, fused=False",
    "advice.one_side": "查明这里的调用为什么不同（融合算子、分支、版本）",
    "advice.unseen": "检查模型中从 {before} 到 {call} 之间的代码",
    "advice.the_start": "开头",
    "advice.modules": "同时记录模块（带上脚本自己的参数），再比较：\n{commands}",
    "advice.unseen_memory": "查找被暗中改写的内存（numpy 视图、裸指针），再比较：\n{commands}",
    "advice.modules_and_memory": ("同时记录模块，并查找被暗中改写的内存（numpy 视图、裸指针），再比较：\n{commands}"),
    "advice.remeasure": (
        "如果重放认为它没有问题：它读取的内存可能被暗中改写（numpy 视图等），用 --remeasure 记录两侧可查明"
    ),
    "advice.kept": "如果重放的结果正确：前向为它保留的内存可能在反向之前被暗中改写（numpy 视图等）",
    "advice.first_lower_precision": "如果所有乘积可能都有同样偏差，先关闭低精度：",
    "advice.tf32": (
        "在 GPU 上关闭 TF32：torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False"
    ),
    "advice.hf32": "在 NPU 上关闭 HF32：torch_npu.npu.conv.allow_hf32 = torch_npu.npu.matmul.allow_hf32 = False",
    "advice.again": "然后重新记录两侧（带上脚本自己的参数），再比较：\n{commands}",
    "advice.tensors": "记录该调用的完整张量（带上脚本自己的参数），再比较：\n{commands}",
    "advice.statistics": "摘要值不能说明差多少：记录统计量（带上脚本自己的参数）：\n{commands}",
    "advice.elements": "查看偏差最大的元素：\n{commands}",
    "advice.replay": "用记录的输入单独重放该调用，与 float64 比较，并导出给算子的负责人：\n{commands}",
    "advice.see_further": (
        "要看得更细：记录完整张量（--task tensor）、使用 float32 的标杆，为 --floor 再运行一次标杆，"
        "或为 --reference 运行一次 float32"
    ),
}
