// What a recording is, in sentences: its total, its samples, and what is missing.

import { amount, counted, kindText, leftOutSentences, rangeText, sentence } from './flame_text.js';
import { idleWeight } from './profile_filter.js';
import { duration, plural, time, visible } from './format.js';

export function createSummary(app) {
  const { el, setText } = app.dom;
  const title = el('p', { class: 'flame-title' });
  const facts = el('p', { class: 'flame-hint faint' });
  const notes = el('ul', {});
  const notes_title = el('summary', {});
  const details = el('details', { class: 'flame-notes' }, notes_title, notes);
  return {
    node: el('div', { class: 'flame-summary' }, title, facts, details),
    show(recording, tree, filter, range) {
      const program = recording.program === '' ? '' : ` of ${visible(recording.program)}`;
      const length = range ? `, ${rangeText(range)}` : recording.duration > 0 ? ` in ${duration(recording.duration)}` : '';
      setText(title, `${kindText(recording)}${program}: ${amount(tree.total, recording.unit)}${length}`);
      const rate = recording.rate ? ` at ${recording.rate} Hz` : '';
      const left_out = leftOutSentences(recording);
      if (tree.cut_stacks > 0) left_out.push(`The tree is full, so ${plural(tree.cut_stacks, 'rare stack')} ${tree.cut_stacks === 1 ? 'is' : 'are'} cut.`);
      const idle = filter.without_idle ? idleWeight(recording, filter) : 0;
      if (idle > 0) left_out.push(`${amount(idle, recording.unit)} of idle threads are left out.`);
      setText(facts, [`${counted(tree.count, recording)}${rate}, recorded at ${time(recording.started_at)}.`, ...left_out].join(' '));
      setText(notes_title, plural(recording.notes.length, 'note'));
      notes.replaceChildren(...recording.notes.map((note) => el('li', { text: sentence(note) })));
      details.hidden = recording.notes.length === 0;
    },
  };
}
