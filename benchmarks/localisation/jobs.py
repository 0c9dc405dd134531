"""Jobs of several ranks, cut in every way that is in use: healthy pairs, and a fault in one rank of each."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.localisation.rows import BETWEEN, Case, Kernel, Side, variant

GROUP = "one rank of several"
ALL_REDUCE = "c10d::allreduce_"


@dataclass(frozen=True, slots=True)
class Job:
    """A way to cut a model: the script, its JOB, on how many ranks, and which call of gelu on a rank is made wrong.
    `reduces` says that the script calls all_reduce itself."""

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
    Job("1f1b", "stages", "1f1b", 2, 6),
    Job("interleaved", "stages", "interleaved", 2, 9),
    Job("all-to-all", "routed", "", 2, 1, reduces=True),
    Job("ring", "ring", "", 2, 1, reduces=True),
    Job("megatron-tp", "megatron", "tp", 2, 2, reduces=True),
    Job("megatron-sp", "megatron", "sp", 2, 3, reduces=True),
)

HEALTHY = tuple(
    Case(f"again-{job.name}", job.model, "again", job.side(extra=(("RUN", "again"),)), job.side(), None, exact=True)
    for job in JOBS
)

FAULTS = (
    *(
        Case(
            f"{job.name}-gelu",
            job.model,
            GROUP,
            job.side(Kernel("aten::gelu", "scale", 1.01, (job.call,), rank=1)),
            job.side(),
        )
        for job in JOBS
    ),
    *(
        Case(
            f"{job.name}-gelu-backward",
            job.model,
            GROUP,
            job.side(Kernel("aten::gelu_backward", "scale", 1.02, (job.call,), rank=0)),
            job.side(),
        )
        for job in JOBS
    ),
    *(
        Case(
            f"{job.name}-all-reduce",
            job.model,
            GROUP,
            job.side(Kernel(ALL_REDUCE, "", 1.5, (3,), rank=1)),
            job.side(),
            kinds=BETWEEN,
        )
        for job in JOBS
        if job.reduces
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
        for job in JOBS[:4]
    ),
    Case(
        "megatron-tp-maximum",
        "megatron",
        GROUP,
        JOBS[-2].side(extra=variant("maximum")),
        JOBS[-2].side(),
        "kind",
        ("operator",),
    ),
)
"""One call of gelu, of its backward or of all_reduce that is wrong on one rank alone; a rank that reads the batch of
another; a collective that reduces otherwise on all ranks."""
