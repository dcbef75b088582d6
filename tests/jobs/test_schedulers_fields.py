"""Every field of a job, on every batch system: it reaches the system as it was meant, or it is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.jobs.readers import SCHEDULERS, options, understood
from tests.jobs.texts import ODD, order

from harmony.conformance.emulators import Emulator
from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import Order, Scheduler
from harmony.jobs.shell import Here

T = TypeVar("T")

SYSTEMS = pytest.mark.parametrize("name", SCHEDULERS)
GIB = 2**30

#: What a job of more than one core must say on some systems.
NEEDED: dict[str, dict[str, object]] = {"sge": {"sge.pe": "smp"}}

#: System → an option with a value, an option without one, both unlike what is said anyway; they take any text.
OPTIONS = {
    "slurm": ("comment", "requeue"), "pbs": ("M", "h"), "pbs_classic": ("M", "h"), "sge": ("ac", "notify"),
    "lsf": ("Jd", "B"), "cobalt": ("kerneloptions", "held"), "flux": ("requires", "unbuffered"),
    "htcondor": ("+note", "hold"), "oar": ("property", "hold"), "nqsv": ("M", "h"),
}  # fmt: skip

#: Field → two values unlike the default and each other.
VALUES: dict[str, tuple[object, object]] = {
    "node_count": (2, 3),
    "process_count": (2, 3),
    "processes_per_node": (2, 3),
    "cpu_cores_per_process": (2, 3),
    "gpu_cores_per_process": (1, 2),
    "exclusive_node_use": (True, True),
    "memory": (GIB, 3 * GIB),
    "duration": (timedelta(minutes=90), timedelta(hours=30)),
    "queue_name": ("debug", "other.q"),
    "account": ("physics", "chemistry"),
    "reservation_id": ("R1", "R2"),
    "name": ("first", "second"),
    "inherit_environment": (False, False),
    "after": (["12"], ["13"]),
    "after_ok": (["12"], ["13"]),
    "after_any": (["12"], ["13"]),
}

#: What changes nothing, since the system always gives it.
GIVEN = {("cobalt", "exclusive_node_use"), ("cobalt", "cpu_cores_per_process")}


def asked(system: str, /, **fields: Any) -> Order:
    """An order with what the system always needs."""
    attributes = {**NEEDED.get(system, {}), **fields.pop("custom_attributes", {})}
    return order(custom_attributes=attributes, **fields)


def read(ask: Callable[[], T]) -> tuple[T | None, str]:
    """What is found, or the refusal."""
    try:
        return ask(), ""
    except InvalidJobException as error:
        return None, str(error)


def said(scheduler: Scheduler, wanted: Order) -> tuple[str, ...]:
    """All that the system is told."""
    return (*scheduler.directives(wanted), *scheduler.preamble(wanted), *scheduler.submit_command("/work/1.sh"))


@SYSTEMS
@pytest.mark.parametrize("field", VALUES)
def test_no_field_is_dropped(name: str, field: str) -> None:
    """psij-python's defect 8: cores, GPUs, walltimes and the like were lost on the way to the scheduler."""
    scheduler = SCHEDULERS[name]
    default = said(scheduler, asked(name))
    told: list[tuple[str, ...]] = []
    refusals = []
    for value in VALUES[field]:
        try:
            told.append(said(scheduler, asked(name, **{field: value})))
        except InvalidJobException as error:
            refusals.append(str(error))
            told.append((f"refused {value}",))
    assert all(field in refusal for refusal in refusals)
    if (name, field) in GIVEN:
        assert told == [default, default]
    else:
        assert default not in told
        assert (told[0] == told[1]) is (VALUES[field][0] == VALUES[field][1])


@SYSTEMS
def test_no_custom_attribute_is_dropped(name: str, tmp_path: Path) -> None:
    scheduler = SCHEDULERS[name]
    valued, plain = OPTIONS[name]
    default = options(scheduler, asked(name), tmp_path)
    given = {f"{name}.{valued}": "x", f"{name}.{plain}": None, "other.option": "y"}
    found = options(scheduler, asked(name, custom_attributes=given), tmp_path)
    added = {(option, value or "") for option, value in found} - {(option, value or "") for option, value in default}
    alias = {"h": "hold"} if name == "slurm" else {}
    assert added == {(valued, "x"), (alias.get(plain, plain), "True" if name == "htcondor" else "")}


@SYSTEMS
def test_default_job(name: str, tmp_path: Path) -> None:
    """psij-python's Flux executor refused a job that said nothing of its resources."""
    request = understood(SCHEDULERS[name], order(), tmp_path)
    assert (request.nodes, request.gpus, request.limit) == (1, 0, 600.0)
    assert request.cores == (8 if name == "cobalt" else 1)


@SYSTEMS
@pytest.mark.parametrize("seconds", [0.2, 30, 61, 86400 + 1])
def test_no_walltime_is_cut(name: str, seconds: float, tmp_path: Path) -> None:
    """psij-python's defect 8: 30 s became 0 on LSF. Some systems know whole minutes only: those are rounded up."""
    request = understood(SCHEDULERS[name], order(duration=timedelta(seconds=seconds)), tmp_path)
    assert request.limit is not None
    assert seconds <= request.limit < seconds + 60


@SYSTEMS
def test_shape_of_a_job(name: str, tmp_path: Path) -> None:
    """psij-python's defect 8: cores and GPUs of each process were ignored."""
    nodes = 1 if name in ("sge", "htcondor") else 2
    gpus = 0 if name == "cobalt" else 1
    wanted = asked(
        name, node_count=nodes, processes_per_node=2, cpu_cores_per_process=3, gpu_cores_per_process=gpus
    )  # fmt: skip
    request = understood(SCHEDULERS[name], wanted, tmp_path)
    assert (request.nodes, request.cores, request.gpus) == (nodes, 8 if name == "cobalt" else 6, 2 * gpus)


@SYSTEMS
@pytest.mark.parametrize("text", ["my-job_1", "run.sh"])
def test_name_reaches_the_scheduler(name: str, text: str, tmp_path: Path) -> None:
    """psij-python's defect 9."""
    assert understood(SCHEDULERS[name], order(name=text), tmp_path).name == text


def total_memory(name: str, found: dict[str, str], nodes: int, slots: int) -> int:
    """The bytes that the whole job has asked for, by what each system counts them for."""
    kept = {
        "slurm": ("mem", r"(\d+)K", 1024 * nodes),
        "pbs": ("l", r"mem=(\d+)kb", 1024 * nodes),
        "pbs_classic": ("l", r"\bp?mem=(\d+)kb", 1024 * (1 if nodes == 1 else slots)),
        "sge": ("l", r"h_vmem=(\d+)K", 1024 * slots),
        "lsf": ("R", r"mem=(\d+)MB/host", 2**20 * nodes),
        "htcondor": ("request_memory", r"(\d+)", 2**20),
        "nqsv": ("l", r"memsz_job=(\d+)mb", 2**20 * nodes),
    }
    option, pattern, unit = kept[name]
    match = re.search(pattern, found[option])
    assert match, found
    return int(match[1]) * unit


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name not in ("cobalt", "flux", "oar")])
@pytest.mark.parametrize(("nodes", "each", "cores"), [(1, 1, 1), (1, 4, 2), (3, 1, 1), (3, 2, 2)])
@pytest.mark.parametrize("memory", [6 * GIB, 1_000_000_001])
def test_memory_is_that_of_the_whole_job(
    name: str, nodes: int, each: int, cores: int, memory: int, tmp_path: Path
) -> None:
    """psij-python's defect 8: it was multiplied by the nodes on PBS and Slurm. (The others refuse it.)"""
    nodes = 1 if name == "htcondor" else nodes
    wanted = asked(name, node_count=nodes, processes_per_node=each, cpu_cores_per_process=cores, memory=memory)
    found: dict[str, str] = {}
    for option, value in options(SCHEDULERS[name], wanted, tmp_path):
        found[option] = f"{found[option]},{value}" if option in found else value or ""
    slots = nodes * each * cores
    assert memory <= total_memory(name, found, nodes, slots) < memory + 2**20 * slots


#: System → the option that holds the field, and what stands before the value; a system without it refuses the field.
PLACES = {
    "queue_name": {"slurm": "partition", "pbs": "q", "pbs_classic": "q", "sge": "q", "lsf": "q", "cobalt": "queue",
                   "flux": "queue", "oar": "queue", "nqsv": "q"},
    "account": {"slurm": "account", "pbs": "A", "pbs_classic": "A", "sge": "P", "lsf": "P", "cobalt": "project",
                "flux": "bank", "htcondor": "accounting_group", "oar": "project", "nqsv": "A"},
    "reservation_id": {"slurm": "reservation", "pbs": "q", "pbs_classic": "W", "sge": "ar", "lsf": "U",
                       "cobalt": "queue", "oar": "type", "nqsv": "y"},
    "custom": {name: valued for name, (valued, _) in OPTIONS.items()},
}  # fmt: skip
BEFORE = {("pbs_classic", "reservation_id"): "x=FLAGS:ADVRES:", ("oar", "reservation_id"): "inner="}
MORE_ODD = {**ODD, "newline": "a\nb", "tab": "a\tb", "ends": " a ", "braces": "{{id}} ${a} $(b)", "plain": "abc"}


@SYSTEMS
@pytest.mark.parametrize("odd", MORE_ODD)
@pytest.mark.parametrize("field", PLACES)
def test_odd_values_are_quoted_once_or_refused(name: str, field: str, odd: str, tmp_path: Path) -> None:
    scheduler, value = SCHEDULERS[name], MORE_ODD[odd]
    option = PLACES[field].get(name)
    key = f"{name}.{option}"

    def with_value(text: str) -> Order:
        return asked(name, **({"custom_attributes": {key: text}} if field == "custom" else {field: text}))

    found, refusal = read(lambda: options(scheduler, with_value(value), tmp_path))
    if refusal:
        said_so = re.search(rf"\b{re.escape((option or '').lstrip('+'))}\b|custom_attributes", refusal)
        assert said_so if field == "custom" else field in refusal
        assert odd != "plain" or option is None
        return
    assert option is not None
    assert found is not None
    assert (option, BEFORE.get((name, field), "") + value) in found
    usual = options(scheduler, with_value("R1"), tmp_path)
    assert [each for each, _ in found] == [each for each, _ in usual]  # nothing else has come in


@SYSTEMS
@pytest.mark.parametrize("odd", MORE_ODD)
def test_odd_names(name: str, odd: str, tmp_path: Path) -> None:
    """A name is never refused; what a system cannot hold of it is replaced."""
    scheduler, text = SCHEDULERS[name], MORE_ODD[odd]
    option = {"slurm": "job-name", "pbs": "N", "pbs_classic": "N", "sge": "N", "lsf": "J", "cobalt": "jobname",
              "flux": "job-name", "htcondor": "batch_name", "oar": "name", "nqsv": "N"}[name]  # fmt: skip
    found = options(scheduler, asked(name, name=text), tmp_path)
    usual = options(scheduler, asked(name, name="job"), tmp_path)
    assert [each for each, _ in found] == [each for each, _ in usual]
    value = dict(found)[option]
    assert value
    if name in ("slurm", "flux", "htcondor"):
        one_line = text.replace("\n", " ").replace("\t", " ")
        if name == "htcondor":
            one_line = re.sub(r"\\$", "_", one_line)
        assert value == (one_line if name == "slurm" else one_line.strip())
    assert {letter for letter in text if letter.isascii() and letter.isalnum()} <= set(value)


@SYSTEMS
@pytest.mark.parametrize("odd", ["blank", "quote", "both", "command", "unicode", "percent", "backslash", "braces"])
def test_log_is_where_it_was_asked_for(name: str, odd: str, tmp_path: Path) -> None:
    """The job is run, so that it is the system that opens the file; or the path is refused."""
    scheduler = SCHEDULERS[name]
    directory = tmp_path / MORE_ODD[odd]
    directory.mkdir()
    log, path = directory / "1.out", tmp_path / "job.sh"
    head, refusal = read(lambda: scheduler.directives(order(log=str(log))))
    if head is None:
        assert "work_directory" in refusal or "log" in refusal
        return
    preamble = [line for line in scheduler.preamble(order()) if line.startswith("exec ")]
    path.write_text("\n".join(["#!/bin/bash", *head, *preamble, "echo said; echo complained >&2"]) + "\n")
    with Emulator(name, tmp_path / "lab") as lab:
        done = Here().run(scheduler.submit_command(str(path)), timeout=20)
        assert done.code == 0, done.complaint
        lab.wait_until(lambda: lab.jobs()[0].ended is not None)
    assert log.read_text() == "said\ncomplained\n"
    assert [each.name for each in directory.iterdir()] == ["1.out"]
