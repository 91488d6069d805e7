"""Where tasks run: in this process, on worker processes of this machine, or on a Dask scheduler's workers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

from treeavg.errors import ArgumentError, TreeavgError, quote
from treeavg.jobs import worker_count
from treeavg.version import __version__

#: So often may a worker die under one task before the job gives up.
ALLOWED_FAILURES = 10
#: Seconds to wait for a scheduler.
TIMEOUT = 20
#: An address with a port, with a protocol or without.
_ADDRESS = re.compile(r"(?:[a-z]\w*://)?(?:[^\s/:\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}(?:/\S*)?|inproc://\S+")
#: Tasks handed out at once for each thread of the workers: enough that none waits, few enough for any scheduler.
AHEAD = 4

_AGAIN = "Run the same command again: it goes on with the shards that are not done."
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class ClusterError(TreeavgError):
    """The cluster cannot be reached, or was lost."""


class Executor(Protocol):
    """Runs a function over tasks."""

    def run(self, function: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[tuple[int, _Result]]:
        """Yield the place and the result of each task, in any order.

        Raises
        ------
        TreeavgError
            Of the first task, in order, that failed; or a `ClusterError`.
        """


class InProcess:
    """Runs one task after the other, here."""

    def run(self, function: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[tuple[int, _Result]]:
        """Yield the place and the result of each task, in order."""
        for place, task in enumerate(tasks):
            yield place, function(task)


class OnDask:
    """Runs tasks on the workers of a Dask client.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, function: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[tuple[int, _Result]]:
        """Yield the place and the result of each task as they are done; a task whose worker dies is done again."""
        from distributed import CancelledError, as_completed
        from distributed.comm.core import CommClosedError

        failed: dict[int, BaseException] = {}
        waiting: dict[Any, int] = {}
        completed = as_completed([], with_results=False, raise_errors=False)
        submitted = 0
        try:
            while submitted < len(tasks) or waiting:
                # After a failure only earlier tasks matter, which were all handed out: the first error is then the
                # same however many workers there are.
                while not failed and submitted < len(tasks) and len(waiting) < self._room():
                    future = self._client.submit(
                        function, tasks[submitted], pure=False, retries=0, key=f"treeavg-{id(tasks)}-{submitted}"
                    )
                    waiting[future] = submitted
                    completed.add(future)
                    submitted += 1
                if not waiting:
                    break
                future = next(completed)
                place = waiting.pop(future)
                if future.status == "finished":
                    yield place, future.result()
                elif future.status == "error":
                    failed[place] = future.exception()
                else:
                    raise lost()
                future.release()
        except (CancelledError, CommClosedError, TimeoutError, OSError) as error:
            if isinstance(error, TreeavgError):
                raise
            raise lost() from None
        if failed:
            raise told(failed[min(failed)])

    def _room(self) -> int:
        threads: int = sum(self._client.nthreads().values())
        return AHEAD * max(1, threads)


def lost() -> ClusterError:
    """Return the error for a scheduler that went away.

    Returns
    -------
    ClusterError

    Examples
    --------
    >>> print(lost())
    cluster: expected a scheduler that answers, got none any more. Run the same command again: it goes on with the \
shards that are not done.
    """
    return ClusterError(f"cluster: expected a scheduler that answers, got none any more. {_AGAIN}")


def told(error: BaseException) -> BaseException:
    """Return an error of a task as a user should read it.

    Parameters
    ----------
    error : BaseException
        From a worker.

    Returns
    -------
    BaseException
        Dask's own about workers that died is put into words.
    """
    if isinstance(error, ImportError):
        return ClusterError(
            f"cluster: expected treeavg {__version__} on every worker, got: {error}. Install it where the workers run."
        )
    if type(error).__name__ == "KilledWorker":
        return ClusterError(
            f"cluster: expected workers that finish a shard, got {ALLOWED_FAILURES + 1} that died over the same one. "
            f"Give them more memory, or cut the input into smaller shards. {_AGAIN}"
        )
    return error


def require_dask() -> None:
    """Raise where Dask is not installed.

    Raises
    ------
    ArgumentError
        Says what to install.

    Examples
    --------
    >>> require_dask()  # doctest: +SKIP
    """
    if find_spec("distributed") is None:
        raise ArgumentError("--cluster: expected dask to be installed, got none. Run: pip install 'treeavg[scale]'.")


@contextmanager
def connect(cluster: str | None, workers: int | None = None) -> Iterator[Executor]:
    """Open where tasks run, and close it at the end.

    Parameters
    ----------
    cluster : str or None
        None: this process. ``local``: worker processes of this machine, one thread each. Else a scheduler's address,
        such as ``tcp://10.0.0.1:8786``.
    workers : int, optional
        Worker processes of ``local``; by default one a core.

    Yields
    ------
    Executor

    Raises
    ------
    ArgumentError
        Dask is not installed.
    ClusterError
        No scheduler answers at the address.

    Examples
    --------
    >>> with connect(None) as executor:
    ...     sorted(executor.run(abs, [-1, -2]))
    [(0, 1), (1, 2)]
    """
    if cluster is None:
        yield InProcess()
        return
    require_dask()
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
        "distributed.worker.preload": ["treeavg.engine.preload"],
        # Dask looks after itself fifty times a second, which costs six hundredths of a core; this is enough.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.worker.memory.monitor-interval": "1s",
        # Without MALLOC_TRIM_THRESHOLD_, which is Dask's default here: it gives every freed array back to the system.
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1
        ),
    }
    with dask.config.set(settings), _quiet():
        if cluster == "local":
            with (
                LocalCluster(
                    n_workers=worker_count(workers), threads_per_worker=1, processes=True,
                    dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                ) as own,
                Client(own) as client,
            ):  # fmt: skip
                yield OnDask(client)
            return
        if not _ADDRESS.fullmatch(cluster):  # Dask asserts, or waits for ever, on what is none
            raise _no_scheduler(cluster, "that is no address")
        try:
            client = Client(cluster, timeout=TIMEOUT)
        except (OSError, TimeoutError, ValueError) as error:
            raise _no_scheduler(cluster, str(error).split("\n")[0]) from None
        with client:
            yield OnDask(client)


def _no_scheduler(cluster: str, reason: str) -> ClusterError:
    return ClusterError(
        f"--cluster: expected 'local' or the address of a Dask scheduler, got {quote(cluster)}: {reason}. "
        "Start one with 'dask scheduler', and name its address, tcp://HOST:8786."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's own log from the terminal: what matters is raised."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
