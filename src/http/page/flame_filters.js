// The choices of runtime, thread, task and state. An option that the recording lacks stays visible, so nobody is misled.

import { CHOICES, filterOptions, optionText } from './profile_filter.js';
import { shareOf } from './flame_text.js';
import { middleCut, plural, visible } from './format.js';

const TITLES = { runtime: 'Runtime', thread: 'Thread', task: 'Task', state: 'State' };

const LONGEST_OPTION = 60;

export function createFilters(app) {
  const { el, setText } = app.dom;
  const selects = {};
  const note = el('p', { class: 'flame-hint faint' });
  const node = el('div', { class: 'flame-filters', role: 'group', 'aria-label': 'Filter of samples' });
  for (const choice of CHOICES) {
    const select = el('select', { id: `flame-${choice}`, on: { change: () => app.state.set({ [`profile_${choice}`]: select.value || null }) } });
    selects[choice] = select;
    node.append(el('div', { class: 'flame-field' }, el('label', { for: select.id, text: TITLES[choice] }), select));
  }
  const idle = el('input', { id: 'flame-idle', type: 'checkbox', on: { change: () => app.state.set({ profile_idle: idle.checked ? '1' : null }) } });
  const idle_field = el('div', { class: 'flame-check' }, idle, el('label', { for: idle.id, text: 'Show idle threads' }));
  node.append(idle_field, note);

  return {
    node,
    /** The filter that the URL says. */
    read: () => ({
      ...Object.fromEntries(CHOICES.map((choice) => [choice, app.state.get(`profile_${choice}`) ?? ''])),
      without_idle: app.state.get('profile_idle') !== '1',
    }),
    show(recording) {
      idle_field.hidden = !recording.has_idle;
      idle.checked = app.state.get('profile_idle') === '1';
      const all = filterOptions(recording);
      const total = recording.weights.reduce((sum, weight) => sum + weight, 0);
      const left_out = [];
      for (const choice of CHOICES) {
        const { options, left_out: more } = all[choice];
        const chosen = app.state.get(`profile_${choice}`) ?? '';
        const items = options.map(({ value, weight }) => [value, `${text(choice, value)} (${shareOf(weight, total)})`]);
        if (choice === 'state' && options.length > 2) {
          for (const { value } of options) items.push([`!${value}`, `all but ${text(choice, value)}`]);
        }
        if (chosen !== '' && !items.some(([value]) => value === chosen)) items.push([chosen, `${text(choice, chosen)} (none)`]);
        selects[choice].replaceChildren(el('option', { value: '', text: 'all' }), ...items.map(([value, label]) => el('option', { value, text: label })));
        selects[choice].value = chosen;
        selects[choice].disabled = items.length < 2 && chosen === '';
        if (more > 0) left_out.push(`${plural(more, choice)}`);
      }
      setText(note, left_out.length > 0 ? `The choices leave out the smallest: ${left_out.join(', ')}.` : '');
      note.hidden = left_out.length === 0;
    },
  };
}

function text(choice, value) {
  return middleCut(visible(optionText(choice, value)), LONGEST_OPTION);
}
