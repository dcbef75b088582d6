"""The Work Queue protocol as bytes: what Debian's worker and manager were seen to say, and what nobody should."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.engines.workqueue import frames, wire
from harmony.errors import ConfigError

#: A worker's side of a conversation, as it was recorded; its answers have line ends and words of the protocol in them.
SAID = (
    b"workqueue 9 node7 Linux x86_64 8.0.0\ninfo worker-id worker-f1eab87f\nfeature a100\n"
    b"resource cores 2 2 2\ninfo end_of_resource_update 0\navailable_results\n"
    b"result 0 3 8 1282 1\nout\nerr\ninfo tasks_running 0\nend\n"
    b"file harmony-1-out-0 6\nend\n\0\n"
    b"missing harmony-1-out-1 2\nend\nresult 40 0 0 0 8\n"
)
MEANT = [
    (("workqueue", "9", "node7", "Linux", "x86_64", "8.0.0"), b""),
    (("info", "worker-id", "worker-f1eab87f"), b""),
    (("feature", "a100"), b""),
    (("resource", "cores", "2", "2", "2"), b""),
    (("info", "end_of_resource_update", "0"), b""),
    (("available_results",), b""),
    (("result", "0", "3", "8", "1282", "1"), b"out\nerr\n"),
    (("info", "tasks_running", "0"), b""),
    (("end",), b""),
    (("file", "harmony-1-out-0", "6"), b"end\n\0\n"),
    (("missing", "harmony-1-out-1", "2"), b""),
    (("end",), b""),
    (("result", "40", "0", "0", "0", "8"), b""),
]


@given(st.lists(st.integers(0, len(SAID)), max_size=8))
def test_messages_are_cut_the_same_wherever_the_packets_end(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(SAID)]
    reader = wire.Reader(trusted=True)
    heard = [message for start, end in itertools.pairwise(places) for message in reader.feed(SAID[start:end])]
    assert heard == MEANT
    assert reader.rest() == b""


def test_a_stranger_cannot_have_its_bytes_kept() -> None:
    assert [message.words[0] for message in wire.Reader().feed(b"result 0 0 99999999999 0 1\nmore\n")] == [
        "result",
        "more",
    ]


def test_what_comes_after_a_message_can_be_taken_over() -> None:
    reader = wire.Reader()
    for message in reader.feed(b"harmony boss\nraw\0bytes"):
        assert message.words == ("harmony", "boss")
        assert reader.rest() == b"raw\0bytes"


@pytest.mark.parametrize(
    "said",
    [b"result 0 0\n", b"result 0 0 many 1 1\n", b"file name -1\n", b"x" * 70_000],
    ids=["too few words", "no number", "less than nothing", "no end of a line"],
)
def test_what_is_no_message_is_told(said: bytes) -> None:
    with pytest.raises(wire.ProtocolError):
        list(wire.Reader(trusted=True).feed(said))


def test_a_task_is_said_as_a_manager_of_debian_says_it() -> None:
    order = wire.Order(
        "./script.sh in.1 > out.1",
        memory=100,
        disk=100,
        walltime=1.5,
        environment={"OMP_NUM_THREADS": "1"},
        inputs={"in.1": b"hello\n"},
        outputs=["out.1"],
    )
    kept = wire.cached_name(b"hello\n").encode()
    assert wire.put("n", b"hello\n") == b"put n 6 0755\nhello\n"
    assert wire.task(7, order) == (
        b"task 7\ncmd 24\n./script.sh in.1 > out.1cores 1\ngpus 0\nmemory 100\ndisk 100\nwall_time 1500000\n"
        b"env 17\nOMP_NUM_THREADS=1\ninfile " + kept + b" in.1 1\noutfile harmony-7-out-0 out.1 0\nend\n"
    )


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../out", "a/../../b", "with blank", "line\nend"])
def test_a_file_outside_the_sandbox_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a file in a sandbox"):
        wire.Order("true", inputs={name: b""})
    with pytest.raises(ConfigError, match="no name of a file in a sandbox"):
        wire.Order("true", outputs=[name])


def test_an_answer_to_a_challenge_is_that_of_debians_programs() -> None:
    theirs = r"JjPdQuP_vzS`zQqxnUt^[ZtKUUMSYJmykRnUOH^nzHbd\hfXyYLZYaOfHsJcLs`"
    assert wire.answer(b"geheim\n", theirs) == "fb658c2cec7d19eae1f2de9a58fb9e68048dcf02"


def greet(keeper: wire.Gatekeeper, password: bytes) -> bytes | None:
    """Say what a worker with this password says."""
    assert keeper.hear(wire.OFFER) == b"auth password sha1\n"
    challenge, shown = (keeper.hear(("a", "challenge")) or b"").decode().splitlines()
    assert shown == wire.answer(b"right", "a challenge")
    assert keeper.hear((wire.answer(password, challenge),)) == b"ok\n"
    return keeper.hear(("ok",))


def test_one_who_has_the_password_is_let_in() -> None:
    assert greet(wire.Gatekeeper(b"right"), b"right") is None


def test_one_who_has_another_password_is_not() -> None:
    with pytest.raises(wire.ProtocolError, match="does not know the password"):
        greet(wire.Gatekeeper(b"right"), b"wrong")


@pytest.mark.parametrize("words", [("auth", "kerberos"), ("GET", "/"), ("ok",)])
def test_one_who_says_anything_else_is_not(words: tuple[str, ...]) -> None:
    with pytest.raises(wire.ProtocolError, match="is no greeting"):
        wire.Gatekeeper(b"right").hear(words)


def test_no_two_challenges_are_the_same() -> None:
    assert len({wire.challenge() for _ in range(100)} | {frames.challenge() for _ in range(100)}) == 200


def test_a_proof_is_for_one_role_and_both_challenges() -> None:
    shown = frames.proof("secret", "boss", "a", "b")
    assert frames.is_proof(shown, "secret", "boss", "a", "b")
    for other in (("other", "boss", "a", "b"), ("secret", "hand", "a", "b"), ("secret", "boss", "b", "a")):
        assert not frames.is_proof(shown, *other)
