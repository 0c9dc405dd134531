"""Settings that change results and differ between the sides (judge/settings.py)."""

from __future__ import annotations

MESSAGES: dict[str, tuple[str, str]] = {
    "label.settings": ("Settings", "设置差异"),
    "settings.products": (
        "{what} of float32 ran {npu} on the NPU side and {bench} on the bench, and differ for that alone. Before you"
        " blame an operator, compare like with like: {switch}",
        "float32 的{what}在 NPU 侧{npu}，在标杆侧{bench}，仅此就会造成差异。在归咎于算子之前，请先统一设置：{switch}",
    ),
    "settings.matmul": ("matrix products", "矩阵乘"),
    "settings.conv": ("convolutions", "卷积"),
    "settings.narrow": ("in {type}", "以 {type} 计算"),
    "settings.full": ("in full precision", "以完整精度计算"),
    "settings.unknown_type": ("in a type that its dump does not tell", "的计算类型在转储中没有说明"),
    "settings.saturating": (
        "the NPU side ran with {variable}, which asks for saturation: the largest number in place of Inf, 0 in place of"
        " NaN",
        "NPU 侧以 {variable} 运行，即要求饱和模式：以最大值代替 Inf，以 0 代替 NaN",
    ),
    "settings.differs": (
        "{name}: {npu} on the NPU side, {bench} on the bench",
        "{name}：NPU 侧为 {npu}，标杆侧为 {bench}",
    ),
    "settings.unset": ("not set", "未设置"),
    "settings.on": ("on", "开"),
    "settings.off": ("off", "关"),
}
