"""The same script under msprobe's TrainerMonitorV2 and ours: the same files, rows and values.

msprobe 26.2.0 hangs its hooks on unreduced gradients onto nodes that nothing keeps, and so has no such rows; ours has.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import file_modules
import pytest
import torch

from dump.format.errors import ConfigError
from dump.monitor.trainer_v2 import TrainerMonitorV2

DATA = Path(__file__).with_name("msprobe_26_2")
FILES = sorted(path.name for path in (DATA / "v2").glob("*.csv"))
LABELS = ("vpp_stage", "step", "module_name", "scope", "micro_step")
Row = dict[str, str]


def _rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _by_label(rows: list[Row]) -> dict[tuple[str, ...], list[list[float]]]:
    found = defaultdict(list)
    for row in rows:
        numbers = [float(value) for name, value in row.items() if name not in LABELS]
        found[tuple(row.get(name, "") for name in LABELS)].append(numbers)
    return found


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("v2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "train", file_modules.load(DATA / "train.py", "train"))
        patch.chdir(root)
        script = file_modules.load(DATA / "train_v2.py", "monitored_train_v2")
        script.train(TrainerMonitorV2, str(DATA / "monitor_v2_config.json"))
    return root / "v2" / "rank_0"


def test_the_same_files_and_columns(ours: Path) -> None:
    assert sorted(path.name for path in ours.iterdir()) == FILES
    for name in FILES:
        heads = [(folder / name).read_text(encoding="utf-8").splitlines()[0] for folder in (ours, DATA / "v2")]
        assert heads[0] == heads[1]


@pytest.mark.parametrize("name", FILES)
def test_the_same_rows_and_values(name: str, ours: Path) -> None:
    theirs, found = _by_label(_rows(DATA / "v2" / name)), _by_label(_rows(ours / name))
    more = {label for label in found if label not in theirs}
    assert {label[3] for label in more} == ({"unreduced"} if name.startswith("weight_grad") else set())
    for label, rows in theirs.items():
        assert len(found[label]) == len(rows)
        for own, other in zip(found[label], rows, strict=True):
            rounding = 1e-6 * max(map(abs, other))  # all that is left of a mean where a gradient sums to nothing
            for value, expected in zip(own, other, strict=True):
                assert math.isclose(value, expected, rel_tol=1e-5, abs_tol=max(1e-9, rounding)), label


def _monitor(folder: Path, monitors: dict[str, Any], **settings: Any) -> TrainerMonitorV2:
    path = folder / "v2.json"
    path.write_text(json.dumps({"output_dir": str(folder / "out"), "monitors": monitors, **settings}))
    return TrainerMonitorV2(str(path))


def _train(model: torch.nn.Module, optimizer: torch.optim.Optimizer | None, steps: int, after: Any = None) -> None:
    for _ in range(steps):
        for _ in range(2):
            (model(torch.randn(3, 4)).square().mean() / 2).backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
        if after is not None:
            after()


def test_training_is_equal_to_the_bit(tmp_path: Path) -> None:
    ended = []
    for is_watched in (False, True):
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
        optimizer = torch.optim.AdamW(model.parameters())
        monitor = _monitor(
            tmp_path, {name: {"enabled": True} for name in ("module", "weight_grad", "optimizer", "param")}
        )
        if is_watched:
            monitor.start(model=model, optimizer=optimizer, grad_acc_steps=2)
        _train(model, optimizer, 3)
        monitor.stop()
        ended.append([parameter.detach().clone() for parameter in model.parameters()])
        assert not optimizer._optimizer_step_pre_hooks
    assert all(torch.equal(*pair) for pair in zip(*ended, strict=True))
    assert len(list((tmp_path / "out" / "rank_0").glob("weight_grad_step*.csv"))) == 3


def test_steps_of_ones_own_their_interval_and_their_end(tmp_path: Path) -> None:
    settings = {"start_step": 1, "step_interval": 2, "step_count_per_record": 4, "stop_step": 5}
    monitor = _monitor(tmp_path, {"module": {}}, **settings)
    model = torch.nn.Sequential(torch.nn.Linear(4, 2))
    monitor.start(model=model)
    _train(model, None, 8, after=monitor.step)
    monitor.stop()
    (path,) = (tmp_path / "out" / "rank_0").iterdir()
    assert path.name == "module_step1-4.csv"
    assert {row["step"] for row in _rows(path)} == {"1", "3"}


def test_the_optimizers_steps_count_unless_the_file_says_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = torch.nn.Linear(4, 2)
    for counts, steps in ((None, 2), (False, 4)):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        settings = {} if counts is None else {"patch_optimizer_step": counts}
        folder = tmp_path / str(counts)
        folder.mkdir()
        monitor = _monitor(folder, {"param": {"enabled": True}}, **settings)

        def after(monitor: TrainerMonitorV2 = monitor) -> None:
            monitor.step()
            monitor.step()

        monitor.start(model=model, optimizer=optimizer)
        _train(model, optimizer, 2, after=after)
        assert monitor.current_step == steps
        monitor.stop()
    assert capsys.readouterr().err.count("step() is not counted") == 1


def test_chunks_have_numbers_and_micro_batches_too(tmp_path: Path) -> None:
    chunks = [torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)]
    optimizer = torch.optim.SGD([parameter for chunk in chunks for parameter in chunk.parameters()], 0.1)
    own = {"enabled": True, "monitor_mbs_grad": True, "micro_batch_number": 2, "ops": ["norm"]}
    monitor = _monitor(tmp_path, {"weight_grad": own})
    monitor.start(model=chunks, optimizer=optimizer)
    _train(torch.nn.Sequential(*chunks), optimizer, 1)
    monitor.stop()
    rows = _rows(tmp_path / "out" / "rank_0" / "weight_grad_step0-0.csv")
    found = {(row["vpp_stage"], row["module_name"], row["scope"], row["micro_step"]) for row in rows}
    names = {(str(stage), f"{stage}:{name}") for stage in range(2) for name in ("weight", "bias")}
    places = {("unreduced", "1"), ("unreduced", "2"), ("reduced", "2")}
    assert found == {(*name, *place) for name in names for place in places}


def test_what_is_not_known_or_matches_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = _monitor(tmp_path, {"module": {"targets": ["nowhere"], "ops": ["norm", "kurtosis"]}, "graph": {}})
    model = torch.nn.Linear(4, 2)
    monitor.start(model=model)
    _train(model, None, 1, after=monitor.step)
    monitor.stop()
    told = capsys.readouterr().err
    assert all(word in told for word in ("'graph'", "kurtosis", "targets"))
    assert list((tmp_path / "out" / "rank_0").iterdir()) == []


@pytest.mark.parametrize(("ranks", "is_wanted"), [([3], False), (3, False), (0, True), ([], True), (None, True)])
def test_a_rank_that_is_not_wanted_writes_nothing(ranks: Any, is_wanted: bool, tmp_path: Path) -> None:
    monitor = _monitor(tmp_path, {"module": {}}, rank=ranks)
    monitor.start(model=torch.nn.Linear(4, 2))
    monitor.step()
    monitor.stop()
    assert (tmp_path / "out").exists() == is_wanted


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"framework": "mindspore"}, "mindspore"),
        ({"format": "tensorboard"}, "csv"),
        ({"step_interval": 0}, "step_interval"),
        ({"rank": "all"}, "rank"),
        ({"monitors": [1]}, "monitors"),
        ({"monitors": {"module": True}}, "module"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict[str, Any], word: str, tmp_path: Path) -> None:
    path = tmp_path / "v2.json"
    path.write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=word) as error:
        TrainerMonitorV2(str(path))
    assert "\n" not in str(error.value)


def test_what_is_missing_at_the_start_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'weight_grad' needs an optimizer"):
        _monitor(tmp_path, {"weight_grad": {"enabled": True}}).start(model=torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"expected a torch\.nn\.Module"):
        _monitor(tmp_path, {"module": {}}).start()
