// A line chart over the visible time, drawn by uPlot, with a legend of values and a table.

/** Series differ by dashes, too. */
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]];

/** More lines cannot be told apart; the table has all. */
const MOST_LINES = 8;

const HEIGHT = 144;

/** Steps of the time axis, in seconds. */
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300];

/**
 * `source()` gives the series now: [{ name, values }], with values along `app.store.numbers.unix_ms`. `show` formats a value.
 * `most`: the least top of the axis; `steps`: its possible steps. `missing`: the sentence if no value is known.
 */
export function createChart(app, { title, note, show, source, most = 1, steps, missing }) {
  const { el, setText, keyed, asTable, table } = app.dom;
  const { store, format } = app;
  const holder = el('div', { class: 'plot', role: 'img' });
  const legend = el('ul', { class: 'chart-legend' });
  const empty = el('p', { class: 'empty', text: missing ?? 'No numbers yet.' });
  const table_holder = el('div', {});
  const details = asTable(title, table_holder, fillTable);
  const node = el('div', { class: 'chart', role: 'group', 'aria-label': title },
    el('h3', {}, title, note ? el('span', { class: 'faint', text: ` ${note}` }) : null), empty, holder, legend, details.node);
  let plot = null;
  let names = null;
  let series = [];
  let rows = null;

  function draw() {
    series = source().filter(({ values }) => values.some((value) => value !== null));
    const has_data = series.length > 0;
    empty.hidden = has_data;
    holder.hidden = legend.hidden = details.node.hidden = !has_data;
    if (!has_data) {
      destroy();
      return;
    }
    const width = Math.floor(holder.clientWidth);
    if (width < 50) return;
    const lines = series.slice(0, MOST_LINES);
    const data = [store.numbers.unix_ms.map((time) => time / 1000), ...lines.map(({ values }) => values)];
    const key = JSON.stringify(lines.map(({ name }) => name));
    if (plot && names !== key) destroy();
    if (!plot) {
      names = key;
      plot = new window.uPlot(options(lines, width), data, holder);
    } else {
      if (plot.width !== width) plot.setSize({ width, height: HEIGHT });
      plot.setData(data, false);
      const view = app.visible();
      plot.setScale('x', { min: view.from / 1000, max: view.to / 1000 });
    }
    showLegend(null);
    app.dom.setAttribute(holder, 'aria-label', `${title}: ${series.map(({ name, values }) => `${name} ${show(values.at(-1))}`).join(', ')}.`);
    details.refresh();
  }

  function options(lines, width) {
    const colors = app.colors();
    const axis = { stroke: colors.faint, font: '11px ui-monospace, monospace', ticks: { show: false } };
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { size: 6 }, drag: { x: true, y: false, setScale: false }, sync: { key: 'holdup', setSeries: false } },
      scales: {
        x: { time: true, range: () => { const view = app.visible(); return [view.from / 1000, view.to / 1000]; } },
        y: { range: (_, low, high) => [0, Math.max(most, (high ?? 0) * 1.1)] },
      },
      axes: [
        { ...axis, size: 24, gap: 4, space: 84, incrs: SECONDS, grid: { show: false }, values: (_, all) => all.map((seconds) => format.time(seconds * 1000)) },
        { ...axis, size: 68, gap: 6, space: 32, ...(steps ? { incrs: steps } : {}), grid: { stroke: colors.line, width: 1 }, values: (_, all) => all.map(show) },
      ],
      series: [{}, ...lines.map((_, index) => ({
        stroke: colors.tasks[index % colors.tasks.length], dash: DASHES[index % DASHES.length], width: 1.5, points: { show: false }, spanGaps: false,
      }))],
      hooks: { setSelect: [selected], drawClear: [drawSelection], setCursor: [(self) => showLegend(self.cursor.idx)] },
    };
  }

  /** A drag selects a time for the whole page, as in the lanes. */
  function selected(self) {
    const { left, width } = self.select;
    if (width < 4) return;
    const from = Math.round(self.posToVal(left, 'x') * 1000);
    const to = Math.round(self.posToVal(left + width, 'x') * 1000);
    self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    app.state.set({ from, to });
  }

  function drawSelection(self) {
    const selection = app.selection();
    if (!selection) return;
    const { ctx, bbox } = self;
    const at = (unix_ms) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, self.valToPos(unix_ms / 1000, 'x', true)));
    const [from, to] = [at(selection.from), at(selection.to)];
    ctx.save();
    ctx.fillStyle = app.colors().select;
    ctx.globalAlpha = 0.14;
    ctx.fillRect(from, bbox.top, Math.max(2, to - from), bbox.height);
    ctx.restore();
  }

  function showLegend(index) {
    const colors = app.colors();
    keyed(legend, series.slice(0, MOST_LINES), ({ name }) => name,
      () => el('li', {}, lineSample(app), el('span', { class: 'legend-name' }), el('span', { class: 'legend-value' })),
      (entry, { name, values }, at) => {
        entry.children[0].update(colors.tasks[at % colors.tasks.length], DASHES[at % DASHES.length]);
        setText(entry.children[1], name);
        setText(entry.children[2], show(index === null || index === undefined ? values.at(-1) : values[index]));
      });
  }

  function fillTable() {
    const key = JSON.stringify(series.map(({ name }) => name));
    if (rows?.key !== key) {
      rows = { key, table: table(title, [{ title: 'Time', cell: (row) => format.time(row.time) }, ...series.map(({ name }, at) => ({ title: name, class: 'n', cell: (row) => show(row.values[at]) }))]) };
      table_holder.replaceChildren(rows.table.node);
    }
    const shown = app.selection() ?? app.visible();
    const times = store.numbers.unix_ms;
    const all = [];
    for (let index = times.length - 1; index >= 0; index -= 1) {
      if (times[index] >= shown.from && times[index] <= shown.to) all.push({ time: times[index], values: series.map(({ values }) => values[index]) });
    }
    rows.table.update(all, (row) => row.time);
  }

  function destroy() {
    plot?.destroy();
    plot = null;
  }

  return {
    node,
    draw,
    /** The theme has changed. */
    redraw() {
      destroy();
      draw();
    },
  };
}

/** A piece of a line, with its dashes. */
function lineSample(app) {
  const stroke = app.dom.svg('line', { x1: 0, x2: 22, y1: 4, y2: 4, 'stroke-width': 2 });
  const node = app.dom.svg('svg', { width: 22, height: 8, 'aria-hidden': 'true' }, stroke);
  node.update = (color, dashes) => {
    app.dom.setAttribute(stroke, 'stroke', color);
    app.dom.setAttribute(stroke, 'stroke-dasharray', dashes.join(' ') || null);
  };
  return node;
}
