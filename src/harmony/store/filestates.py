"""What files are like, and whether they still are: of those that a remembered result stands for.

A promise is JSON, a list of ``[path, state, state…]``: the file must be as one of the states says. A state is
``[size, mtime in ns, digest in hex or null]``, or null for no file. Paths below the root are relative to it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from typing import Any

from harmony.core.files import FileDigests
from harmony.core.journal import PathState, StaleError
from harmony.store.failures import clean

#: The contents of larger files are not read: what they were is told by their size and time.
MOST_READ = 32 << 20

#: Size, time in ns, digest; all None where there is no file.
State = tuple[int | None, int | None, bytes | None]
_ABSENT: State = (None, None, None)


class FileStates:
    """Reads what files are like; `root` is where relative paths begin."""

    def __init__(self, root: str, digests: FileDigests) -> None:
        self._root = os.path.join(os.path.abspath(root), "")
        self.digests = digests

    def news(self) -> list[Any]:
        """Return what was read since the last call: the values of rows of `digest`, one after another."""
        return [value for row in self.digests.new() if clean(row.path) == row.path for value in row]

    def state(self, path: str) -> State:
        """Return what a file is like now."""
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                return None, found.st_mtime_ns, None
            digest = self.digests.digest(path) if found.st_size <= MOST_READ else None
        except (OSError, ValueError):
            return _ABSENT
        return found.st_size, found.st_mtime_ns, digest

    def promise(self, outputs: Sequence[str], paths: Sequence[PathState]) -> str:
        """Return what must be true of files when a result is used again."""
        items: list[list[Any]] = [[self._shown(path), _as_json(self.state(path))] for path in outputs]
        for before in paths:
            now = self.state(before.path)
            states = [_as_json(now)]
            if (before.size, before.mtime) != now[:2]:
                states.append([before.size, before.mtime, None] if before.size >= 0 else None)
            items.append([self._shown(before.path), *states])
        return json.dumps(items)

    def verify(self, promise: str) -> None:
        """Raise `StaleError` when it is no longer true."""
        for shown, *states in json.loads(promise):
            path = os.path.join(self._root, shown)
            if not self._is_one_of(path, states):
                what = "is not as it was when the task ended" if os.path.lexists(path) else "is gone"
                raise StaleError(f"{path} {what}")

    def _is_one_of(self, path: str, states: Sequence[Sequence[Any] | None]) -> bool:
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None in states
        is_file = stat.S_ISREG(found.st_mode)
        for state in filter(None, states):
            if is_file and state[0] == found.st_size:
                if state[1] == found.st_mtime_ns:
                    return True
                if state[2] is not None and self._has(path, state[2]):
                    return True
            elif not is_file and state[0] is None:
                return True  # a folder: what is in it is not ours to judge
        return False

    def _has(self, path: str, digest: str) -> bool:
        try:
            return self.digests.digest(path).hex() == digest
        except OSError:
            return False

    def _shown(self, path: str) -> str:
        path = os.path.abspath(path)
        return path.removeprefix(self._root)


def _as_json(state: State) -> list[Any] | None:
    size, mtime, digest = state
    return None if mtime is None else [size, mtime, None if digest is None else digest.hex()]
