"""What two findings must share that compare the same dumps both ways round."""

from __future__ import annotations

from typing import Any

import pytest

from acc_compare.model import Finding


def same_both_ways(forth: Finding | None, back: Finding | None) -> None:
    """Assert that one is the other's mirror; None stands for dumps that cannot be compared."""
    assert _told(forth) == _told(back)
    assert _sizes(forth) == pytest.approx(_sizes(back), rel=1e-6)


def _told(found: Finding | None) -> Any:
    if found is None:
        return None
    suspects = [
        (suspect.kind, suspect.name, suspect.tensor, suspect.calls, suspect.others) for suspect in found.suspects
    ]
    return found.verdict, suspects, found.coverage.calls


def _sizes(found: Finding | None) -> list[float]:
    """What was expected of the suspects; of an optimizer that is measured against the update of one side."""
    suspects = () if found is None else found.suspects
    return [s.expected for s in suspects if s.expected is not None and s.kind != "optimizer"]
