// The section of time that all drawings show. Whoever draws it listens.

class View {
  constructor(wall) {
    this.wall = wall;
    this.least = wall / 5000;
    this.start = 0;
    this.end = wall;
    this.listeners = [];
  }

  get span() {
    return this.end - this.start;
  }

  get isAll() {
    return this.span >= this.wall * 0.9999;
  }

  show(start, span) {
    span = Math.min(Math.max(span, this.least), this.wall);
    this.start = Math.min(Math.max(start, 0), this.wall - span);
    this.end = this.start + span;
    this.listeners.forEach((listener) => listener());
  }

  // `at` stays where it is.
  zoom(factor, at = (this.start + this.end) / 2) {
    const span = Math.min(Math.max(this.span * factor, this.least), this.wall);
    this.show(at - ((at - this.start) / this.span) * span, span);
  }

  pan(share) {
    this.show(this.start + share * this.span, this.span);
  }

  act(name) {
    if (name === "in") this.zoom(0.5);
    else if (name === "out") this.zoom(2);
    else if (name === "left") this.pan(-0.25);
    else if (name === "right") this.pan(0.25);
    else if (name === "all") this.show(0, this.wall);
  }
}

const KEYS = {
  "+": "in", "=": "in", "-": "out", "−": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all", Home: "all",
};
