"""One call as a folder that needs torch alone: a short script and its inputs.

The script makes the call on a device and in float64 on the CPU, says how far the first is off, and exits with 1 where
that is more than the dtype explains.  What stands in it are the function's name from the allow-list, plain values as
Python writes them, and limits that a replay has measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from acc_compare.messages import say
from acc_compare.replay import expected
from acc_compare.replay.arguments import Builder, named, plain_value
from acc_compare.replay.calls import Recorded, recorded_call
from acc_compare.replay.judge import Sight, judged
from acc_compare.replay.minimise import Minimised, minimised
from acc_compare.replay.names import CannotReplay, import_operators, target_of
from acc_compare.replay.results import ReplayedCall
from acc_compare.replay.run import device_here, refuse_statistics, sight_of
from dump.format.errors import ConfigError, OutputError
from dump.format.layout import find_dumps
from dump.format.names import BACKWARD, FORWARD, forward_name, parse
from dump.format.nested import NestedDump, read_nested
from dump.format.schema import Node, ScalarRecord, TensorRecord
from dump.format.tensors import write_tensor

SCRIPT = "repro.py"

_TEXT = '''"""{name}: {what}.

    python {script} [DEVICE]        on {device} where none is given

Makes the call on DEVICE and in float64 on the CPU, from the inputs in this folder.
Exit code: 1 where the result on DEVICE is wrong, 0 where it is right, 2 without DEVICE.  Needs torch alone.
"""

import json
import sys
from pathlib import Path

import torch
{imports}
HERE = Path(__file__).resolve().parent
DEVICE = sys.argv[1] if len(sys.argv) > 1 else {device!r}
if DEVICE.startswith("npu") and not hasattr(torch, "npu"):
    try:
        import torch_npu  # noqa: F401
    except ImportError:
        print("torch_npu is not installed here; give another device, such as cpu")
        sys.exit(2)
LIMITS = {limits}  # relative L2 error and error of an element that {dtypes} explains, measured


def load(name):
    """A tensor from its safetensors file: a length, a header in JSON, the elements."""
    raw = (HERE / f"{{name}}.safetensors").read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    kind = getattr(torch, DTYPES[name])
    data = bytearray(raw[start:])
    shape = header["tensor"]["shape"]
    if header.get("__metadata__"):
        shape = shape[:-1]  # complex numbers are stored as pairs
    return (torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)).reshape(shape)


DTYPES = {kinds}


def tensor(name, device, wide, stride=None, grad=False):
    found = load(name)
    if wide and (found.is_floating_point() or found.is_complex()):
        found = found.to(wide.to_complex() if found.is_complex() else wide)
    found = found.to(device)
    if stride is not None:  # as it lay in memory
        one = found[tuple(slice(0, 1) if step == 0 else slice(None) for step in stride)]
        size = 1 + sum((n - 1) * step for n, step in zip(one.shape, stride))
        steps = [step or 1 for step in stride]
        found = torch.zeros(size, dtype=one.dtype, device=device).as_strided(one.shape, steps).copy_(one)
        found = found.expand(load(name).shape)
    return found.requires_grad_(grad)


def dtype(kind, wide):
    """Types among the arguments are widened as the tensors are."""
    return wide.to_complex() if wide and kind.is_complex else wide if wide and kind.is_floating_point else kind


def flat(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [part for item in value for part in flat(item)] if isinstance(value, (list, tuple)) else []


def call(device, wide=None):
    """What the call writes, by name: on `device` as recorded, or in the type `wide`."""
    torch.set_default_dtype(wide or torch.float32)
{body}


def compare(found, exact):
    """Relative L2 error, and the largest error of an element against its size or the root mean square."""
    rounded = exact.to(found.dtype)
    same = (found == rounded) | ((found != found) & (rounded != rounded))
    if not (found.is_floating_point() or found.is_complex()):
        return (1 - same.double().mean().item(),) * 2
    live = torch.isfinite(found) & torch.isfinite(exact)
    if not bool((live | same).all()):
        return float("inf"), float("inf")
    error, size = (found.to(exact.dtype) - exact).abs()[live], exact.abs()[live]
    if not bool(error.any()):
        return 0.0, 0.0
    error, size = error / size.max(), size / size.max()  # squares neither overflow nor vanish
    return (error.norm() / size.norm()).item(), (error / size.clamp_min(size.square().mean().sqrt())).max().item()


def main():
    exact = call("cpu", torch.float64)
    here = call(DEVICE)
    wrong = False
    for name, (limit, peak) in LIMITS.items():
        for label, found in ((f"on {{DEVICE}}", here[name]), ("as recorded", load(f"recorded.{{name}}"))):
            relative, largest = compare(found.detach().cpu(), exact[name].detach())
            is_wrong = relative > limit or largest > peak
            digits = f", {{largest / torch.finfo(found.dtype).eps:,.3g}} ulp" if found.dtype.is_floating_point else ""
            verdict = "WRONG" if is_wrong else "right"
            print(f"{{name}} {{label}}: off by {{relative:.2g}}{{digits}}; {{limit:.2g}} is explained: {{verdict}}")
            wrong = wrong or (is_wrong and label != "as recorded")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
'''


@dataclass(slots=True)
class _Written:
    """The arguments as Python says them, and the tensors that they name."""

    builder: Builder
    lines: list[str] = field(default_factory=list)
    files: dict[str, TensorRecord] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # variables by the place of the tensor
    order: list[tuple[str, TensorRecord]] = field(default_factory=list)
    known: dict[tuple[int, bool], str] = field(default_factory=dict)
    follows: bool = False

    def argument(self, place: str, node: Node) -> str:
        """An argument as Python says it.  Raises CannotReplay for a name that is no plain one."""
        _check(place)
        if isinstance(node, TensorRecord):
            return self._tensor(place, node)
        if isinstance(node, ScalarRecord):
            return _literal(node)
        if isinstance(node, (list, tuple)):
            items = [self.argument(f"{place}.{index}", item) for index, item in enumerate(node)]
            inner = ", ".join(items)
            return f"[{inner}]" if isinstance(node, list) else f"({inner}{',' if len(items) == 1 else ''})"
        if isinstance(node, dict):
            return (
                "{" + ", ".join(f"{key!r}: {self.argument(f'{place}.{key}', item)}" for key, item in node.items()) + "}"
            )
        return "None"

    def _tensor(self, place: str, record: TensorRecord) -> str:
        number = len(self.order)
        self.order.append((place, record))
        key = None if record.value is None else (record.value, bool(record.requires_grad))
        if key is not None and key in self.known and number not in self.builder.followed:
            self.names[place] = self.known[key]
            return self.known[key]
        variable = f"x{number}"
        if key is not None:
            self.known[key] = variable
        self.names[place] = variable
        self.files[place] = record
        self.lines.append(f"{variable} = {_loading(place, record, grad=self.follows)}")
        return variable


def _check(place: str) -> None:
    """Names of arguments come from the dump, and become names of files and of Python's."""
    if not place.isascii() or not all(part.isidentifier() or part.isdecimal() for part in place.split(".")):
        raise CannotReplay(say("replay.reason.argument", kind=ascii(place)[:40]))


def _loading(place: str, record: TensorRecord, *, grad: bool = False) -> str:
    parts = [repr(place), "device", "wide"]
    if record.stride is not None and record.numel:
        parts.append(f"stride={record.stride!r}")
    if grad and record.requires_grad:
        parts.append("grad=True")
    return f"tensor({', '.join(parts)})"


def _literal(record: ScalarRecord) -> str:
    value = plain_value(record, device=torch.device("cpu"))
    if record.type == "device":
        return "device"
    if isinstance(value, torch.dtype):
        return f"dtype({value}, wide)"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    if isinstance(value, complex):
        return f'complex("{value}")'
    return (
        "..." if value is ... else str(value) if isinstance(value, (torch.memory_format, torch.layout)) else repr(value)
    )


def write_repro(
    dump: NestedDump, sight: Sight, name: str, folder: Path, *, imports: tuple[str, ...] = ()
) -> ReplayedCall:
    """Write the call `name` (forward or backward) of a dump into `folder`; what the replay says of it.

    Raises CannotReplay where it cannot be made again, OutputError where the folder is there or cannot be written.
    """
    forward = forward_name(name) if parse(name).direction == BACKWARD else name
    recorded = recorded_call(dump, forward)
    assert recorded is not None
    found = {call.name: call for call in judged(sight, recorded)}[name]
    if found.reason is None:
        write_call(sight, recorded, found, folder, imports=imports)
    return found


def write_call(
    sight: Sight, recorded: Recorded, found: ReplayedCall, folder: Path, *, imports: tuple[str, ...] = ()
) -> None:
    """Write a call that was made again into `folder`; `found` is what came of it.

    Raises CannotReplay where its arguments cannot be said in Python, OutputError where the folder is there or cannot be
    written.
    """
    text, files = _script(sight, recorded, found, imports)
    try:
        folder.mkdir(parents=True)
        for place, tensor in files.items():
            write_tensor(
                folder / f"{place}.safetensors",
                data=tensor.contiguous().view(-1).view(torch.uint8).numpy().data if tensor.numel() else b"",
                dtype=str(tensor.dtype),
                shape=tuple(tensor.shape),
            )
        (folder / SCRIPT).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise OutputError(f"{folder} exists already and is not overwritten; choose another folder with -o") from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _script(
    sight: Sight, recorded: Recorded, call: ReplayedCall, imports: tuple[str, ...]
) -> tuple[str, Mapping[str, torch.Tensor]]:
    builder = recorded.builder(sight.load, tells_tuples=sight.tells_tuples)
    forward = recorded.forward
    written = _Written(builder, follows=recorded.follows)
    args = [written.argument(f"input.{index}", node) for index, node in enumerate(forward.args)]
    args += [f"{key}={written.argument(f'input.{key}', node)}" for key, node in forward.kwargs.items()]
    is_backward = parse(call.name).direction == BACKWARD
    lines = [*written.lines, *_calling(recorded, target_of(parse(forward.name)).expression, args, written)]
    gradients = [(i, n) for i, n in enumerate(recorded.gradients) if isinstance(n, TensorRecord)] if is_backward else []
    lines += list(_returning(recorded, written, gradients))
    tensors = {place: builder.loaded(record) for place, record in written.files.items()}
    tensors |= {f"gradient.{number}": builder.loaded(record) for number, record in gradients}
    of_call = recorded.backward if is_backward else forward
    assert of_call is not None
    records = dict(expected.written_by(of_call))
    for place in records:
        _check(place)
    device = sight.recorded_on
    tensors |= {f"recorded.{tensor.name}": builder.loaded(records[tensor.name]) for tensor in call.tensors}
    text = _TEXT.format(
        name=call.name,
        what="a recorded result that is wrong against float64" if call.cause else "a recorded call",
        script=SCRIPT,
        device=device if device in ("npu", "cuda") else "cpu",
        imports="".join(f"import {module}\n" for module in imports),
        limits=_limits(call),
        dtypes=", ".join(sorted({tensor.dtype.removeprefix("torch.") for tensor in call.tensors})),
        kinds={place: str(tensor.dtype).removeprefix("torch.") for place, tensor in tensors.items()},
        body="\n".join(f"    {line}" for line in lines),
    )
    return text, tensors


def _limits(call: ReplayedCall) -> str:
    limits = {tensor.name: (float(f"{tensor.limit:.3g}"), float(f"{tensor.peak:.3g}")) for tensor in call.tensors}
    return repr(limits).replace("inf", 'float("inf")')


def _calling(recorded: Recorded, expression: str, args: list[str], written: _Written) -> Iterator[str]:
    if recorded.writes:  # autograd lets nobody write to its leaves
        for variable in dict.fromkeys(written.names.values()):
            yield f"leaf_{variable}, {variable} = {variable}, {variable}.clone()"
    indent = ""
    if recorded.forward.autocast:
        kind = named(recorded.forward.autocast, torch.dtype)
        yield f"with torch.autocast(torch.device(device).type, dtype={kind}, enabled=not wide):"
        indent = "    "
    yield f"{indent}result = {expression}({', '.join(args)})"


def _returning(recorded: Recorded, written: _Written, gradients: list[tuple[int, TensorRecord]]) -> Iterator[str]:
    changed = {place: written.names[place] for place in recorded.forward.written if place in written.names}
    if not gradients:
        yield 'found = {f"output.{n}": part for n, part in enumerate(flat(result))}'
        for place, variable in changed.items():
            yield f'found["written.{place}"] = {variable}'
        yield "return found"
        return
    yield f"outputs = flat(result) or [{', '.join(changed.values())}]"
    yield f"asked = [{', '.join(f'outputs[{number}]' for number, _ in gradients)}]"
    loaded = ", ".join(_loading(f"gradient.{number}", record) for number, record in gradients)
    yield f"gradients = [{loaded}]"
    leaves: dict[str, int] = {}
    for number, (place, record) in enumerate(written.order):
        if record.requires_grad:
            leaves.setdefault(written.names[place], number)
    names = [f"leaf_{variable}" if recorded.writes else variable for variable in leaves]
    yield "pairs = [(output, gradient) for output, gradient in zip(asked, gradients) if output.requires_grad]"
    yield "outputs, gradients = [o for o, _ in pairs], [g.to(o.dtype) for o, g in pairs]"
    yield f"found = torch.autograd.grad(outputs, [{', '.join(names)}], gradients, allow_unused=True)"
    yield f'return {{f"output.{{n}}": part for n, part in zip({list(leaves.values())}, found)}}'


def find_and_write(
    dump: Path,
    name: str,
    folder: Path,
    *,
    step: int | None,
    rank: int | None,
    imports: tuple[str, ...] = (),
    minimises_on: str | None = None,
) -> tuple[ReplayedCall, Minimised | None]:
    """Write the call `name` of the first step and rank that has it, of those given where they are.

    With `minimises_on`, a device, "" for that of the record, what is written is the smallest call that is wrong there.
    Raises ConfigError where no dump has it, and as `write_repro`; CannotReplay where it is right on that device.
    """
    import_operators(imports)
    direction = parse(name).direction
    for location in find_dumps(dump):
        if step not in (None, location.step) or (rank is not None and location.rank not in (None, rank)):
            continue
        nested = read_nested(location.path)
        if name in nested.records and direction in (FORWARD, BACKWARD):
            refuse_statistics(nested)
            sight = sight_of(nested, location, torch.float64, None)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if minimises_on is None:
                    return write_repro(nested, sight, name, folder, imports=imports), None
                recorded = recorded_call(nested, forward_name(name) if direction == BACKWARD else name)
                assert recorded is not None
                here = replace(sight, device=device_here(minimises_on, sight.recorded_on))
                less = minimised(here, recorded, name)
                of_it = replace(sight, load=less.trial.load, recorded_on=here.device.type if here.device else "cpu")
                write_call(of_it, less.trial.recorded, less.call, folder, imports=imports)
                return less.call, less
    raise ConfigError(f"no call {name!r} in {dump}. Give its whole name, such as Functional.gelu.2.forward.")
