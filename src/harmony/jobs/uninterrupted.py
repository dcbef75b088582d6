"""Work that a Ctrl-C must not cut in two: what a scheduler has taken must be known to be ours."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from queue import SimpleQueue


class Uninterrupted:
    """Runs steps so that an interrupt takes effect between two of them, never within one.

    Python raises KeyboardInterrupt in the main thread only, anywhere in it. What the main thread asks for is therefore
    run in a thread of our own, which is there from the first such call until `close`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def run_each(self, steps: Iterator[object]) -> None:
        """Run an iterator to its end, raising what it raises. An interrupt waits for a step; a second one does not."""
        if threading.current_thread() is not threading.main_thread():
            for _ in steps:
                pass
            return
        if self._thread is None:
            self._thread = threading.Thread(target=_serve, args=(self._work,), name=self._name, daemon=True)
            self._thread.start()
            weakref.finalize(self, self._work.put, None)
        work = _Work(steps)
        self._work.put(work)
        try:
            work.done.acquire()
        except BaseException:
            work.stopped = True
            if not work.finished:  # or it may be that the lock was got as the interrupt came
                work.done.acquire()
            raise
        if work.error is not None:
            error, work.error = work.error, None
            raise error

    def close(self) -> None:
        """End the thread; may be called again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._work.put(None)
            if thread is not threading.current_thread():
                thread.join()


class _Work:
    def __init__(self, steps: Iterator[object]) -> None:
        self.steps = steps
        self.stopped = self.finished = False
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()


def _serve(queue: SimpleQueue[_Work | None]) -> None:
    while (work := queue.get()) is not None:
        try:
            for _ in work.steps:
                if work.stopped:
                    break
        except BaseException as error:  # noqa: BLE001  it is raised where the work was asked for
            work.error = error
        work.finished = True
        work.done.release()
        del work
