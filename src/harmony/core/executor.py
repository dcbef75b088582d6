"""A `concurrent.futures.Executor` over a kernel, for code that knows only the standard library."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_all
from typing import Any, TypeVar

from harmony.core.kernel import Kernel
from harmony.core.task import Call, Options, Task
from harmony.errors import WorkflowClosedError

T = TypeVar("T")


class WorkflowExecutor(Executor):
    """Runs ``fn(*args, **kwargs)`` as tasks, with the standard library's meaning of every method.

    Its futures cannot be cancelled once they run, and `shutdown` ends this executor only: the workflow and
    its other tasks go on. Futures among the arguments are waited for, which the standard pools do not do.
    """

    def __init__(self, kernel: Kernel, options: Options) -> None:
        self._kernel = kernel
        self._options = options
        self._futures: list[Future[Any]] = []
        self._kept = 1024
        self._ended = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See `concurrent.futures.Executor.submit`."""
        if self._ended:
            raise WorkflowClosedError("cannot schedule new futures after shutdown")
        name = getattr(fn, "__name__", type(fn).__name__)
        future: Future[T] = self._kernel.submit(Task(Call(fn, args, kwargs), name, self._options), stoppable=False)
        self._futures.append(future)
        if len(self._futures) > self._kept:
            self._futures = [kept for kept in self._futures if not kept.done()]
            self._kept = 1024 + 2 * len(self._futures)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **kwargs: Any,
    ) -> Iterator[T]:
        """See `concurrent.futures.Executor.map`; `chunksize` calls travel as one task."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout, **kwargs)
        rows = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(rows, chunksize)), [])
        results = super().map(_run_chunk, itertools.repeat(fn), chunks, timeout=timeout, **kwargs)
        return itertools.chain.from_iterable(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `concurrent.futures.Executor.shutdown`."""
        self._ended = True
        if cancel_futures:
            for future in self._futures:
                future.cancel()
        if wait:
            wait_all(self._futures)
            self._futures.clear()


def _run_chunk(fn: Callable[..., T], rows: list[tuple[Any, ...]]) -> list[T]:
    return [fn(*row) for row in rows]
