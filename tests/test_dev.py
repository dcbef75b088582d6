"""`dev`, the script behind the README's commands: its words, and making an environment where ensurepip is missing."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent

#: As on a Debian without python3-venv: venv works, but the pip that it wants to install is not there.
DEBIAN_WITHOUT_VENV = """#!/bin/sh
case "$*" in
    "-m venv --without-pip"*) ;;
    "-m venv"*) mkdir -p "$3/bin"; echo "ensurepip is not available" >&2; exit 1 ;;
esac
exec {python} "$@"
"""


def run_dev(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ROOT / "dev", *words], capture_output=True, text=True, check=False)


@pytest.fixture
def dev(tmp_path: Path) -> ModuleType:
    """The script as a module, with an environment of its own that does not exist yet."""
    loader = importlib.machinery.SourceFileLoader("dev_script", str(ROOT / "dev"))
    spec = importlib.util.spec_from_loader("dev_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    module.MAIN = module.Environment(tmp_path / "venv")  # type: ignore[attr-defined]
    module.CRATES = module.Environment(tmp_path / "venv" / "rocrate")  # type: ignore[attr-defined]
    return module


@pytest.fixture
def calls(dev: ModuleType, tmp_path: Path) -> Path:
    """The file in which the programs of both environments, which are there, note how they are called."""
    for environment, extras, programs in (
        (dev.MAIN, {"test", "dev", "examples", "bench"}, ("python", "ruff", "mypy", "lint-imports")),
        (dev.CRATES, {"rocrate"}, ("python",)),
    ):
        (environment.path / "bin").mkdir(parents=True)
        for program in programs:
            path = environment.path / "bin" / program
            path.write_text(f'#!/bin/sh\necho "{environment.path.name} {program} $*" >> {tmp_path / "calls"}\n')
            path.chmod(0o755)
        environment.note(dev.fingerprint(), extras)
    return tmp_path / "calls"


def test_without_a_word_it_says_what_there_is() -> None:
    told = run_dev()
    assert told.returncode == 0
    assert all(word in told.stdout for word in ("demo", "test", "lint", "types", "contracts", "crates", "bench"))


def test_an_unknown_word_is_refused() -> None:
    told = run_dev("tset")
    assert told.returncode == 2
    assert "there is no word 'tset'" in told.stderr


def test_an_environment_without_ensurepip_gets_its_pip_from_the_system(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensurepip = pytest.importorskip("ensurepip", reason="this Python has no copy of pip to install from")
    wheels = list(Path(str(ensurepip.__file__)).parent.glob("_bundled/pip-*.whl"))
    if not wheels:
        pytest.skip("this Python keeps its copy of pip elsewhere")
    python = tmp_path / "python3"
    python.write_text(DEBIAN_WITHOUT_VENV.format(python=sys.executable), encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # no network: pip itself is what gets installed, from Python's own copy
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels[0].parent))
    assert dev.MAIN.make()
    told = subprocess.run(
        [dev.MAIN.python, "-m", "pip", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert str(dev.MAIN.path) in told


def test_where_no_environment_can_be_made_it_says_what_to_install(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert dev.MAIN.have("test") == 2
    assert "apt install python3-venv" in capsys.readouterr().err


def test_what_is_installed_is_not_installed_again(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")  # so that an attempt to install fails
    dev.MAIN.python.parent.mkdir(parents=True)
    dev.MAIN.python.symlink_to("/bin/true")
    dev.MAIN.note(dev.fingerprint(), {"examples", "test"})
    assert dev.MAIN.have("test") == 0
    dev.MAIN.note("another state of the project", {"examples", "test"})
    dev.MAIN.python.unlink()
    dev.MAIN.python.symlink_to("/bin/false")
    assert dev.MAIN.have("test") == 2
    assert "making " in capsys.readouterr().out


def test_an_environment_whose_interpreter_has_gone_counts_as_empty(dev: ModuleType) -> None:
    dev.MAIN.python.parent.mkdir(parents=True)
    dev.MAIN.python.symlink_to("/bin/true")
    dev.MAIN.note("state", {"test"})
    assert dev.MAIN.installed("state") == {"test"}
    dev.MAIN.python.unlink()
    assert dev.MAIN.installed("state") == set()


def test_all_checks_run_and_the_tests_are_the_last(dev: ModuleType, calls: Path) -> None:
    assert dev.main(["test"]) == 0
    assert calls.read_text().splitlines() == [
        "venv ruff check",
        "venv ruff format --check",
        "venv mypy ",
        "venv lint-imports --no-logo",
        f"rocrate python -m pytest {' '.join(dev.CRATE_TESTS)}",
        "venv python -m pytest",
    ]


def test_a_check_that_fails_stops_no_other_and_is_told_at_the_end(
    dev: ModuleType, calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = dev.CRATES.python
    failing.write_text(failing.read_text() + "exit 1\n")
    assert dev.main(["test"]) == 1
    assert calls.read_text().splitlines()[-1] == "venv python -m pytest"
    assert capsys.readouterr().out.endswith("dev: failed before the tests: crates\n")


def test_options_that_pick_tests_leave_out_those_of_crates(dev: ModuleType, calls: Path) -> None:
    assert dev.main(["test", "-k", "retry"]) == 0
    assert calls.read_text().splitlines()[-2:] == ["venv lint-imports --no-logo", "venv python -m pytest -k retry"]
    assert dev.main(["test", "--slow"]) == 0
    assert calls.read_text().splitlines()[-2:] == [
        f"rocrate python -m pytest {' '.join(dev.CRATE_TESTS)} --slow",
        "venv python -m pytest --slow",
    ]


def test_each_kind_of_benchmark_has_its_word(dev: ModuleType, calls: Path) -> None:
    for words in (["--quick"], ["jobs", "--rounds", "1"], ["journal"], ["engines"]):
        assert dev.main(["bench", *words]) == 0
    assert calls.read_text().splitlines() == [
        "venv python -m benchmarks --quick",
        "venv python -m benchmarks.jobs --rounds 1",
        "venv python -m benchmarks.journal",
        "venv python -m benchmarks.engines",
    ]
