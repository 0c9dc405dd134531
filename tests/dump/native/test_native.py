"""The native core beside what it stands for: the sketch's signs, torch's conversions, the sums in Python."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dump import native
from dump.format import sketch, waves
from dump.record import statistics
from dump.record.contents import real_contiguous

ROOT = Path(__file__).parents[3]
FLOATS = [name for name in native.DTYPES if "float" in name and hasattr(torch, name)]
SHAPES = [(1,), (255,), (257,), (5000,), (4, 8), (300, 10), (7, 1), (1, 1, 5), (6, 1000), (3, 4097), (9, 2, 3)]
SHAPES += [(40, 64), (3, 64, 7, 7), (50, 257), (2,) * 13, (1, 300, 1, 2)]
needs_core = pytest.mark.skipif(native.core is None, reason=f"the native core is {native.state}")


def _code(dtype: torch.dtype) -> int:
    return native.DTYPES.index(str(dtype).removeprefix("torch."))


def _both(tensor: torch.Tensor) -> tuple[statistics.Statistics, statistics.Statistics]:
    return statistics.measure(tensor), statistics._measure_in_python(real_contiguous(tensor))


@needs_core
def test_the_signs_are_the_sketchs() -> None:
    columns, rows = native.core.signs()
    assert columns == sketch.column_signs().tobytes()
    assert rows == sketch.row_signs().tobytes()


@needs_core
@pytest.mark.parametrize("name", [name for name in FLOATS if getattr(torch, name).itemsize <= 2])
def test_every_narrow_float_is_what_torch_makes_of_it(name: str) -> None:
    dtype = getattr(torch, name)
    bits = torch.arange(1 << 8 * dtype.itemsize, dtype=torch.int32)
    values = bits.to(torch.uint8 if dtype.itemsize == 1 else torch.int16).view(dtype)
    found = []
    for number in range(values.numel()):
        high, low, *_ = native.core.measure(values.data_ptr() + number * dtype.itemsize, _code(dtype), 1)
        assert high == low or high != high
        found.append(high)
    expected = values.to(torch.float64)
    assert torch.equal(torch.tensor(found, dtype=torch.float64).nan_to_num(0.125), expected.nan_to_num(0.125))


@needs_core
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", SHAPES)
def test_waves_are_those_of_the_format(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    tensor = (torch.randn(shape) * 3).to(dtype)
    for each in (tensor, tensor.transpose(0, -1)):
        found = statistics.measure(each, waves=True)
        assert found == msgspec.structs.replace(statistics.measure(each), waves=found.waves)
        wanted = waves.of(each.to(torch.float64).numpy().reshape(-1), tuple(each.shape))
        apart = waves.from_bytes(found.waves or b"") - wanted
        assert np.abs(apart).max() <= 4e-7 * float(each.double().norm()) + 1e-12


@needs_core
@pytest.mark.parametrize("bad", [[], [math.nan], [math.nan, math.inf], [1e30], [-1e9]])
def test_waves_leave_out_what_the_sketch_does(bad: list[float]) -> None:
    tensor = torch.randn(20, 300)
    tensor.view(-1)[7 : 7 + len(bad)] = torch.tensor(bad)
    source = real_contiguous(tensor)
    ours, theirs = (
        waves.from_bytes(each.waves or b"")
        for each in (statistics.measure(tensor, waves=True), statistics._measured_in_python(source, waves=True))
    )
    assert np.abs(ours - theirs).max() <= 1e-6 * float(np.abs(theirs).max())


@needs_core
@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.integers(1, 600), st.integers(3900, 9000), st.integers(60_000, 140_000)),
    st.integers(0, 2**32),
    st.sampled_from([*FLOATS, "int64", "int32", "uint8", "bool"]),
    st.sampled_from([0.0, 1e-25, 1.0, 1e4, 1e25]),
    st.sampled_from([None, np.nan, np.inf, -1e9]),
)
def test_the_numbers_are_those_of_the_path_in_python(
    count: int, seed: int, name: str, scale: float, planted: float | None
) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    if "float" in name and planted is not None:
        values[seed % count] = planted
    elif "float" not in name:
        values.clamp_(-100, 100)
    ours, theirs = _both(values.to(getattr(torch, name)))
    for mine, other in ((ours.max, theirs.max), (ours.min, theirs.min)):
        assert mine == other or (mine != mine and other != other)
    assert type(ours.max) is type(theirs.max)
    assert (ours.nan, ours.inf) == (theirs.nan, theirs.inf)
    assert ours.norm == pytest.approx(theirs.norm, rel=1e-6, nan_ok=True)
    # A mean and a bucket are sums whose terms cancel: they are as near as their terms are large.
    length = float(np.linalg.norm(theirs.sketch.astype(np.float64)))
    size = theirs.norm if np.isfinite(theirs.norm) else length
    assert ours.mean == pytest.approx(theirs.mean, abs=1e-6 * size / count**0.5, nan_ok=True)
    assert np.abs(ours.sketch.astype(np.float64) - theirs.sketch).max() <= 1e-6 * max(size, length)


@needs_core
@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16", "int8", "float8_e5m2"])
def test_strided_memory_is_read_in_its_order(name: str) -> None:
    dense = (torch.randn(7, 5, 3, 130) * 50).to(getattr(torch, name))
    for view in (
        dense.permute(3, 1, 0, 2),
        dense[::2, :, 1:],
        dense[:, :1].expand(7, 9, 3, 130),
        dense.permute(1, 0, 3, 2),
    ):
        copied = view.contiguous()
        found = native.core.measure(view.data_ptr(), _code(view.dtype), view.numel(), tuple(view.shape), view.stride())
        assert found == native.core.measure(copied.data_ptr(), _code(view.dtype), copied.numel())


@needs_core
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ((0, 1, 1), ValueError),
        ((8, 99, 1), ValueError),
        ((8, -1, 1), ValueError),
        ((8, 1, 0), ValueError),
        ((8, 1, 4, (2, 3), (3, 1)), ValueError),
        ((8, 1, 4, (2, 2), (1,)), ValueError),
        ((8, 1, 1, (1,) * 65, (1,) * 65), ValueError),
        ((8, 1, -1), OverflowError),
        ((8, 1), TypeError),
        (("8", 1, 1), TypeError),
        ((8, 1, 4, [4], [1]), SystemError),
    ],
)
def test_what_is_no_memory_is_refused(given: tuple[object, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        native.core.measure(*given)


@needs_core
def test_threads_measure_at_once_and_alike() -> None:
    tensor = torch.randn(1 << 20)
    expected = repr(statistics.measure(tensor))
    with ThreadPoolExecutor(4) as pool:
        assert {repr(found) for found in pool.map(statistics.measure, [tensor] * 16)} == {expected}


def _state(**environment: str) -> str:
    code = "from dump import native; print(native.state, native.core is None)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_variable_turns_it_off() -> None:
    assert _state(ACC_NATIVE="0") == "off: ACC_NATIVE=0 True"


@needs_core
def test_it_is_on_unless_it_is_turned_off() -> None:
    assert _state(ACC_NATIVE="1") == "on False"


def _wheel(folder: Path, compiler: str | None) -> list[str]:
    """The names in a wheel of the whole package, built where `compiler` is the C compiler."""
    environment = {**os.environ, **({} if compiler is None else {"CC": compiler})}
    folder.mkdir()
    info = ["egg_info", "-e", str(folder)]
    build = ["build", "-b", str(folder / "build"), "bdist_wheel", "-d", str(folder), "-b", str(folder / "wheel")]
    subprocess.run(
        [sys.executable, "setup.py", "-q", *info, *build],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    (wheel,) = folder.glob("*.whl")
    assert "-cp310-abi3-" in wheel.name
    return zipfile.ZipFile(wheel).namelist()


@pytest.mark.slow
def test_a_wheel_without_a_compiler_has_no_core_and_all_else(tmp_path: Path) -> None:
    names = _wheel(tmp_path / "none", "/nonexistent/cc")
    assert not any(name.endswith((".so", ".pyd")) for name in names)
    assert {"dump/native/__init__.py", "dump/record/statistics.py", "acc_compare/cli/__init__.py"} <= set(names)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or not sysconfig.get_config_var("CC"), reason="no compiler is known")
def test_a_wheel_has_one_core_for_every_python(tmp_path: Path) -> None:
    names = [name for name in _wheel(tmp_path / "some", None) if name.startswith("dump/native/core")]
    assert sorted(names) == ["dump/native/core.abi3.so", "dump/native/core.pyi"]


@pytest.fixture
def crew() -> Iterator[None]:
    if not native._region():
        pytest.skip("torch has loaded no OpenMP runtime")
    yield
    native.share(1)


@needs_core
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64])
@pytest.mark.parametrize("shape", [(1 << 19,), ((1 << 19) + 4097,), (1031, 1024), (300 << 16,)])
def test_numbers_do_not_depend_on_who_helps(shape: tuple[int, ...], dtype: torch.dtype, crew: None) -> None:
    torch.manual_seed(0)
    tensor = (torch.randn(min(math.prod(shape), 1 << 20)) * 30).to(dtype).repeat(-(-math.prod(shape) // (1 << 20)))
    tensor = tensor[: math.prod(shape)].view(shape)
    for each in (tensor, tensor.transpose(0, -1)):
        found = []
        for threads in (1, 2, 5):
            native.share(threads)
            found.append(statistics.measure(each))
        assert found[0] == found[1] == found[2]
    assert math.isclose(found[0].norm, float(tensor.double().norm()), rel_tol=1e-6)


@needs_core
def test_several_who_measure_at_once_share_one_crew(crew: None) -> None:
    tensors = [torch.randn(1 << 20, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    alone = [statistics.measure(tensor) for tensor in tensors]
    native.share(2)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(statistics.measure, tensors * 25)) == alone * 25


_HELPED = """
import ctypes, os, torch
from dump import native
from dump.record import statistics

tensor = torch.arange(1 << 20, dtype=torch.float32)
torch.set_num_threads(2)
tensor.exp()
before = len(os.listdir("/proc/self/task"))
wanted = statistics.measure(tensor)
native.share(2)
"""


@needs_core
def test_no_thread_is_there_that_torch_has_not_made(crew: None) -> None:
    after = "assert statistics.measure(tensor) == wanted\nassert len(os.listdir('/proc/self/task')) == before\n"
    done = subprocess.run([sys.executable, "-c", _HELPED + after], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_core
@pytest.mark.parametrize("fork", ["os.fork()", "ctypes.CDLL(None).fork()"])
def test_a_forked_child_works_alone(fork: str, crew: None) -> None:
    """Torch's threads are not there: to wait for them would be for ever."""
    after = f"""
child = {fork}
same = all(statistics.measure(tensor) == wanted for _ in range(20))
if not child:
    native.share(2)
    os._exit(0 if same and statistics.measure(tensor) == wanted else 3)
assert same
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", _HELPED + after], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


@needs_core
@pytest.mark.parametrize("nbytes", [0, 1, (1 << 21) - 1, 1 << 21, (3 << 20) + 17])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_copy_is_whole_and_no_longer(nbytes: int, threads: int, crew: None) -> None:
    source = np.random.default_rng(0).integers(1, 256, nbytes + 1, np.uint8)
    copied = np.zeros(nbytes + 1, np.uint8)
    native.share(threads)
    native.core.copy(copied.ctypes.data, source.ctypes.data, nbytes)
    assert np.array_equal(copied[:-1], source[:-1])
    assert copied[-1] == 0
    for refused in ((copied.ctypes.data, 0, 1), (0, copied.ctypes.data, 1), (copied.ctypes.data,) * 2 + (-1,)):
        with pytest.raises(ValueError, match="memory"):
            native.core.copy(*refused)
