// The colors of the theme for canvases, which do not know CSS variables.

const NAMES = ['ink', 'faint', 'line', 'paper', 'panel', 'stall', 'select', 'between', 'lane'];

/** Further tasks use the colors again; the labels and the table tell them apart. */
export const TASK_COLORS = 10;

export function createColors(state) {
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);
  let colors = null;
  const listeners = new Set();

  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const get = () => {
    colors ??= {
      ...Object.fromEntries(NAMES.map((name) => [name, read(name)])),
      tasks: Array.from({ length: TASK_COLORS }, (_, index) => read(`task-${index}`)),
    };
    return colors;
  };
  const changed = () => {
    colors = null;
    for (const listener of [...listeners]) listener();
  };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
  state.subscribe(['theme'], () => queueMicrotask(changed));

  return {
    get,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
