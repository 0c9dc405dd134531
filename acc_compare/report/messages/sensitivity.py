"""The sentences of `--perturb`, in every language over the same keys."""

from __future__ import annotations

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "sensitivity.bit": (
        "{calls} made again with the last bit of each input turned round. Most sensitive: {name}, whose result moves "
        "{times:times} times as far as its inputs."
    ),
    "sensitivity.noise": (
        "{calls} made again with a few roundings of noise on each input. Most sensitive: {name}, whose result moves "
        "{times:times} times as far as its inputs."
    ),
    "sensitivity.upcast": (
        "{calls} made again in the next wider type. Most sensitive: {name}, whose result differs by {times:times} "
        "roundings of its inputs."
    ),
}

CHINESE: Mapping[str, str] = {
    "sensitivity.bit": (
        "已将输入的最后一位翻转后重算{calls}。最敏感：{name}，其结果的变化是输入变化的 {times:times} 倍。"
    ),
    "sensitivity.noise": (
        "已给输入加上几个舍入的噪声后重算{calls}。最敏感：{name}，其结果的变化是输入变化的 {times:times} 倍。"
    ),
    "sensitivity.upcast": "已用更宽的类型重算{calls}。最敏感：{name}，其结果相差输入的 {times:times} 个舍入。",
}
