"""Damage and forgery: one file of a pair of dumps changed, by a seed."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).resolve().parents[2] / "sample_dumps"
KINDS = ("dump.json", "dump.json fields", "stack.json", "construct.json", "tensor files", "mapping file")
_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "a" * 5000, "\ud800", "\0", "=1+1",
    "<script>", "[red]", "../../../etc/passwd", "/etc/passwd", "C:\\x", "torch.float32", "torch.void",
    [], {}, [[]], [None] * 50, {"type": "torch.Tensor"}, [2**40, 2**40], [0], [-3], "\n\n", "%s%n", "💥",
)  # fmt: skip
_TOKENS = (
    b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"\x00", b"\xff\xfe",
    b"\\u0000", b"\\ud800", b"[" * 600, b'{"a":' * 600, b"//", b"\n", b"\xef\xbb\xbf", b"-0", b"1" * 5000,
)  # fmt: skip
_YAML = (
    "modules", "classes", "apis", "calls", "fused", "shipped", "composites", "outputs", ": ", "- ", "\n", "\n  ",
    "{", "}", "[", "]", "*", "*a", "&a ", "<<: ", "!!python/object/apply:os.system ", "!!int ", "? ", "| ", "> ",
    "|", "?", '"', "'", "#", "---\n", "...\n",
    "NPU.npu_rms_norm", "Functional.gelu", "blocks.*.act", "pow mean add rsqrt mul mul?",
    "\t", "\0", "\ufeff", "%YAML 1.1\n",
    "9" * 5000, "1:" * 2000, "x" * 3000, "[" * 200, "{a: " * 200, "\\ud800", "~", "true", "false", "null", "=", "💥",
)  # fmt: skip

MAP = """modules: {blocks.*.act: blocks.*.act}
classes: {GELU: GELU}
apis: {Functional.gelu: Functional.gelu}
calls: {Functional.linear.0.forward: Functional.linear.0.forward}
fused: {n: {fused: [NPU.a, Functional.b], composites: ["pow|mul mean add rsqrt mul?"], outputs: {output.1: rsqrt}}}
shipped: true
"""


def prepare(kind: str, seed: int, folder: Path) -> tuple[Path, Path, Path | None]:
    """Two dumps below `folder` of which one has a changed file, and a mapping file where that is what was changed."""
    chance = random.Random(f"{kind} {seed}")
    pair = ("real_data", "bench_tensor") if kind == "tensor files" else ("gelu_in_bfloat16", "bench_statistics")
    roots = [folder / side for side in ("npu", "bench")]
    for root, name in zip(roots, pair, strict=True):
        shutil.copytree(SAMPLES / name, root)
    rank = next(chance.choice(roots).glob("step*/*"))
    if kind == "mapping file":
        path = folder / "map.yaml"
        path.write_bytes(_yaml(chance))
        # A call fewer on one side, so that the mapping is used.
        _without_a_call(rank / "dump.json", chance)
        return roots[0], roots[1], path
    _CHANGES[kind](rank, chance)
    return roots[0], roots[1], None


def _bytes(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few bytes changed, cut out, put in or repeated."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        place = chance.randrange(len(out) + 1)
        length = chance.choice((0, 1, 1, 4, 50, 2000))
        act = chance.randrange(7)
        if act == 0 and place < len(out):
            out[place] ^= 1 << chance.randrange(8)
        elif act == 1:
            del out[place : place + length]
        elif act == 2:
            out[place:place] = chance.choice(_TOKENS)
        elif act == 3:
            out[place:place] = out[place : place + length]
        elif act == 4:
            out[place : place + length] = chance.randbytes(length)
        else:
            other = chance.randrange(len(out) + 1)
            out[place:place] = out[other : other + length]
    return bytes(out[: chance.randrange(len(out) + 1)] if chance.random() < 0.1 else out)


def _dump_bytes(rank: Path, chance: random.Random) -> None:
    _rewrite(rank / "dump.json", chance)


def _rewrite(path: Path, chance: random.Random) -> None:
    path.write_bytes(_bytes(path.read_bytes(), chance))


def _fields(rank: Path, chance: random.Random) -> None:
    """Values of dump.json replaced by odd ones, keys dropped, doubled or renamed; the file stays JSON."""
    path = rank / "dump.json"
    content = json.loads(path.read_bytes())
    for _ in range(chance.choice((1, 1, 3, 30))):
        _change_one(content, chance)
    path.write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")


def _change_one(content: Any, chance: random.Random) -> None:
    holder = content
    for _ in range(chance.randrange(1, 9)):
        children = [
            value
            for value in (holder.values() if isinstance(holder, dict) else holder)
            if value and isinstance(value, (dict, list))
        ]
        if not children:
            break
        holder = chance.choice(children)
    if not holder:
        return
    key = chance.choice(list(holder)) if isinstance(holder, dict) else chance.randrange(len(holder))
    act = chance.randrange(4)
    if act == 0 and isinstance(holder, dict):
        holder[chance.choice((*map(str, _ODD[9:20]), "Functional.gelu.0.forward", "data"))] = holder.pop(key)
    elif act == 1:
        del holder[key]
    elif act == 2 and isinstance(holder[key], (dict, list)):
        holder[key] = [copy.deepcopy(holder[key]) for _ in range(chance.choice((1, 3)))]
    else:
        holder[key] = copy.deepcopy(chance.choice(_ODD))


def _without_a_call(path: Path, chance: random.Random) -> None:
    content = json.loads(path.read_bytes())
    del content["data"][chance.choice(list(content["data"]))]
    path.write_text(json.dumps(content), encoding="utf-8")


def _json_beside(name: str) -> Callable[[Path, random.Random], None]:
    def change(rank: Path, chance: random.Random) -> None:
        path = rank / name
        if chance.random() < 0.6:
            _rewrite(path, chance)
            return
        content = json.loads(path.read_bytes())
        for _ in range(chance.choice((1, 3, 30))):
            _change_one(content, chance)
        path.write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")

    return change


def _tensors(rank: Path, chance: random.Random) -> None:
    """A tensor file damaged, replaced by a forgery of any format, or pointed elsewhere."""
    files = sorted((rank / "dump_tensor_data").iterdir())
    path = chance.choice(files)
    act = chance.randrange(7)
    if act == 0:
        _rewrite(path, chance)
    elif act == 1:  # the header alone, where offsets and shapes are
        data = path.read_bytes()
        cut = min(len(data), 8 + struct.unpack("<Q", data[:8])[0])
        path.write_bytes(_bytes(data[:cut], chance) + data[cut:])
    elif act == 2:
        path.write_bytes(_safetensors(chance))
    elif act == 3:
        _point(rank, path.name, chance.choice(_elsewhere(rank)))
    elif act == 4:
        path.unlink()
        path.symlink_to(chance.choice(("/etc/passwd", "../dump.json", path.name, "/dev/zero")))
    elif act == 5:
        _point(rank, path.name, _packed(path, chance))
    else:
        name, content = chance.choice((("forged.npy", _npy(chance)), ("forged.pt", _pt(chance))))
        (path.parent / name).write_bytes(content)
        _point(rank, path.name, name)


def _packed(path: Path, chance: random.Random) -> str:
    """A tensor file put into a pack; a name for it, that may lie."""
    start, data = chance.choice((0, 8, 4096)), path.read_bytes()
    (path.parent / "forged.pack").write_bytes(bytes(start) + data + bytes(chance.choice((0, 8))))
    end = start + len(data) + chance.choice((0, 0, -1, 1, 2**40))
    places = (f"{start}-{end}", f"{end}-{start}", f"{start}-{start}", f"{'9' * 18}-{'9' * 18}", f"{'9' * 30}-0", "")
    return f"{chance.choice(('', '../'))}forged.pack#{chance.choice((places[0], *places))}"


def _elsewhere(rank: Path) -> tuple[str, ...]:
    return ("../dump.json", "../../../../../../../../etc/passwd", "/etc/passwd", "", ".", "..", "a/b.safetensors",
            "\0", "x" * 5000, "CON.npy", "none.pt", str(rank / "dump.json"), "\ud800.npy", "a\nb.npy")  # fmt: skip


def _point(rank: Path, old: str, new: str) -> None:
    path = rank / "dump.json"
    path.write_bytes(path.read_bytes().replace(json.dumps(old).encode(), json.dumps(new).encode()))


def _safetensors(chance: random.Random) -> bytes:
    shape = chance.choice(([2**40], [2**31, 2**31], [], [0], [-1], [1] * 200, [2**63], "x", None, [3]))
    offsets = chance.choice(([0, 12], [0, 2**62], [12, 0], [-1, 5], [0], None, [0, 0]))
    dtype = chance.choice(("F32", "BF16", "F8_E4M3", "X9", 5, None, "BOOL"))
    header = json.dumps(
        {chance.choice(("tensor", "x", "")): {"dtype": dtype, "shape": shape, "data_offsets": offsets}}
    ).encode()
    length = chance.choice((len(header), 2**63, 0, len(header) + 100, 2**40))
    return struct.pack("<Q", length) + header + bytes(chance.choice((0, 12, 1000)))


def _npy(chance: random.Random) -> bytes:
    shape = chance.choice(("(3,)", "(2**40,)", "(1099511627776,)", "(-1,)", "()", "(3", "(" * 300))
    descr = chance.choice(("'<f4'", "'|O'", "'<V99999'", "[('a', '<f4')]", "__import__('os')", "'<U1000000000'"))
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    version = chance.choice((b"\x01\x00", b"\x02\x00", b"\x09\x09"))
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", chance.choice((len(header), 60_000)) & 0xFFFF)
    return b"\x93NUMPY" + version + size + header + bytes(chance.choice((0, 12)))


class _Call:
    """Unpickled without care, this runs a program."""

    def __reduce__(self) -> Any:
        return (os.system, ("touch /tmp/acc_fuzz_was_here",))


def _pt(chance: random.Random) -> bytes:
    bombs = (
        pickle.dumps(_Call()),
        b"\x80\x02" + b"]" * 100_000 + b".",
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + b"K\x01" * 6 + b"tR.",
        b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"",
    )
    content = _bytes(chance.choice(bombs), chance) if chance.random() < 0.3 else chance.choice(bombs)
    out = io.BytesIO()
    packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "w", packing) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", bytes(12))
        if chance.random() < 0.2:
            archive.writestr("archive/../../../evil", b"x")
        if chance.random() < 0.1:
            archive.writestr("archive/data/1", bytes(20_000_000), zipfile.ZIP_DEFLATED)
    data = out.getvalue()
    return _bytes(data, chance) if chance.random() < 0.3 else chance.choice((data, content))


def _yaml(chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        return _bytes(MAP.encode(), chance)
    words = [chance.choice(_YAML) for _ in range(chance.choice((3, 10, 60)))]
    if chance.random() < 0.5:
        place = chance.randrange(len(MAP))
        return (MAP[:place] + "".join(words) + MAP[place:]).encode("utf-8", "surrogatepass")
    return "".join(words).encode("utf-8", "surrogatepass")


_CHANGES: dict[str, Callable[[Path, random.Random], None]] = {
    "dump.json": _dump_bytes,
    "dump.json fields": _fields,
    "stack.json": _json_beside("stack.json"),
    "construct.json": _json_beside("construct.json"),
    "tensor files": _tensors,
}
