"""Run an unmodified script under a session, as `python script.py ARGS` would run it."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import NoReturn, Protocol

from ..format.errors import AccError, ConfigError
from ..format.paths import from_home
from ..intercept.patching import Patches
from ..intercept.tracebacks import without_ours
from ..record.observer import LastStepDone
from .interrupted import INTERRUPTED

PACKAGE = __name__.partition(".")[0]
_AT_START = frozenset(
    "_collections_abc _sitebuiltins abc codecs encodings genericpath io ntpath os posixpath site stat".split()
)
"""What Python has imported before it runs a script."""
_OURS = Path(__file__).resolve().parent.parent


class Recording(Protocol):
    """What is installed around a script: a `Session`, or what else watches one."""

    def install(self) -> None: ...

    def start(self) -> None: ...

    def close(self, *, complete: bool = True) -> None: ...


@dataclass(frozen=True, slots=True)
class Target:
    """What to run: a script's path, or with `is_module` a module's dotted name; and its arguments."""

    name: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False


def run(target: Target, session: Recording) -> int:
    """Run `target` with `session` installed from its first line on; return the script's own exit status.

    An exception of the script's is raised again once the dump is closed.  Raises ConfigError when there is no
    such script, and what `Session.install` raises.
    """
    return recorded(prepared(target), session)


def prepared(target: Target, tell: Callable[[], None] | None = None) -> Callable[[], None]:
    """What runs `target`; it calls `tell` before the first line of it, when nothing stands in the way any more.  Raises
    ConfigError when there is no such script."""
    script = None if target.is_module else _find_script(target.name)
    folder = os.getcwd() if script is None else str(script.parent.absolute())

    def execute() -> None:
        with _import_path(folder), yielding_the_name(folder):
            code, namespace = _load_module(target.name) if script is None else _load_script(script)
            name = str(namespace.__file__) if script is None else str(from_home(target.name))
            if tell is not None:
                tell()
            with _as_main(namespace, [name, *target.arguments]):
                exec(code, namespace.__dict__)

    return execute


def bare(execute: Callable[[], None]) -> int:
    """Run `execute` without a session; its exit status."""
    try:
        execute()
    except LastStepDone:
        return 0
    except SystemExit as stop:
        return exit_status(stop)
    return 0


def recorded(execute: Callable[[], None], session: Recording) -> int:
    """Run `execute` under `session` and close it, whichever way `execute` ends; its exit status."""
    session.install()
    complete = False
    try:
        session.start()
        with _closed_by_hard_exit(session):
            execute()
        complete = True
    except LastStepDone:
        complete = True
    except SystemExit as stop:
        complete = stop.code in (None, 0)
        return exit_status(stop)
    finally:
        session.close(complete=complete)
    return 0


@contextlib.contextmanager
def _closed_by_hard_exit(session: Recording) -> Iterator[None]:
    """`os._exit` unwinds nothing, so a script that ends by it would lose what is still to be written."""
    original, process = os._exit, os.getpid()

    def _exit(status: int) -> NoReturn:
        if os.getpid() == process:
            session.close(complete=status == 0)
        original(status)

    with Patches() as patches:
        patches.replace(os, "_exit", _exit)
        yield


def exit_status(stop: SystemExit) -> int:
    """The status that Python would exit with; `sys.exit("text")` prints the text and means 1."""
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return int(stop.code)
    print(stop.code, file=sys.stderr)
    return 1


def outcome(execute: Callable[[], int]) -> int:
    """The exit status of a script; its own failure is shown as Python would show it.  Raises AccError."""
    try:
        return execute()
    except (AccError, SystemExit):
        raise
    except KeyboardInterrupt as error:
        _show(error)
        return INTERRUPTED
    except BaseException as error:  # Python ends alike for a class of the script's own
        _show(error)
        return 1


def _show(error: BaseException) -> None:
    """The script's own failure, as Python would show it: by the hook in force, without frames of ours."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = without_ours(link.__traceback__)
            todo += [link.__cause__, link.__context__]
    sys.excepthook(type(error), error, error.__traceback__)


def split_target(arguments: Sequence[str], module: str | None) -> Target | None:
    """What the command line asks to run; None means the built-in workload."""
    if module is not None:
        return Target(module, tuple(arguments), is_module=True)
    if not arguments or arguments[0].startswith("-"):
        return None
    return Target(arguments[0], tuple(arguments[1:]))


def _find_script(name: str) -> Path:
    path = from_home(name)
    if (path / "__main__.py").is_file():
        return path / "__main__.py"
    if not path.is_file():
        raise ConfigError(f"{name}: no such script. Give the path of a Python file, or -m MODULE.")
    return path


def _load_script(path: Path) -> tuple[CodeType, ModuleType]:
    """By its absolute path, as Python does, so that it finds itself after a change of folder."""
    whole = str(path.absolute())
    namespace = _main_module(whole)
    namespace.__loader__ = importlib.machinery.SourceFileLoader("__main__", whole)
    try:
        return compile(path.read_bytes(), whole, "exec", dont_inherit=True), namespace
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{path}: is not a Python script ({error}).") from error


def _load_module(name: str) -> tuple[CodeType, ModuleType]:
    """Finding a module imports the packages around it: their code is the user's already."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.__main__.".startswith(f"{error.name}."):
            raise  # a module of the user's imports something that is not there
        spec = None
    except ValueError:
        spec = None
    if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        raise ConfigError(f"-m {name}: no such module. Give a dotted name that `python -m` would take.")
    try:
        code = spec.loader.get_code(spec.name)
    except SyntaxError as error:
        raise ConfigError(f"-m {name}: is not a Python module ({error}).") from error
    assert code is not None  # a source file has code
    namespace = _main_module(spec.origin)
    namespace.__spec__, namespace.__loader__ = spec, spec.loader
    namespace.__package__ = spec.parent
    namespace.__dict__["__cached__"] = spec.cached
    return code, namespace


def _main_module(path: str | None) -> ModuleType:
    namespace = ModuleType("__main__")
    namespace.__file__ = path
    namespace.__dict__.update(__builtins__=builtins, __cached__=None)
    if sys.version_info < (3, 14):  # where it is not there until it is asked for
        namespace.__annotations__ = {}
    return namespace


@contextlib.contextmanager
def _as_main(namespace: ModuleType, argv: list[str]) -> Iterator[None]:
    """sys.argv and sys.modules["__main__"] as the script would find them on its own."""
    before_argv, before_main = sys.argv, sys.modules.get("__main__")
    sys.argv = argv
    sys.modules["__main__"] = namespace
    try:
        yield
    finally:
        sys.argv = before_argv
        if before_main is not None:
            sys.modules["__main__"] = before_main


@contextlib.contextmanager
def _import_path(folder: str) -> Iterator[None]:
    before = list(sys.path)
    if _starts_with_ours():
        del sys.path[0]
    with _pythons_own_hidden(folder):
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path[:] = before


@contextlib.contextmanager
def _pythons_own_hidden(folder: str) -> Iterator[None]:
    """A script with a statistics.py beside it imports that one, though we have imported Python's own before."""
    names = _shadowed(folder)
    if not names:
        yield
        return
    _import_all_of_ours()
    hidden = _take_out(names)
    try:
        yield
    finally:
        _take_out(names)
        sys.modules.update(hidden)


def _shadowed(folder: str) -> set[str]:
    """What has been imported from Python's library, and would be from `folder` by a script there."""
    try:
        there = {name.removesuffix(".py") for name in os.listdir(folder)}
    except OSError:
        return set()
    found = set()
    for name in (there & sys.stdlib_module_names & sys.modules.keys()) - _AT_START:
        spec = importlib.machinery.PathFinder.find_spec(name, [folder])
        loader = getattr(sys.modules[name].__spec__, "loader", None)
        is_file = isinstance(loader, importlib.machinery.SourceFileLoader)  # those in C and frozen ones come first
        if is_file and spec is not None and spec.origin not in (None, sys.modules[name].__file__):
            found.add(name)
    return found


def _take_out(names: Collection[str]) -> dict[str, ModuleType]:
    """Those modules and what lies below them, taken from `sys.modules`."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in names}


def _import_all_of_ours() -> None:
    """What we import later on would find other modules than it means."""
    for module in pkgutil.walk_packages([str(_OURS)], f"{PACKAGE}."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(Exception):  # what this torch has no use for, such as the simulated device
                importlib.import_module(module.name)


def _starts_with_ours() -> bool:
    """Is the first place to import from there for our sake, the folder of the command?"""
    if getattr(sys.flags, "safe_path", False) or not sys.path:
        return False
    main = sys.modules.get("__main__")
    file = None if getattr(main, "__spec__", None) is not None else getattr(main, "__file__", None)
    return file is not None and Path(file).stem == "acc" and Path(sys.path[0]).resolve() == Path(file).resolve().parent


@contextlib.contextmanager
def yielding_the_name(folder: str) -> Iterator[None]:
    """A script that would import a `dump` of its own, were it run without us, gets that one.

    Our package is imported whole first and then hidden; its code goes on by the references it holds.
    """
    theirs = _their_package(folder)
    if theirs is None:
        yield
        return
    _import_all_of_ours()
    hidden = _take_out([PACKAGE])
    if theirs.origin is None:  # a folder without __init__.py loses to any package further down the path
        sys.modules[PACKAGE] = importlib.util.module_from_spec(theirs)
    try:
        yield
    finally:
        _take_out([PACKAGE])
        sys.modules.update(hidden)


def _their_package(folder: str) -> importlib.machinery.ModuleSpec | None:
    """What `import dump` would find if we were not there: a module, a package, a folder of Python files."""
    path = [entry for entry in (folder, *sys.path) if Path(entry).resolve() != _OURS.parent]
    spec = importlib.machinery.PathFinder.find_spec(PACKAGE, path)
    if spec is None or spec.origin is not None:
        return spec
    holds_code = any(next(Path(place).glob("*.py"), None) for place in spec.submodule_search_locations or ())
    return spec if holds_code else None
