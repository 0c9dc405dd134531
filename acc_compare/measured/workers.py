"""Helper processes that measure tensor files: `python -m acc_compare.measured.workers NPU_FOLDER BENCH_FOLDER`.

Threads would share the interpreter's lock, which each call of numpy gives back and takes again: two of them got 1.2
cores' work out of two.  These are processes of their own, not forked ones, so that neither the threads of the caller
nor a script without a guard around its main part stands in their way.

They talk over pipes: a message is its length in 4 bytes, then MessagePack.  A helper ends with its caller, when its
standard input does.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
from pathlib import Path
from typing import IO, TypeAlias

import msgspec

from acc_compare.metrics.blocks import Spread
from acc_compare.metrics.distance import TensorDistance, measure
from dump.format.errors import AccError, TensorFileError
from dump.format.paths import from_home
from dump.format.tensors import read_tensor

Folders: TypeAlias = "tuple[Path, Path]"
Names: TypeAlias = "tuple[str, str]"

_LENGTH_BYTES = 4
_SECONDS_TO_END = 5.0
_ROOT = Path(__file__).resolve().parents[2]


class _Answer(msgspec.Struct):
    """`failure` is the one line for the user where a file could not be read."""

    distance: TensorDistance | None = None
    failure: str | None = None


_encode = msgspec.msgpack.encode
_names_of = msgspec.msgpack.Decoder(tuple[str, str]).decode
_answer_of = msgspec.msgpack.Decoder(_Answer).decode


def file_distance(folders: Folders, names: Names, spread: Spread = map) -> TensorDistance | None:
    """The distance of two tensor files; None where their shapes differ.  Raises TensorFileError."""
    npu, bench = (read_tensor(folder, name) for folder, name in zip(folders, names, strict=True))
    return measure(npu, bench, spread=spread) if npu.shape == bench.shape else None


class Team:
    """`size` helper processes for two folders.  A context manager: on leaving it they are gone."""

    def __init__(self, folders: Folders, size: int) -> None:
        self._members = [_start(folders) for _ in range(size)]
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for member in self._members:
            self._idle.put(member)

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            assert member.stdin is not None
            with contextlib.suppress(OSError):
                member.stdin.close()
        for member in self._members:
            try:
                member.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:  # in the middle of a large tensor that nobody waits for any more
                member.kill()
                member.wait()
            assert member.stdout is not None
            member.stdout.close()

    def distance(self, names: Names) -> TensorDistance | None:
        """`file_distance` by a helper; waits for one that is free.  Any number of threads may call it.

        Raises TensorFileError as it does, AccError where the helper is killed.
        """
        member = self._idle.get()
        assert member.stdin is not None
        assert member.stdout is not None
        try:
            _send(member.stdin, _encode(names))
            message = _receive(member.stdout)
        except OSError:
            message = None
        finally:
            self._idle.put(member)
        if message is None:
            raise AccError(
                f"a helper process ended while it measured {names[0]} and {names[1]} (out of memory?)."
                " Compare with --jobs 1."
            )
        answer = _answer_of(message)
        if answer.failure is not None:
            raise TensorFileError(answer.failure)
        return answer.distance


def _start(folders: Folders) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", __spec__.name, *(str(folder.resolve()) for folder in folders)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,  # `-m` looks there first: at this package, whatever the caller's folder holds
    )


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None at the end."""
    head = stream.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    message = stream.read(length)
    return message if len(message) == length else None


def main(npu: str, bench: str) -> None:
    """Answer until the caller has no more questions."""
    folders = from_home(npu), from_home(bench)
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):  # the caller says what there is to say
        while (question := _receive(questions)) is not None:
            try:
                answer = _Answer(file_distance(folders, _names_of(question)))
            except TensorFileError as error:
                answer = _Answer(failure=str(error))
            _send(answers, _encode(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
