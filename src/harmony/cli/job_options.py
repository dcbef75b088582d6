"""The options that describe a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

work_directory = click.option(
    "--work-directory", envvar="HARMONY_WORK_DIRECTORY", type=click.Path(file_okay=False), metavar="PATH",
    help="Keep job scripts and their reports here, where every node sees it; ~/.harmony/work if not given.",
)  # fmt: skip

_OPTIONS = (
    click.option("-x", "--executor", envvar="HARMONY_EXECUTOR", default="local", show_default=True, metavar="NAME",
                 help="The batch system: local, slurm, pbs, lsf, sge, …; or set HARMONY_EXECUTOR."),
    work_directory,
    click.option("-s", "--spec", "spec_file", type=click.Path(exists=True, dir_okay=False, allow_dash=True),
                 metavar="FILE", help="Read the specification from a TOML or JSON file, or from stdin (-)."),
    click.option("--iri", is_flag=True, help="The specification is in the JSON of the IRI Facility API."),
    click.option("--name", metavar="TEXT", help="The job's name."),
    click.option("-d", "--directory", metavar="PATH", help="Run in this directory; made if missing."),
    click.option("-e", "--env", "environment", multiple=True, metavar="NAME=VALUE",
                 help="Set a variable of the environment (repeatable)."),
    click.option("--clean-env", is_flag=True, help="Do not inherit the environment."),
    click.option("--stdin", "stdin_path", metavar="PATH", help="Read standard input from here."),
    click.option("-o", "--stdout", "stdout_path", metavar="PATH", help="Write standard output here."),
    click.option("--stderr", "stderr_path", metavar="PATH", help="Write standard error here."),
    click.option("-N", "--nodes", "node_count", type=int, metavar="N", help="Nodes."),
    click.option("-n", "--processes", "process_count", type=int, metavar="N", help="Processes in all."),
    click.option("--processes-per-node", type=int, metavar="N", help="Processes on each node."),
    click.option("-c", "--cores", "cpu_cores_per_process", type=int, metavar="N", help="CPU cores for each process."),
    click.option("-g", "--gpus", "gpu_cores_per_process", type=int, metavar="N", help="GPUs for each process."),
    click.option("-m", "--memory", metavar="SIZE", help="Memory of the whole job: 4GB, 512MiB."),
    click.option("--exclusive", is_flag=True, help="Share the nodes with no other job."),
    click.option("-t", "--walltime", metavar="TIME",
                 help="hh:mm:ss, minutes, or 90s, 2h, 1d; 10 minutes if not given."),
    click.option("-q", "--queue", metavar="NAME", help="The queue (partition)."),
    click.option("-A", "--account", metavar="NAME", help="The account (project) that pays."),
    click.option("--reservation", metavar="ID", help="A reservation to run in."),
    click.option("-a", "--attribute", "attributes", multiple=True, metavar="SCHEDULER.OPTION[=VALUE]",
                 help="An option that only one batch system has (repeatable): slurm.constraint=gpu."),
    click.option("-l", "--launcher", metavar="NAME",
                 help="What starts the processes: single, multiple, mpirun, srun, …"),
    click.option("--launcher-option", "launcher_options", multiple=True, metavar="WORD",
                 help="A word for the launcher's command (repeatable)."),
    click.option("--pre-launch", metavar="PATH", help="A shell script that is sourced before the program."),
    click.option("--post-launch", metavar="PATH", help="A shell script that is sourced after it."),
    click.option("--stage-in", multiple=True, metavar="FROM:TO", help="Bring a file before the program (repeatable)."),
    click.option("--stage-out", multiple=True, metavar="FROM:TO", help="Take a file away after it (repeatable)."),
    click.argument("command", metavar="[--] PROGRAM [ARGUMENTS]...", nargs=-1, type=click.UNPROCESSED),
)  # fmt: skip


def describes_a_job(command: Command) -> Command:
    """Give a click command the options that describe a job."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
