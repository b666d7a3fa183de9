// The state of the view. It lives in the URL's hash, so a colleague who opens the URL sees the same view.

const NUMBERS = new Set(['from', 'to', 'span', 'end']);

/** Longer values are not from this page. */
const LONGEST_VALUE = 2000;

/** The state that a hash says: `#from=1&search=a%20b`. Numbers that are none are left out. */
export function parse(hash) {
  const state = new Map();
  for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ''))) {
    if (text.length > LONGEST_VALUE || !/^[a-z_]{1,40}$/.test(key)) continue;
    if (!NUMBERS.has(key)) state.set(key, text);
    else if (text !== '' && Number.isFinite(Number(text))) state.set(key, Number(text));
  }
  return state;
}

/** The hash of a state; the order of keys is always the same. */
export function print(state) {
  const values = [...state].sort(([a], [b]) => (a < b ? -1 : 1));
  const hash = new URLSearchParams(values.map(([key, value]) => [key, String(value)])).toString();
  return hash === '' ? '' : `#${hash}`;
}

/** The state of `window`'s URL. `set` replaces the entry of the history: each step of a zoom would be an entry otherwise. */
export function createState(window) {
  let state = parse(window.location.hash);
  const listeners = new Set();

  const tell = (changed) => {
    for (const { keys, listener } of [...listeners]) {
      if (keys.some((key) => changed.has(key))) listener();
    }
  };

  window.addEventListener('hashchange', () => {
    const next = parse(window.location.hash);
    const changed = new Set([...state.keys(), ...next.keys()].filter((key) => state.get(key) !== next.get(key)));
    state = next;
    tell(changed);
  });

  // Browsers refuse a hundred changes of the URL in seconds, so it follows at a distance.
  let timer = null;
  const write = () => {
    timer = null;
    window.history.replaceState(null, '', `${window.location.pathname}${window.location.search}${print(state)}`);
  };

  return {
    get: (key) => state.get(key) ?? null,
    set(changes) {
      const changed = new Set();
      for (const [key, value] of Object.entries(changes)) {
        const is_removed = value === null || value === undefined || value === '';
        if ((is_removed ? undefined : value) === state.get(key)) continue;
        if (is_removed) state.delete(key);
        else state.set(key, value);
        changed.add(key);
      }
      if (changed.size === 0) return;
      timer ??= window.setTimeout(write, 150);
      tell(changed);
    },
    subscribe(keys, listener) {
      const entry = { keys, listener };
      listeners.add(entry);
      return () => listeners.delete(entry);
    },
  };
}
