"""What sites and plug-ins print among the answers of a scheduler's commands spoils none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.jobs.readers import SCHEDULERS, script
from tests.jobs.texts import brief, order

from harmony.conformance.emulators import Emulator, State
from harmony.jobs.scheduler import NoAnswer, Scheduler
from harmony.jobs.shell import Completed, Here
from harmony.jobs.state import JobStatus

SYSTEMS = pytest.mark.parametrize("name", SCHEDULERS)
#: These answer in JSON: what stands within it makes it none.
JSON = ("htcondor", "oar")
LINES = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60)
PLACED = st.lists(st.tuples(st.integers(0, 10_000), LINES), max_size=5)

Reader = Callable[[Completed], Mapping[str, JobStatus]]


@dataclass(frozen=True)
class Recorded:
    """What an emulated system has answered, and how it is read; one job has ended with 3, another one waits."""

    answers: list[tuple[Reader, Completed]]
    waiting: str
    ended: str


def recorded(name: str, directory: Path) -> Recorded:
    """Have a system answer about two jobs of its own, among those of others."""
    scheduler: Scheduler = SCHEDULERS[name]
    path, shell = directory / "job.sh", Here()
    with Emulator(name, directory / "lab", foreign=5) as lab:
        ids = []
        for code in (3, 0):
            path.write_text(script(scheduler, order(), [f"exit {code}"]))
            path.chmod(0o700)
            ids.append(scheduler.native_id(shell.run(scheduler.submit_command(str(path))).out))
            if code:
                lab.wait_until(lambda: lab.jobs()[0].state is State.ENDED)
                lab.hold()
        answers: list[tuple[Reader, Completed]] = [(scheduler.statuses, shell.run(scheduler.status_command(ids)))]
        command = scheduler.accounting_command(ids)
        if command is not None:
            answers.append((scheduler.outcomes, shell.run(command)))
    return Recorded(answers, ids[1], ids[0])


def mixed(text: str, placed: list[tuple[int, str]], *, around: bool) -> str:
    """The text with lines put among its own, but none before a line that goes on with the one above."""
    lines = text.splitlines()
    for place, line in placed:
        places = [at for at in range(len(lines) + 1) if at == len(lines) or not lines[at].startswith(("\t", " " * 20))]
        at = places[place % len(places)]
        lines.insert(len(lines) * (place % 2) if around else at, line)
    return "\n".join([*lines, ""])


@SYSTEMS
def test_recorded_answers_are_read(name: str, tmp_path: Path) -> None:
    found = recorded(name, tmp_path)
    told: dict[str, JobStatus] = {}
    for read, answer in found.answers:
        told = {**read(answer), **told}
    assert brief(told[found.waiting]) == ("QUEUED", None, None)
    if name not in ("cobalt", "nqsv"):  # which do not tell how jobs ended
        assert brief(told[found.ended]) == ("FAILED", 3, "exit")


@SYSTEMS
def test_lines_of_others_spoil_nothing(name: str, tmp_path: Path) -> None:
    for read, answer in recorded(name, tmp_path).answers:
        expected = {job: brief(status) for job, status in read(answer).items()}
        assert_unspoiled(read, answer, expected, around=name in JSON)


def assert_unspoiled(read: Reader, answer: Completed, expected: Mapping[str, object], *, around: bool) -> None:
    """Read the answer again and again, with lines put into it."""

    @settings(max_examples=60, deadline=None, database=None)
    @given(PLACED)
    def holds(placed: list[tuple[int, str]]) -> None:
        told = read(replace(answer, out=mixed(answer.out, placed, around=around)))
        assert {job: brief(told[job]) for job in expected} == expected

    holds()


@SYSTEMS
def test_lines_within_json_only_delay_news(name: str, tmp_path: Path) -> None:
    """Whatever comes, and wherever: right, or no answer."""
    for read, answer in recorded(name, tmp_path).answers:
        expected = {job: brief(status) for job, status in read(answer).items()}

        @settings(max_examples=60, deadline=None, database=None)
        @given(PLACED, st.integers(0, 2))
        def holds(placed: list[tuple[int, str]], code: int) -> None:
            try:
                told = read(replace(answer, out=mixed(answer.out, placed, around=False), code=code))  # noqa: B023
            except NoAnswer:
                return
            assert {job: brief(told[job]) for job in expected if job in told}.items() <= expected.items()  # noqa: B023

        holds()


@SYSTEMS
def test_garbage_alone_is_no_news(name: str) -> None:
    scheduler = SCHEDULERS[name]

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.integers(0, 255), st.text(max_size=200), st.text(max_size=60))
    def holds(code: int, out: str, err: str) -> None:
        for read in (scheduler.statuses, scheduler.outcomes):
            try:
                told = read(Completed(code, out, err))
            except NoAnswer:
                continue
            assert not any(status.final for status in told.values())

    holds()
