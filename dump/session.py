"""One recording session: wires interception, recording and writing together, step by step."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from . import installed
from .config import DumpConfig, merge
from .config_reload import ReloadableConfig
from .coverage import Coverage, Nothing, covered, not_recorded, why_nothing
from .environment import device
from .format.errors import AccError
from .format.layout import rank_folder
from .intercept import saved
from .intercept.interceptors import Interceptors
from .intercept.modules import ModuleTree
from .intercept.points import in_short
from .intercept.signals import unless_ours
from .live import output_of_step
from .record.observer import LastStepDone, Observer
from .record.recorder import StepRecorder
from .sampling import Sampling
from .session_files import SessionFiles
from .step_output import StepOutput
from .tokens import TokenRange, Tokens
from .write.header import closing_keys
from .write.output_paths import claim_root, refuse_used
from .write.writer import StepWriter, Written


class Session:
    """Records the wanted steps of this process.

    With `finds_steps` it is installed before a script's first line and finds the steps by itself (`intercept.steps`);
    else the owner calls `start`, `stop` and `step`.  `on_step(number, written)` is told of every step that is on disk,
    which with `async_dump` is a step later.  `reloadable` may bring other settings between steps, of which `say` tells,
    as of a limit that ends the recording.  What goes wrong with writing is kept in `failure`: recording stops, the run
    goes on; so it does where an error of ours keeps a session from going on, which `broken` names.  `on_opened` hears
    of every step of which something is written.  An `observer` says which records are.  What this torch does not allow
    to record stands in `left_out`, by name with the reason.  In a forked child it is as if it had never been started.
    """

    def __init__(
        self,
        config: DumpConfig,
        *,
        finds_steps: bool = False,
        exit_after: bool = False,
        on_step: Callable[[int, Written], None] | None = None,
        reloadable: ReloadableConfig | None = None,
        say: Callable[[str], None] = lambda _: None,
        observer: Observer | None = None,
    ) -> None:
        self.config = config
        self.sampling = Sampling()
        self.current_step = 0
        self.coverage: list[Coverage] = []
        self.broken = ""
        self.on_opened: Callable[[], None] = lambda: None
        self.left_out: dict[str, str] = {}
        self.modules = ModuleTree()
        self._exit_after = exit_after
        self._is_child = False
        self._on_step = on_step
        self._files = SessionFiles(on_step)
        self._reloadable = reloadable
        self._say = say
        self._observer = observer
        self._rank_id: int | None = None
        self._recorder: StepRecorder | None = None
        self._output: StepOutput | None = None
        self._tokens: TokenRange | None = None
        self._build(finds_steps=finds_steps)

    # ---- on and off

    def _build(self, *, finds_steps: bool) -> None:
        """The interceptors, for the level in force."""
        self._interceptors = Interceptors(
            self.config.level,
            self.modules,
            audit=self.config.audit,
            next_step=self._next_step if finds_steps else None,
            on_outermost=self._outermost,
            tell=lambda text: self._say(f"note: not recorded, for something failed: {text}"),
        )
        self._watch, self._audit = self._interceptors.watch, self._interceptors.audit
        self._finder, self._calls = self._interceptors.finder, self._interceptors.calls

    def install(self) -> None:
        """Patch and hook torch.  Nothing of torch is touched before this.

        Raises ConfigError when another session of this process is installed, and with `finds_steps`
        OutputError when a step that is wanted has been recorded before.
        """
        if not installed.has_room_for(self):
            return
        if self._finder is not None and not self._is_child:  # whose parent has claimed it
            claim_root(Path(self.config.dump_path), rank=self.rank, steps=self.config.step)
        installed.add(self)
        with self._giving_up():
            device.detect_npu()
            known, self.left_out = self.left_out, self._interceptors.install()
            if news := {name: reason for name, reason in self.left_out.items() if name not in known}:
                self._say(not_recorded(news))

    def _give_up(self, error: Exception) -> None:
        """An error of ours: torch is put back, nothing more is recorded, and the run goes on."""
        self.broken = in_short(error)
        self._watch.give_up()
        with contextlib.suppress(Exception):
            self.remove()
        self._say(f"error: nothing more is recorded, for something failed; the script runs on ({self.broken})")

    def _giving_up(self) -> contextlib.AbstractContextManager[None]:
        """Around what runs inside the user's step: an error of ours ends the recording and not the run."""
        return unless_ours(self._give_up)

    def remove(self) -> None:
        """Put torch back exactly as it was."""
        installed.discard(self)
        self._interceptors.remove()

    def begin_in_child(self) -> None:
        """Record a process that `multiprocessing` started from its own first step on.  Raises what `install` raises."""
        self.current_step, self.coverage, self._is_child = 0, [], True
        self._files, self.sampling = SessionFiles(self._on_step), Sampling()
        if self._finder is not None:
            self._finder.begin_again()
        self.install()
        self._watch.setting_up = True
        self.start()

    def forget(self) -> None:
        """In a forked child: the files, and the thread that writes them, are the parent's."""
        self.remove()
        self._interceptors.forget()
        self._recorder = self._output = None
        self._files.forget()

    # ---- recording

    def start(
        self,
        models: Sequence[torch.nn.Module] = (),
        *,
        rank_id: int | None = None,
        tokens: Tokens = None,
    ) -> None:
        """Begin or go on recording the current step, if it is wanted.

        With `tokens` only the forward calls of the first model from one number to another are recorded, both
        included, counted from here.  Raises OutputError where the step's folder holds a dump already.
        """
        with self._giving_up():
            self._start(models, rank_id, tokens)

    def _start(self, models: Sequence[torch.nn.Module], rank_id: int | None, tokens: Tokens) -> None:
        self._rank_id = rank_id if rank_id is not None else self._rank_id
        for number, model in enumerate(models):
            self.modules.add_root(model, str(number) if len(models) > 1 else None)
        self._files.limits.allow(self.config)
        if self.config.dump_enable is False or self.failure is not None or self.broken:
            return
        if self._files.limits.reached(self.config):
            return
        if not self._wants_this_step() or not self.wants_this_rank():
            return
        if self._recorder is None:
            if self._finder is None:
                refuse_used(self._folder())
            self._output = output_of_step(self.open_writer, self.give_up, self._observer)
            self._recorder = StepRecorder(self.config, self._output, self._observer)
            if self._observer is not None:
                self._observer.begins(self.current_step, self.rank)
        self.install()
        if self.broken:
            return
        self._watch.begin(self._recorder)
        self._tokens = TokenRange(models[0] if models else None, *tokens) if tokens is not None else None
        if self._tokens is not None:
            self._watch.pause()

    def stop(self) -> None:
        """Pause: nothing is recorded until `start` but the gradients of the calls that were."""
        if self._audit is not None:
            self._audit.flush()
        self._tokens = None
        self._watch.pause()

    def give_up(self) -> None:
        """Record no more in this step: it has nowhere to go."""
        self.stop()
        self._watch.give_up()

    @property
    def is_recording(self) -> bool:
        return self._watch.recorder is not None

    def only(self, modules: Sequence[torch.nn.Module]) -> None:
        """Record nothing outside the calls of `modules` and their backward; with none, everything again."""
        self._calls.only(modules)

    def step(self, *, complete: bool = True) -> None:
        """End the current step, close its files, count on, and look whether config.json has changed."""
        with self._giving_up():
            recorded = self._recorder is not None
            try:
                self._end_step(complete=complete)
            finally:
                self.sampling.ended(recorded=recorded)
                self._heed_limits()
                self._read_again()

    def _end_step(self, *, complete: bool) -> None:
        self._files.settle()
        recorder, output = self._recorder, self._output
        self._recorder = self._output = None
        if recorder is None or output is None:
            self.current_step += 1
            return
        if self._audit is not None:
            self._audit.flush()
        self._watch.flush(recorder)
        self._calls.parameters.release()
        recorder.close()  # may still write, so the step is counted on after it
        number, self.current_step = self.current_step, self.current_step + 1
        coverage = covered(recorder, self._interceptors, self.left_out)
        if output.writer is not None:
            self.coverage.append(coverage)
            try:
                account = {**coverage.header(), **self.sampling.header(self.config)}
                trailer = closing_keys(recorder.devices, account, complete=complete)
            except Exception:
                output.writer.close({"complete": False})
                raise
            self._files.close(number, output.writer, trailer, waits=self.config.async_dump)

    def end_part(self) -> None:
        """Close what is recorded of the current step, which goes on: `start` writes it to another folder."""
        if self._recorder is not None:
            number = self.current_step
            self.stop()
            self._end_step(complete=True)
            self._files.settle()
            self.current_step = number

    def move(self, **settings: object) -> None:
        """Take over other settings (`config.merge`) now, from the next `start` on.  Raises ConfigError."""
        config = merge(self.config, **settings)
        if config != self.config:
            self.end_part()
            self.config = config
        if self._reloadable is not None:
            self._reloadable.override(**settings)

    def count_from(self, step: int) -> None:
        """The current step has this number."""
        if step != self.current_step:
            self.end_part()
            self.current_step = step

    def reread(self) -> bool:
        """Take over what was changed in config.json now, rather than at the end of the step; was it changed?"""
        if self._reloadable is None or not self._reloadable.is_outdated:
            return False
        self.end_part()
        self._read_again()
        return True

    def why_nothing(self) -> Nothing:
        """Why there is no dump, where there is none."""
        if self.broken:
            return Nothing(self.broken)
        if sampled := self.sampling.sentence(self.config):
            return Nothing(sampled, is_wanted=True)
        begun = self._finder is not None and self._finder.is_within_step
        return why_nothing(self.config, steps=self.current_step + begun, is_wanted_rank=self.wants_this_rank())

    def ended_by_limit(self) -> str:
        """Which limit ended the recording, and where; "" where none did."""
        return self._files.limits.sentence(self.config)

    def _heed_limits(self) -> None:
        """Say once that a limit ended the recording, and leave torch alone from there on, where steps are told."""
        if not self._files.are_settled or not (news := self._files.limits.news(self.config)):
            return
        self._say(news)
        if self._finder is None:
            self.remove()
            self._build(finds_steps=False)

    def _read_again(self) -> None:
        """Take over what was changed in config.json, from the next step on."""
        reloadable, before = self._reloadable, self.config
        if reloadable is None or not (news := reloadable.news(self.current_step)):
            return
        for sentence in news:
            self._say(sentence)
        self.config = reloadable.config
        if self._finder is not None:
            if self.config.level != before.level:
                self.config = replace(self.config, level=before.level)
                self._say(f"note: 'level' stays {before.level} while the script runs.")
        elif self.config.level != before.level or self.config.dump_enable is False:
            self.remove()
            self._build(finds_steps=False)

    def save(self, variable: Any, name: str, *, backward: bool = True) -> None:
        """Record any value as `Saved.{name}.{n}`; the gradients of its tensors follow when backward comes."""
        saved.record(self._watch, variable, name, backward=backward)

    def aside(self, act: Callable[[], None]) -> None:
        """Run `act` unseen: nothing that it does is recorded.  What it raises counts as a failure of ours."""
        self._watch.guard(act)

    def close(self, *, complete: bool = True) -> None:
        """End recording for good: what is open is written to its end, torch is put back."""
        with self._giving_up():
            if self._recorder is not None:
                self._end_step(complete=complete)
            self._files.settle()
            self._heed_limits()
            self.remove()
        self._files.look_for_all()

    @property
    def finished(self) -> bool:
        """Is the last wanted step behind us, or a limit reached?"""
        if self._files.limits.reached(self.config):
            return True
        return bool(self.config.step) and self.current_step > max(self.config.step)

    def _outermost(self, module: torch.nn.Module) -> None:
        self._interceptors.steps.drop_those_that_raised()
        if self._finder is not None:
            self._finder.outermost(module)
        if self._tokens is not None and self._recorder is not None:
            self._watch.pause()
            if self._tokens.wants(module):
                self._watch.begin(self._recorder)

    def _next_step(self) -> None:
        self.step()
        if (self._exit_after and self.finished) or (self._observer is not None and self._observer.is_over):
            raise LastStepDone(0)
        self.start()

    # ---- what is wanted, and where it goes

    @property
    def written(self) -> list[Written]:
        """The folders of the steps that are on disk."""
        return self._files.written

    @property
    def failure(self) -> AccError | None:
        """What keeps the steps from being written; None where nothing does."""
        return self._files.failure

    @failure.setter
    def failure(self, error: AccError | None) -> None:
        self._files.failure = error

    @property
    def has_written_here(self) -> bool:
        """Does the folder of the current step hold what this session wrote?"""
        return any(written.folder == self._folder() for written in self.written)

    @property
    def rank(self) -> int | None:
        """That of this process, None where it has none yet."""
        return self._rank_id if self._rank_id is not None else device.current_rank()

    def wants_this_rank(self) -> bool:
        return not self.config.rank or (self.rank or 0) in self.config.rank

    def _wants_this_step(self) -> bool:
        wanted = not self.config.step or self.current_step in self.config.step
        return wanted and self.sampling.picks(self.config, self.current_step)

    def _folder(self) -> Path:
        return rank_folder(self.config.root, step=self.current_step, rank=self.rank, pid=os.getpid())

    def open_writer(self) -> StepWriter | None:
        """The writer for the current step; None, and recording stops, where this rank is not wanted or the
        folder cannot be written."""
        writer = self._files.open(self.config, self._folder()) if self.wants_this_rank() else None
        if writer is None:
            self.give_up()
        else:
            self.on_opened()
        return writer
