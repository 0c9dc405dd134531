"""Jobs of several ranks, cut in every way that is in use: healthy pairs, and a fault in one rank of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from benchmarks.localisation.kernels import COPIES, OPERATORS
from benchmarks.localisation.rows import BETWEEN, OPERATOR, Case, Kernel, Side, variant

Cases: TypeAlias = "tuple[Case, ...]"

GROUP, NOISY, OTHERWISE = "one rank of several", "ranks in noise", "ranks against others"
_DEALING = ("sharding", "dealt", "three_ways")
"""Models whose batch is dealt out among ranks."""
ALL_REDUCE = "c10d::allreduce_"


@dataclass(frozen=True, slots=True)
class Job:
    """A way to cut a model: the script, its JOB, on how many ranks, and which call of gelu on a rank is made wrong.
    `reduces` says that its ranks call all_reduce in the open."""

    name: str
    model: str
    job: str
    ranks: int
    call: int
    reduces: bool = False

    def side(self, *kernels: Kernel, extra: tuple[tuple[str, str], ...] = ()) -> Side:
        return Side(variables=(("JOB", self.job), *extra), kernels=kernels, ranks=self.ranks)


JOBS = (
    Job("ddp", "sharding", "ddp", 2, 2),
    Job("fsdp1", "sharding", "fsdp1", 2, 3),
    Job("fsdp2", "sharding", "fsdp2", 2, 2),
    Job("zero", "sharding", "zero", 2, 1),
    Job("tp", "tensor_parallel", "tp", 2, 3),
    Job("sequence-parallel", "tensor_parallel", "sp", 2, 2),
    Job("fsdp2-tp", "tensor_parallel", "fsdp_tp", 4, 2),
    Job("ddp-tp", "tensor_parallel", "ddp_tp", 4, 2),
    Job("1f1b", "stages", "1f1b", 2, 6),
    Job("interleaved", "stages", "interleaved", 2, 9),
    Job("all-to-all", "routed", "", 2, 1, reduces=True),
    Job("replicas", "routed", "replicas", 4, 1, reduces=True),
    Job("ring", "ring", "", 2, 1, reduces=True),
    Job("ulysses", "ring", "ulysses", 2, 1, reduces=True),
    Job("megatron-tp", "megatron", "tp", 2, 2, reduces=True),
    Job("megatron-sp", "megatron", "sp", 2, 3, reduces=True),
    Job("megatron-tp-dp", "megatron", "tp_dp", 4, 2, reduces=True),
    Job("accumulate", "dealt", "accumulate", 2, 6),
    Job("unused", "dealt", "unused", 2, 2),
    Job("static", "dealt", "static", 2, 3),
    Job("fp16-hook", "dealt", "fp16_hook", 2, 2),
    Job("fsdp2-mixed", "dealt", "mixed", 2, 2),
    Job("fsdp2-kept", "dealt", "kept", 2, 3),
    Job("hsdp", "dealt", "hsdp", 4, 2),
    Job("clip", "dealt", "clip", 2, 2),
    Job("fsdp2-clip", "dealt", "fsdp_clip", 2, 1),
    Job("uneven", "dealt", "uneven", 2, 2),
    Job("branch", "dealt", "branch", 2, 2),
    Job("batch-norm", "dealt", "statistics", 2, 3),
    Job("autocast", "dealt", "autocast", 2, 2),
    Job("three-ways", "three_ways", "2x2x2", 8, 6, reduces=True),
)

_NOISE = tuple(Kernel(operator, "rounds", 1.0) for operator in OPERATORS if operator not in COPIES)
_MEGATRON = next(job for job in JOBS if job.name == "megatron-tp")

_ALONE = tuple(Job(name, "stages", name, 1, 1) for name in ("whole", "micro", "deep"))
"""One process without torch.distributed."""

_OTHER_SIDES = (
    Job("1x1x1", "three_ways", "1x1x1", 1, 1),
    Job("1x2x2", "three_ways", "1x2x2", 4, 1),
    Job("2x1x2", "three_ways", "2x1x2", 4, 1),
    Job("ddp-tp-turned", "tensor_parallel", "ddp_tp_turned", 4, 2),
)
"""Stages, parts of the batch and parts of each tensor, some of them one; a mesh in the other order."""

_PAIRS = (
    ("ddp", 2, "ddp", 1),
    ("ddp", 4, "ddp", 2),
    ("fsdp2", 2, "fsdp2", 1),
    ("fsdp2", 4, "fsdp2", 2),
    ("fsdp2", 2, "ddp", 2),
    ("fsdp1", 2, "ddp", 2),
    ("zero", 2, "ddp", 2),
    ("tp", 2, "tp", 1),
    ("tp", 4, "tp", 2),
    ("sequence-parallel", 2, "sequence-parallel", 1),
    ("sequence-parallel", 4, "sequence-parallel", 1),
    ("sequence-parallel", 2, "tp", 2),
    ("fsdp2-tp", 4, "tp", 1),
    ("fsdp2-tp", 4, "tp", 2),
    ("ddp-tp", 4, "tp", 1),
    ("ddp-tp", 4, "tp", 2),
    ("ddp-tp", 4, "ddp-tp-turned", 4),
    ("megatron-tp", 2, "megatron-tp", 1),
    ("megatron-tp-dp", 4, "megatron-tp", 1),
    ("megatron-tp-dp", 4, "megatron-tp", 2),
    ("megatron-sp", 2, "megatron-sp", 1),
    ("ring", 2, "ring", 1),
    ("ulysses", 2, "ulysses", 1),
    ("ulysses", 4, "ulysses", 2),
    ("all-to-all", 2, "all-to-all", 1),
    ("replicas", 4, "replicas", 1),
    ("replicas", 4, "replicas", 2),
    ("1f1b", 2, "whole", 1),
    ("1f1b", 2, "micro", 1),
    ("interleaved", 2, "deep", 1),
    ("three-ways", 8, "1x1x1", 1),
    ("three-ways", 8, "1x2x2", 4),
    ("three-ways", 8, "2x1x2", 4),
)
"""Jobs of one script that are cut otherwise: job and number of ranks of either side."""


def _otherwise(name: str, *kernels: Kernel, healthy: bool) -> Cases:
    by_name = {job.name: job for job in (*JOBS, *_ALONE, *_OTHER_SIDES)}
    return tuple(
        Case(
            f"{ours}-{ranks}-against-{theirs}-{others}-{name}",
            by_name[ours].model,
            OTHERWISE,
            replace(
                by_name[ours].side(
                    *(replace(k, calls=(by_name[ours].call,), rank=ranks - 1) if k.calls else k for k in kernels)
                ),
                ranks=ranks,
            ),
            replace(by_name[theirs].side(), ranks=others),
            None if healthy else "fired",
        )
        for ours, ranks, theirs, others in _PAIRS
    )


HEALTHY = (
    *_otherwise("again", healthy=True),
    *_otherwise("noisy", *_NOISE, healthy=True),
    *(
        Case(f"again-{job.name}", job.model, "again", job.side(extra=(("RUN", "again"),)), job.side(), None, exact=True)
        for job in JOBS
    ),
    *(Case(f"noisy-{job.name}", job.model, NOISY, job.side(*_NOISE), job.side(), None) for job in JOBS),
)
"""Every job recorded twice, by the same kernels and by kernels that round otherwise; and jobs cut in two ways."""


def _of_one_part(name: str, ours: str, ranks: int, theirs: int, kernel: Kernel) -> Case:
    """The same job on other numbers of ranks, with a fault in one of them."""
    job = next(job for job in JOBS if job.name == ours)
    sides = replace(job.side(kernel), ranks=ranks), replace(job.side(), ranks=theirs)
    return Case(f"{ours}-{ranks}-against-{ours}-{theirs}-{name}", job.model, OTHERWISE, *sides)


def _faulty(
    name: str, kernel: Callable[[Job], Kernel], jobs: Iterable[Job], kinds: tuple[str, ...] = OPERATOR
) -> Cases:
    return tuple(
        Case(f"{job.name}-{name}", job.model, GROUP, job.side(kernel(job)), job.side(), kinds=kinds) for job in jobs
    )


FAULTS = (
    *_otherwise("gelu", Kernel("aten::gelu", "scale", 1.01, (1,)), healthy=False),
    _of_one_part("gradient-rows", "fsdp2", 2, 1, Kernel("aten::mm", "last_rows", 2, (2,), rank=1)),
    _of_one_part("weight-rows", "fsdp2", 2, 1, Kernel("aten::mm", "swap_rows", 0, (3,), rank=1)),
    _of_one_part("other-rows", "fsdp2", 2, 1, Kernel("aten::mm", "swap_rows", 0, (6,), rank=1)),
    _of_one_part("other-rows", "ddp", 4, 2, Kernel("aten::mm", "swap_rows", 0, (8,), rank=1)),
    _of_one_part("other-rows", "tp", 2, 1, Kernel("aten::mm", "swap_rows", 0, (6,), rank=1)),
    _of_one_part("weight-rows", "tp", 2, 1, Kernel("aten::mm", "swap_rows", 0, (3,), rank=1)),
    _of_one_part("other-rows", "sequence-parallel", 2, 1, Kernel("aten::mm", "swap_rows", 0, (2,), rank=1)),
    _of_one_part("softmax", "ulysses", 4, 1, Kernel("aten::_softmax", "scale", 1.01, (1,), rank=2)),
    *_faulty("gelu", lambda job: Kernel("aten::gelu", "scale", 1.01, (job.call,), rank=1), JOBS),
    *_faulty("gelu-backward", lambda job: Kernel("aten::gelu_backward", "scale", 1.02, (job.call,), rank=0), JOBS),
    *_faulty(
        "all-reduce",
        lambda _: Kernel(ALL_REDUCE, "", 1.5, (3,), rank=1),
        (job for job in JOBS if job.reduces),
        BETWEEN,
    ),
    *(
        Case(
            f"{job.name}-other-data",
            job.model,
            GROUP,
            job.side(extra=variant("other_data")),
            job.side(),
            "kind",
            ("input",),
        )
        for job in JOBS
        if job.model in _DEALING
    ),
    Case(
        "megatron-tp-maximum",
        "megatron",
        GROUP,
        _MEGATRON.side(extra=variant("maximum")),
        _MEGATRON.side(),
        "kind",
        ("operator",),
    ),
)
"""One call of gelu, of its backward or of all_reduce that is wrong on one rank alone; rows of a gradient that are wrong
or change places, and of a softmax a part that is as large as one of four ranks has it; a rank that reads the batch of
another; a collective that reduces otherwise on all ranks."""
