"""The commands' help in Chinese: prose by command, options by what they say in English.

Help is in Chinese where `--lang zh` stands beside `--help`, or where the locale is Chinese.
"""

from __future__ import annotations

from collections.abc import Mapping

PROSE: Mapping[str, str] = {
    "": "采集 PyTorch 在 NPU、GPU 或 CPU 上的运行，比对两次采集，指出有问题的算子。",
    "dump": (
        "运行一个未经修改的训练或推理脚本，记录每个算子读到和算出的内容。\n\n"
        "不给 SCRIPT 时采集内置负载：ResNet 在合成数据上的一个训练步，其参数与常见的 ImageNet 示例相同"
        "（-a resnet50 -b 32 --gpu 1 --dummy），用 acc dump -- --help 查看。\n\n"
        "优化器更新一次为一步；没有优化器的脚本中，最外层模块调用一次为一步。若 --step 或 config.json "
        "没有另作说明，只采集第 0 步。命令行优先于 config.json。"
    ),
    "compare": (
        "比对 NPU 侧与标杆侧的采集，指出有问题的算子。\n\n"
        "每个参数是一个采集目录、一步、一张卡的目录或一个 dump.json，可以是 URL（s3:// 等）；msprobe 写的也能读。"
        "结果写入 OUT/accuracy_compare：compare_result_<time>.xlsx 与 .html（单文件网页）、"
        "advisor_<time>.txt 与 .json。含多步或多卡的两个目录逐对比对，"
        "overview_<time>.xlsx 与 .html 说明哪里出错，--each 另写每一对的表。"
        "超过 10,000 行的表写成 csv 与 parquet，工作簿中只留重要的行。\n\n"
        "退出码：0 为 SAME，1 为 DIFFERENT，2 为 INCOMPLETE（比对过少，不足以下结论）或无法比对。"
    ),
    "replay": (
        "按记录的输入逐个重算调用，并以 float64 评判两个结果。\n\n"
        "DUMP 须以 --task tensor 采集。若结果偏离 float64 的程度超过其类型所能解释，该调用即被证实；在采集时的设备上"
        "重算，可区分是算子有误（再次出错）还是那次运行的内存、时序、流或环境所致（这次正确）。除 torch 自身的函数外，"
        "采集中的任何内容都不会被执行。结果写入 OUT/replay：replay_<time>.xlsx、.txt、.json；"
        "acc compare --replay 可读取最后一个。\n\n"
        "退出码：0 无误，1 有调用被证实有误，2 什么也无法重算。"
    ),
    "repro": (
        "把一个已记录的调用写成只需 torch 的目录：一个短脚本及其输入。\n\n"
        "脚本在设备上和在 CPU 上以 float64 各算一次，说明前者偏差多少，超过其类型所能解释时以 1 退出："
        "可直接交给算子负责人。DUMP 须以 --task tensor 采集。\n\n"
        "给出 --minimise 时缩小该调用，只要在 --device 上重算仍然有误：最小的形状，最少的非零元素。至多半分钟。\n\n"
        "退出码：0 目录已写，2 该调用无法重算，或 --minimise 发现它在这里是对的。"
    ),
    "nan": (
        "指出最先读入有限值却写出 NaN 或 Inf 的调用：只需一次采集，无需标杆。\n\n"
        "按顺序查看 DUMP 的所有步与卡，并跟随卡间通信；统计量已足够。有意写入的 Inf（如掩码）不算。另外说明：该调用读到"
        "什么、通向它的路上及此前各步的最大值、距其类型上限多远，以及 NaN 或 Inf 在何处消失。\n\n"
        "退出码：0 全部有限，1 有这样的调用，2 无法读取。"
    ),
    "check": (
        "运行一个未经修改的脚本，并在运行中以参考值评判其算子算出的结果。\n\n"
        "一台机器，无需标杆。对每种算子、形状与类型的最初几个调用，前向与反向都与 CPU 上相同输入的 float64 结果比较；"
        "不改变运行的任何一位。有误的立即重算，连同输入保存在 OUT/dump，供 acc repro 与 acc replay 使用。"
        "报告写入 OUT/replay。等同于对所有步运行 acc dump --against float64。\n\n"
        "退出码：0 无误，1 有调用被证实有误，2 什么也无法检查；此外为脚本自身的退出码。"
    ),
    "bench-ops": (
        "把 torch 自带的各算子样例在设备上和以 float64 各算一次：此处的安装是否可靠？\n\n"
        "训练开始之前使用，无需脚本，也无需采集：各种形状、类型、不连续的张量、极端值，前向与反向。"
        "结果写入 OUT/replay：bench_ops_<time>.txt 与 .json；在另一台机器上或升级之后"
        "把后者交给 --with，即可看出哪里变差。\n\n"
        "退出码：0 全部正确，1 有误或比另一张表差，2 什么也无法计算。"
    ),
    "report": (
        "由 acc compare 写出的结果生成网页，无需采集数据。\n\n"
        "RESULT 是结果目录（取最新的）或其中一个文件。网页由 advisor_<time>.json 及其旁边最完整的表"
        "（csv、parquet、xlsx）生成，写在它们旁边。"
    ),
    "graph": (
        "把单独一次采集显示为网页：模块、各调用的数值、NaN 与 Inf、数据流。\n\n"
        "DUMP 是采集目录、一步、一张卡的目录或一个 dump.json。多步或多卡时各有一页，另有一页总览。"
        "网页从磁盘打开，不访问网络。"
    ),
    "serve": (
        "只在本机提供某目录下所有采集的网页，直到 Ctrl-C。\n\n"
        "打印的地址中含令牌；没有它，或以其他主机名访问，一概不予回答。首页列出 DIR 下的各次运行，可单独查看，"
        "也可与另一次比对。运行写入更多内容后再打开时，网页会重新生成，并提示有更新。在另一台机器上："
        "ssh -L PORT:127.0.0.1:PORT，并用 --port PORT。"
    ),
    "inspect": (
        "显示一次采集的内容：步、卡、各算子的调用数、字节数、是否完整。\n\n"
        "DUMP 是采集目录、一步、一张卡的目录或一个 dump.json。--call 显示一个调用的记录，--tensor 显示以 --task tensor "
        "采集的一个张量的元素。"
    ),
    "diff": "比对两次采集，完整打印一对调用：关于每个参数所知的一切。",
    "gather": (
        "把多个节点写在各自磁盘上的采集放进一个目录，作为一个作业比对。\n\n"
        "每个 DIR 是一个节点写下的目录（acc dump 的 -o），在本机挂载或已拷来，也可以是 URL。已有的卡保持不变；"
        "同一张卡同一步有两份不同的记录时拒绝。\n\n"
        "退出码：0 各卡齐全，1 缺少一些，2 什么也无法收集。"
    ),
    "env": (
        "显示在本机采集会看到什么：版本、设备，以及每一项会改变结果的设置。\n\n"
        "NPU 的状态为 absent（无）、broken（装了 torch_npu 但无法启动：缺少 CANN 或未设置其环境）、"
        "no-device（无设备）、simulated（模拟）或 ok。采集的文件头中有同样的内容，"
        "acc compare 在指出算子之前先列出两侧不同的设置。"
    ),
    "monitor": ("观察训练：逐步记录每个梯度、权重、激活与动量的几个数。\n\n不是下列命令的词被当作脚本，与 run 相同。"),
    "monitor run": (
        "运行一个未经修改的训练脚本并观察它。\n\n"
        "文件逐步写入 $MONITOR_OUTPUT_DIR（./monitor_output）/{time}-rank{n}/，因此中途被终止也保留每个已完成的步。"
        "不给 -c 时观察每个梯度：范数、最小值、最大值、均值、NaN 与草图。"
    ),
    "monitor csv2tb": "把被观察运行（我们的或 msprobe 的）的 csv 文件转成 TensorBoard 事件文件。",
    "monitor compare": (
        "并排比对两次被观察的运行：最先超出噪声而分开的步与参数。\n\n"
        "每个参数是 monitor_output 目录或其中一张卡的目录；msprobe 的 monitor 写的也能读。结果写入 "
        "OUT/monitor_compare：advisor_<time>.txt 与 .json、含曲线与热力图的 "
        "monitor_<time>.html；装有 matplotlib 时另写 PNG。\n\n"
        "退出码：0 无可疑，1 两次运行分开，2 比对过少或无法比对。"
    ),
    "monitor show": "打印被观察运行最后一步中最差的参数：先是 NaN 与 Inf，再是突变的。",
}

OPTIONS: Mapping[str, str] = {
    "Statistics with sketch, or a digest alone: md5, a faster one (hash), xor.": (
        "统计量加草图，或仅摘要：md5、更快的一种（hash）、xor。"
    ),
    "Record statistics, whole tensors, or structure: no values.": "采集统计量、完整张量，或仅结构（不含数值）。",
    "As many steps as slow the run by no more than this: 5%.": "采集尽可能多的步，但运行变慢不超过此比例：5%。",
    "Of the wanted steps every N-th.": "所需的步中每 N 步取一步。",
    "Print the version and exit.": "打印版本并退出。",
    "Install completion for the current shell.": "为当前 shell 安装补全。",
    "Show completion for the current shell, to copy it or customize the installation.": "显示当前 shell 的补全脚本。",
    "Show this message and exit.": "显示此帮助并退出。",
    "The script, and its own arguments.": "脚本及其自身的参数。",
    "A config.json, as msprobe's.": "config.json，与 msprobe 的相同。",
    "Record statistics, or whole tensors.": "采集统计量，或完整张量。",
    "Statistics with sketch, or a digest alone: MD5, or a faster one (hash).": (
        "统计量加草图，或仅摘要：MD5，或更快的一种（hash）。"
    ),
    "L0 modules, L1 API calls, mix both. [default: L1]": "L0 模块，L1 API 调用，mix 两者。[默认：L1]",
    "Record where each call was made.": "记录每个调用的代码位置。",
    "Where to. [default: ./acc_dump]": "写到哪里。[默认：./acc_dump]",
    "Steps, such as 0,2-4; 'all' for all. [default: 0]": "步，如 0,2-4；all 为全部。[默认：0]",
    "Ranks, such as 0,4-7. [default: all]": "卡，如 0,4-7。[默认：全部]",
    "Only calls whose name contains this; may be repeated.": "只采集名称含此文字的调用；可重复。",
    "Only calls from FIRST to LAST: two names, a comma.": "只采集从 FIRST 到 LAST 的调用：两个名称，逗号分隔。",
    "Only this direction or side; may be repeated.": "只采集此方向或此侧；可重复。",
    "Seed Python, numpy and torch before the script.": "运行脚本前为 Python、numpy 与 torch 设种子。",
    "Ask for deterministic kernels.": "要求确定性算子。",
    "Write no more than this, each rank: 500MB, 2GB, 1GiB. Cuts a step short.": (
        "每张卡最多写这么多：500MB、2GB、1GiB；会中途截断一步。"
    ),
    "Record this many steps; without --step, the first ones.": "采集这么多步；不给 --step 时为最前的几步。",
    "End the script once the last wanted step is written.": "写完最后一个所需的步后结束脚本。",
    "Find, and record, operators that ran under no recorded call (slower).": (
        "找出并采集不在任何已记录调用之下运行的算子（较慢）。"
    ),
    "Look at every argument anew: finds memory overwritten unseen (slower).": (
        "重新查看每个参数：找出被悄悄改写的内存（较慢）。"
    ),
    "Run a module, as python -m does.": "运行一个模块，与 python -m 相同。",
    "Run with and without recording; do all bits agree? Keeps no dump.": (
        "采集与不采集各运行一次，看每一位是否一致；不保留采集。"
    ),
    "Answer the script's imports of msprobe; its calls drive the recording.": (
        "应答脚本对 msprobe 的导入；由其调用驱动采集。"
    ),
    "Refuse every key of config.json that is unknown.": "拒绝 config.json 中任何未知的键。",
    "Where a script written for CUDA runs: npu, cpu (as a bench), cuda. [default: as it says]": (
        "为 CUDA 写的脚本在哪里运行：npu、cpu（作标杆）、cuda。[默认：按脚本]"
    ),
    "Provide a simulated device 'npu' (CPU kernels).": "提供模拟设备 npu（CPU 算子）。",
    "Plant a fault in the simulated NPU: aten::gelu=bf16.": "在模拟 NPU 中植入故障：aten::gelu=bf16。",
    "Plant a fault in the simulated NPU.": "在模拟 NPU 中植入故障。",
    "A Dask scheduler whose workers compare the ranks, tcp://host:8786.": (
        "Dask 调度器地址，由其 worker 比对各卡：tcp://host:8786。"
    ),
    "What the nodes wrote.": "各节点写下的目录。",
    "The folder of the whole job.": "整个作业的目录。",
    "The dump to judge.": "被评判的采集。",
    "The dump to trust.": "作为标杆的采集。",
    "Where the reports go.": "报告写到哪里。",
    "A run in a wider type (float32): tells which side is further off.": (
        "更宽数据类型（float32）的运行：说明哪一侧偏离更远。"
    ),
    "A second bench run: its distance from the first is normal.": "第二次标杆运行：与第一次之差视为正常。",
    "How tensors are cut among ranks (docs/comparing.md).": "各 rank 如何切分张量（docs/comparing.md）。",
    "Renamed modules and APIs, fused operators (docs/mapping.md).": "改名的模块与 API、融合算子（docs/mapping.md）。",
    "Pair left-over calls by the operator alone.": "剩余的调用仅按算子配对。",
    "What acc replay said: suspects are confirmed or cleared.": "acc replay 的结果：可疑项被证实或排除。",
    "Tables to write: xlsx, csv, parquet.": "要写的表：xlsx、csv、parquet。",
    "Write the page too.": "也写网页。",
    "Write error by step and module, and the graph, as TensorBoard's events.": (
        "把各步各模块的误差及计算图写成 TensorBoard 事件。"
    ),
    "Language of the advisor's text and the page: en, zh.": "顾问文字与网页的语言：en、zh。",
    "Of several steps or ranks, write the table of each too.": "多步或多卡时，也写每一对的表。",
    "Cores to use. (all)": "使用的核数。（全部）",
    "Print the verdict's line only.": "只打印结论一行。",
    "A dump with tensors.": "含张量的采集。",
    "A call or module; may be repeated.": "一个调用或模块；可重复。",
    "The suspects that acc compare named.": "acc compare 指出的可疑项。",
    "All calls. [default without --call, --suspects]": "所有调用。[不给 --call、--suspects 时的默认]",
    "Of one operator, shape and dtype in a step, so many calls. [default: all]": (
        "一步中同一算子、形状与类型的调用取这么多个。[默认：全部]"
    ),
    "Where to. [default: the record's device if it is here, else cpu]": (
        "在哪里重算。[默认：采集时的设备（若此处有），否则 cpu]"
    ),
    "The reference, or the other side's dump.": "参考精度，或另一侧的采集。",
    "A module that registers operators.": "注册算子的模块。",
    "xlsx, or none for text and JSON alone.": "xlsx，或 none（仅文字与 JSON）。",
    "Language of the text: en, zh.": "文字的语言：en、zh。",
    "A call, forward or backward.": "一个调用，前向或反向。",
    "Of this step. [default: the first that has it]": "取此步的。[默认：最先有它的]",
    "Of this rank. [default: the first that has it]": "取此卡的。[默认：最先有它的]",
    "The folder. [default: repro_NAME]": "目录。[默认：repro_NAME]",
    "A dump of one run.": "一次运行的采集。",
    "Print JSON.": "打印 JSON。",
    "Steps, such as 0,2-4. [default: all]": "步，如 0,2-4。[默认：全部]",
    "Judge calls while the script runs by the CPU, by float64, or by the bench's dump with tensors.": (
        "在脚本运行中评判调用：以 CPU、以 float64，或以标杆的含张量采集。"
    ),
    "Judge so many calls of each operator, shape, dtype. [default: 3]": (
        "每种算子、形状与类型评判这么多个调用。[默认：3]"
    ),
    "And after these every N-th. [default: none]": "此后每 N 个再评判一个。[默认：无]",
    "Put the reference's result in place of this call's or operator's; repeatable.": (
        "以参考结果替换此调用或此算子的结果；可重复。"
    ),
    "End the script at the first call that is wrong.": "在第一个有误的调用处结束脚本。",
    "Take the inputs of calls from the bench's dump.": "调用的输入取自标杆的采集。",
    "Of these calls or operators alone (with --load); repeatable.": "仅限这些调用或算子（与 --load 同用）；可重复。",
    "No reference: by how much does a change of its inputs move each operator's result?": (
        "不用参考：输入的变化使各算子的结果变化多少？"
    ),
    "End the script where finite numbers become NaN or Inf; keep what was read.": (
        "在有限值变成 NaN 或 Inf 处结束脚本，并保留所读内容。"
    ),
    "Keep all calls that were checked, not the wrong alone.": "保留所有检查过的调用，而不只是有误的。",
    "Where reports and kept calls go.": "报告与保留的调用写到哪里。",
    "Cut it to the least that is still wrong here.": "缩小到在这里仍然有误的最小程度。",
    "Where --minimise makes it. [default: the record's device if here, else cpu]": (
        "--minimise 在哪里重算。[默认：采集时的设备（若此处有），否则 cpu]"
    ),
    "Operators by name, with commas. [default: all that torch lists]": "算子名称，逗号分隔。[默认：torch 所列的全部]",
    "Where to: npu, cuda, cpu.": "在哪里：npu、cuda、cpu。",
    "Types: float32, bfloat16, float16.": "类型：float32、bfloat16、float16。",
    "Of each operator and dtype, so many.": "每种算子与类型取这么多个。",
    "The bench_ops_*.json of another installation.": "另一处安装的 bench_ops_*.json。",
    "What acc compare wrote.": "acc compare 写出的结果。",
    "Folder for the page. (beside the result)": "网页所在目录。（结果旁边）",
    "Language of the page: en, zh.": "网页的语言：en、zh。",
    "The dump to show.": "要显示的采集。",
    "Folder for the pages.": "网页所在目录。",
    "Language of the pages: en, zh.": "网页的语言：en、zh。",
    "A folder of dumps.": "含采集的目录。",
    "Port on 127.0.0.1. (0: any)": "127.0.0.1 上的端口。（0：任意）",
    "The dump to look into.": "要查看的采集。",
    "Show this call.": "显示此调用。",
    "Show the elements of this tensor.": "显示此张量的元素。",
    "Elements of a tensor to print.": "打印张量的几个元素。",
    "As JSON, for programs.": "以 JSON 输出，供程序读取。",
    "The call, by either side's name.": "调用名，任一侧的均可。",
    "Print JSON, one object.": "打印 JSON，一个对象。",
    "A monitor_config.json, as msprobe's.": "monitor_config.json，与 msprobe 的相同。",
    "Where to. [default: $MONITOR_OUTPUT_DIR]": "写到哪里。[默认：$MONITOR_OUTPUT_DIR]",
    "Micro batches in a step; spares measuring the others. [default: found out]": (
        "一步中的微批数；省去测量其余的。[默认：自行得出]"
    ),
    "The folder that holds the runs.": "含各次运行的目录。",
    "A new folder. [default: one in MONITOR_OUTPUT]": "新目录。[默认：MONITOR_OUTPUT 中的一个]",
    "Only files of this kind; may be repeated.": "只取此种文件；可重复。",
    "Only runs begun then or later: Dec03_21-34-40.": "只取此时或之后开始的运行：Dec03_21-34-40。",
    "Only runs begun then or earlier.": "只取此时或之前开始的运行。",
    "Ranks converted at a time.": "同时转换的卡数。",
    "The run to judge.": "被评判的运行。",
    "The run to trust.": "作为标杆的运行。",
    "Only these steps. [default: all]": "只取这些步。[默认：全部]",
    "A monitor_output folder.": "monitor_output 目录。",
    "The kind of files. [default: grad_reduced, or what there is]": "文件种类。[默认：grad_reduced，或现有的]",
    "One rank only.": "只取一张卡。",
    "Rows.": "行数。",
    "Print anew whenever a step comes in.": "每来一步就重新打印。",
    "Seconds between looks, with --follow.": "--follow 时两次查看之间的秒数。",
}

FRAME: Mapping[str, str] = {
    "Usage: ": "用法：",
    "Options:": "选项：",
    "Arguments:": "参数：",
    "Commands:": "命令：",
    "Examples:": "示例：",
}
"""What stands around them, at the beginning of a line."""
