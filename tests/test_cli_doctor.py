"""``harmony doctor``: what works, what fails, what hangs, what is missing; and that nothing of a trial is left."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli_commands import harmony
from tests.test_cli_terminal import Session

import harmony as package
from harmony.cli.doctor_findings import Trials, examine
from harmony.cli.doctor_needs import registered
from harmony.conformance.emulators import Emulator
from harmony.errors import PluginError
from harmony.system import Requirement, requirements

ROOT = Path(__file__).parent.parent
#: Engines of a third party: one that works, and one for each way not to.
ENGINES = """
import os, signal, subprocess, sys, threading
from harmony.core.task import Call
from harmony.engines.threads import ThreadEngine
from harmony.errors import EngineError


class Sound(ThreadEngine):
    pass


class Unlicensed(ThreadEngine):
    def start(self, report):
        print("asked the licence server")
        raise EngineError("there is no licence")


class Broken(ThreadEngine):
    def submit(self, batch):
        raise RuntimeError("no such queue")


class Wrong(ThreadEngine):
    def submit(self, batch):
        for submission in batch:
            submission.work = Call(abs, (0,), {})
        super().submit(batch)


class Hanging(ThreadEngine):
    def start(self, report):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
        if "STARTED" in os.environ:
            open(os.environ["STARTED"], "w").close()
        threading.Event().wait()


class Crashing(ThreadEngine):
    def close(self):
        os.kill(os.getpid(), signal.SIGSEGV)


class Lingering(ThreadEngine):
    def close(self):
        super().close()
        threading.Thread(target=threading.Event().wait).start()
"""
NAMES = {
    **{name.lower(): f"third_party:{name}" for name in re.findall(r"class (\w+)", ENGINES)},
    "absent": "a_package_that_is_absent:Engine",
    "damaged": "damaged:Engine",
    "lacking": "third_party:Sound",
    "outdated": "third_party:Sound",
}
#: Those whose commands have the same names as those of others.
QSTAT = ("cobalt", "nqsv", "pbs", "pbs_classic", "sge")


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution with these engines; return where its trials have their directories."""
    information = tmp_path / "installed" / "third_party-1.5.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: third-party\nVersion: 1.5\n"
        "Provides-Extra: lacking\nRequires-Dist: a-package-that-is-absent>=2; extra == 'lacking'\n"
        "Provides-Extra: outdated\nRequires-Dist: click (>=1000.1) ; extra == 'outdated'\n"
    )
    lines = [f"{name} = {place}" for name, place in NAMES.items()]
    (information / "entry_points.txt").write_text("\n".join(["[harmony.engines]", *lines]) + "\n")
    (tmp_path / "installed" / "third_party.py").write_text(ENGINES)
    (tmp_path / "installed" / "damaged.py").write_text("import sys\nprint('here')\nraise OSError('disk is gone')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "installed")
    trials = tmp_path / "trials"
    trials.mkdir()
    monkeypatch.setenv("TMPDIR", str(trials))
    return trials


def doctor(*words: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """The status, the findings by name, and the whole of ``harmony doctor --json``."""
    done = harmony("doctor", "--json", *words)
    assert done.stderr == "", done.stderr
    document = json.loads(done.stdout)
    return done.returncode, {f"{item['kind']} {item['name']}": item for item in document["findings"]}, document


def test_engines_of_our_own_work() -> None:
    status, found, document = doctor("inline", "threads", "local")
    assert {name: item["state"] for name, item in found.items()} == {
        "engine inline": "works", "engine local": "works", "engine threads": "works", "scheduler local": "works",
    }  # fmt: skip
    assert (status, document["all_well"]) == (0, True)
    for name in ("inline", "local", "threads"):
        item = found[f"engine {name}"]
        assert item["versions"] == {"harmony-workflows": package.__version__}
        assert {"import", "start", "call", "command", "close"} == item["times"].keys()
        assert item["seconds"] > sum(item["times"].values())
    assert found["scheduler local"]["times"].keys() == {"import", "queue"}


def test_the_document_says_when_and_where() -> None:
    _, _, document = doctor("inline", "--no-smoke", "--timeout", "7.5")
    assert (document["schema"], document["trials"]) == (1, {"smoke": False, "submit": False, "timeout": 7.5})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", document["date"])
    assert document["system"]["harmony"] == package.__version__
    assert document["system"]["python"]["version"] == platform.python_version()
    assert "engines" not in document["system"]


def test_what_engines_of_others_do(third_party: Path) -> None:
    names = ("sound", "unlicensed", "broken", "wrong", "crashing", "absent", "damaged")
    status, found, document = doctor(*names)
    told = {name: (found[f"engine {name}"]["state"], found[f"engine {name}"]["problem"]) for name in names}
    assert told == {
        "sound": ("works", None),
        "unlicensed": ("fails", "there is no licence"),
        "broken": ("fails", "engine 'broken' failed to take work: RuntimeError('no such queue')"),
        "wrong": ("fails", "RuntimeError: the result is 0, and should be 42"),
        "crashing": ("fails", "its process was ended by signal 11 (Segmentation fault) while closing"),
        "absent": ("missing", None),
        "damaged": ("fails", "OSError: disk is gone"),
    }
    assert (status, document["all_well"]) == (1, False)
    assert found["engine sound"]["versions"] == {"third-party": "1.5"}
    assert found["engine absent"]["missing"] == ["the Python module a_package_that_is_absent"]
    assert "asked the licence server" in found["engine unlicensed"]["output"]
    assert "disk is gone" in found["engine damaged"]["output"]
    assert found["engine sound"]["output"] is None
    assert list(third_party.iterdir()) == []


def test_what_hangs_is_ended_with_all_it_has_started(third_party: Path) -> None:
    status, found, _ = doctor("hanging", "lingering", "sound", "--timeout", "6")
    problems = [found[f"engine {name}"]["problem"] for name in ("hanging", "lingering", "sound")]
    assert problems == [
        "it has not ended within 6 s: it hung while starting",
        "it has not ended within 6 s: it hung while ending its process",
        None,
    ]
    assert status == 1
    assert list(third_party.iterdir()) == []


def test_what_an_extra_lacks_is_known_without_a_trial(third_party: Path) -> None:
    status, found, _ = doctor("lacking", "outdated")
    lacking, outdated = found["engine lacking"], found["engine outdated"]
    assert (lacking["state"], lacking["missing"]) == ("missing", ["a-package-that-is-absent>=2"])
    assert lacking["install"] == "pip install 'third-party[lacking]'"
    assert outdated["missing"] == [f"click>=1000.1 (here is {outdated['versions']['click']})"]
    assert lacking["seconds"] is outdated["seconds"] is None
    assert status == 1  # they were asked for by name


def test_looking_runs_nothing(third_party: Path) -> None:
    status, found, _ = doctor("--no-smoke", "unlicensed", "hanging", "damaged")
    assert {name: item["state"] for name, item in found.items()} == {
        "engine damaged": "fails", "engine hanging": "found", "engine unlicensed": "found",
    }  # fmt: skip
    assert found["engine hanging"]["times"].keys() == {"import"}
    assert status == 1


def test_what_is_missing_is_no_fault_unless_it_was_asked_for(third_party: Path) -> None:
    done = harmony("doctor", "--no-smoke")
    rows = {tuple(line.split("\t")[:2]): line.split("\t")[2:] for line in done.stdout.splitlines()}
    assert rows["KIND", "NAME"] == ["STATE", "TOOK", "VERSION", "NOTE"]
    assert rows["engine", "absent"][0] == rows["engine", "lacking"][0] == "missing"
    assert rows["engine", "lacking"][-1] == "pip install 'third-party[lacking]'"
    assert rows["engine", "absent"][-1] == "not here: the Python module a_package_that_is_absent"
    assert {kind for kind, _ in rows} == {"KIND", "engine", "scheduler"}
    assert {state[0] for name, state in rows.items() if name[1] not in ("NAME", "damaged")} <= {"found", "missing"}
    assert done.returncode == 1
    assert rows["engine", "damaged"][0] == "fails"


def test_an_interrupted_doctor_leaves_nothing(third_party: Path) -> None:
    started = third_party.parent / "started"
    os.mkfifo(started)
    words = [sys.executable, "-m", "harmony", "doctor", "hanging"]
    environment = {**os.environ, "STARTED": str(started)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        started.read_bytes()  # until the engine has opened and closed it
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert list(third_party.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("dusk",), "there is no engine or scheduler 'dusk'"),
        (("--submit", "--no-smoke"), "--submit runs a job, and --no-smoke runs nothing"),
        (("--timeout", "0"), "--timeout"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], complaint: str) -> None:
    done = harmony("doctor", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr


def test_a_terminal_gets_a_table(third_party: Path) -> None:
    session = Session("doctor", "threads", "unlicensed", "lacking", "flux", PATH="/nowhere")
    try:
        shown = session.end().text
    finally:
        session.close()
    assert session.process.returncode == 1
    assert shown.startswith(f"harmony {package.__version__}, Python {platform.python_version()}, 20")
    assert re.search(r"^KIND +NAME +STATE +TOOK +VERSION +NOTE", shown, re.MULTILINE)
    assert re.search(r"^engine +threads +fails ", shown, re.MULTILINE)  # the PATH has no `echo`
    assert re.search(r"^engine +unlicensed +fails +\S+ m?s +third-party 1\.5 +there is no", shown, re.MULTILINE)
    assert re.search(r"^engine +lacking +missing +pip install", shown, re.MULTILINE)
    assert "schedulers whose commands are not here: flux" in shown
    assert "the end of what the trial of unlicensed printed:\n  asked the licence server" in shown


# -- schedulers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flux", "htcondor", "lsf", "oar", "slurm", *QSTAT])
def test_a_scheduler_answers(emulated_scheduler: Callable[..., Emulator], name: str) -> None:
    emulated_scheduler(name)
    subjects = [subject for subject in registered([name]) if subject.kind == "scheduler"]
    (finding,) = examine(subjects, Trials(), lambda names: None)
    assert (finding.state, finding.problem, finding.missing) == ("works", None, [])
    assert finding.times.keys() == {"import", "version", "queue"}
    if name not in ("cobalt", "nqsv", "lsf"):  # their emulators say no version
        assert re.match(r"\d+\.\d", finding.versions[name])


@pytest.mark.parametrize("here", QSTAT)
def test_systems_with_the_same_commands_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, emulated_scheduler: Callable[..., Emulator], here: str
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # before what puts itself first on it, to be undone after that
    emulated_scheduler(here)
    findings = examine(registered(QSTAT), Trials(), lambda names: None)
    assert {finding.name: finding.state for finding in findings} == {
        name: "works" if name == here else "missing" for name in QSTAT
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where job scripts are written."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("home")
def test_a_job_is_submitted_only_when_asked_for(emulated_scheduler: Callable[..., Emulator]) -> None:
    slurm = emulated_scheduler("slurm")
    assert doctor("slurm")[0] == 0
    assert slurm.jobs() == []
    status, found, _ = doctor("slurm", "--submit")
    assert (status, found["scheduler slurm"]["state"]) == (0, "works")
    assert found["scheduler slurm"]["times"].keys() == {"import", "version", "queue", "job"}
    assert len(slurm.jobs()) == 1


@pytest.mark.usefixtures("home")
def test_a_job_that_does_not_start_is_cancelled(emulated_scheduler: Callable[..., Emulator]) -> None:
    slurm = emulated_scheduler("slurm")
    slurm.hold()
    status, found, _ = doctor("slurm", "--submit", "--timeout", "5")
    problem = found["scheduler slurm"]["problem"]
    assert re.fullmatch(r"job \d+ was still QUEUED after 5 s, and was cancelled; wait longer", problem)
    assert status == 1
    slurm.wait_until(lambda: all(job.state.value != "waiting" for job in slurm.jobs()))


@pytest.mark.usefixtures("home")
def test_a_real_slurm_runs_a_job(slurm_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in slurm_environment.items():
        monkeypatch.setenv(name, value)
    status, found, _ = doctor("slurm", "--submit", "--timeout", "40")
    item = found["scheduler slurm"]
    assert (status, item["state"], item["problem"]) == (0, "works", None)
    assert re.match(r"\d+\.\d", item["versions"]["slurm"])


# -- what is asked for ------------------------------------------------------------------------------------


def test_names_that_nobody_registered() -> None:
    with pytest.raises(PluginError, match=r"no engine or scheduler 'x'\. Known here: .*inline.*slurm"):
        registered(["local", "x"])


def test_the_requirements_of_a_distribution(third_party: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(third_party.parent / "installed"))
    assert requirements("third-party") == [
        Requirement("a-package-that-is-absent", ">=2", "lacking", False),
        Requirement("click", ">=1000.1", "outdated", False),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_extras_resolve_together() -> None:
    alone = dry_run("cloudpickle")
    if alone.returncode:
        pytest.skip(f"pip can install nothing here: {alone.stderr.strip().splitlines()[-1]}")
    together = dry_run(".[dask,ray,parsl,ipyparallel,executorlib,mpi]")
    assert together.returncode == 0, together.stderr
    assert re.search(r"^Would install .*\bdistributed-.*\bray-", together.stdout, re.MULTILINE), together.stdout


def dry_run(what: str) -> subprocess.CompletedProcess[str]:
    """Have pip choose the versions of something and of all that it needs, as for an empty environment."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    quietly = ("--no-input", "--disable-pip-version-check", "--progress-bar=off")
    return subprocess.run(
        [*pip, *quietly, what], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
