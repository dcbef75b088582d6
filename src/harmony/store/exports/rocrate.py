"""RO-Crate: a run as a Workflow Run RO-Crate, by the Provenance Run Crate profile 0.5 (RO-Crate 1.1).

The metadata are written entity by entity, in the order of the tasks; what refers to all of them (the run, the engine's
action, the crate itself) comes at the end. In memory are names only: of tools, files and actions.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

from harmony.core.task import TaskState
from harmony.errors import StoreError
from harmony.store.exports import entities as made
from harmony.store.exports.payload import Crate, FolderCrate, Payload, ZipCrate, zip_entry
from harmony.store.exports.story import Grouped, Story, end_of, first, hosts, iso, remark, stories
from harmony.store.exports.target import METADATA, folder_target, zip_target
from harmony.store.exports.wfformat import VERSION as WFFORMAT
from harmony.store.exports.wfformat import Draft
from harmony.store.rows import FileRow, Run, TaskRow

if TYPE_CHECKING:
    from harmony.store.history import History

#: How much of what a command printed is told.
CHARACTERS = 1000
_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]


def write_rocrate(
    history: History,
    run_id: int,
    target: str | os.PathLike[str],
    *,
    force: bool = False,
    license: str | None = None,
) -> None:
    """Write a run as a directory, or as an archive if the name ends in ``.zip``.

    The program's source and the declared files go in as they are now, up to 1 MiB each and 100 MiB together; a file
    that is larger, has changed since, or is gone, is only referred to. `license` is a URL or a name of SPDX's list.
    Tasks that never ran are not in it. Raises `StoreError` for a run in which no task has run.
    """
    path = Path(target)
    with history.snapshot():
        run = history.run(run_id)
        survey = Survey(history, run)
        when = run.wall(end_of(run))
        if path.suffix == ".zip":
            with zip_target(path, force) as archive:
                plan = Plan(history, run, survey, ZipCrate(archive))
                with (
                    archive.open(zip_entry(METADATA, when), "w", force_zip64=True) as binary,
                    io.TextIOWrapper(binary, encoding="utf-8", newline="\n") as stream,
                ):
                    plan.write(stream, license)
        else:
            with folder_target(path, force) as folder:
                plan = Plan(history, run, survey, FolderCrate(folder))
                with (folder / METADATA).open("w", encoding="utf-8", newline="\n") as stream:
                    plan.write(stream, license)


class Survey:
    """What must be known of all tasks before the first is written."""

    def __init__(self, history: History, run: Run) -> None:
        self.tools: dict[str, tuple[TaskRow, str | None]] = {}
        self.results: dict[int, str] = {}
        self.writers: dict[str, set[int]] = {}
        self.read: set[str] = set()
        for story in stories(history, run.id):
            if not ran(story):
                continue
            row = story.row
            self.tools.setdefault(made.tool_id(row), (row, story.command))
            if row.state == TaskState.DONE:
                work = story.work or row
                self.results[row.id] = made.result_id(work.run, work.id)
            for file in story.files_written:
                self.writers.setdefault(file.path, set()).add(row.id)
            self.read.update(file.path for file in story.files_read)
        if not self.tools:
            raise StoreError(f"run {run.id} has no task that has run yet, so there is nothing to tell of it")


def ran(story: Story) -> bool:
    """True for a task that was begun, in this run or in the one that it was recalled from."""
    return story.row.started is not None or story.row.origin_run is not None


class Plan:
    """A crate being made: its files first, which name what the metadata speak of."""

    def __init__(self, history: History, run: Run, survey: Survey, crate: Crate) -> None:
        self._history = history
        self._run = run
        self._survey = survey
        self._hosts = hosts(history, run)
        self._owners: dict[int, Run] = {run.id: run}
        self._actions: list[str] = []
        self._controls: list[str] = []
        self._told: set[str] = set()
        self._payload = Payload(crate, run.directory)
        self._main = self._workflow()
        self._readme = self._payload.write("README.md", self._explained().encode("utf-8"), run.wall(end_of(run)))
        self._payload.add_all(map(FileRow._make, history.rows("export_files", run=run.id)))

    def write(self, stream: TextIO, license: str | None) -> None:
        """Write the metadata."""
        stream.write(f'{{"@context":{json.dumps(_CONTEXT)},"@graph":[\n')
        between = ""
        for entity in self._entities(license):
            stream.write(between + json.dumps(entity, ensure_ascii=False))
            between = ",\n"
        stream.write("\n]}\n")

    def _entities(self, license: str | None) -> Iterator[dict[str, Any]]:
        run, survey = self._run, self._survey
        yield made.descriptor()
        yield from made.profiles()
        licensed = made.license_of(license)
        yield licensed
        yield from made.surroundings(run)
        yield from self._main
        for position, (row, command) in enumerate(survey.tools.values(), 1):
            yield made.tool(row, command)
            yield made.step(row, position)
        yield made.readme(self._readme)
        yield from self._payload.entities.values()
        yield from self._tasks()
        inputs = [path for path in survey.read if path not in survey.writers]
        outputs = [path for path in survey.writers if path not in survey.read]
        files = self._payload.reference
        results = list(map(files, sorted(outputs))) or self._last_results()
        yield made.workflow_action(run, self._main[0]["@id"], map(files, sorted(inputs)), results)
        yield made.organize_action(run, self._controls)
        yield self._root(licensed["@id"])

    # -- the crate and the workflow --------------------------------------------------------------------------

    def _root(self, license: str) -> dict[str, Any]:
        run = self._run
        files = [file["@id"] for file in self._payload.entities.values()]
        return {
            "@id": "./",
            "@type": "Dataset",
            "name": f"Run {run.id} of {run.workflow}",
            "description": self._about(),
            "datePublished": iso(run.wall(end_of(run))),
            "license": {"@id": license},
            "author": {"@id": made.USER},
            "conformsTo": made.refs(made.PROFILES),
            "mainEntity": {"@id": self._main[0]["@id"]},
            "hasPart": made.refs([self._main[0]["@id"], self._readme, *files]),
            "mentions": made.refs([f"#run/{run.id}", *self._actions]),
        }

    def _about(self) -> str:
        run, special = self._run, remark(self._run)
        about = f"Run {run.id} of the workflow {run.workflow} of {os.path.basename(run.program)}, by Harmony"
        return f"{about}; {special}." if special else f"{about}."

    def _explained(self) -> str:
        run = self._run
        return (
            f"# Run {run.id} of {run.workflow}\n\n{self._about()}\n\n"
            f"- program: `{run.program}`, here as `{self._main[0]['@id']}`\n"
            f"- begun {iso(run.began)} by {run.user} on {run.host}, {end_of(run):.3f} seconds\n"
            f"- tasks: {run.counts.done} done, {run.counts.failed} failed, {run.counts.cancelled} cancelled\n\n"
            f"What ran when, on what, and what came of it: `{METADATA}`, by the profile Provenance Run Crate 0.5.\n"
        )

    def _workflow(self) -> list[dict[str, Any]]:
        """Describe the workflow, after putting it into the crate: the program or, if that is gone, a trace of it."""
        run = self._run
        # A store knows the program by its path from the directory that the store is in, so that both can be moved.
        beside = os.path.dirname(os.path.abspath(self._history.directory))
        found = self._payload.program(os.path.join(beside, run.program))
        if found is not None:
            id, data, changed = found
            about = f"The program {run.program}, that made the workflow {run.workflow} when it was run."
            if changed > run.began:
                about += " It was changed after that run had begun, and is here as it was when the crate was made."
            kind = "text/x-python" if id.endswith(".py") else "text/plain"
            language = ("Python", str(run.environment.get("python", "")) or None, "https://www.python.org/")
        else:
            text = io.StringIO()
            Draft(self._history, run).write(text)
            data = text.getvalue().encode("utf-8")
            id = self._payload.write("workflow.json", data, run.wall(end_of(run)))
            about = f"The tasks of the run as a trace, because the program {run.program} was not there any more."
            kind, language = "application/json", ("WfFormat", WFFORMAT, "https://wfcommons.org/format")
        digest = hashlib.sha256(data).hexdigest()
        requirements = [f"#package/{quote(name)}" for name in made.packages(run)]
        main = {
            "@id": id,
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "name": run.workflow,
            "description": about,
            "encodingFormat": kind,
            "sha256": digest,
            "version": f"sha256:{digest}",
            "programmingLanguage": {"@id": made.WORKFLOW_LANGUAGE},
            "softwareRequirements": made.refs(requirements),
            "hasPart": made.refs(self._survey.tools),
            "step": made.refs(made.step_id(row) for row, _ in self._survey.tools.values()),
        }
        name, version, url = language
        spoken = {"@id": made.WORKFLOW_LANGUAGE, "@type": "ComputerLanguage", "name": name, "url": url}
        return [made.compact(main), made.compact({**spoken, "version": version})]

    def _last_results(self) -> list[str]:
        """Return the results of tasks that no other task took, where the run has written no file."""
        taken = {parent for _, parent in self._history.edges(self._run.id)}
        return [result for task, result in self._survey.results.items() if task not in taken]

    # -- tasks -----------------------------------------------------------------------------------------------

    def _tasks(self) -> Iterator[dict[str, Any]]:
        run = self._run
        attempts = Grouped(self._history.rows("export_attempts", run=run.id), first)
        printed = Grouped(self._history.rows("export_outputs", run=run.id, characters=CHARACTERS), first)
        for story in stories(self._history, run.id):
            if not ran(story):
                continue
            work, status = story.work or story.row, made.task_status(run, story)
            actions = []
            for _, *values in attempts.of(story.row.id):
                attempt = made.attempt_action(run, story, tuple(values))
                actions.append(attempt["@id"])
                yield attempt
            output = next((text for _, text in printed.of(story.row.id)), None)
            action = made.task_id(work.run, work.id)
            if action not in self._told:
                self._told.add(action)
                yield from self._work(story, status, output)
                actions.append(action)
                self._actions += actions
            else:
                actions.append(action)
            control = made.control_action(story, actions, status)
            self._controls.append(control["@id"])
            yield control

    def _work(self, story: Story, status: dict[str, Any], printed: str | None) -> Iterator[dict[str, Any]]:
        """Describe what a task's work was: the action, what it used, and what it gave back."""
        work, owner = story.work or story.row, self._owner(story)
        host = self._hosts.get(work.place or "", owner.host) if owner is self._run else owner.host
        action = made.task_action(owner, story, host, status)
        results = [self._payload.reference(file.path) for file in story.files_written]
        if story.row.id in self._survey.results:
            yield made.task_result(work, printed)
            results.append(self._survey.results[story.row.id])
        yield made.compact({**action, "object": made.refs(self._objects(story)), "result": made.refs(results)})
        yield from made.task_usage(work)
        for value in made.task_environment(work):
            if value["@id"] not in self._told:
                self._told.add(value["@id"])
                yield value

    def _objects(self, story: Story) -> Iterator[str]:
        """Yield the files that a task read, and the results of the parents that it had more from than a file."""
        by_file: set[int] = set()
        for file in story.files_read:
            yield self._payload.reference(file.path)
            by_file |= self._survey.writers.get(file.path, set())
        for parent in story.parents:
            if parent not in by_file and parent in self._survey.results:
                yield self._survey.results[parent]

    def _owner(self, story: Story) -> Run:
        """Return the run that did a task's work, if it is in the store."""
        number = (story.work or story.row).run
        if number not in self._owners:
            self._owners[number] = self._history.run(number)
        return self._owners[number]
