"""The report page: what it says of runs of all kinds, and that nothing of a run can do anything in it."""

from __future__ import annotations

import json
import re
import sqlite3
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.store.sample import make_sample

from harmony.errors import StoreError
from harmony.store.history import History
from harmony.store.report import timeline, write_report

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028\x00\x1b[31m"


def written(store: Path, run: int = 2) -> str:
    path = store.parent / "report.html"
    with History(store) as history:
        write_report(history, run, path)
    return path.read_text(encoding="utf-8")


def change(store: Path, *statements: str) -> None:
    base = sqlite3.connect(store / "store.db")
    with base:
        for statement in statements:
            base.execute(statement)
    base.close()


def data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


def section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}"')[2].partition("</section>")[0]


class Markup(HTMLParser):
    """Elements that must be closed, and all attributes."""

    VOID = frozenset({"meta", "br", "rect", "path", "circle"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.scripts += tag == "script"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_sample(tmp_path / ".harmony", 500)


def test_the_page_is_whole_and_asks_for_nothing(store: Path) -> None:
    markup = Markup(written(store))
    assert markup.open == []
    assert markup.scripts == 2
    loading = {"src", "srcset", "action", "background", "poster", "style"}
    assert [found for found in markup.attributes if found[1] in loading or found[1].startswith("on")] == []
    assert all(value.startswith("#") for _, name, value in markup.attributes if name in ("href", "xlink:href"))


def test_only_its_own_script_and_style_may_run(store: Path) -> None:
    page = written(store)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    for kind, pattern in (("script", r"<script>(.*?)</script>"), ("style", r"<style>(.*?)</style>")):
        (content,) = re.findall(pattern, page, re.DOTALL)
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]


def test_the_sample_is_told_in_full(store: Path) -> None:
    page = written(store)
    assert '<span class="state s-failed">failed</span>' in page
    assert "It resumed run 1" in page
    for word in ("done", "recalled", "failed", "cancelled"):
        assert f'class="swatch s-{word}"' in section(page, "summary")
    for name in ("prepare", "relax", "simulate", "analyse", "collect"):
        assert name in section(page, "resources")
    assert "command lmp -in" in section(page, "failures")
    assert "Traceback (most recent call last)" in section(page, "failures")
    assert "(Structure(" in section(page, "failures")
    assert "did not run because a task they needed had failed" in section(page, "failures")
    assert "ValueError: no convergence" in section(page, "attempts")
    assert "3.11.9" in section(page, "environment")


def test_the_critical_path_is_the_longest_chain(store: Path) -> None:
    ids = [
        int(found)
        for found in re.findall(r'\w</span></span></td><td class="n" data-v="(\d+)">', section(written(store), "path"))
    ]
    base = sqlite3.connect(store / "store.db")
    last, total = base.execute("SELECT id, path FROM task WHERE run = 2 ORDER BY path DESC, id LIMIT 1").fetchone()
    chain = [last]
    for task in chain:
        before = (
            "SELECT parent, path FROM edge JOIN task ON id = parent AND task.run = 2 WHERE edge.run = 2 AND task = ?"
        )
        parents = base.execute(f"{before} AND path > 0 ORDER BY path DESC, parent LIMIT 1", (task,)).fetchall()
        chain += [parent for parent, _ in parents]
    (alone,) = base.execute("SELECT path FROM task WHERE run = 2 AND id = ?", (chain[-1],)).fetchone()
    base.close()
    assert ids == chain[::-1]
    assert 0 < alone < total
    shares = re.findall(r'data-v="([^"]*)">[^<]*</td><td><svg class="bar"', section(written(store), "path"))
    assert sum(map(float, shares)) == pytest.approx(1)


def test_bars_are_what_ran(store: Path) -> None:
    bars = data(written(store))["bars"]
    base = sqlite3.connect(store / "store.db")
    tasks, attempts = (
        base.execute(f"SELECT count(*) FROM {table} WHERE run = 2 AND started IS NOT NULL").fetchone()[0]
        for table in ("task", "attempt")
    )
    base.close()
    assert len(bars["start"]) == tasks + attempts
    assert bars["state"].count(timeline.TRIED) == attempts
    ends: dict[int, float] = {}
    slack = data(written(store))["wall"] * 3e-4 + timeline.LATE
    for start, seconds, lane in sorted(zip(bars["start"], bars["seconds"], bars["lane"], strict=True)):
        assert start >= ends.get(lane, 0.0) - slack
        ends[lane] = start + seconds


def test_busy_cores_add_up_to_the_work(store: Path) -> None:
    drawn = data(written(store))
    base = sqlite3.connect(store / "store.db")
    rows = base.execute(
        "SELECT ended - started, value FROM task JOIN shape ON shape.id = shape WHERE run = 2 AND started IS NOT NULL"
        " UNION ALL SELECT a.ended - a.started, value FROM attempt a JOIN task t ON t.run = a.run AND t.id = a.task"
        " JOIN shape ON shape.id = shape WHERE a.run = 2"
    ).fetchall()
    base.close()
    work = 0.0
    for seconds, shape in rows:
        asked = json.loads(shape)["resources"]
        work += seconds * asked.get("process_count", 1) * asked.get("cpu_cores_per_process", 1)
    load = drawn["load"]
    assert sum(map(sum, load["busy"])) * drawn["wall"] / load["bins"] == pytest.approx(work, rel=1e-3)


def test_many_runs_become_bins(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "BARS", 100)
    drawn = data(written(store))
    assert "bars" not in drawn
    assert len(drawn["lanes"]) == 5
    assert drawn["cells"]["failed"]


def test_more_workers_than_rows_are_put_together(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "LANES", 2)
    assert data(written(store))["lanes"] == ["local … worker-2", "worker-3 … worker-4"]


def test_nothing_of_a_run_becomes_markup(store: Path) -> None:
    base = sqlite3.connect(store / "store.db")
    with base:
        base.execute("UPDATE text SET value = value || ?", (NASTY,))
        base.execute("UPDATE campaign SET workflow = ?, program = ?", (NASTY, NASTY))
        base.execute("UPDATE run SET user = ?, host = ?, directory = ?, argv = ?", (*[NASTY] * 3, json.dumps([NASTY])))
        base.execute("UPDATE run SET environment = ?", (json.dumps({NASTY: NASTY, "packages": {NASTY: NASTY}}),))
        base.execute("UPDATE failure SET type = ?, message = ?, traceback = ?, arguments = ?", (NASTY,) * 4)
    base.close()
    page = written(store)
    markup = Markup(page)
    assert markup.scripts == 2
    assert markup.open == []
    assert "<img" not in page
    assert not set(page) & {"\x00", "\x1b"}
    assert any(NASTY in name for name in data(page)["bars"]["names"])


@pytest.mark.parametrize("tasks", [0, 1, 41])
def test_small_runs(tmp_path: Path, tasks: int) -> None:
    page = written(make_sample(tmp_path / ".harmony", tasks))
    assert Markup(page).open == []
    assert ("No task has run" in page) == (not tasks)
    assert ('class="dag"' in page) == bool(tasks)


def test_an_interrupted_run(tmp_path: Path) -> None:
    page = written(make_sample(tmp_path / ".harmony", 300, unfinished=True))
    assert '<span class="state s-interrupted">' in page
    assert "The driver ended without closing the run" in page
    assert 'class="swatch s-waiting"' in page


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    from tests.store.sample import held

    store = make_sample(tmp_path / ".harmony", 300, unfinished=True)
    base = sqlite3.connect(store / "store.db")
    (lock,) = base.execute("SELECT lock FROM run WHERE id = 2").fetchone()
    with held(store, lock) as pid, base:
        base.execute("UPDATE run SET pid = ? WHERE id = 2", (pid,))
        base.commit()
        page = written(store)
    base.close()
    assert '<span class="state s-running">' in page
    assert 'class="swatch s-interrupted"' not in page


def test_only_failures(store: Path) -> None:
    change(
        store,
        "UPDATE task SET state = 4, path = NULL, seconds = NULL, started = NULL, ended = 1, place = NULL",
        "UPDATE run SET done = 0, recalled = 0, failed = 500, work = 0, critical_path = 0",
        "DELETE FROM attempt",
    )
    page = written(store)
    assert Markup(page).open == []
    assert "No task has run" in section(page, "time")
    assert "<details" in section(page, "failures")


def test_a_cycle_between_names_is_drawn(store: Path) -> None:
    change(store, "UPDATE task SET name = (SELECT id FROM text WHERE value = 'prepare') WHERE id % 41 = 0")
    page = written(store)
    assert 'class="edge back"' in page or 'class="edge chain back"' in page


def test_names_that_differ_in_numbers_are_one(store: Path) -> None:
    change(
        store,
        "INSERT INTO text (id, value) SELECT 1000 + id, 'step ' || id FROM task WHERE run = 2",
        "UPDATE task SET name = 1000 + id WHERE run = 2",
    )
    page = written(store)
    assert data(page)["colours"] == ["step #"]
    assert "500" in section(page, "resources")


def test_errors_that_differ_in_numbers_are_one(store: Path) -> None:
    kinds = re.findall(r'<code class="type">([^<]*)', section(written(store), "failures"))
    assert sorted(kinds) == ["ValueError", "harmony.errors.CommandError", "harmony.errors.WorkerLost"]


def test_a_run_that_is_not_there(store: Path, tmp_path: Path) -> None:
    with History(store) as history, pytest.raises(StoreError):
        write_report(history, 77, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.timeout(300)
def test_a_large_run_stays_small(tmp_path: Path, scale: Any) -> None:
    tasks = scale(50_000, 1_000_000)
    page = written(make_sample(tmp_path / ".harmony", tasks))
    assert "cells" in data(page)
    assert len(page.encode()) < 5_000_000
