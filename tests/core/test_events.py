"""Events: observers get what they asked for, in order, and cannot disturb the run."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from tests.core.fake_engine import FakeEngine, call, opened, wait_for

from harmony.core.retry import Retry
from harmony.core.task import Options
from harmony.events import CANCELLED, DONE, FAILED, KINDS, RETRIED, RUNNING, SUBMITTED, Bus, Event


def broken(events: Sequence[Event]) -> None:
    raise ZeroDivisionError("in the observer")


def test_observers_get_what_they_asked_for() -> None:
    bus = Bus()
    assert not bus.wanted
    all_of_them: list[Event] = []
    ends: list[Event] = []
    bus.observe(all_of_them.extend)
    bus.observe(ends.extend, [DONE, FAILED])
    assert bus.wanted == frozenset(KINDS)
    happened = [Event(kind, 1, 0.0, {}) for kind in (SUBMITTED, RUNNING, DONE)]
    bus.publish(happened)
    assert all_of_them == happened
    assert ends == happened[2:]


def test_an_observer_is_not_called_for_nothing() -> None:
    bus = Bus()
    calls: list[Sequence[Event]] = []
    bus.observe(calls.append, [DONE])
    bus.publish([Event(RUNNING, 1, 0.0, {})])
    assert calls == []


def test_an_observer_that_raises_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    seen: list[Event] = []
    bus.observe(broken)
    bus.observe(seen.extend)
    with caplog.at_level(logging.ERROR, "harmony"):
        bus.publish([Event(DONE, 1, 0.0, {})])
        bus.publish([Event(DONE, 2, 0.0, {})])
    assert [event.subject for event in seen] == [1, 2]
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "an observer of events failed and is dropped"
    ]
    assert "in the observer" in caplog.text


def test_what_happens_to_tasks_is_told_in_order() -> None:
    bus = Bus()
    seen: list[Event] = []
    bus.observe(seen.extend)
    engine = FakeEngine()
    with opened(engine, bus=bus) as kernel:
        good = kernel.submit(call(name="good"))
        first = engine.take()
        engine.running(first, "w7")
        engine.done(first, seconds=1.5)
        wait_for(good)
        bad = kernel.submit(call(name="bad", options=Options(retry=Retry(1))))
        after = kernel.submit(call(bad, name="after"))
        for _ in range(2):
            engine.fail(engine.take(), ValueError("x"))
        wait_for(after)
        dropped = kernel.submit(call(name="dropped"))
        engine.take()
        dropped.cancel()
        engine.barrier(kernel)
    names = {future.id: future.name for future in (good, bad, after, dropped)}
    told = [(event.kind, names[event.subject]) for event in seen if event.subject in names]
    assert told == [
        (SUBMITTED, "good"),
        (RUNNING, "good"),
        (DONE, "good"),
        (SUBMITTED, "bad"),
        (RETRIED, "bad"),
        (SUBMITTED, "bad"),
        (FAILED, "bad"),
        (FAILED, "after"),
        (SUBMITTED, "dropped"),
        (CANCELLED, "dropped"),
    ]
    by_kind = {event.kind: event for event in seen if event.subject == good.id}
    assert by_kind[SUBMITTED].data == {"name": "good", "engine": "fake"}
    assert by_kind[RUNNING].data["place"] == "w7"
    assert by_kind[DONE].data["seconds"] == 1.5
    times = [event.time for event in seen]
    assert times == sorted(times)


def test_an_observer_that_raises_does_not_stop_the_run(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    bus.observe(broken)
    engine = FakeEngine()
    with opened(engine, bus=bus) as kernel:
        future = kernel.submit(call())
        engine.done(engine.take(), "result")
        assert future.result(30) == "result"
    assert "ZeroDivisionError" in caplog.text
