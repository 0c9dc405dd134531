"""Which pairs are called alike, and what is named in those that are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from acc_compare.monitor.advisor import advisor_json, advisor_text
from acc_compare.monitor.comparison import compare_monitored
from acc_compare.monitor.tables import StepRange
from acc_compare.monitor.write import write_monitor_reports
from dump.format.errors import ConfigError, DumpCorrupt, DumpError, DumpNotFound, IncomparableError

Array = npt.NDArray[np.float64]
Write = Callable[..., Path]
Drawn = Callable[..., Array]


@pytest.mark.parametrize("growth", [1.0, 1.05, 1.3])
def test_noise_that_grows_gradually_is_no_fault(write_run: Write, drawn: Drawn, growth: float) -> None:
    write_run("bench", drawn(noise=0.0))
    write_run("npu", np.abs(drawn(noise=1e-7, growth=growth)))
    found = compare_monitored(write_run("npu", drawn(noise=1e-7, growth=growth)), write_run("bench", drawn(noise=0.0)))
    assert (found.verdict, found.origins) == ("same", ())
    assert (found.parted is not None) == (growth == 1.3)
    assert any("cannot be compared step by step" in note for note in found.notes) == (growth == 1.3)


def _off(part: Array, size: float) -> Array:
    return part * (1 + size)


@pytest.mark.parametrize(
    ("rows", "step", "size", "named"),
    [
        (slice(3, 4), 30, 0.1, True),
        (slice(3, 4), 30, 1e-3, False),  # as a relu's kink makes of noise
        (slice(0, 8), 30, 1e-3, True),  # but not everywhere at once
        (slice(0, 8), 0, 1e-5, True),
        (slice(0, 8), 0, 1e-7, False),
    ],
)
def test_a_jump_is_named_with_its_step(
    write_run: Write, drawn: Drawn, names: tuple[str, ...], rows: slice, step: int, size: float, named: bool
) -> None:
    norms = drawn(noise=1e-7)
    norms[rows, step:] = _off(norms[rows, step:], size)
    found = compare_monitored(write_run("npu", norms), write_run("bench", drawn(noise=0.0)))
    assert (found.verdict == "different") == named
    if named:
        (origin,) = found.origins
        assert (origin.step, origin.kind) == (step, "gradient")
        assert origin.name in names[rows]
        assert origin.alike_count == len(names[rows]) - 1


@pytest.mark.parametrize(("side", "word"), [("npu", "on the NPU side only"), ("bench", "on the bench side only")])
def test_a_nan_on_one_side_is_an_origin(write_run: Write, drawn: Drawn, side: str, word: str) -> None:
    norms = {"npu": drawn(noise=1e-7), "bench": drawn(noise=0.0)}
    norms[side][5, 37] = np.nan
    norms[side][:, 38:] = np.nan
    found = compare_monitored(write_run("npu", norms["npu"]), write_run("bench", norms["bench"]))
    (origin,) = found.origins
    assert (origin.kind, origin.step, origin.name, origin.alike_count) == ("nan_inf", 37, "layers.5.weight", 0)
    assert word in origin.message
    assert json.loads(advisor_json(found))["suspects"][0]["apart"] is None


def test_a_nan_on_both_sides_is_said_and_not_accused(write_run: Write, drawn: Drawn) -> None:
    norms = drawn(noise=0.0)
    norms[:, 40:] = np.nan
    found = compare_monitored(write_run("npu", norms), write_run("bench", norms))
    assert found.verdict == "same"
    assert "Both sides hold NaN or Inf at 20 steps" in found.notes[0]


def test_another_seed_is_called_that(write_run: Write, drawn: Drawn) -> None:
    norms = drawn(noise=0.0)
    found = compare_monitored(write_run("npu", np.roll(norms, 1, axis=0)), write_run("bench", norms))
    assert (found.origins[0].kind, found.origins[0].step) == ("input", 0)
    assert "not started alike" in found.summary


def test_low_precision_throughout_is_called_that(write_run: Write, drawn: Drawn) -> None:
    norms = drawn(noise=0.0)
    coarse = norms * (1 + 2e-3 * np.where(np.arange(8) % 2, 1, -1)[:, None])
    found = compare_monitored(write_run("npu", coarse), write_run("bench", norms))
    assert found.origins[0].kind == "dtype"
    same = compare_monitored(
        write_run("npu16", coarse, dtype="torch.bfloat16"), write_run("bench16", norms, dtype="torch.bfloat16")
    )
    assert same.verdict == "same"


def test_what_two_bench_runs_differ_by_is_normal(write_run: Write, drawn: Drawn) -> None:
    norms = drawn(noise=0.0)
    npu, bench, again = write_run("npu", norms * 1.0001), write_run("bench", norms), write_run("again", norms * 0.9999)
    assert compare_monitored(npu, bench).verdict == "different"
    assert compare_monitored(npu, bench, floor=again).verdict == "same"


def test_a_gradient_that_is_zero_but_for_rounding_is_not_accused(write_run: Write, drawn: Drawn) -> None:
    ours, theirs = drawn(noise=1e-7), drawn(noise=0.0)
    for norms, seed in ((ours, 5), (theirs, 6)):
        norms[2] = 1e-8 * np.random.default_rng(seed).uniform(0.5, 1.5, norms.shape[1])
    assert compare_monitored(write_run("npu", ours), write_run("bench", theirs)).verdict == "same"


def test_an_update_is_told_from_a_gradient(write_run: Write, drawn: Drawn) -> None:
    norms = drawn(noise=0.0)
    updated = norms.copy()
    updated[4, 10:] *= 1.01
    for side, parameters in (("npu", updated), ("bench", norms)):
        write_run(side, norms)
        write_run(side, parameters, kind="param_updated")
    found = compare_monitored(write_run("npu", norms), write_run("bench", norms))
    assert [(o.kind, o.name, o.step) for o in found.origins] == [("optimizer", "layers.4.weight", 10)]
    assert "layers.4" in found.origins[0].advice[0]


def test_curves_that_run_apart_after_parting(write_run: Write, drawn: Drawn) -> None:
    """Gradually, so that no step can be named; the text does not pretend that it can."""
    norms = drawn(noise=0.0, steps=200)
    drift = np.exp(np.minimum(1.2 ** np.arange(200) * 1e-7, 2.0))
    found = compare_monitored(write_run("npu", norms * drift), write_run("bench", norms))
    assert found.verdict == "different"
    assert {origin.kind for origin in found.origins} == {"drift"}
    assert "whether a fault or chance" in found.origins[0].message


def test_ranks_are_paired_and_lone_ones_told(write_run: Write, drawn: Drawn) -> None:
    norms = drawn(noise=0.0)
    for rank in (0, 1, 2):
        write_run("npu", norms, rank=rank)
    bad = norms.copy()
    bad[1, 20] = np.inf
    write_run("bench", norms, rank=0)
    bench = write_run("bench", bad, rank=1)
    found = compare_monitored(bench.parent / "npu", bench)
    assert [(o.rank, o.step) for o in found.origins] == [(1, 20)]
    assert any("only the NPU side has" in note for note in found.notes)


def test_ddp_on_one_side_only(write_run: Write, drawn: Drawn, names: tuple[str, ...]) -> None:
    norms = drawn(noise=0.0)
    wrapped = tuple(f"module.{name}" for name in names)
    found = compare_monitored(write_run("npu", norms, names=wrapped), write_run("bench", norms))
    assert (found.coverage.series, found.coverage.only_npu) == (8, ())


@pytest.mark.parametrize(("own", "verdict"), [(3, "same"), (5, "incomplete")])
def test_a_few_series_in_common_carry_no_verdict(
    write_run: Write, drawn: Drawn, names: tuple[str, ...], own: int, verdict: str
) -> None:
    norms = drawn(noise=0.0)
    renamed = tuple(f"other.{name}" for name in names[:own]) + names[own:]
    found = compare_monitored(write_run("npu", norms, names=renamed), write_run("bench", norms))
    assert found.verdict == verdict
    page = advisor_text(found)
    assert page.startswith(f"{verdict.upper()}: ")
    assert "on the NPU side only: other.layers.0.weight" in page
    assert "Message(" not in page


def test_a_run_compared_with_itself_is_told(write_run: Write, drawn: Drawn) -> None:
    run = write_run("npu", drawn(noise=0.0))
    assert any("with itself" in note for note in compare_monitored(run, run).notes)
    other = write_run("bench", drawn(noise=0.0))
    assert not any("with itself" in note for note in compare_monitored(run, other).notes)


def test_a_killed_run_and_its_second_start(write_run: Write, drawn: Drawn) -> None:
    norms = drawn(noise=0.0)
    bench = write_run("bench", norms)
    npu = write_run("npu", norms[:, :30])
    cut = next(npu.glob("*/grad_reduced_20-39.csv"))
    cut.write_bytes(cut.read_bytes()[:-25])
    assert compare_monitored(npu, bench).coverage.cells == 8 * 30 - 1
    write_run("npu", norms[:, 25:], first=25, stamp="Nov22_14-00-00")
    found = compare_monitored(npu, bench)
    assert (found.verdict, found.coverage.cells, found.coverage.last_step) == ("same", 480, 59)
    write_run("npu", norms[:, :5], stamp="Nov22_15-00-00")
    later = compare_monitored(npu, bench)
    assert later.coverage.last_step == 4
    assert "earlier runs" in later.notes[0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a,b\n1,2\n", "expected a header"),
        ("name,step,norm\nw,zero,1.0\n", "expected rows of name,step,norm"),
        ("name,step,norm\nw,0,big\n", "expected rows of name,step,norm"),
        ("name,step,norm\nw,0,1.0,2,3,4\n", "6 fields in a row, not 3"),
        ("name,step,norm\nw,0,1.0\nw,1\n", "2 fields in a row, not 3"),
        ("name,step,norm\n" + "x" * 70_000 + ",0,1\n" + "y" * 70_000, "one of more than 65,536 bytes"),
    ],
)
def test_foreign_text_is_named_with_its_file(
    write_run: Write, drawn: Drawn, tmp_path: Path, text: str, word: str
) -> None:
    bench = write_run("bench", drawn(noise=0.0))
    folder = tmp_path / "npu" / "Nov22_13-26-22-rank0"
    folder.mkdir(parents=True)
    (folder / "grad_reduced_0-0.csv").write_text(text)
    with pytest.raises(DumpCorrupt, match=word) as caught:
        compare_monitored(tmp_path / "npu", bench)
    assert "grad_reduced_0-0.csv" in str(caught.value)


def test_more_cells_than_memory_holds_are_refused(tmp_path: Path) -> None:
    """Each row another name at another step: the square of what the file holds."""
    folder = tmp_path / "Nov22_13-26-22-rank0"
    folder.mkdir()
    rows = "".join(f"w{number},{number},1.0\n" for number in range(12_000))
    (folder / "grad_reduced_0-11999.csv").write_text("name,step,norm\n" + rows)
    with pytest.raises(DumpError, match="Give --kind or --steps"):
        compare_monitored(tmp_path, tmp_path)


def test_what_cannot_be_compared(write_run: Write, drawn: Drawn, tmp_path: Path) -> None:
    norms = drawn(noise=0.0)
    npu, bench = write_run("npu", norms), write_run("bench", norms, kind="actv")
    with pytest.raises(IncomparableError, match="no kind, series and step in common"):
        compare_monitored(npu, bench)
    with pytest.raises(ConfigError, match="--kind"):
        compare_monitored(npu, npu, kinds=["actv"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DumpNotFound, match="expected csv files such as"):
        compare_monitored(tmp_path / "empty", npu)
    outside = tmp_path / "linked" / "Nov22_13-26-22-rank0"
    outside.mkdir(parents=True)
    (outside / "grad_reduced_0-19.csv").symlink_to(next(npu.glob("*/grad_reduced_0-19.csv")))
    with pytest.raises(DumpNotFound):
        compare_monitored(tmp_path / "linked", npu)


def test_steps_restrict_what_is_read(write_run: Write, drawn: Drawn) -> None:
    norms = drawn(noise=0.0)
    run = write_run("npu", norms)
    found = compare_monitored(run, run, steps=StepRange(15, 24))
    assert (found.coverage.first_step, found.coverage.last_step, found.coverage.cells) == (15, 24, 80)


def test_names_from_outside_are_shown_and_not_obeyed(write_run: Write, drawn: Drawn, tmp_path: Path) -> None:
    norms = drawn(noise=0.0)
    hostile = ("<script>alert(1)</script>", "a\x1b[31mred", "$x^2$", *(f"w{number}" for number in range(5)))
    bad = norms.copy()
    bad[:3, 7] = np.nan
    found = compare_monitored(write_run("npu", bad, names=hostile), write_run("bench", norms, names=hostile))
    paths = write_monitor_reports(found, tmp_path / "out", timestamp="20260101000000")
    page = paths.page.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page + advisor_text(found)
    again = write_monitor_reports(found, tmp_path / "out", timestamp="20260101000000")
    assert again.page.name == "monitor_20260101000000_1.html"
    for path in paths.pictures:
        assert path.read_bytes().startswith(b"\x89PNG")
    assert len(paths.pictures) == 2


def test_what_msprobe_wrote_is_read(tmp_path: Path) -> None:
    """Its files of ten kinds against a copy with one moment changed; rows without a tensor are no NaN."""
    recorded = Path(__file__).parents[2] / "dump" / "monitor" / "msprobe_26_2"
    found = compare_monitored(recorded, recorded)
    assert (found.verdict, found.loudest, found.notes) == (
        "same",
        0.0,
        ("A run was compared with itself: both paths lead to the same folder.",),
    )
    assert {"actv", "actv_grad", "exp_avg", "grad_unreduced", "param_updated"} <= set(found.coverage.tables)
    changed = tmp_path / "Nov22_13-26-22-rank0-7def9a46"
    changed.mkdir()
    for path in recorded.glob("*.csv"):
        text = path.read_text()
        if path.name.startswith("exp_avg_0"):
            text = text.replace("layers.0.fc1.weight,1,0.0015", "layers.0.fc1.weight,1,0.0016")
        (changed / path.name).write_text(text)
    (origin,) = compare_monitored(tmp_path, recorded).origins
    assert (origin.table, origin.name, origin.step) == ("exp_avg", "layers.0.fc1.weight", 1)
