"""The Journal port: what the kernel asks of whatever keeps what happened, so that it outlives this process.

The kernel's loop hands over news in the order in which they happened (`write`); the journal makes them safe in a
thread of its own, and says so (`Safe`). Only then do the futures of the tasks that ended say that they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from harmony.core.files import FileDigests
    from harmony.core.record import Record


class Found(NamedTuple):
    """What a task of the same content came to: its pickled value, or the digest of the object that holds it.

    `files` is the journal's own note of files that must still be as they were, None where there are none.
    """

    run: int
    task: int
    value: bytes | None
    object: bytes | None
    files: str | None


class PathState(NamedTuple):
    """A file as it was at some time: `size` in bytes, -1 where there was none; `mtime` in nanoseconds."""

    path: str
    size: int
    mtime: int


class Started(NamedTuple):
    """A task is being run: `record.future.place` tells where."""

    record: Record
    at: float


class Tried(NamedTuple):
    """An attempt has failed, and another will follow. `number` counts from 1."""

    record: Record
    number: int
    error: BaseException
    place: str
    at: float
    seconds: float


class Attached(NamedTuple):
    """A task goes on outside this process; an engine of that name can take it up again by the handle."""

    record: Record
    handle: str


#: A record by itself says that its task has ended. Its future has the result or the error, and does not say so yet.
Entry: TypeAlias = "Started | Tried | Attached | Record"
Safe: TypeAlias = "Callable[[Sequence[Record]], None]"


class StaleError(Exception):
    """What was found cannot be used: a file it speaks of has changed or is gone, or its object is."""


class Journal(Protocol):
    """See the module. Times are of the monotonic clock."""

    @property
    def run_id(self) -> int:
        """The number of this run."""
        ...

    @property
    def campaign(self) -> bytes:
        """What tells this run and those that resume it from all others."""
        ...

    @property
    def digests(self) -> FileDigests:
        """Contents of files that are known already; what is learnt of others goes there too."""
        ...

    def find(self, key: bytes) -> Found | None:
        """Return what a task of this content came to. Kernel's loop only; quick."""
        ...

    def load(self, found: Found) -> Any:
        """Return its value. From any thread; may read files. Raises `StaleError`."""
        ...

    def handle(self, key: bytes, engine: str) -> str | None:
        """Return the handle of a task of this content that an earlier driver left running there. Loop only."""
        ...

    def start(self, safe: Safe) -> None:
        """Begin. `safe` is told, from the journal's thread, of tasks that ended and are written, in their order."""
        ...

    def write(self, entries: Sequence[Entry]) -> None:
        """Take news. Never blocks. Kernel's loop only."""
        ...

    def flush(self) -> None:
        """Return when all that was given to `write` is safe, and `safe` has been told."""
        ...
