"""`acc compare` in msprobe's words: its flags are taken for ours, so that a command line found elsewhere works.

acc compare -tp npu_dump -gp gpu_dump -o out -fm -dm map.yaml     is     acc compare npu_dump gpu_dump -o out
                                                                         --fuzzy --mapping map.yaml
"""

from __future__ import annotations

from collections.abc import Sequence

from dump.format.errors import ConfigError

_SIDES = {"-tp": 0, "--target_path": 0, "-gp": 1, "--golden_path": 1}
_RENAMED = {
    "--output_path": "-o",
    "-fm": "--fuzzy",
    "--fuzzy_match": "--fuzzy",
    "-dm": "--mapping",
    "--data_mapping": "--mapping",
    "-lm": "--mapping",
    "--layer_mapping": "--mapping",
    "-cm": "--mapping",
    "--cell_mapping": "--mapping",
    "-am": "--mapping",
    "--api_mapping": "--mapping",
}
_ALWAYS = {"-da", "--diff_analyze", "-tensor_log", "--is_print_compare_log", "-s", "--stack_mode", "--xlsx"}
"""Flags that ask for what is always done."""


def in_our_words(arguments: Sequence[str]) -> list[str]:
    """The arguments of `acc`, with msprobe's flags of `compare` in our words; others are left as they are.

    Raises ConfigError where a flag has no path after it, or only one side is named.
    """
    if not arguments or arguments[0] != "compare" or not set(arguments) & (_SIDES.keys() | _RENAMED.keys() | _ALWAYS):
        return list(arguments)
    sides: list[str | None] = [None, None]
    rest: list[str] = []
    words = iter(arguments[1:])
    for word in words:
        if word in _SIDES:
            path = next(words, None)
            if path is None:
                raise ConfigError(f"{word}: expected a dump, found nothing.")
            sides[_SIDES[word]] = path
        elif word not in _ALWAYS:
            rest.append(_RENAMED.get(word, word))
    if (sides[0] is None) != (sides[1] is None):
        raise ConfigError("-tp and -gp: expected both, the dump to judge and the dump to trust.")
    return ["compare", *(side for side in sides if side is not None), *rest]
