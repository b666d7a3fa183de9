// The profile panel: records, and shows a recording as a heatmap, a flamegraph and tables.
//
// The URL holds the view: profile_mode, _seconds, _rate, _frames (the form), _runtime, _thread, _task, _state, _idle, _from, _to (the
// samples in the view; from and to in seconds), _invert, _search, _zoom, _diff. The recordings are in memory only.

import { createFilters } from './flame_filters.js';
import { createFunctionTable } from './flame_table.js';
import { createFlameView } from './flame_view.js';
import { createHeatmap } from './heatmap.js';
import { createLegend } from './flame_legend.js';
import { createRecorder } from './flame_recorder.js';
import { createShelf, MOST_RECORDINGS } from './recording_shelf.js';
import { createShelfList } from './flame_shelf.js';
import { createSummary } from './flame_summary.js';
import { createToolbar } from './flame_toolbar.js';
import { createWindowLink } from './flame_window_link.js';
import { CHOICES, lengthOfView } from './profile_filter.js';
import { buildTree, differenceTree } from './flame_tree.js';
import { MOST_SAMPLES } from './profile_data.js';
import { counted, kindInside, rangeText } from './flame_text.js';
import { count, duration, plural } from './format.js';

/** Changes of these draw the whole again. */
const VIEW_KEYS = ['from', 'to', 'invert', 'diff', 'idle', ...CHOICES].map((key) => `profile_${key}`);

export function mountProfilePanel(container, app) {
  addStyles();
  const { el, setText } = app.dom;
  const shelf = createShelf();
  let current = null;
  let baseline = null;

  const setRange = (range) => app.state.set({
    profile_from: range ? seconds(range.from) : null,
    profile_to: range ? seconds(range.to) : null,
  });
  const show = (recording) => {
    current = recording;
    render();
  };

  const recorder = createRecorder(app, {
    on_start: () => setText(dropped, ''),
    on_recording(recording) {
      // The first recording after the page was opened has the view of the URL; a later one has new times.
      if (current) app.state.set({ profile_from: null, profile_to: null });
      const gone = shelf.add(recording, baseline?.recording);
      if (gone.includes(baseline?.recording)) baseline = null;
      if (gone.length > 0) {
        setText(dropped, `The page keeps at most ${MOST_RECORDINGS} recordings and ${count(MOST_SAMPLES)} samples, so it dropped ${gone.map(({ number }) => `recording ${number}`).join(' and ')}.`);
      }
      show(recording);
      app.say(`The recording has ${plural(recording.length, 'sample')}.`);
    },
  });
  const list = createShelfList(app, shelf, {
    on_show(number) {
      setRange(null);
      show(shelf.get(number));
    },
    on_remove(number) {
      const at = shelf.all().findIndex((recording) => recording.number === number);
      shelf.remove(number);
      if (baseline?.recording.number === number) baseline = null;
      if (current?.number === number) setRange(null);
      show(current?.number === number ? (shelf.all()[Math.max(0, at - 1)] ?? null) : current);
      (list.node.querySelector('input:checked') ?? recorder.node.querySelector('button')).focus();
    },
  });
  const dropped = el('p', { class: 'flame-hint', role: 'status' });
  const empty = el('p', { class: 'flame-empty faint', text: 'Nothing is recorded yet. Choose what to measure, and press Record.' });
  const summary = createSummary(app);
  const link = createWindowLink(app, { on_range: setRange });
  const heatmap = createHeatmap(app, { on_range: setRange });
  heatmap.node.querySelector('.heatmap-range').append(...link.nodes);
  const no_times = el('p', { class: 'flame-hint faint', text: 'This recording is a sum, so there is no heatmap of time.' });
  const filters = createFilters(app);
  const view = createFlameView(app, {
    on_zoom: (key) => app.state.set({ profile_zoom: key || null }),
    on_change: () => showStatus(),
  });
  const toolbar = createToolbar(app, view, {
    on_keep() {
      baseline = { recording: current, filter: readFilter(current) };
      render();
      app.say(baselineText(baseline));
    },
    on_forget() {
      baseline = null;
      app.state.set({ profile_diff: null });
      render();
    },
  });
  const legend = createLegend(app);
  const left_out = el('p', { class: 'flame-hint faint' });
  const nothing = el('p', { class: 'flame-empty' });
  const keys = el('p', { class: 'flame-hint flame-keys faint', id: 'flame-keys', text: 'Keys: arrows move, Enter zooms, Backspace goes back, N goes to the next match.' });
  const table = createFunctionTable(app);
  const graph = el('figure', { class: 'flame-figure' }, el('figcaption', {}, el('h3', { text: 'Flamegraph' })),
    toolbar.node, keys, nothing, view.node, legend.node, left_out, table.node);
  const shown = el('div', { class: 'flame-shown' }, summary.node, filters.node, heatmap.node, no_times, graph);
  container.classList.add('flame-panel');
  followTop(container);
  container.append(recorder.node, dropped, list.node, empty, shown);

  function readFilter(recording) {
    const [from, to] = ['from', 'to'].map((key) => Number.parseFloat(app.state.get(`profile_${key}`)));
    const has_range = recording.has_times && from >= 0 && to > from;
    return { ...filters.read(), from: has_range ? from * 1000 : null, to: has_range ? to * 1000 : null };
  }

  function treeOf({ recording, filter }) {
    return buildTree(recording, filter, { invert: app.state.get('profile_invert') === '1' });
  }

  /** The tree in view, and in words what it is. */
  function treeInView(filter) {
    const now = { recording: current, filter };
    const tree = treeOf(now);
    const wanted = app.state.get('profile_diff') === '1' && baseline !== null;
    if (!wanted || baseline.recording.unit !== current.unit) return { tree, is_difference: false };
    const [before, after] = [lengthOfView(baseline.recording, baseline.filter), lengthOfView(current, filter)];
    // Windows of different lengths are compared as if both had the length of B.
    const scale = before > 0 && after > 0 ? after / before : 1;
    return { tree: differenceTree(tree, treeOf(baseline), scale), is_difference: true, scale };
  }

  function render() {
    list.update(current, baseline?.recording);
    empty.hidden = current !== null;
    shown.hidden = current === null;
    if (!current) {
      view.forget();
      heatmap.hide();
      table.update(null);
      return;
    }
    const filter = readFilter(current);
    const range = filter.from === null ? null : { from: filter.from, to: filter.to };
    const { tree, is_difference, scale } = treeInView(filter);
    filters.show(current);
    summary.show(current, tree, filter, range);
    heatmap.node.hidden = !current.has_times;
    no_times.hidden = current.has_times;
    if (current.has_times) heatmap.show(current, filter, range);
    link.show(current, range);
    const is_empty = tree.total === 0 && !is_difference;
    setText(nothing, !is_empty ? '' : current.length === 0 ? 'The recording has no samples.' : 'The filter leaves no samples.');
    nothing.hidden = !is_empty;
    for (const part of [view.node, keys, legend.node, table.node]) part.hidden = is_empty;
    const title = is_difference ? `Flamegraph of ${kindInside(current)}, B minus A` : `Flamegraph of ${kindInside(current)}`;
    setText(graph.querySelector('h3'), title);
    const drawing = { tree, unit: current.unit, counted: (number) => counted(number, current), title };
    if (is_empty) view.forget();
    else view.show(drawing, app.state.get('profile_zoom') ?? '');
    table.update(drawing);
    legend.show({ is_difference, scale, tree, recording: current });
    toolbar.showState({ has_baseline: baseline !== null, sentence: compareText() });
    showStatus();
  }

  function compareText() {
    if (!baseline) return 'Keep this view as A, then pick another time range or recording as B.';
    const text = baselineText(baseline);
    return baseline.recording.unit === current.unit ? text : `${text} B has another unit, so there is no difference.`;
  }

  function showStatus() {
    toolbar.showZoom();
    const status = view.status();
    const sentences = [];
    if (status.left_out > 0) sentences.push(`The flamegraph leaves out ${plural(status.left_out, 'box').replace('boxs', 'boxes')} that ${status.left_out === 1 ? 'is' : 'are'} too narrow. A zoom shows them.`);
    setText(left_out, sentences.join(' '));
  }

  app.state.subscribe(VIEW_KEYS, render);
  app.state.subscribe(['profile_zoom'], () => { if (current) view.zoom(app.state.get('profile_zoom') ?? ''); });
  app.state.subscribe(['profile_search'], () => {
    toolbar.showState({ has_baseline: baseline !== null, sentence: current ? compareText() : '' });
    if (current) view.search(app.state.get('profile_search') ?? '');
  });
  view.search(app.state.get('profile_search') ?? '');
  render();
}

function seconds(ms) {
  return String(Number((ms / 1000).toFixed(3)));
}

/** `A is recording 1, CPU time, 1.00 s to 2.00 s.` */
function baselineText({ recording, filter }) {
  const parts = [`A is recording ${recording.number}`, kindInside(recording)];
  parts.push(filter.from === null ? duration(recording.duration) : rangeText(filter));
  const choices = CHOICES.filter((choice) => filter[choice]).map((choice) => `${choice} ${filter[choice].replace(/^!/, 'not ')}`);
  return `${[...parts, ...choices].join(', ')}.`;
}

/** The line above the flamegraph stays in sight, below what stays at the top of the page. */
function followTop(container) {
  const top = document.querySelector('.top');
  if (!top) return;
  new ResizeObserver(() => container.style.setProperty('--flame-top', `${top.offsetHeight}px`)).observe(top);
}

function addStyles() {
  const href = new URL('flame.css', import.meta.url).href;
  if ([...document.styleSheets].some((sheet) => sheet.href === href)) return;
  const sheet = document.createElement('link');
  sheet.rel = 'stylesheet';
  sheet.href = href;
  document.head.append(sheet);
}
