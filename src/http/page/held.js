// What is held up now: a card for each stuck worker, with a clock that counts between the events of the service.

/** More cards would only be scrolled past. */
const SHOWN = 12;

/** A screen reader is told of changes at most this often. */
const SAY_PAUSE = 3000;

export function mountHeldPanel(container, app) {
  const { el, setText, keyed, coalesced } = app.dom;
  const { store } = app;
  const headline = el('p', { class: 'headline' });
  const others = el('p', { class: 'faint' });
  const cards = el('ul', { class: 'cards' });
  const more = el('button', { type: 'button', class: 'quiet', on: { click: () => { shows_all = !shows_all; show(); } } });
  container.querySelector('.content').append(headline, others, cards, more);

  let shows_all = false;
  let said = { sentence: '', at: 0 };
  let ticking = null;

  const show = coalesced(() => {
    const held = longestFirst(store.held?.held ?? []);
    const is_past = store.contact.state === 'lost' || store.contact.state === 'ended';
    const sentence = heldSentence(held, store.held?.counters ?? store.stalls?.counters ?? null, is_past);
    container.dataset.held = held.length > 0 ? 'yes' : 'no';
    setText(headline, sentence);
    const not_counted = notCounted(store.held?.counters);
    others.hidden = not_counted === '';
    setText(others, not_counted);
    keyed(cards, shows_all ? held : held.slice(0, SHOWN), (one) => (one.id === 0 ? -one.tid : one.id), () => card(app), (node, one) => node.update(one));
    cards.hidden = held.length === 0;
    more.hidden = held.length <= SHOWN;
    setText(more, shows_all ? `Show the ${SHOWN} longest only` : `Show ${app.format.plural(held.length - SHOWN, 'more stuck worker')}`);
    tick();
    tell(held.length === 0 ? sentence : `${sentence} ${held[0].culprit ?? ''}`);
    // The clocks stand still when nothing is held or nobody tells: a clock that counts on would be a guess.
    if (held.length > 0 && store.contact.state === 'live') ticking ??= setInterval(tick, 100);
    else ticking = clearInterval(ticking) ?? null;
  });

  function tick() {
    const since = store.held && store.contact.state === 'live' ? performance.now() - store.held.received_at : 0;
    for (const node of cards.children) node.tick(since);
  }

  function tell(sentence) {
    if (sentence === said.sentence || performance.now() - said.at < SAY_PAUSE) return;
    said = { sentence, at: performance.now() };
    app.say(sentence);
  }

  store.subscribe(['held', 'contact', 'stalls'], show);
  show();
}

function card(app) {
  const { el, setText, setCode } = app.dom;
  const clock = el('span', { class: 'clock' });
  const culprit = el('span', { class: 'culprit' });
  const place = el('span', { class: 'place faint' });
  const cause = el('p', { class: 'cause' });
  const values = { waits: el('dd'), task: el('dd'), on: el('dd'), advice: el('dd') };
  const node = el('li', { class: 'card stalled' },
    el('p', { class: 'clock-line' }, clock, el('span', { class: 'unseen', text: ' so far' })),
    el('div', { class: 'card-text' },
      el('p', { class: 'name' }, culprit, ' ', place),
      cause,
      el('dl', {},
        el('dt', { text: 'Waits' }), values.waits,
        el('dt', { text: 'Task' }), values.task,
        el('dt', { text: 'On' }), values.on,
        el('dt', { text: 'Advice' }), values.advice)));
  let held_ms = 0;
  node.update = (one) => {
    held_ms = one.held_ms;
    if (one.culprit === null) setCode(culprit, null);
    if (one.culprit === null) setText(culprit, one.id === 0 ? 'The function is being looked up' : 'No function of yours is on the stack');
    else setCode(culprit, one.culprit);
    setCode(place, one.location);
    setText(cause, sentenceCase(one.cause));
    setCode(values.task, one.task);
    setText(values.waits, one.waiting ? sentenceCase(one.waiting) : 'Not known');
    setText(values.advice, one.advice ?? '');
    values.advice.hidden = values.advice.previousElementSibling.hidden = !one.advice;
    setText(values.on, onWhat(one, app.format));
  };
  node.tick = (since) => setText(clock, app.format.clock(held_ms + since));
  return node;
}

/** Where a poll runs: `news, worker 3, thread tokio-rt-worker (4242)`. */
export function onWhat(one, { visible, middleCut, worker }) {
  const name = (text) => visible(middleCut(text, 80));
  return `${name(one.runtime)}, ${worker(one.worker)}, thread ${name(one.thread)} (${one.tid})`;
}

export function sentenceCase(text) {
  return text === '' ? '' : text[0].toUpperCase() + text.slice(1);
}

function longestFirst(held) {
  return [...held].sort((a, b) => b.held_ms - a.held_ms);
}

/** The headline; `is_past` after the service has gone. */
export function heldSentence(held, counters, is_past = false) {
  const is_worker = (one) => one.holds !== 'block_on' && one.holds !== 'start_up';
  const workers = held.filter(is_worker).length;
  const rest = held.length - workers;
  const stalls = counters?.stalls ?? null;
  const so_far = stalls === null ? '' : stalls === 1 ? ' 1 stall so far.' : ` ${stalls} stalls so far.`;
  if (is_past && counters !== null) {
    const what = workers === 0 ? 'nothing was held up' : workers === 1 ? '1 worker was held up' : `${workers} workers were held up`;
    return `At the last contact, ${what}.${so_far}`;
  }
  if (workers === 0 && rest === 0) {
    if (counters === null) return 'Waiting for the service…';
    return stalls === 0 ? 'Nothing is held up now. No stall so far.' : `Nothing is held up now.${so_far}`;
  }
  if (workers === 0) return `No worker is held up now. ${rest === 1 ? 'A long poll of block_on runs' : `${rest} long polls of block_on run`}.${so_far}`;
  return `${workers === 1 ? '1 worker is' : `${workers} workers are`} held up now.${so_far}`;
}

/** Long polls that are no stalls. */
export function notCounted(counters) {
  if (!counters) return '';
  const polls = (count, what) => (count > 0 ? `${count === 1 ? '1 long poll' : `${count} long polls`} ${what}` : null);
  const parts = [
    polls(counters.block_on, 'of block_on'),
    polls(counters.start_up, 'at start-up'),
    polls(counters.not_scheduled, 'without a CPU'),
    polls(counters.pending, 'not explained yet'),
  ].filter((part) => part !== null);
  return parts.length === 0 ? '' : `Not counted as stalls: ${parts.join(', ')}.`;
}
