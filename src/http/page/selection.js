// The line at the bottom of the window that says which time is selected: every panel is scoped by it.

export function mountSelection(container, app) {
  const { el, setText } = app.dom;
  const words = el('span', {});
  const clear = () => app.state.set({ from: null, to: null });
  container.append(words, el('button', { type: 'button', on: { click: clear }, text: 'Clear selection' }));
  document.addEventListener('keydown', (event) => {
    const is_typing = event.target.closest?.('input, select, textarea');
    if (event.key === 'Escape' && !is_typing && !event.defaultPrevented && app.selection()) clear();
  });

  const show = () => {
    const selection = app.selection();
    container.hidden = selection === null;
    if (selection === null) return;
    const { format } = app;
    setText(words, `Selected time: ${format.time(selection.from, 1)} – ${format.time(selection.to, 1)} (${format.duration(selection.to - selection.from)}). `
      + `It scopes the stalls, the numbers and the profile.${isOld(selection) ? ' The lanes no longer reach back to it.' : ''}`);
  };
  const isOld = (selection) => app.store.timeline.next > 0 && selection.to < app.store.timeline.extent().from;
  app.state.subscribe(['from', 'to'], show);
  app.store.subscribe(['timeline'], show);
  show();
}
