"""How a script is to begin: on which device, from which seed, with which kernels; and the options that say so.

Importing this imports no torch, so that `--help` is quick.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, TypeAlias

import typer

from ..format.errors import ConfigError


class DeviceKind(str, Enum):
    npu = "npu"
    cpu = "cpu"
    cuda = "cuda"


# Options that more than one command has: each is said once.
_HIGHEST_SEED = 2**32 - 1
Seed: TypeAlias = Annotated[
    int | None,
    typer.Option(min=0, max=_HIGHEST_SEED, help="Seed Python, numpy and torch before the script."),
]
Deterministic: TypeAlias = Annotated[bool, typer.Option("--deterministic", help="Ask for deterministic kernels.")]
Device: TypeAlias = Annotated[
    DeviceKind | None,
    typer.Option(help="Where a script written for CUDA runs: npu, cpu (as a bench), cuda. [default: as it says]"),
]
SimulatedNpu: TypeAlias = Annotated[
    bool, typer.Option("--simulated-npu", help="Provide a simulated device 'npu' (CPU kernels).")
]
AsMsprobe: TypeAlias = Annotated[
    bool,
    typer.Option("--as-msprobe", help="Answer the script's imports of msprobe; its calls drive the recording."),
]
Module: TypeAlias = Annotated[str | None, typer.Option("-m", metavar="MODULE", help="Run a module, as python -m does.")]


@dataclass(frozen=True, slots=True)
class Start:
    """`device` is where a script written for CUDA is to run; None leaves it alone, and so does CUDA itself.
    `faults` are planted in the simulated NPU."""

    seed: int | None = None
    deterministic: bool = False
    simulated_npu: bool = False
    faults: tuple[str, ...] = ()
    device: DeviceKind | None = None

    def placed_on(self) -> str:
        """The name of the device asked for: "cpu" too for a simulated NPU on a torch that has none; "" for none."""
        if self.device is DeviceKind.npu and self.simulated_npu:
            from .. import sim

            return sim.device_kind()
        return "" if self.device is None else self.device.value


def answers_as_msprobe(flag: bool) -> bool:
    """Is the script to find us under msprobe's names?  TrainerMon's place in torch_npu is answered in any case."""
    from .. import as_msprobe

    as_msprobe.answer_torch_npu()
    return flag or as_msprobe.is_asked_for()


@contextlib.contextmanager
def begun(start: Start, say: Callable[[str], None]) -> Iterator[None]:
    """Everything as `start` asks for, within; `say` is told of what a user must know about it.

    Raises ConfigError where the device is not there.
    """
    from ..environment.versions import running

    told = {"simulated_faults": list(start.faults) or None, "seed": start.seed, "deterministic": start.deterministic}
    with running(**told), _simulated(start, say) as simulated, _on(start.device, say, simulated):
        _seed(start)
        yield


@contextlib.contextmanager
def _simulated(start: Start, say: Callable[[str], None]) -> Iterator[str]:
    """The simulated NPU, where one is asked for; the device that it is: "npu", or "cpu" on an old torch, or ""."""
    if not start.simulated_npu:
        yield ""
        return
    from .. import sim

    with sim.nearest(faults=start.faults) as device:
        faults = f", with the faults {', '.join(start.faults)}" if start.faults else ""
        if device == "npu":
            say(f"the device 'npu' is simulated: CPU kernels underneath{faults}")
        else:
            import torch

            why = f"torch {torch.__version__} has no device that could be called 'npu' (2.10 has)"
            say(f"{why}: the NPU is simulated on the device 'cpu'{faults}")
        yield device


@contextlib.contextmanager
def _on(kind: DeviceKind | None, say: Callable[[str], None], simulated: str) -> Iterator[None]:
    if kind is None:
        yield
        return
    from ..environment import device, versions

    npu = device.detect_npu()
    versions.asked_for(kind.value)
    try:
        if kind is DeviceKind.npu and npu.state == "ok":
            _transfer_to_npu()
            say("scripts written for CUDA run on the NPU (torch_npu's transfer_to_npu)")
            yield
        elif kind is DeviceKind.cuda:
            _require_cuda()
            yield
        elif kind is DeviceKind.cpu or npu.state == "simulated" or simulated:
            from ..redirect import redirected

            with redirected("npu" if kind is DeviceKind.npu and simulated != "cpu" else "cpu"):
                say(f"what the script does on CUDA runs on the {'CPU' if kind is DeviceKind.cpu else 'simulated NPU'}")
                yield
        else:
            raise ConfigError(
                f"--device npu: no NPU can be used here ({npu.state}: {npu.detail}). acc env tells more;"
                " --simulated-npu provides one without hardware."
            )
    finally:
        versions.asked_for(None)


def missed_faults(start: Start) -> Iterator[str]:
    """What is to be said of faults that were planted and met no call of this process, before `begun` is left."""
    if not start.faults:
        return
    from .. import sim

    for fault in sim.missed():
        times = "not called" if fault.call is None else f"called no more than {fault.call} times"
        yield f"note: the fault {fault} hit nothing: {fault.op} was {times} on the simulated NPU"
    if sim.device_kind() == "npu" and not sim.op_counts():
        yield "note: nothing ran on the simulated NPU; --device npu sends a script written for CUDA there"


def _transfer_to_npu() -> None:
    """Let scripts written for CUDA run on the NPU, as torch_npu itself does it.  For good; before any recording.

    A recording knows torch's methods by identity, so it looks at them first.
    """
    from ..intercept import catalog

    catalog.operators()
    importlib.import_module("torch_npu.contrib.transfer_to_npu")


def _require_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device here. --device cpu runs the script on the CPU.")


def _seed(start: Start) -> None:
    if start.seed is not None:
        from ..environment.seeding import seed_all

        seed_all(start.seed, mode=start.deterministic)
    elif start.deterministic:
        from ..environment.seeding import deterministic

        deterministic()
