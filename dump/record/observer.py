"""Who looks at calls while the run goes on, and may take part in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from . import contents, filters


@dataclass(frozen=True, slots=True)
class SeenCall:
    """One finished record: its name, its JSON as it would stand in a dump.json, and the contents of its tensors by
    their `data_name`, in memory that nobody else writes to."""

    name: str
    body: bytes
    tensors: Mapping[str, contents.Contents]


@dataclass(frozen=True, slots=True)
class Reaction:
    """What is to become of a record: does it go into the dump, with its tensors, and does the run end here?

    One that `holds` is held, with its tensors, in case a later record of the step goes into the dump with it: `first`
    is the name of the held record that goes before this one.
    """

    records: bool = False
    with_tensors: bool = False
    ends: bool = False
    holds: bool = False
    first: str = ""


class LastStepDone(SystemExit):
    """Raised out of the script's own step where the user asked to end it there: the last wanted step is on disk, or
    what was looked for is found."""


class Observer:
    """Looks at each finished call, on the training thread; this one sees all and does nothing.

    With `samples` only calls of API functions count.  What `loads` and `mends` give by place (`input.0`,
    `output.0`) is written over a call's arguments before it, and over its results after it.
    """

    samples = False
    is_over = False
    """Is the run to end, as soon as it can be ended?"""

    def end_if_over(self) -> None:
        """To be asked outside backward passes, some of which run on threads that nothing may be raised out of.

        Raises LastStepDone where the run is to end.
        """
        if self.is_over:
            raise LastStepDone(0)

    def wants(self, name: str, tensors: Sequence[torch.Tensor]) -> bool:
        """Is the call `name`, about to read `tensors`, to be looked at?"""
        return True

    def saw(self, call: SeenCall) -> Reaction:
        """Look at a finished call."""
        return Reaction()

    def loads(self, name: str) -> Mapping[str, torch.Tensor]:
        """What is to be written over the arguments of a call that is about to begin."""
        return {}

    def mends(self, name: str) -> Mapping[str, torch.Tensor]:
        """What is to be written over the results of a call that was seen."""
        return {}

    def begins(self, step: int, rank: int | None) -> None:
        """The step with this number begins to be recorded."""


class ObservedCalls(filters.Selection):
    """`scope` and `list`, for an observer that looks at samples: of API functions alone."""

    _OTHERS = ("Module.", "Cell.", "Optimizer.", "Distributed.", "Autograd.", "Saved.")

    def __init__(self, scope: Sequence[str], entries: Sequence[str]) -> None:
        super().__init__(scope, entries)
        self.selects = True

    def may_want(self, name: str, within: Sequence[str] = ()) -> bool:  # type: ignore[override]
        return not name.startswith(self._OTHERS) and super().may_want(name, within)
