from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dump.config import DumpConfig, Unknown, load_config, merge, parse_ranges
from dump.format.errors import ConfigError

needs_xxhash = pytest.mark.skipif(importlib.util.find_spec("xxhash") is None, reason="xxhash is not installed")

MSPROBE_TEMPLATE = {
    "task": "statistics",
    "dump_path": "./dump_path",
    "rank": [],
    "step": [],
    "level": "L1",
    "extra_info": True,
    "async_dump": False,
    "statistics": {"scope": [], "list": [], "data_mode": ["all"], "summary_mode": "statistics"},
    "tensor": {"scope": [], "list": [], "data_mode": ["all"]},
    "acc_check": {"white_list": [], "black_list": [], "error_data_path": "./"},
}


def _load(folder: Path, content: Any) -> DumpConfig:
    path = folder / "config.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_config(path)


def test_the_template_that_msprobe_ships_gives_the_defaults(tmp_path: Path) -> None:
    config = _load(tmp_path, MSPROBE_TEMPLATE)
    assert config == DumpConfig() == _load(tmp_path, {})
    assert config.ignored == ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.task = "tensor"  # type: ignore[misc]


def test_every_setting_reaches_its_field(tmp_path: Path) -> None:
    section = {
        "scope": ["Module.a.A.forward.0", "Module.b.B.forward.0"],
        "list": ["relu", "name-regex(gelu.*forward)"],
        "tensor_list": ["softmax"],
        "data_mode": ["forward", "output"],
        "summary_mode": "md5",
        "hash": "crc32",
    }
    content = {
        "task": "statistics",
        "dump_path": "/data/out",
        "rank": [0, "2-3"],
        "step": [1, "4-6", "9"],
        "level": "mix",
        "async_dump": True,
        "extra_info": False,
        "precision": "high",
        "dump_enable": True,
        "buffer_mb": 64,
        "max_bytes": "1.5GiB",
        "max_steps": 3,
        "file_format": "npy",
        "statistics": section,
    }
    assert _load(tmp_path, content) == DumpConfig(
        task="statistics",
        dump_path=Path("/data/out"),
        rank=frozenset({0, 2, 3}),
        step=frozenset({1, 4, 5, 6, 9}),
        level="mix",
        async_dump=True,
        extra_info=False,
        precision="high",
        dump_enable=True,
        buffer_mb=64,
        max_bytes=3 << 29,
        max_steps=3,
        scope=("Module.a.A.forward.0", "Module.b.B.forward.0"),
        api_list=("relu", "name-regex(gelu.*forward)"),
        tensor_list=("softmax",),
        data_mode=("forward", "output"),
        summary_mode="md5",
        file_format="npy",
        hash="crc32",
    )


def test_only_the_section_of_the_task_counts(tmp_path: Path) -> None:
    content = {
        "task": "tensor",
        "tensor": {"list": ["relu"]},
        "statistics": {"list": ["gelu"], "slice": [{"dim": 0}]},
    }
    config = _load(tmp_path, content)
    assert config.api_list == ("relu",)
    assert config.ignored == ()


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize("key", ["task", "dump_path", "rank", "step", "level", "async_dump", "extra_info"])
def test_null_and_nothing_leave_the_default(tmp_path: Path, key: str, empty: object) -> None:
    assert _load(tmp_path, {key: empty, "statistics": None}) == DumpConfig()


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        ({}, None),
        ({"hash": "crc32"}, None),
        ({"summary_mode": "md5"}, "md5"),
        ({"summary_mode": "md5", "hash": "xxh3"}, "xxh3"),
        ({"summary_mode": "hash"}, "xxh3"),
        ({"summary_mode": "hash", "hash": "crc32"}, "crc32"),
        ({"summary_mode": "hash", "task": "tensor"}, None),
    ],
)
def test_the_digest_is_that_of_the_mode_or_the_one_asked_for(settings: dict[str, Any], digest: str | None) -> None:
    assert DumpConfig(**settings).digest == digest


@pytest.mark.parametrize("settings", [{"summary_mode": "hash"}, {"summary_mode": ["hash"]}, {"hash": "xxh3"}])
def test_a_digest_whose_package_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setitem(sys.modules, "xxhash", None)
    with pytest.raises(ConfigError, match="pip install xxhash"):
        _load(tmp_path, {"statistics": settings})


@pytest.mark.parametrize(
    ("value", "mode", "said"),
    [
        ("statistics", "statistics", 0),
        ("md5", "md5", 0),
        (["md5"], "md5", 0),
        (["statistics"], "statistics", 0),
        (["max", "l2norm"], "statistics", 1),
        pytest.param("hash", "hash", 0, marks=needs_xxhash),
        pytest.param(["hash"], "hash", 0, marks=needs_xxhash),
        ([], "statistics", 0),
    ],
)
def test_summary_modes(tmp_path: Path, value: object, mode: str, said: int) -> None:
    config = _load(tmp_path, {"statistics": {"summary_mode": value}})
    assert (config.summary_mode, len(config.ignored)) == (mode, said)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"risk_level": "CORE"}, "risk_level"),
        ({"custom_op_namespaces": ["_C_ascend"]}, "custom_op_namespaces"),
        ({"statistics": {"slice": [{"dim": 0, "size": 4, "begin": 0, "end": 2}]}}, "statistics.slice"),
        ({"statistics": {"diff_nums": 2}}, "statistics.diff_nums"),
        ({"task": "tensor", "tensor": {"bench_path": "/b"}}, "tensor.bench_path"),
        ({"task": "tensor", "tensor": {"online_run_ut": True}}, "tensor.online_run_ut"),
    ],
)
def test_a_setting_without_effect_is_named(tmp_path: Path, content: dict[str, Any], key: str) -> None:
    (sentence,) = _load(tmp_path, content).ignored
    assert f"'{key}' has no effect" in sentence


@pytest.mark.parametrize(
    "content",
    [
        {"risk_level": "ALL"},
        {"dump_enable": None},
        {"statistics": {"slice": []}},
        {"structure": {"scope": []}, "nan_check": None},
    ],
    ids=str,
)
def test_a_setting_that_asks_for_nothing_is_passed_over(tmp_path: Path, content: dict[str, Any]) -> None:
    assert _load(tmp_path, content) == DumpConfig()


def test_a_request_without_which_a_batch_is_not_wanted(tmp_path: Path) -> None:
    config = _load(tmp_path, {"statistics": {"request_id": "r1"}})
    assert len(config.ignored) == 1
    wanted = [config.is_wanted(tokens) for tokens in (None, {}, {"r1": 3}, {"r0": 1, "r1": 1}, {"r0": 1})]
    assert wanted == [True, True, True, True, False]


UNKNOWN: list[tuple[Any, str, str]] = [
    ({"qqq": 1}, "'qqq' is unknown. Known: ", "'qqq' is unknown and has no effect"),
    ({"seed": 1234}, "'seed' is unknown.", "'seed' has no effect: seed_all"),
    ({"summary_mode": "md5"}, "'summary_mode' belongs inside the task's section", "'summary_mode' has no effect"),
    ({"tensor": {"level": "L0"}}, "'tensor.level' belongs at the top level", "'tensor.level' has no effect"),
    ({"list": ["relu"]}, "'list' belongs inside the task's section", "'list' has no effect: it belongs inside"),
    ({"statistics": {"seq_len": 3}}, "'statistics.seq_len' is unknown", "'statistics.seq_len' has no effect"),
]


@pytest.mark.parametrize(("content", "refusal", "note"), UNKNOWN, ids=lambda value: str(value)[:40])
def test_what_no_key_of_ours_looks_like_was_written_for_msprobe(
    tmp_path: Path, content: Any, refusal: str, note: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"task": "tensor", **content}))
    with pytest.raises(ConfigError) as error:
        load_config(path, unknown="strict")
    assert refusal in str(error.value)
    unknown: Unknown
    for unknown in ("guess", "pass"):
        config = load_config(path, unknown=unknown)
        said = [*config.ignored, *config.sections.get("statistics", {}).get("ignored", ())]
        assert [note in sentence for sentence in said] == [True]
    path.write_text(json.dumps({"task": "tensor", "max_steps": 3, **content}))
    with pytest.raises(ConfigError):
        load_config(path)


def test_a_mistyped_key_is_passed_over_for_callers_of_msprobe_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"levle": "L0"}))
    with pytest.raises(ConfigError, match="Did you mean 'level'"):
        load_config(path)
    config = load_config(path, unknown="pass")
    assert config.level == "L1"
    assert "did you mean 'level'?" in config.ignored[0]


REFUSED: list[tuple[Any, str]] = [
    ({"levle": "L1"}, "'levle' is unknown. Did you mean 'level'?"),
    ({"statstics": {}}, "'statstics' is unknown. Did you mean 'statistics'?"),
    ({"statistics": {"scop": []}}, "'statistics.scop' is unknown. Did you mean 'scope'?"),
    (
        {"task": "static"},
        "expected one of 'statistics', 'tensor' or 'structure', found 'static'. Did you mean 'statistics'?",
    ),
    ({"task": "acc_check"}, "'acc_check' is a task of msprobe's that is not done here"),
    ({"task": 1}, "expected one of 'statistics', 'tensor' or 'structure', found a number (1)"),
    ({"level": "l1"}, "Did you mean 'L1'?"),
    ({"level": "L2"}, "'L2' records kernels, which is not done here. Use 'L0', 'L1', 'mix' or 'debug'"),
    ({"level": ["L1"]}, "expected one of 'L0', 'L1', 'mix' or 'debug', found a list"),
    ({"dump_path": 3}, "expected the path of a folder, found a number (3)"),
    ({"async_dump": "true"}, 'expected true or false, found a string ("true")'),
    ({"extra_info": 1}, "expected true or false, found a number (1)"),
    ({"precision": "mid"}, "expected one of 'high' or 'low'"),
    ({"hash": "sha1"}, "expected one of 'md5', 'crc32', 'xxh3' or 'xor'"),
    ({"file_format": "bin"}, "MindSpore's format. Use 'pack', 'safetensors', 'npy' or 'pt'"),
    ({"step": [1.5]}, "'step': expected a list of numbers and ranges"),
    ({"step": [True]}, "found true or false (true)"),
    ({"step": [-1]}, "expected numbers from 0 to 1000000, found a number (-1)"),
    ({"step": ["6-4"]}, 'expected ranges that rise, found a string ("6-4")'),
    ({"rank": ["a"]}, "'rank': expected numbers and ranges"),
    (
        {"rank": {"a": 1}},
        "'rank': expected a list of numbers and ranges such as [0, \"4-6\"], found an object",
    ),
    ({"load": {"path": "x"}}, "'load': replacing a module's inputs"),
    ({"dump_enable": "no"}, "'dump_enable': expected true or false, found a string"),
    ({"buffer_mb": 1.5}, "'buffer_mb': expected a whole number of megabytes, found a number (1.5)"),
    ({"buffer_mb": True}, "'buffer_mb': expected a whole number of megabytes, found true or false"),
    ({"buffer_mb": -1}, "'buffer_mb': expected megabytes from 0 to 1048576, found a number (-1)"),
    ({"max_bytes": "2 GX"}, "'max_bytes': expected bytes, as a whole number or such as"),
    ({"max_bytes": "9" * 5000}, "'max_bytes': expected bytes, as a whole number or such as"),
    ({"max_bytes": "1.5"}, "'max_bytes': expected bytes, as a whole number or such as"),
    ({"max_bytes": True}, "'max_bytes': expected bytes, as a whole number or such as"),
    ({"max_bytes": 99_999}, "'max_bytes': expected bytes from 100000 (100kB) on, found a number (99999)"),
    ({"max_steps": 0}, "'max_steps': expected a whole number from 1 to 1000000, found a number (0)"),
    ({"max_steps": "3"}, "'max_steps': expected a whole number from 1 to 1000000, found a string"),
    ({"statistics": []}, "'statistics': expected an object, found a list"),
    ({"acc_check": 3}, "'acc_check': expected an object, found a number (3)"),
    ({"statistics": {"scope": ["a"]}}, "expected two names, the first and the last to record, found 1"),
    ({"statistics": {"list": "relu"}}, "'statistics.list': expected a list of strings, found a string"),
    ({"statistics": {"list": [1]}}, "expected a list of strings, found a number (1)"),
    ({"statistics": {"list": ["name-regex(()"]}}, "is not a regular expression"),
    ({"statistics": {"data_mode": ["all", "input"]}}, "'all' stands alone"),
    ({"statistics": {"data_mode": ["inputs"]}}, "Did you mean 'input'?"),
    ({"statistics": {"summary_mode": ["xor", "max"]}}, "'xor' stands alone"),
    ({"statistics": {"summary_mode": ["md5", "max"]}}, "'md5' stands alone"),
    ({"statistics": {"summary_mode": 1}}, "or a list of statistics, found a number"),
    ({"hash": "md5", "a\nb" + "c" * 200: 1}, r"'a\nbccc"),
    ([], "expected a JSON object, found a list"),
    ("null", "expected a JSON object, found null"),
    ('{\n  // the task\n  "task": "tensor"}', "line 2, column 3: JSON has no comments"),
    ('{"task": "tensor" /* x */}', "line 1, column 19: JSON has no comments"),
    ('{"task": "tensor", # x\n}', "JSON has no comments"),
    ('{"task": "tensor"', "line 1, column 18: not valid JSON"),
    ('{"task": "tensor", "task": "statistics"}', "'task' is given twice"),
    ("[" * 100_000, "nests too deep"),
    ("", "the file is empty"),
    (" \n", "the file is empty"),
    (b"\xff\xfe{\x00}\x00", "in UTF-8, found other bytes"),
    (b"{\x00}", "found a binary file"),
    ('{"step": [' + "1" * 5000 + "]}", "holds a number of thousands of digits"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_wrong_is_said_in_one_line_with_the_file(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, content)
    said = str(caught.value)
    assert message in said
    assert said.startswith(f"{tmp_path / 'config.json'}: ")
    assert "\n" not in said


def test_a_comma_too_many_is_pointed_at(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 1, column"):
        _load(tmp_path, '{"task": "tensor",}')


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert _load(tmp_path, b'\xef\xbb\xbf{"task": "tensor"}').task == "tensor"


@pytest.mark.parametrize("name", ["none.json", ".", "a\0b"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load_config(tmp_path / name)
    assert "Errno" not in str(caught.value)


def test_a_word_that_is_not_one_of_a_few_is_told_with_them_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected one of 'L0', 'L1', 'mix' or 'debug', found 'qq'\.$"):
        _load(tmp_path, {"level": "qq"})
    with pytest.raises(ConfigError, match=r"found 'tensro'\. Did you mean 'tensor'\?$"):
        _load(tmp_path, {"task": "tensro"})


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    config = _load(tmp_path, {"level": "L0", "step": [1], "statistics": {"list": ["relu"]}})
    merged = merge(
        config,
        level="mix",
        step="0,2-4",
        rank=(0, 1),
        dump_path=tmp_path,
        list=["gelu"],
        scope=None,
        async_dump=True,
    )
    assert merged == dataclasses.replace(
        config,
        level="mix",
        step=frozenset({0, 2, 3, 4}),
        rank=frozenset({0, 1}),
        dump_path=tmp_path,
        api_list=("gelu",),
        async_dump=True,
    )
    assert merge(config, level=None, step=None) == config
    assert merge(config, step=[]).step == frozenset()


def test_a_flag_for_the_task_brings_its_section(tmp_path: Path) -> None:
    content = {
        "hash": "crc32",
        "statistics": {"list": ["relu"], "summary_mode": "md5", "hash": "md5", "slice": [{}]},
        "tensor": {"data_mode": ["output"], "bench_path": "/b"},
    }
    config = merge(_load(tmp_path, content), task="tensor", scope=["a", "b"])
    assert (config.task, config.api_list, config.data_mode) == ("tensor", (), ("output",))
    assert (config.summary_mode, config.hash, config.scope) == ("statistics", "crc32", ("a", "b"))
    assert [sentence.split("'")[1] for sentence in config.ignored] == ["tensor.bench_path"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"levl": "L0"}, "flag 'levl' is unknown. Did you mean 'level'?"),
        ({"ignored": ["x"]}, "flag 'ignored' is unknown"),
        ({"level": "L9"}, "flag 'level': expected one of"),
        ({"step": "x"}, "flag 'step': expected numbers and ranges"),
        ({"scope": "a"}, "flag 'scope': expected a list of strings, found a string"),
    ],
)
def test_a_wrong_flag_is_named(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        merge(DumpConfig(), **flags)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0,2-4", {0, 2, 3, 4}),
        (" 1 , 3 - 4 ", {1, 3, 4}),
        ("", set()),
        ([], set()),
        (None, set()),
        (7, {7}),
        ([0, "4-6", "9,11"], {0, 4, 5, 6, 9, 11}),
        ("5-5", {5}),
    ],
)
def test_ranges(value: object, expected: set[int]) -> None:
    assert parse_ranges(value) == expected


@pytest.mark.parametrize("value", ["1,", "-1", "1-2-3", "1.0", "٣", "0-1000001", "2-1", [None], [[1]], 1.0, "9" * 50])
def test_what_is_no_range_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="range"):
        parse_ranges(value)


_KEYS = st.sampled_from(
    [
        "task",
        "step",
        "rank",
        "level",
        "dump_path",
        "statistics",
        "tensor",
        "list",
        "scope",
        "data_mode",
        "summary_mode",
    ]
) | st.text(max_size=3)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**65)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["L1", "md5"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_KEYS, _VALUES, max_size=4) | st.binary(max_size=20))
def test_any_content_gives_a_config_or_a_config_error(tmp_path: Path, content: Any) -> None:
    refusal = ""
    try:
        assert _load(tmp_path, content).task in ("statistics", "tensor")
    except ConfigError as error:
        refusal = str(error)
    assert "\n" not in refusal


def test_neither_configuration_nor_format_imports_torch() -> None:
    program = (
        "import sys, dump.config, dump.format.reader, dump.format.layout, dump.format.encode;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


SIZES = [
    (500_000, 500_000),
    ("500000", 500_000),
    ("100000b", 100_000),
    ("500MB", 500_000_000),
    ("2gb", 2 * 10**9),
    ("1GiB", 1 << 30),
    (" 1.5 kib", None),
    ("1.5 MiB ", 3 << 19),
    ("0.25TB", 25 * 10**10),
]


@pytest.mark.parametrize(("text", "expected"), SIZES, ids=[str(row[0]) for row in SIZES])
def test_sizes(text: object, expected: int | None) -> None:
    if expected is None:
        with pytest.raises(ConfigError, match="from 100000"):
            merge(DumpConfig(), max_bytes=text)
    else:
        assert merge(DumpConfig(), max_bytes=text).max_bytes == expected


def test_the_structure_is_that_of_modules_and_calls(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"task": "structure", "structure": {"list": ["relu"]}}))
    config = load_config(path)
    assert (config.task, config.level, config.api_list) == ("structure", "mix", ("relu",))
    assert merge(config, level="L0").level == "L0"
    assert merge(DumpConfig(), task="structure").level == "mix"


@pytest.mark.parametrize("mode", ["xor", ["xor"]])
def test_xor_is_a_digest(mode: object, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"statistics": {"summary_mode": mode}}))
    config = load_config(path)
    assert (config.summary_mode, config.digest) == ("xor", "xor")


def test_what_was_recorded_is_on_disk_when_a_script_raises_so_that_task_is_statistics(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"task": "exception_dump", "exception_dump": {}}))
    config = load_config(path)
    assert (config.task, config.checks_finite, len(config.ignored)) == ("statistics", False, 1)
