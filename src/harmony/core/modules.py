"""Which modules are the user's own, and what is in them: by their source, which is compiled and not run."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.metadata
import os
import site
import sys
import sysconfig
import types

from harmony.core.bytecode import Import, Outline, outline
from harmony.core.files import FileDigests
from harmony.core.scribe import Part


@functools.lru_cache(maxsize=1)
def _foreign() -> tuple[str, ...]:
    """Directories of the standard library, of what is installed, and of Harmony."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {site.getusersitepackages(), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    return tuple(os.path.join(form, "") for path in paths if path for form in {path, os.path.realpath(path)})


@functools.lru_cache(maxsize=4096)
def is_local_file(path: str) -> bool:
    """True for a file of the user's own project: of neither the standard library nor an installed package."""
    path = os.path.abspath(path)
    if "/site-packages/" in path or "/dist-packages/" in path:
        return False
    return not path.startswith(_foreign()) and not os.path.realpath(path).startswith(_foreign())


def is_local(module: str) -> bool:
    """True for a module of the user's own: the main program, one in the project, or one made on the fly."""
    if module == "__main__":
        return True
    if module in sys.builtin_module_names:
        return False
    found = sys.modules.get(module)
    path = getattr(found, "__file__", None)
    if path is None:  # a namespace package has directories only
        paths = list(getattr(found, "__path__", ()))
        if paths:
            return is_local_file(os.path.join(paths[0], "x"))
        return module.partition(".")[0] not in sys.stdlib_module_names
    return is_local_file(path)


def is_local_code(code: types.CodeType, module: str) -> bool:
    """True for code of the user's own; that of a text which was evaluated belongs to its module."""
    return is_local(module) if code.co_filename.startswith("<") else is_local_file(code.co_filename)


def version_of(module: str) -> str:
    """The version of the package that a module is in, or ""."""
    root = module.partition(".")[0]
    version = getattr(sys.modules.get(root), "__version__", "")
    return version if isinstance(version, str) else ""


@functools.lru_cache(maxsize=1024)
def _installed_version(package: str) -> str:
    """The same for one that may not have been imported, and counts the same when it has."""
    try:
        return "" if package in sys.stdlib_module_names else importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def content_of_import(statement: Import, package: str, files: FileDigests) -> Part:
    """Return what an import inside a function brings: of an own module all its code, of others the version.

    The module is not imported, and counts the same whether or not it already was.
    """
    return _Imports(files).take(statement, package)


def content_of_module(name: str, path: str, files: FileDigests) -> Part:
    """Return all that is in an own module's file, and in the own modules that it imports."""
    return _Imports(files).read(name, path)


class _Imports:
    def __init__(self, files: FileDigests) -> None:
        self._files = files
        self._seen: set[str] = set()

    def take(self, statement: Import, package: str) -> Part:
        name = statement.module
        if statement.level:
            above = package.split(".")
            base = ".".join(above[: len(above) - statement.level + 1])
            name = f"{base}.{name}" if name else base
        found = [self._one(name)]
        found += [self._one(f"{name}.{part}") for part in statement.names if _spec(f"{name}.{part}") is not None]
        return found

    def _one(self, name: str) -> Part:
        spec = _spec(name)
        path = spec.origin if spec is not None else None
        if path is None or not os.path.isabs(path) or not is_local_file(path):
            return [name, _installed_version(name.partition(".")[0])]
        return [name, self.read(name, path)]

    def read(self, name: str, path: str) -> Part:
        """Return the outline of a module's code, and what it imports itself."""
        if path in self._seen:
            return None
        self._seen.add(path)
        digest = self._files.digest(path)
        if not path.endswith(".py"):
            return digest
        code = _compiled(path, digest)
        if code is None:
            return digest
        package = name if os.path.basename(path) == "__init__.py" else name.rpartition(".")[0]
        return [code.digest, [self.take(statement, package) for statement in code.imports]]


@functools.lru_cache(maxsize=1024)
def _compiled(path: str, digest: bytes) -> Outline | None:
    """Return the outline of a file of this content; None where it is no Python."""
    try:
        with open(path, "rb") as file:
            return outline(compile(file.read(), path, "exec", dont_inherit=True))
    except (SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=4096)
def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """Find a module without importing the packages it is in."""
    parent, _, last = name.rpartition(".")
    where = None
    if parent:
        above = _spec(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        where = list(above.submodule_search_locations)
    try:
        return importlib.machinery.PathFinder.find_spec(name if parent else last, where)
    except (ImportError, ValueError, AttributeError):
        return None
