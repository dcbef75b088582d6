"""The reaper's thread and descriptors, at its end."""

from __future__ import annotations

import os
import time

import pytest

from harmony.jobs.local.reaper import Reaper


def test_what_is_asked_after_the_end_touches_no_file_that_has_its_numbers_by_then() -> None:
    before = set(os.listdir("/dev/fd"))
    reaper = Reaper()
    reaper.at(time.monotonic() + 1000, lambda: None)
    numbers = [int(name) for name in set(os.listdir("/dev/fd")) - before]
    reaper.close()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    free = [number for number in numbers if number not in (reading, writing)]
    for number in free:
        os.dup2(writing, number)
    try:
        reaper.release()
        reaper.at(time.monotonic(), lambda: None)
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)
    finally:
        for number in (reading, writing, *free):
            os.close(number)
