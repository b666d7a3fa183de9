// Tasks by spawn site. Counting makes polls slightly slower, so it is done on request.

import { grown, ordered, ofSite, siteKey } from './task_rows.js';

const SECONDS = 2;
const LIMIT = 1000;
const SHOWN = 50;

/** Between two counts, the service counts nothing. */
const REPEAT_PAUSE = 1000;

const ORDERS = [['busy_ms', 'Busy'], ['alive', 'Alive'], ['growth', 'Growth'], ['polls', 'Polls'], ['mean_ms', 'Mean'], ['max_ms', 'Max'], ['delay_max_ms', 'Max delay']];

export function mountTasksPanel(container, app) {
  const { el, setText, code, shortCode, table, coalesced } = app.dom;
  const { format, state, store } = app;
  let sites = null;
  let members = null;
  let counting = null;
  let failure = '';
  let again = null;
  let limit = SHOWN;

  const count = el('button', { type: 'button', class: 'primary', text: `Count for ${SECONDS} s`, on: { click: () => run() } });
  const repeat = el('input', { type: 'checkbox', id: 'tasks-repeat', on: { change: () => { if (repeat.checked) run(); else again = clearTimeout(again) ?? null; } } });
  const order = el('select', { id: 'tasks-order', on: { change: () => state.set({ order: order.value === 'busy_ms' ? null : order.value }) } },
    ORDERS.map(([value, name]) => el('option', { value, text: name })));
  const alive = el('p', {});
  const status = el('p', { class: 'faint', role: 'status' });
  const notes = el('ul', { class: 'notes' });
  const empty = el('p', { class: 'empty' });
  const number = (title, cell, hint) => ({ title, class: 'n', cell, hint });
  const numbers = [
    number('Polls', (row) => format.count(row.polls)),
    number('Busy', (row) => format.fine(row.busy_ms), 'Time inside polls'),
    number('Of a worker', (row) => format.percent((row.busy_ms / row.window_ms) * 100), 'Busy time per time'),
    number('Mean', (row) => format.fine(row.mean_ms), 'Mean duration of a poll'),
    number('Max', (row) => format.fine(row.max_ms), 'Longest poll'),
    number('Delay, mean', (row) => format.fine(row.delay_mean_ms), 'Mean time from ready to poll'),
    number('Delay, max', (row) => format.fine(row.delay_max_ms), 'Longest time from ready to poll'),
  ];
  const site_table = table('Tasks by spawn site', [
    { title: 'Spawn site', cell: siteButton, same: (row) => `${siteKey(row)} ${row.name} ${colorOf(row)} ${severalRuntimes()}` },
    number('Alive', (row) => format.count(row.alive), 'Tasks that were polled while counting and have not ended'),
    number('Growth', (row) => format.change(row.growth), 'Change of alive tasks since the first count on this page'),
    ...numbers,
  ], { class: 'tasks' });
  const member_table = table('Tasks of the spawn site', [
    { title: 'Task', cell: (row) => code(format.task({ id: row.task, name: row.name }), 100), same: (row) => `${row.task} ${row.name}` },
    ...numbers,
    number('Idle', (row) => format.fine(row.idle_ms), 'Time since its last poll'),
  ], { class: 'tasks' });
  const member_title = el('h3', {});
  const member_status = el('p', { class: 'faint', role: 'status' });
  const back = el('button', { type: 'button', text: 'Close', on: { click: () => { state.set({ spawn: null }); count.focus(); } } });
  const member_count = el('button', { type: 'button', text: `Count its tasks for ${SECONDS} s`, on: { click: () => run('task') } });
  const member_scroll = scrolled(member_table.node, 'Tasks of the spawn site');
  const drill = el('div', { class: 'drill', role: 'group', 'aria-label': 'Tasks of a spawn site' }, el('div', { class: 'toolbar' }, member_title, member_count, back), member_status, member_scroll);
  const site_scroll = scrolled(site_table.node, 'Tasks by spawn site');
  const more = el('button', { type: 'button', class: 'quiet', on: { click: () => { limit += SHOWN; show(); } } });
  container.querySelector('.content').append(
    alive,
    el('div', { class: 'toolbar' }, count, el('div', { class: 'check-field' }, repeat, el('label', { for: 'tasks-repeat', text: 'Repeat' })),
      el('div', { class: 'field' }, el('label', { for: 'tasks-order', text: 'Order by' }), order), status),
    empty, notes, drill, site_scroll, more);

  function scrolled(node, name) {
    return el('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': name }, node);
  }

  function siteButton(row) {
    const swatch = el('span', { class: 'swatch', 'aria-hidden': 'true' });
    swatch.style.backgroundColor = colorOf(row) ?? '';
    const button = el('button', { type: 'button', class: 'link', title: 'Show its tasks' }, shortCode(row.spawned_at, 100));
    button.addEventListener('click', () => {
      state.set({ spawn: siteKey(row) });
      run('task');
    });
    return el('span', { class: 'site' }, swatch, el('span', {}, button, row.name ? el('span', { class: 'faint' }, ' ', code(`"${row.name}"`, 80)) : null,
      severalRuntimes() ? el('span', { class: 'faint', text: ` ${format.visible(format.middleCut(row.runtime, 40))}` }) : null));
  }

  /** The color that the lanes give its polls. */
  function colorOf(row) {
    const index = store.timeline.tasks.indexOf(row.name ?? row.spawned_at);
    const colors = app.colors().tasks;
    return index < 0 ? null : colors[index % colors.length];
  }

  const severalRuntimes = () => new Set((sites?.rows ?? []).map((row) => row.runtime)).size > 1;

  /** Counts by spawn site, or by task for the open site. */
  async function run(by = 'spawn') {
    again = clearTimeout(again) ?? null;
    if (counting) {
      // A click on a site while sites are counted: its tasks matter more.
      if (by === counting.by) return;
      counting.abort.abort();
    }
    const mine = { by, abort: new AbortController() };
    counting = mine;
    failure = '';
    show();
    try {
      const answer = await app.request(`/debug/holdup/tasks?seconds=${SECONDS}&by=${by}&sort=busy&limit=${LIMIT}`, { signal: mine.abort.signal });
      for (const row of answer.rows) row.window_ms = answer.window_ms;
      answer.at = Date.now();
      if (by === 'spawn') sites = grown(answer, sites);
      else members = answer;
    } catch (error) {
      if (error.name !== 'AbortError') failure = error.message;
    }
    if (counting !== mine) return;
    counting = null;
    show();
    if (repeat.checked) again = setTimeout(repeatRun, REPEAT_PAUSE);
  }

  // A tab that nobody sees must not slow the service down.
  function repeatRun() {
    again = null;
    if (document.hidden) again = setTimeout(repeatRun, REPEAT_PAUSE);
    else run(state.get('spawn') === null ? 'spawn' : 'task');
  }

  const show = coalesced(() => {
    const spawn = state.get('spawn');
    order.value = ORDERS.some(([value]) => value === state.get('order')) ? state.get('order') : 'busy_ms';
    count.setAttribute('aria-disabled', String(counting !== null));
    const rows = sites ? ordered(sites.rows, order.value) : [];
    empty.hidden = rows.length > 0 || spawn !== null;
    setText(empty, sites ? 'No task was polled while counting.' : 'Tasks are not counted yet. Counting makes polls slightly slower while it runs.');
    site_scroll.hidden = rows.length === 0;
    site_table.update(rows.slice(0, limit), siteKey);
    more.hidden = rows.length <= limit;
    setText(more, `Show ${format.plural(rows.length - limit, 'more spawn site')}`);
    setText(status, statusSentence());
    showNotes(spawn === null ? sites : members);
    drill.hidden = spawn === null;
    if (spawn === null) return;
    const own = members ? ordered(ofSite(members.rows, spawn), order.value) : [];
    app.dom.setChildren(member_title, 'Tasks of ', code(placeOf(spawn)));
    setText(member_status, own.length > 0 ? `${format.plural(own.length, 'task')} polled in ${format.duration(members.window_ms)}.`
      : counting?.by === 'task' ? '' : members ? 'None of its tasks was polled while counting.' : 'Its tasks are not counted yet.');
    member_scroll.hidden = own.length === 0;
    member_table.update(own.slice(0, 200), (row, index) => `${row.task ?? ''} ${row.task === null ? index : ''}`);
  });

  /** The place of an open site. A link may name a site that was not counted yet. */
  function placeOf(spawn) {
    const known = [...(sites?.rows ?? []), ...(members?.rows ?? [])].find((row) => siteKey(row) === spawn);
    return known?.spawned_at ?? spawn;
  }

  function statusSentence() {
    if (counting) return counting.by === 'spawn' ? `Counting polls for ${SECONDS} s…` : `Counting polls of single tasks for ${SECONDS} s…`;
    if (failure !== '') return failure;
    if (!sites) return '';
    return `Counted for ${format.duration(sites.window_ms)} until ${format.time(sites.at)}.`;
  }

  function showNotes(answer) {
    const sentences = [...(answer?.notes ?? [])];
    if (answer?.left_off > 0) sentences.push(`${format.plural(answer.left_off, 'row')} beyond the limit ${answer.left_off === 1 ? 'is' : 'are'} left off`);
    if (answer?.polls_not_kept_apart > 0) sentences.push(`${format.plural(answer.polls_not_kept_apart, 'poll')} beyond the limit of separate tasks`);
    app.dom.keyed(notes, sentences, (sentence) => sentence, (sentence) => el('li', { text: `${sentence.replace(/\.$/, '')}.` }));
    notes.hidden = sentences.length === 0;
  }

  /** Tokio's own count of tasks is there without a request. */
  const showAlive = coalesced(() => {
    const { runtimes, unix_ms } = store.numbers;
    const parts = runtimes.map((runtime) => {
      const known = runtime.alive_tasks;
      const now = known.at(-1);
      if (now === null || now === undefined) return null;
      const first = known.findIndex((value, index) => value !== null && unix_ms[index] >= unix_ms.at(-1) - 60_000);
      const past = first < 0 ? now : known[first];
      const minute = (unix_ms.at(-1) - unix_ms[first]) / 1000;
      return `${format.visible(format.middleCut(runtime.runtime, 40))}: ${format.plural(now, 'task')} alive, ${format.change(now - past)} in ${Math.round(minute)} s`;
    }).filter((part) => part !== null);
    alive.hidden = parts.length === 0;
    setText(alive, `${parts.slice(0, 6).join('; ')}.`);
  });

  state.subscribe(['spawn', 'order'], show);
  store.subscribe(['numbers'], showAlive);
  show();
  showAlive();
}
