// Runtime numbers of the last minutes: one small chart for each question.

import { createChart } from './chart.js';

/** Tasks and threads are whole. */
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7];

/** Round sizes are powers of two. */
const POWERS = Array.from({ length: 24 }, (_, power) => 2 ** (power + 16));

export function mountNumbersPanel(container, app) {
  const { el, coalesced } = app.dom;
  const { store, format } = app;

  const named = (text) => format.visible(format.middleCut(text, 40));
  /** The values of each runtime; the name of a runtime is left out if there is one only. */
  const ofRuntimes = (fields) => () => {
    const { runtimes } = store.numbers;
    return runtimes.flatMap((runtime) => fields.map(([field, name]) => {
      const whose = runtimes.length > 1 || name === '' ? named(runtime.runtime) : '';
      return { name: [whose, name].filter((word) => word !== '').join(' '), values: runtime[field] };
    }));
  };
  const charts = [
    createChart(app, { title: 'Busy workers', note: 'share of their time', show: format.percent, most: 100, source: ofRuntimes([['busy_percent', '']]) }),
    createChart(app, { title: 'Longest current poll', note: 'seen in each second', show: format.duration, most: 10, source: ofRuntimes([['longest_poll_ms', '']]) }),
    createChart(app, { title: 'Queues', note: 'tasks that wait for a worker', show: format.count, most: 4, steps: WHOLE, source: ofRuntimes([['global_queue', 'global'], ['local_queue', 'local']]) }),
    createChart(app, {
      title: 'Blocking pool', note: 'spawn_blocking', show: format.count, most: 4, steps: WHOLE, source: ofRuntimes([['blocking_threads', 'threads'], ['blocking_queue', 'queue']]),
      missing: 'Tokio tells its blocking pool only in a build with tokio_unstable.',
    }),
    createChart(app, { title: 'Alive tasks', show: format.count, most: 4, steps: WHOLE, source: ofRuntimes([['alive_tasks', '']]) }),
    createChart(app, { title: 'Memory', note: 'of the process', show: format.bytes, most: 1024 * 1024, steps: POWERS, source: () => [{ name: 'resident', values: store.numbers.memory_bytes }] }),
    createChart(app, {
      title: 'CPU', note: '100 % is one core', show: format.percent, most: 10,
      source: () => [{ name: 'process', values: store.numbers.cpu_percent }, { name: 'holdup', values: store.numbers.holdup_cpu_percent }],
    }),
  ];
  const lag = createChart(app, { title: 'Event-loop lag', note: 'delay of a timer', show: format.duration, most: 10, source: ofRuntimes([['event_loop_lag_ms', '']]) });
  const grid = el('div', { class: 'charts' }, charts.slice(0, 4).map(({ node }) => node), lag.node, charts.slice(4).map(({ node }) => node));
  container.querySelector('.content').append(grid);
  charts.push(lag);

  const draw = coalesced(() => {
    lag.node.hidden = !store.numbers.runtimes.some((runtime) => runtime.event_loop_lag_ms.some((value) => value !== null));
    for (const chart of charts) chart.draw();
  });
  new ResizeObserver(draw).observe(grid);
  store.subscribe(['numbers'], draw);
  app.state.subscribe(['from', 'to', 'span', 'end'], draw);
  app.on_colors(() => { for (const chart of charts) chart.redraw(); });
  draw();
}
