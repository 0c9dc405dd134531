"""The keys of dump.json, each said once: encoder, decoder and docs/format.md all go by these tables.

A key that is `ours` is not in a dump of msprobe's, and a reader of either side must do without it.  `since` is the
FORMAT_VERSION that brought it.  The order is that of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal[
    "text", "flag", "integer", "count", "number", "sizes", "strides", "sketch", "waves", "layout", "object", "places"
]


@dataclass(frozen=True, slots=True)
class Field:
    """One key: what its value is, and `name`, the attribute of `schema.TensorRecord` or `schema.Header` it becomes."""

    key: str
    kind: Kind
    meaning: str
    ours: bool = False
    required: bool = False
    since: int = 1

    @property
    def name(self) -> str:
        return self.key.lower()


def _of_msprobe(key: str, kind: Kind, meaning: str, *, required: bool = False) -> Field:
    return Field(key, kind, meaning, required=required)


def _ours(key: str, kind: Kind, meaning: str, *, since: int = 1) -> Field:
    return Field(key, kind, meaning, ours=True, since=since)


TENSOR_TYPE = "torch.Tensor"
"""What stands under "type" in every record of a tensor."""

TENSOR_FIELDS: tuple[Field, ...] = (
    _of_msprobe("dtype", "text", "torch's name for it: `torch.float32`", required=True),
    _of_msprobe("shape", "sizes", "the extents, outermost first", required=True),
    _of_msprobe("Max", "number", "largest element; NaN where any is, as torch computes it; an int for integers"),
    _of_msprobe("Min", "number", "smallest element, likewise"),
    _of_msprobe("Mean", "number", "mean of all elements, likewise"),
    _of_msprobe("Norm", "number", "Euclidean norm of all elements, likewise"),
    _of_msprobe("requires_grad", "flag", "does autograd follow it"),
    _ours("grad_fn", "text", "the autograd node of a tensor that no recorded call made"),
    _ours("unrecorded", "text", "why it was not measured"),
    _of_msprobe(
        "md5",
        "text",
        "hex digits of a digest over its bytes: 32 of MD5 or XXH3, 16 of an XOR, 8 of a CRC-32 (`hash` says which)",
    ),
    _of_msprobe("data_name", "text", "the file in `dump_tensor_data` that holds it, or `file#first-end`: bytes of it"),
    _ours("nan", "count", "how many elements are NaN; left out where none is"),
    _ours("inf", "count", "how many are infinite; left out where none is"),
    _ours("sketch", "sketch", "base64 of 16 little-endian float32, `_` for `+`: the sums that tell two tensors apart"),
    _ours("value", "integer", "equal within a step for the same bytes of memory at the same version"),
    _ours("storage", "integer", "equal within a step for tensors that share memory"),
    _ours(
        "stride", "strides", "of an argument that is not contiguous: elements from one index to the next, by dimension"
    ),
    _ours(
        "unwritten",
        "flag",
        "its memory is new, and nothing was seen to write there: what it holds says nothing",
        since=2,
    ),
    _ours(
        "layout",
        "layout",
        "of a DTensor, whose part on this rank the rest describes: `shape` of the whole, ranks of the `mesh`,"
        " `placements` (`S(0)` cut along dimension 0, `R` replicated, `P(sum)` a partial sum)",
        since=2,
    ),
    _ours(
        "partition",
        "sizes",
        "of a parameter whose attributes say how Megatron cuts it: the dimension and the stride, nothing of one that"
        " each rank has whole",
        since=2,
    ),
    _ours(
        "waves",
        "waves",
        "where a launcher started the run: base64 of 4 little-endian float32, `_` for `+`: sums from which those of a"
        " whole follow that was cut along any dimension",
        since=3,
    ),
)

HEADER_FIELDS: tuple[Field, ...] = (
    _of_msprobe("task", "text", "`statistics` or `tensor`", required=True),
    _of_msprobe("level", "text", "`L0` modules, `L1` API calls, `mix` both", required=True),
    _of_msprobe("framework", "text", "`pytorch`"),
    _of_msprobe("dump_data_dir", "text", "the folder of tensor files as it was called when written, or null"),
    _ours("format_version", "integer", "this page's version"),
    _ours("torch_version", "text", "torch's own"),
    _ours("summary_mode", "text", "`statistics` or `md5`; null with tensor files"),
    _ours("hash", "text", "what `md5` holds: `md5`, `xxh3`, `crc32` or `xor`"),
    _ours("sketch", "integer", "which signs the sketches were made with; two versions cannot be compared"),
    _ours("world_size", "integer", "how many processes ran together"),
    _ours(
        "environment",
        "object",
        "what the run had under it: the state of the NPU, versions; `command`, a list of words: what was run with which"
        " arguments, secrets left out; `started_by`, `script` where that started the process itself; `seed`,"
        " `deterministic`; `simulated_faults`, planted in a simulated NPU; "
        "`remeasured`, with `--remeasure`",
    ),
    _ours("device", "text", "`npu`, `cuda` or `cpu`: where tensors were measured"),
    _ours("device_name", "text", "what the device calls itself"),
    _ours("numerics", "object", "settings that change results, in force when the step ended"),
    _ours("complete", "flag", "did the step come to its end"),
    _ours(
        "coverage",
        "object",
        "how many calls were recorded, and what was missed, by reason; `models`, where there are several, gives the "
        "class of each by what its modules' names begin with",
    ),
    _ours("ended_by", "text", "the limit of the user's that cut the step short"),
)
"""Those up to `environment` stand in the first line, the others in the last."""

CALL_FIELDS: tuple[Field, ...] = (
    _of_msprobe("input_args", "object", "forward: positional arguments, a list"),
    _of_msprobe("input_kwargs", "object", "forward: keyword arguments, by name"),
    _of_msprobe("input", "object", "backward: gradients of the outputs, a list"),
    _of_msprobe("output", "object", "what the call returned; backward: gradients of the inputs"),
    _of_msprobe("parameters", "object", "a module's own parameters, by name"),
    _of_msprobe("is_recompute", "flag", "a forward call made again inside backward"),
    _ours("written", "object", "what the call changed and did not return (collectives: none), by place: `input.3`"),
    _ours("tuples", "places", "task tensor: the arguments among the lists that were tuples, by place: `input.1`"),
    _ours("autocast", "text", "task tensor: the dtype that autocast computed in, where it was on"),
    _ours(
        "collectives",
        "object",
        "the collectives that the call is or ran: a list of `kind`, `group`, its `ranks`, and `order`, how many of this"
        " group's came before in the step",
        since=2,
    ),
)

HISTORY: dict[int, str] = {
    1: "the first: msprobe's layout, and the keys marked +",
    2: "collectives name their group and order, parts of a DTensor their layout",
    3: "the tensors of a step lie in one file",
}
"""What each FORMAT_VERSION brought."""

FORMAT_VERSION = max(HISTORY)


def keys(fields: tuple[Field, ...], *kinds: Kind) -> tuple[str, ...]:
    """The keys of these kinds, in the order of the file."""
    return tuple(field.key for field in fields if field.kind in kinds)
