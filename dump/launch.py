"""Run an unmodified script under a session, as `python script.py ARGS` would run it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from .format.errors import ConfigError
from .session import LastStepDone, Session

PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Target:
    """What to run: a script's path, or with `is_module` a module's dotted name; and its arguments."""

    name: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False


def run(target: Target, session: Session) -> int:
    """Run `target` with `session` installed from its first line on; return the script's own exit status.

    An exception of the script's is raised again once the dump is closed.  Raises ConfigError when there is no such
    script.
    """
    code, namespace, first_path = _load(target)
    session.install()
    session.start()
    complete = False
    try:
        with _as_main(target, namespace, first_path):
            exec(code, namespace.__dict__)
        complete = True
    except LastStepDone:
        complete = True
    except SystemExit as stop:
        complete = stop.code in (None, 0)
        if not complete:
            return stop.code if isinstance(stop.code, int) else _said(stop.code)
    finally:
        session.close(complete=complete)
    return 0


def _said(message: object) -> int:
    """`sys.exit("text")` prints the text and means status 1."""
    print(message, file=sys.stderr)
    return 1


def _load(target: Target) -> tuple[CodeType, ModuleType, str]:
    namespace = ModuleType("__main__")
    if target.is_module:
        return _load_module(target.name, namespace)
    path = Path(target.name)
    if path.is_dir() and (path / "__main__.py").is_file():
        path = path / "__main__.py"
    if not path.is_file():
        raise ConfigError(f"{target.name}: no such script. Give the path of a Python file, or -m MODULE.")
    namespace.__file__ = str(path)
    namespace.__dict__["__builtins__"] = __builtins__
    try:
        source = path.read_bytes()
        return compile(source, str(path), "exec"), namespace, str(path.parent.absolute())
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{target.name}: is not a Python script ({error}).") from error


def _load_module(name: str, namespace: ModuleType) -> tuple[CodeType, ModuleType, str]:
    sys.path.insert(0, os.getcwd())
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except (ImportError, ValueError):
        spec = None
    finally:
        sys.path.pop(0)
    if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        raise ConfigError(f"-m {name}: no such module. Give a dotted name that `python -m` would take.")
    code = spec.loader.get_code(spec.name)
    if code is None:
        raise ConfigError(f"-m {name}: has no source to run.")
    namespace.__file__ = spec.origin
    namespace.__spec__ = spec
    namespace.__package__ = spec.parent
    namespace.__dict__["__builtins__"] = __builtins__
    return code, namespace, os.getcwd()


@contextlib.contextmanager
def _as_main(target: Target, namespace: ModuleType, first_path: str) -> Iterator[None]:
    """sys.argv, sys.path[0] and sys.modules["__main__"] as the script would find them on its own."""
    before_argv, before_path, before_main = sys.argv, list(sys.path), sys.modules.get("__main__")
    sys.argv = [str(namespace.__file__), *target.arguments]
    sys.path.insert(0, first_path)
    sys.modules["__main__"] = namespace
    try:
        with _yielding_the_name(first_path):
            yield
    finally:
        sys.argv = before_argv
        sys.path[:] = before_path
        if before_main is not None:
            sys.modules["__main__"] = before_main


@contextlib.contextmanager
def _yielding_the_name(folder: str) -> Iterator[None]:
    """A script with a `dump.py` or `dump/` of its own beside it gets that one when it imports `dump`.

    Ours is loaded whole first and then hidden; its code goes on by the references it holds.
    """
    theirs = Path(folder) / PACKAGE
    ours = Path(__file__).parent
    is_theirs = theirs.with_suffix(".py").is_file() or (theirs.is_dir() and theirs.resolve() != ours.resolve())
    if not is_theirs:
        yield
        return
    for module in pkgutil.walk_packages([str(ours)], f"{PACKAGE}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    hidden: dict[str, Any] = {
        name: sys.modules.pop(name)
        for name in list(sys.modules)
        if name == PACKAGE or name.startswith(f"{PACKAGE}.")
    }
    try:
        yield
    finally:
        for name in [n for n in sys.modules if n == PACKAGE or n.startswith(f"{PACKAGE}.")]:
            del sys.modules[name]
        sys.modules.update(hidden)


def split_target(arguments: Sequence[str], module: str | None) -> Target | None:
    """What the command line asks to run; None means the built-in workload."""
    if module is not None:
        return Target(module, tuple(arguments), is_module=True)
    if not arguments:
        return None
    return Target(arguments[0], tuple(arguments[1:]))
