"""The job script, run by the shell: what the program sees is what the specification says, letter by letter."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.jobs.running import Bench
from tests.jobs.test_script_run import appears

from harmony.jobs.resource_spec import ResourceSpecV1
from harmony.jobs.script import Marker
from harmony.jobs.spec import JobSpec

#: Writes what it sees as JSON to its standard output.
SHOW = (
    "import json, os, sys; json.dump([[os.fsencode(a).hex() for a in sys.argv[1:]], "
    "{k: os.fsencode(v).hex() for k, v in os.environ.items()}], sys.stdout)"
)
NASTY = [
    "", " ", "a b", "it's", '"', "$(touch gone)", "`touch gone`", "\\", "new\nline", "\n", "tab\t", "*", "~", "!x", "#",
    "-n", "--", "a;b&c|d<e>f(g)", "$HOME", "$$", "${}", "${1}", "${a-b}", "$((1))", "ünï⇒\U0001f600", "\x01\x7f", "a=b",
    "'\\''", "\r", "{a,b}", "[x]", "%s%n", "$'\\n'",
]  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def seen(bench: Bench, spec: JobSpec, environment: dict[str, str] | None = None) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment as the program of this job sees them."""
    spec.executable, spec.arguments = sys.executable, ["-c", SHOW, *(spec.arguments or [])]
    spec.stdout_path = "seen"
    ran = bench.run(spec, environment)
    assert (ran.end, ran.log) == ((0, "done"), "")
    arguments, variables = json.loads((bench.home / "seen").read_text())
    assert not (bench.home / "gone").exists()
    return [text(item) for item in arguments], {name: text(value) for name, value in variables.items()}


def text(encoded: str) -> str:
    return os.fsdecode(bytes.fromhex(encoded))


def variables(values: list[str]) -> dict[str, str]:
    return {f"V{index}": value for index, value in enumerate(values)}


# -- quoting


def test_texts_arrive_as_they_are(bench: Bench) -> None:
    arguments, environment = seen(bench, JobSpec(arguments=NASTY, environment=variables(NASTY)))
    assert arguments == NASTY
    assert {name: environment[name] for name in variables(NASTY)} == variables(NASTY)


TEXTS = st.lists(
    st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"])
        | st.sampled_from("\"'`$(){}[]\\!*?~#;&|<> \n\t"),
        max_size=30,
    ).filter(lambda text: "${" not in text),
    max_size=60,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS)
def test_any_text_arrives_as_it_is(values: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        arguments, environment = seen(Bench(Path(folder)), JobSpec(arguments=values, environment=variables(values)))
    assert arguments == values
    assert {name: environment[name] for name in variables(values)} == variables(values)


@pytest.mark.parametrize("name", ["with space", 'it\'s "$(touch gone)" `x`', "new\nline", "ünï⇒", "-dash", "a=b"])
def test_executable_and_pre_launch_may_have_any_name(bench: Bench, tmp_path: Path, name: str) -> None:
    tools = tmp_path / name
    tools.mkdir()
    (tools / name).write_text("#!/bin/sh\nexit $CODE\n")
    (tools / name).chmod(0o755)
    (tools / f"{name}.sh").write_text("export CODE=5\n")
    assert bench.run(JobSpec(tools / name, pre_launch=tools / f"{name}.sh")).end == (5, "done")
    assert bench.run(JobSpec(name, environment={"PATH": f"{tools}:/bin", "CODE": 6})).end == (6, "done")


# -- ${NAME}


def test_defect_values_are_never_or_too_much_expanded(bench: Bench) -> None:
    environment = {"A": "1 2", "B": "[${A}] ${NOT_SET}.", "C": "$A $(touch gone) ${A-x} ${A", "PATH": "/x y:${PATH}"}
    _, found = seen(bench, JobSpec(environment=environment))
    assert (found["A"], found["B"], found["C"]) == ("1 2", "[1 2] .", "$A $(touch gone) ${A-x} ${A")
    assert found["PATH"] == f"/x y:{os.environ['PATH']}"


def test_argument_keeps_a_name_that_is_not_set(bench: Bench) -> None:
    given_ = ["${A}", "x${A}y${NOT_SET}z", "${NOT_SET}", "$A", "${A}'\"${A}", "${EMPTY}", "$(echo ${A})", "\\${A}"]
    arguments, _ = seen(bench, JobSpec(arguments=given_, environment={"A": "a 'b' $(c) *", "EMPTY": ""}))
    a = "a 'b' $(c) *"
    assert arguments == [a, f"x{a}y${{NOT_SET}}z", "${NOT_SET}", "$A", f"{a}'\"{a}", "", f"$(echo {a})", f"\\{a}"]


def test_argument_may_name_what_pre_launch_and_the_job_have_set(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "pre").write_text("export FOUND='in pre'\n")
    arguments, _ = seen(bench, JobSpec(arguments=["${FOUND}", "${PSIJ_JOB_ID}"], pre_launch=tmp_path / "pre"))
    assert arguments == ["in pre", "job-1"]


# -- the environment


def test_inherited_environment_is_there(bench: Bench) -> None:
    _, found = seen(bench, JobSpec(environment={"MINE": "1"}), {**os.environ, "THEIRS": "a\nb"})
    assert (found["MINE"], found["THEIRS"], found["PSIJ_JOB_ID"]) == ("1", "a\nb", "job-1")
    assert Path(found["PSIJ_NODEFILE"]).read_text().count("\n") == 1


@pytest.mark.parametrize("launcher", ["single", "multiple"])
def test_nothing_is_inherited_when_it_is_not_to_be(bench: Bench, launcher: str) -> None:
    theirs = {**os.environ, "THEIRS": "1", "BASH_FUNC_tool%%": "() { :; }", "_": "x", "OLDPWD": "/"}
    spec = JobSpec(environment={"MINE": "a b", "AT": "${THEIRS}"}, inherit_environment=False, launcher=launcher)
    _, found = seen(bench, spec, theirs)
    expected = {"MINE", "AT", "PSIJ_JOB_ID", "PSIJ_NODEFILE"}
    if launcher == "multiple":
        expected |= {"_PSI_J_PROCESS_INDEX_", "_PSI_J_PROCESS_COUNT"}
    found.pop("LC_CTYPE", None)  # Python sets it for itself
    assert set(found) == expected
    assert (found["MINE"], found["AT"]) == ("a b", "1")
    del theirs["OLDPWD"]
    assert set(seen(bench, JobSpec(inherit_environment=False, launcher=launcher), theirs)[1]) - {"LC_CTYPE"} == (
        expected - {"MINE", "AT"}
    )


def test_pre_launch_adds_to_what_is_not_inherited(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "pre").write_text('export MORE=1; [ -n "$THEIRS" ]\n')
    spec = JobSpec(inherit_environment=False, pre_launch=tmp_path / "pre")
    _, found = seen(bench, spec, {**os.environ, "THEIRS": "1"})
    found.pop("LC_CTYPE", None)
    assert set(found) == {"MORE", "PSIJ_JOB_ID", "PSIJ_NODEFILE"}


def test_empty_inherited_environment_is_enough(bench: Bench) -> None:
    _, found = seen(bench, JobSpec(environment={"A": "1"}), {})
    assert found["A"] == "1"


# -- the nodefile, and several copies


def test_nodefile_names_each_node_as_often_as_it_runs_processes(bench: Bench) -> None:
    spec = JobSpec("cp", ["${PSIJ_NODEFILE}", "nodes"], resources=ResourceSpecV1(node_count=2, processes_per_node=2))
    assert bench.run(spec, preamble=["psij_nodes() { echo n1; echo n2; }"]).end == (0, "done")
    assert (bench.home / "nodes").read_text() == "n1\nn1\nn2\nn2\n"


COPIES = 'read line; echo "$_PSI_J_PROCESS_INDEX_/$_PSI_J_PROCESS_COUNT $line"; '


def test_multiple_starts_copies_that_read_the_same(bench: Bench) -> None:
    bench.home.mkdir()
    (bench.home / "in").write_text("hello\n")
    spec = JobSpec("sh", ["-c", COPIES], launcher="multiple", resources=ResourceSpecV1(process_count=3))
    spec.stdin_path, spec.stdout_path = "in", "out"
    assert bench.run(spec).end == (0, "done")
    assert sorted((bench.home / "out").read_text().splitlines()) == ["1/3 hello", "2/3 hello", "3/3 hello"]


def test_multiple_ends_with_the_last_and_as_the_first_that_failed(bench: Bench) -> None:
    program = "case $_PSI_J_PROCESS_INDEX_ in 2) exit 5 ;; 3) exit 6 ;; *) echo ran >>ran ;; esac"
    spec = JobSpec("sh", ["-c", program], launcher="multiple", resources=ResourceSpecV1(process_count=4))
    assert bench.run(spec).end == (5, "done")
    assert (bench.home / "ran").read_text() == "ran\nran\n"


def test_multiple_passes_signals_to_every_copy_and_waits_for_all(bench: Bench) -> None:
    program = (
        "import os, signal, sys\n"
        "mine = os.environ['_PSI_J_PROCESS_INDEX_']\n"
        "def stop(*_):\n"
        "    open('stopped' + mine, 'w').write('x\\n'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "open('ready' + mine, 'w').write('x\\n')\n"
        "signal.pause()\n"
    )
    spec = JobSpec(sys.executable, ["-c", program], launcher="multiple", resources=ResourceSpecV1(process_count=2))
    process = bench.start(spec)
    for mine in "12":
        appears(bench.home / f"ready{mine}")
    os.kill(process.pid, signal.SIGTERM)
    assert bench.ended(process).end == (0, "done")
    assert (bench.home / "stopped1").exists()
    assert (bench.home / "stopped2").exists()


def test_names_of_other_files_are_no_markers() -> None:
    for name in ("", "a", "a.b.c.d", "a.E.0.1.x.run", "a.S.0", "a.S.0.1.2", "a.S.x.1", "a.Z.0.1", ".nfs000"):
        assert Marker.parse(name) is None
