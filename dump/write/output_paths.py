"""Where the steps of a run go, and whether a dump lies there already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ..format.errors import OutputError
from ..format.layout import CONSTRUCT_FILE, DUMP_FILE, STACK_FILE, STACK_JOURNAL, TENSOR_FOLDER


def claim_root(root: Path, *, rank: int | None, steps: Collection[int]) -> None:
    """Make `root`, and raise now what would be raised when the run is over.

    Without a rank, any dump of a wanted step is in the way: its folder bears the number of a process that is gone.
    Empty `steps` are all steps.  Raises OutputError.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{root}: cannot be made ({error.strerror}). Give another dump_path.") from error
    folder = "*" if rank is None else f"rank{rank}"
    for found in sorted(root.glob(f"step*/{folder}/{DUMP_FILE}")):
        number = found.parent.parent.name.removeprefix("step")
        if not steps or (number.isdecimal() and int(number) in steps):
            refuse_used(found.parent)


def refuse_used(folder: Path) -> None:
    """Raise OutputError where `folder` holds a dump."""
    if (folder / DUMP_FILE).exists():
        raise OutputError(f"{folder}: holds a dump already. Give another dump_path, or move it away.")


def refuse_remains(folder: Path) -> None:
    """Raises OutputError where `folder` holds any part of a dump."""
    held = [name for name in (DUMP_FILE, CONSTRUCT_FILE, STACK_FILE, STACK_JOURNAL) if (folder / name).exists()]
    if not held and (folder / TENSOR_FOLDER).is_dir() and any((folder / TENSOR_FOLDER).iterdir()):
        held = [TENSOR_FOLDER]
    if held:
        raise OutputError(f"{folder}: holds a dump already ({held[0]}). Give another dump_path, or move it away.")


def vanished(folders: Sequence[Path]) -> OutputError | None:
    """What is to be said where some of the folders hold no dump any more."""
    gone = [folder for folder in folders if not (folder / DUMP_FILE).exists()]
    if not gone:
        return None
    return OutputError(
        f"{gone[0]}: what was recorded there is gone ({len(gone)} of {len(folders)} steps): somebody removed or moved"
        " it while the script ran."
    )
