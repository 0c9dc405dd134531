"""What to try next, as commands that can be copied: they record what is missing and compare again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from acc_compare import operators
from acc_compare.judge.evidence import Comparand, may_have_other_settings
from acc_compare.judge.origins import Origin
from acc_compare.messages import Message, Value, listed, say
from acc_compare.model import Kind, Suspect
from acc_compare.stacks import script_of
from dump.format.layout import TENSOR_FOLDER
from dump.format.names import UNKNOWN, parse
from dump.format.schema import Dump

LOWER_PRECISION_OFF = (say("advice.tf32"), say("advice.hf32"))

_AGAIN, _TENSORS = ("npu_again", "bench_again"), ("npu_tensors", "bench_tensors")
_NOT_ALONE = ("Optimizer", "Distributed", "Autograd")
_FEW = 16
"""Elements that a constant of a script may have; a batch of data has more."""

_BUILT_IN = "dump/workload.py"


def advice_for(suspect: Suspect, origin: Origin, place: Comparand) -> tuple[Message, ...]:
    """What to try next, the most useful first; an entry may hold commands, each on a line of its own."""
    if suspect.kind == "structure" and origin.handed:
        return say("advice.handed"), *_modules_too(suspect, place)
    if suspect.kind == "input" and origin.trained:
        return (say("advice.trained"),)
    by_kind = _BY_KIND.get(suspect.kind)
    if by_kind is not None:
        settings = (say("advice.settings"),) if may_have_other_settings(suspect) else ()
        return (*settings, *_alone(suspect, origin), *by_kind(suspect, place))
    if origin.summed is not None:
        return (say("advice.summed"),)
    if origin.unseen and not origin.maker:
        before: Value = origin.before or say("advice.the_start")
        return (
            say("advice.unseen", before=before, call=origin.call.full_name),
            *_modules_and_memory(suspect, place),
        )
    return (*(_earlier(suspect, place) if place.parted else ()), *_of_operator(suspect, origin, place))


def _of_operator(suspect: Suspect, origin: Origin, place: Comparand) -> tuple[Message, ...]:
    if may_have_other_settings(suspect) and place.mode != "md5":
        return say("advice.settings"), tensors_of(origin.call.full_name, suspect, place)
    switch: tuple[Message, ...] = ()
    rounding = suspect.pattern is not None and suspect.pattern.kind == "rounding" and suspect.pattern.dtype == "tf32"
    if rounding and operators.operator_class(origin.call.operator) == "contraction":
        switch = (say("advice.first_lower_precision"), *LOWER_PRECISION_OFF)
    return (*switch, *_closer(suspect, origin, place))


def _closer(suspect: Suspect, origin: Origin, place: Comparand) -> tuple[Message, ...]:
    """How to see more of one call than was recorded."""
    if place.mode == "md5":
        return (say("advice.statistics", commands=recordings(suspect, place, "--task statistics -s")),)
    files = _files(origin, place)
    if files:
        command = shlex.join(["python", "-m", "acc_compare.error_patterns", *files])
        assert place.bench is not None
        sides = str(place.npu.path), str(place.bench.path)
        proof = _proof(origin.call.full_name, *sides)
        if proof and not origin.call.name.is_module:
            proof.append(shlex.join(["acc", "repro", sides[0], "--call", origin.call.full_name]))
        further = (say("advice.replay", commands=listed(proof, by="line")),) if proof else ()
        return (say("advice.elements", commands=command), *further, *_overwritten(suspect, origin, place))
    return (tensors_of(origin.call.full_name, suspect, place), *_overwritten(suspect, origin, place))


def _overwritten(suspect: Suspect, origin: Origin, place: Comparand) -> tuple[Message, ...]:
    """What a call read is recorded as it was measured, perhaps calls ago: if it is cleared, it was given something
    else.  Nobody overwrites memory by a rounding."""
    if suspect.pattern is not None and suspect.pattern.kind == "rounding":
        return ()
    if origin.call.is_backward and not origin.call.name.is_module:
        return (say("advice.kept"),)  # which is in no record, however often memory is looked at
    if is_remeasured(place) or not origin.call.read or origin.call.name.prefix in (*_NOT_ALONE, UNKNOWN):
        return ()
    return (say("advice.remeasure"),)


def is_remeasured(place: Comparand) -> bool:
    """Did both sides look at the memory of every argument anew?"""
    return all((side.header.environment or {}).get("remeasured") is True for side in place.sides)


def _proof(call: str, npu: str, bench: str) -> list[str]:
    """The command that makes a call again against float64; none for what cannot be made again alone."""
    if parse(call).prefix in (*_NOT_ALONE, UNKNOWN):
        return []
    return [shlex.join(["acc", "replay", npu, "--call", call, "--against", bench])]


def tensors_of(call: str, suspect: Suspect, place: Comparand) -> Message:
    """Record the whole tensors of one call, forward and backward."""
    name = call if call.startswith("Module.") else f"{call.removesuffix('.backward').removesuffix('.forward')}."
    options = f"--task tensor -s --list {shlex.quote(name)}"
    commands: list[Value] = [recordings(suspect, place, options, into=_TENSORS), *_proof(call, *_TENSORS)]
    return say("advice.tensors", commands=listed(commands, by="line"))


def after_lower_precision(suspect: Suspect, place: Comparand) -> tuple[Message, ...]:
    """For a suspect of kind `dtype`."""
    return (*LOWER_PRECISION_OFF, say("advice.again", commands=recordings(suspect, place, "--task statistics -s")))


def for_optimizer(suspect: Suspect, place: Comparand) -> tuple[Message, ...]:
    """For an optimizer whose updates part."""
    found: list[Message] = [say("advice.optimizer_settings")]
    script, name = script_of(suspect.stack), suspect.name.split(".")
    if script and len(name) > 1 and suspect.name.startswith("Optimizer."):
        found.append(say("advice.optimizer_made", commands=shlex.join(["grep", "-n", name[1], script])))
    else:
        found.append(tensors_of("Optimizer", suspect, place))
    return (*found, say("advice.optimizer_plain"))


def recordings(
    suspect: Suspect, place: Comparand, options: str, *, into: tuple[str, str] = _AGAIN, before: str = ""
) -> Message:
    """The commands that record both sides again with `options`, `before` put before them, and compare them."""
    npu, bench = place.sides
    return listed(
        [
            before + _recording(npu, suspect, options, into[0]),
            before + _recording(bench, suspect, options, into[1]),
            f"acc compare {into[0]} {into[1]}",
        ],
        by="line",
    )


_DEVICES = ("npu", "cpu", "cuda")
"""What `acc dump --device` takes."""


def _recording(dump: Dump, suspect: Suspect, options: str, folder: str) -> str:
    header = dump.header
    ranks = header.world_size or 1
    environment = header.environment or {}
    is_launched = ranks > 1 and environment.get("started_by") != "script"
    parts = [f"torchrun --nproc-per-node {ranks} -m dump" if is_launched else "acc dump", options]
    if "--level" not in options and header.level not in ("L1", ""):
        parts.append(f"--level {shlex.quote(header.level)}")
    if suspect.step and "--step" not in options:
        parts.append(f"--step {suspect.step}")
    if str(environment.get("called_as", "")).startswith("msprobe "):  # its script makes a debugger of its own
        parts.append("--as-msprobe")
    asked_for = environment.get("asked_for")
    if asked_for in _DEVICES:
        parts.append(f"--device {asked_for}")
    if "--remeasure" not in options and environment.get("remeasured") is True:
        parts.append("--remeasure")
    faults = words_of(environment.get("simulated_faults"))
    if faults or "simulated" in (header.device_name or "").lower():
        parts.append("--simulated-npu")
    parts += [f"--simulated-fault {shlex.quote(fault)}" for fault in faults]
    seed = environment.get("seed")
    if "--seed" not in options and type(seed) is int:
        parts.append(f"--seed {seed}")
    if "--deterministic" not in options and environment.get("deterministic") is True:
        parts.append("--deterministic")
    return " ".join([*parts, f"-o {folder}", *_target(suspect, environment)])


def _target(suspect: Suspect, environment: Mapping[str, object]) -> list[str]:
    """The script with its arguments, as the dump names it or as far as the stack does; none for the built-in workload
    without flags."""
    command, script = words_of(environment.get("command")), script_of(suspect.stack)
    if command:
        return [shlex.quote(word) for word in command]
    built_in = script.replace("\\", "/").endswith(_BUILT_IN)
    return [] if built_in else [shlex.quote(script) if script else "SCRIPT"]


def words_of(found: object) -> list[str]:
    """What a header, which nobody vouches for, holds as a list of texts of one line."""
    words = found if isinstance(found, list) else []
    return [word for word in words if isinstance(word, str) and word.isprintable()]


def _files(origin: Origin, place: Comparand) -> list[str]:
    """The tensor files of both sides, where there are any."""
    argument = origin.judged.argument
    if place.mode != "tensor" or place.bench is None or argument.npu.shape != argument.bench.shape:
        return []
    sides = ((place.npu, argument.npu.data_name), (place.bench, argument.bench.data_name))
    files = [str(dump.path / TENSOR_FOLDER / name) for dump, name in sides if name]
    return files if len(files) == len(sides) else []


def _for_input(suspect: Suspect, place: Comparand) -> tuple[Message, ...]:
    return (
        *_uncompiled(suspect, place),
        *_earlier(suspect, place),
        _seeded(suspect, place),
        say("advice.checkpoint"),
    )


def _earlier(suspect: Suspect, place: Comparand) -> tuple[Message, ...]:
    """Where the step before was not recorded: the first, one half way, and this."""
    if not suspect.step or place.previous != "none":
        return ()
    steps = ",".join(str(step) for step in sorted({0, suspect.step // 2, suspect.step}))
    return (say("advice.earlier", commands=recordings(suspect, place, f"-s --step {steps}")),)


def _uncompiled(suspect: Suspect, place: Comparand) -> tuple[Message, ...]:
    """What differs may be the result of compiled code."""
    if not place.is_compiled:
        return ()
    commands = recordings(suspect, place, "-s", before="TORCHDYNAMO_DISABLE=1 ")
    return (say("advice.uncompiled", commands=commands),)


def _alone(suspect: Suspect, origin: Origin) -> tuple[Message, ...]:
    """What alone differs from the start is nothing that a seed decides: a constant where it is a few numbers, else what
    the script makes of the data before it first calls the model, of which the first step has no record."""
    is_alone = suspect.kind == "input" and not any(part.key == "evidence.start" for part in suspect.evidence)
    if not is_alone or not suspect.tensor.startswith("input.") or origin.parameter:
        return ()
    read = origin.judged.argument.npu
    if read.requires_grad:
        return ()
    if read.numel <= _FEW:
        return (say("advice.constant", tensor=suspect.tensor),)
    return (say("advice.before_the_model", tensor=suspect.tensor),) if suspect.step == 0 else ()


def _for_random(suspect: Suspect, place: Comparand) -> tuple[Message, ...]:
    return (_seeded(suspect, place), say("advice.generators"))


def _for_structure(suspect: Suspect, place: Comparand) -> tuple[Message, ...]:
    return (say("advice.one_side"), *_modules_too(suspect, place))


def _modules_too(suspect: Suspect, place: Comparand) -> tuple[Message, ...]:
    """Record the modules, unless both sides have them."""
    if all(side.header.level == "mix" for side in place.sides):
        return ()
    return (say("advice.modules", commands=recordings(suspect, place, "--level mix -s")),)


def _modules_and_memory(suspect: Suspect, place: Comparand) -> tuple[Message, ...]:
    """Record the modules, and memory that was overwritten unseen, unless both sides have looked for them."""
    if is_remeasured(place):
        return _modules_too(suspect, place)
    has_modules = all(side.header.level == "mix" for side in place.sides)
    key, options = ("unseen_memory", "") if has_modules else ("modules_and_memory", "--level mix ")
    return (say(f"advice.{key}", commands=recordings(suspect, place, f"{options}--remeasure -s")),)


def _seeded(suspect: Suspect, place: Comparand) -> Message:
    return say("advice.start_alike", commands=recordings(suspect, place, "--seed 1234 --deterministic -s"))


_BY_KIND: Mapping[Kind, Callable[[Suspect, Comparand], tuple[Message, ...]]] = {
    "input": _for_input,
    "random": _for_random,
    "optimizer": for_optimizer,
    "structure": _for_structure,
}
