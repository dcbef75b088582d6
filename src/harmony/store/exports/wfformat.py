"""WfFormat: a run as a trace in WfFormat 1.5, the format of the WfCommons, which Harmony itself can replay.

WfFormat knows tasks that ran, and no others: those that were never run (cancelled, or something they needed failed)
and those that have not ended are left out, and the description says how many.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from harmony.core.task import TaskState
from harmony.errors import StoreError
from harmony.store.exports.story import Grouped, Story, end_of, first, hosts, iso, remark, resources_of, stories
from harmony.store.exports.target import Target, text_target
from harmony.store.rows import Run

if TYPE_CHECKING:
    from harmony.store.history import History

VERSION = "1.5"
_NOT_IN_TASK_ID = re.compile(r"[^0-9a-zA-Z\-_.#]")
_NOT_IN_FILE_ID = re.compile(r"[^0-9a-zA-Z\-_./:#]")
#: Words that only a shell understands, also where a command line looks as if it could do without one.
_SHELL_WORDS = {
    ".", ":", "alias", "break", "cd", "continue", "eval", "exec", "exit", "export", "read", "return", "set", "shift",
    "source", "trap", "ulimit", "umask", "unset", "wait",
}  # fmt: skip

Json = dict[str, Any]


class FileIds:
    """The ids of files: the path, below the run's directory relative to it, without what WfFormat does not allow.

    A file has one writer in WfFormat. Where several tasks wrote one path, each after the first gets an id of its own.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory.rstrip("/") + "/"
        self._ids: dict[str, str] = {}
        self._taken: set[str] = set()
        self._writers: dict[str, list[tuple[int, str]]] = {}
        self.sizes: dict[str, int] = {}

    def note(self, story: Story) -> None:
        """Learn of the files of a task. All tasks come before the first question."""
        read = {file.path for file in story.files_read}
        for file in story.files_written:
            writers = self._writers.setdefault(file.path, [])
            id = self._id(file.path)
            if writers or file.path in read:
                id = f"{id}#{story.row.id}"
            writers.append((story.row.id, id))
            self.sizes[id] = file.size or 0
        for file in story.files_read:
            self._id(file.path)

    def written(self, story: Story) -> list[str]:
        """Return the ids of what a task wrote."""
        return [id for file in story.files_written for task, id in self._writers[file.path] if task == story.row.id]

    def read(self, story: Story) -> list[str]:
        """Return the ids of what a task read: as the last task before it left the file."""
        found = []
        for file in story.files_read:
            before = [
                id
                for task, id in self._writers.get(file.path, ())
                if task != story.row.id and (task < story.row.id or task in story.parents)
            ]
            id = self._id(file.path) if not self._writers.get(file.path) else f"{self._id(file.path)}#before"
            id = before[-1] if before else id
            self.sizes.setdefault(id, file.size or 0)
            found.append(id)
        return list(dict.fromkeys(found))

    def _id(self, path: str) -> str:
        if path not in self._ids:
            short = path.removeprefix(self._directory)
            id = base = _NOT_IN_FILE_ID.sub("_", short)
            number = 1
            while id in self._taken:
                number += 1
                id = f"{base}.{number}"
            self._taken.add(id)
            self._ids[path] = id
        return self._ids[path]


def write_wfformat(history: History, run_id: int, target: Target, *, force: bool = False) -> None:
    """Write a run as WfFormat 1.5. Recalled tasks have the run times of the run that did their work.

    Raises `StoreError` for a run in which no task has ended yet.
    """
    with history.snapshot():
        run = history.run(run_id)
        draft = Draft(history, run)
        with text_target(target, force) as stream:
            draft.write(stream)


class Draft:
    """A run, as it goes into the file: names of all files are known before the first task is written."""

    def __init__(self, history: History, run: Run) -> None:
        self._history = history
        self._run = run
        self._hosts = hosts(history, run)
        self._files = FileIds(run.directory)
        self._ids: dict[int, str] = {}
        self._left_out = 0
        for story in stories(history, run.id):
            if not _ran(story):
                self._left_out += 1
                continue
            self._ids[story.row.id] = _NOT_IN_TASK_ID.sub("_", f"{story.row.name}.{story.row.id}")
            self._files.note(story)
        if not self._ids:
            raise StoreError(f"run {run.id} has no task that ran to an end yet, and WfFormat has no empty workflows")

    def write(self, stream: TextIO) -> None:
        """Write all of it, a task a line."""
        run, version = self._run, str(self._run.environment.get("harmony", "unknown"))
        head = {
            "name": run.workflow,
            "description": self._description(),
            "createdAt": iso(run.wall(end_of(run))),
            "schemaVersion": VERSION,
            "runtimeSystem": {"name": "Harmony", "version": version},
        }
        stream.write(_text(head)[:-1] + ',"workflow":{"specification":{')
        _write_list(stream, "tasks", self._specified())
        stream.write(",")
        _write_list(stream, "files", ({"id": id, "sizeInBytes": size} for id, size in self._files.sizes.items()))
        stream.write('},"execution":{')
        stream.write(f'"makespanInSeconds":{_text(end_of(run))},"executedAt":{_text(iso(run.began))},')
        _write_list(stream, "machines", self._machines())
        stream.write(",")
        _write_list(stream, "tasks", self._executed())
        stream.write("}}}\n")

    def _description(self) -> str:
        run, about = self._run, [f"Run {self._run.id} ({self._run.uuid}) of {os.path.basename(self._run.program)}"]
        about += [f"{run.counts.failed} of its tasks failed"] if run.counts.failed else []
        about += [f"{self._left_out} of its tasks never ran or have not ended, and are left out"] * (self._left_out > 0)
        about += [f"{run.recalled} were done by an earlier run, and have its run times"] if run.recalled else []
        special = remark(run)
        return "; ".join([*about, special] if special else about)

    def _stories(self) -> Iterator[Story]:
        return (story for story in stories(self._history, self._run.id) if story.row.id in self._ids)

    def _specified(self) -> Iterator[Json]:
        children = Grouped(self._history.rows("export_children", run=self._run.id), first)
        for story in self._stories():
            task = story.row.id
            yield {
                "name": story.row.name,
                "id": self._ids[task],
                "parents": self._known(story.parents),
                "children": self._known(child for _, child in children.of(task)),
                "inputFiles": self._files.read(story),
                "outputFiles": self._files.written(story),
            }

    def _known(self, tasks: Iterable[int]) -> list[str]:
        return [self._ids[task] for task in tasks if task in self._ids]

    def _executed(self) -> Iterator[Json]:
        for story in self._stories():
            work, seconds = story.work, story.seconds
            if work is None or seconds is None:
                continue  # done by a run that is not in the store any more: how long it took is not known
            recalled = story.row.origin_run is not None
            host = self._hosts.get(work.place or "", self._run.host)
            members = {
                "id": self._ids[story.row.id],
                "runtimeInSeconds": seconds,
                "executedAt": None if recalled else iso(self._run.wall(work.started or 0.0)),
                "command": None if story.command is None else _command(story.command),
                "coreCount": resources_of(work.shape).cores,
                "avgCPU": None if work.cpu is None or not seconds else round(100 * work.cpu / seconds, 3),
                "readBytes": work.read,
                "writtenBytes": work.written,
                "memoryInBytes": work.memory,
                "machines": None if recalled else [host],
            }
            yield {key: value for key, value in members.items() if value is not None}

    def _machines(self) -> Iterator[Json]:
        platform = str(self._run.environment.get("platform", ""))
        system = {"linux": "linux", "darwin": "macos", "macos": "macos", "windows": "windows"}.get(
            platform.partition("-")[0].lower()
        )
        for host in dict.fromkeys([self._run.host, *self._hosts.values()]):
            yield {"nodeName": host, "system": system} if system and host == self._run.host else {"nodeName": host}


def _ran(story: Story) -> bool:
    if story.row.origin_run is not None:
        return True
    return story.seconds is not None and story.row.state in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED)


def _command(line: str) -> Json:
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    plain = words and shlex.join(words) == line and "=" not in words[0] and words[0] not in _SHELL_WORDS
    program, *arguments = words if plain else ["/bin/sh", "-c", line]
    return {"program": program, "arguments": arguments}


def _write_list(stream: TextIO, key: str, items: Iterable[Json]) -> None:
    stream.write(f'"{key}":[')
    between = "\n"
    for item in items:
        stream.write(between + _text(item))
        between = ",\n"
    stream.write("\n]")


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
