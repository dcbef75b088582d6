"""The suite for engines, as others run it: it finds what is broken, and tells what it has found."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.engines.rig import PATIENCE, ROOT

from harmony.conformance.engines import EngineSuite, Subject
from harmony.conformance.engines.suite import LEVELS, level_of
from harmony.conformance.plugin import option
from harmony.errors import ConfigError, PluginError

#: An engine that breaks a promise, and the test that finds it.
BROKEN = [
    ("Repeats", "test_news_of_a_task_in_their_order"),
    ("Forgets", "test_one_failure_in_a_batch_harms_no_other"),
    ("Remembers", "test_what_has_ended_leaves_nothing_in_memory"),
    ("RunsCancelled", "test_cancelling_what_has_not_begun"),
    ("Waits", "test_submit_does_not_wait_for_the_work"),
    ("Crowded", "test_no_more_at_once_than_there_are_cores"),
    ("Boasts", "test_as_many_at_once_as_there_are_cores"),
    ("Leaves", "test_the_driver_is_killed"),
]


def suite(
    folder: Path, *options: str, tests: Sequence[str] = ("harmony.conformance",)
) -> subprocess.CompletedProcess[str]:
    """Run the suite in a folder, as whoever has an engine does."""
    command = [sys.executable, "-m", "pytest", "--pyargs", *tests, "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


def test_engines_that_break_a_promise_are_found(tmp_path: Path) -> None:
    names = [f"tests.engines.faulty:{name}" for name, _ in BROKEN]
    tests = [f"TestEngine::{test}" + "[{}]" for _, test in BROKEN]
    tests[5] += "-one]"  # of its parameters
    tests = [test.replace("]-", "-").format(name) for test, name in zip(tests, names, strict=True)]
    engines = [word for name in names for word in ("--engine", name)]
    paths = [f"harmony.conformance.test_engine::{test}" for test in tests]
    done = suite(tmp_path, *engines, "--engine-patience", "2", tests=paths)
    assert done.returncode == 1, done.stdout + done.stderr
    found = set(re.findall(r"^FAILED \S*?::(\S+)", done.stdout, re.MULTILINE))
    assert found == set(tests), done.stdout


def test_the_table_of_several_engines(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    engines = ["--engine", "inline", "--engine", "harmony.engines.threads:ThreadEngine"]
    done = suite(
        tmp_path,
        *engines,
        "-k",
        "at_once_than or as_many or empty_batch or odd_words",
        "--conformance-table",
        str(table),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [line.split() for line in done.stdout.partition("conformance of engines")[2].splitlines()]
    assert ["engine", "core", "data", "resources", "ranks", "faults", "scale"] in shown
    assert ["inline", "2", "✓", "4", "–"] in shown
    assert ["ThreadEngine", "2", "✓", "4", "✓"] in shown
    text = table.read_text()
    assert text.startswith(
        "| engine | core | data | resources | ranks | faults | scale |\n|---|---|---|---|---|---|---|\n"
        "| inline | 2 ✓ |  | 4 – |  |  |  |\n| ThreadEngine | 2 ✓ |  | 4 ✓ |  |  |  |\n\n"
        "| promise | ThreadEngine | inline |\n|---|---|---|\n| core: odd words | ✓ | ✓ |\n"
    )
    assert "| resources: as many at once as there are cores | ✓ | – |" in text


def test_an_engine_is_asked_for(tmp_path: Path) -> None:
    done = suite(tmp_path)
    assert done.returncode != 0
    assert "say which engines: --engine NAME" in done.stdout + done.stderr


def test_options_of_the_constructor() -> None:
    given = ["workers=4", "site=perlmutter", "name='a=b'", "gpus=[0, 1]", "flag=True", "empty="]
    expected = {"workers": 4, "site": "perlmutter", "name": "a=b", "gpus": [0, 1], "flag": True, "empty": ""}
    assert dict(map(option, given)) == expected
    for wrong in ("workers", "=4", "two words=4"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not KEY=VALUE"):
            option(wrong)


def test_what_cannot_be_made() -> None:
    with pytest.raises(PluginError, match="there is no engine 'thread'; did you mean 'threads'"):
        Subject("thread").make()
    with pytest.raises(ConfigError, match="workers=0 must be a whole number"):
        Subject("threads", {"workers": 0}).make()
    with pytest.raises(ConfigError, match="lacks some of the methods of an Engine"):
        Subject("builtins:object").make()


def test_engines_are_made_with_two_workers_unless_they_take_none() -> None:
    assert Subject("threads").make().capacity.cores == 2
    assert Subject("threads", {"workers": 3}).make().capacity.cores == 3
    assert Subject("tests.engines.faulty:Crowded").make().capacity.cores == 2


def test_every_promise_has_a_level_and_a_name_of_its_own() -> None:
    names: dict[str, type] = {}
    for base in EngineSuite.__mro__:
        for name in vars(base):
            if name.startswith("test_"):
                assert name not in names, f"{base.__name__} and {names[name].__name__} both have {name}"
                names[name] = base
                assert level_of(EngineSuite, name) in LEVELS, name
    assert len(names) > 80
