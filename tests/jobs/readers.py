"""What batch systems understand of a job script: the emulators' parsers, which know nothing of our schedulers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from harmony.conformance.emulators import Emulator, cobalt, flux_options, lsf_options, nqsv, oar, sge, slurm_request
from harmony.conformance.emulators.dialect import dialect
from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.htcondor_submit import Description
from harmony.conformance.emulators.model import Call, Request
from harmony.conformance.emulators.options import directive_lines, long_options, words
from harmony.conformance.emulators.pbs_base import PBSFamily
from harmony.jobs.scheduler import Order, Scheduler
from harmony.jobs.schedulers.cobalt import Cobalt
from harmony.jobs.schedulers.flux import Flux
from harmony.jobs.schedulers.htcondor import HTCondor
from harmony.jobs.schedulers.lsf import LSF
from harmony.jobs.schedulers.nqsv import NQSV
from harmony.jobs.schedulers.oar import OAR
from harmony.jobs.schedulers.pbs import PBS
from harmony.jobs.schedulers.pbs_classic import PBSClassic
from harmony.jobs.schedulers.sge import GridEngine
from harmony.jobs.schedulers.slurm import Slurm
from harmony.jobs.shell import Here

SCHEDULERS: dict[str, Scheduler] = {
    each.name: each
    for each in (
        Slurm(), PBS(), PBSClassic(), GridEngine(), LSF(), Cobalt(), HTCondor(), Flux(), OAR(), NQSV()
    )
}  # fmt: skip

Read = list[tuple[str, "str | None"]]


def script(scheduler: Scheduler, order: Order, body: Sequence[str] = ("exit 0",)) -> str:
    """A job script that does nothing of its own."""
    return "\n".join(["#!/bin/bash", *scheduler.directives(order), *body]) + "\n"


def options(scheduler: Scheduler, order: Order, directory: Path) -> Read:
    """The options that the system finds in the directives, by their names there."""
    text = script(scheduler, order)
    name = scheduler.name
    if name == "slurm":
        inner = [word for line in slurm_request.directives(text) for word in words(line, "sbatch", comment="#")]
        return long_options(
            inner, slurm_request.SBATCH_SHORT, slurm_request.SBATCH, "sbatch", slurm_request.ALIASES
        )[0]  # fmt: skip
    if name in ("pbs", "pbs_classic"):
        letters = cast(PBSFamily, dialect(name)).qsub_options
        inner = [word for line in directive_lines(text, "#PBS") for word in words(line, "qsub", escapes=" ")]
        return long_options(inner, letters, {}, "qsub")[0]
    if name == "sge":
        lines = directive_lines(text, "#$", everywhere=True)
        given, rest = sge._options([word for line in lines for word in words(line, "qsub", escapes="")])
        assert not rest
        return list(given.items())
    return _others(name, text, directory)


def _others(name: str, text: str, directory: Path) -> Read:
    if name == "lsf":
        return list(lsf_options.embedded(text))
    if name == "cobalt":
        return cobalt._options(cobalt._directives(text), cobalt._SHORT, cobalt._LONG, cobalt._ALIASES, "qsub")[0]
    if name == "flux":
        return flux_options.directives(text, "script")
    if name == "oar":
        (directory / "script").write_text(text)
        return oar._scanned("script", Call("oarsub", (), str(directory), {}))
    if name == "nqsv":
        inner = [word for line in directive_lines(text, "#PBS") for word in words(line, "qsub", comment="#")]
        found, rest = nqsv._options(inner, "qsub")
        assert not rest
        return found
    marked = [line for line in text.splitlines() if line.startswith("#HTCONDOR ")]
    description = Description("\n".join(line[len("#HTCONDOR ") :] for line in marked), [], "", "-")
    return list(description.expanded(0, cast(Machine, SimpleNamespace(jobs={}))).items())


def understood(scheduler: Scheduler, order: Order, directory: Path, **settings: Any) -> Request:
    """What the system takes a submission for."""
    path = directory / "job.sh"
    path.write_text(script(scheduler, order))
    with Emulator(scheduler.name, directory / "lab", held=True, gpus=8, **settings) as lab:
        for ids in (order.dependencies.after, order.dependencies.after_ok, order.dependencies.after_any):
            assert not ids, "nothing waits here for others"
        done = Here().run(scheduler.submit_command(str(path)), timeout=20)
        assert done.code == 0, done.complaint
        assert scheduler.native_id(done.out)
        return lab.jobs()[0].request
