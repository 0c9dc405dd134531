"""Composites among calls made by hand: which calls belong to one, and which do not."""

from __future__ import annotations

import pytest

from acc_compare.align.composites import find_composites
from acc_compare.align.mapping_file import shipped
from acc_compare.align.rules import FusedRule, steps_of
from acc_compare.align.values import Values
from dump.format.schema import Argument, CallRecord, TensorRecord

NORM = FusedRule("norm", ("NPU.norm",), (steps_of("pow mean add rsqrt mul mul?"),))


def calls(text: str) -> list[CallRecord]:
    """One call a line, `result = operator read read`; a value is a name."""
    numbers: dict[str, int] = {}
    found = []
    for index, line in enumerate(text.strip().splitlines()):
        result, _, rest = line.partition(" = ")
        operator, *read = rest.split()
        inputs = tuple(Argument(f"input.{n}", _tensor(name, numbers)) for n, name in enumerate(read))
        outputs = (Argument("output.0", _tensor(result.strip(), numbers)),)
        found.append(CallRecord(f"Torch.{operator}.{index}.forward", index, inputs, outputs))
    return found


def _tensor(name: str, numbers: dict[str, int]) -> TensorRecord:
    return TensorRecord("torch.float32", (2, 3), value=numbers.setdefault(name, len(numbers)))


def found(text: str, *rules: FusedRule) -> list[str]:
    """The numbers of the members of each composite."""
    composites = find_composites(Values(calls(text)), rules or (NORM,))
    return [" ".join(str(member.index) for member in composite.members) for composite in composites]


PLAIN = "p = pow x\nm = mean p\ne = add m\nr = rsqrt e\ny = mul x r\nz = mul w y"


@pytest.mark.parametrize(
    ("text", "members"),
    [
        (PLAIN, ["0 1 2 3 4 5"]),
        ("\n".join(PLAIN.splitlines()[:5]), ["0 1 2 3 4"]),
        ("\n".join(PLAIN.splitlines()[:4]), []),
        (PLAIN.replace("mean", "sum"), []),
        # What follows belongs to somebody else: it has no place among the steps.
        (PLAIN + "\nq = add z z", ["0 1 2 3 4 5"]),
        # A product with a gate is one too many; the composite ends before it.
        (PLAIN + "\nq = mul z gate", ["0 1 2 3 4 5"]),
        # The sum before it is no step, although a sum is one.
        ("x = add a b\n" + PLAIN, ["1 2 3 4 5 6"]),
        # Other calls in between, and casts.
        (
            "f = float x\np = pow f\nl = linear k\nm = mean p\ne = add m\nr = rsqrt e\nc = to r\ny = mul f c",
            ["1 3 4 5 6 7"],
        ),
        # Not connected: the reciprocal root of something else.
        ("p = pow x\nm = mean p\ne = add m\nr = rsqrt s\ny = mul x r", []),
        (PLAIN + "\n" + PLAIN.replace("x", "z").replace(" w ", " v "), ["6 7 8 9 10 11", "0 1 2 3 4 5"]),
    ],
)
def test_a_norm_is_found_by_its_dataflow(text: str, members: list[str]) -> None:
    assert found(text) == members


@pytest.mark.parametrize(
    ("rule", "text", "members"),
    [
        ("swiglu", "g = chunk x\nu = linear y\ns = silu g\nz = mul s u", ["2 3"]),
        ("swiglu", "s = silu g\nz = mul t u", []),
        (
            "rotary",
            "a = mul x c\nh = getitem x\nn = neg h\nk = getitem x\nr = cat n k\nb = mul r s\nz = add a b",
            ["0 2 4 5 6"],
        ),
        (
            "attention",
            "t = transpose k\na = matmul q t\nb = div a\nm = add b mask\ns = softmax m\nz = matmul s v",
            ["1 2 3 4 5"],
        ),
        # A rotation before it is not its scaling, nor is a mask that was computed.
        ("attention", "q = add d e\nn = sub o\nmask = mul n\na = matmul q k\ns = softmax a\nz = matmul s v", ["3 4 5"]),
        ("attention", "a = matmul q k\ns = sigmoid a\nz = matmul s v", []),
        ("cross_entropy", "l = log_softmax x\nz = nll_loss l t", ["0 1"]),
    ],
)
def test_shipped_composites(rule: str, text: str, members: list[str]) -> None:
    assert found(text, *(one for one in shipped() if one.name == rule)) == members


def test_no_call_is_in_two_composites() -> None:
    rules = (
        FusedRule("long", ("NPU.a",), (steps_of("neg abs exp"),)),
        FusedRule("short", ("NPU.b",), (steps_of("abs exp"),)),
    )
    assert found("a = neg x\nb = abs a\nc = exp b", *rules) == ["0 1 2"]
    assert found("a = sin x\nb = abs a\nc = exp b", *rules) == ["1 2"]


def test_a_value_that_is_read_by_its_own_maker_ends_the_search() -> None:
    assert found("x = pow x\nx = mean x\nx = add x\nx = rsqrt x\nx = mul x x\nx = mul x x") == ["0 1 2 3 4 5"]
