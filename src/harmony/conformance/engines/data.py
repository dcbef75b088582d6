"""Level data: large values, arrays, many small values, and files."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from harmony import Workflow
from harmony.conformance.engines import work
from harmony.conformance.engines.calls import FunctionTests
from harmony.conformance.engines.driver import Driver
from harmony.conformance.engines.subject import Subject
from harmony.core.data import File
from harmony.core.engine import Capability
from harmony.core.task import Call, Command, Task
from harmony.errors import MissingFileError


class Values(FunctionTests):
    """Tests of arguments and results of any size."""

    level = "data"

    @pytest.fixture
    def size(self, subject: Subject) -> int:
        """Bytes of a large value."""
        return 100_000_000 if subject.full else 10_000_000

    def test_a_large_argument(self, caller: Driver, size: int) -> None:
        data = work.pattern(size)
        assert caller.result(caller.call(work.digest, data)) == (size, hashlib.sha256(data).hexdigest())

    def test_a_large_result(self, caller: Driver, size: int) -> None:
        assert caller.result(caller.call(work.pattern, size)) == work.pattern(size)

    def test_there_and_back_in_a_batch(self, caller: Driver, size: int) -> None:
        batch = [caller.call(work.identity, {number: bytes([number]) * (size // 4)}) for number in range(4)]
        caller.submit(*batch)
        for number, end in enumerate(caller.ends_of(batch)):
            assert end.result == {number: bytes([number]) * (size // 4)}

    def test_a_buffer_that_can_be_changed(self, caller: Driver) -> None:
        result = caller.result(caller.call(work.identity, bytearray(b"x" * 2_000_000)))
        result[0:1] = b"y"
        assert result == bytearray(b"y" + b"x" * 1_999_999)

    def test_arrays(self, caller: Driver, size: int) -> None:
        numpy = pytest.importorskip("numpy")
        sent = numpy.arange(size // 8)
        doubled = caller.result(caller.call(work.add_arrays, sent, sent))
        assert doubled.dtype == sent.dtype
        assert (doubled == sent * 2).all()
        doubled[0] = 7
        assert doubled[0] == 7

    @pytest.mark.parametrize("kind", ["strided", "fortran", "empty", "structured", "objects", "read-only"])
    def test_arrays_of_every_kind(self, caller: Driver, kind: str) -> None:
        numpy = pytest.importorskip("numpy")
        sent = odd_array(numpy, kind)
        back = caller.result(caller.call(work.identity, sent))
        assert (back.dtype, back.shape) == (sent.dtype, sent.shape)
        assert numpy.array_equal(back, sent)

    def test_a_value_of_many_parts(self, caller: Driver) -> None:
        value = [{"number": number, "text": str(number), "parts": (number, [None])} for number in range(20_000)]
        assert caller.result(caller.call(work.identity, value)) == value

    def test_thousands_of_small_values(self, caller: Driver) -> None:
        batch = [caller.task(Call(work.echo, (number,), {"text": "x" * (number % 50)})) for number in range(3_000)]
        caller.submit(*batch)
        results = [end.result for end in caller.ends_of(batch)]
        assert results == [((number,), {"text": "x" * (number % 50)}) for number in range(3_000)]

    def test_large_results_flow_between_tasks(self, caller: Driver, size: int) -> None:
        with Workflow(engine=caller.lend(), show_prints=False, store=False) as workflow:
            made = workflow.submit(work.pattern, size)
            read = [workflow.submit(work.digest, made) for _ in range(3)]
            expected = (size, hashlib.sha256(work.pattern(size)).hexdigest())
            assert [future.result(caller.patience) for future in read] == [expected] * 3


def odd_array(numpy: Any, kind: str) -> Any:
    """An array that not every way of sending arrays can send."""
    plain = numpy.arange(24_000.0).reshape(200, 120)
    if kind == "strided":
        return plain[::2, ::3]
    if kind == "fortran":
        return numpy.asfortranarray(plain)
    if kind == "empty":
        return numpy.empty((0, 3), dtype="complex64")
    if kind == "structured":
        return numpy.zeros(1_000, dtype=[("name", "U8"), ("position", "f4", (3,))])
    if kind == "objects":
        return numpy.array([None, {"a": 1}, "text"], dtype=object)
    plain.flags.writeable = False
    return plain


class Files(FunctionTests):
    """Tests of files that functions read and write."""

    level = "data"

    def test_a_chain_of_files(self, caller: Driver, tmp_path: Path) -> None:
        files = [File(tmp_path / f"{number}.txt") for number in range(6)]
        Path(files[0]).write_text("a line\n" * 1000)
        tasks = [
            Task(Call(work.copy_upper, (source, target)), f"copy {target.name}", inputs=(source,), outputs=(target,))
            for source, target in itertools.pairwise(files)
        ]
        with Workflow(engine=caller.lend(), show_prints=False, store=False) as workflow:
            futures = workflow.submit_tasks(tasks[::-1])
            assert [future.result(caller.patience) for future in futures] == [7000] * 5
        assert Path(files[-1]).read_text() == "A LINE\n" * 1000

    def test_a_missing_output_fails_what_needs_it(self, caller: Driver, tmp_path: Path) -> None:
        missing, after = File(tmp_path / "missing"), File(tmp_path / "after")
        tasks = [
            Task(Call(work.square, (3,)), "forgets", outputs=(missing,)),
            Task(Call(work.copy_upper, (missing, after)), "reads", inputs=(missing,), outputs=(after,)),
        ]
        with Workflow(engine=caller.lend(), show_prints=False, store=False) as workflow:
            futures = workflow.submit_tasks(tasks)
            error = futures[0].exception(caller.patience)
            assert isinstance(error, MissingFileError)
            assert str(tmp_path / "missing") in str(error)
            assert futures[1].exception(caller.patience) is not None
        assert not (tmp_path / "after").exists()

    def test_odd_names(self, caller: Driver, tmp_path: Path) -> None:
        caller.needs(Capability.COMMANDS)
        for name in ("with space", "it's", 'quote"d', "new\nline", "naïve", "-n", "$HOME"):
            path = str(tmp_path / name)
            assert caller.result(caller.task(Call(work.touch, (path,)), [path])) == path
            (file,) = caller.result(caller.task(Command(("cp", path, f"{path}.copy")), [f"{path}.copy"])).outputs
            assert file == File(f"{path}.copy")
