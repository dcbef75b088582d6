// Numbers and times as text.

const count = new Intl.NumberFormat("en").format;

function duration(seconds) {
  if (seconds < 1e-9) return "0 s";
  if (seconds < 1e-3) return `${(seconds * 1e6).toPrecision(3)} µs`;
  if (seconds < 1) return `${Number((seconds * 1e3).toPrecision(3))} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const pair = (small, large, per, digits) => {
    const value = Math.round(seconds / per[0]);
    return `${Math.floor(value / per[1])} ${large} ${String(value % per[1]).padStart(digits, "0")} ${small}`;
  };
  if (seconds < 3599.5) return pair("s", "min", [1, 60], 2);
  if (seconds < 172800) return pair("min", "h", [60, 60], 2);
  return pair("h", "d", [3600, 24], 2);
}

// The time since the run began, in the precision of a step: 12.5 s, 3:07, 2:45:00.
function clock(seconds, step) {
  if (step % 86400 === 0) return `${Math.round(seconds / 86400)} d`;
  if (step % 3600 === 0) return `${Math.round(seconds / 3600)} h`;
  const decimals = Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)));
  if (seconds < 60) return `${seconds.toFixed(decimals)} s`;
  const unit = 10 ** decimals;
  const rounded = Math.round(seconds * unit) / unit;
  const rest = (rounded % 60).toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0");
  const minutes = Math.floor(rounded / 60);
  const hours = Math.floor(minutes / 60);
  if (!hours) return `${minutes}:${rest}`;
  return `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

const CLOCK_STEPS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

// The step between the marks of an axis: at most `most` of them.
function niceStep(span, most, isTime) {
  const least = span / most;
  if (isTime && least > 30) {
    const found = CLOCK_STEPS.find((step) => step >= least);
    return found ?? Math.ceil(least / 86400) * 86400;
  }
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((step) => step * power >= least * 0.999);
}

function* marks(from, to, step) {
  for (let at = Math.ceil(from / step - 1e-9) * step; at <= to + step * 1e-6; at += step) yield at + 0; // no -0
}
