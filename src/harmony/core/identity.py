"""Identity: which content a task has, so that a task of the same content need not be run again.

`Identifier` makes keys of whole tasks, `content_of` of values. Keys are the same in each process. Those of values
are also the same for all versions of Python; those of functions are not, as their bytecode is not.
"""

from __future__ import annotations

import marshal
import os
import re
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from harmony.core import arrays, values
from harmony.core.code import Codes, function_content
from harmony.core.files import FileDigests
from harmony.core.journal import PathState
from harmony.core.scribe import (
    SMALL,
    Part,
    Scribe,
    TooMuch,
    Unidentified,
    digest_of,
    finds,
    register_content,
    seal,
)
from harmony.core.task import Call, Command, Options

__all__ = [
    "FileDigests", "Identifier", "TooMuch", "Unidentified", "content_of", "function_content", "identify",
    "register_content",
]  # fmt: skip

#: Texts up to this length count at once.
_SHORT = 4096
#: Another number makes all keys anew: for when what they are made of changes.
_VERSION = 1
_NO_PATHS: tuple[PathState, ...] = ()
_Head = tuple[Callable[[], Any], Options, bytes]

finds(arrays.writer_for)
finds(lambda kind: values.write_object)


class Identifier:
    """Tells the content of tasks. Paths below `root` count relative to it, so that a project may be moved.

    `campaign` counts in tasks whose results are for the same campaign only: those of ``cache="run"``.
    Functions count as they are when they are first seen. Any thread may use it.
    """

    def __init__(self, root: str = "", files: FileDigests | None = None, campaign: bytes = b"") -> None:
        self.files = FileDigests() if files is None else files
        self._root = os.path.abspath(root) if root else ""
        self._campaign = campaign
        self._codes = Codes(self.files, self._root)
        self._heads: dict[int, _Head] = {}
        start = r"(?<![\w.~/-])" + re.escape(self._root) + r"(?![^/\s:;,|&<>()'\"=])"
        self._below = re.compile(start).split if self._root else lambda text: [text]

    def identify(
        self,
        work: Call | Command,
        options: Options,
        inputs: Sequence[Any] = (),
        outputs: Sequence[Any] = (),
        *,
        limit: int | None = None,
    ) -> tuple[bytes, tuple[PathState, ...]]:
        """Return the content of a task, 16 bytes, and the plain paths among its arguments, as they are now.

        It is made of the function or command, its arguments, the contents of `inputs`, the paths of `outputs`,
        the environment that the options set or name, the directory, and the number of ranks.
        Raises `Unidentified`, and `TooMuch` where more than `limit` bytes, or any file, would have to be read.
        """
        if not inputs and not outputs:
            content = self.quick(work, options)
            if content is not None:
                return content, _NO_PATHS
        return self._identify(work, options, inputs, outputs, limit)

    def quick(self, work: Any, options: Options) -> bytes | None:
        """Return the content of a call with short arguments of a function that was seen before; else None."""
        # Each task comes here, so each line counts.
        if type(work) is not Call:
            return None
        fn, args, kwargs = work
        head = self._heads.get(id(fn))
        if head is None or head[0]() is not fn or head[1] is not options or options.relevant:
            return None
        for value in (*args, *kwargs.values()) if kwargs else args:
            kind = type(value)
            if kind not in SMALL and ((kind is not str and kind is not bytes) or len(value) > _SHORT):
                return None
        named = tuple(sorted(kwargs.items())) if kwargs else ()
        return digest_of(head[2] + marshal.dumps((args, named), 2))

    def _identify(
        self, work: Call | Command, options: Options, inputs: Sequence[Any], outputs: Sequence[Any], limit: int | None
    ) -> tuple[bytes, tuple[PathState, ...]]:
        written = tuple(os.path.abspath(path) for path in outputs)
        scribe = self._scribe(limit, written)
        if isinstance(work, Command):
            data = self._head("command", None, options) + marshal.dumps(self._command(work), 2)
            self._note_stdin(work, options, inputs, scribe)
        else:
            head = self._function(work.fn, options, scribe)
            positions = tuple(_argument(scribe, str(n), value) for n, value in enumerate(work.args, 1))
            named = tuple((name, _argument(scribe, repr(name), value)) for name, value in sorted(work.kwargs.items()))
            data = head + marshal.dumps((positions, named), 2)
        if inputs or outputs or options.relevant:
            data += marshal.dumps(self._around(options, inputs, written, scribe), 2)
        return digest_of(data), tuple(scribe.paths)

    def _scribe(self, limit: int | None, written: Sequence[str] = ()) -> Scribe:
        return Scribe(
            lambda scribe, value: self._codes.content(value, scribe),
            files=self.files,
            root=self._root,
            limit=limit,
            written=written,
        )

    def _function(self, fn: Any, options: Options, scribe: Scribe) -> bytes:
        head = self._heads.get(id(fn))
        if head is not None and head[0]() is fn and head[1] is options:
            return head[2]
        try:
            part = scribe.part(fn)
        except Unidentified as error:
            raise error.inside("in the function") if not isinstance(fn, types.FunctionType) else error from None
        found = self._head("call", part, options)
        if isinstance(fn, (types.FunctionType, types.BuiltinFunctionType, type)):  # others may change
            if len(self._heads) >= 1024:
                self._heads.clear()
            self._heads[id(fn)] = weakref.ref(fn), options, found
        return found

    def _head(self, kind: str, part: Part, options: Options) -> bytes:
        directory = options.directory and values.place(self._root, options.directory)
        environment = [[name, self._below(text)] for name, text in sorted(dict(options.environment).items())]
        campaign = self._campaign if options.cache == "run" else b""
        return seal(kind, [_VERSION, part, environment, directory, options.resources.ranks, campaign])

    def _command(self, work: Command) -> Part:
        args = work.args
        line = self._below(args) if isinstance(args, str) else [[self._below(arg) for arg in args]]
        streams = (work.stdin, work.stdout, work.stderr)
        return [isinstance(args, str), line, [path and values.place(self._root, path) for path in streams]]

    def _note_stdin(self, work: Command, options: Options, inputs: Sequence[Any], scribe: Scribe) -> None:
        if work.stdin is not None and work.stdin not in map(str, inputs):
            scribe.note(os.path.abspath(os.path.join(options.directory or "", work.stdin)))

    def _around(self, options: Options, inputs: Sequence[Any], written: Sequence[str], scribe: Scribe) -> Part:
        files = [_argument(scribe, f"file {file}", file) for file in inputs]
        relevant = [
            [name, None if (text := os.environ.get(name)) is None else self._below(text)]
            for name in sorted(set(options.relevant))
        ]
        return [files, [values.place(self._root, path) for path in written], relevant]


def _argument(scribe: Scribe, name: str, value: Any) -> Part:
    try:
        return scribe.part(value)
    except Unidentified as error:
        raise Unidentified(f"argument {name}, {error.what},", error.why) from None


_default = Identifier()


def content_of(value: Any, *, limit: int | None = None) -> bytes:
    """Return the content of a value: 16 bytes, the same for equal values of equal types in any process.

    Raises `Unidentified` for what has none, and `TooMuch` where more than `limit` bytes would have to be read.
    """
    return _default._scribe(limit).digest(value)


def identify(
    work: Call | Command,
    options: Options,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    root: str,
    *,
    limit: int | None = None,
) -> tuple[bytes, tuple[PathState, ...]]:
    """Return the content of one task; see `Identifier`, which is for more than one."""
    return Identifier(root).identify(work, options, inputs, outputs, limit=limit)
