// The switch between the system's theme, the light and the dark one.

const THEMES = [['', 'System'], ['light', 'Light'], ['dark', 'Dark']];

export function mountThemeSwitch(container, app) {
  const { el } = app.dom;
  const select = el('select', { id: 'theme-select', on: { change: () => app.state.set({ theme: select.value }) } },
    THEMES.map(([value, name]) => el('option', { value, text: name })));
  container.append(el('label', { for: 'theme-select', text: 'Theme' }), select);

  const show = () => {
    const theme = app.state.get('theme');
    const is_known = theme === 'light' || theme === 'dark';
    select.value = is_known ? theme : '';
    if (is_known) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  app.state.subscribe(['theme'], show);
  show();
}
