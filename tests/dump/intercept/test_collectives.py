"""Collectives of a real process group of one rank: what is read, what is written, when, and in which order."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from dump.format.schema import CollectiveRecord, ScalarRecord
from dump.intercept.group_methods import METHODS
from dump.intercept.points import release

NEEDS_MESHES = pytest.mark.skipif(
    release(torch.__version__) < (2, 5), reason="DTensor is public, and its parts are recorded, since torch 2.5"
)

dist = pytest.importorskip("torch.distributed")

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")


pytestmark = [
    pytestmark,
    pytest.mark.filterwarnings("ignore:.*deprecated.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:DTensor random operators may not have complete support"),  # torch 2.6's own
]


@pytest.fixture(autouse=True)
def one_rank(tmp_path: Any) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _collective(record: Any, name: str) -> CollectiveRecord:
    (found,) = record[name].collectives
    assert isinstance(found, CollectiveRecord)
    return found


def test_the_functions_stay_what_they_are(record: Any) -> None:
    before = (dist.all_reduce, dist.isend)
    seen: list[Any] = []
    record(lambda: seen.append((dist.all_reduce, dist.isend)))
    assert seen == [before]


def test_methods_are_put_back(record: Any) -> None:
    owners = (dist.ProcessGroup, dist.Work, torch.UntypedStorage, torch.nn.parallel.DistributedDataParallel)
    before = [dict(vars(owner)) for owner in owners]
    record(lambda: dist.all_reduce(torch.ones(2)))
    assert [dict(vars(owner)) for owner in owners] == before


def test_an_all_reduce_reads_and_writes_one_tensor(record: Any) -> None:
    x = torch.ones(3)

    def act() -> None:
        dist.all_reduce(x)
        torch.add(x, 1)

    dump = record(act)
    name = "Distributed.all_reduce.0.forward"
    assert dump.leaf(name, "input.0").norm == pytest.approx(3**0.5)
    assert dump.leaf(name, "input.op").value == "SUM"
    assert dump.value(name, "output.0") == dump.value("Torch.add.0.forward", "input.0")
    assert dump.value(name, "output.0") != dump.value(name, "input.0")
    assert _collective(dump, name).ranks == (0,)


def test_the_group_is_an_argument_as_msprobe_has_it(record: Any) -> None:
    dump = record(lambda: dist.reduce(torch.ones(3), dst=0))
    group = dump.leaf("Distributed.reduce.0.forward", "input.group")
    assert group == ScalarRecord("torch.ProcessGroup", {"group_ranks": [0], "group_id": f"{zlib.crc32(b'[0]'):08x}"})


def test_what_is_written_stands_where_its_argument_stands(record: Any) -> None:
    part, whole = torch.ones(2), [torch.zeros(2)]
    dump = record(lambda: dist.gather(part, whole, dst=0))
    outputs = dump["Distributed.gather.0.forward"].outputs
    assert [argument.name for argument in outputs] == ["output.0", "output.1"]
    assert outputs[0].leaf is None


def test_a_buffer_that_is_only_written_is_not_read(record: Any) -> None:
    whole, part = torch.full((4,), torch.nan), torch.ones(4)
    gather: dict[str, Callable[[], Any]] = {"all_gather": lambda: dist.all_gather([whole], part)}
    if release(torch.__version__) >= (2, 2):  # gloo has it since
        gather["all_gather_into_tensor"] = lambda: dist.all_gather_into_tensor(whole, part)
    for name, act in gather.items():
        whole.fill_(torch.nan)
        dump = record(act)
        assert dump.leaf(f"Distributed.{name}.0.forward", "input.0") is None
        assert dump.leaf(f"Distributed.{name}.0.forward", "input.1").norm == 2
        assert dump.leaf(f"Distributed.{name}.0.forward", "output.0").norm == 2


@pytest.mark.skipif(not hasattr(dist, "gather_single"), reason="gather_single came with torch 2.14")
def test_gathering_into_one_tensor_is_recorded(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gathered(group: Any, output: torch.Tensor, own: torch.Tensor, _: Any) -> Any:
        return group.all_gather_single(output, own)  # gloo has none of its own; for one rank it is the same

    monkeypatch.setattr(dist.ProcessGroup, "gather_single", gathered)
    whole, part = torch.full((4,), torch.nan), torch.ones(4)
    dump = record(lambda: dist.gather_single(part, whole))
    name = "Distributed.gather_into_tensor.0.forward"
    assert dump.names == [name]
    assert dump.leaf(name, "input.0").norm == 2
    assert dump.leaf(name, "input.1") is None
    assert dump.leaf(name, "output.1").norm == 2


def test_every_method_of_a_group_that_moves_tensors_is_known() -> None:
    moves = re.compile("gather|scatter|reduce|broadcast|all_?to_?all|send|recv")
    known = {method.name for method in METHODS}
    assert {name for name in dir(dist.ProcessGroup) if moves.search(name) and not name.startswith("__")} <= known


def test_collectives_of_a_group_are_counted_and_those_of_another_apart(record: Any) -> None:
    other = dist.new_group([0])

    def act() -> None:
        for _ in range(2):
            dist.all_reduce(torch.ones(1))
        dist.broadcast(torch.ones(1), 0)
        dist.all_reduce(torch.ones(1), group=other)

    dump = record(act)
    orders = [_collective(dump, name).order for name in dump.names if name.startswith("Distributed.")]
    assert orders == [0, 1, 2, 0]


def test_what_is_read_before_somebody_has_waited_is_not_what_went_in(record: Any) -> None:
    """As by a communication hook, whose callback copies the result of a reduction that is over."""

    def act() -> None:
        x = torch.add(torch.ones(2), 1)
        work = dist.all_reduce(x, async_op=True)
        torch.mul(x, 2)
        work.wait()

    dump = record(act)
    given = dump.leaf("Distributed.all_reduce.0.forward", "input.0").value
    assert given == dump.leaf("Torch.add.0.forward", "output.0").value
    assert dump.leaf("Torch.mul.0.forward", "input.0").value != given


def test_an_asynchronous_result_is_recorded_when_it_was_waited_for(record: Any) -> None:
    x = torch.ones(2)

    def act() -> None:
        work = dist.all_reduce(x, async_op=True)
        torch.zeros(1)
        work.wait()
        work.wait()

    dump = record(act)
    assert dump.names == ["Torch.zeros.0.forward", "Distributed.all_reduce.0.forward"]
    assert dump.leaf("Distributed.all_reduce.0.forward", "output.0").norm == pytest.approx(2**0.5)


def test_a_result_that_nobody_waited_for_has_what_was_read(record: Any) -> None:
    works: list[Any] = []
    dump = record(lambda: works.append(dist.all_reduce(torch.ones(2), async_op=True)))
    call = dump["Distributed.all_reduce.0.forward"]
    assert call.written == ()
    assert call.inputs[0].leaf is not None
    works[0].wait()


def test_python_objects_are_not_recorded(record: Any) -> None:
    def act() -> None:
        dist.all_gather_object([None], {"a": 1})
        dist.broadcast_object_list([1], src=0)

    assert not [name for name in record(act).names if name.startswith("Distributed.")]


@pytest.mark.skipif(
    release(torch.__version__) < (2, 2), reason="functional collectives are not recorded before torch 2.2"
)
def test_a_functional_collective_is_recorded_when_its_result_is_used(record: Any) -> None:
    import torch.distributed._functional_collectives as functional

    def act() -> None:
        x = functional.all_reduce(torch.ones(2), "sum", dist.group.WORLD)
        torch.add(x.view(2), 1)

    dump = record(act)
    name = "Distributed.functional.all_reduce.0.forward"
    assert dump.names[:2] == ["Torch.ones.0.forward", name]
    assert dump.value(name, "output.0") == dump.value("Tensor.view.0.forward", "input.0")
    assert dump.leaf("Torch.add.0.forward", "input.0").norm == pytest.approx(2**0.5)
    assert _collective(dump, name).order == 0


def test_gradients_are_followed_into_the_reduction_of_ddp(record: Any) -> None:
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def act() -> None:
        model(torch.ones(3, 2)).sum().backward()
        optimizer.step()

    dump = record(act)
    name = "Distributed.ddp_all_reduce.0.forward"
    assert dump.names.index("Functional.linear.0.backward") < dump.names.index(name)
    assert dump.value(name, "output.0.module.weight") == dump.value(
        "Optimizer.SGD.0.forward", "input.grad.module.weight"
    )
    assert _collective(dump, name).kind == "ddp_all_reduce"


def test_the_hook_that_reduces_is_told(record: Any) -> None:
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

    def hook_of(*, registered: bool) -> object:
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))
        if registered:
            model.register_comm_hook(None, fp16_compress_hook)
        dump = record(lambda: model(torch.ones(3, 2)).sum().backward())
        call = next(call for call in dump.dump.calls if call.name == "Distributed.ddp_all_reduce.0.forward")
        return {a.name: getattr(a.leaf, "value", None) for a in call.inputs}.get("input.hook")

    assert hook_of(registered=False) is None
    assert hook_of(registered=True) == "fp16_compress_hook"


@NEEDS_MESHES
def test_the_part_of_a_dtensor_is_recorded_with_its_layout(record: Any) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (1,))
    x = distribute_tensor(torch.arange(6.0).view(2, 3), mesh, [Shard(1)])
    dump = record(lambda: torch.relu(x))
    leaf = dump.leaf("Torch.relu.0.forward", "output.0")
    assert leaf.norm == pytest.approx(55**0.5)
    assert (leaf.layout.shape, leaf.layout.mesh, leaf.layout.placements) == ((2, 3), (0,), ("S(1)",))


@NEEDS_MESHES
def test_what_is_written_through_a_dtensor_is_seen(record: Any) -> None:
    """Its own version counter moves, and that of its part does not."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (1,))
    x, y = (distribute_tensor(torch.ones(2, 2), mesh, [Shard(0)]) for _ in range(2))

    def act() -> None:
        z = torch.neg(x)
        z.mul_(3.0)
        torch.exp(z, out=y)
        torch.abs(y)

    dump = record(act)
    assert [dump.leaf(name, "output.0").mean for name in ("Torch.neg.0.forward", "Tensor.mul_.0.forward")] == [-1, -3]
    assert dump.value("Torch.exp.0.forward", "input.0") == dump.value("Tensor.mul_.0.forward", "output.0")
    assert dump.leaf("Torch.abs.0.forward", "input.0").mean == pytest.approx(math.exp(-3))


@NEEDS_MESHES
def test_a_gradient_that_backward_adds_to_is_measured_anew_in_a_dtensor(record: Any) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    weight = torch.nn.Parameter(distribute_tensor(torch.ones(2, 2), init_device_mesh("cpu", (1,)), [Shard(0)]))

    def act() -> None:
        for _ in range(3):
            (weight * 2).sum().backward()
        torch.neg(weight.grad)

    assert record(act).leaf("Torch.neg.0.forward", "input.0").mean == 6


@NEEDS_MESHES
def test_the_part_of_a_gradient_that_backward_adds_to_is_measured_anew(record: Any) -> None:
    """As FSDP reads it, which hands the parts on and drops the gradient itself."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    weight = torch.nn.Parameter(distribute_tensor(torch.ones(2, 2), init_device_mesh("cpu", (1,)), [Shard(0)]))

    def act() -> None:
        for _ in range(3):
            (weight * 2).sum().backward()
            torch.neg(weight.grad._local_tensor)

    dump = record(act)
    assert [dump.leaf(f"Torch.neg.{number}.forward", "input.0").mean for number in range(3)] == [2, 4, 6]
    assert dump.value("Torch.neg.0.forward", "input.0") == dump.value("Tensor.__mul__.0.backward", "output.0")


@NEEDS_MESHES
def test_what_runs_inside_a_call_is_said_in_its_record(record: Any) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (1,))
    x = distribute_tensor(torch.ones(2, 2), mesh, [Shard(0)])
    dump = record(lambda: torch.Tensor.sum(x * 2).item())
    assert not any("functional" in name for name in dump.names)


def test_memory_that_a_storage_gains_is_unwritten_until_it_is_written(record: Any) -> None:
    x = torch.ones(4)

    def act() -> None:
        x.untyped_storage().resize_(0)
        x.untyped_storage().resize_(16)
        x.view(2, 2)
        x.fill_(2)
        x.view(2, 2)

    dump = record(act)
    assert dump.leaf("Tensor.view.0.forward", "input.0").unwritten
    assert dump.leaf("Tensor.view.1.forward", "input.0").unwritten is None


def test_memory_with_two_counters_of_writes_is_unwritten_until_either_moves(record: Any) -> None:
    memory, other = torch.ones(4), torch.ones(4)
    other.data = memory.data  # counts for itself, from 0

    def act() -> None:
        other.data.sum()
        memory.add_(1.0)
        memory.add_(1.0)
        memory.view(4)
        other.view(4)
        memory.untyped_storage().resize_(0)
        memory.untyped_storage().resize_(16)
        memory.view(2, 2)
        memory.fill_(2.0)
        memory.view(2, 2)

    dump = record(act)
    told = [dump.leaf(f"Tensor.view.{number}.forward", "input.0").unwritten for number in (2, 3)]
    assert told == [True, None]


def test_a_call_that_writes_into_a_list_and_returns_nothing_has_written(record: Any) -> None:
    import torch.distributed.fsdp  # registers the operator

    if release(torch.__version__) < (2, 7):
        pytest.skip("torch keeps the version counters of several tensors since 2.7")
    out = [torch.empty(2, 1), torch.empty(2, 2)]

    def act() -> None:
        with torch.autograd._unsafe_preserve_version_counter(tuple(out)):
            torch.ops.fsdp.split_with_sizes_copy(torch.ones(2, 3), [1, 2], dim=1, out=out)

    dump = record(act)
    name = "Torch.fsdp.split_with_sizes_copy.0.forward"
    assert dump.leaf(name, "written.input.out.1").norm == 2


def test_what_a_collective_dispatches_is_part_of_it(record: Any) -> None:
    dump = record(lambda: dist.all_reduce(torch.ones(2)), audit=True)
    assert not [name for name in dump.names if "c10d" in name]


@NEEDS_MESHES
def test_modules_alone_do_not_read_what_a_collective_still_writes(record: Any) -> None:
    """At level L0 collectives have no records, and yet a module's result is measured when it is there."""
    functional = pytest.importorskip("torch.distributed._functional_collectives")

    class Summing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.all_reduce(x, "sum", dist.group.WORLD)

    model = Summing()

    def act() -> None:
        result = model(torch.ones(2))
        result.elem.mul_(3)  # what was on its way
        result.wait()

    dump = record(act, models=[model], level="L0")
    assert [call.name for call in dump.dump.calls] == ["Module.Summing.Summing.forward.0"]
    assert dump.leaf("Module.Summing.Summing.forward.0", "output.0").norm == pytest.approx(3 * 2**0.5)
