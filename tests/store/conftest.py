"""A full disk, or what a program sees of one."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file may become larger than `size` bytes: writing then fails, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def file_limit() -> Callable[[int], AbstractContextManager[None]]:
    """See `limited`."""
    return limited
