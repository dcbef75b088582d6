// Draw what there is, and follow the size of the window, its theme and the printer.

function start() {
  const run = JSON.parse(document.getElementById("data").textContent);
  if (!document.getElementById("chart-lanes")) return;
  const shared = { theme: readTheme(), chosen: new Set(), printing: false, gutter: gutterFor(run.lanes) };
  const view = new View(run.wall);
  const plots = [BusyPlot, RatePlot, LanePlot].map((Kind) => new Kind(run, view, shared));
  const draw = () => plots.forEach((plot) => plot.draw());
  const retheme = () => {
    shared.theme = readTheme();
    draw();
  };
  view.listeners.push(() => tellView(view));
  startToolbar(view);
  startLegend(shared, draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", retheme);
  new ResizeObserver(draw).observe(document.querySelector("#chart-lanes .canvas"));
  for (const [name, printing] of [["beforeprint", true], ["afterprint", false]]) {
    window.addEventListener(name, () => {
      document.documentElement.toggleAttribute("data-print", printing);
      shared.printing = printing;
      retheme();
    });
  }
  draw();
}

function gutterFor(lanes) {
  const context = document.createElement("canvas").getContext("2d");
  context.font = FONT;
  const widest = Math.max(0, ...lanes.map((name) => context.measureText(name).width));
  return Math.ceil(Math.min(Math.max(widest + 14, 56), 200));
}

function startToolbar(view) {
  const toolbar = document.querySelector(".toolbar");
  toolbar.hidden = false;
  for (const button of toolbar.querySelectorAll("button")) {
    button.addEventListener("click", () => view.act(button.dataset.act));
  }
  tellView(view);
}

function tellView(view) {
  const step = view.span / 100;
  const output = document.querySelector(".toolbar output");
  output.textContent = view.isAll
    ? `all ${duration(view.wall)}`
    : `${clock(view.start, step)} – ${clock(view.end, step)} of ${duration(view.wall)}`;
}

function startLegend(shared, draw) {
  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const colour = Number(button.dataset.colour);
      const chosen = !shared.chosen.delete(colour);
      if (chosen) shared.chosen.add(colour);
      button.setAttribute("aria-pressed", String(chosen));
      draw();
    });
  }
}

start();
