// Busy cores, by the names of what they ran, and tasks that ended, over time.

class BusyPlot extends Plot {
  height = 150;

  constructor(run, view, shared) {
    super("chart-busy", run, view, shared);
    const { busy, bins } = run.load;
    this.sums = Array.from({ length: bins }, (_, bin) => busy.reduce((sum, row) => sum + row[bin], 0));
    this.top = Math.max(run.cores, ...this.sums) * 1.08 || 1;
  }

  paint(context) {
    const { busy, bins } = this.run.load;
    const room = this.height - AXIS;
    const width = this.run.wall / bins;
    this.grid(context, this.top);
    const first = Math.max(0, Math.floor(this.view.start / width));
    const last = Math.min(bins - 1, Math.floor(this.view.end / width));
    for (let bin = first; bin <= last; bin++) {
      const left = Math.round(this.x(bin * width));
      const right = Math.max(left + 1, Math.round(this.x((bin + 1) * width)));
      let low = 0;
      busy.forEach((row, colour) => {
        if (!row[bin]) return;
        const y = room * (1 - (low + row[bin]) / this.top);
        context.globalAlpha = this.strength(colour);
        context.fillStyle = this.theme.colours[colour];
        context.fillRect(left, y, right - left, (room * row[bin]) / this.top);
        low += row[bin];
      });
    }
    context.globalAlpha = 1;
    this.limit(context, room);
  }

  limit(context, room) {
    const y = Math.round(room * (1 - this.run.cores / this.top)) + 0.5;
    context.strokeStyle = this.theme.ink;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(this.gutter, y);
    context.lineTo(this.width, y);
    context.stroke();
    context.setLineDash([]);
  }

  labels(context) {
    this.scale(context, this.top);
    const text = `${count(this.run.cores)} cores`;
    const y = (this.height - AXIS) * (1 - this.run.cores / this.top);
    const width = context.measureText(text).width;
    context.fillStyle = this.theme.page;
    context.fillRect(this.width - width - 8, y - 8, width + 8, 16);
    context.fillStyle = this.theme.ink;
    context.textAlign = "right";
    context.fillText(text, this.width - 4, y);
  }

  tell(time) {
    const { busy, bins } = this.run.load;
    const bin = Math.min(bins - 1, Math.max(0, Math.floor((time / this.run.wall) * bins)));
    const rows = busy.map((row, colour) => [row[bin], this.run.colours[colour]]).filter(([value]) => value > 0);
    rows.sort((one, other) => other[0] - one[0]);
    const lines = rows.map(([value, name]) => `${value.toFixed(1)}  ${name}`);
    return [`${this.sums[bin].toFixed(1)} of ${count(this.run.cores)} cores busy`, clock(time, 0.1), ...lines];
  }
}

class RatePlot extends Plot {
  height = 100;

  constructor(run, view, shared) {
    super("chart-rate", run, view, shared);
  }

  // Bins are put together, so that each is a few pixels wide.
  group() {
    const { bins } = this.run.load;
    const visible = (this.view.span / this.run.wall) * bins;
    return Math.max(1, Math.round(visible / ((this.width - this.gutter) / 6)));
  }

  *columns() {
    const { bins, done, failed } = this.run.load;
    const width = this.run.wall / bins;
    const group = this.group();
    const sum = (row, from) => row.slice(from, from + group).reduce((total, value) => total + value, 0);
    const first = Math.max(0, Math.floor(this.view.start / width / group) * group);
    for (let bin = first; bin < bins && bin * width <= this.view.end; bin += group) {
      const span = Math.min(group, bins - bin) * width;
      yield { start: bin * width, span, done: sum(done, bin) / span, failed: sum(failed, bin) / span };
    }
  }

  paint(context) {
    const room = this.height - AXIS;
    const columns = [...this.columns()];
    this.top = Math.max(...columns.map((column) => column.done + column.failed)) * 1.08 || 1;
    this.grid(context, this.top);
    for (const column of columns) {
      const left = Math.round(this.x(column.start));
      const right = Math.max(left + 1, Math.round(this.x(column.start + column.span)) - 1);
      const high = (room * column.done) / this.top;
      const bad = (room * column.failed) / this.top;
      context.fillStyle = this.theme.accent;
      context.fillRect(left, room - high, right - left, high);
      context.fillStyle = this.theme.bad;
      context.fillRect(left, room - high - bad, right - left, bad);
    }
  }

  labels(context) {
    this.scale(context, this.top);
  }

  tell(time) {
    const column = [...this.columns()].find(({ start, span }) => time >= start && time < start + span);
    if (!column) return null;
    const lines = [`${Number(column.done.toPrecision(3))} tasks/s done`];
    if (column.failed) lines.push(`${Number(column.failed.toPrecision(3))} tasks/s failed`);
    return [...lines, `${clock(column.start, 0.1)} – ${clock(column.start + column.span, 0.1)}`];
  }
}
