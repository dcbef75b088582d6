"""That what is asked for arrives, quoted exactly once: every field, with values that a careless script would mangle."""

from __future__ import annotations

import pytest

from harmony.conformance.executors.ends import ExecutorTests
from harmony.conformance.executors.subject import Subject
from harmony.jobs import JobExecutor, JobState

ODD = {
    "space": "a b  c",
    "quotes": 'it\'s "so"',
    "command": "$(touch danger) `touch danger`",
    "variable": "$HOME \\$x $$",
    "unicode": "naïve Ångström 模拟 🎵",
    "glob": "* ? [a-z] {1,2} ~",
    "operators": "a;b|c&d>e<f#g!",
    "backslash": "a\\nb\\",
    "percent": "%d %j %",
    "dash": "-n",
}
#: What a file name cannot hold, or a directive not.
MULTILINE = {**ODD, "newline": "one\ntwo", "empty": "", "tab": "a\tb", "trailing": "end\n"}

SHOW = 'for each in "$@"; do printf \'%s\\0\' "$each"; done'


class Values(ExecutorTests):
    """Tests of the fields of a specification."""

    def test_arguments(self, subject: Subject, executor: JobExecutor) -> None:
        values = list(MULTILINE.values())
        subject.completed(executor, subject.job("/bin/sh", ["-c", SHOW, "sh", *values], stdout_path="out"))
        assert (subject.directory / "out").read_text().split("\0")[:-1] == values
        assert not (subject.directory / "danger").exists()

    def test_environment(self, subject: Subject, executor: JobExecutor) -> None:
        names = {f"ODD_{name}": value for name, value in MULTILINE.items()}
        show = "".join(f'printf "%s\\0" "${name}";' for name in names)
        subject.completed(executor, subject.shell(show, stdout_path="out", environment=names))
        assert (subject.directory / "out").read_text().split("\0")[:-1] == list(names.values())

    def test_numbers_in_the_environment(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.shell('echo "$COUNT"', stdout_path="out", environment={"COUNT": 3})
        subject.completed(executor, job)
        assert job.stdout_text() == "3\n"

    def test_variables_are_expanded(self, subject: Subject, executor: JobExecutor) -> None:
        environment = {"HERE": "/one", "BOTH": "${HERE}:/two:${NOT_SET_ANYWHERE}", "PATH": "/none:${PATH}"}
        job = subject.job(
            "printf", ["%s|", "${BOTH}", "x${HERE}y", "${NOT_SET_ANYWHERE}", "$HERE"],
            environment=environment, stdout_path="out",
        )  # fmt: skip
        subject.completed(executor, job)
        assert job.stdout_text() == "/one:/two:|x/oney|${NOT_SET_ANYWHERE}|$HERE|"

    def test_only_its_own_environment(
        self, subject: Subject, executor: JobExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OF_THE_SUBMITTER", "1")
        job = subject.job(
            "/usr/bin/env", [], environment={"OWN": "a b"}, inherit_environment=False, stdout_path="out"
        )  # fmt: skip
        subject.completed(executor, job)
        lines = job.stdout_text().splitlines()
        assert "OWN=a b" in lines
        assert {line.partition("=")[0] for line in lines} <= {"OWN", "PSIJ_JOB_ID", "PSIJ_NODEFILE"}

    def test_the_submitters_environment(
        self, subject: Subject, executor: JobExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OF_THE_SUBMITTER", "a b")
        job = subject.shell('echo "$OF_THE_SUBMITTER"', stdout_path="out")
        subject.completed(executor, job)
        assert job.stdout_text() == "a b\n"

    @pytest.mark.parametrize("kind", ODD)
    def test_paths(self, subject: Subject, executor: JobExecutor, kind: str) -> None:
        name = ODD[kind].replace("/", "")
        folder = subject.directory / name / "new"
        (subject.directory / name).mkdir()
        (subject.directory / name / "in").write_text("hello")
        job = subject.shell(
            "cat; pwd -P >&2",
            directory=folder,
            stdin_path=subject.directory / name / "in",
            stdout_path=f"out {name}",
            stderr_path=f"err {name}",
        )
        subject.completed(executor, job)
        assert job.stdout_text() == "hello"
        assert job.stderr_text() == f"{folder.resolve()}\n"

    def test_both_streams_in_one_file(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.shell("echo one; echo two >&2", stdout_path="out", stderr_path="out")
        subject.completed(executor, job)
        assert job.stdout_text() == "one\ntwo\n"

    @pytest.mark.parametrize("kind", MULTILINE)
    def test_names(self, subject: Subject, executor: JobExecutor, kind: str) -> None:
        assert subject.completed(executor, subject.job(name=MULTILINE[kind] or None)).exit_code == 0
        assert not (subject.directory / "danger").exists()

    def test_a_program_with_an_odd_name(self, subject: Subject, executor: JobExecutor) -> None:
        program = subject.directory / "my 'program' $(x) é"
        program.write_text("#!/bin/sh\necho ran\n")
        program.chmod(0o700)
        job = subject.job(str(program), stdout_path="out")
        subject.completed(executor, job)
        assert job.stdout_text() == "ran\n"

    def test_pre_and_post_launch(self, subject: Subject, executor: JobExecutor) -> None:
        before, after = subject.directory / "it's before", subject.directory / "after $x"
        before.write_text("export FROM_BEFORE='a b'\nhead -c 200000 /dev/zero | tr '\\0' x\n")
        after.write_text("echo after > after-ran\n")
        job = subject.shell('echo "$FROM_BEFORE"', pre_launch=before, post_launch=after, stdout_path="out")
        subject.completed(executor, job)
        assert job.stdout_text() == "a b\n"
        assert (subject.directory / "after-ran").read_text() == "after\n"

    def test_pre_launch_that_fails(self, subject: Subject, executor: JobExecutor) -> None:
        before = subject.directory / "before"
        before.write_text("echo no such module >&2\nfalse\ntrue\n")
        status = subject.run(executor, subject.shell("touch ran", pre_launch=before))
        assert status.state is JobState.FAILED
        assert "pre-launch" in str(status.message)
        assert "no such module" in str(status.message)
        assert not (subject.directory / "ran").exists()

    def test_a_directory_that_cannot_be(self, subject: Subject, executor: JobExecutor) -> None:
        (subject.directory / "file").write_text("")
        job = subject.job(directory=subject.directory / "file" / "sub")
        try:
            status = subject.run(executor, job)
        except Exception as error:  # noqa: BLE001  which error is the executor's choice; that it is said is not
            said = str(error)
        else:
            assert status.state is JobState.FAILED
            said = str(status.message)
        assert "file/sub" in said
