"""Which of the suspects of several ranks came first where modules alone were recorded."""

from __future__ import annotations

from pathlib import Path

from acc_compare.judge.modules_in_time import place_in_time
from dump.format.schema import Argument, CallRecord, Dump, Header, TensorRecord


def _dump(*roots: tuple[str, int, bool]) -> Dump:
    """Modules at the top, each of a class, the value that it reads and whether that was trained; it writes the next."""
    calls, owners = [], {}
    for number, (path, value, trained) in enumerate(roots):
        name = f"Module.{path}.Block.forward.0"
        inner = f"Module.{path}.up.Linear.forward.0"
        read = Argument("input.0", TensorRecord("torch.float32", (2,), value=value, requires_grad=trained))
        wrote = Argument("output.0", TensorRecord("torch.float32", (2,), value=value + 1))
        calls += [CallRecord(inner, 2 * number, (read,), (wrote,)), CallRecord(name, 2 * number + 1, (read,), (wrote,))]
        owners[inner] = name
        owners[inner.replace("forward", "backward")] = name.replace("forward", "backward")
    return Dump(Path("rank"), Header("statistics", "L0", world_size=2), tuple(calls), owners)


FIRST, LAST = _dump(("0", 10, False)), _dump(("0", 10, True))
FORWARD, BACKWARD = "Module.0.up.Linear.forward.0", "Module.0.up.Linear.backward.0"


def test_a_stage_behind_another_comes_later_forward_and_earlier_backward() -> None:
    late, early = (place_in_time(FORWARD, order, FIRST, 0, made=True) for order in (9, 1))
    behind = place_in_time(FORWARD, 2, LAST, 1, made=False)
    assert early < late < behind
    late, early = (place_in_time(BACKWARD, order, FIRST, 0, made=True) for order in (9, 1))
    behind = place_in_time(BACKWARD, 12, LAST, 1, made=False)
    assert behind < early < late


def test_all_forward_calls_come_before_backward_ones_and_these_before_the_optimizer() -> None:
    forward, backward = (place_in_time(name, 5, LAST, 1, made=True) for name in (FORWARD, BACKWARD))
    assert forward < backward < place_in_time("Optimizer.SGD.0.forward", 0, FIRST, 0, made=True)


def test_what_a_call_reads_comes_before_what_it_makes() -> None:
    read, made = (place_in_time(FORWARD, 5, FIRST, 0, made=made) for made in (False, True))
    assert read < made < place_in_time(FORWARD, 6, FIRST, 0, made=False)


def test_second_stages_of_all_ranks_come_after_all_first_ones() -> None:
    """An interleaved pipeline: each rank has a first and a second stage."""
    one, two = _dump(("0", 10, False), ("1", 20, True)), _dump(("0", 10, True), ("1", 20, True))
    names = [f"Module.{path}.up.Linear.forward.0" for path in ("0", "1")]
    places = [place_in_time(name, 3, dump, rank, made=True) for name in names for rank, dump in enumerate((one, two))]
    assert places == sorted(places)
    assert len(set(places)) == len(places)


def test_of_ranks_that_begin_with_data_the_place_in_the_step_decides() -> None:
    """The second module at the top reads what the first one made."""
    dump = _dump(("0", 10, False), ("1", 11, True))
    name = "Module.1.up.Linear.forward.0"
    assert place_in_time(name, 4, dump, 1, made=True) < place_in_time(name, 5, dump, 0, made=True)
