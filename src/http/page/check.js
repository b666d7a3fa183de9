// The self-check, what was missed or dropped, and what holdup itself costs.

/** The counters of losses, with what each one means. */
const LOSSES = [
  ['unexplained', 'Stalls without an explanation, because the reporter was busy'],
  ['stacks_missed', 'Stacks that could not be captured'],
  ['suppressed', 'Reports held back by the rate limit'],
  ['unprinted', 'Reports that the output did not take in time'],
  ['callbacks_missed', 'Events that the callback did not get in time'],
  ['callback_panics', 'Panics of the callback'],
  ['forgotten', 'Entries dropped from the bounded history'],
];

const COVERAGE = { full: '●', limited: '◐', missing: '○' };

export function mountCheckPanel(container, app) {
  const { el, setText, table, breakable, keyed, coalesced } = app.dom;
  const { store, format } = app;

  const checks = table('Self-check', [
    { title: 'Subject', cell: (check) => format.visible(check.subject) },
    { title: 'Coverage', cell: coverage, same: (check) => check.coverage },
    { title: 'How', cell: how, same: (check) => `${check.detail} ${check.remedy}` },
  ], { class: 'checks' });
  const checks_empty = el('p', { class: 'empty', text: 'Waiting for the self-check…' });
  const losses_sentence = el('p', {});
  const notes = el('ul', { class: 'notes' });
  const losses = table('What was missed or dropped', [
    { title: 'Loss', cell: ([, meaning]) => meaning },
    { title: 'Count', class: 'n', cell: ([, , value]) => format.count(value) },
  ]);
  const all_counters = el('details', { class: 'as-table' }, el('summary', { text: 'All counters of losses' }), losses.node);
  const cost = el('p', { class: 'cost' });
  const cost_value = el('strong', { class: 'cost-value' });
  const cost_words = el('span', {});
  cost.append(cost_value, ' ', cost_words);
  container.querySelector('.content').append(
    el('div', { class: 'check-grid' },
      el('section', { 'aria-labelledby': 'check-title' }, el('h3', { id: 'check-title', text: 'What holdup sees' }), checks_empty, checks.node),
      el('section', { 'aria-labelledby': 'loss-title' }, el('h3', { id: 'loss-title', text: 'What it missed or dropped' }), losses_sentence, notes, all_counters,
        el('h3', { text: 'What it costs' }), cost)));

  function coverage(check) {
    return el('span', { class: 'coverage', data: { coverage: check.coverage } },
      el('span', { 'aria-hidden': 'true', text: `${COVERAGE[check.coverage] ?? '○'} ` }), format.visible(check.coverage));
  }

  function how(check) {
    return el('div', {}, el('p', {}, breakable(sentence(check.detail))), check.remedy ? el('p', { class: 'faint' }, 'More: ', breakable(sentence(check.remedy))) : null);
  }

  const show = coalesced(() => {
    const all = store.check?.checks ?? [];
    checks.node.hidden = all.length === 0;
    checks_empty.hidden = all.length > 0;
    checks.update(all, (check) => check.subject);

    const counters = store.held?.counters ?? store.stalls?.counters ?? null;
    const values = LOSSES.map(([name, meaning]) => [name, meaning, counters?.[name] ?? null]);
    const lost = values.filter(([, , value]) => value > 0);
    setText(losses_sentence, counters === null ? 'The counters are not known yet.' : lost.length === 0 ? 'Nothing was missed or dropped.' : '');
    losses_sentence.hidden = losses_sentence.textContent === '';
    const sentences = [
      ...(store.stalls?.notes ?? []),
      ...lost.map(([, meaning, value]) => `${meaning}: ${format.count(value)}`),
      store.timeline.lanes_left_out > 0 ? `${format.plural(store.timeline.lanes_left_out, 'worker')} without a lane` : null,
    ].filter((text) => text !== null);
    keyed(notes, sentences, (text) => text, (text) => el('li', {}, breakable(sentence(text))));
    notes.hidden = sentences.length === 0;
    losses.update(values, ([name]) => name);

    const costs = store.numbers.holdup_cpu_percent.filter((value) => value !== null);
    const mean = costs.reduce((sum, value) => sum + value, 0) / costs.length;
    setText(cost_value, costs.length === 0 ? '–' : format.percent(costs.at(-1)));
    setText(cost_words, costs.length === 0 ? 'The cost is not known yet.'
      : `of one core now, ${format.percent(mean)} on average of the last ${format.plural(costs.length, 'second')}.`);
  });
  store.subscribe(['check', 'held', 'stalls', 'numbers', 'timeline'], show);
  show();
}

function sentence(text) {
  const is_address = /^https?:/.test(text);
  const whole = text === '' || is_address ? text : text[0].toUpperCase() + text.slice(1);
  return /[.!?/]$/.test(whole) ? whole : `${whole}.`;
}
