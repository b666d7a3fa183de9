// The lanes as a table: what each worker did in the visible or the selected time.

import { summary } from './timeline.js';

/** Sums over all lanes for the legend are not needed for each frame of a zoom. */
const LEGEND_PAUSE = 1000;

export function createLaneTable(app) {
  const { format, dom, store } = app;
  const { timeline } = store;
  let window_shown = null;

  const topTask = ({ tasks }) => {
    const top = [...tasks].sort((a, b) => b[1] - a[1])[0];
    return top === undefined ? '–' : timeline.tasks[top[0]] ?? `task ${top[0]}`;
  };
  const number = (title, value) => ({ title, class: 'n', cell: (row) => format.percent(row[value]) });
  const table = dom.table('What each worker did', [
    { title: 'Worker', cell: (row) => `${format.visible(format.middleCut(row.lane.runtime, 40))} ${format.worker(row.lane.worker)}` },
    { title: 'Thread', cell: (row) => `${format.visible(format.middleCut(row.lane.thread, 60))} (${row.lane.tid})` },
    number('Polling', 'polling'), number('Of it stalled', 'stalled'), number('Between polls', 'between'), number('Parked', 'parked'),
    { title: 'Most seen task', cell: (row) => dom.code(topTask(row), 80), same: topTask },
  ]);
  const sentence = dom.el('p', { class: 'faint' });
  const content = dom.el('div', {}, sentence, table.node);

  const fillTable = () => {
    const { window, is_selected } = window_shown;
    const [from, to] = [timeline.binAt(window.from), timeline.binAt(window.to)];
    const rows = timeline.lanes.map((lane) => ({ lane, ...summary(lane, from, to) }));
    dom.setText(sentence, `Shares of the ${is_selected ? 'selected' : 'visible'} time, ${format.time(window.from, 1)} – ${format.time(window.to, 1)}.`
      + (timeline.lanes_left_out > 0 ? ` ${format.plural(timeline.lanes_left_out, 'further worker')} have no lane.` : ''));
    table.update(rows, (row) => row.lane.key);
  };
  const details = dom.asTable('What each worker did', content, fillTable);

  let top = { at: -Infinity, tasks: [], view: null };
  return {
    node: details.node,
    update(window, is_selected) {
      window_shown = { window, is_selected };
      details.refresh();
    },
    /** The tasks that take most time in a window. */
    topTasks(view, most) {
      if (performance.now() - top.at < LEGEND_PAUSE) return top.tasks;
      const sums = new Map();
      for (const lane of timeline.lanes) {
        for (const [task, time] of summary(lane, timeline.binAt(view.from), timeline.binAt(view.to)).tasks) sums.set(task, (sums.get(task) ?? 0) + time);
      }
      const tasks = [...sums].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, most).map(([task]) => task);
      top = { at: performance.now(), tasks };
      return tasks;
    },
  };
}
