"""Payload: which files go into an RO-Crate, and the entities that stand for them, in it or where they are."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import stat
import zipfile
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from harmony.store.exports.story import iso
from harmony.store.rows import FileRow

#: What is larger stays where it is and is only referred to; and so does the rest, once so much has been copied.
LARGEST, MOST = 2**20, 100 * 2**20
_BLOCK = 2**20

Json = dict[str, Any]


class Crate(Protocol):
    """Where the files of a crate go."""

    def add(self, name: str, data: bytes, mtime: float) -> None:
        """Put a file into the crate."""
        ...


class FolderCrate:
    """A crate that is a directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, data: bytes, mtime: float) -> None:
        """Put a file into the crate."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (mtime, mtime))


class ZipCrate:
    """A crate that is an archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, data: bytes, mtime: float) -> None:
        """Put a file into the crate."""
        self._archive.writestr(zip_entry(name, mtime), data)


def zip_entry(name: str, mtime: float) -> zipfile.ZipInfo:
    """Name an entry of an archive. What archives can tell of times begins in 1980."""
    at = datetime.fromtimestamp(max(mtime, 315_619_200), tz=timezone.utc)
    entry = zipfile.ZipInfo(name, at.timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


class Payload:
    """The files of a run, each once: copied where that is sensible and the file is as it was, else referred to."""

    def __init__(self, crate: Crate, directory: str) -> None:
        self._crate = crate
        self._directory = directory.rstrip("/") + "/"
        self._copied = 0
        self._names: set[str] = set()
        self.entities: dict[str, Json] = {}

    def add_all(self, files: Iterable[FileRow]) -> None:
        """Take the files in; of one that several tasks declared, what was last written."""
        latest: dict[str, FileRow] = {}
        for file in files:
            known = latest.get(file.path)
            if known is None or file.role == "output" or known.role != "output":
                latest[file.path] = file
        for path, file in latest.items():
            self.entities[path] = self._entity(file)

    def reference(self, path: str) -> str:
        """Return the id of a file that was taken in."""
        return str(self.entities[path]["@id"])

    def program(self, path: str) -> tuple[str, bytes, float] | None:
        """Copy the program's source in; return its id, content and time of change, None if it is not there."""
        data, state = _read(path)
        if data is None or state is None:
            return None
        return self.write(os.path.basename(path), data, state.st_mtime), data, state.st_mtime

    def write(self, name: str, data: bytes, mtime: float) -> str:
        """Put a file in that is no task's; return its id."""
        name = self._free(name)
        self._crate.add(name, data, mtime)
        return quote(name)

    def _entity(self, file: FileRow) -> Json:
        kind = mimetypes.guess_type(file.path)[0] or "application/octet-stream"
        entity: Json = {
            "@id": "file://" + quote(file.path),
            "@type": "File",
            "name": os.path.basename(file.path),
            "encodingFormat": kind,
        }
        if file.size is not None:
            entity["contentSize"] = str(file.size)
        if file.mtime is not None:
            entity["dateModified"] = iso(file.mtime / 1e9)
        data, changed = self._content(file)
        if data is None:
            entity["description"] = f"Not in this crate: {changed or 'it is too large'}."
        else:
            name = self._free(self._name(file.path))
            self._crate.add(name, data, (file.mtime or 0) / 1e9)
            entity["@id"] = quote(name)
            entity["sha256"] = hashlib.sha256(data).hexdigest()
            entity["contentSize"] = str(len(data))
        if file.digest is not None:
            entity["identifier"] = f"xxh3_128:{file.digest.hex()}"
        return entity

    def _content(self, file: FileRow) -> tuple[bytes | None, str | None]:
        if (file.size or 0) > LARGEST:
            return None, None
        if self._copied + (file.size or 0) > MOST:
            return None, "the files that are in it are large enough together"
        data, state = _read(file.path)
        if data is None or state is None:
            return None, "it was not there any more, or could not be read, when the crate was made"
        if (file.size, file.mtime) not in ((state.st_size, state.st_mtime_ns), (state.st_size, None), (None, None)):
            return None, "it was changed after the run"
        self._copied += len(data)
        return data, None

    def _name(self, path: str) -> str:
        if path.startswith(self._directory):
            return f"files/{path[len(self._directory) :]}"
        return f"files/outside/{path.lstrip('/')}"

    def _free(self, name: str) -> str:
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        name = free = "/".join(parts)
        number = 1
        while free in self._names:
            number += 1
            free = f"{name}.{number}"
        self._names.add(free)
        return free


def _read(path: str) -> tuple[bytes | None, os.stat_result | None]:
    """Return a file's content and state, or None where it is no file, cannot be read, or is too large."""
    try:
        # A pipe would wait for a writer, and a device may have no end.
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode) or state.st_size > LARGEST:
            return None, None
        with open(path, "rb") as stream:
            data = stream.read(LARGEST + 1)
            state = os.fstat(stream.fileno())
    except OSError:
        return None, None
    return (data, state) if len(data) <= LARGEST else (None, None)
