from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from acc_compare.judge.advice import advice_for, for_optimizer, recordings
from acc_compare.judge.evidence import Comparand
from acc_compare.messages import say
from acc_compare.model import Suspect
from acc_compare.report.i18n import text

GELU = "Functional.gelu.0.forward"
STACK = (
    "File /env/lib/python3.11/site-packages/torch/nn/modules/activation.py, line 9, in forward, \n return F.gelu(x)",
    "File model.py, line 3, in forward, \n return self.act(x)",
    "File my train.py, line 7, in <module>, \n main()",
)


def suspect(**fields: Any) -> Suspect:
    base = Suspect(
        "Optimizer.AdamW.0.forward", "optimizer", 0, 0, "", "", None, None, None, 1, say("happened.drew"), stack=STACK
    )
    return replace(base, **fields)


def place(make: Any, **header: Any) -> Comparand:
    dump = make.Run(**header).dump()
    return Comparand(dump, 0, 0, "statistics", make.Run().dump())


def scaled(factor: float) -> Any:
    return lambda values: values * np.float32(factor)


@pytest.mark.parametrize(
    ("header", "fields", "options", "first"),
    [
        ({}, {}, "-s", "acc dump -s -o npu_again 'my train.py'"),
        ({}, {"stack": ()}, "-s", "acc dump -s -o npu_again SCRIPT"),
        ({}, {"step": 3}, "-s", "acc dump -s --step 3 -o npu_again 'my train.py'"),
        ({"level": "mix"}, {}, "-s", "acc dump -s --level mix -o npu_again 'my train.py'"),
        ({"level": "L0"}, {}, "--level mix -s", "acc dump --level mix -s -o npu_again 'my train.py'"),
        ({"environment": {"asked_for": "npu"}}, {}, "-s", "acc dump -s --device npu -o npu_again 'my train.py'"),
        ({"environment": {"remeasured": True}}, {}, "-s", "acc dump -s --remeasure -o npu_again 'my train.py'"),
        ({"environment": {"asked_for": "$(id)"}}, {}, "-s", "acc dump -s -o npu_again 'my train.py'"),
        (
            {"environment": {"called_as": "msprobe 26.2.0+acc"}},
            {},
            "-s",
            "acc dump -s --as-msprobe -o npu_again 'my train.py'",
        ),
        ({"device_name": "SimulatedNPU"}, {}, "-s", "acc dump -s --simulated-npu -o npu_again 'my train.py'"),
        (
            {
                "environment": {
                    "simulated_faults": ["gelu=fp16", 3, "a b", "x\ny"],
                    "seed": 7,
                    "deterministic": True,
                }
            },
            {},
            "-s",
            "acc dump -s --simulated-npu --simulated-fault gelu=fp16 --simulated-fault 'a b' --seed 7 --deterministic"
            " -o npu_again 'my train.py'",
        ),
        (
            {"environment": {"seed": "$(id)", "deterministic": "yes", "simulated_faults": "$(id)", "command": 5}},
            {},
            "-s",
            "acc dump -s -o npu_again 'my train.py'",
        ),
        (
            {"environment": {"seed": 7}},
            {},
            "--seed 1234 --deterministic -s",
            "acc dump --seed 1234 --deterministic -s -o npu_again 'my train.py'",
        ),
        (
            {"environment": {"command": ["/home/me/train.py", "--name", "a b; $(id)"]}},
            {"stack": ()},
            "-s",
            "acc dump -s -o npu_again /home/me/train.py --name 'a b; $(id)'",
        ),
        (
            {"environment": {"command": ["-m", "pkg.train", "--lr=0.1"]}},
            {},
            "-s",
            "acc dump -s -o npu_again -m pkg.train --lr=0.1",
        ),
        (
            {"world_size": 8},
            {},
            "-s",
            "torchrun --nproc-per-node 8 -m dump -s -o npu_again 'my train.py'",
        ),
        (
            {"world_size": 8, "environment": {"command": ["/home/me/train.py"], "started_by": "script"}},
            {},
            "-s",
            "acc dump -s -o npu_again /home/me/train.py",
        ),
        (
            {},
            {"stack": ("File /env/x/dump/workload.py, line 9, in train, \n step()",)},
            "-s",
            "acc dump -s -o npu_again",
        ),
    ],
)
def test_commands_repeat_how_the_side_was_recorded(
    make: Any, header: Any, fields: Any, options: str, first: str
) -> None:
    lines = text(recordings(suspect(**fields), place(make, **header), options)).splitlines()
    assert lines[0] == first
    assert lines[1].startswith("acc dump ")
    assert "-o bench_again" in lines[1]
    assert lines[2:] == ["acc compare npu_again bench_again"]


@pytest.mark.parametrize(
    ("level", "keys"), [("L1", ["advice.one_side", "advice.modules"]), ("mix", ["advice.one_side"])]
)
def test_modules_are_asked_for_where_they_are_not_recorded(level: str, keys: list[str], make: Any) -> None:
    run = make.Run(level=level).dump()
    found = advice_for(suspect(kind="structure"), SimpleNamespace(handed=""), Comparand(run, 0, 0, "statistics", run))
    assert [message.key for message in found] == keys


def test_whole_tensors_of_one_call_and_of_no_other(network: Any) -> None:
    """The dot keeps gelu.0 from meaning gelu.01 or gelu.0x."""
    found = network.compare({GELU: scaled(1.001)}).suspects[0]
    assert "\nacc dump --task tensor -s --list Functional.gelu.0. -o npu_tensors SCRIPT\n" in text(found.advice[0])


def test_digests_ask_for_statistics(network: Any) -> None:
    found = network.compare({GELU: scaled(1.001)}, mode="md5").suspects[0]
    assert "acc dump --task statistics -s -o npu_again SCRIPT" in text(found.advice[0])


def test_real_data_asks_for_the_elements(network: Any, make: Any, tmp_path: Path) -> None:
    npu = network.Network(make, mode="tensor").step({GELU: scaled(1.001)}).write(tmp_path / "npu")
    bench = network.Network(make, mode="tensor").step().write(tmp_path / "bench")
    found = make.judged(make.read(npu), make.read(bench)).suspects[0]
    command = text(found.advice[0]).splitlines()[1]
    assert command.startswith("python -m acc_compare.error_patterns ")
    files = command.split()[3:]
    assert [Path(file).is_file() for file in files] == [True, True]


def test_an_optimizer_is_looked_for_in_the_script(make: Any) -> None:
    advice = for_optimizer(suspect(), place(make))
    assert any(text(line).endswith("\ngrep -n AdamW 'my train.py'") for line in advice)
    advice = for_optimizer(suspect(stack=()), place(make))
    assert any("acc dump --task tensor -s --list Optimizer. " in text(line) for line in advice)


def test_a_product_off_by_a_rounding_asks_for_the_switch_first(network: Any) -> None:
    def lowered(values: Any) -> Any:
        mantissa, exponent = np.frexp(values)
        return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent).astype("f4")

    (product,) = network.compare({"Functional.linear.0.forward": lowered}).suspects
    assert "advice.hf32" in [line.key for line in product.advice]
    (other,) = network.compare({GELU: lowered}).suspects
    assert "advice.hf32" not in [line.key for line in other.advice]


@pytest.mark.parametrize(
    ("coverage", "is_told"),
    [({"compiled": {"graphs": 1, "operators": 3}}, True), ({"compiled": {}}, False), (None, False)],
)
def test_what_differs_from_the_start_may_come_of_compiled_code(coverage: Any, is_told: bool, make: Any) -> None:
    where = place(make, coverage=coverage)
    found = advice_for(suspect(kind="input"), SimpleNamespace(trained=""), where)
    assert [message.key for message in found].count("advice.uncompiled") == is_told
    if is_told:
        assert "TORCHDYNAMO_DISABLE=1 acc dump -s -o npu_again 'my train.py'" in text(found[0]).split("\n")


@pytest.mark.parametrize("environment", [{}, {"remeasured": True}])
def test_a_cleared_call_may_have_read_what_was_overwritten_unseen(environment: Any, make: Any, network: Any) -> None:
    sides = [network.Network(make, environment=environment).step(fault) for fault in ({GELU: scaled(1.001)}, None)]
    (found,) = make.judged(*sides).suspects
    assert ("advice.remeasure" in [line.key for line in found.advice]) == (environment == {})


@pytest.mark.parametrize(
    ("call", "key"), [(GELU, "advice.remeasure"), (GELU.replace("forward", "backward"), "advice.kept")]
)
def test_what_forward_kept_is_in_no_record(call: str, key: str, network: Any) -> None:
    (found,) = network.compare({call: scaled(1.01)}).suspects
    keys = [line.key for line in found.advice]
    assert [each for each in ("advice.remeasure", "advice.kept") if each in keys] == [key]


@pytest.mark.parametrize(
    ("level", "environment", "options"),
    [
        ("L1", {}, "--level mix --remeasure -s"),
        ("mix", {}, "--remeasure -s --level mix"),
        ("L1", {"remeasured": True}, "--level mix -s --remeasure"),
        ("mix", {"remeasured": True}, None),
    ],
)
def test_where_nobody_is_known_to_have_made_it_memory_is_looked_at(
    level: str, environment: Any, options: str | None, make: Any
) -> None:
    def run(factor: float) -> Any:
        run = make.Run(level=level, environment=environment)
        given = run.mark(make.normal(8, 8) * np.float32(factor), grad_fn="ReluBackward0")
        run.call("Torch.neg.0.forward", [given], [-given])
        return run

    (found,) = make.judged(run(1.05), run(1)).suspects
    assert found.advice[0].key == "advice.unseen"
    commands = [line for message in found.advice[1:] for line in text(message).splitlines() if "acc dump" in line]
    assert [line.startswith(f"acc dump {options} -o ") for line in commands] == ([True, True] if options else [])


@pytest.mark.parametrize(
    ("count", "others", "is_told"), [(3, 0.0, True), (64, 0.0, False), (3, 0.1, False)], ids=["few", "many", "others"]
)
def test_a_constant_that_differs_is_not_first_a_matter_of_seeds(
    make: Any, count: int, others: float, *, is_told: bool
) -> None:
    runs = []
    for size in (0.1, 0.0):
        run = make.Run()
        x, levels = make.off(make.normal(16, 16), others if size else 0.0), make.normal(count, seed=1)
        run.call("Torch.abs.0.forward", [x], [np.abs(x)])
        run.call("Torch.quantile.0.forward", [np.abs(x), make.off(levels, size)], [make.normal(3, seed=2)])
        runs.append(run)
    first = make.judged(*runs).suspects[0]
    assert first.kind == "input"
    keys = [advice.key for advice in first.advice]
    assert keys == [*(["advice.constant"] if is_told else []), "advice.start_alike", "advice.checkpoint"]


@pytest.mark.parametrize(("step", "others", "is_told"), [(0, 0.0, True), (1, 0.0, False), (0, 0.1, False)])
def test_what_a_script_makes_of_its_data_before_the_model_is_pointed_at(
    make: Any, step: int, others: float, *, is_told: bool
) -> None:
    runs = []
    for size in (0.5, 0.0):
        run = make.Run()
        x, w = make.off(make.normal(16, 16), size), make.normal(16, 16, seed=1)
        w = run.parameter(make.off(w, others if size else 0.0, seed=2))
        run.call("Functional.linear.0.forward", [x, w], [x @ w.T])
        runs.append(run)
    first = make.judged(*runs, step=step).suspects[0]
    assert ("advice.before_the_model" in [advice.key for advice in first.advice]) is is_told


@pytest.mark.parametrize(
    ("step", "previous", "steps"), [(4, "none", "0,2,4"), (1, "none", "0,1"), (0, "none", None), (4, "judged", None)]
)
def test_a_recording_that_begins_late_is_begun_earlier(step: int, previous: Any, steps: str | None, make: Any) -> None:
    where = replace(place(make), previous=previous)
    found = advice_for(suspect(kind="input", step=step), SimpleNamespace(trained=""), where)
    lines = [line for message in found if message.key == "advice.earlier" for line in text(message).splitlines()]
    assert lines[1:2] == ([f"acc dump -s --step {steps} -o npu_again 'my train.py'"] if steps else [])
