"""A config.json that is read again while the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from .config import DumpConfig, Unknown, load_config, merge
from .format.errors import ConfigError
from .format.paths import as_meant_in, from_home, working_folder

_Signature: TypeAlias = "tuple[int, int, int] | None"


class ReloadableConfig:
    """The settings of `path` under `flags`, which win over it whenever it is read (`config.merge`).

    `config` holds those in force.  A file that says `dump_enable` when the run begins is looked at again at the
    end of every step, and taken over where it was written since; one that does not is read once, as by msprobe.
    `unknown` is that of `load_config`.  Raises ConfigError.
    """

    def __init__(self, path: Path, flags: Mapping[str, object], *, unknown: Unknown = "guess") -> None:
        self._path, self._place = from_home(path), working_folder()
        self._flags = dict(flags)
        self._unknown = unknown
        self._seen = self._signature()
        self.config = self._load()

    def news(self, step: int) -> list[str]:
        """What is to be said before `step` begins, where the file was changed; then `config` has changed too."""
        try:
            if not self.read_again():
                return []
        except ConfigError as error:
            return [f"error: {error} Recording is off until the file is put right."]
        state = "off" if self.config.dump_enable is False else "on"
        changed = f"step {step}: config.json was changed; recording is {state}"
        return [changed, *(f"note: {sentence}" for sentence in self.config.ignored)]

    def read_again(self) -> bool:
        """Are there new settings, now in `config`?

        Raises ConfigError where the file is wrong; then `dump_enable` is false until it is written again.
        Nothing is read while there is no file: an editor may be at work.
        """
        if self.config.dump_enable is None:
            return False
        found = self._signature()
        if found is None or found == self._seen:
            return False
        self._seen = found
        before, self.config = self.config, replace(self.config, dump_enable=False)
        config = self._load()
        if config.dump_enable is None:
            config = replace(config, dump_enable=before.dump_enable)
        self.config = config
        return True

    def _load(self) -> DumpConfig:
        config = load_config(as_meant_in(self._place, self._path), unknown=self._unknown)
        return replace(merge(config, **self._flags), place=self._place)

    def override(self, **flags: object) -> None:
        """`flags` win over the file from now on, whenever it is read."""
        self._flags.update(flags)
        self.config = merge(self.config, **flags)

    @property
    def is_outdated(self) -> bool:
        """Was the file, if it may change the settings at all, written since it was read?"""
        return self.config.dump_enable is not None and self._signature() not in (None, self._seen)

    def _signature(self) -> _Signature:
        try:
            status = Path(self._place, self._path).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
