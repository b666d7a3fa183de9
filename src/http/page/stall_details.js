// One entry of the list of stalls: equal stalls, with cause, evidence, victims, stack and advice.

import { evidenceFacts } from './evidence.js';
import { onWhat, sentenceCase } from './held.js';

/** How stacks were captured, and why not all of one is known. */
const DETECTIONS = {
  same_sleep: 'Inferred: the thread slept in the same place at every sample.',
  no_return: 'Inferred: the thread did not return to the runtime.',
  local_set: 'A poll of a LocalSet.',
};

const DRIVERS = {
  attended: 'Another worker waits for I/O and timers.',
  in_passing: 'Other workers look at I/O and timers in passing.',
  unattended: 'No worker waited for I/O and timers.',
};

/** The nodes that describe an entry. They are built when its group opens. */
export function stallDetails(entry, app) {
  const { el, fact, code } = app.dom;
  const { format } = app;
  const equal = entry.count > 1 ? `${format.count(entry.count)} equal stalls, ${format.duration(entry.total_ms)} in all, the longest ${format.duration(entry.longest_ms)}`
    : `${entry.ended ? '' : 'so far '}${format.duration(entry.duration_ms)}`;
  const began = entry.began_unix_ms || entry.first_noticed_unix_ms;
  const when = entry.count > 1
    ? `first ${format.time(entry.first_noticed_unix_ms)}, newest ${format.time(entry.noticed_unix_ms)}`
    : `at ${format.time(began, 2)}`;
  return el('div', { class: 'entry', role: 'group', 'aria-label': `${entry.cause.title}, stall ${entry.id}` },
    el('h3', {},
      el('span', { class: 'entry-cause', text: sentenceCase(entry.cause.title) }), ' ',
      entry.ended ? null : el('span', { class: 'running', text: 'running' }), ' ',
      el('span', { class: 'faint', text: `${equal}, ${when}` })),
    el('dl', {},
      fact('Where', where(entry, app)),
      fact('Evidence', facts(entry.cause.evidence, app)),
      fact('Waited', victims(entry.waiting, app)),
      fact('Task', code(app.format.task(entry.task), 120), entry.task.spawned_at ? [', spawned at ', code(entry.task.spawned_at)] : null),
      fact('On', onWhat(entry, format)),
      entry.cause.advice ? fact('Advice', el('p', { class: 'advice', text: entry.cause.advice })) : null,
      entry.build_advice ? fact('Build', entry.build_advice) : null,
      DETECTIONS[entry.detection] ? fact('Detection', DETECTIONS[entry.detection]) : null),
    entry.parts.length > 1 ? parts(entry, app) : null,
    stack(entry, app),
    el('p', { class: 'entry-foot' }, el('button', { type: 'button', class: 'quiet', text: 'Select its time', on: { click: () => selectTime(entry, app) } })));
}

function where(entry, app) {
  const { culprit } = entry;
  if (!culprit) return 'No function of yours is on the stack.';
  const place = app.format.location(culprit);
  return [
    app.dom.code(culprit.function),
    place ? [' at ', app.dom.code(place)] : null,
    culprit.call ? [', which calls ', app.dom.code(culprit.call)] : null,
  ];
}

function facts(evidence, app) {
  return app.dom.el('ul', { class: 'facts' }, evidenceFacts(evidence).map(({ name, value }) =>
    app.dom.el('li', {}, app.dom.el('span', { class: 'faint', text: `${name} ` }), app.dom.el('span', { class: 'fact-value' }, app.dom.breakable(value)))));
}

function victims(waiting, app) {
  const { el, table, code } = app.dom;
  const { format } = app;
  const { victims } = waiting;
  const queues = [
    waiting.local_queue ? `${format.plural(waiting.local_queue, 'task')} in its queue` : null,
    waiting.global_queue ? `${format.plural(waiting.global_queue, 'task')} in the global queue` : null,
    `${waiting.others_parked} of ${waiting.others} other workers parked`,
    waiting.others_stalled ? `${waiting.others_stalled} stalled, too` : null,
  ].filter((part) => part !== null).join(', ');
  const content = [el('p', { text: `${sentenceCase(victims.sentence)}.` }), el('p', { class: 'faint', text: `${queues}. ${DRIVERS[waiting.driver] ?? ''}` })];
  if (victims.tasks.length > 0) {
    const waited = ({ at_least_ms, at_most_ms }) => `${format.duration(at_least_ms)} – ${format.duration(at_most_ms)}`;
    const list = table('Tasks that waited', [
      { title: 'Task', cell: (victim) => code(format.task(victim.task), 100) },
      { title: 'Spawned at', cell: (victim) => (victim.task.spawned_at ? code(victim.task.spawned_at) : '–') },
      { title: 'Waited', class: 'n', cell: (victim) => waited(victim.waited) },
    ]);
    list.update(victims.tasks);
    content.push(el('details', {}, el('summary', { text: `${format.plural(victims.tasks.length, 'task')} that waited longest` }),
      el('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'Tasks that waited' }, list.node)));
  }
  return content;
}

function parts(entry, app) {
  const { el, table, code } = app.dom;
  const { format } = app;
  const list = table('What the worker did, in order', [
    { title: 'From', class: 'n', cell: (part) => format.duration(part.from_ms) },
    { title: 'To', class: 'n', cell: (part) => format.duration(part.to_ms) },
    { title: 'Cause', cell: (part) => part.cause.title },
    { title: 'Where', cell: (part) => (part.culprit ? code(format.location(part.culprit) ?? part.culprit.function) : '–') },
  ]);
  list.update(entry.parts);
  const joined = entry.parts_joined > 0 ? `; ${format.plural(entry.parts_joined, 'further part')} joined with neighbors` : '';
  return el('details', {}, el('summary', { text: `${format.plural(entry.parts.length, 'part')}, in order${joined}` }),
    el('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'Parts of the stall' }, list.node));
}

function stack(entry, app) {
  const { el, code } = app.dom;
  const { format } = app;
  const quality = entry.stack_quality;
  if (entry.stack.length === 0) return el('p', { class: 'faint', text: `No stack: ${quality.missing ?? 'none was captured'}.` });
  const frames = el('ol', { class: 'stack' });
  const origin = (frame) => (frame.origin === 'user' ? 'yours' : frame.package ?? frame.origin);
  const node = el('details', {}, el('summary', { text: `Stack of ${format.plural(entry.stack.length, 'frame')}` }), frames);
  node.addEventListener('toggle', () => {
    if (!node.open || frames.hasChildNodes()) return;
    frames.append(...entry.stack.map((frame) => el('li', { data: { origin: frame.origin } },
      el('span', { class: 'frame-name' }, code(frame.function, 200)), ' ',
      el('span', { class: 'frame-origin', text: format.visible(format.middleCut(origin(frame), 40)) }), ' ',
      format.location(frame) ? el('span', { class: 'frame-place faint' }, code(format.location(frame))) : null)));
    const ending = quality.complete ? 'It reaches the first function of the thread.' : 'It does not reach the first function of the thread.';
    const taken = quality.taken_after_ms === null ? '' : `, ${format.duration(quality.taken_after_ms)} after the start of the poll`;
    node.append(el('p', { class: 'faint', text: `Innermost frame first. Captured by ${quality.method ?? 'an unknown way'}${taken}. ${ending}` }));
  });
  return node;
}

function selectTime(entry, app) {
  const began = entry.began_unix_ms || entry.noticed_unix_ms;
  const margin = Math.max(500, entry.duration_ms * 0.5);
  const extent = app.store.timeline.extent();
  const to = began + (entry.ended ? entry.duration_ms : Math.max(entry.duration_ms, extent.to - began));
  app.state.set({ from: Math.round(began), to: Math.round(to), span: Math.round(to - began + 2 * margin), end: Math.round(to + margin) });
  document.getElementById('lanes').scrollIntoView({ block: 'start' });
}
