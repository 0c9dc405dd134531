from __future__ import annotations

from pathlib import Path

import pytest

from acc_compare.align.mapping_file import LARGEST, read_rules, shipped
from acc_compare.align.rules import steps_of
from dump.format.errors import ConfigError

WHOLE = """
modules:
  encoder.layers.*.attn: decoder.blocks.*.attention
classes: {NpuNorm: Norm}
apis: {NPU.npu_fast_gelu: Functional.gelu}
calls: {Functional.linear.3.forward: Functional.linear.4.forward}
fused:
  my_norm:
    fused: NPU.my_norm
    composites: pow|square mean add rsqrt mul mul?
    outputs: {output.1: rsqrt}
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "map.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_all_that_a_file_may_say(tmp_path: Path) -> None:
    rules = read_rules(written(tmp_path, WHOLE), is_fuzzy=True)
    assert rules.renaming.modules == {"encoder.layers.*.attn": "decoder.blocks.*.attention"}
    assert rules.renaming.classes == {"NpuNorm": "Norm"}
    assert rules.renaming.apis == {"NPU.npu_fast_gelu": "Functional.gelu"}
    assert rules.renaming.calls == {"Functional.linear.3.forward": "Functional.linear.4.forward"}
    own, *others = rules.fused
    assert (own.name, own.fused, own.outputs) == ("my_norm", ("NPU.my_norm",), {"output.1": "rsqrt"})
    assert own.composites == (steps_of("pow|square mean add rsqrt mul mul?"),)
    assert tuple(others) == shipped()
    assert rules.is_fuzzy


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "modules:\n"])
def test_a_file_that_says_nothing(tmp_path: Path, text: str) -> None:
    rules = read_rules(written(tmp_path, text))
    assert (bool(rules.renaming), rules.fused) == (False, shipped())


def test_the_shipped_table_can_be_left_out(tmp_path: Path) -> None:
    assert read_rules(written(tmp_path, "shipped: false")).fused == ()
    assert read_rules(None).fused == shipped()


def test_the_shipped_table_has_what_users_of_npus_meet() -> None:
    fused = {name for rule in shipped() for name in rule.fused}
    assert {f"NPU.npu_{name}" for name in ("rms_norm", "fusion_attention", "swiglu", "rotary_mul")} <= fused


BOMB = "a: &a [x, x]\n" + "".join(f"k{n}: &k{n} [*{'a' if not n else f'k{n - 1}'}, *a]\n" for n in range(30))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("modulez: {}", "unknown key 'modulez'; did you mean 'modules'"),
        ("qq: {}", "known keys: modules, classes"),
        ("- a", "the file: expected a table of names, found a list"),
        ("text", "found the text 'text'"),
        ("modules: [a]", "modules: expected a table of names, found a list"),
        ("modules: {a: [b]}", "modules: 'a': expected the name on the bench side, found a list"),
        ("modules: {a: }", "found nothing"),
        ("modules: {a: b, a: c}", "the key 'a' stands twice"),
        ("apis: {gelu: Functional.gelu}", "'gelu' lacks its prefix"),
        ("shipped: perhaps", "expected true or false"),
        ("fused: {n: {fused: gelu, composites: a b}}", "names with their prefix"),
        ("fused: {n: {fused: NPU.x}}", "give composites"),
        ("fused: {n: {fused: NPU.x, composites: a}}", "two operators or more"),
        ("fused: {n: {fused: NPU.x, composites: 'a? b?'}}", "one at least is required"),
        ("fused: {n: {fused: NPU.x, composites: a || b}}", "is not an operator"),
        ("fused: {n: {fused: NPU.x, composites: pow |" + "9" * 5000 + "}}", "99' is not an operator"),
        ("fused: {n: {fused: NPU.x, composites: [a b, [c]]}}", "expected a text or a list of texts"),
        (f"fused: {{n: {{fused: NPU.x, composites: {'a ' * 40}}}}}", "more than 32 steps"),
        (BOMB, "anchors and aliases"),
        ("modules: {<<: *a}", "anchors and aliases"),
        ("modules: {*.a: b}", "put names that begin with"),
        ("a: !!python/object/apply:os.system [echo]", "tags are not taken"),
        ("--- !x\na: b", "tags are not taken"),
        ("a: b\n---\nc: d", "more than one document"),
        ("modules: {a: b}\n---\nmodules: {}", "more than one document"),
        ("[" * 3000, "nests deeper than 8 levels"),
        ("{" * 3000, "a key must be a text"),
        ("modules:\n" + "".join(f"  a{n}: b\n" for n in range(30_000)), "more than"),
        ("a: [b", "not YAML"),
        ("a: \t- b", "not YAML"),
        ('"\\ud800": a', ""),
        ("%YAML 9999999999999999999999.1\n---\na: b", ""),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"modules: {\x00: a}", "not YAML"),
        ("x" * (LARGEST + 1), "more than 262144 bytes"),
    ],
)
def test_what_a_file_may_not_say(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rules(written(tmp_path, text))
    message = str(caught.value)
    assert complaint in message
    assert message.startswith(str(tmp_path))
    assert "\n" not in message
    assert len(message) < 600


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, "a\0b"):
        with pytest.raises(ConfigError, match=r"no such file|cannot be read"):
            read_rules(path)


def test_msprobes_data_mapping_names_calls_by_their_arguments(tmp_path: Path) -> None:
    path = tmp_path / "data_mapping.yaml"
    path.write_text(
        "Functional.linear.3.forward.input.0: Functional.linear.4.forward.input.0\n"
        "Functional.linear.3.backward.output.1: Functional.linear.4.backward.output.1\n"
        "NPU.npu_fast_gelu.0.forward.output.0: Functional.gelu.0.forward.output.0\n"
    )
    assert dict(read_rules(path).renaming.calls) == {
        "Functional.linear.3.forward": "Functional.linear.4.forward",
        "NPU.npu_fast_gelu.0.forward": "Functional.gelu.0.forward",
    }
    path.write_text("A.b.0.forward.input.0: A.b.1.forward.input.0\nA.b.0.forward.input.1: A.b.2.forward.input.1\n")
    with pytest.raises(ConfigError, match="answer to two calls"):
        read_rules(path)
    path.write_text("A.b.0.forward.input.0: [1]\n")
    with pytest.raises(ConfigError, match="expected the name of an argument"):
        read_rules(path)


def test_msprobes_layer_mapping_is_taken(tmp_path: Path) -> None:
    rules = read_rules(written(tmp_path, "TopLayer:\n  0.module: module\nTransformerLayer:\n  a.b: c\n"))
    assert rules.renaming.layers == {"TopLayer": {"0.module": "module"}, "TransformerLayer": {"a.b": "c"}}
    assert rules.renaming.modules == {}


def test_msprobes_cell_mapping_is_paths_and_classes(tmp_path: Path) -> None:
    rules = read_rules(written(tmp_path, "fc2.Dense: out.Linear\nfc1.Dense: fc1.Linear\n"))
    assert rules.renaming.modules == {"fc2": "out"}
    assert rules.renaming.classes == {"Dense": "Linear"}


APIS = [
    "Functional.npu_gelu: Functional.gelu\nTensor.npu_add: Tensor.add\n",
    "- {ms_api: Functional.npu_gelu, pt_api: Functional.gelu, ms_args: [0], pt_args: [0]}\n"
    "- {ms_api: Tensor.npu_add, pt_api: Tensor.add}\n",
]


@pytest.mark.parametrize("text", APIS, ids=["names", "entries"])
def test_msprobes_api_mapping_renames_apis(text: str, tmp_path: Path) -> None:
    rules = read_rules(written(tmp_path, text))
    assert rules.renaming.apis == {"Functional.npu_gelu": "Functional.gelu", "Tensor.npu_add": "Tensor.add"}
    assert (rules.renaming.modules, rules.renaming.classes) == ({}, {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fc1.Dense: fc1.Linear\nfc2.Dense: fc2.Other", "'Dense' answers to two others"),
        ("- {ms_api: A.b, pt_api: C.d, ms_args: [0, 1], pt_args: [1, 0]}", "'A.b': args that change places"),
        ("- {ms_api: A.b, pt_api: C.d}\n- {ms_api: A.b, pt_api: C.e}", "'A.b' answers to two others"),
        ("- {ms_api: A.b}", "expected entries of an API mapping"),
        ("- {ms_api: A.b, pt_api: C.d}\n- text", "an entry of a list"),
        ("layers: {Layer: [a]}", "layers: 'Layer': expected a table of names"),
        ("TopLayer: {a: [b]}", "'a': expected the name on the bench side"),
    ],
)
def test_a_wrong_mapping_of_msprobes(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read_rules(written(tmp_path, text))
    assert complaint in str(error.value)
