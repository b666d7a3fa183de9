// The controls above the flamegraph: search, zoom history, direction, and the difference of two windows.

import { isDisabled, setDisabled } from './flame_button.js';
import { count, plural, share } from './format.js';

export function createToolbar(app, view, { on_keep, on_forget }) {
  const { el, setText } = app.dom;
  const button = (text, work, label) => {
    const node = el('button', { type: 'button', text, 'aria-label': label, on: { click: () => { if (!isDisabled(node)) work(); } } });
    return node;
  };

  const search = el('input', { id: 'flame-search', type: 'search', autocomplete: 'off', spellcheck: 'false' });
  const previous = button('Previous', () => view.nextMatch(-1), 'Previous match');
  const next = button('Next', () => view.nextMatch(1), 'Next match');
  const matches = el('output', { class: 'flame-matches', for: 'flame-search' });
  let timer = null;
  search.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => app.state.set({ profile_search: search.value || null }), 150);
  });
  search.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    app.state.set({ profile_search: search.value || null });
    view.nextMatch(event.shiftKey ? -1 : 1);
  });

  const back = button('Back', view.back, 'Back to the last zoom');
  const forward = button('Forward', view.forward, 'Forward to the next zoom');
  const whole = button('Whole tree', view.whole);
  const invert = el('input', { id: 'flame-invert', type: 'checkbox', on: { change: () => app.state.set({ profile_invert: invert.checked ? '1' : null, profile_zoom: null }) } });

  const keep = button('Keep as A', on_keep);
  const forget = button('Forget A', on_forget);
  const compare = el('input', { id: 'flame-diff', type: 'checkbox', on: { change: () => app.state.set({ profile_diff: compare.checked ? '1' : null }) } });
  const baseline = el('p', { class: 'flame-baseline' });

  const node = el('div', { class: 'flame-toolbar' },
    el('div', { class: 'flame-search', role: 'search', 'aria-label': 'Functions' },
      el('div', { class: 'flame-field' }, el('label', { for: search.id, text: 'Search functions' }), search), previous, next, matches),
    el('div', { class: 'flame-zoom', role: 'group', 'aria-label': 'Zoom and direction' }, back, forward, whole,
      el('span', { class: 'flame-check' }, invert, el('label', { for: invert.id, text: 'Invert: callers below' }))),
    el('div', { class: 'flame-compare', role: 'group', 'aria-label': 'Difference of two windows' }, keep, forget,
      el('span', { class: 'flame-check' }, compare, el('label', { for: compare.id, text: 'Show B minus A' })), baseline));

  return {
    node,
    showZoom() {
      const status = view.status();
      setDisabled(back, !status.can_back);
      setDisabled(forward, !status.can_forward);
      setDisabled(whole, !status.is_zoomed);
      setDisabled(previous, status.matches === 0);
      setDisabled(next, status.matches === 0);
      const text = search.value.trim() === '' ? '' : status.matches === 0 ? 'No match'
        : `${status.match_index >= 0 ? `${count(status.match_index + 1)} of ` : ''}${plural(status.matches, 'match').replace(/matchs$/, 'matches')}, ${share(status.match_share)} of all`;
      setText(matches, text);
    },
    /** Shows the state of the URL and what is kept as A. */
    showState({ has_baseline, sentence }) {
      const wanted = app.state.get('profile_search') ?? '';
      if (document.activeElement !== search || search.value.trim() === '') search.value = wanted;
      invert.checked = app.state.get('profile_invert') === '1';
      compare.checked = app.state.get('profile_diff') === '1';
      compare.disabled = !has_baseline;
      setDisabled(forget, !has_baseline);
      setText(baseline, sentence);
    },
  };
}
