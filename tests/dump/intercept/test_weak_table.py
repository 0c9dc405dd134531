from __future__ import annotations

import gc
from typing import Any

from dump.intercept.weak_table import WeakCollection, WeakTable


class Alike:
    """Equal to all of its kind, and heard where it is asked."""

    asked = 0

    def __eq__(self, other: object) -> bool:
        Alike.asked += 1
        return True

    def __hash__(self) -> int:
        Alike.asked += 1
        return 1


def test_each_object_has_a_value_of_its_own_and_is_not_asked() -> None:
    first, second = Alike(), Alike()
    table: WeakTable[Alike, str] = WeakTable()
    table[first] = "first"
    assert (first in table, second in table, table.get(second), table.get(second, "none")) == (
        True,
        False,
        None,
        "none",
    )
    assert (table.setdefault(second, "second"), table.setdefault(first, "again")) == ("second", "first")
    assert [value for _, value in table.items()] == table.values() == ["first", "second"]
    assert [id(key) for key in table] == [id(first), id(second)]
    assert (table.pop(first), table.pop(first, ()), len(table)) == ("first", (), 1)
    table.clear()
    assert not table
    assert Alike.asked == 0


def test_what_is_gone_is_forgotten() -> None:
    members: WeakCollection[Any] = WeakCollection([Alike()])
    kept = Alike()
    members.add(kept)
    circle = Alike()
    circle.itself = circle  # type: ignore[attr-defined]
    members.add(circle)
    assert len(members) == 2
    del circle
    gc.collect()
    assert [id(each) for each in members] == [id(kept)]
    for each in members:
        members.discard(each)
    assert len(members) == 0
