// The link between the heatmap's time range and the time that is selected in the lanes of the page.

import { setDisabled } from './flame_button.js';

/** Two buttons. `on_range({ from, to })` gets the lanes' selection, in ms since the start of the recording. */
export function createWindowLink(app, { on_range }) {
  const { el } = app.dom;
  let shown = null;
  const take = el('button', { type: 'button', text: 'Take from lanes', 'aria-label': 'Take from lanes: the selected time' });
  const give = el('button', { type: 'button', text: 'Select in lanes', 'aria-label': 'Select in lanes: this time' });

  /** The part of the lanes' selection that was recorded, or null. */
  const common = () => {
    const selected = app.selection();
    if (!selected || !shown?.recording.has_times) return null;
    const from = Math.max(0, selected.from - shown.recording.started_at);
    const to = Math.min(shown.recording.duration, selected.to - shown.recording.started_at);
    return to > from ? { from, to } : null;
  };
  take.addEventListener('click', () => {
    const range = common();
    if (range) on_range(range);
  });
  give.addEventListener('click', () => {
    const { recording, range } = shown;
    const { from, to } = range ?? { from: 0, to: recording.duration };
    app.state.set({ from: Math.round(recording.started_at + from), to: Math.round(recording.started_at + to) });
  });
  const refresh = () => { setDisabled(take, common() === null); };
  app.state.subscribe(['from', 'to'], refresh);
  return {
    nodes: [take, give],
    show(recording, range) {
      shown = { recording, range };
      refresh();
    },
  };
}
