"""Real recordings of one training step, made in different ways, against each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acc_compare import compare
from acc_compare.messages import Message, say

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ACC = "import sys; from acc_compare.cli import main; sys.exit(main())"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("variants")
    script = Path(__file__).with_name("variants.py")
    ran = subprocess.run([sys.executable, script, out], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return out


def both_ways(one: str, other: str) -> list[tuple[str, str]]:
    return [(one, other), (other, one)]


@pytest.mark.parametrize(("npu", "bench"), both_ways("fused", "plain"))
def test_fused_calls_answer_to_their_composites(variants: Path, npu: str, bench: str) -> None:
    found = compare(variants / npu, variants / bench).overall
    assert (found.verdict, found.suspects) == ("same", ())
    # The plain run was recorded at level mix, the fused one at L1: nothing but modules has no counterpart.
    assert {name.partition(".")[0] for name, _ in found.coverage.reasons} == {"Module"}
    told = [dict(note.values) for note in found.notes if note.key.startswith("note.laid_against")]
    side = "name.npu" if npu == "fused" else "name.bench"
    for operator in ("NPU.npu_rms_norm", "NPU.npu_swiglu", "NPU.npu_rotary_mul", "scaled_dot_product_attention"):
        assert [values["side"] for values in told if str(values["api"]).endswith(operator)] == [say(side)], operator


@pytest.mark.parametrize(
    ("kind", "suspect"),
    [
        ("rms", "NPU.npu_rms_norm.1.forward"),
        ("rms_backward", "NPU.npu_rms_norm.2.backward"),
        ("swiglu_backward", "NPU.npu_swiglu.0.backward"),
    ],
)
def test_a_fault_in_a_fused_call_is_named_from_either_side(variants: Path, kind: str, suspect: str) -> None:
    for npu, bench in both_ways(f"fused_{kind}", "plain"):
        found = compare(variants / npu, variants / bench)
        assert [s.name for s in found.suspects] == [suspect]
        (told,) = [text for text in found.suspects[0].evidence if text.key == "evidence.fused"]
        against = dict(told.values)["against"]
        assert isinstance(against, Message)
        assert dict(against.values)["side"] == say("name.bench" if bench == "plain" else "name.npu")


@pytest.mark.parametrize("way", ["checkpointed", "reentrant"])
def test_recomputed_calls_are_recognised(variants: Path, way: str) -> None:
    again = compare(variants / way, variants / "plain").overall
    assert (again.verdict, again.coverage.unmatched_npu, again.coverage.unmatched_bench) == ("same", 0, 0)
    once = compare(variants / "plain", variants / way).overall
    assert (once.verdict, once.coverage.unmatched_npu) == ("same", 0)
    assert once.coverage.unmatched_bench == again.coverage.calls - once.coverage.calls
    assert {reason.key for _, reason in once.coverage.reasons} == {"alone.recomputed"}


@pytest.mark.parametrize(("npu", "bench"), both_ways("accumulated", "plain"))
def test_accumulated_gradients_answer_to_those_of_the_whole_batch(variants: Path, npu: str, bench: str) -> None:
    found = compare(variants / npu, variants / bench).overall
    assert (found.verdict, found.suspects) == ("same", ())
    assert found.summary.key == "accumulated.agree"
    assert {
        name.partition(".")[0] for row in found.rows if row.bench_name and row.npu_name for name in [row.npu_name]
    } == {
        "Module",
        "Optimizer",
    }
    assert len(found.coverage.reasons) == found.coverage.unmatched_npu + found.coverage.unmatched_bench
    assert all(reason.key.startswith("batches.") for _, reason in found.coverage.reasons)


def test_missing_micro_batches_are_no_agreement(variants: Path) -> None:
    found = compare(variants / "first_batch", variants / "accumulated").overall
    assert (found.verdict, found.coverage.unmatched_npu) == ("incomplete", 0)
    assert found.summary.key == "accumulated.differ"
    assert found.coverage.reasons[0][1].key.startswith("batches.")


def test_the_command_line_takes_a_mapping(variants: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "map.yaml"
    mapping.write_text("shipped: false\nmodules: {blocks: blocks}\nclasses: {Nothing: Something}\n", encoding="utf-8")
    command = [sys.executable, "-c", ACC, "compare", variants / "fused", variants / "plain", "-o", tmp_path]
    ran = subprocess.run([*command, "--mapping", mapping], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (2, "")  # most fused calls have no counterpart now: INCOMPLETE
    assert "classes 'Nothing' renames nothing in this dump" in " ".join(ran.stdout.split())
    assert "was laid against" not in ran.stdout  # without the shipped table nothing says what fused calls stand for
    mapping.write_text("modulez: {}\n", encoding="utf-8")
    ran = subprocess.run([*command, "--mapping", mapping], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.count("\n") == 1
    assert "unknown key 'modulez'; did you mean 'modules'?" in ran.stderr


def test_the_advisor_names_the_fused_call_for_machines_too(variants: Path, tmp_path: Path) -> None:
    paths = compare(variants / "plain", variants / "fused_rms").write(tmp_path)
    first = json.loads(paths.advisor_json.read_text(encoding="utf-8"))["suspects"][0]
    assert (first["name"], first["kind"]) == ("NPU.npu_rms_norm.1.forward", "operator")
