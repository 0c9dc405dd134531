"""To disk, behind the run's back: one thread takes finished records from a bounded queue and appends them.

Nothing written is ever rewritten, so a process killed at any moment loses at worst what was still queued and the last
partial line.  Tensor contents are held to a budget in bytes; a recorder that is ahead of the disk waits.  A failure
(disk full, permission) is kept and told once, by `close`; recording stops and the training goes on.
"""

from __future__ import annotations

import base64
import hashlib
import math
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import torch

from .format import encode, tensors
from .format.errors import AccError, OutputError
from .format.layout import CONSTRUCT_FILE, DUMP_FILE, STACK_JOURNAL, TENSOR_FOLDER
from .record import contents, stack, tree
from .record.recorder import Emission, Entry, Measured

_QUEUED_RECORDS = 4096
_BUDGET_BYTES = 1 << 30
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class _Store:
    """Tensor contents to be written to a file, or to be digested where `place` is None."""

    measured: Measured
    place: str | None
    payload: contents.Contents


_Item: TypeAlias = "Emission | _Store | None"


@dataclass(frozen=True, slots=True)
class Written:
    """What one closed folder holds."""

    folder: Path
    calls: int
    tensors: int
    nbytes: int


class StepWriter:
    """Writes one step of one process into `folder`.  A recorder's sink.

    Raises OutputError when the folder holds a dump already or cannot be made.
    """

    def __init__(self, folder: Path, header: Mapping[str, object], *, file_format: str, hash_name: str) -> None:
        self.folder = folder
        self._file_format = file_format
        self._hash = hash_name
        self._owners: dict[str, str | None] = {}
        self._stacks: dict[stack.RawStack, int] = {}
        self._calls = self._tensors = self._nbytes = 0
        self._queue: queue.Queue[_Item] = queue.Queue(_QUEUED_RECORDS)
        self._budget = threading.Condition()
        self._in_flight = 0
        self.failure: AccError | None = None
        self._open(header)
        self._thread = threading.Thread(target=self._run, name="dump-writer", daemon=True)
        self._thread.start()

    def _open(self, header: Mapping[str, object]) -> None:
        if (self.folder / DUMP_FILE).exists():
            raise OutputError(f"{self.folder}: holds a dump already. Give another dump_path, or move it away.")
        try:
            (self.folder / TENSOR_FOLDER).mkdir(parents=True, exist_ok=True)
            self._records = self._append(DUMP_FILE, encode.opening(header))
            self._construct = self._append(CONSTRUCT_FILE, encode.CONSTRUCT_OPENING)
            self._journal: IO[bytes] | None = None
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def _append(self, name: str, start: bytes) -> IO[bytes]:
        handle = (self.folder / name).open("xb", buffering=0)
        self._write(handle, start)
        return handle

    def _write(self, handle: IO[bytes], data: bytes) -> None:
        """All of `data`: an unbuffered file may take less, and says how much."""
        rest = memoryview(data)
        while rest:
            taken = handle.write(rest)
            rest = rest[taken:]
        self._nbytes += len(data)

    # ---- the training thread's side

    def record(self, emission: Emission) -> None:
        if self.failure is None:
            self._queue.put(emission)

    def store(self, measured: Measured, place: str | None, payload: contents.Contents) -> None:
        """Queue contents; waits while a gigabyte is on its way already."""
        if self.failure is not None:
            return
        with self._budget:
            while self._in_flight and self._in_flight + payload.nbytes > _BUDGET_BYTES and self.failure is None:
                self._budget.wait(1.0)
            self._in_flight += payload.nbytes
        self._queue.put(_Store(measured, place, payload))

    def close(self, trailer: Mapping[str, object]) -> Written:
        """Write what is queued, end the files properly, and raise the failure if there was one."""
        self._queue.put(None)
        self._thread.join()
        try:
            if self.failure is None:
                self._write(self._records, encode.closing(trailer))
                self._write(self._construct, encode.CONSTRUCT_CLOSING)
                if self._journal is not None:
                    self._journal.close()
                    encode.finish_stacks(self.folder)
        except OSError as error:
            self.failure = _unwritable(self.folder, error)
        finally:
            for handle in (self._records, self._construct, self._journal):
                if handle is not None:
                    handle.close()
        if not any((self.folder / TENSOR_FOLDER).iterdir()):
            (self.folder / TENSOR_FOLDER).rmdir()
        if self.failure is not None:
            raise self.failure
        return Written(self.folder, self._calls, self._tensors, self._nbytes)

    # ---- the writer's thread

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if self.failure is None:
                    self._take(item)
            except OSError as error:
                self.failure = _unwritable(self.folder, error)
            except AccError as error:
                self.failure = error
            except Exception as error:  # this thread's edge: a failure here must reach the user, not vanish
                self.failure = OutputError(f"{self.folder}: a record could not be written ({error!r})")
            finally:
                if isinstance(item, _Store):
                    with self._budget:
                        self._in_flight -= item.payload.nbytes
                        self._budget.notify_all()

    def _take(self, item: Emission | _Store) -> None:
        if isinstance(item, _Store):
            self._store(item)
            return
        body = {
            key: value if key == "is_recompute" else self._plain(value) for key, value in item.body.items()
        }
        self._write(self._records, encode.record(item.name, body, first=self._calls == 0))
        self._calls += 1
        self._own(item.name, item.owner)
        if item.stack is not None:
            self._note_stack(item.name, item.stack)

    def _own(self, name: str, owner: str | None) -> None:
        self._write(self._construct, encode.record(name, owner, first=not self._owners))
        self._owners[name] = owner

    def _note_stack(self, name: str, raw: stack.RawStack) -> None:
        if self._journal is None:
            self._journal = (self.folder / STACK_JOURNAL).open("xb", buffering=0)
        number = self._stacks.get(raw)
        if number is None:
            number = self._stacks[raw] = len(self._stacks)
            self._write(self._journal, encode.stack_line(number, stack.render(raw)))
        self._write(self._journal, encode.stack_use_line(name, number))

    def _store(self, item: _Store) -> None:
        if item.place is None:
            item.measured.md5 = contents.digest(item.payload, self._hash)
            return
        name = f"{file_stem(item.place)}.{self._file_format}"
        write = _WRITERS[self._file_format]
        self._nbytes += write(
            self.folder / TENSOR_FOLDER / name,
            data=item.payload.data,
            dtype=item.payload.dtype,
            shape=item.payload.shape,
        )
        item.measured.data_name = name

    def _plain(self, captured: Any) -> Any:
        """A captured argument as JSON's own types, laid out as msprobe lays it out."""
        if isinstance(captured, Entry):
            self._tensors += 1
            return _tensor_record(captured)
        if isinstance(captured, list):
            return [self._plain(item) for item in captured]
        if isinstance(captured, dict):
            return {key: self._plain(item) for key, item in captured.items()}
        if isinstance(captured, tree.Plain):
            return {"type": captured.type, "value": encode.plain(captured.value)}
        if captured is None:
            return None
        return {"type": type(captured).__name__, "value": encode.plain(captured)}


def _write_pt(path: Path, /, *, data: memoryview | bytes, dtype: str, shape: tuple[int, ...]) -> int:
    """As msprobe stores tensors: torch.save of one tensor.  Slower to write and to read than the others."""
    kind = getattr(torch, dtype.removeprefix("torch."))
    flat = torch.frombuffer(bytearray(data), dtype=kind) if len(data) else torch.empty(0, dtype=kind)
    torch.save(flat.view(shape), path)
    return path.stat().st_size


_WRITERS = {"safetensors": tensors.write_tensor, "npy": tensors.write_npy, "pt": _write_pt}


def _tensor_record(entry: Entry) -> dict[str, object]:
    record: dict[str, object] = {
        "type": "torch.Tensor",
        "dtype": str(entry.dtype),
        "shape": list(entry.shape),
    }
    measured = entry.measured
    if measured is not None and measured.statistics is not None:
        found = measured.statistics
        record["Max"], record["Min"] = _number(found.max), _number(found.min)
        record["Mean"], record["Norm"] = _number(found.mean), _number(found.norm)
    record["requires_grad"] = entry.requires_grad
    if measured is not None:
        if measured.md5 is not None:
            record["md5"] = measured.md5
        if measured.data_name is not None:
            record["data_name"] = measured.data_name
        if measured.statistics is not None:
            if measured.statistics.nan:
                record["nan"] = measured.statistics.nan
            if measured.statistics.inf:
                record["inf"] = measured.statistics.inf
            if measured.statistics.sketch is not None:
                raw = measured.statistics.sketch.astype("<f4").tobytes()
                record["sketch"] = base64.b64encode(raw).decode("ascii")
    if entry.identity is not None:
        record["value"] = entry.identity.value
        record["storage"] = entry.identity.storage
    if entry.grad_fn is not None:
        record["grad_fn"] = entry.grad_fn
    if entry.unrecorded is not None:
        record["unrecorded"] = entry.unrecorded
    return record


def _number(value: float | int | None) -> object:
    return value if value is None or isinstance(value, int) or math.isfinite(value) else encode.plain(value)


def file_stem(place: str) -> str:
    """A file name for `Functional.conv2d.0.forward.input.0`; long or unsafe ones end in a hash of the whole."""
    safe = "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in place)
    if safe == place and len(safe) <= _LONGEST_NAME:
        return safe
    return f"{safe[:_LONGEST_NAME]}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder}: cannot be written ({error.strerror or error}). Free space or give another dump_path;"
        " what was written before is kept."
    )
