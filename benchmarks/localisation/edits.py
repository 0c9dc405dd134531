"""Ways to be wrong that fit any kernel: its result, or what it reads, is edited."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.localisation.launches import Array, Change, Launch, change, floats, fresh, rounded, view


def _edit(name: str) -> Callable[[Callable[[Array, float], None]], Change]:
    """Register an edit of the kernel's first floating result, in place."""

    def enter(edit: Callable[[Array, float], None]) -> Change:
        @change(name)
        def run(launch: Launch, value: float) -> Any:
            result = launch.genuine()
            edit(view(next(floats(result))), value)
            return result

        return run

    return enter


def _edit_all(name: str) -> Callable[[Callable[[Array, float], None]], Change]:
    """Register an edit of all the kernel's floating results, in place."""

    def enter(edit: Callable[[Array, float], None]) -> Change:
        @change(name)
        def run(launch: Launch, value: float) -> Any:
            result = launch.genuine()
            for tensor in floats(result):
                edit(view(tensor), value)
            return result

        return run

    return enter


@_edit("scale")
def _scale(x: Array, value: float) -> None:
    x *= x.dtype.type(value)


@_edit_all("bf16")
def _bf16(x: Array, value: float) -> None:
    x[...] = rounded(x, 7)


@_edit_all("fp16")
def _fp16(x: Array, value: float) -> None:
    with np.errstate(over="ignore"):
        x[...] = x.astype(np.float16)


@_edit("noise")
def _noise(x: Array, value: float) -> None:
    """Every element off by a random share of itself, of `value` root mean square; the same on every run."""
    factors = 1.0 + value * np.random.default_rng(0).standard_normal(x.shape)
    x[...] = x * factors


@_edit("channel")
def _channel(x: Array, value: float) -> None:
    """One channel (index 1 of dimension 1) times `value`."""
    x[:, 1] *= x.dtype.type(value)


@_edit("last_axis_channel")
def _last_axis_channel(x: Array, value: float) -> None:
    """One feature (index 3 of the last dimension) times `value`."""
    x[..., 3] *= x.dtype.type(value)


@_edit("head")
def _head(x: Array, value: float) -> None:
    """One head times `value`: index 2 of four in the first dimension of a batched product (batch x heads, ...)."""
    x[2::4] *= x.dtype.type(value)


@_edit("last_tile")
def _last_tile(x: Array, value: float) -> None:
    """The last elements along the last dimension are lost, as from a kernel that drops its ragged end."""
    x[..., x.shape[-1] - int(value) :] = 0


@_edit("last_rows")
def _last_rows(x: Array, value: float) -> None:
    """Rows after a length are wrong."""
    x[x.shape[0] - int(value) :] *= x.dtype.type(0.5)


@_edit("nan")
def _nan(x: Array, value: float) -> None:
    x.reshape(-1)[int(value) % x.size] = np.nan


@_edit("inf")
def _inf(x: Array, value: float) -> None:
    x.reshape(-1)[int(value) % x.size] = np.inf


@_edit("shift")
def _shift(x: Array, value: float) -> None:
    """Read one place off along the last dimension."""
    x[...] = np.roll(x, int(value), -1)


@_edit("swap_rows")
def _swap_rows(x: Array, value: float) -> None:
    """The first two rows change places."""
    x[[0, 1]] = x[[1, 0]]


@_edit("transposed")
def _transposed(x: Array, value: float) -> None:
    """Written column by column where rows were meant."""
    flat = np.ascontiguousarray(np.swapaxes(x, -1, -2)).reshape(x.shape)
    x[...] = flat


@_edit("scattered")
def _scattered(x: Array, value: float) -> None:
    """One element in 97 is off by a share `value`."""
    flat = x.reshape(-1)
    flat[::97] *= x.dtype.type(1 + value)


@_edit("one_element")
def _one_element(x: Array, value: float) -> None:
    """One element is off by a share `value` of the tensor's largest."""
    flat = x.reshape(-1)
    flat[flat.size // 2] += x.dtype.type(value) * np.abs(flat).max()


@_edit("nan_above")
def _nan_above(x: Array, value: float) -> None:
    """NaN above the diagonal, where a causal mask hides them."""
    x[..., np.triu(np.ones(x.shape[-2:], bool), 1)] = np.nan


@_edit("inf_above")
def _inf_above(x: Array, value: float) -> None:
    x[..., np.triu(np.ones(x.shape[-2:], bool), 1)] = np.inf


@_edit("gain_of_first")
def _gain_of_first(x: Array, value: float) -> None:
    """Wrong broadcasting along the rows: every row is off by the share by which its number differs from the first."""
    rows = np.arange(x.shape[-2], dtype=x.dtype)[:, None]
    x *= 1 + x.dtype.type(value) * rows


def _second(name: str, index: int) -> None:
    @change(name)
    def run(launch: Launch, value: float) -> Any:
        result = launch.genuine()
        tensors = [tensor for tensor in result if tensor is not None]
        view(tensors[index])[...] *= view(tensors[index]).dtype.type(value)
        return result


_second("scale_second", 1)


@change("reads_bf16")
def _reads_bf16(launch: Launch, value: float) -> Any:
    """What the kernel reads is rounded to bfloat16 first, as on a matrix unit that takes no float32."""
    launch.genuine()
    return launch.on(*_each(launch.arguments, lambda x: rounded(x, 7)))


@change("reads_fp16")
def _reads_fp16(launch: Launch, value: float) -> Any:
    launch.genuine()
    return launch.on(*_each(launch.arguments, lambda x: x.astype(np.float16).astype(x.dtype)))


@change("reads_tf32")
def _reads_tf32(launch: Launch, value: float) -> Any:
    """Ten bits of mantissa are read: TF32 on a GPU, HF32 on an NPU."""
    launch.genuine()
    return launch.on(*_each(launch.arguments, lambda x: rounded(x, 10)))


def _each(arguments: Any, edit: Callable[[Array], Array]) -> list[Any]:
    tensors = {id(tensor) for tensor in floats(arguments)}
    return [fresh(edit(view(item)), item) if id(item) in tensors else item for item in arguments]


@change("overwrites_input")
def _overwrites_input(launch: Launch, value: float) -> Any:
    """The result is right, but the buffer that was read is used as scratch space and left so."""
    result = launch.genuine()
    tensor = next(floats(launch.arguments))
    view(tensor)[0] *= view(tensor).dtype.type(value)
    launch.overwritten.append(tensor)
    return result


@change("stale")
def _stale(launch: Launch, value: float) -> Any:
    """The result of the call before, of the same shape, is handed out again."""
    result = launch.genuine()
    out = view(next(floats(result)))
    before, launch.memory["last"] = launch.memory.get("last"), out.copy()
    if before is not None and before.shape == out.shape:
        out[...] = before
    return result


@change("stale_tail")
def _stale_tail(launch: Launch, value: float) -> Any:
    """The last eighth of the buffer still holds what the call before wrote there."""
    result = launch.genuine()
    out = view(next(floats(result)))
    before, launch.memory["last"] = launch.memory.get("last"), out.copy()
    if before is not None and before.shape == out.shape:
        flat = out.reshape(-1)
        tail = flat.size - flat.size // 8
        flat[tail:] = before.reshape(-1)[tail:]
    return result


@change("scale_in_place")
def _scale_in_place(launch: Launch, value: float) -> Any:
    """What an operator writes into its first argument, times `value`."""
    tensor = next(floats(launch.arguments))
    launch.genuine()
    view(tensor)[...] *= view(tensor).dtype.type(value)
    return tensor


@change("scale_update")
def _scale_update(launch: Launch, value: float) -> Any:
    """What an operator adds to its first argument, times `value`."""
    tensor = next(floats(launch.arguments))
    before = view(tensor).copy()
    launch.genuine()
    view(tensor)[...] = before + view(tensor).dtype.type(value) * (view(tensor) - before)
    return tensor


def _argument(index: int) -> None:
    @change(f"argument_{index}")
    def run(launch: Launch, value: float) -> Any:
        """Another constant than the one that was asked for."""
        launch.genuine()
        return launch.on(*launch.arguments[:index], value, *launch.arguments[index + 1 :])


for _index in (1, 4):
    _argument(_index)


@change("reads_scaled")
def _reads_scaled(launch: Launch, value: float) -> Any:
    """What the kernel reads first, times `value`."""
    launch.genuine()
    first = launch.arguments[0]
    return launch.on(fresh(view(first) * value, first), *launch.arguments[1:])


def _of_any_type(name: str) -> Callable[[Callable[[Array, float], Array]], Change]:
    """Register an edit of the kernel's first floating result, given and taken in float64."""

    def enter(edit: Callable[[Array, float], Array]) -> Change:
        @change(name)
        def run(launch: Launch, value: float) -> Any:
            result = launch.genuine()
            for tensor in itertools.islice(floats(result), 1):  # none of integers
                found = view(tensor)
                found[...] = edit(found.astype(np.float64), value).astype(found.dtype)
            return result

        return run

    return enter


@_of_any_type("times")
def _times(x: Array, value: float) -> Array:
    """All elements off by a share `value`."""
    return x * (1 + value)


def _off_in_part(x: Array, value: float, part: tuple[slice, ...]) -> Array:
    """A part is off, so that the whole is off by about a share `value`: a smaller share by more, at most by half."""
    x[part] *= 1 + float(np.clip(3 * value, -0.5, 0.5))
    return x


@_of_any_type("rows")
def _rows(x: Array, value: float) -> Array:
    return _off_in_part(x, value, (slice(0, max(1, len(x) // 8)),) if x.ndim else ())


@_of_any_type("tail")
def _tail(x: Array, value: float) -> Array:
    """The last eighth of each row, as from a kernel whose last tile goes wrong."""
    return _off_in_part(x, value, (..., slice(-max(1, x.shape[-1] // 8), None)) if x.ndim else ())  # type: ignore[arg-type]


@_of_any_type("features")
def _features(x: Array, value: float) -> Array:
    return _off_in_part(x, value, (..., slice(0, None, 8)) if x.ndim else ())  # type: ignore[arg-type]


@_of_any_type("shift_up")
def _shift_up(x: Array, value: float) -> Array:
    """All elements moved by a share `value` of their root mean square: a bias."""
    return x + value * float(np.sqrt(np.mean(np.square(x)))) if x.size else x


@_of_any_type("spoiled")
def _spoiled(x: Array, value: float) -> Array:
    return x * (1 + value * np.random.default_rng(0).standard_normal(x.shape))


@change("update_times")
def _update_times(launch: Launch, value: float) -> Any:
    """What an optimizer's kernel adds to the parameters it is given first is off by a share `value`."""
    tensors = launch.written = list(floats(launch.arguments[0]))
    before = [view(tensor).copy() for tensor in tensors]
    result = launch.genuine()
    launch.wanted = [view(tensor).copy() for tensor in tensors]
    for tensor, old in zip(tensors, before, strict=True):
        view(tensor)[...] = old + (1 + value) * (view(tensor) - old)
    return result
