// The list of kept recordings, from which one is shown.

import { counted, kindText } from './flame_text.js';
import { duration, time } from './format.js';

/** A recording in a line: `1: CPU time, 5.00 s from 14:03:20, 498 samples`. */
export function recordingText(recording) {
  const sum = recording.counts.reduce((all, count) => all + count, 0);
  const length = recording.duration > 0 ? `${duration(recording.duration)} from ` : 'at ';
  return `${recording.number}: ${kindText(recording)}, ${length}${time(recording.started_at)}, ${counted(sum, recording)}`;
}

export function createShelfList(app, shelf, { on_show, on_remove }) {
  const { el, keyed } = app.dom;
  const rows = el('div', { class: 'flame-recordings-rows' });
  const node = el('fieldset', { class: 'flame-recordings' }, el('legend', { text: 'Recordings' }), rows);
  const create = (recording) => {
    const radio = el('input', { type: 'radio', name: 'flame-recording', id: `flame-recording-${recording.number}`, on: { change: () => on_show(recording.number) } });
    const text = recordingText(recording);
    return el('div', { class: 'flame-recording' }, radio, el('label', { for: radio.id, text }),
      el('button', { type: 'button', text: 'Remove', 'aria-label': `Remove recording ${text}`, on: { click: () => on_remove(recording.number) } }));
  };
  return {
    node,
    update(current, baseline) {
      node.hidden = shelf.all().length === 0;
      keyed(rows, shelf.all(), (recording) => recording.number, create, (row, recording) => {
        row.querySelector('input').checked = recording === current;
        row.classList.toggle('is-baseline', recording === baseline);
      });
    },
  };
}
