// The list of stalls, grouped by function and ranked by lost time, with a search and filters.

import { listed } from './stall_filter.js';
import { stallDetails } from './stall_details.js';

/** Groups, and entries of an open group; a button shows as many more. */
const GROUPS = 20;
const ENTRIES = 8;

const KINDS = [
  ['', 'All long polls'], ['running', 'Running now'], ['stall', 'Stalls'], ['block_on', 'Polls of block_on'], ['start_up', 'At start-up'],
  ['not_scheduled', 'Without a CPU'],
];

const KIND_NAMES = { block_on: 'block_on', start_up: 'start-up', not_scheduled: 'without a CPU' };

/** A key pressed after a shorter time belongs to the same word. */
const TYPING_PAUSE = 150;

export function mountStallsPanel(container, app) {
  const { el, setText, keyed, coalesced } = app.dom;
  const { state, store, format } = app;
  let limit = GROUPS;

  let typing = null;
  const search = el('input', { type: 'search', id: 'stall-search', placeholder: 'function, file, task, cause', autocomplete: 'off', spellcheck: 'false' });
  search.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => state.set({ search: search.value }), TYPING_PAUSE);
  });
  const cause = el('select', { id: 'stall-cause', on: { change: () => state.set({ cause: cause.value }) } });
  const counted = el('select', { id: 'stall-kind', on: { change: () => state.set({ counted: counted.value }) } },
    KINDS.map(([value, name]) => el('option', { value, text: name })));
  const reset = el('button', { type: 'button', text: 'Reset filters', on: { click: () => state.set({ search: null, cause: null, counted: null }) } });
  const sentence = el('p', { class: 'faint', role: 'status' });
  const empty = el('p', { class: 'empty' });
  const head = el('thead', {}, el('tr', {},
    el('th', { scope: 'col', text: 'Function' }), el('th', { scope: 'col', class: 'n', text: 'Lost' }), el('th', { scope: 'col', class: 'n', text: 'Share' }),
    el('th', { scope: 'col', class: 'n', text: 'Longest' }), el('th', { scope: 'col', class: 'n', text: 'Count' }), el('th', { scope: 'col', class: 'n', text: 'Last' })));
  const list = el('table', { class: 'stalls' }, el('caption', { class: 'unseen', text: 'Stalls by function, most lost time first' }), head);
  const more = el('button', { type: 'button', class: 'quiet', on: { click: () => { limit += GROUPS; show(); } } });
  container.querySelector('.content').append(
    el('div', { class: 'toolbar' },
      el('div', { class: 'field grows' }, el('label', { for: 'stall-search', text: 'Search' }), search),
      el('div', { class: 'field' }, el('label', { for: 'stall-cause', text: 'Cause' }), cause),
      el('div', { class: 'field' }, el('label', { for: 'stall-kind', text: 'Kind' }), counted),
      reset),
    sentence, empty, list, more);

  const show = coalesced(() => {
    const answer = store.stalls;
    const filter = { selection: app.selection(), cause: state.get('cause'), counted: state.get('counted'), search: state.get('search') };
    showFilter(answer, filter);
    if (!answer) {
      setText(empty, 'Waiting for the stalls of the service…');
      list.hidden = more.hidden = sentence.hidden = true;
      return;
    }
    const { groups, listed: number, all } = listed(answer, filter);
    const is_filtered = filter.selection || filter.cause || filter.counted || filter.search;
    empty.hidden = groups.length > 0;
    list.hidden = groups.length === 0;
    setText(empty, all === 0 ? 'No stall so far. A stall is a poll that takes longer than the threshold.' : 'No stall matches the selected time and the filters.');
    sentence.hidden = !is_filtered || groups.length === 0;
    setText(sentence, `${format.count(number)} of ${format.plural(all, 'entry').replace('entrys', 'entries')} match. Sums cover the whole watch.`);
    keyed(list, groups.slice(0, limit), (item) => item.key, () => groupBody(app), (node, item) => node.update(item));
    more.hidden = groups.length <= limit;
    setText(more, `Show ${Math.min(GROUPS, groups.length - limit)} of ${format.plural(groups.length - limit, 'more function')}`);
  });

  function showFilter(answer, filter) {
    reset.disabled = !(filter.cause || filter.counted || filter.search);
    if (document.activeElement !== search) search.value = filter.search ?? '';
    counted.value = KINDS.some(([value]) => value === filter.counted) ? filter.counted : '';
    const classes = new Map((answer?.stalls ?? []).map((entry) => [entry.cause.class, entry.cause.class.replaceAll('_', ' ').replaceAll('-', ' ')]));
    if (filter.cause && !classes.has(filter.cause)) classes.set(filter.cause, filter.cause);
    const options = [['', 'All causes'], ...[...classes].sort()];
    keyed(cause, options, ([value]) => value, () => el('option'), (node, [value, name]) => {
      if (node.value !== value) node.value = value;
      setText(node, format.visible(format.middleCut(name, 40)));
    });
    cause.value = filter.cause ?? '';
  }

  store.subscribe(['stalls'], show);
  state.subscribe(['from', 'to', 'cause', 'counted', 'search', 'open'], () => {
    limit = GROUPS;
    show();
  });
  // "12 s ago" grows older.
  setInterval(() => { if (store.stalls && !document.hidden) show(); }, 5000);
  show();
}

/** The rows of a group: its sums, and below them its entries while it is open. */
function groupBody(app) {
  const { el, setText, setCode } = app.dom;
  const { state, store, format } = app;
  const name = el('span', { class: 'name' });
  const tag = el('span', { class: 'tag' });
  const running = el('span', { class: 'running' });
  const summary = el('p', { class: 'faint parts' });
  const bar = el('span', { class: 'share-bar', 'aria-hidden': 'true' }, el('span', {}));
  const toggle = el('button', { type: 'button', class: 'toggle', 'aria-expanded': 'false' });
  const numbers = { total: el('td', { class: 'n strong' }), share: el('td', { class: 'n' }), longest: el('td', { class: 'n' }), count: el('td', { class: 'n' }), last: el('td', { class: 'n' }) };
  for (const [key, label] of [['total', 'lost'], ['share', 'of it'], ['longest', 'longest'], ['count', 'times'], ['last', 'last']]) numbers[key].dataset.label = label;
  const details = el('td', { colspan: '6' });
  const details_row = el('tr', { class: 'details-row', hidden: true }, details);
  const row = el('tr', { class: 'group-row' },
    el('th', { scope: 'row' }, el('div', { class: 'group-name' }, toggle, el('div', {}, el('p', {}, name, ' ', tag, ' ', running), summary, bar))),
    numbers.total, numbers.share, numbers.longest, numbers.count, numbers.last);
  const node = el('tbody', { class: 'group' }, row, details_row);
  let item = null;
  let built = null;
  let limit = ENTRIES;

  const is_open = () => state.get('open') === item.key;
  const flip = () => state.set({ open: is_open() ? null : item.key });
  toggle.addEventListener('click', flip);
  row.addEventListener('click', (event) => {
    // A selection of text is no click.
    if (!event.target.closest('button') && getSelection().isCollapsed) flip();
  });

  node.update = (next) => {
    item = next;
    const { group, entries } = next;
    if (group.function === null) setCode(name, null);
    if (group.function === null) setText(name, 'No function of yours');
    else setCode(name, group.function);
    app.dom.setAttribute(toggle, 'aria-label', `Details of ${format.middleCut(group.function ?? 'stalls without a function of yours', 120)}`);
    setText(tag, KIND_NAMES[group.counted_as] ?? '');
    setText(running, group.running === 0 ? '' : group.running === 1 ? 'running' : `${format.count(group.running)} running`);
    setText(summary, causes(group, format));
    bar.firstChild.style.width = `${Math.max(0.5, group.share * 100)}%`;
    setText(numbers.total, format.duration(group.total_ms));
    setText(numbers.share, format.share(group.share));
    setText(numbers.longest, format.duration(group.longest_ms));
    setText(numbers.count, format.count(group.count));
    const now = store.held?.unix_ms ? store.held.unix_ms + (performance.now() - store.held.received_at) : Date.now();
    setText(numbers.last, group.running > 0 ? 'now' : format.ago(now - group.last_noticed_unix_ms));
    toggle.setAttribute('aria-expanded', String(is_open()));
    details_row.hidden = !is_open();
    if (is_open()) showEntries(entries);
    else if (built !== null) {
      // A closed group keeps nothing.
      details.replaceChildren();
      built = null;
      limit = ENTRIES;
    }
  };

  // Entries that did not change keep their nodes: an open stack stays open.
  function showEntries(entries) {
    const version = entries.slice(0, limit).map(versionOf).join();
    if (built === `${version} ${entries.length}`) return;
    built = `${version} ${entries.length}`;
    app.dom.keyed(details, [...entries.slice(0, limit), ...(entries.length > limit ? [{ id: 'more', rest: entries.length - limit }] : [])],
      versionOf,
      (entry) => (entry.id === 'more' ? el('p', {}, el('button', { type: 'button', class: 'quiet', text: `Show ${Math.min(ENTRIES, entry.rest)} of ${entry.rest} more`, on: { click: () => { limit += ENTRIES; showEntries(item.entries); } } }))
        : stallDetails(entry, app)));
  }
  return node;
}

function versionOf(entry) {
  return entry.id === 'more' ? `more ${entry.rest}` : `${entry.id} ${entry.count} ${entry.ended} ${entry.ended ? '' : Math.round(entry.duration_ms / 1000)} ${entry.noticed_unix_ms} ${entry.waiting.victims.sentence}`;
}

/** `sleeping at src/api.rs:7; computing at src/api.rs:9 and 2 more`. */
function causes(group, format) {
  const shown = group.parts.slice(0, 2).map((part) => {
    const place = part.location ? ` at ${format.middleCut(format.shortPath(part.location), 60)}` : '';
    return format.visible(`${part.title || part.cause}${place}`);
  });
  const rest = group.parts.length - shown.length;
  return `${shown.join('; ')}${rest > 0 ? `, and ${rest} more` : ''}`;
}
