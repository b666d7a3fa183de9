// The lanes of workers: the canvas, its toolbar, the sentence about the pointed bin, the legend, and the table.

import { drawAxis, drawLanes, drawMinimap, laneHeight } from './lane_drawing.js';
import { createLaneTable } from './lane_table.js';
import { listenToLanes, listenToMinimap } from './lane_input.js';
import { inside, panned, scale, stateOf, zoomed } from './time_window.js';

/** More lanes scroll inside this height. */
const TALLEST = 408;
const AXIS = 24;
const MINIMAP = 40;

/** The width of a letter of the labels. */
const LETTER = 7.3;

export function mountLanesPanel(container, app) {
  const { el, setText, coalesced } = app.dom;
  const { store, state } = app;
  const { timeline } = store;

  const axis = el('canvas', { class: 'axis', 'aria-hidden': 'true' });
  const canvas = el('canvas', { class: 'lanes-canvas', 'aria-hidden': 'true' });
  const spacer = el('div', { class: 'lanes-spacer' }, canvas);
  const scroll = el('div', {
    class: 'lanes-scroll', tabindex: '0', role: 'application', 'aria-label': 'Lanes of workers', 'aria-describedby': 'lane-keys',
  }, spacer);
  const minimap = el('canvas', { class: 'minimap', 'aria-hidden': 'true' });
  const empty = el('p', { class: 'empty', text: 'No worker is seen yet.' });
  const range = el('p', { class: 'range' });
  const readout = el('p', { class: 'readout faint' });
  const legend = el('ul', { class: 'legend' });
  const chart = el('div', { class: 'lanes-chart' }, axis, scroll, minimap);
  const lane_table = createLaneTable(app);
  let selecting = null;
  let pointer = null;
  let kept_labels = null;

  const selection = () => selecting ?? app.selection();
  const go = (window) => state.set(stateOf(window, timeline.extent()));
  const zoom = (factor, at) => {
    const view = app.visible();
    go(zoomed(view, factor, at ?? (view.from + view.to) / 2, timeline.extent()));
  };
  const actions = {
    zoom,
    pan: (part) => {
      const view = app.visible();
      go(panned(view, part * (view.to - view.from), timeline.extent()));
    },
    show: go,
    whole: () => state.set({ span: null, end: null }),
    select(window) {
      selecting = null;
      state.set({ from: Math.round(window.from), to: Math.round(window.to) });
    },
    preview(window) {
      selecting = window;
      draw();
    },
    selectVisible: () => actions.select(app.visible()),
    clear: () => {
      selecting = null;
      state.set({ from: null, to: null });
      draw();
    },
    point(where) {
      pointer = where;
      draw();
    },
  };

  const button = (text, title, click) => el('button', { type: 'button', title, text, on: { click } });
  const to_selection = button('Zoom to selection', 'Show the selected time only', () => {
    const { from, to } = selection();
    const margin = (to - from) * 0.05;
    go(inside({ from: from - margin, to: to + margin }, timeline.extent()));
  });
  const now = button('Follow now', 'Move with the time', () => state.set({ end: null }));
  const whole = button('Whole time', 'Home', actions.whole);
  const out = button('−', 'Zoom out', () => zoom(2));
  out.append(el('span', { class: 'unseen', text: ' Zoom out' }));
  const closer = button('+', 'Zoom in', () => zoom(0.5));
  closer.append(el('span', { class: 'unseen', text: ' Zoom in' }));
  const select_visible = button('Select visible time', 'Enter', actions.selectVisible);
  const foot = el('div', { class: 'lanes-foot' }, legend, readout);
  const key_help = el('p', { class: 'keys faint', id: 'lane-keys' },
    'Drag selects a time; the wheel zooms. Keys in the lanes: ', keys('←', '→'), ' pan, ', keys('+', '−'), ' zoom, ', keys('Home'),
    ' shows the whole time, ', keys('Enter'), ' selects the visible time, ', keys('Esc'), ' clears the selection.');
  const sampled = container.querySelector('h2 .faint');
  container.querySelector('.content').append(
    el('div', { class: 'toolbar' },
      el('div', { class: 'buttons', role: 'group', 'aria-label': 'Zoom' }, closer, out, whole, now),
      el('div', { class: 'buttons', role: 'group', 'aria-label': 'Selection' }, select_visible, to_selection),
      range),
    empty, chart,
    foot, key_help, lane_table.node);

  function keys(...names) {
    return names.map((name) => el('kbd', { text: name }));
  }

  /** The width of the chart, and of the labels at its left. */
  function geometry() {
    const width = scroll.clientWidth;
    const longest = labels(width).reduce((most, label) => Math.max(most, label.length), 0);
    return { width, left: Math.ceil(longest * LETTER) + 16 };
  }

  const draw = coalesced(() => {
    const { lanes } = timeline;
    const colors = app.colors();
    const view = app.visible();
    empty.hidden = lanes.length > 0;
    chart.hidden = foot.hidden = key_help.hidden = lane_table.node.hidden = lanes.length === 0;
    setText(sampled, lanes.length === 0 ? 'sampled' : `${app.format.plural(lanes.length, 'lane')}, sampled every ${timeline.interval} ms`);
    if (lanes.length > 0) {
      const pitch = laneHeight(lanes.length);
      const whole_height = lanes.length * pitch;
      const height = Math.min(whole_height, TALLEST);
      spacer.style.height = `${whole_height}px`;
      scroll.style.height = `${height}px`;
      scroll.dataset.scrolls = whole_height > height ? 'yes' : 'no';
      const { width, left } = geometry();
      const scene = {
        lanes, timeline, view, selection: selection(), colors, width, height, left, pitch, top: scroll.scrollTop, labels: labels(width), pointer,
      };
      drawAxis(axis, { width, height: AXIS, left, view, colors });
      drawLanes(canvas, scene);
      drawMinimap(minimap, { width, height: MINIMAP, left, extent: timeline.extent(), view, selection: selection(), timeline, colors });
      showReadout(scene);
    }
    showRange(view);
    showLegend(view, colors);
    lane_table.update(selection() ?? view, selection() !== null);
  });

  /** The names of the lanes: a runtime is named only if there are several. They are kept until the lanes change. */
  function labels(width) {
    const { lanes } = timeline;
    const is_narrow = width < 560;
    if (kept_labels?.lanes === lanes && kept_labels.is_narrow === is_narrow) return kept_labels.all;
    const has_several = lanes.some((lane) => lane.runtime !== lanes[0].runtime);
    const all = lanes.map((lane) => {
      const name = lane.worker === null ? 'block_on' : is_narrow || has_several ? `w ${lane.worker}` : `worker ${lane.worker}`;
      return has_several ? `${endCut(app.format.visible(app.format.middleCut(lane.runtime, 40)), is_narrow ? 5 : 12)} ${name}` : name;
    });
    kept_labels = { lanes, is_narrow, all };
    return all;
  }

  function showRange(view) {
    const { format } = app;
    const span = format.duration(view.to - view.from);
    const follows = state.get('end') === null && store.contact.state === 'live';
    setText(range, `${format.time(view.from)} – ${format.time(view.to)}, ${span}${follows ? ', follows the time' : ''}`);
    const chosen = selection();
    to_selection.disabled = chosen === null || chosen.to <= chosen.from;
    now.disabled = state.get('end') === null;
    whole.disabled = state.get('span') === null && state.get('end') === null;
  }

  /** What the bin under the pointer says, in words. */
  function showReadout({ lanes, view, left, width }) {
    const { format } = app;
    const lane = pointer && lanes[pointer.lane];
    if (!lane) {
      setText(readout, 'Sampled: what lasts a shorter time than a bin may be missed.');
      return;
    }
    const time = scale(view, left, width - left).time(pointer.x);
    const index = Math.floor(timeline.binAt(time)) - lane.first;
    const who = `${format.time(time, 2)}, ${format.visible(format.middleCut(lane.runtime, 40))} ${format.worker(lane.worker)}: `;
    if (!(index >= 0 && index < lane.polling.length)) {
      setText(readout, `${who}not seen.`);
      return;
    }
    const task = timeline.tasks[lane.task[index]];
    const parts = [`polls ${lane.polling[index]} %`];
    if (lane.stalled[index] > 0) parts.push(`of it stalled ${lane.stalled[index]} %`);
    if (lane.between[index] > 0) parts.push(`between polls ${lane.between[index]} %`);
    parts.push(`parked ${Math.max(0, 100 - lane.polling[index] - lane.between[index])} %`);
    if (task !== undefined) parts.push(`task ${format.visible(format.middleCut(task, 80))}`);
    setText(readout, `${who}${parts.join(', ')}.`);
  }

  function showLegend(view, colors) {
    const entries = [
      { key: 'stall', name: 'stall', kind: 'stall' },
      { key: 'between', name: 'between polls', kind: 'between' },
      { key: 'parked', name: 'parked', kind: 'parked' },
      ...lane_table.topTasks(view, 8).map((task) => ({
        key: `task ${task}`, name: app.format.visible(app.format.middleCut(app.format.shortPath(timeline.tasks[task] ?? `task ${task}`), 40)),
        kind: 'task', color: colors.tasks[task % colors.tasks.length],
      })),
    ];
    app.dom.keyed(legend, entries, (entry) => entry.key,
      () => el('li', {}, el('span', { class: 'swatch', 'aria-hidden': 'true' }), el('span', { class: 'legend-name' })),
      (node, entry) => {
        node.firstChild.dataset.kind = entry.kind;
        if (entry.color) node.firstChild.style.backgroundColor = entry.color;
        setText(node.lastChild, entry.name);
      });
  }

  listenToLanes({ scroll, axis, app, actions, geometry, lanes: () => timeline.lanes, draw });
  listenToMinimap({ minimap, app, actions, geometry });
  scroll.addEventListener('scroll', draw, { passive: true });
  new ResizeObserver(draw).observe(container);
  store.subscribe(['timeline', 'contact'], draw);
  state.subscribe(['from', 'to', 'span', 'end'], draw);
  app.on_colors(draw);
  draw();
}

function endCut(text, longest) {
  return text.length <= longest ? text : `${text.slice(0, longest - 1)}…`;
}
