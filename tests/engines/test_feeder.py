"""The feeder: which tasks go out together, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harmony.core.engine import Submission
from harmony.core.task import Call, Command, Options
from harmony.engines._feeder import MOST, TOGETHER, Feeder
from harmony.resources import Resources


def task(id: int, name: str = "short", **options: Any) -> Submission:
    return Submission(id, Call(abs, (id,)), Options(**options), name)


def tasks(count: int, name: str = "short", first: int = 1) -> list[Submission]:
    return [task(id, name) for id in range(first, first + count)]


def ids(parcels: Sequence[Sequence[Submission]]) -> list[list[int]]:
    return [[submission.id for submission in parcel] for parcel in parcels]


def paced(workers: int = 2, **pace: float) -> Feeder:
    """A feeder that has seen tasks of these names, and how long they took."""
    feeder = Feeder(workers)
    for name, seconds in pace.items():
        feeder.add([task(0, name)])
        (parcel,) = feeder.take()
        feeder.ended(parcel, seconds)
    return feeder


def test_nothing_goes_out_without_workers() -> None:
    feeder = Feeder()
    feeder.add(tasks(3))
    assert feeder.take() == []
    feeder.workers = 2
    assert ids(feeder.take()) == [[1], [2]]


def test_what_was_never_seen_travels_alone_and_none_ahead() -> None:
    feeder = Feeder(2)
    feeder.add(tasks(5))
    first = feeder.take()[0]
    assert feeder.take() == []
    feeder.ended(first, 10.0)
    assert ids(feeder.take()) == [[3]]


def test_short_ones_travel_together_and_one_parcel_ahead_for_each_worker() -> None:
    feeder = paced(short=0.001)
    feeder.add(tasks(1000))
    parcels = feeder.take()
    assert len(parcels) == 4
    assert all(1 < len(parcel) <= TOGETHER / 0.001 for parcel in parcels)


def test_no_more_than_so_many_however_short() -> None:
    feeder = paced(short=0.0)
    feeder.add(tasks(10_000))
    assert max(map(len, feeder.take())) == MOST


def test_a_few_are_spread_over_idle_workers() -> None:
    feeder = paced(workers=4, short=0.001)
    feeder.add(tasks(4))
    assert ids(feeder.take()) == [[1], [2], [3], [4]]


def test_other_names_and_kinds_are_not_taken_along() -> None:
    feeder = paced(workers=1, short=0.001, long=10.0)
    command = Submission(3, Command("true"), Options(), "short")
    feeder.add([*tasks(2), command, task(4, "long"), *tasks(30, first=5)])
    first, second = feeder.take()
    assert ids([first, second]) == [[1, 2], [3]]


def test_one_long_one_makes_its_name_long() -> None:
    feeder = paced(short=0.001)
    feeder.add(tasks(1))
    (parcel,) = feeder.take()
    feeder.ended(parcel, 5.0)
    feeder.add(tasks(100, first=2))
    assert ids(feeder.take()) == [[2], [3]]


def test_more_cores_take_more_workers() -> None:
    feeder = Feeder(4)
    wide = Options(resources=Resources(cpu_cores_per_process=3))
    feeder.add([Submission(id, Call(abs, (1,)), wide) for id in (1, 2)])
    (parcel,) = feeder.take()
    assert feeder.busy == 3
    feeder.ended(parcel, 1.0)
    assert ids(feeder.take()) == [[2]]


def test_a_walltime_that_is_longer_than_what_is_left_waits_and_others_pass() -> None:
    feeder = Feeder(2)
    feeder.add([task(1, walltime=100.0), task(2), task(3, walltime=5.0)])
    assert ids(feeder.take(remaining=50.0)) == [[2], [3]]
    for _ in range(2):
        feeder.ended([task(2)], 1.0)
    assert ids(feeder.take(remaining=200.0)) == [[1]]


def test_suspects_go_out_alone_and_one_at_a_time() -> None:
    feeder = paced(short=0.001)
    feeder.suspect([1, 2, 3])
    feeder.add(tasks(3))
    (first,) = feeder.take()
    assert ids([first]) == [[1]]
    feeder.ended(first, None)
    (second,) = feeder.take()
    assert len(second) == 1


def test_where_workers_die_together_a_suspect_has_nobody_beside_it() -> None:
    feeder = Feeder(3, one_fate=True)
    feeder.suspect([1])
    feeder.add(tasks(4))
    (alone,) = feeder.take()
    assert ids([alone]) == [[1]]
    assert feeder.take() == []
    feeder.ended(alone, None)
    feeder.suspect([3])
    parcels = feeder.take()
    assert ids(parcels) == [[2], [4]]
    for parcel in parcels:
        assert feeder.take() == []
        feeder.ended(parcel, 10.0)
    assert ids(feeder.take()) == [[3]]


def test_dropping_is_exact() -> None:
    feeder = Feeder(1)
    feeder.add(tasks(4))
    (out,) = feeder.take()
    assert ids([feeder.drop({1, 3})]) == [[3]]
    feeder.ended(out, 1.0)
    assert ids(feeder.take()) == [[2]]


@given(
    workers=st.integers(1, 5),
    kinds=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.001, 0.04, 3.0]), st.booleans())),
)
def test_each_goes_out_once_and_in_bounds(workers: int, kinds: list[tuple[str, float, bool]]) -> None:
    feeder = Feeder(workers)
    seconds = {id: kind[1] for id, kind in enumerate(kinds)}
    feeder.add(task(id, name, walltime=60.0 if walltime else None) for id, (name, _, walltime) in enumerate(kinds))
    gone: list[int] = []
    out: list[list[Submission]] = []
    while len(gone) < len(kinds):
        out += feeder.take()
        assert out
        assert sum(map(feeder.weight, (parcel[0] for parcel in out))) == feeder.busy <= 2 * workers
        parcel = out.pop(0)
        gone += [submission.id for submission in parcel]
        feeder.ended(parcel, sum(seconds[submission.id] for submission in parcel))
    assert sorted(gone) == sorted(seconds)
    assert feeder.busy == 0


def test_it_says_what_was_held_back_and_gives_it_up() -> None:
    feeder = Feeder(2)
    feeder.add([task(1, walltime=100.0), task(2, walltime=70.0), task(3)])
    assert ids(feeder.take(remaining=50.0)) == [[3]]
    assert feeder.held == 100.0
    assert ids([feeder.drop_longer(80.0)]) == [[1]]
    feeder.take(remaining=75.0)
    assert feeder.held is None
