"""`SingleSave`: chosen tensors of a step, each in a file of its own, laid out as msprobe's comparison reads them.

{dump_path}/data/{name}/step{n}/rank{r}/micro_step{m}/{name}.npy    and {name}.json with its statistics
"""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ..environment import device
from ..installed import unseen
from .logging import logger


class SingleSave:
    """Save tensors by name.  One object a process, as in msprobe: constructing again hands it out.

        saver = SingleSave("./dump_path")
        saver.save({"log_probs": log_probs, "values": [first, second]})
        saver.step()

    What cannot be saved is told, and the run goes on.
    """

    _instance: ClassVar[SingleSave | None] = None

    dump_path: str
    rank: int
    step_count: int
    tag_count: Counter[str]

    def __new__(cls, dump_path: str | os.PathLike[str], fmk: str = "pytorch") -> SingleSave:
        if cls._instance is None:
            made = super().__new__(cls)
            made.dump_path = os.fspath(dump_path)
            made.rank = device.current_rank() or 0
            made.step_count = 0
            made.tag_count = Counter()
            cls._instance = made
        return cls._instance

    def save(self, data: Mapping[str, Any]) -> None:
        """Save each value, a tensor or a list, tuple or dict of tensors; the same name again is the next micro step."""
        for name, value in _named(data):
            self.save_ex({name: value}, micro_batch=self.tag_count[name])
            self.tag_count[name] += 1

    def save_ex(self, data: Mapping[str, Any], micro_batch: int | None = None) -> None:
        """`save` with a micro step of one's own, or with none."""
        for name, value in _named(data):
            folder = Path(self.dump_path) / "data" / name / f"step{self.step_count}" / f"rank{self.rank}"
            if micro_batch is not None:
                folder = folder / f"micro_step{micro_batch}"
            unseen(functools.partial(_try_to_write, folder, name, value))

    def save_config(self, data: Any) -> None:
        """Settings of the run, into configurations.json."""
        try:
            text = json.dumps(data, indent=4, default=str)
            Path(self.dump_path).mkdir(parents=True, exist_ok=True)
            (Path(self.dump_path) / "configurations.json").write_text(text, encoding="utf-8")
        except (OSError, TypeError, ValueError) as error:
            logger.warning(f"SingleSave: the configuration is not saved ({error}).")

    def step(self) -> None:
        """The step is over."""
        self.tag_count.clear()
        self.step_count += 1


def _named(data: Any) -> Iterator[tuple[str, Any]]:
    """The pairs of `data` that can be saved; the others are told."""
    if not isinstance(data, Mapping):
        logger.warning(f"SingleSave: expected a dict of tensors, found a {type(data).__name__}; nothing is saved.")
        return
    for name, value in data.items():
        if not isinstance(name, str) or os.path.basename(name) != name or name in ("", ".", ".."):
            logger.warning(f"SingleSave: {name!r} cannot name a file; its value is not saved.")
        elif not isinstance(value, (torch.Tensor, list, tuple, dict)):
            logger.warning(f"SingleSave: {name}: expected tensors, found a {type(value).__name__}; it is not saved.")
        else:
            yield name, value


def _try_to_write(folder: Path, name: str, value: Any) -> None:
    try:
        _write(folder, name, value)
    except (OSError, TypeError, RuntimeError) as error:
        logger.warning(f"SingleSave: {name} is not saved ({error}).")


def _write(folder: Path, name: str, value: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(value, torch.Tensor):
        told: Any = _save(folder / f"{name}.npy", value)
    elif isinstance(value, dict):
        told = {key: _save(folder / f"{name}.{_plain(key)}.npy", each) for key, each in value.items()}
    else:
        told = [_save(folder / f"{name}.{number}.npy", each) for number, each in enumerate(value)]
    (folder / f"{name}.json").write_text(json.dumps({"data": told}, indent=4), encoding="utf-8")


def _plain(key: object) -> str:
    return os.path.basename(str(key))


def _save(path: Path, value: Any) -> dict[str, object]:
    """Write one tensor; what is told of it."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"expected a tensor, found a {type(value).__name__}")
    whole = value.detach().cpu()
    if whole.dtype == torch.bfloat16 or (whole.dtype.itemsize == 1 and whole.dtype.is_floating_point):
        whole = whole.float()
    np.save(path, whole.numpy())
    numbers = whole.double() if not whole.is_complex() else whole.abs().double()
    has_any = numbers.numel() > 0
    return {
        "max": float(numbers.max()) if has_any else None,
        "min": float(numbers.min()) if has_any else None,
        "mean": float(numbers.mean()) if has_any else None,
        "norm": float(numbers.norm()) if has_any else None,
        "shape": list(value.shape),
    }
