"""The generator: its instances are sound, close to what is asked for, and have the applications' structure."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.errors import ConfigError
from harmony.frontends.wfformat import SHAPES, Instance, generate, read
from harmony.frontends.wfformat.__main__ import main
from harmony.frontends.wfformat.document import dumps
from harmony.frontends.wfformat.instance import critical_path, order, validate

sizes = st.tuples(st.sampled_from(sorted(SHAPES)), st.integers(0, 250)).map(
    lambda pair: (pair[0], SHAPES[pair[0]][1] + pair[1])
)


@given(sizes, st.integers(0, 5))
def test_an_instance_is_sound(asked: tuple[str, int], seed: int) -> None:
    shape, tasks = asked
    instance = generate(shape, tasks, seed)
    validate(instance)
    assert abs(len(instance.tasks) - tasks) <= (0 if shape in ("chain", "fan", "1000genome") else 2)
    producers = instance.producers
    for task in instance.tasks:
        assert set(task.parents) == {producers[file] for file in task.inputs if file in producers}
        assert task.outputs
        assert task.inputs
    assert are_connected(instance)


def are_connected(instance: Instance) -> bool:
    """True when each task can be reached from each other through the files they share."""
    users: dict[str, list[int]] = {}
    for index, task in enumerate(instance.tasks):
        for file in (*task.inputs, *task.outputs):
            users.setdefault(file, []).append(index)
    seen, todo = {0}, [0]
    while todo:
        task = instance.tasks[todo.pop()]
        near = {index for file in (*task.inputs, *task.outputs) for index in users[file]} - seen
        seen |= near
        todo.extend(near)
    return len(seen) == len(instance.tasks)


@given(sizes, st.floats(0.01, 1e4), st.floats(1e3, 1e10))
def test_the_means_are_those_asked_for(asked: tuple[str, int], runtime: float, size: float) -> None:
    instance = generate(*asked, mean_runtime=runtime, mean_file_size=size)
    runtimes = [task.run.runtime for task in instance.tasks if task.run]
    assert len(runtimes) == len(instance.tasks)
    assert sum(runtimes) / len(runtimes) == pytest.approx(runtime, rel=1e-3)
    assert sum(instance.sizes.values()) / len(instance.sizes) == pytest.approx(size, rel=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_seed_decides_alone(shape: str) -> None:
    assert dumps(generate(shape, 50, 1)) == dumps(generate(shape, 50, 1))
    assert dumps(generate(shape, 50, 1)) != dumps(generate(shape, 50, 2))


@pytest.mark.parametrize(
    ("shape", "checksum"),
    [
        ("chain", "2baf1099"),
        ("fan", "35733f90"),
        ("montage", "af0a3223"),
        ("epigenomics", "21789ec6"),
        ("1000genome", "5b1ba05e"),
    ],
)
def test_the_bytes_are_the_same_on_every_python(shape: str, checksum: str) -> None:
    assert f"{zlib.crc32(dumps(generate(shape, 200, 7)).encode()):08x}" == checksum


# -- structure ---------------------------------------------------------------------------------------


def counts(instance: Instance) -> dict[str, int]:
    return dict(Counter(task.name for task in instance.tasks))


def stages(instance: Instance) -> set[tuple[str, str]]:
    """Which kind of task waits for which."""
    names = {task.id: task.name for task in instance.tasks}
    return {(names[parent], task.name) for task in instance.tasks for parent in task.parents}


def test_a_chain_has_one_path() -> None:
    instance = generate("chain", 30)
    work = sum(task.run.runtime for task in instance.tasks if task.run)
    assert critical_path(instance) == pytest.approx(work)
    assert [task.id for task in order(instance)] == [task.id for task in instance.tasks]


def test_a_fan_goes_out_and_in() -> None:
    instance = generate("fan", 30)
    assert counts(instance) == {"split": 1, "work": 28, "merge": 1}
    assert stages(instance) == {("split", "work"), ("work", "merge")}
    assert len(instance.tasks[-1].parents) == 28


def test_montage_has_three_bands_and_pairs_of_images() -> None:
    instance = generate("montage", 1000)
    found = counts(instance)
    assert found["mProject"] == found["mBackground"]
    assert found["mDiffFit"] > 2 * found["mProject"]
    assert {name: found[name] for name in ("mConcatFit", "mBgModel", "mImgtbl", "mAdd", "mViewer")} == {
        "mConcatFit": 3,
        "mBgModel": 3,
        "mImgtbl": 3,
        "mAdd": 3,
        "mViewer": 4,
    }
    assert stages(instance) == {
        ("mProject", "mDiffFit"),
        ("mDiffFit", "mConcatFit"),
        ("mConcatFit", "mBgModel"),
        ("mBgModel", "mBackground"),
        ("mProject", "mBackground"),
        ("mBackground", "mImgtbl"),
        ("mImgtbl", "mAdd"),
        ("mBackground", "mAdd"),
        ("mAdd", "mViewer"),
    }
    fits = [task for task in instance.tasks if task.name == "mDiffFit"]
    assert {len(task.parents) for task in fits} == {2}
    assert len({task.parents for task in fits}) == len(fits)
    fitted = {parent for task in fits for parent in task.parents}
    assert fitted == {task.id for task in instance.tasks if task.name == "mProject"}


def test_epigenomics_has_lanes_of_parallel_pipelines() -> None:
    instance = generate("epigenomics", 405)
    found = counts(instance)
    chunks = found["filterContams"]
    assert found == {
        "fastQSplit": 4,
        "filterContams": chunks,
        "sol2sanger": chunks,
        "fast2bfq": chunks,
        "map": chunks,
        "mapMerge": 5,
        "maqIndex": 1,
        "pileup": 1,
    }
    assert stages(instance) == {
        ("fastQSplit", "filterContams"),
        ("filterContams", "sol2sanger"),
        ("sol2sanger", "fast2bfq"),
        ("fast2bfq", "map"),
        ("map", "mapMerge"),
        ("mapMerge", "mapMerge"),
        ("mapMerge", "maqIndex"),
        ("maqIndex", "pileup"),
    }


def test_1000genome_compares_populations_per_chromosome() -> None:
    instance = generate("1000genome", 998)
    assert counts(instance) == {
        "individuals": 646,
        "individuals_merge": 22,
        "sifting": 22,
        "mutation_overlap": 154,
        "frequency": 154,
    }
    assert stages(instance) == {
        ("individuals", "individuals_merge"),
        ("individuals_merge", "mutation_overlap"),
        ("individuals_merge", "frequency"),
        ("sifting", "mutation_overlap"),
        ("sifting", "frequency"),
    }


# -- what is asked for wrongly, and the command line -------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ring", 5), "there is no shape 'ring'; the shapes are: chain, fan, montage, epigenomics, 1000genome"),
        (("montage", 9), "tasks=9: montage has at least 10 tasks; give a whole number from 10 on"),
        (("chain", 2.5), "tasks=2.5: chain has at least 1 tasks"),
        (("chain", 5, 0, -1.0), "mean_runtime=-1.0 must be a number, at least 0"),
        (("chain", 5, 0, 1.0, float("inf")), "mean_file_size=inf must be a number, at least 0"),
    ],
)
def test_what_cannot_be_generated_is_refused(arguments: tuple[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        generate(*arguments)


def test_the_command_line_writes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "wf.json"
    options = ["--tasks", "20", "--seed", "3", "--mean-runtime", "0.5", "--mean-file-size", "2kB", "-o", str(path)]
    assert main(["generate", "fan", *options]) == 0
    assert read(path) == generate("fan", 20, 3, 0.5, 2000)


def test_the_command_line_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "chain", "--tasks", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "chain-2"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["fan", "--tasks", "2"], "error: tasks=2: fan has at least 3 tasks; give a whole number from 3 on\n"),
        (["fan", "-o", "/nowhere/wf.json"], "error: [Errno 2] No such file or directory: '/nowhere/wf.json"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", *options]) == 1
    assert capsys.readouterr().err.startswith(message)


def test_the_command_line_refuses_what_is_no_size(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["generate", "fan", "--mean-file-size", "big"])
    assert caught.value.code == 2
    assert "argument --mean-file-size: 'big' is not a size; write bytes, or 64kB" in capsys.readouterr().err
