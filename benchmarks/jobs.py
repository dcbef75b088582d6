"""``python -m benchmarks.jobs``: jobs with Harmony, psij-python and the bare tools, in one run.

Each measure is a process of its own, the systems take turns, and ratios are taken within a round. What is not
installed or fails is a row that says so. With ``--slurm`` jobs are submitted to the Slurm whose commands are on the
PATH, and taken out of its queue again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess

from benchmarks import jobs_local, jobs_slurm
from benchmarks.apart import Measure, Suite
from benchmarks.targets import Target, extra, times, value

LABELS = {
    "popen": "subprocess.Popen",
    "sbatch": "sbatch, in a loop",
    "harmony": "Harmony",
    "harmony-bulk": "Harmony, submit_all",
    "harmony-durable": "Harmony, durable",
    "psij": "psij-python",
}
MEASURES = {
    "local": Measure(
        "/bin/true on this machine; left: processes, after it is closed",
        "jobs/s",
        jobs_local.local,
        {"popen": 1000, "harmony": 1000, "harmony-durable": 200, "psij": 1000},
        "popen",
        more_is_better=True,
    ),
    "idle": Measure(
        "CPU of an executor that has nothing to do",
        "ms/s",
        jobs_local.idle,
        {"harmony": 0, "psij": 0},
        "psij",
        once=("harmony", "psij"),
    ),
    "idle-job": Measure(
        "the same while a job sleeps",
        "ms/s",
        jobs_local.idle,
        {"harmony": 1, "psij": 1},
        "psij",
        once=("harmony", "psij"),
    ),
    "import": Measure(
        "importing the package", "CPU ms", jobs_local.imports, {"harmony": 1, "psij": 1}, "psij", once=("psij",)
    ),
    "watch": Measure(
        "a look at waiting jobs of Slurm; its answer is a file",
        "CPU ms",
        jobs_slurm.watch,
        {"harmony": 10_000, "psij": 10_000},
        "psij",
        once=("harmony", "psij"),
    ),
    "submit": Measure(
        "submissions to Slurm",
        "jobs/s",
        jobs_slurm.submit,
        {"sbatch": 200, "harmony": 200, "harmony-bulk": 200, "psij": 200},
        "sbatch",
        more_is_better=True,
        wants="slurm",
    ),
    "end": Measure(
        "the end of a job on Slurm, from when squeue shows it to when it is told; the longest",
        "s",
        jobs_slurm.end,
        {"harmony": 4, "psij": 4},
        "psij",
        wants="slurm",
        once=("psij",),
    ),
}
TARGETS = (
    Target("local jobs, × psij-python", 10, times("local", "psij", more_is_better=True)),
    Target("local jobs, × bare subprocess.Popen", 0.5, times("local", "popen", more_is_better=True)),
    Target("processes left after local jobs", 0, extra("local", "left"), least=False),
    Target("idle, CPU", 0.1, value("idle"), least=False, unit="ms/s"),
    Target("idle with a job that sleeps, CPU", 0.1, value("idle-job"), least=False, unit="ms/s"),
    Target("processes beside the job's program", 0, extra("idle-job", "helpers"), least=False),
    Target("import harmony.jobs, CPU", 50, value("import"), least=False, unit="ms"),
    Target("import harmony.jobs, wall", 50, extra("import", "wall"), least=False, unit="ms"),
    Target("import of all its names, CPU", 50, extra("import", "all names"), least=False, unit="ms"),
    Target("modules beside the standard library's", 0, extra("import", "foreign"), least=False),
    Target("threads of the import", 0, extra("import", "threads"), least=False),
    Target("signal handlers of the import", 0, extra("import", "handlers"), least=False),
    Target("10,000 watched jobs, CPU of a look", 100, value("watch"), least=False, unit="ms"),
    Target("commands of a look", 1, extra("watch", "commands"), least=False),
    Target("200 submissions to Slurm, × sbatch", 1, times("submit", "sbatch", more_is_better=True)),
    Target(
        "the same by submit_all",
        5,
        times("submit", "sbatch", more_is_better=True, system="harmony-bulk"),
    ),
    Target("end of a Slurm job known after", 1, value("end"), least=False, unit="s"),
)


def _facts(options: argparse.Namespace) -> dict[str, str]:
    if not options.slurm:
        return {}
    if shutil.which("sbatch") is None:
        return {"slurm": "not installed"}
    version = subprocess.run(["sbatch", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {"slurm": version.strip()}


SUITE = Suite(
    module="benchmarks.jobs",
    description=__doc__,
    noun="jobs",
    labels=LABELS,
    measures=MEASURES,
    targets=TARGETS,
    distributions=("harmony-workflows", "psij-python"),
    packages={"psij": "psij"},
    wants={"slurm": "measure on the Slurm of this machine too"},
    facts=_facts,
)

if __name__ == "__main__":
    SUITE.main()
