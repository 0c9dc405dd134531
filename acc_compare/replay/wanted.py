"""Which calls are to be made again: by name, or the suspects of an advisor's file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from dump.format.errors import ConfigError, DumpCorrupt, DumpNotFound


@dataclass(frozen=True, slots=True)
class Wanted:
    """Calls by name: a call, one of its directions, a module (all calls within it), or the beginning of a name; all
    calls without any.  `places` are suspects as (name, step, rank), the last two None where they are not known."""

    names: tuple[str, ...] = ()
    places: tuple[tuple[str, int | None, int | None], ...] | None = None

    def asks_for(self, step: int | None, rank: int | None) -> tuple[str, ...] | None:
        """The names that are wanted of one dump; None for all calls, () for none."""
        if self.places is None:
            return self.names or None
        return tuple(
            name
            for name, of_step, of_rank in self.places
            if (of_step is None or of_step == step) and (None in (of_rank, rank) or of_rank == rank)
        )


class _Suspect(msgspec.Struct):
    name: str
    step: int | None = None
    rank: int | None = None


class _Advisor(msgspec.Struct):
    suspects: list[_Suspect]


def read_suspects(path: Path) -> tuple[tuple[str, int | None, int | None], ...]:
    """The suspects in an advisor_<time>.json.

    Raises DumpNotFound where it cannot be read, DumpCorrupt where it is no such file, ConfigError where nobody is
    suspect.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DumpNotFound(f"{path}: cannot be read ({error}). Give the advisor_<time>.json of acc compare.") from error
    try:
        found = msgspec.json.decode(data, type=_Advisor).suspects
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DumpCorrupt(f"{path}: expected the advisor_<time>.json of acc compare ({error}).") from error
    if not found:
        raise ConfigError(f"{path}: names no suspect, so there is nothing to make again. --all replays all calls.")
    return tuple((suspect.name, suspect.step, suspect.rank) for suspect in found)
