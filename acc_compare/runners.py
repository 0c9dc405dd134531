"""Who does the work on many pairs: this process, processes beside it, or the workers of a Dask cluster.

Each is asked for the results of one function over many items, and gives them in the order of the items, so that what
comes out is the same whoever did it.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

import dump
from dump.format.errors import ConfigError, IncomparableError

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")

_SECONDS_TO_CONNECT = 30


class Runner(Protocol):
    """`cores` is how many a call may use."""

    cores: int

    def each(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]
    ) -> Iterator[Result]:
        """`function(shared, item)` for each of `items`, in their order; all three can be pickled."""


class Here:
    """This process, one item after the other."""

    def __init__(self, cores: int = 1) -> None:
        self.cores = cores

    def each(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]
    ) -> Iterator[Result]:
        return (function(shared, item) for item in items)


class _Processes:
    def __init__(self, pool: ProcessPoolExecutor, cores: int) -> None:
        self._pool = pool
        self.cores = cores

    def each(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]
    ) -> Iterator[Result]:
        return self._pool.map(partial(function, shared), items)


@contextmanager
def processes(workers: int, jobs: int) -> Iterator[Runner]:
    """So many processes beside this one, which share `jobs` cores; this one where it is alone.

    Raises IncomparableError where one is killed.
    """
    if workers == 1:
        yield Here(jobs)
        return
    # Spawned: a fork would take along locks that the threads of this process hold.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield _Processes(pool, max(1, jobs // workers))
        except BrokenProcessPool:
            raise IncomparableError(
                "a process that compared one of the ranks was killed, most likely for want of memory. Compare with"
                " fewer at a time: --jobs 1."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Cluster:
    """What a worker that is lost had done or held is made again: by the scheduler, from what this process gave it."""

    cores = 1

    def __init__(self, client: Any) -> None:
        self._client = client

    def each(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]
    ) -> Iterator[Result]:
        from distributed import KilledWorker

        with warnings.catch_warnings():  # of what is large: it is sent once
            warnings.simplefilter("ignore")
            held = self._client.submit(pickle.loads, pickle.dumps(shared), pure=False)
            futures = self._client.map(partial(_applied, function), list(items), shared=held, pure=False)
        try:
            for future in futures:
                result: Result = future.result()
                future.release()
                yield result
        except KilledWorker as error:
            raise IncomparableError(
                f"workers of the cluster were killed again and again over the same rank ({error}). Give them more"
                " memory."
            ) from None
        finally:
            self._client.cancel(futures)


def _applied(function: Callable[[Shared, Item], Result], item: Item, shared: Shared) -> Result:
    return function(shared, item)


@contextmanager
def cluster(address: str) -> Iterator[Runner]:
    """The workers of the Dask scheduler at `address`, which must see the same paths.

    Raises ConfigError where it or its workers cannot be reached, or have another version of this package;
    IncomparableError where workers are killed over and over.
    """
    try:
        import distributed
    except ImportError:
        raise ConfigError("--scheduler needs dask.distributed: pip install 'acc-compare[cluster]'") from None
    try:
        client = distributed.Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"--scheduler {address}: no scheduler can be reached there ({error}).") from None
    with client:
        _require_workers(client, address)
        yield _Cluster(client)


def _require_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_SECONDS_TO_CONNECT)
        told = client.run(_version, on_error="return").values()
    except TimeoutError:
        raise ConfigError(f"--scheduler {address}: has no workers. Start some: dask worker {address}") from None
    # A worker that was just lost does not answer, and the scheduler may not know yet.
    answers = [answer for answer in told if not isinstance(answer, OSError)]
    if told and not answers:
        raise ConfigError(f"--scheduler {address}: none of its workers answers.")
    broken = next((answer for answer in answers if isinstance(answer, BaseException)), None)
    if broken is not None:
        raise ConfigError(f"--scheduler {address}: a worker cannot import this package ({broken}).")
    versions = set(answers)
    if versions != {dump.__version__}:
        found = ", ".join(sorted(versions))
        raise ConfigError(f"--scheduler {address}: workers have version {found}, this is {dump.__version__}.")


def _version() -> str:
    return str(dump.__version__)
