// Windows of time, { from, to } in unix ms: zoom, pan, ticks.

/** No zoom shows less than this. */
export const SHORTEST = 1000;

/** The part of `extent` that is shown. Without `end`, the window ends with the extent, so it follows the time. */
export function visibleWindow(extent, span, end) {
  const whole = extent.to - extent.from;
  if (span === null && end === null) return { ...extent };
  const width = Math.min(Math.max(span ?? whole, SHORTEST), Math.max(whole, SHORTEST));
  const to = end === null ? extent.to : Math.min(Math.max(end, extent.from + width), extent.to);
  return { from: to - width, to };
}

/** The state for a window: null for what is not limited. A window that ends with the extent follows it. */
export function stateOf(window, extent) {
  const width = window.to - window.from;
  if (width >= extent.to - extent.from) return { span: null, end: null };
  const follows = window.to >= extent.to - width * 0.01;
  return { span: Math.round(width), end: follows ? null : Math.round(window.to) };
}

/** `window`, `factor` times as wide; the time `at` stays where it is. */
export function zoomed(window, factor, at, extent) {
  const whole = extent.to - extent.from;
  const width = Math.min(Math.max((window.to - window.from) * factor, SHORTEST), Math.max(whole, SHORTEST));
  const part = window.to === window.from ? 0.5 : (at - window.from) / (window.to - window.from);
  return inside({ from: at - part * width, to: at + (1 - part) * width }, extent);
}

/** `window`, later by `ms`. */
export function panned(window, ms, extent) {
  return inside({ from: window.from + ms, to: window.to + ms }, extent);
}

/** `window`, moved so that it lies in `extent`. */
export function inside(window, extent) {
  const width = Math.min(window.to - window.from, extent.to - extent.from);
  const from = Math.min(Math.max(window.from, extent.from), extent.to - width);
  return { from, to: from + width };
}

/** Whether two windows have a time in common. */
export function overlaps(a, b) {
  return a.from <= b.to && b.from <= a.to;
}

const STEPS = [100, 250, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000];

/** Round times for an axis, at most `most` of them. */
export function ticks(window, most) {
  const step = STEPS.find((step) => (window.to - window.from) / step <= Math.max(1, most)) ?? STEPS.at(-1);
  const all = [];
  for (let at = Math.ceil(window.from / step) * step; at <= window.to; at += step) all.push(at);
  return { step, all };
}

/** Where a time is, from the left edge. */
export function scale(view, left, width) {
  return {
    x: (unix_ms) => left + ((unix_ms - view.from) / (view.to - view.from)) * width,
    time: (x) => view.from + ((x - left) / width) * (view.to - view.from),
  };
}
