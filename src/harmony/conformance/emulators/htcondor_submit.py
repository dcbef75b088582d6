"""How HTCondor reads a description of jobs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harmony.conformance.emulators.model import Refused

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

_MACRO = re.compile(r"\$\(([^()$:]+)(?::([^()]*))?\)|\$ENV\((\w+)\)")
_QUEUE = re.compile(r"queue\b\s*(\d+)?\s*(?:(\w[\w, ]*?)\s+(in|from)\s+(.*))?$", re.IGNORECASE | re.DOTALL)


class Description:
    """A description: commands by name, and how many jobs it queues."""

    def __init__(self, text: str, more: Sequence[str], queue: str, path: str) -> None:
        self.text, self._path = text, path
        self._commands: dict[str, str] = {}
        self._items: list[dict[str, str]] = []
        self.count = 0
        queues = self._read(text, more)
        if queue:
            queues = [f"queue {queue}"]
        for line in queues:
            self._queue(line)

    def _read(self, text: str, more: Sequence[str]) -> list[str]:
        queues = []
        lines = re.sub(r"\\\n", " ", text).splitlines()
        place = next(
            (at for at, line in enumerate(lines) if re.match(r"\s*queue\b(?!\s*=)", line, re.IGNORECASE)), len(lines)
        )
        lines[place:place] = list(more)
        numbered = iter(enumerate(lines, 1))
        for number, raw in numbered:
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if re.match(r"queue\b(?!\s*=)", line, re.IGNORECASE):
                if line.endswith("("):
                    for _, item in numbered:
                        if item.strip() == ")":
                            break
                        line += "\n" + item
                queues.append(line)
                continue
            name, equals, value = line.partition("=")
            if not equals or not re.fullmatch(r"[+\w.]+\s*", name):
                raise Refused(f"\nERROR: on Line {number} of {self._path}: Illegal or Unexpected line: {line}")
            self._commands[name.strip().lower().replace("my.", "+")] = value.strip()
        return queues

    def _queue(self, line: str) -> None:
        match = _QUEUE.match(line)
        if not match:
            raise Refused(f"\nERROR: invalid Queue statement: {line}")
        each = int(match[1] or 1)
        items: list[dict[str, str]] = [{}]
        if match[2]:
            names = [name for name in re.split(r"[,\s]+", match[2]) if name]
            text = match[4].strip().lstrip("(").rstrip(")").strip()
            rows = re.split(r"\n", text) if match[3].lower() == "from" else re.split(r"[,\s]+", text)
            cells = [re.split(r"\s*,\s*|\s+", row.strip(), maxsplit=len(names) - 1) for row in rows]
            items = [dict(zip(names, row, strict=False)) for row in cells]
        self._items += [item for item in items for _ in range(each)]
        self.count += each * len(items)

    def expanded(self, proc: int, machine: Machine) -> dict[str, str]:
        """The commands of one job, every macro expanded."""
        item = {name.lower(): value for name, value in self._items[proc].items()}
        number = str(max((job.number for job in machine.jobs.values()), default=0) + 1)
        known = {
            **self._commands, **item, "cluster": number, "clusterid": number, "process": str(proc),
            "procid": str(proc), "jobid": f"{number}.{proc}", "step": str(proc), "dollar": "$", "row": str(proc),
            "itemindex": str(proc), "submit_file": self._path,
        }  # fmt: skip
        return {name: _expand(value, known) for name, value in self._commands.items()}

    def attributes(self, proc: int, machine: Machine) -> dict[str, str]:
        """The attributes that a job is given as they are: ``+Name = value``."""
        given = {name: value for name, value in self.expanded(proc, machine).items() if name.startswith("+")}
        return {name[1:]: value for name, value in given.items()}


def _expand(text: str, known: Mapping[str, str], depth: int = 0) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match[3]:
            return os.environ.get(match[3], "UNDEFINED")
        value = known.get(match[1].strip().lower(), match[2] or "")
        return value if match[1].strip().lower() == "dollar" or depth > 9 else _expand(value, known, depth + 1)

    return _MACRO.sub(replacement, text)


def arguments(text: str) -> list[str]:
    """Split arguments: in double quotes the new syntax, else the old one, which has blanks only."""
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        return _quoted(text[1:-1].replace('""', '"'), "arguments")
    if '"' in text.replace('\\"', ""):
        raise Refused(
            f"\nERROR: Found illegal unescaped double-quote: {text}\nThe full arguments you specified were: {text}"
        )
    return text.replace('\\"', '"').split()


def environment_of(text: str) -> dict[str, str]:
    """Read an environment: in double quotes blanks part the settings, else semicolons do."""
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        words = _quoted(text[1:-1].replace('""', '"'), "environment")
    else:
        words = [each.strip() for each in text.split(";") if each.strip()]
    for word in words:
        if "=" not in word:
            raise Refused(f"\nERROR: Missing '=' after environment variable '{word}'.")
    return dict(word.split("=", 1) for word in words)


def _quoted(text: str, what: str) -> list[str]:
    """Words with single quotes: within them everything counts, and two of them are one."""
    found: list[str] = []
    current: str | None = None
    quoted, at = False, 0
    while at < len(text):
        letter = text[at]
        if letter == "'" and quoted and text[at + 1 : at + 2] == "'":
            current, at = (current or "") + "'", at + 1
        elif letter == "'":
            quoted, current = not quoted, current or ""
        elif letter.isspace() and not quoted:
            if current is not None:
                found.append(current)
            current = None
        else:
            current = (current or "") + letter
        at += 1
    if quoted:
        raise Refused(f"\nERROR: Unbalanced quote starting here: {text}\nin {what}")
    return found if current is None else [*found, current]


def seconds_limit(commands: Mapping[str, str]) -> float | None:
    """How long a job may run: by an allowed duration, or by a policy that compares a time with a number."""
    for name in ("allowed_job_duration", "allowed_execute_duration"):
        if name in commands:
            return float(commands[name])
    for name in ("periodic_remove", "periodic_hold"):
        match = re.search(r"(?:time\(\)|CurrentTime)\s*-\s*\w+\)*\s*>=?\s*\(?\s*(\d+)", commands.get(name, ""))
        if match:
            return float(match[1])
    return None
