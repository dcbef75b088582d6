"""Staging and cleanup by the job script: every mode, every condition, and what psij-python's scripts got wrong."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from tests.jobs.running import Bench

from harmony.errors import InvalidJobException
from harmony.jobs.spec import JobSpec
from harmony.jobs.staging import StageIn, StageOut, StageOutFlags, StagingMode

NAMES = ["plain", "with space", 'it\'s "$(touch gone)" `x`', "-n", "new\nline", "ünï⇒", "*", "a'b\\c", "~", "${HOME}"]
NONE, IF_PRESENT = StageOutFlags.NONE, StageOutFlags.IF_PRESENT
ON_SUCCESS, ON_ERROR, ON_CANCEL = StageOutFlags.ON_SUCCESS, StageOutFlags.ON_ERROR, StageOutFlags.ON_CANCEL


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def far(tmp_path: Path) -> Path:
    (tmp_path / "far away").mkdir()
    return tmp_path / "far away"


def make(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.write_text("content")
    else:
        (path / "sub dir").mkdir(parents=True)
        (path / "sub dir" / "inner").write_text("content")


def is_there(path: Path, kind: str) -> bool:
    inside = path if kind == "file" else path / "sub dir" / "inner"
    return inside.is_file() and inside.read_text() == "content"


# -- modes


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("mode", StagingMode)
def test_stage_in(bench: Bench, far: Path, mode: StagingMode, kind: str) -> None:
    make(far / "the source", kind)
    ran = bench.run(JobSpec("true", stage_in=[StageIn(far / "the source", "new dir/the target", mode)]))
    assert (ran.end, ran.states) == ((0, "done"), ["STAGE_IN", "ACTIVE"])
    target = bench.home / "new dir" / "the target"
    assert is_there(target, kind)
    assert target.is_symlink() is (mode is StagingMode.LINK)
    assert (far / "the source").exists() is (mode is not StagingMode.MOVE)


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("mode", StagingMode)
def test_stage_out(bench: Bench, far: Path, mode: StagingMode, kind: str) -> None:
    make(bench.home / "dir" / "the source", kind)
    out = [StageOut("dir/the source", far / "new dir" / "the target", mode=mode)]
    ran = bench.run(JobSpec("true", stage_out=out))
    assert (ran.end, ran.states) == ((0, "done"), ["ACTIVE", "STAGE_OUT"])
    target = far / "new dir" / "the target"
    assert is_there(target, kind)
    assert target.is_symlink() is (mode is StagingMode.LINK)
    assert (bench.home / "dir" / "the source").exists() is (mode is not StagingMode.MOVE)


@pytest.mark.parametrize("mode", StagingMode)
def test_existing_target_file_is_replaced(bench: Bench, far: Path, mode: StagingMode) -> None:
    make(far / "source", "file")
    bench.home.mkdir()
    (bench.home / "target").write_text("old and longer")
    assert bench.run(JobSpec("true", stage_in=[StageIn(far / "source", "target", mode)])).end == (0, "done")
    assert is_there(bench.home / "target", "file")


@pytest.mark.parametrize("mode", StagingMode)
def test_file_never_lands_inside_a_directory_of_the_targets_name(bench: Bench, far: Path, mode: StagingMode) -> None:
    make(far / "source", "file")
    (bench.home / "target").mkdir(parents=True)
    ran = bench.run(JobSpec("true", stage_in=[StageIn(far / "source", "target", mode)]))
    assert ran.end == (121, "stage_in")
    assert os.listdir(bench.home / "target") == []


def test_link_as_a_source_stands_for_its_file(bench: Bench, far: Path) -> None:
    make(far / "data", "file")
    (far / "link").symlink_to("data")
    bench.run(JobSpec("true", stage_in=[StageIn(far / "link", "target")]))
    assert is_there(bench.home / "target", "file")
    assert not (bench.home / "target").is_symlink()


def test_order_is_the_order_given(bench: Bench, far: Path) -> None:
    make(far / "a", "file")
    chain = [StageIn(far / "a", "1", StagingMode.MOVE), StageIn(bench.home / "1", "2"), StageIn(bench.home / "2", "3")]
    assert bench.run(JobSpec("true", stage_in=chain)).end == (0, "done")
    assert is_there(bench.home / "3", "file")


def test_file_uri_stands_for_its_path(bench: Bench, far: Path) -> None:
    make(far / "a", "file")
    uri = "file://localhost" + str(far / "a").replace(" ", "%20")
    assert bench.run(JobSpec("true", stage_in=[StageIn(uri, "b")])).end == (0, "done")
    assert is_there(bench.home / "b", "file")


def test_tilde_is_the_home_directory_of_the_job(bench: Bench, far: Path) -> None:
    make(far / "a", "file")
    spec = JobSpec("true", stage_in=[StageIn("~/a", "b")], stage_out=[StageOut("b", "~/c d")])
    assert bench.run(spec, {**os.environ, "HOME": str(far)}).end == (0, "done")
    assert is_there(far / "c d", "file")


# -- conditions

HOW = [("SUCCESS", "exit 0", False), ("ERROR", "exit 3", False), ("CANCEL", "exit 3", True)]


@pytest.mark.parametrize("flags", [NONE, ON_SUCCESS, ON_ERROR, ON_CANCEL, ON_SUCCESS | ON_CANCEL, StageOutFlags.ALWAYS])
@pytest.mark.parametrize(("how", "program", "cancelled"), HOW)
def test_conditions(bench: Bench, far: Path, flags: StageOutFlags, how: str, program: str, cancelled: bool) -> None:
    if cancelled:
        program = f"touch {shlex.quote(bench.place.cancel_flag)}; {program}"
    make(bench.home / "a", "file")
    make(bench.home / "junk", "directory")
    out = [StageOut("a", far / "b", flags)]
    ran = bench.run(JobSpec("sh", ["-c", program], stage_out=out, cleanup=["junk"], cleanup_flags=flags))
    assert ran.end == (int(program[-1]), "done")
    due = bool(flags.normalized & StageOutFlags[f"ON_{how}"])
    assert is_there(far / "b", "file") is due
    assert (bench.home / "junk").exists() is not due


def test_cancel_that_came_too_late_counts_as_success(bench: Bench, far: Path) -> None:
    make(bench.home / "a", "file")
    out = [StageOut("a", far / "good", ON_SUCCESS), StageOut("a", far / "cancelled", ON_CANCEL)]
    assert bench.run(JobSpec("touch", [bench.place.cancel_flag], stage_out=out)).end == (0, "done")
    assert os.listdir(far) == ["good"]


def test_job_that_was_cancelled_before_its_program_is_not_started(bench: Bench) -> None:
    Path(bench.place.cancel_flag).write_text("")
    assert bench.run(JobSpec("touch", ["done"])).end == (143, "done")
    assert os.listdir(bench.home) == []


def test_missing_file_is_no_error_if_it_need_not_be_present(bench: Bench, far: Path) -> None:
    out = [StageOut("none", far / "x", IF_PRESENT), StageOut("none", far / "y", IF_PRESENT | ON_ERROR)]
    assert bench.run(JobSpec("true", stage_out=out)).end == (0, "done")


# -- failures


def test_missing_source_fails_the_job_before_it_starts(bench: Bench, far: Path) -> None:
    ran = bench.run(JobSpec("touch", ["ran"], stage_in=[StageIn(far / "no such", "b")]))
    assert (ran.code, ran.end, ran.states) == (121, (121, "stage_in"), ["STAGE_IN"])
    assert f"stage_in: there is no {far}/no such" in ran.log
    assert not (bench.home / "ran").exists()


def test_missing_output_fails_the_job_and_the_others_are_saved(bench: Bench, far: Path) -> None:
    make(bench.home / "b", "file")
    ran = bench.run(JobSpec("true", stage_out=[StageOut("a", far / "a"), StageOut("b", far / "b")]))
    assert ran.end == (121, "stage_out")
    assert "stage_out: there is no ./a" in ran.log
    assert is_there(far / "b", "file")


def test_programs_own_failure_is_not_hidden_by_missing_output(bench: Bench, far: Path) -> None:
    assert bench.run(JobSpec("sh", ["-c", "exit 3"], stage_out=[StageOut("a", far / "a")])).end == (3, "done")


def test_job_that_never_ran_owes_no_output(bench: Bench, far: Path) -> None:
    make(bench.home / "log", "file")
    out = [StageOut("result", far / "result"), StageOut("log", far / "log", ON_ERROR)]
    ran = bench.run(JobSpec("/no/such/program", stage_out=out, cleanup=["log"]))
    assert ran.end == (127, "launch")
    assert ran.log.count("harmony:") == 1
    assert os.listdir(far) == ["log"]
    assert os.listdir(bench.home) == []


def test_target_that_cannot_be_made_is_said(bench: Bench, far: Path) -> None:
    make(bench.home / "a", "file")
    make(far / "file", "file")
    ran = bench.run(JobSpec("true", stage_out=[StageOut("a", far / "file" / "x")]))
    assert ran.end == (121, "stage_out")
    assert f"stage_out: cannot make the directory {far}/file" in ran.log


def test_nothing_is_deleted_when_saving_has_failed(bench: Bench, far: Path) -> None:
    make(bench.home / "a", "file")
    make(far / "file", "file")
    ran = bench.run(JobSpec("true", stage_out=[StageOut("a", far / "file" / "x")], cleanup=["a"]))
    assert ran.end == (121, "stage_out")
    assert is_there(bench.home / "a", "file")
    assert "nothing is deleted" in ran.log


# -- cleanup


def test_cleanup_deletes_files_links_and_directories(bench: Bench, far: Path) -> None:
    make(bench.home / "a file", "file")
    make(bench.home / "dir" / "deep", "directory")
    make(far / "precious", "directory")
    (bench.home / "link").symlink_to(far / "precious")
    (bench.home / "dangling").symlink_to("nowhere")
    ran = bench.run(JobSpec("true", cleanup=["a file", "dir/deep", "link", "dangling", "never was", "no/such/x"]))
    assert (ran.end, ran.states) == ((0, "done"), ["ACTIVE", "CLEANUP"])
    assert os.listdir(bench.home) == ["dir"]
    assert os.listdir(bench.home / "dir") == []
    assert is_there(far / "precious", "directory")


def test_cleanup_never_follows_a_link_out_of_the_directory(bench: Bench, far: Path) -> None:
    make(far / "precious", "file")
    bench.home.mkdir()
    (bench.home / "out").symlink_to(far)
    ran = bench.run(JobSpec("true", cleanup=["out/precious"]))
    assert ran.end == (121, "cleanup")
    assert "out/precious lies outside of the job's directory, so it stays" in ran.log
    assert is_there(far / "precious", "file")


def test_cleanup_works_where_the_directory_itself_is_reached_by_a_link(bench: Bench, tmp_path: Path) -> None:
    make(tmp_path / "real" / "a", "file")
    (tmp_path / "alias").symlink_to("real")
    assert bench.run(JobSpec("true", directory=tmp_path / "alias", cleanup=["a"])).end == (0, "done")
    assert os.listdir(tmp_path / "real") == []


def test_sourced_code_that_leaves_the_directory_does_not_lead_cleanup_astray(bench: Bench, far: Path) -> None:
    make(far / "a", "file")
    make(bench.home / "a", "file")
    (bench.home / "post").write_text(f"cd '{far}'\n")
    assert bench.run(JobSpec("true", post_launch="post", cleanup=["a"])).end == (0, "done")
    assert is_there(far / "a", "file")
    assert not (bench.home / "a").exists()


def test_environment_without_our_programs_on_the_path_does_not_stop_staging(bench: Bench, far: Path) -> None:
    make(far / "a", "file")
    spec = JobSpec("/bin/true", environment={"PATH": "/nowhere"}, stage_in=[StageIn(far / "a", "d/b")], cleanup=["d"])
    assert bench.run(spec).end == (0, "done")
    assert os.listdir(bench.home) == []


# -- what psij-python's scripts got wrong


@pytest.mark.parametrize("mode", StagingMode)
@pytest.mark.parametrize("name", NAMES)
def test_defect_names_with_spaces_and_the_like_cannot_be_staged(
    bench: Bench, far: Path, name: str, mode: StagingMode
) -> None:
    (far / name).write_text("content")
    there, back = [StageIn(far / name, Path("in") / name, mode)], [StageOut(Path("in") / name, far / "out" / name)]
    ran = bench.run(JobSpec("true", stage_in=there, stage_out=back, cleanup=[Path("in") / name]))
    assert (ran.end, ran.log) == ((0, "done"), "")
    assert os.listdir(far / "out") == [name]
    assert os.listdir(bench.home / "in") == []
    assert not (bench.home / "gone").exists()


@pytest.mark.parametrize("uri", ["sftp://host/etc/hostname", "file://elsewhere/etc/hostname", "https://h/x"])
def test_defect_remote_uri_is_read_as_a_local_file(bench: Bench, uri: str) -> None:
    for spec in (JobSpec("true", stage_in=[StageIn(uri, "b")]), JobSpec("true", stage_out=[StageOut("b", uri)])):
        with pytest.raises(InvalidJobException, match="is not a file of this machine"):
            bench.run(spec)


def test_defect_relative_source_is_not_the_submitters(bench: Bench, far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(far / "a", "file")
    monkeypatch.chdir(far)
    spec = JobSpec("true", stage_in=[StageIn("a", "b")], stage_out=[StageOut("b", "back/c")], directory=bench.home)
    bench.write(spec)
    monkeypatch.chdir("/")
    assert bench.ended(bench.start_written()).end == (0, "done")
    assert is_there(far / "back" / "c", "file")


def test_defect_on_cancel_is_never_honoured(bench: Bench, far: Path) -> None:
    out = [StageOut("partial", far / "saved", ON_CANCEL)]
    ran = bench.run(
        JobSpec("sh", ["-c", f"touch {shlex.quote(bench.place.cancel_flag)}; echo 1 >partial; kill $$"], stage_out=out)
    )
    assert ran.end == (143, "done")
    assert (far / "saved").read_text() == "1\n"


@pytest.mark.parametrize("path", ["../job2/precious", "/etc/hostname", "~/x", "a/../../job2", "."])
def test_defect_cleanup_outside_of_the_directory(bench: Bench, tmp_path: Path, path: str) -> None:
    make(tmp_path / "job2" / "precious", "file")
    with pytest.raises(InvalidJobException, match="must be a path inside the job's directory"):
        bench.run(JobSpec("true", directory=tmp_path / "job", cleanup=[path]))
    assert is_there(tmp_path / "job2" / "precious", "file")


def test_defect_link_staged_out_points_nowhere(bench: Bench, far: Path) -> None:
    make(bench.home / "a", "file")
    bench.run(JobSpec("true", stage_out=[StageOut("a", far / "b", mode=StagingMode.LINK)]))
    assert os.readlink(far / "b") == str(bench.home / "a")
