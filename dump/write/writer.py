"""To disk, behind the run's back: one thread takes finished records from a bounded queue and appends them.

Nothing written is ever rewritten (`appending`).  Tensor contents are digested and written by helpers, within a budget
in bytes (`backlog`); a record is written after them.  A failure (disk full, permission) is kept and told once, by
`close`; recording stops and the training goes on.

Before the process forks, what is queued is written and the threads end; the next record starts them again.  A process
that the script keeps to one thread has one then: Python 3.12 warns of forks of others, and a lock that a thread of ours
holds at that moment would be held in the child for ever.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

from ..config import Digest
from ..format import encode
from ..format.errors import AccError, ConfigError, OutputError
from ..format.layout import CONSTRUCT_FILE, DUMP_FILE, STACK_JOURNAL
from ..record import contents, stack
from ..record.entries import Emission, Entry, Measured
from .appending import GrowingFiles
from .backlog import Backlog, Job, helpers_here
from .call_record import plain_body
from .hidden_thread import HiddenThread
from .limits import RESERVE, Room, size_text
from .output_paths import refuse_remains
from .tensor_files import tensor_store
from .tensor_record import TensorRecords

# Records go to the writer's thread many at a time: each time it wakes it takes the interpreter from the training
# thread, which gets it back milliseconds later.  Handing over every record cost more than making and writing it.
# Making them on the training thread, one by one as calls end, took a small model's step a tenth longer than this.
_BATCH = 64
_BATCH_SECONDS = 0.5
_QUEUED_BATCHES = 64
_DIGESTED_TOGETHER = 64
"""Contents: a few for each of the native core's lanes, so that these end at about the same time."""
BUDGET_BYTES = 512 << 20
"""Bytes of tensor contents that may wait, unless config.json says otherwise (`buffer_mb`)."""

_Item: TypeAlias = "list[Emission] | Job | threading.Event | None"

_writing: weakref.WeakSet[StepWriter] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Written:
    """What one closed folder holds."""

    folder: Path
    calls: int
    tensors: int
    nbytes: int
    is_cut: bool = False
    """Was something left out because it had no room (`limits`)?"""


class StepWriter:
    """Writes one step of one process into `folder`.  A recorder's sink.

    At most `budget` bytes of tensor contents wait to be digested or written (`backlog`).  In a process forked
    from this one it does nothing: the files and the threads are the parent's.  What has no `room` is left out, and
    with it all that comes after (`is_cut`); `limits.RESERVE` bytes of it must have been taken for this step.  With
    `nan_word` a statistic or an argument that is NaN is written so, as msprobe writes it and JSON does not allow.
    Raises OutputError when the folder holds a dump already or cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        header: Mapping[str, object],
        *,
        file_format: str,
        hash_name: Digest | None,
        budget: int = 512 << 20,
        helpers: int | None = None,
        room: Room | None = None,
        nan_word: bool = False,
    ) -> None:
        self.folder = folder
        self.failure: AccError | None = None
        self.is_cut = False
        self._room = room or Room()
        self._spare = RESERVE  # bytes taken of the room that this step will not need
        self._ends_here = False  # is_cut, where the writer's thread has come to
        self._files = tensor_store(folder, file_format)
        self._hash = hash_name
        self._nan: object = encode.NAN_WORD if nan_word else encode.NULL
        self._told = TensorRecords(nan=self._nan)
        self._process = os.getpid()
        self._is_inherited = False
        self._calls = self._tensors = 0
        # Each with the stack itself, which its key is good for as long as it is kept.
        self._stacks: dict[tuple[object, ...], tuple[int, stack.RawStack]] = {}
        self._texts: dict[tuple[str, ...], int] = {}
        self._queue: queue.Queue[_Item] = queue.Queue(_QUEUED_BATCHES)
        self._stores = False  # is any content in a file, which records name?
        self._batch: list[Emission] = []
        self._handing = threading.RLock()  # a script's handler of a signal may end the recording
        self._growing = GrowingFiles()
        self._backlog = Backlog(
            self._work,
            budget=budget,
            helpers=helpers_here() if helpers is None else helpers,
            together=_DIGESTED_TOGETHER if hash_name == "md5" else 1,
            yields=hash_name is not None or file_format != "pack",
        )
        self._open(header)
        self._thread: HiddenThread | None = None
        self._waking = threading.Lock()
        self._wake()
        _writing.add(self)

    def _open(self, header: Mapping[str, object]) -> None:
        try:
            refuse_remains(self.folder)
            self._files.make()
            self._journal: IO[bytes] | None = None
            self._construct = self._growing.open(self.folder / CONSTRUCT_FILE, encode.CONSTRUCT_OPENING)
            self._records = self._growing.open(self.folder / DUMP_FILE, encode.opening(header))
            self._spare -= self._growing.nbytes
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    # ---- the training thread's side

    def record(self, emission: Emission) -> None:
        """Queue a record; the thread takes it when 64 are together, and within half a second."""
        if self._takes():
            if self._thread is None:
                self._wake()
            with self._handing:
                self._batch.append(emission)
            if len(self._batch) >= _BATCH:
                self._hand_over(waits=True)

    def _hand_over(self, *, waits: bool) -> None:
        """The records that wait here, into the queue; without `waits` only where it has room at once."""
        with self._handing:
            if self._batch:
                try:
                    self._queue.put(self._batch, block=waits)
                except queue.Full:
                    return
                self._batch = []

    def store(self, measured: Measured, place: str | None, payload: contents.Contents) -> None:
        """Queue contents for a file named after `place`, or to be digested without one.

        On return the run may write to the tensor that `payload` was borrowed from.
        """
        if not self._takes():
            return
        self._wake()
        if place is not None:
            self._stores = True
            self._hand_over(waits=True)  # a disk that this fills has still room for the records before it
        job = Job(measured, place, payload)
        if place is not None:
            job.reserved = self._files.most_bytes(payload)
            if not self._room.has(job.reserved) and not self._takes_when_all_is_written(job.reserved):
                return
            try:
                job.spot = self._files.reserve(payload)
            except ConfigError as error:  # no place for this dtype: the other tensors have one
                measured.failure = str(error)
                self._room.give_back(job.reserved)
                return
        self._backlog.add(job, self._queue.put)

    def _takes_when_all_is_written(self, nbytes: int) -> bool:
        """Is there room once everything queued has given back what it did not need?"""
        written = threading.Event()
        with self._backlog.hurried():
            self._queue.put(written)
            written.wait()
        self.is_cut = self.is_cut or not self._room.take(nbytes)
        return not self.is_cut

    def rest(self) -> None:
        """Write what is queued and end the threads, until there is something to write again."""
        if os.getpid() == self._process and self._thread is not None:
            self._end_threads()

    def leave_to_the_parent(self) -> None:
        """Take nothing more: this process is a child of the one whose files these are."""
        self._is_inherited = True

    def _wake(self) -> None:
        with self._waking:
            if self._thread is None:
                self._thread = HiddenThread(self._run)

    def _end_threads(self, *, helps: bool = True) -> None:
        self._hand_over(waits=True)
        with self._backlog.hurried():
            self._queue.put(None)
            if helps:
                self._backlog.help()
            thread = self._thread
            assert thread is not None
            thread.join()
        self._thread = None
        self._backlog.close()

    def _takes(self) -> bool:
        return self.failure is None and not self.is_cut and not self._is_inherited

    def close(self, trailer: Mapping[str, object], *, helps: bool = True) -> Written:
        """Write what is queued, end the files properly, and raise the failure if there was one.

        The caller works along on what is queued, unless it only waits beside a run that goes on.
        """
        if os.getpid() == self._process:
            _writing.discard(self)
            self._wake()
            self._end_threads(helps=helps)
            try:
                self._finish(trailer)
            except OSError as error:
                self.failure = self.failure or _unwritable(self.folder, error)
            if self.failure is not None:
                raise self.failure
        return Written(self.folder, self._calls, self._tensors, self._growing.nbytes, self.is_cut)

    def _finish(self, trailer: Mapping[str, object]) -> None:
        if self.is_cut:
            trailer = {**trailer, "complete": False, "ended_by": f"max_bytes ({size_text(self._room.limit or 0)})"}
        try:
            if self.failure is None:
                end = encode.closing(trailer)
                self._growing.gather(self._records, end)
                self._growing.gather(self._construct, encode.CONSTRUCT_CLOSING)
                self._growing.flush()
                self._spare -= len(end) + len(encode.CONSTRUCT_CLOSING)
                os.stat(self.folder / DUMP_FILE)  # raises where it was removed, which writing to it does not
        finally:
            for handle in (self._records, self._construct, self._journal):
                if handle is not None:
                    handle.close()
            self._files.close()
        if self.failure is None:
            encode.finish_stacks(self.folder)
        self._files.tidy()
        self._room.give_back(self._spare)

    # ---- the writer's threads

    def _run(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._take(item)
            except OSError as error:
                self._fail(_unwritable(self.folder, error))
            except AccError as error:
                self._fail(error)
            except Exception as error:  # this thread's edge: a failure here must reach the user, not vanish
                self._fail(OutputError(f"{self.folder}: a record could not be written ({error!r})"))

    def _next(self) -> _Item:
        while True:
            try:
                return self._queue.get(timeout=_BATCH_SECONDS)
            except queue.Empty:
                self._hand_over(waits=False)

    def _fail(self, error: AccError) -> None:
        self.failure = self.failure or error

    def _take(self, item: list[Emission] | Job | threading.Event) -> None:
        if isinstance(item, threading.Event):
            item.set()
            return
        if isinstance(item, Job):
            self._backlog.finish(item)
            goes_on = self.failure is None and not self._ends_here
            if item.file is not None and item.place is not None and goes_on:
                item.measured.data_name = self._files.show(item.file, item.place)
                self._growing.nbytes += item.written
            self._room.give_back(item.reserved - item.written)
            return
        try:
            for emission in item:
                if self.failure is None:
                    self._put_down(emission)
        finally:
            self._growing.flush()

    # ---- one record

    def _put_down(self, item: Emission) -> None:
        """Make the bytes of one record; the first that has no room ends the step."""
        if self._ends_here:
            return
        tensors = self._tensors
        body = plain_body(item, self._tensor, nan=self._nan, is_named=self._stores)
        first = self._calls == 0
        record = encode.record(item.name, body, first=first)
        owner = encode.record(item.name, item.owner, first=first)
        journal = b"" if item.stack is None else self._stack_lines(item.name, item.stack)
        if not self._room.take(len(record) + len(owner) + 2 * len(journal)):  # stack.json is written beside its journal
            self._tensors = tensors
            self.is_cut = self._ends_here = True
            return
        self._spare += len(journal)
        self._growing.gather(self._records, record)
        self._growing.gather(self._construct, owner)
        if journal:
            if self._journal is None:
                self._journal = self._growing.open(self.folder / STACK_JOURNAL, b"")
            self._growing.gather(self._journal, journal)
        self._calls += 1

    def _stack_lines(self, name: str, raw: stack.RawStack) -> bytes:
        """What the journal is to hold of a call's stack: the stack where it is new, and that the call had it."""
        new = b""
        key = stack.key(raw)
        if key in self._stacks:
            number, _ = self._stacks[key]
        else:
            text = tuple(stack.render(raw))
            if text not in self._texts:
                self._texts[text] = len(self._texts)
                new = encode.stack_line(self._texts[text], text)
            number = self._texts[text]
            self._stacks[key] = number, raw
        return new + encode.stack_use_line(name, number)

    def _work(self, jobs: list[tuple[Job, contents.Contents]]) -> None:
        """Digest contents, or write one where nobody looks yet; on any thread."""
        if self.failure is not None or self._ends_here:
            return
        (job, payload), *others = jobs
        if job.place is None:
            assert self._hash is not None
            found = contents.digests([payload, *(each for _, each in others)], self._hash)
            for (each, _), text in zip(jobs, found, strict=True):
                each.measured.md5 = text
            return
        try:
            job.written = self._files.write(job.spot, payload)
            job.file = job.spot
        except ConfigError as error:
            job.measured.failure = str(error)

    def _tensor(self, entry: Entry, place: str) -> object:
        self._tensors += 1
        name = None if entry.measured is None else entry.measured.data_name
        return self._told.of(entry, None if name is None else self._files.name_for(name, place))


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder}: cannot be written ({error.strerror or error}). Free space or give another dump_path;"
        " what was written before is kept."
    )


def _rest_before_fork() -> None:
    for writer in list(_writing):
        with contextlib.suppress(Exception):  # the script's fork goes on; what cannot be written is told by `close`
            writer.rest()


def _leave_to_the_parent() -> None:
    for writer in list(_writing):
        writer.leave_to_the_parent()


os.register_at_fork(before=_rest_before_fork, after_in_child=_leave_to_the_parent)
