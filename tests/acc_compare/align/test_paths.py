from __future__ import annotations

import pytest

from acc_compare.align.paths import Renaming, Translator
from dump.format.names import parse


def translator(**tables: dict[str, str]) -> Translator:
    return Translator(Renaming(**{**{key: {} for key in ("modules", "classes", "apis", "calls")}, **tables}))


@pytest.mark.parametrize(
    ("modules", "path", "expected"),
    [
        ({"a.b": "x.y"}, "a.b.c", "x.y.c"),
        ({"a.b": "x.y"}, "a.bc", "a.bc"),
        ({"a.b": "x.y"}, "z.a.b", "z.a.b"),
        ({"layers.*.attn": "blocks.*.attention"}, "layers.3.attn.q", "blocks.3.attention.q"),
        ({"layers.*.attn": "blocks.*.attention"}, "layers.attn", "layers.attn"),
        ({"a": "x", "a.b": "y"}, "a.b.c", "y.c"),
        ({"a": "x", "a.b": "y"}, "a.c", "x.c"),
        ({"module.a": "x"}, "a.c", "x.c"),
        ({"a": "x"}, "module.a.c", "x.c"),
        ({"*.*": "one.*"}, "a.b", "one.a"),
        ({"a": "*"}, "a", "*"),
        ({"a(b|c)": "x"}, "ab", "ab"),
    ],
)
def test_the_beginning_of_a_path_is_renamed(modules: dict[str, str], path: str, expected: str) -> None:
    assert translator(modules=modules).path(path) == expected


@pytest.mark.parametrize(
    ("tables", "name", "expected"),
    [
        (
            {"apis": {"NPU.npu_fast_gelu": "Functional.gelu"}},
            "NPU.npu_fast_gelu.2.forward",
            "Functional.gelu.2.forward",
        ),
        ({"apis": {"NPU.npu_fast_gelu": "Functional.gelu"}}, "NPU.npu_gelu.2.forward", "NPU.npu_gelu.2.forward"),
        ({"classes": {"A": "B"}}, "Module.x.A.backward.1", "Module.x.B.backward.1"),
        ({"classes": {"A": "B"}, "modules": {"x": "y"}}, "Module.x.A.forward.0", "Module.y.B.forward.0"),
        ({"calls": {"Torch.a.3.forward": "Torch.b.4.forward"}}, "Torch.a.3.forward", "Torch.b.4.forward"),
        ({"calls": {"Torch.a.3.forward": "Torch.b.4.forward"}}, "Torch.a.3.backward", "Torch.b.4.backward"),
        ({"calls": {"Torch.a.3.forward": "Torch.b.4.forward"}}, "Torch.a.2.forward", "Torch.a.2.forward"),
    ],
)
def test_calls_are_renamed(tables: dict[str, dict[str, str]], name: str, expected: str) -> None:
    assert str(translator(**tables).name(parse(name))) == expected


def test_entries_that_rename_nothing_are_told() -> None:
    some = translator(modules={"a": "x", "b": "y"}, apis={"Torch.a": "Torch.b"})
    some.path("a.c")
    assert some.unused() == ["modules 'b'", "apis 'Torch.a'"]
    some.name(parse("Torch.a.0.forward"))
    assert some.unused() == ["modules 'b'"]


def test_layers_rename_what_lies_inside_a_class_of_modules_from_the_model_down() -> None:
    layers = {
        "TopLayer": {"0.module": "model"},
        "Decoder": {"layers": "blocks"},
        "Layer": {"self_attention": "attn", "mlp.linear_fc1": "mlp.up"},
    }
    npu = {"0.module": "Decoder", "0.module.layers.0": "Layer", "0.module.layers.0.self_attention": "CoreAttention"}
    renamed = Translator(Renaming({}, {}, {}, {}, layers), npu, {"model.blocks.0.attn": "SdpaAttention"})
    assert renamed.renames
    assert renamed.path("0.module.layers.0.mlp.linear_fc1.weight") == "model.blocks.0.mlp.up.weight"
    name = parse("Module.0.module.layers.0.self_attention.CoreAttention.forward.0")
    assert str(renamed.name(name)) == "Module.model.blocks.0.attn.SdpaAttention.forward.0"
    assert renamed.unused() == []
    assert renamed.path("0.module.layers.0.other") == "model.blocks.0.other"


def test_a_layer_that_is_nowhere_renames_nothing() -> None:
    renamed = Translator(Renaming({}, {}, {}, {}, {"Layer": {"a": "b"}}), {"x": "Layer"}, {})
    assert renamed.path("y.a") == "y.a"
    assert renamed.unused() == ["layers 'Layer.a'"]
    assert renamed.path("x.a") == "x.b"
