from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.localisation import edits, peers, sweep  # noqa: F401 (edits registers its changes)
from benchmarks.localisation.events import Event
from benchmarks.localisation.faults import FAULTS, GROUPS
from benchmarks.localisation.judging import Named
from benchmarks.localisation.launches import Launch, find_change, rounded
from benchmarks.localisation.results import OURS, Results, guide, page
from benchmarks.localisation.rows import Case, Side
from benchmarks.localisation.scoring import Outcome
from benchmarks.localisation.sweep import Point, without_sketches

GELU = "Functional.gelu.0.forward"


def outcome(case: str, place: int, **over: object) -> Outcome:
    return Outcome(case, "statistics", "L1", place, (Named(GELU, "operator", 0, 0),), (GELU,), **over)  # type: ignore[arg-type]


def test_the_pages_show_all_tools_side_by_side() -> None:
    first, second = FAULTS[0], FAULTS[1]
    ours = [outcome(first.name, 1, effect=2e-4), outcome(second.name, 2), outcome("again", 0, healthy=True)]
    theirs = [outcome(first.name, 0), outcome(second.name, 0, unsound="no dump")]
    results = Results(ours, {"msprobe 1.0, advisor": theirs}, [Point("noise", 1e-5, 8, 7, 2)])
    text = page(results)
    assert f"| {OURS} | statistics | L1 | 2 | 1 (50 %) | 2 (100 %) | 1 of 1 | 0 |" in text
    assert "| msprobe 1.0, advisor | statistics | L1 | 2 | 0 (0 %) | 0 (0 %) | 0 of 0 | 1 |" in text
    assert f"| {first.name} | {first.model} | {first.group} | 2.0e-04 | 1 | - |" in text
    assert f"| {second.name} | {second.model} | {second.group} |  | 2 | failed |" in text
    assert "| noise | 1e-05 | 8 | 7 (88 %) | 2 (25 %) |" in text
    assert all(f"| {group} |" in guide(results) for group in GROUPS)
    assert "ACCUSED: again" in text


def test_a_copy_without_sketches_is_the_same_but_for_them(tmp_path: Path) -> None:
    folder = tmp_path / "dump" / "step0" / "proc1"
    folder.mkdir(parents=True)
    tensor = {"type": "torch.Tensor", "Norm": 1.0, "sketch": "HjBkPK8hoDt_-w==", "value": 3}
    (folder / "dump.json").write_text(json.dumps({"data": {GELU: {"output": [tensor]}}}), encoding="utf-8")
    without_sketches(tmp_path / "dump", tmp_path / "plain")
    copied = json.loads((tmp_path / "plain" / "step0" / "proc1" / "dump.json").read_bytes())
    del tensor["sketch"]
    assert copied == {"data": {GELU: {"output": [tensor]}}}


def test_the_sweep_has_a_fault_for_each_place_and_size() -> None:
    cases = [case for size in sweep.SIZES for case in sweep.cases("noise", size)]
    assert len({case.name for case in cases}) == len(cases) == len(sweep.SIZES) * len(sweep.PLACES)


def test_what_an_advisor_of_msprobe_says_is_read(tmp_path: Path) -> None:
    for rank, row in enumerate((f"{GELU}.output.0", "Module.fc.Linear.forward.0.input.0", "no row")):
        folder = tmp_path / f"rank{rank}"
        folder.mkdir()
        (folder / "advisor_1.txt").write_text(f"Line: 1\nSuspect Nodes: {row}\nExpert Advice: .\n", encoding="utf-8")
    assert peers._advised(tmp_path, 1) == [
        Named(GELU, "", 1, 0),
        Named("Module.fc.Linear.forward.0", "input", 1, 1),
    ]


def test_what_a_first_difference_analysis_says_is_read(tmp_path: Path) -> None:
    (tmp_path / "diff_analyze_1.json").write_text(json.dumps({"rank_1": [{"op_name": GELU}]}), encoding="utf-8")
    assert peers._first_differences(tmp_path, 0) == [Named(GELU, "", 0, 1)]


def test_faults_of_the_simulated_device_become_kernels_for_msprobe() -> None:
    side = peers.as_cpu(Side(simulated=("aten::addmm=zero_tail:5@3",)))
    assert side is not None
    assert [(k.operator, k.change, k.value, k.calls) for k in side.kernels] == [("aten::addmm", "last_tile", 5.0, (3,))]
    assert peers.as_cpu(Side(simulated=())) is None
    simulated = [case for case in FAULTS if case.npu.simulated]
    assert simulated
    assert all(peers.is_for_peers(case) for case in simulated)
    assert not peers.is_for_peers(Case("h", "decoder", "npu", Side(simulated=()), answer=None))


@pytest.mark.parametrize(("mantissa", "dtype"), [(7, torch.bfloat16)])
def test_rounding_is_to_the_nearest_even(mantissa: int, dtype: torch.dtype) -> None:
    values = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    values[:4] = (0.0, np.inf, np.nan, 1 + 2**-8)
    expected = torch.from_numpy(values).to(dtype).float().numpy()
    np.testing.assert_array_equal(rounded(values, mantissa), expected)


def _launch(out: torch.Tensor, *arguments: torch.Tensor) -> Launch:
    return Launch(lambda *args: out.clone(), arguments, {}, 0)


@pytest.mark.parametrize(
    ("change", "value", "changed"),
    [
        ("scale", 2.0, slice(None)),
        ("last_tile", 2, np.s_[:, 2:]),
        ("channel", 3.0, np.s_[:, 1]),
        ("nan", 5, np.s_[1, 1]),
        ("swap_rows", 0, np.s_[:2]),
    ],
)
def test_an_edit_changes_what_it_says_and_nothing_else(change: str, value: float, changed: object) -> None:
    right = torch.arange(1.0, 13.0).reshape(3, 4)
    launch = _launch(right, right)
    wrong = find_change(change)(launch, value).numpy()
    differs = wrong != right.numpy()
    expected = np.zeros((3, 4), bool)
    expected[changed] = True  # type: ignore[index]
    np.testing.assert_array_equal(differs, expected)
    effect = launch.effect(torch.from_numpy(wrong))
    assert effect is not None
    assert effect > 0


def test_a_genuine_result_has_no_effect() -> None:
    launch = _launch(torch.tensor([1.0, float("nan")]))
    assert launch.effect(launch.genuine()) == 0.0
    assert Launch(lambda: None, (), {}, 0).effect(None) is None


def test_a_stale_buffer_holds_the_call_before() -> None:
    first, second = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    one, two = _launch(first), _launch(second)
    two.memory = one.memory
    stale = find_change("stale")
    assert stale(one, 0).tolist() == [1.0, 2.0]
    assert stale(two, 0).tolist() == [1.0, 2.0]


STEPPED = Event("fired", "aten::addcdiv_", 0, 0, ("Optimizer.AdamW.0.forward",))
FIRED = Case("f", "decoder", "optimizer", Side(threads=2))
MARKED = Case("m", "decoder", "wrong constant", Side(threads=2), answer="marked")
SEEDED = Case("s", "decoder", "seed", Side(threads=2), answer="kind", kinds=("random",))


@pytest.mark.parametrize(
    ("case", "named", "expected"),
    [
        (FIRED, Named("Tensor.addcdiv_.3.forward", "", 0, 0), Named("Optimizer.AdamW.0.forward", "", 0, 0)),
        (FIRED, Named("Tensor.addcdiv_.3.forward", "", 1, 0), Named("Tensor.addcdiv_.3.forward", "", 1, 0)),
        (FIRED, Named(GELU, "input", 0, 0), Named(GELU, "input", 0, 0)),
        (MARKED, Named(GELU, "input", 0, 0), Named(GELU, "", 0, 0)),
        (
            SEEDED,
            Named("Functional.dropout.0.forward", "", 0, 0),
            Named("Functional.dropout.0.forward", "random", 0, 0),
        ),
        (SEEDED, Named(GELU, "", 0, 0), Named(GELU, "", 0, 0)),
    ],
)
def test_msprobe_is_credited_for_what_it_can_know(case: Case, named: Named, expected: Named) -> None:
    assert peers.credited(named, case, [STEPPED]) == expected
