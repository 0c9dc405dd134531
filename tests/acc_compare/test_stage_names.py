"""The modules of stages by the names of the other side's."""

from __future__ import annotations

from pathlib import Path

from acc_compare.stage_names import named_alike
from acc_compare.stages import Staged
from dump.format.schema import CallRecord, Dump, Header


def _side(*names: str) -> Staged:
    calls = tuple(CallRecord(name, index) for index, name in enumerate(names))
    owners = {names[0]: names[-1]}
    dump = Dump(Path("rank0"), Header("statistics", "L0"), calls, owners)
    return Staged({0: dump}, (1,), ranks={names[0]: [3]}, names=[{names[0]: "Module.a.Linear.forward.7"}])


def test_modules_have_the_names_of_the_same_class_and_number() -> None:
    ours = _side("Module.0.FSDPLinear.forward.1", "Optimizer.SGD.0.forward", "Module.0.Block.forward.0")
    theirs = _side("Module.2.Linear.forward.1", "Module.2.Block.forward.0", "Module.9.Head.forward.0")
    found = named_alike(ours, theirs)
    (dump,) = found.dumps.values()
    names = ["Module.2.Linear.forward.1", "Optimizer.SGD.0.forward", "Module.2.Block.forward.0"]
    assert [call.name for call in dump.calls] == names
    assert dump.owners == {names[0]: names[2]}
    assert (found.ranks, found.names) == ({names[0]: [3]}, [{names[0]: "Module.a.Linear.forward.7"}])
