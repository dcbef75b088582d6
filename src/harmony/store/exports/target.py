"""Target: where an export is written, so that it appears whole or not at all, and replaces nothing by accident."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from harmony.errors import StoreError

#: A path, or a text stream that is open already, such as stdout.
Target = str | os.PathLike[str] | TextIO

METADATA = "ro-crate-metadata.json"


@contextmanager
def text_target(target: Target, force: bool) -> Iterator[TextIO]:
    """Open what is to hold text. With `force`, a file that is there is replaced."""
    if not isinstance(target, (str, os.PathLike)):
        yield target
        return
    with _beside(Path(target), force) as partial:
        # "x" creates it with the permissions that the user wants for new files.
        with partial.open("x", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
        _move(partial, Path(target), force)


@contextmanager
def zip_target(target: Path, force: bool) -> Iterator[zipfile.ZipFile]:
    """Open an archive that is made."""
    with _beside(target, force) as partial:
        with zipfile.ZipFile(partial, "x", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            yield archive
        _move(partial, target, force)


@contextmanager
def folder_target(target: Path, force: bool) -> Iterator[Path]:
    """Make a directory. With `force`, one that is there is replaced if it is empty or holds an RO-Crate."""
    if force and target.is_dir() and any(target.iterdir()) and not (target / METADATA).is_file():
        raise StoreError(
            f"{target} is a directory with something else than an RO-Crate in it, and is not replaced; "
            "remove it yourself, or give another path"
        )
    with _beside(target, force) as partial:
        partial.mkdir()
        yield partial
        if target.is_dir() and not target.is_symlink():
            old = target.with_name(f"{target.name}.replaced-{os.getpid()}")
            target.rename(old)
            partial.rename(target)
            shutil.rmtree(old)
        else:
            _move(partial, target, force)


@contextmanager
def _beside(target: Path, force: bool) -> Iterator[Path]:
    """Name something in the same directory, and remove it unless it has been moved away."""
    _refuse(target, force)
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    try:
        yield partial
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(partial)):
            raise
        problem = error.strerror or str(error)
        raise StoreError(f"{target} cannot be written: {problem}; give another path") from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _refuse(target: Path, force: bool) -> None:
    if os.path.lexists(target) and not force:
        raise StoreError(
            f"{target} is there already; remove it, give another path, or replace it with --force (force=True)"
        )


def _move(partial: Path, target: Path, force: bool) -> None:
    _refuse(target, force)
    os.replace(partial, target)
