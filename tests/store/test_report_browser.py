"""The report page as a browser shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.store.browser import CHROMIUM, opened
from tests.store.sample import make_sample

from harmony.store.history import History
from harmony.store.report import timeline, write_report

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.timeout(120),
]
CHARTS = ("chart-busy", "chart-rate", "chart-lanes")
#: Writes into the title how many pixels of each drawing are not empty.
COUNT_PIXELS = """
const inked = [...document.querySelectorAll("canvas")].map((canvas) => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((value, place) => place % 4 === 3 && value).length;
});
document.title = `inked ${inked}`;
"""
PRESS = """
const canvas = document.querySelector("#chart-lanes canvas");
const press = (key) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const shown = () => document.querySelector(".toolbar output").textContent;
const told = [shown()];
press("+"); press("+"); told.push(shown());
press("ArrowRight"); told.push(shown());
press("0"); told.push(shown());
const wheel = { deltaY: -50, ctrlKey: true, bubbles: true, cancelable: true };
canvas.dispatchEvent(new WheelEvent("wheel", wheel)); told.push(shown());
document.title = `told ${told.join(" | ")}`;
"""
SORT = """
const table = document.querySelector("#slowest table");
const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith("Id"));
const ids = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.v));
const button = table.tHead.rows[0].cells[column].querySelector("button");
button.click(); const down = ids();
button.click(); const up = ids();
const falls = (list) => list.every((id, at) => !at || id < list[at - 1]);
document.title = `sorted ${falls(down)} ${falls(up.reverse())}`;
"""
HOVER = """
const area = document.querySelector("#chart-lanes canvas");
const found = new Set();
for (let x = 0; x < area.clientWidth; x += 4) {
  area.dispatchEvent(new PointerEvent("pointermove", { clientX: area.getBoundingClientRect().left + x,
    clientY: area.getBoundingClientRect().top + 8, bubbles: true }));
  if (!document.getElementById("tip").hidden) found.add(document.querySelector("#tip strong").textContent);
}
document.title = `tips ${found.size}`;
"""


def page_of(tmp_path: Path, tasks: int, *, unfinished: bool = False) -> Path:
    path = tmp_path / "report.html"
    with History(make_sample(tmp_path / ".harmony", tasks, unfinished=unfinished)) as history:
        write_report(history, 2, path)
    return path


def title(dom: str) -> str:
    found = re.search(r"<title>(.*?)</title>", dom)
    assert found
    return found[1]


def test_the_page_opens_without_complaint(tmp_path: Path) -> None:
    dom, console = opened(page_of(tmp_path, 164), tmp_path / "profile")
    assert console == []
    assert dom.count('data-drawn="yes"') == len(CHARTS)
    assert len(re.findall(r'<g class="node', dom)) > 100
    for name in ("path", "slowest", "resources", "attempts"):
        section = dom.partition(f'<section id="{name}"')[2].partition("</section>")[0]
        assert section.count("<tr>") > 2, name


@pytest.mark.parametrize("form", ["bars", "bins"])
def test_all_charts_have_ink(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "bins":
        monkeypatch.setattr(timeline, "BARS", 50)
    dom, console = opened(page_of(tmp_path, 500), tmp_path / "profile", script=COUNT_PIXELS)
    assert console == []
    inked = [int(number) for number in title(dom).removeprefix("inked ").split(",")]
    assert len(inked) == len(CHARTS)
    assert min(inked) > 5_000


def test_keys_and_wheel_zoom_and_pan(tmp_path: Path) -> None:
    dom, console = opened(page_of(tmp_path, 164), tmp_path / "profile", script=PRESS)
    assert console == []
    whole, near, moved, again, wheeled = title(dom).removeprefix("told ").split(" | ")
    assert whole == again
    assert len({whole, near, moved, wheeled}) == 4


def test_tables_are_sorted_by_a_click(tmp_path: Path) -> None:
    dom, console = opened(page_of(tmp_path, 164), tmp_path / "profile", script=SORT)
    assert console == []
    assert title(dom) == "sorted true true"


def test_bars_tell_what_they_are(tmp_path: Path) -> None:
    dom, console = opened(page_of(tmp_path, 164), tmp_path / "profile", script=HOVER)
    assert console == []
    assert int(title(dom).removeprefix("tips ")) > 3


@pytest.mark.parametrize("tasks", [0, 1])
def test_small_and_unfinished_runs_open_too(tmp_path: Path, tasks: int) -> None:
    _, console = opened(page_of(tmp_path, tasks, unfinished=True), tmp_path / "profile")
    assert console == []
