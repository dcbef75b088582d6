"""Drivers in processes of their own, for the tests that kill them: ``python -m … SUBJECT SCENARIO WORD …``.

They tell the test what they are up to line by line, and wait for it where they read one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from harmony import Workflow
from harmony.conformance.engines import work
from harmony.conformance.engines.driver import Driver
from harmony.conformance.engines.subject import Subject
from harmony.core.engine import Capability, Submission
from harmony.core.task import Call, Command, Task

#: Tasks that wait behind those that run.
QUEUED = 20


def say(*words: object) -> None:
    """Tell the test something, in a line."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def held(driver: Driver, gate: str, news: str) -> list[Submission]:
    """Tasks that each tell a process id and wait at the gate: a function, a command with a child, or both."""
    batch = []
    if Capability.CALLS in driver.can:
        batch.append(driver.call(work.hold, gate, news))
    if Capability.COMMANDS in driver.can and Capability.CANCEL_RUNNING in driver.can:
        batch.append(driver.task(held_command(gate, news)))
    return batch


def held_command(gate: str, news: str) -> Command:
    """A command that tells the id of its child, and waits for it at the gate."""
    return Command(f"flock -s {gate} true & echo $! > {news}; wait")


def be_killed(subject: Subject, gate: str, news: str) -> None:
    """Hold tasks, and say how many, until the test kills this process."""
    driver = subject.drive()
    batch = held(driver, gate, news)
    driver.submit(*batch)
    say(len(batch))
    sys.stdin.readline()


def lose_processes(subject: Subject, gate: str, news: str) -> None:
    """Hold tasks while the test kills processes of the engine; then say how each has ended, and end."""
    driver = subject.drive()
    batch = [task for task in held(driver, gate, news) if isinstance(task.work, Call)] or held(driver, gate, news)
    driver.submit(*batch, *(_quick(driver) for _ in range(QUEUED)))
    say(len(batch))
    sys.stdin.readline()
    later = _quick(driver)
    driver.submit(later)
    for end in driver.ends_of([*batch, later]):
        names = [kind.__name__ for kind in type(end.error).__mro__] if end.error is not None else []
        say(end.state.name, *names)
    driver.close()
    say("closed")


def _quick(driver: Driver) -> Submission:
    if Capability.CALLS in driver.can:
        return driver.call(work.identity, 1)
    return driver.task(Command(("true",)))


def go_without_closing(subject: Subject, gate: str, news: str, how: str) -> None:
    """Hold tasks, and end this program as `how` says: within an open workflow, or with the bare engine."""
    if how == "bare":
        driver = subject.drive()
        batch = [] if Capability.IN_CALLER in driver.can else held(driver, gate, news)
        driver.submit(*batch)
        say(len(batch))
    else:
        engine = subject.make()
        workflow = Workflow(engine=engine, show_prints=False, store=False).start()
        say(_held_by(workflow, engine.capabilities, gate, news))
    sys.stdin.readline()
    if how == "exit":
        sys.exit(3)
    if how == "error":
        raise ValueError("on purpose")


def _held_by(workflow: Workflow, can: frozenset[Capability], gate: str, news: str) -> int:
    count = 0
    if Capability.CALLS in can and Capability.IN_CALLER not in can:
        workflow.submit(work.hold, gate, news)
        count += 1
    if Capability.COMMANDS in can and Capability.CANCEL_RUNNING in can:
        workflow.submit_task(Task(held_command(gate, news)))
        count += 1
    return count


SCENARIOS: dict[str, Callable[..., None]] = {
    "be killed": be_killed,
    "lose processes": lose_processes,
    "go without closing": go_without_closing,
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[2]](Subject.load(sys.argv[1]), *sys.argv[3:])
