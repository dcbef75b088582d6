"""Walltime, queue and custom attributes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from harmony.jobs import InvalidJobException, JobAttributes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("01:02:03", 3723), ("1:02", 3720), ("00:00:01.5", 1.5), ("100:00:00", 360000), ("30", 1800), ("90s", 90),
        ("1.5 h", 5400), ("2d", 172800), ("1h 30m", 5400), ("1200.0 s", 1200), (" 10m ", 600),
    ],
)  # fmt: skip
def test_walltimes(text: str, seconds: float) -> None:
    assert JobAttributes.parse_walltime(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "1y", "-5", "1:2:3:4", "10 m later", "1:99x", "٣"])
def test_what_is_no_walltime_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"walltime=.* is not hh:mm:ss"):
        JobAttributes.parse_walltime(text)


def test_ten_minutes_unless_said_otherwise() -> None:
    assert JobAttributes().duration == timedelta(minutes=10)


def test_account_and_project_name_are_one() -> None:
    attributes = JobAttributes(project_name="p")
    assert (attributes.account, attributes.project_name) == ("p", "p")
    attributes.project_name = "q"
    assert attributes == JobAttributes(account="q")


def test_custom_attributes() -> None:
    attributes = JobAttributes()
    assert attributes.get_custom_attribute("slurm.x") is None
    attributes.set_custom_attribute("slurm.x", 3)
    assert attributes.get_custom_attribute("slurm.x") == 3
    assert attributes.custom_attributes == {"slurm.x": 3}


def test_setting_one_does_not_change_the_callers_mapping() -> None:
    given: dict[str, object] = {"slurm.x": 1}
    attributes = JobAttributes(custom_attributes=given)
    attributes.set_custom_attribute("slurm.y", 2)
    assert given == {"slurm.x": 1}


def test_the_options_of_one_scheduler() -> None:
    attributes = JobAttributes(
        custom_attributes={
            "SLURM.constraint": "gpu", "slurm.requeue": None, "slurm.wait": True, "slurm.hold": "", "slurm.no": False,
            "slurm.nice": 5, "slurm.a.b": "c", "pbs.l": "x",
        }
    )  # fmt: skip
    assert attributes.options("slurm") == {
        "constraint": "gpu", "requeue": None, "wait": None, "hold": None, "nice": "5", "a.b": "c"
    }  # fmt: skip
    assert attributes.options("pbs", "torque") == {"l": "x"}
    assert attributes.options("lsf") == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"duration": None}, "duration=None must be a timedelta"),
        ({"duration": timedelta(0)}, "greater than 0"),
        ({"duration": 10}, "duration=10"),
        ({"queue_name": " "}, "queue_name=' '"),
        ({"account": "a\nb"}, "account='a\\nb' must not hold a newline"),
        ({"reservation_id": 7}, "reservation_id=7"),
        ({"custom_attributes": {"constraint": "gpu"}}, "'constraint' must be 'SCHEDULER.OPTION'"),
        ({"custom_attributes": {"slurm.": "gpu"}}, "'slurm.' must be 'SCHEDULER.OPTION'"),
        ({"custom_attributes": {"slurm.x": "a\n#SBATCH --y"}}, "slurm.x="),
        ({"custom_attributes": {1: "x"}}, "custom_attributes: 1 must be"),
    ],
)
def test_what_cannot_be_is_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidJobException) as raised:
        JobAttributes(**given).check()  # type: ignore[arg-type]
    assert words in str(raised.value)


def test_equality_and_repr() -> None:
    assert JobAttributes(queue_name="q") == JobAttributes(queue_name="q")
    assert JobAttributes(queue_name="q") != JobAttributes()
    assert JobAttributes() != 1
    assert repr(JobAttributes(queue_name="q")) == (
        "JobAttributes(duration=datetime.timedelta(seconds=600), queue_name='q')"
    )
