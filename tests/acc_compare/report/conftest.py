"""Findings as the judge hands them over, for the tests of every report."""

from __future__ import annotations

import math
import random

import pytest

from acc_compare.messages import listed
from acc_compare.model import ComparedShare, ErrorPattern, Finding, Result, Row, Suspect
from dump.format.schema import ScalarRecord, TensorRecord

STACK = (
    "File /usr/lib/python3.11/site-packages/torch/nn/modules/activation.py, line 734, in forward, \n"
    " return F.gelu(input, approximate=self.approximate)",
    "File /home/me/gpt/model.py, line 58, in forward, \n x = self.act(self.fc1(x))",
    "File /home/me/gpt/train.py, line 112, in step, \n loss = model(tokens, labels)",
)
STATISTICS = ("max", "min", "mean", "norm")


def tensor(shape: tuple[int, ...] = (4, 128, 256), **fields: object) -> TensorRecord:
    values: dict[str, object] = {
        "max": 3.1250331,
        "min": -2.98,
        "mean": 0.0131,
        "norm": 181.02,
        "requires_grad": True,
    }
    return TensorRecord("torch.float32", shape, **{**values, **fields})  # type: ignore[arg-type]


def row(name: str = "Functional.gelu.2.forward.output.0", **fields: object) -> Row:
    values: dict[str, object] = {
        "npu_name": name,
        "bench_name": name,
        "npu": tensor(),
        "bench": tensor(),
        "metrics": {},
        "result": "pass",
    }
    return Row(**_as_messages({**values, **fields}))  # type: ignore[arg-type]


def suspect(**fields: object) -> Suspect:
    values: dict[str, object] = {
        "name": "Functional.gelu.2.forward",
        "kind": "operator",
        "step": 0,
        "rank": 0,
        "module": "blocks.2.act",
        "tensor": "output.0",
        "rel_l2": 1.6e-3,
        "expected": 3e-7,
        "excess": 5300.0,
        "calls": 1,
        "message": "Inputs agree to 3e-7, output.0 differs by 1.6e-3, 5,300 times what is normal.",
    }
    return Suspect(**_as_messages({**values, **fields}))  # type: ignore[arg-type]


def said(words: object) -> object:
    """A message that shows `words` as they are; what is no text stays as it is."""
    return listed([words]) if isinstance(words, str) else words


def _as_messages(fields: dict[str, object]) -> dict[str, object]:
    """Words of these fields as messages, so that the tests below can be read."""
    found = dict(fields)
    for name in ("message", "spread", "summary"):
        if name in found:
            found[name] = said(found[name])
    for name in ("evidence", "advice", "notes", "settings", "err_message"):
        if name in found:
            value = found[name]
            found[name] = tuple(map(said, (value,) if isinstance(value, str) and value else value))  # type: ignore[arg-type]
    return found


def _block(index: int) -> list[tuple[str, str]]:
    """(call, argument) of one transformer block, in order."""
    calls = {
        f"Functional.layer_norm.{2 * index}.forward": ("input.0", "input.weight", "output.0"),
        f"Functional.linear.{4 * index}.forward": ("input.0", "input.1", "input.2", "output.0"),
        f"Functional.scaled_dot_product_attention.{index}.forward": (
            "input.0",
            "input.1",
            "input.2",
            "input.is_causal",
            "output.0",
        ),
        f"Module.blocks.{index}.proj.Linear.forward.0": ("input.0", "parameters.weight", "output.0"),
        f"Tensor.__add__.{2 * index}.forward": ("input.0", "input.1", "output.0"),
        f"Functional.gelu.{index}.forward": ("input.0", "output.0"),
    }
    return [(call, argument) for call, arguments in calls.items() for argument in arguments]


def table(mode: str, size: int, *, stacks: bool = False, seed: int = 1) -> tuple[Row, ...]:
    """`size` rows of a transformer whose gelu.2 is wrong: agreeing before it, off after it."""
    chance = random.Random(seed)
    names = [pair for index in range(size // 20 + 1) for pair in _block(index)][:size]
    rows, faulty = [], False
    for call, argument in names:
        faulty = faulty or (call, argument) == ("Functional.gelu.2.forward", "output.0")
        rows.append(_table_row(mode, call, argument, faulty=faulty, stacks=stacks, chance=chance))
    return tuple(rows)


def _table_row(mode: str, call: str, argument: str, *, faulty: bool, stacks: bool, chance: random.Random) -> Row:
    name = f"{call}.{argument}"
    stack = "\n".join(STACK) if stacks else ""
    if argument == "input.is_causal":
        flag = ScalarRecord("bool", True)
        return row(name, npu=flag, bench=flag, stack=stack)
    error = chance.uniform(0.5, 2) * (1.6e-3 if faulty else 2e-7)
    norm = chance.uniform(20, 4000)
    npu = tensor(
        max=chance.uniform(1, 30),
        mean=chance.gauss(0, 1e-3),
        norm=norm * (1 + error / 40),
        md5=f"{chance.getrandbits(128):032x}",
    )
    bench = tensor(
        max=chance.uniform(1, 30),
        mean=chance.gauss(0, 1e-3),
        norm=norm,
        md5=f"{chance.getrandbits(128):032x}",
    )
    result: Result = "pass"
    message = ""
    if faulty and chance.random() < 0.5:
        result = chance.choice(["warning", "error"])
        message = "one-thousandth error ratio of the inputs is 0.97 and that of the output 0.41"
    if call.startswith("Module") and argument == "output.0":
        return row(
            name,
            bench_name="",
            bench=None,
            npu=npu,
            result="unmatched",
            stack=stack,
            err_message="no such call on the bench side",
        )
    introduced = name == "Functional.gelu.2.forward.output.0"
    return row(
        name,
        npu=npu,
        bench=bench,
        metrics=_metrics(mode, error, norm),
        result=result,
        reached=("No" if result == "error" else "Yes") if mode == "tensor" else None,
        err_message=message,
        stack=stack,
        data_name=f"{name}.safetensors" if mode == "tensor" else "",
        expected=3e-7 if introduced or not faulty else error * 1.1,
        excess=error / 3e-7 if introduced or not faulty else 0.9,
        origin="introduced" if introduced else "propagated" if faulty else "agrees",
    )


def _metrics(mode: str, error: float, norm: float) -> dict[str, float]:
    if mode == "md5":
        return {}
    if mode == "tensor":
        return {
            "Cosine": 1 - error**2 / 2,
            "EucDist": error * norm,
            "MaxAbsErr": error * 3,
            "MaxRelativeErr": error * 5000,
            "One Thousandth Err Ratio": 1.0 if error < 1e-5 else 0.41,
            "Five Thousandths Err Ratio": 1.0 if error < 1e-5 else 0.93,
            "RelL2": error,
        }
    names = ("Max", "Min", "Mean", "L2norm")
    return {
        **{f"{name} diff": error * (i + 1) for i, name in enumerate(names)},
        **{f"{name}RelativeErr": error * 100 for name in ("Max", "Min", "Mean", "Norm")},
        "MeanRelativeErr": math.inf,
        "Est. Cosine": 1 - error**2 / 2,
        "Est. RelL2": error,
    }


def _finding(mode: str = "statistics", **fields: object) -> Finding:
    values: dict[str, object] = {
        "verdict": "different",
        "summary": "what the two runs came to",
        "suspects": (),
        "coverage": ComparedShare(1243, 3960, 0, 0),
        "mode": mode,
        "npu_path": "/data/dumps/npu/step0/rank0",
        "bench_path": "/data/dumps/gpu/step0/rank0",
        "npu_device": "npu",
        "bench_device": "cuda",
        "step": 0,
        "rank": 0,
    }
    return Finding(**_as_messages({**values, **fields}))  # type: ignore[arg-type]


def gelu(mode: str = "statistics", size: int = 80, *, stacks: bool = False, **fields: object) -> Finding:
    others = ("Functional.gelu.3.forward", "Functional.gelu.4.forward", "Functional.gelu.5.forward")
    values: dict[str, object] = {
        "summary": "gelu is the most likely fault: in 4 calls, the first of them Functional.gelu.2.forward, "
        "its inputs agree and its output does not.",
        "suspects": (
            suspect(
                calls=4,
                others=others,
                evidence=(
                    "Its input.0 agrees to 2.9e-7.",
                    "The 96 other elementwise calls of this run amplify error by 1.1 at most.",
                    "gelu.0 and gelu.1 see other shapes and agree.",
                ),
                pattern=ErrorPattern(kind="rounding", size=2.0**-9, dtype="bfloat16"),
                spread="214 of the 312 calls after it carry the error on; it reaches the loss "
                "(Functional.cross_entropy.0.forward) as 4.1e-5.",
                advice=(
                    "Record the tensors of this call and compare element by element: "
                    "acc dump --task tensor --list Functional.gelu.2.forward -- python train.py",
                    "Run this call alone on the bench with the recorded input, in float32 and in bfloat16.",
                ),
                stack=STACK,
            ),
        ),
        "coverage": ComparedShare(
            1243,
            3960,
            3,
            1,
            reasons=(
                ("NPU.npu_fusion_attention.0.forward", said("the operator exists on NPU only")),
                ("NPU.npu_fusion_attention.1.forward", said("the operator exists on NPU only")),
                ("Tensor.contiguous.7.forward", said("the bench makes one call fewer of this operator")),
                (
                    "Functional.scaled_dot_product_attention.0.forward",
                    said("replaced on the other side by a fused operator"),
                ),
            ),
        ),
        "notes": ("No --floor was given: what is normal was taken from rounding and from calls of the same kind.",),
        "rows": table(mode, size, stacks=stacks),
    }
    return _finding(mode, **{**values, **fields})


def nan() -> Finding:
    first = suspect(
        name="Torch.log.3.forward",
        kind="nan_inf",
        module="",
        rel_l2=None,
        expected=None,
        excess=None,
        message="output.0 holds 12 NaN and 0 Inf on the NPU and none on the bench; its inputs are finite "
        "and agree to 1.8e-7.",
        evidence=(
            "The first NaN is at index (0, 17, 4) of shape [4, 128, 256].",
            "input.0 reaches down to -1.2e-9.",
        ),
        pattern=ErrorPattern(kind="rounding", size=2.0**-9, dtype="bfloat16"),
        spread="Every later call of the step holds NaN, the loss included.",
        advice=("Look at the smallest input: log of a negative number is NaN.",),
        stack=("File /home/me/gpt/loss.py, line 20, in entropy, \n return -(p * torch.log(p)).sum(-1)",),
    )
    rows = (
        row(
            "Torch.log.3.forward.output.0",
            npu=tensor(max=math.nan, min=math.nan, mean=math.nan, norm=math.nan),
            result="error",
            err_message="NaN on the NPU side only",
        ),
    )
    return _finding(
        summary="NaN appears first in the output of Torch.log.3.forward, from finite inputs.",
        suspects=(first,),
        rows=rows,
    )


def seed() -> Finding:
    return _finding(
        summary="The two runs did not start alike: the data differ before any operator ran.",
        suspects=(
            suspect(
                name="Functional.embedding.0.forward",
                kind="input",
                module="tok",
                tensor="input.0",
                rel_l2=0.71,
                expected=0.0,
                excess=math.inf,
                message="input.0 (int64, the tokens) differs in 511 of 512 elements; no call made it.",
                advice=("Feed both runs the same batch: fix the data loader's seed and its number of workers.",),
            ),
            suspect(
                name="Functional.dropout.0.forward",
                kind="random",
                module="blocks.0.drop",
                rel_l2=1.1,
                expected=2e-7,
                excess=5.5e6,
                calls=12,
                message="It drops other elements on either side: 6,512 of 131,072 zeros are shared.",
                advice=("Fix the seed on both sides before the first step: dump.seed_all(seed=1234, mode=True)",),
            ),
        ),
    )


def optimizer() -> Finding:
    return _finding(
        summary="The optimizer updates parameters differently: all gradients agree, all parameters differ.",
        suspects=(
            suspect(
                name="Optimizer.AdamW.step.0",
                kind="optimizer",
                step=1,
                module="",
                tensor="parameters.blocks.0.fc1.weight",
                rel_l2=4.4e-4,
                expected=2.1e-7,
                excess=2095.2,
                message="Gradients agree to 3e-7; the update of all parameters is off by the factor 1.10.",
                pattern=ErrorPattern(kind="rounding", size=2.0**-9, dtype="bfloat16"),
                advice=("Compare lr, betas, eps and weight_decay of both sides.",),
            ),
        ),
        step=1,
    )


def same() -> Finding:
    rows = (
        *table("statistics", 40)[:30],
        row(
            "Tensor.mean.1.forward.output.0",
            result="warning",
            err_message="output's norm error is ten times the inputs'",
        ),
    )
    return _finding(verdict="same", rows=rows)


BUILDERS = {"gelu": gelu, "nan": nan, "seed": seed, "optimizer": optimizer, "same": same}


@pytest.fixture
def build():
    """The builders of this file, as attributes: `build.row(...)`, `build.gelu(...)`."""
    import types

    return types.SimpleNamespace(
        row=row, tensor=tensor, suspect=suspect, table=table, finding=_finding, stack=STACK, **BUILDERS
    )


@pytest.fixture(params=sorted(BUILDERS))
def any_finding(request: pytest.FixtureRequest) -> Finding:
    return BUILDERS[request.param]()
