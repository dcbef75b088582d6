"""Programs written for psij-python run as they are: its names, its modules, and the examples of its documentation."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harmony import jobs

#: psij-python's public names, and the specification's three that it lacks.
PSIJ = {
    "JobExecutor", "JobExecutorConfig", "Job", "JobStatusCallback", "JobSpec", "JobAttributes", "JobStatus", "JobState",
    "ResourceSpec", "ResourceSpecV1", "Launcher", "SubmitException", "InvalidJobException",
}  # fmt: skip
SOURCE = Path(jobs.__file__).read_text(encoding="utf-8")

IMPORTS = """
import psij
from psij import Job, JobExecutor, JobSpec
from psij.exceptions import InvalidJobException, SubmitException
from psij.executors import LocalJobExecutor, LsfJobExecutor, SlurmJobExecutor
from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutor, BatchSchedulerExecutorConfig
from psij.executors.batch.slurm import SlurmExecutorConfig
from psij.executors.local import LocalJobExecutor as Local
from psij.job import FunctionJobStatusCallback, JobStatusCallback
from psij.job_attributes import JobAttributes
from psij.job_executor import JobExecutor as Executor
from psij.job_executor_config import JobExecutorConfig
from psij.job_launcher import Launcher
from psij.job_spec import JobSpec as Spec
from psij.job_state import JobState
from psij.job_status import JobStatus
from psij.launchers import AprunLauncher, JsrunLauncher, MPILauncher, MultipleLauncher, SingleLauncher, SrunLauncher
from psij.launchers.single import SingleLauncher as Single
from psij.resource_spec import ResourceSpec, ResourceSpecV1
from psij.serialize import JSONSerializer, Serializer
from psij.staging import StageIn, StageOut, StageOutFlags, StagingMode, URI
from psij.version import VERSION

import harmony.jobs
assert psij.JobSpec is JobSpec is Spec is harmony.jobs.JobSpec
assert Executor is JobExecutor and Local is LocalJobExecutor and Single is SingleLauncher
assert psij.__version__ == VERSION
executor = SlurmJobExecutor(config=SlurmExecutorConfig(queue_polling_interval=3))
assert isinstance(executor, BatchSchedulerExecutor) and executor.name == "slurm"
assert isinstance(JobExecutor.get_instance("slurm"), BatchSchedulerExecutor)
assert isinstance(JobExecutorConfig.DEFAULT, JobExecutorConfig)
heard = []
job = Job(JobSpec("true"))
job.set_job_status_callback(FunctionJobStatusCallback(lambda job, status: heard.append(status.state)))
job.advance(JobStatus(JobState.QUEUED))
assert heard == [JobState.QUEUED]
try:
    import psij.nothing
except ModuleNotFoundError as error:
    print(error)
try:
    psij.UnreachableStateException
except AttributeError as error:
    print(error)
"""

RUN_AND_WAIT = """
import sys
from pathlib import Path
from psij import Job, JobExecutor, JobSpec, JobState

ex = JobExecutor.get_instance('local')
output_path = Path(sys.argv[1]) / 'output.txt'
job = Job(JobSpec(executable='/bin/echo', arguments=['Hello', 'World!'], stdout_path=output_path))
ex.submit(job)
status = job.wait()
assert status.state is JobState.COMPLETED and status.exit_code == 0
print(output_path.read_text(), end='')
"""

CALLBACKS = """
from threading import Semaphore
from psij import Job, JobExecutor, JobSpec, JobStatus

N = 3
ex = JobExecutor.get_instance('local')
done = Semaphore(0)

def callback(job: Job, status: JobStatus) -> None:
    if status.final:
        print(job.spec.name, status.state, status.exit_code)
        done.release()

ex.set_job_status_callback(callback)
for i in range(N):
    ex.submit(Job(JobSpec('/bin/sh', name='job', arguments=['-c', 'exit 3'])))
for _ in range(N):
    done.acquire()
"""

ATTRIBUTES_AND_ENVIRONMENT = """
import sys
from datetime import timedelta
from psij import Job, JobAttributes, JobExecutor, JobSpec, ResourceSpecV1
from psij.serialize import JSONSerializer

spec = JobSpec()
spec.executable = '/bin/sh'
spec.arguments = ['-c', 'echo $GREETING $N']
spec.environment = {'GREETING': 'Hello', 'N': 3}
spec.stdout_path = sys.argv[1] + '/out'
spec.resources = ResourceSpecV1(process_count=1, memory=64 << 20)
spec.attributes = JobAttributes(duration=timedelta(minutes=2), queue_name='debug', project_name='p',
                                custom_attributes={'slurm.constraint': 'gpu'})
spec = JSONSerializer().loads(JSONSerializer().dumps(spec))
assert spec.attributes.duration == timedelta(minutes=2) and spec.attributes.account == 'p'
spec.attributes = JobAttributes(duration=spec.attributes.duration)
job = Job(spec)
JobExecutor.get_instance('local', '>= 0.0.1').submit(job)
assert job.wait(timeout=timedelta(minutes=1)).exit_code == 0, job.status
print(spec.stdout_path.read_text(), end='')
"""

SCRIPTS = """
import io
from psij import Job, JobAttributes, JobExecutor, JobSpec

ex = JobExecutor.get_instance('slurm')
options = {}
job = Job(JobSpec('/bin/date', launcher='single', attributes=JobAttributes(custom_attributes=options)))
options['slurm.constraint'] = 'a token'
file = io.StringIO()
ex.generate_submit_script(job, ex._create_script_context(job), file)
assert 'a token' in file.getvalue() and '/bin/date' in file.getvalue() and '--exclusive' not in file.getvalue()
print('ok')
"""


def run(directory: Path, program: str, *arguments: str) -> str:
    """Run a program of psij-python's as it is; return what it prints."""
    file = directory / "program.py"
    file.write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "harmony.compat.psij", str(file), *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(directory)}, cwd=directory,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_every_module_and_name(tmp_path: Path) -> None:
    assert run(tmp_path, IMPORTS).splitlines() == [
        "No module named 'psij.nothing'",
        "module 'psij' of harmony.compat has no attribute 'UnreachableStateException'",
    ]


def test_defect_13_star_import_fails(tmp_path: Path) -> None:
    assert run(tmp_path, f"from psij import *\nprint({', '.join(sorted(PSIJ))} and 'all')") != ""


def test_run_and_wait(tmp_path: Path) -> None:
    assert run(tmp_path, RUN_AND_WAIT, str(tmp_path)) == "Hello World!\n"


def test_callbacks(tmp_path: Path) -> None:
    assert run(tmp_path, CALLBACKS) == "job FAILED 3\n" * 3


def test_attributes_environment_and_json(tmp_path: Path) -> None:
    assert run(tmp_path, ATTRIBUTES_AND_ENVIRONMENT, str(tmp_path)) == "Hello 3\n"


def test_the_script_that_would_be_submitted(tmp_path: Path) -> None:
    assert run(tmp_path, SCRIPTS) == "ok\n"


def test_the_same_program_with_one_import_changed(tmp_path: Path) -> None:
    program = RUN_AND_WAIT.replace("from psij import", "import harmony.jobs as psij\nfrom harmony.jobs import")
    file = tmp_path / "program.py"
    file.write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file), str(tmp_path)],
        capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == "Hello World!\n"


def test_running_a_module(tmp_path: Path) -> None:
    (tmp_path / "campaign.py").write_text("import sys, psij\nprint(sys.argv[1:], psij.Job.__module__, __name__)\n")
    command = [sys.executable, "-m", "harmony.compat.psij", "-m", "campaign", "a b"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "['a b'] harmony.jobs.job __main__\n"


def test_without_a_program_it_says_how_it_is_used() -> None:
    command = [sys.executable, "-m", "harmony.compat.psij"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python -m harmony.compat.psij PROGRAM")


def test_it_does_not_mix_with_psij_python(tmp_path: Path) -> None:
    """An installed psij-python is passed over; one that is imported already is not replaced under the program."""
    (tmp_path / "psij.py").write_text("Job = 'theirs'\n")
    program = "import harmony.compat.psij as compat\n{}\nimport psij\nprint(psij.Job)\ncompat.install()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    outs = [
        subprocess.run([sys.executable, "-c", program.format(first)], capture_output=True, text=True, env=environment)  # noqa: PLW1510
        for first in ("compat.install()", "pass")
    ]
    assert outs[0].stdout == "<class 'harmony.jobs.job.Job'>\n"
    assert outs[0].returncode == 0
    assert outs[1].stdout == "theirs\n"
    assert "psij-python is imported already" in outs[1].stderr


# -- the public names of harmony.jobs -----------------------------------------------------------------


def names_for_type_checkers() -> dict[str, str]:
    """name → module, from the imports under TYPE_CHECKING."""
    found: dict[str, str] = {}
    for node in ast.parse(SOURCE).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                assert isinstance(statement, ast.ImportFrom)
                found.update({name.name: str(statement.module) for name in statement.names})
    return found


def test_all_of_psij_is_there() -> None:
    assert set(jobs.__all__) >= PSIJ | {"InvalidStateException", "URI", "StageIn", "StageOut", "JSONSerializer"}
    assert dir(jobs) == sorted(jobs.__all__)
    assert len(set(jobs.__all__)) == len(jobs.__all__)


def test_programs_and_type_checkers_see_the_same() -> None:
    assert names_for_type_checkers() == jobs._HOME_OF
    assert {*jobs._HOME_OF, "__version__"} == set(jobs.__all__)


@pytest.mark.parametrize("name", [name for name in jobs.__all__ if name != "__version__"])
def test_a_public_name_is_ours_and_documented(name: str) -> None:
    value: Any = getattr(jobs, name)
    assert getattr(importlib.import_module(jobs._HOME_OF[name]), name) is value
    assert inspect.getdoc(value), f"harmony.jobs.{name} does not say what it is for"
    for key, member in vars(value).items() if inspect.isclass(value) else ():
        if not key.startswith("_") and isinstance(member, (property, classmethod, staticmethod, type(run))):
            assert inspect.getdoc(member), f"harmony.jobs.{name}.{key} does not say what it is for"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'harmony\.jobs' has no attribute 'Jbo'"):
        jobs.Jbo  # type: ignore[attr-defined]  # noqa: B018
