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
    module.VENV = tmp_path / "venv"  # type: ignore[attr-defined]
    module.PYTHON = module.VENV / "bin" / "python"  # type: ignore[attr-defined]
    module.STAMP = module.VENV / "stamp.json"  # type: ignore[attr-defined]
    return module


def test_without_a_word_it_says_what_there_is() -> None:
    told = run_dev()
    assert told.returncode == 0
    assert all(word in told.stdout for word in ("demo", "test", "lint", "types", "contracts", "bench"))


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
    assert dev.make_venv()
    told = subprocess.run([dev.PYTHON, "-m", "pip", "--version"], capture_output=True, text=True, check=True).stdout
    assert str(dev.VENV) in told


def test_where_no_environment_can_be_made_it_says_what_to_install(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert dev.have("test") == 2
    assert "apt install python3-venv" in capsys.readouterr().err


def test_what_is_installed_is_not_installed_again(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")  # so that an attempt to install fails
    dev.PYTHON.parent.mkdir(parents=True)
    dev.PYTHON.symlink_to("/bin/true")
    dev.stamp(dev.fingerprint(), {"examples", "test"})
    assert dev.have("test") == 0
    dev.stamp("another state of the project", {"examples", "test"})
    dev.PYTHON.unlink()
    dev.PYTHON.symlink_to("/bin/false")
    assert dev.have("test") == 2
    assert "making .venv" in capsys.readouterr().out


def test_an_environment_whose_interpreter_has_gone_counts_as_empty(dev: ModuleType) -> None:
    dev.PYTHON.parent.mkdir(parents=True)
    dev.PYTHON.symlink_to("/bin/true")
    dev.stamp("state", {"test"})
    assert dev.installed("state") == {"test"}
    dev.PYTHON.unlink()
    assert dev.installed("state") == set()
