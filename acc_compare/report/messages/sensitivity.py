"""The sentences of `--perturb`, of what a comparison could have seen and of what it did not show, in every language
over the same keys."""

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
    "told": "{name} with {settings}",
    "note.without_effect": (
        "Settings differ that show in nothing that was compared: {calls}. They may in later steps, which "
        "--step records."
    ),
    "note.sensitivity": (
        "What this comparison could see: an error above {mostly} of a result in nine calls of ten, above {all} "
        "in every call; weakest: {weakest}."
    ),
    "note.blind_in_few": (
        "What this comparison could see: an error above {mostly} of a result in nine calls of ten; in {blind} of "
        "{calls} none, even one as large as the result; weakest: {weakest}."
    ),
    "note.blind_in_many": (
        "What this comparison could see: an error above {median} of a result in every second call; in {blind} of "
        "{calls} none, even one as large as the result; weakest: {weakest}."
    ),
    "note.near_ties": (
        "Near ties fell otherwise on the two sides in {calls}, {first} first: rounding of what they read explains it. "
        "{unjudged} that read what they chose could not be judged."
    ),
    "note.near_ties_alone": (
        "Near ties fell otherwise on the two sides in {calls}, {first} first: rounding of what they read explains it."
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
    "told": "{name}（{settings}）",
    "note.without_effect": "有些设置不同，但所比较的内容中未见影响：{calls}。后续步骤中可能出现（用 --step 记录）。",
    "note.sensitivity": (
        "本次比较能看到的：十个调用中有九个，超过结果 {mostly} 的误差；每个调用中，超过 {all} 的误差；最弱的是 "
        "{weakest}。"
    ),
    "note.blind_in_few": (
        "本次比较能看到的：十个调用中有九个，超过结果 {mostly} 的误差；{calls} 个中有{blind}看不到任何误差，"
        "哪怕与结果一样大；最弱的是 {weakest}。"
    ),
    "note.blind_in_many": (
        "本次比较能看到的：每两个调用中有一个，超过结果 {median} 的误差；{calls} 个中有{blind}看不到任何误差，"
        "哪怕与结果一样大；最弱的是 {weakest}。"
    ),
    "note.near_ties": (
        "{calls}中有近似并列的值在两侧取舍不同，最先是 {first}：其输入的舍入误差可以解释。"
        "读取这些选择的 {unjudged}无法判定。"
    ),
    "note.near_ties_alone": "{calls}中有近似并列的值在两侧取舍不同，最先是 {first}：其输入的舍入误差可以解释。",
}
