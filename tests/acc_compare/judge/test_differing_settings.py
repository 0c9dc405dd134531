from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acc_compare.judge.differing_settings import differing_settings
from acc_compare.messages import say
from acc_compare.report.i18n import text as said


def dump(make: Any, device: str, numerics: dict[str, object] | None, *, api: str = "linear", dtype: str = "f4") -> Any:
    run = make.Run(device=device, numerics=numerics)
    x = np.ones((2, 2), dtype)
    run.call(f"Functional.{api}.0.forward", [x], [x + 1])
    return run.dump()


def told(npu: Any, bench: Any) -> str:
    return "\n".join(map(said, differing_settings(npu, bench)))


HF32 = {"float32_matmul.npu": "hf32", "float32_conv.npu": "full"}
FULL = {"float32_matmul.npu": "full", "float32_conv.npu": "full"}
CPU = {"float32_matmul.cpu": "full", "float32_conv.cpu": "full"}


def test_hf32_on_the_npu_side_is_told_with_the_switch(make: Any) -> None:
    sentences = differing_settings(dump(make, "npu", HF32), dump(make, "cpu", CPU))
    assert len(sentences) == 1
    values = dict(sentences[0].values)
    assert sentences[0].key == "settings.products"
    assert values["what"] == say("settings.matmul")
    assert (values["npu"], values["bench"]) == (say("settings.narrow", type="HF32"), say("settings.full"))
    assert values["switch"] == "torch.npu.matmul.allow_hf32 = False"


@pytest.mark.parametrize(
    ("npu", "bench"),
    [
        (("npu", FULL), ("cpu", CPU)),
        (("npu", HF32), ("npu", HF32)),
        (("npu", None), ("cpu", None)),
        (("npu", FULL), ("cuda", None)),
        (("npu", {"float32_matmul.npu": 5, "environment": "no mapping"}), ("cpu", CPU)),
        (
            ("cpu", CPU | {"threads": 2, "cudnn.benchmark": True}),
            ("cpu", CPU | {"threads": 4, "cudnn.benchmark": False}),
        ),
    ],
    ids=["both full", "both in HF32", "no headers", "only one header, full", "nonsense", "what does not matter"],
)
def test_silence(make: Any, npu: Any, bench: Any) -> None:
    assert told(dump(make, *npu), dump(make, *bench)) == ""


def test_silence_where_no_call_is_concerned(make: Any) -> None:
    for other in ({"api": "relu"}, {"api": "conv2d"}, {"dtype": "f2"}):
        assert told(dump(make, "npu", HF32, **other), dump(make, "cpu", CPU, **other)) == ""


def test_each_side_has_its_own_switch(make: Any) -> None:
    bench = {"float32_conv.cuda": "tf32"}
    text = told(dump(make, "npu", {"float32_conv.npu": "hf32"}, api="conv2d"), dump(make, "cuda", bench, api="conv2d"))
    assert "in HF32 on the NPU side and in TF32 on the bench" in text
    assert text.endswith("torch.npu.conv.allow_hf32 = False; torch.backends.cudnn.allow_tf32 = False")


def test_one_side_whose_dump_does_not_tell(make: Any) -> None:
    text = told(dump(make, "npu", HF32), dump(make, "cuda", None))
    assert "in HF32 on the NPU side and in a type that its dump does not tell on the bench" in text


def test_nvidias_variable_wins_over_the_switch(make: Any) -> None:
    bench = {"float32_matmul.cuda": "tf32", "environment": {"NVIDIA_TF32_OVERRIDE": "0"}}
    assert told(dump(make, "npu", FULL), dump(make, "cuda", bench)) == ""
    bench = {"float32_matmul.cuda": "full", "environment": {"NVIDIA_TF32_OVERRIDE": "1"}}
    assert "in TF32 on the bench" in told(dump(make, "npu", FULL), dump(make, "cuda", bench))


def test_settings_of_the_run(make: Any) -> None:
    text = told(
        dump(make, "npu", FULL | {"deterministic_algorithms": True, "default_dtype": "torch.float32"}),
        dump(make, "cpu", CPU | {"deterministic_algorithms": False, "default_dtype": "x" * 500}),
    )
    assert "deterministic_algorithms: on on the NPU side, off on the bench" in text
    assert f"default_dtype: torch.float32 on the NPU side, {'x' * 60}... on the bench" in text


def test_variables_count_where_both_sides_know_them(make: Any) -> None:
    here = {"environment": {"HCCL_DETERMINISTIC": "TRUE"}}
    assert told(dump(make, "npu", here), dump(make, "cpu", {})) == ""
    text = told(dump(make, "npu", here), dump(make, "npu", {"environment": {}}))
    assert text == "HCCL_DETERMINISTIC: TRUE on the NPU side, not set on the bench"


def test_saturation_is_told_whatever_the_bench_is(make: Any) -> None:
    here = {"environment": {"INF_NAN_MODE_ENABLE": "0"}}
    for bench in (dump(make, "cuda", None), dump(make, "npu", {"environment": {"INF_NAN_MODE_ENABLE": "1"}})):
        assert told(dump(make, "npu", here), bench).count("INF_NAN_MODE_ENABLE=0") == 1
