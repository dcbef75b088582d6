// What all drawings over time have in common: a canvas with an axis of time, which the mouse and keys move.

const AXIS = 22;
const FONT = '11px system-ui, -apple-system, "Segoe UI", sans-serif';

// The colours of the page as it is shown now.
function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(`--${name}`).trim();
  const colours = [];
  for (let index = 0; index <= 8; index++) colours.push(get(`c${index}`));
  return {
    colours, ground: get("ground"), page: get("page"), line: get("line"), faint: get("faint"), ink: get("ink"),
    soft: get("soft"), bad: get("bad"), accent: get("accent"),
  };
}

class Plot {
  constructor(id, run, view, shared) {
    this.canvas = document.querySelector(`#${id} canvas`);
    this.run = run;
    this.view = view;
    this.shared = shared;
    this.gutter = shared.gutter;
    this.hover = null;
    view.listeners.push(() => this.draw());
    this.listen();
  }

  get theme() {
    return this.shared.theme;
  }

  x(time) {
    return this.gutter + ((time - this.view.start) / this.view.span) * (this.width - this.gutter);
  }

  time(x) {
    return this.view.start + ((x - this.gutter) / (this.width - this.gutter)) * this.view.span;
  }

  // Colours that are not chosen in the legend step back.
  strength(colour) {
    return this.shared.chosen.size && !this.shared.chosen.has(colour) ? 0.12 : 1;
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = this.shared.printing ? 700 : this.canvas.parentElement.clientWidth;
    const height = this.height;
    this.width = Math.max(width, 200);
    this.gutter = Math.min(this.shared.gutter, Math.round(this.width * 0.3));
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, height);
    context.font = FONT;
    context.textBaseline = "middle";
    this.context = context;
    this.axis();
    context.save();
    context.beginPath();
    context.rect(this.gutter, 0, this.width - this.gutter, height - AXIS);
    context.clip();
    this.paint(context);
    context.restore();
    this.labels(context);
    this.canvas.dataset.drawn = "yes";
  }

  axis() {
    const { context, view, theme, height } = this;
    const step = niceStep(view.span, Math.max(2, (this.width - this.gutter) / 90), true);
    context.lineWidth = 1;
    context.strokeStyle = theme.faint;
    context.fillStyle = theme.soft;
    context.textAlign = "center";
    for (const time of marks(view.start, view.end, step)) {
      const x = Math.round(this.x(time)) + 0.5;
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height - AXIS + 4);
      context.stroke();
      const text = clock(time, step);
      const half = context.measureText(text).width / 2;
      context.fillText(text, Math.min(Math.max(x, this.gutter + half), this.width - half), height - AXIS / 2 + 2);
    }
    context.strokeStyle = theme.line;
    context.beginPath();
    context.moveTo(this.gutter, height - AXIS + 0.5);
    context.lineTo(this.width, height - AXIS + 0.5);
    context.stroke();
  }

  // Lines across a drawing whose values go from 0 to `top`.
  grid(context, top) {
    context.strokeStyle = this.theme.faint;
    for (const [, y] of this.levels(top)) {
      context.beginPath();
      context.moveTo(this.gutter, y);
      context.lineTo(this.width, y);
      context.stroke();
    }
  }

  // Their values, beside it.
  scale(context, top) {
    context.textAlign = "right";
    context.fillStyle = this.theme.soft;
    for (const [value, y] of this.levels(top)) {
      if (y > 6) context.fillText(count(value), this.gutter - 8, Math.min(y, this.height - AXIS - 5));
    }
  }

  *levels(top) {
    const room = this.height - AXIS;
    for (const value of marks(0, top, niceStep(top, 4, false))) yield [value, Math.round(room * (1 - value / top)) + 0.5];
  }

  listen() {
    const canvas = this.canvas;
    let last = null;
    canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) {
        this.view.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.01), this.time(event.offsetX));
      } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) && !this.view.isAll) {
        this.view.pan(event.deltaX / this.width);
      } else return;
      event.preventDefault();
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      last = event.clientX;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (last !== null) {
        this.view.pan((last - event.clientX) / (this.width - this.gutter));
        last = event.clientX;
        hideTip();
      } else this.point(event);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
    canvas.addEventListener("pointerleave", () => hideTip());
    canvas.addEventListener("dblclick", () => this.view.act("all"));
    canvas.addEventListener("keydown", (event) => {
      const act = !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key];
      if (!act) return;
      this.view.act(act);
      event.preventDefault();
    });
  }

  point(event) {
    const scale = this.width / this.canvas.clientWidth;
    const x = event.offsetX * scale;
    const lines = x >= this.gutter ? this.tell(this.time(x), event.offsetY * scale) : null;
    if (lines) showTip(lines, event.pageX, event.pageY);
    else hideTip();
  }

  labels() {}
}

const tip = document.getElementById("tip");

function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map((line, index) => {
    const part = document.createElement(index ? "div" : "strong");
    part.textContent = line;
    return part;
  }));
  tip.hidden = false;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(4, Math.min(x + 14, room))}px`;
  tip.style.top = `${y + 16}px`;
}

function hideTip() {
  tip.hidden = true;
}
