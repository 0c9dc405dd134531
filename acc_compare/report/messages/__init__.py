"""The sentences of all reports, one table for each language over the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from acc_compare.report.messages import (
    advice,
    bench_ops,
    dump_page,
    en,
    en_page,
    first_nan,
    ranks,
    replay,
    sensitivity,
    structure,
    zh,
    zh_page,
)

Lang: TypeAlias = Literal["en", "zh"]

CATALOGUE: Mapping[Lang, Mapping[str, str]] = {
    "en": {
        **en.MESSAGES,
        **en_page.MESSAGES,
        **advice.ENGLISH,
        **ranks.ENGLISH,
        **replay.ENGLISH,
        **first_nan.ENGLISH,
        **dump_page.ENGLISH,
        **sensitivity.ENGLISH,
        **structure.ENGLISH,
        **bench_ops.ENGLISH,
    },
    "zh": {
        **zh.MESSAGES,
        **zh_page.MESSAGES,
        **advice.CHINESE,
        **ranks.CHINESE,
        **replay.CHINESE,
        **first_nan.CHINESE,
        **dump_page.CHINESE,
        **sensitivity.CHINESE,
        **structure.CHINESE,
        **bench_ops.CHINESE,
    },
}
LANGUAGES: tuple[Lang, ...] = tuple(CATALOGUE)
