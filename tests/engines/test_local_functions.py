"""Local engine: any function can be a task, wherever it is defined, and is run as it is now."""

from __future__ import annotations

import functools
import gc
import math
import operator
import textwrap
import weakref
from pathlib import Path

from tests.engines.rig import PATIENCE, run

from harmony import Workflow


def test_lambdas_closures_and_recursion(wf: Workflow) -> None:
    factor = 3

    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    def is_even(n: int) -> bool:
        return n == 0 or is_odd(n - 1)

    def is_odd(n: int) -> bool:
        return n != 0 and is_even(n - 1)

    assert wf.submit(lambda x: factor * x, 5).result(PATIENCE) == 15
    assert wf.submit(factorial, 20).result(PATIENCE) == math.factorial(20)
    assert wf.submit(is_even, 101).result(PATIENCE) is False
    assert wf.submit(lambda fn: fn(4), lambda x: x + factor).result(PATIENCE) == 7
    assert wf.submit(lambda: lambda y: y * factor).result(PATIENCE)(2) == 6


def test_builtins_partials_methods_and_classes(wf: Workflow) -> None:
    assert wf.submit(operator.add, 2, 3).result(PATIENCE) == 5
    assert wf.submit(functools.partial(pow, 2), 5).result(PATIENCE) == 32
    assert wf.submit("a-b".split, "-").result(PATIENCE) == ["a", "b"]
    assert wf.submit(dict, a=1).result(PATIENCE) == {"a": 1}
    assert wf.submit(Scale.double, 4).result(PATIENCE) == 8


def test_thousands_of_different_functions(wf: Workflow) -> None:
    futures = [wf.submit(lambda i=i: i) for i in range(3000)]
    assert [future.result(PATIENCE) for future in futures] == list(range(3000))


class Scale:
    """Has state, and is called."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return self.factor * x

    def times(self, x: int) -> int:
        return self.factor * x

    @staticmethod
    def double(x: int) -> int:
        return 2 * x


def test_objects_that_are_called_travel_as_they_are_now(wf: Workflow) -> None:
    scale = Scale(1)
    times = scale.times
    partial = functools.partial(operator.mul, 1)
    assert [wf.submit(fn, 3).result(PATIENCE) for fn in (scale, times, partial)] == [3, 3, 3]
    scale.factor = 2
    partial.__setstate__((operator.mul, (2,), {}, {}))  # type: ignore[attr-defined]
    assert [wf.submit(fn, 3).result(PATIENCE) for fn in (scale, times, partial)] == [6, 6, 6]


def test_functions_that_are_gone_are_forgotten(wf: Workflow) -> None:
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)
    for i in range(3000):
        wf.submit(lambda i=i, big=big if i == 0 else None: (i, big) and i)
    del big
    wf.wait()
    gc.collect()
    assert gone() is None


MAIN = """
    from dataclasses import dataclass
    from harmony import Workflow, task
    from harmony.engines.local import LocalEngine

    @dataclass
    class Point:
        x: int
        def moved(self): return Point(self.x + 1)

    class Trouble(Exception):
        pass

    rate = 1.0

    @task
    def move(point):
        assert type(point) is Point
        return inner(point)

    def inner(point): return point.moved()
    def see(): return rate
    def see_through(): return see()
    def fail(): raise Trouble("trouble")

    if __name__ == "__main__":
        with Workflow(engine=LocalEngine(workers=1)) as wf:
            point = move(move(Point(1))).result()
            assert isinstance(point, Point) and point == Point(3), point
            assert type(wf.submit(fail).exception()) is Trouble
            assert wf.submit(Point, 5).result() == Point(5)
            for _ in range(20):
                rate += 1.0
                assert wf.submit(see).result() == rate
                rate += 1.0
                rate += 1.0
                assert wf.submit(see_through).result() == rate
            see = lambda: "anew"
            assert wf.submit(see_through).result() == "anew"
            inner = lambda point: Point(0)
            assert move(Point(1)).result() == Point(0)
        print("well")
"""


def test_program_whose_functions_and_classes_are_its_own(tmp_path: Path) -> None:
    assert run(tmp_path, MAIN) == "well\n"


UNGUARDED = """
    from harmony import Workflow
    def square(x): return x * x
    with Workflow() as wf:
        print(sum(wf.gather(wf.map(square, range(10)))))
"""


def test_program_without_a_main_guard(tmp_path: Path) -> None:
    assert run(tmp_path, UNGUARDED) == "285\n"


STDIN = """
    import subprocess, sys
    text = "from harmony import Workflow\\nwith Workflow() as wf: print(wf.submit(lambda: 7).result())"
    for start in (["-c", text], ["-"]):
        print(subprocess.run([sys.executable, *start], input=text, text=True, capture_output=True, check=True).stdout)
"""


def test_program_that_is_no_file(tmp_path: Path) -> None:
    assert run(tmp_path, STDIN).split() == ["7", "7"]


NEIGHBOUR = """
    import neighbour
    from harmony import Workflow
    with Workflow() as wf:
        print(wf.submit(neighbour.double, 21).result())
"""


def test_modules_beside_the_program(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("def double(x): return 2 * x\n")
    (tmp_path / "pickle.py").write_text("raise ImportError('not the real one')\n")  # only the program's folder has it
    (tmp_path / "elsewhere").mkdir()
    assert run(tmp_path, "import sys; sys.path.pop(0); sys.path.append('elsewhere')" + SIMPLE) == "9\n"
    (tmp_path / "pickle.py").unlink()
    assert run(tmp_path, NEIGHBOUR) == "42\n"


SIMPLE = "\nfrom harmony import Workflow\nwith Workflow() as wf: print(wf.submit(abs, -9).result())\n"


WRAPPED = """
    import functools

    def doubled(fn):
        @functools.wraps(fn)
        def wrapper(*args): return 2 * fn(*args)
        return wrapper

    @doubled
    def plus_one(x): return x + 1

    @functools.lru_cache
    def cached(x): return x + 1
"""

DECORATED = """
    import wrapped
    from harmony import Workflow, task

    @wrapped.doubled
    def local(x): return x + 1

    @task
    @wrapped.doubled
    def under_ours(x): return x + 1

    with Workflow(workers=1) as wf:
        assert wf.submit(wrapped.plus_one, 1).result() == 4
        assert task(wrapped.plus_one)(1).result() == 4
        assert wf.submit(wrapped.cached, 1).result() == 2
        assert wf.submit(local, 1).result() == 4
        assert under_ours(1).result() == 4
    print("well")
"""


def test_users_own_decorators_are_kept(tmp_path: Path) -> None:
    (tmp_path / "wrapped.py").write_text(textwrap.dedent(WRAPPED))
    assert run(tmp_path, DECORATED) == "well\n"


IN_A_CHILD = """
    import multiprocessing
    from harmony import Workflow

    class Thing: pass
    def back(value): return value

    def drive():
        with Workflow(workers=1) as wf:
            assert wf.submit(back, 1).result() == 1
            assert type(wf.submit(back, Thing()).result()) is Thing
            print("well", flush=True)

    if __name__ == "__main__":
        for method in ("spawn", "forkserver"):
            child = multiprocessing.get_context(method).Process(target=drive)
            child.start()
            child.join()
"""


def test_program_that_drives_from_a_child_of_its_own(tmp_path: Path) -> None:
    assert run(tmp_path, IN_A_CHILD) == "well\nwell\n"


ONLY_HERE = """
    import importlib.util, os, sys
    from harmony import Workflow

    os.mkdir("late")
    for name, more in (("plugin", 1), ("late/later", 2)):
        with open(f"{name}.txt" if name == "plugin" else f"{name}.py", "w") as stream:
            stream.write(f"class Thing: pass\\ndef more(x): return x + {more}\\ndef back(x): return x\\n")

    loader = importlib.machinery.SourceFileLoader("plugin", "plugin.txt")
    plugin = importlib.util.module_from_spec(importlib.util.spec_from_loader("plugin", loader))
    sys.modules["plugin"] = plugin
    loader.exec_module(plugin)

    with Workflow(workers=1) as wf:
        assert wf.submit(plugin.more, 1).result() == 2
        assert type(wf.submit(plugin.back, plugin.Thing()).result()) is plugin.Thing
        sys.path.append("late")
        import later
        assert wf.submit(later.more, 1).result() == 3
        assert type(wf.submit(later.back, later.Thing()).result()) is later.Thing
    print("well")
"""


def test_modules_that_only_this_process_can_import(tmp_path: Path) -> None:
    assert run(tmp_path, ONLY_HERE) == "well\n"


CLOSURES = """
    import os
    from pathlib import Path
    from harmony import Workflow

    def held(process): return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with Workflow(workers=1) as wf:
        worker = wf.submit(os.getpid).result()
        for _ in range(30):
            big = bytearray(b"x") * 20_000_000
            assert wf.submit(lambda: len(big)).result() == 20_000_000
        print(max(held(os.getpid()), held(worker)))
"""


def test_closures_are_not_hoarded(tmp_path: Path) -> None:
    assert int(run(tmp_path, CLOSURES)) < 300_000_000


def test_what_a_function_refers_to_is_shared_by_no_one(wf: Workflow) -> None:
    seen: list[int] = []

    def see() -> int:
        seen.append(1)
        return len(seen)

    assert wf.submit(see).result(PATIENCE) == 1
    assert seen == []
