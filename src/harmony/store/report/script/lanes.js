// A row for each worker: bars of what it ran, or bins where there are too many.

const STATES = { "-1": "tried again", 2: "not ended", 3: "done", 4: "failed", 5: "cancelled" };

class LanePlot extends Plot {
  constructor(run, view, shared) {
    super("chart-lanes", run, view, shared);
    const lanes = run.lanes.length;
    this.row = lanes <= 16 ? 18 : lanes <= 48 ? 13 : lanes <= 120 ? 8 : 4;
    this.height = lanes * this.row + AXIS;
    if (run.bars) this.sort(run.bars);
    else this.decode(run.cells);
  }

  // The bars of each lane by the time they start.
  sort(bars) {
    this.lanes = this.run.lanes.map(() => []);
    bars.lane.forEach((lane, index) => this.lanes[lane].push(index));
    this.lanes.forEach((lane) => lane.sort((one, other) => bars.start[one] - bars.start[other]));
  }

  decode(cells) {
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    this.busy = bytes(cells.busy);
    this.mostly = bytes(cells.mostly);
    this.failed = new Map(cells.failed);
  }

  paint(context) {
    if (this.run.bars) this.paintBars(context);
    else this.paintCells(context);
  }

  paintBars(context) {
    const { bars } = this.run;
    const gap = this.row > 6 ? 2 : 1;
    this.lanes.forEach((lane, number) => {
      const top = number * this.row + gap / 2;
      for (const index of lane) {
        if (bars.start[index] > this.view.end) break;
        const end = bars.start[index] + bars.seconds[index];
        if (end < this.view.start) continue;
        this.bar(context, index, { left: this.x(bars.start[index]), right: this.x(end), top, high: this.row - gap });
      }
    });
    context.globalAlpha = 1;
  }

  bar(context, index, { left, right, top, high }) {
    const { bars } = this.run;
    const state = bars.state[index];
    const width = Math.max(right - left - 0.5, 0.75);
    context.globalAlpha = this.strength(bars.colour[index]) * (state === 3 || state === 4 ? 1 : 0.45);
    context.fillStyle = state === 5 ? this.theme.soft : this.theme.colours[bars.colour[index]];
    context.fillRect(left, top, width, high);
    if (state !== 4 && state !== -1) return;
    context.globalAlpha = this.strength(bars.colour[index]);
    context.fillStyle = this.theme.bad;
    context.fillRect(left, top + high * 0.6, Math.max(width, 2), high * 0.4);
  }

  // The image of all bins is made once for each theme and choice, and then only stretched.
  image() {
    const key = JSON.stringify([this.theme, [...this.shared.chosen]]);
    if (this.key === key) return this.picture;
    const { bins } = this.run.cells;
    const picture = document.createElement("canvas");
    picture.width = bins;
    picture.height = this.run.lanes.length;
    const context = picture.getContext("2d");
    const image = context.createImageData(bins, this.run.lanes.length);
    const colours = this.theme.colours.map(parts);
    this.busy.forEach((busy, cell) => {
      if (!busy) return;
      const colour = this.mostly[cell];
      image.data.set(colours[colour], cell * 4);
      image.data[cell * 4 + 3] = (50 + busy * 0.8) * this.strength(colour);
    });
    context.putImageData(image, 0, 0);
    this.key = key;
    this.picture = picture;
    return picture;
  }

  paintCells(context) {
    const { bins } = this.run.cells;
    const lanes = this.run.lanes.length;
    const picture = this.image();
    const bin = this.run.wall / bins;
    context.imageSmoothingEnabled = this.view.span / bin > (this.width - this.gutter) * 1.5;
    for (let lane = 0; lane < lanes; lane++) {
      context.drawImage(
        picture, this.view.start / bin, lane, this.view.span / bin, 1,
        this.gutter, lane * this.row, this.width - this.gutter, this.row - (this.row > 6 ? 2 : 0.5),
      );
    }
    context.fillStyle = this.theme.bad;
    const most = [...this.failed.values()].reduce((one, other) => Math.max(one, other), 1);
    for (const [cell, number] of this.failed) {
      context.globalAlpha = 0.35 + (0.65 * number) / most;
      const lane = Math.floor(cell / bins);
      const left = this.x((cell % bins) * bin);
      const right = this.x(((cell % bins) + 1) * bin);
      const high = Math.max(2, this.row * 0.3);
      context.fillRect(left, (lane + 1) * this.row - high - 1, Math.max(right - left, 1), high);
    }
    context.globalAlpha = 1;
  }

  labels(context) {
    const every = Math.ceil(12 / this.row);
    context.textAlign = "right";
    context.fillStyle = this.theme.soft;
    this.run.lanes.forEach((name, lane) => {
      if (lane % every) return;
      context.fillText(fitted(context, name, this.gutter - 10), this.gutter - 8, (lane + 0.5) * this.row);
    });
  }

  tell(time, y) {
    const lane = Math.floor(y / this.row);
    if (lane < 0 || lane >= this.run.lanes.length) return null;
    return this.run.bars ? this.tellBar(time, lane) : this.tellCell(time, lane);
  }

  tellBar(time, lane) {
    const { bars, lanes } = this.run;
    const slack = (this.view.span / this.width) * 2;
    const distance = (index) => Math.max(bars.start[index] - time, time - bars.start[index] - bars.seconds[index], 0);
    let found = null;
    for (const index of this.lanes[lane]) {
      if (bars.start[index] > time + slack) break;
      if (distance(index) <= slack && (found === null || distance(index) <= distance(found))) found = index;
    }
    if (found === null) return null;
    const start = bars.start[found];
    const step = this.run.wall / 10000;
    return [
      `${bars.names[bars.name[found]]}  ${bars.task[found]}`,
      `${STATES[bars.state[found]]}, ${duration(bars.seconds[found])}`,
      `${clock(start, step)} – ${clock(start + bars.seconds[found], step)}`,
      lanes[lane],
    ];
  }

  tellCell(time, lane) {
    const { bins } = this.run.cells;
    const bin = Math.min(bins - 1, Math.max(0, Math.floor((time / this.run.wall) * bins)));
    const cell = lane * bins + bin;
    const width = this.run.wall / bins;
    const lines = [`${Math.round((this.busy[cell] / 255) * 100)} % busy`];
    if (this.busy[cell]) lines.push(`mostly ${this.run.colours[this.mostly[cell]]}`);
    if (this.failed.has(cell)) lines.push(`${count(this.failed.get(cell))} failed`);
    return [...lines, `${clock(bin * width, width)} – ${clock((bin + 1) * width, width)}`, this.run.lanes[lane]];
  }
}

// Red, green and blue of a colour written as #rrggbb.
function parts(colour) {
  return [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
}

function fitted(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > room) end--;
  return `${text.slice(0, end)}…`;
}
