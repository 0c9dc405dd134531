"""torch's private names stand in one table, every row of it is sound, and nothing else names any."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dump import torch_internals
from dump.torch_internals import INTERNALS, Internal

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "dump" / "torch_internals.py"
# `dump.format` imports no torch; the names in it are those that torch wrote into its own files.
OTHERS = ROOT / "dump" / "monitor" / "framework_optimizers.py"  # names what Megatron and DeepSpeed keep to themselves
FILES = sorted(
    path for path in (ROOT / "dump").rglob("*.py") if path not in (TABLE, OTHERS) and "format" not in path.parts
)
_LOOKS_UP = {"getattr", "hasattr", "setattr", "delattr", "replace"}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _own_names(trees: list[ast.Module]) -> set[str]:
    """Private names that are defined here: functions, classes, fields, attributes of `self`."""
    found: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    found.add(node.attr)
            elif isinstance(node, ast.Assign):
                found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


def _of_torch(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """What a file names of torch's that is private.  Operators (`torch.ops.aten._conj`) are registered, not private."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "torch":
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from (f"import {name}" for name in names if _is_private(name))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if re.match(r"torch\..*\b_\w", alias.name))
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            base = ast.unparse(node.value)
            if base.startswith(("torch.ops.", "_aten")) or (base, node.attr) == ("sys", "_getframe"):
                continue
            if base.split(".")[0] == "torch" or node.attr not in own:
                yield ast.unparse(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"torch(\.\w+)*\._[a-zA-Z]\w*(\.\w+)*", node.value):
                yield node.value
        elif isinstance(node, ast.Call) and not ast.unparse(node.func).startswith("os."):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = ast.unparse(node.args[0]) if node.args else ""
            for argument in node.args if called in _LOOKS_UP and owner != "os" else ():
                text = argument.value if isinstance(argument, ast.Constant) else None
                if isinstance(text, str) and _is_private(text):
                    yield f"{called}({text!r})"


def _trees(paths: list[Path]) -> list[ast.Module]:
    return [ast.parse(path.read_text(encoding="utf-8")) for path in paths]


def test_nothing_private_of_torch_is_named_elsewhere() -> None:
    trees = _trees(FILES)
    own = _own_names(trees)
    named = {
        f"{path.relative_to(ROOT)}: {name}"
        for path, tree in zip(FILES, trees, strict=True)
        for name in _of_torch(tree, own)
    }
    assert named == set()


@pytest.mark.parametrize(
    "line",
    [
        "import torch._dynamo",
        "from torch import _C",
        "from torch.utils._device import make",
        "torch._C.anything()",
        "tensor._version_of_torch",
        "importlib.import_module('torch.distributed._x')",
        "getattr(thing, '_private_name')",
        "patches.replace(torch.cuda, '_other_name', new)",
    ],
)
def test_the_reading_above_sees(line: str) -> None:
    assert list(_of_torch(ast.parse(line), {"_own"}))


@pytest.mark.parametrize(
    "line", ["self._own", "torch.ops.aten._conj", "import torch.nn", "os.replace('_a', b)", "'_b'"]
)
def test_the_reading_above_lets_pass(line: str) -> None:
    assert not list(_of_torch(ast.parse(line), {"_own"}))


# ---- the rows


@pytest.mark.parametrize("name", INTERNALS)
def test_a_row_says_all_that_is_to_be_known(name: str) -> None:
    row = INTERNALS[name]
    assert re.fullmatch(r"2\.\d+", row.since)
    assert row.purpose
    assert row.without
    assert all(re.fullmatch(r"\w+(\.\w+)*", path) for path in row.paths)
    assert any(_is_private(part) or part == "_C" for path in row.paths for part in path.split(".")) or name in (
        "python_dispatch_file",
        "compile_file",
    )


@pytest.mark.parametrize("name", INTERNALS)
def test_a_row_is_used(name: str) -> None:
    uses = re.compile(rf"\b{name}\b")
    files = [*FILES, *(ROOT / "acc_compare" / "replay").glob("*.py")]
    assert any(uses.search(path.read_text(encoding="utf-8")) for path in files)


@pytest.mark.parametrize("name", INTERNALS)
def test_this_torch_has_what_it_should(name: str) -> None:
    """A release from `since` on has the row: a name that has moved is found here first."""
    if name == "operator_samples":
        pytest.importorskip("expecttest")  # torch's own samples import it
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    since = tuple(int(part) for part in INTERNALS[name].since.split("."))
    assert torch_internals.available(name) or release < since


def test_rows_read_call_and_name() -> None:
    tensor = torch.ones(2)
    before = torch_internals.version(tensor)
    tensor.add_(1)
    assert torch_internals.version(tensor) == before + 1
    node = torch.ones(1, requires_grad=True).exp().grad_fn
    assert torch_internals.sequence_number(node) >= 0
    assert torch_internals.packet_name(torch.ops.aten.add) == "aten::add"
    assert torch_internals.traced_original == "_torchdynamo_inline"


def test_what_is_not_there_is_told_and_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Internal(("_C._never", "_nor.this"), "2.1", "a test", "nothing", otherwise=len)
    monkeypatch.setitem(torch_internals.INTERNALS, "never", row)
    assert not torch_internals.available("never")
    assert torch_internals.never([1, 2]) == 2
    (missing,) = [each for each in torch_internals.missing() if each.name == "never"]
    assert (missing.paths, missing.without) == (row.paths, row.without)
    assert "_C._never" in missing.reason
    del torch_internals._missing["never"], torch_internals.__dict__["never"]


def test_an_older_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Internal(("_C._never", "_C._current_graph_task_id"), "2.1", "a test", "nothing")
    monkeypatch.setitem(torch_internals.INTERNALS, "older", row)
    assert torch_internals.available("older")
    assert torch_internals.older() == -1
    del torch_internals.__dict__["older"]


def test_a_name_that_is_no_row() -> None:
    with pytest.raises(AttributeError, match="no_row"):
        torch_internals.no_row  # noqa: B018
    with pytest.raises(KeyError):
        torch_internals.available("no_row")


@pytest.mark.slow
def test_importing_it_looks_nothing_up() -> None:
    probe = "import sys, dump.torch_internals as t; sys.exit(any(name in vars(t) for name in t.INTERNALS))"
    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=False).returncode == 0


class _Counts:
    @classmethod
    def made(cls, number: int) -> tuple[type, int]:
        return cls, number


class _Child(_Counts):
    pass


@pytest.mark.parametrize("owner", [_Counts])
def test_the_function_behind_a_class_method_of_python(owner: type) -> None:
    assert torch_internals.function_behind(owner, "made")(_Child, 3) == (_Child, 3)


def test_the_function_behind_a_class_method_of_c() -> None:
    """As `torch.autograd.Function.apply` is from torch 2.14 on: without `__func__`."""

    class Keyed(dict):  # type: ignore[type-arg]
        pass

    function = torch_internals.function_behind(dict, "fromkeys")
    assert not hasattr(vars(dict)["fromkeys"], "__func__")
    made = function(Keyed, "ab", 1)
    assert type(made) is Keyed
    assert made == {"a": 1, "b": 1}
