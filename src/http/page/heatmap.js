// A heatmap of time, as in FlameScope: a column for each second, in it a row for each 50 ms. A drag or the keys select a range.

import { BINS, BIN_MS, binAt, binsOf, binsOfRange, rangeOfBins } from './heatmap_bins.js';
import { setDisabled } from './flame_button.js';
import { amount, counted, offset, rangeText } from './flame_text.js';

const HEIGHT = 140;

/** Short recordings do not fill the width: cells stay cells. */
const WIDEST_SECOND = 72;

const STEPS = { ArrowLeft: -BINS, ArrowRight: BINS, ArrowUp: 1, ArrowDown: -1, PageUp: 10 * BINS, PageDown: -10 * BINS };

/** The heatmap. `on_range({ from, to } | null)` gets each selection, in ms since the start of the recording. */
export function createHeatmap(app, { on_range }) {
  const { el, setText } = app.dom;
  const canvas = el('canvas', { class: 'heatmap-canvas' });
  const slider = el('div', {
    class: 'heatmap-plot', role: 'slider', tabindex: '0', 'aria-label': 'Heatmap of samples over time', 'aria-describedby': 'heatmap-hint',
  }, canvas);
  const readout = el('p', { class: 'heatmap-readout' });
  const seconds_axis = el('div', { class: 'heatmap-seconds', 'aria-hidden': 'true' });
  const hint = el('p', { class: 'flame-hint flame-keys faint', id: 'heatmap-hint' },
    'Drag to select a time range. Keys: arrows move, Shift extends, Enter selects, Escape clears.');
  const from = rangeInput(el, 'heatmap-from', 'From, s');
  const to = rangeInput(el, 'heatmap-to', 'To, s');
  const clear = el('button', { type: 'button', text: 'Whole recording', on: { click: () => on_range(null) } });
  const legend = el('div', { class: 'heatmap-legend', 'aria-hidden': 'true' });
  const table = createTable(app);
  const node = el('figure', { class: 'heatmap' },
    el('figcaption', {}, el('h3', { text: 'Samples over time' }), legend),
    el('div', { class: 'heatmap-frame' },
      el('div', { class: 'heatmap-rows', 'aria-hidden': 'true' }, el('span', { text: '1 s' }), el('span', { text: '0.5' }), el('span', { text: '0' })),
      slider, seconds_axis),
    readout, hint,
    el('div', { class: 'heatmap-range' }, from.node, to.node, clear),
    table.node);

  let shown = null;
  let cursor = 0;
  let anchor = null;
  let hovered = null;
  let is_dragging = false;

  const selection = () => (shown ? binsOfRange(shown.range, shown.bins) : null);
  const draft = () => (anchor === null ? selection() : { first: Math.min(anchor, cursor), last: Math.max(anchor, cursor) });
  const draw = app.dom.coalesced(() => {
    if (shown) paint(app, canvas, slider, { ...shown, selected: draft(), cursor: document.activeElement === slider ? cursor : hovered });
  });

  const binText = (bin) => {
    const { recording, bins } = shown;
    return `${rangeText(rangeOfBins(bin, bin))}: ${amount(bins.weights[bin], recording.unit)}, ${counted(bins.counts[bin], recording)}`;
  };
  const show = () => {
    if (!shown) return;
    const bin = is_dragging || document.activeElement === slider ? cursor : hovered;
    const chosen = draft();
    const range = anchor !== null && chosen ? `Selecting ${rangeText(rangeOfBins(chosen.first, chosen.last))}. ` : '';
    setText(readout, bin === null ? restText(shown) : `${range}${binText(bin)}`);
    slider.setAttribute('aria-valuenow', String(cursor));
    slider.setAttribute('aria-valuetext', `${range}${binText(cursor)}`);
    draw();
  };

  const commit = () => {
    const chosen = draft() ?? { first: cursor, last: cursor };
    anchor = null;
    on_range(rangeOfBins(chosen.first, chosen.last));
  };

  slider.addEventListener('keydown', (event) => {
    if (!shown || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = shown.bins.weights.length - 1;
    if (event.key in STEPS || event.key === 'Home' || event.key === 'End') {
      if (event.shiftKey) anchor ??= cursor;
      else anchor = null;
      cursor = event.key === 'Home' ? 0 : event.key === 'End' ? last : Math.min(last, Math.max(0, cursor + STEPS[event.key]));
    } else if (event.key === 'Enter' || event.key === ' ') {
      if (anchor === null) anchor = cursor;
      commit();
    } else if (event.key === 'Escape' && (anchor !== null || shown.range)) {
      anchor = null;
      on_range(null);
    } else return;
    event.preventDefault();
    show();
  });
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return binAt(event.clientX - box.left, event.clientY - box.top, { width: box.width, height: box.height, seconds: shown.bins.seconds });
  };
  slider.addEventListener('pointerdown', (event) => {
    if (!shown || event.button !== 0) return;
    is_dragging = true;
    slider.setPointerCapture(event.pointerId);
    cursor = anchor = at(event);
    show();
  });
  slider.addEventListener('pointermove', (event) => {
    if (!shown) return;
    hovered = at(event);
    if (is_dragging) cursor = hovered;
    show();
  });
  slider.addEventListener('pointerup', () => {
    if (!is_dragging) return;
    is_dragging = false;
    commit();
    show();
  });
  slider.addEventListener('pointercancel', () => {
    is_dragging = false;
    anchor = null;
    show();
  });
  slider.addEventListener('pointerleave', () => {
    hovered = null;
    show();
  });
  slider.addEventListener('focus', show);
  slider.addEventListener('blur', () => {
    anchor = null;
    show();
  });
  for (const { input } of [from, to]) {
    input.addEventListener('change', () => {
      const [start, end] = [Number(from.input.value), Number(to.input.value)];
      if (shown && end > start && start >= 0) on_range({ from: start * 1000, to: end * 1000 });
    });
  }
  new ResizeObserver(draw).observe(slider);
  app.on_colors(draw);

  return {
    node,
    /** Shows a recording; `range` is the selected one. */
    show(recording, filter, range) {
      const is_new = shown?.recording !== recording;
      shown = { recording, bins: binsOf(recording, filter), range };
      if (is_new) {
        cursor = shown.bins.weights.indexOf(shown.bins.most);
        anchor = null;
      }
      slider.setAttribute('aria-valuemin', '0');
      slider.setAttribute('aria-valuemax', String(shown.bins.weights.length - 1));
      const whole = range ?? { from: 0, to: recording.duration };
      from.input.value = (whole.from / 1000).toFixed(2);
      to.input.value = (whole.to / 1000).toFixed(2);
      setDisabled(clear, !range);
      slider.parentNode.style.maxWidth = `${Math.max(280, shown.bins.seconds * WIDEST_SECOND)}px`;
      showAxis(el, seconds_axis, shown.bins.seconds);
      showLegend(el, legend, shown);
      table.update(shown);
      show();
    },
    hide() {
      shown = null;
    },
  };
}

function rangeInput(el, id, label) {
  const input = el('input', { id, type: 'number', min: '0', step: '0.05' });
  return { input, node: el('div', { class: 'flame-field' }, el('label', { for: id, text: label }), input) };
}

function restText({ recording, bins, range }) {
  if (range) return `The flamegraph shows ${rangeText(range)}.`;
  const bin = bins.weights.indexOf(bins.most);
  return bins.most > 0 ? `Most is at ${rangeText(rangeOfBins(bin, bin))}: ${amount(bins.most, recording.unit)}.` : 'The filter leaves no samples.';
}

function showAxis(el, axis, seconds) {
  const every = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((step) => seconds / step <= 6) ?? 1200;
  const ticks = [];
  for (let second = 0; second <= seconds - every * 0.4 || second === 0; second += every) {
    const tick = el('span', { text: second === 0 ? '0 s' : String(second) });
    tick.style.left = `${(second / seconds) * 100}%`;
    ticks.push(tick);
  }
  axis.replaceChildren(...ticks);
}

function showLegend(el, legend, { recording, bins }) {
  const swatches = [0, 0.25, 0.5, 0.75, 1].map((level) => {
    const swatch = el('span', { class: 'heatmap-swatch' });
    swatch.style.setProperty('--level', `${strength(level) * 100}%`);
    return swatch;
  });
  legend.replaceChildren(el('span', { text: `0` }), ...swatches, el('span', { text: `${amount(bins.most, recording.unit)} in ${BIN_MS} ms` }));
}

/** How much ink a level gets. The root shows small values that a line would hide. */
function strength(level) {
  return level <= 0 ? 0 : 0.12 + 0.88 * Math.sqrt(level);
}

function paint(app, canvas, slider, { bins, selected, cursor }) {
  const ratio = window.devicePixelRatio || 1;
  const width = slider.clientWidth;
  if (width === 0) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(HEIGHT * ratio);
  const pen = canvas.getContext('2d');
  pen.scale(ratio, ratio);
  const colors = app.colors();
  const heat = getComputedStyle(canvas).color;
  const [across, up] = [width / bins.seconds, HEIGHT / BINS];
  const gap = across > 8 ? 1 : 0;
  const box = (bin) => {
    const left = Math.floor(bin / BINS) * across;
    return [left, HEIGHT - ((bin % BINS) + 1) * up, across, up];
  };
  bins.weights.forEach((weight, bin) => {
    const level = bins.most > 0 ? strength(weight / bins.most) : 0;
    const [left, top, wide, high] = box(bin);
    // After the end of the recording there is nothing, not zero.
    if (bin >= bins.recorded) return;
    pen.globalAlpha = 1;
    pen.fillStyle = colors.line;
    if (level === 0) {
      pen.globalAlpha = 0.35;
      pen.fillRect(left, top, wide - gap, high - 0.5);
      return;
    }
    const is_outside = selected && (bin < selected.first || bin > selected.last);
    pen.fillStyle = heat;
    pen.globalAlpha = is_outside ? level * 0.4 : level;
    pen.fillRect(left, top, wide - gap, high - 0.5);
  });
  pen.globalAlpha = 1;
  if (selected) outlineRange(pen, colors.ink, selected, box);
  if (cursor !== null) {
    const [left, top, wide, high] = box(cursor);
    pen.strokeStyle = colors.paper;
    pen.lineWidth = 4;
    pen.strokeRect(left, top, wide, high);
    pen.strokeStyle = colors.ink;
    pen.lineWidth = 2;
    pen.strokeRect(left, top, wide, high);
  }
}

/** The range runs up a column and on in the next one, so its outline has steps at both ends. */
function outlineRange(pen, color, { first, last }, box) {
  const [first_left, first_top, wide, high] = box(first);
  const [last_left, last_top] = box(last);
  const bottom = HEIGHT - 1;
  const path = first_left === last_left
    ? [[first_left, first_top + high], [first_left, last_top], [first_left + wide, last_top], [first_left + wide, first_top + high]]
    : [[first_left, first_top + high], [first_left, 1], [last_left, 1], [last_left, last_top], [last_left + wide, last_top], [last_left + wide, bottom],
      [first_left + wide, bottom], [first_left + wide, first_top + high]];
  pen.beginPath();
  path.forEach(([x, y], index) => (index === 0 ? pen.moveTo(x, y) : pen.lineTo(x, y)));
  pen.closePath();
  pen.strokeStyle = color;
  pen.lineWidth = 2;
  pen.setLineDash([5, 3]);
  pen.stroke();
  pen.setLineDash([]);
}

/** A row for each second: its sum, and each bin of it. */
function createTable(app) {
  let shown = null;
  const bins = Array.from({ length: BINS }, (_, row) => ({
    title: `${row * BIN_MS} ms`,
    class: 'n',
    cell: (second) => cell(second * BINS + row),
  }));
  const cell = (bin) => (shown.bins.weights[bin] > 0 ? amount(shown.bins.weights[bin], shown.recording.unit) : '0');
  const sum = (second) => shown.bins.weights.subarray(second * BINS, (second + 1) * BINS).reduce((all, weight) => all + weight, 0);
  const table = app.dom.table('Samples over time: a row for each second, a column for each 50 ms', [
    { title: 'Second', cell: (second) => offset(second * 1000) },
    { title: 'All', class: 'n', cell: (second) => amount(sum(second), shown.recording.unit) },
    ...bins,
  ], { class: 'flame-table' });
  const view = app.dom.asTable('Samples over time', table.node, () => {
    if (shown) table.update(Array.from({ length: shown.bins.seconds }, (_, second) => second), (second) => second);
  });
  return {
    node: view.node,
    update(next) {
      shown = next;
      view.refresh();
    },
  };
}
