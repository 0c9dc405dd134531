"""What a pipeline runs to learn shapes: its stages, once, on memory that holds nothing.

torch.distributed.pipelining does so before the first batch.  No number in it means anything, so none is recorded.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from ..torch_internals import pipeline_inferences, pipeline_module
from .patching import Patches
from .watch import Watch


class ShapeInference:
    """Keeps the runs that infer shapes out of the record, from when torch's module for pipelines is there."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def install(self, patches: Patches) -> None:
        """Patch the module now, or once the script has imported it."""
        watch = self._watch

        def look() -> None:
            module = sys.modules.get(pipeline_module)
            if module is None or not hasattr(module, "PipelineStage"):
                return
            watch.look_again = _look_no_more
            running = _running_inference(module.PipelineStage)
            if running is not None:
                watch.muted, watch.look_again = True, functools.partial(_until_over, watch, running)
            for owner in module.PipelineStage.__mro__:
                for name in pipeline_inferences:
                    if name in vars(owner):
                        patches.replace(owner, name, _unrecorded(watch, vars(owner)[name]))

        watch.look_again = look
        look()


def _look_no_more() -> None:
    pass


def _running_inference(stage: type) -> FrameType | None:
    """The run that is under way, where it began before torch's module was met: nothing but modules is looked at."""
    codes = {getattr(getattr(stage, name, None), "__code__", None) for name in pipeline_inferences}
    return next((frame for frame in _frames() if frame.f_code in codes), None)


def _until_over(watch: Watch, running: FrameType) -> None:
    if all(frame is not running for frame in _frames()):
        watch.muted, watch.look_again = False, _look_no_more


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _unrecorded(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def inferred(*args: Any, **kwargs: Any) -> Any:
        watch.look_again()  # the run of another stage, which nobody could keep out, may be over
        outer, watch.muted = watch.muted, True
        try:
            return original(*args, **kwargs)
        finally:
            watch.muted = outer

    return inferred
